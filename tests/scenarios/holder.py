"""holder.py FOLDER LOCK BEATS: a program under a lock that writes down its stay, on the machine's own clock.

Each stay is a file `FOLDER/stays/LOCK/FENCE.PID`: when it came in, when it was last alive (a beat every 10 ms), when it
went, and who was alive beside it when it came in. While there is a file `linger.FENCE.PID`, it does not go. The guard
of an exclusive lock is here too: whoever sees a later fence than its own is refused (L62). What the notes mean is
judged by `stays.py`. Run it with `python -I -S`: it starts quickly.
"""

import os
import sys
import time

BEAT = 0.01


def now() -> str:
    """The machine's time; nobody can step it, and it runs while everything stands still."""
    return f"{time.clock_gettime(time.CLOCK_BOOTTIME):.6f}"


def look(pid: str) -> tuple[str, str]:
    """A process's state and start; "Z" if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return "Z", ""
    return fields[0], fields[19]


def others(folder: str, mine: str) -> list[tuple[str, str]]:
    """The stays that have not ended and whose process lives, with its state."""
    found = []
    for name in os.listdir(folder):
        if name == mine or not name[0].isdigit():
            continue
        state, started = look(name.partition(".")[2])
        if state in "ZX":
            continue
        with open(os.path.join(folder, name)) as file:
            lines = file.read().splitlines()
        if lines and lines[0].split()[2] == started and not lines[-1].startswith("out"):
            found.append((name, state))
    return found


def last_fence(folder: str) -> int:
    """The highest fence that was seen here."""
    return max(int(name.partition(".")[0]) for name in os.listdir(folder) if name[0].isdigit())


def stay(folder: str, beats: int, exclusive: bool) -> int:
    """Come in, be there, go. Returns the exit code."""
    fence = int(os.environ[f"LOCKSTEP_FENCE_{os.path.basename(folder).upper()}"])
    mine = f"{fence}.{os.getpid()}"
    with open(os.path.join(folder, mine), "a", buffering=1) as file:
        file.write(f"in {now()} {look('self')[1]} {os.environ['LOCKSTEP_COMMAND']}\n")
        for name, state in others(folder, mine):
            file.write(f"beside {now()} {name} {state}\n")
        while beats > 0 or os.path.exists(os.path.join(folder, f"linger.{mine}")):
            beats -= 1
            file.write(f"beat {now()}\n")
            if exclusive and last_fence(folder) > fence:
                file.write(f"refused {now()} {last_fence(folder)}\n")
                return 1
            print("line", beats, flush=True)
            time.sleep(BEAT)
        file.write(f"out {now()}\n")
    return 0


def main() -> int:
    """Its arguments."""
    here, lock, beats = sys.argv[1:4]
    folder = os.path.join(here, "stays", lock)
    os.makedirs(folder, exist_ok=True)
    return stay(folder, int(beats), lock == "database")


if __name__ == "__main__":
    sys.exit(main())
