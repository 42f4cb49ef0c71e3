"""Process trees: who belongs to a command, and how all of it is ended.

A command's process leads a session of its own. Its tree is: all its descendants, all in its session or
process group, and all whose environment has its marker (children that called setsid, or whose parents have
died). The agent is a "subreaper" (Linux): orphans become its children, not those of init. Without /proc
only the process group is known.

A process that changed its user, erased its environment, left its session and lost its parents while other
commands run cannot be told from others; that is what fences are for (L62).
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from lockstep.worker.clock import boottime, wall

MARKER: Final = "LOCKSTEP_COMMAND"
"""The environment variable that marks a command's processes: the agent's home, a slash, the command's id."""

HAS_PROC: Final = os.path.exists("/proc/self/stat")

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


class Proc(NamedTuple):
    """One process as /proc shows it.

    `started`: clock ticks since the machine's start; with `pid` it is unique.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started: int


def become_subreaper() -> bool:
    """Have orphaned descendants become children of this process; whether the system can do it."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> bool:
    """Have this process get a signal when its parent dies; whether the system can do it."""
    return _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> bool:
    """Call prctl(2)."""
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def boot_id() -> str:
    """Return the name of this life of the machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return str(int(wall() - boottime()) // 60)  # no better name without Linux


def look(pid: int) -> Proc | None:
    """Return one process, or None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return Proc(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def all_processes() -> dict[int, Proc]:
    """Return every process that is alive (zombies are not)."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            proc = look(int(name))
            if proc is not None and proc.state not in "ZX":
                found[proc.pid] = proc
    return found


def marked(pid: int, markers: Iterable[bytes]) -> bool:
    """Whether the environment of a process has one of the lines `NAME=value`."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            lines = set(file.read().split(b"\0"))
    except OSError:
        return False
    return any(marker in lines for marker in markers)


def marker_line(home: str, command: str) -> bytes:
    """Return the line that marks the processes of a command."""
    return f"{MARKER}={home}/{command}".encode()


def members(roots: Iterable[int], markers: Iterable[bytes], strays_of: int = 0) -> dict[int, Proc]:
    """Return the living processes of the trees of `roots`, and of all that carry a marker.

    With `strays_of` (an agent's pid) also its orphans that carry no marker of this system at all.
    """
    lines, wanted = list(markers), set(roots)
    processes = all_processes()
    own = _ancestors(os.getpid(), processes)
    found: dict[int, Proc] = {}
    for proc in processes.values():
        if proc.pid in own:
            continue
        if (
            proc.pid in wanted
            or proc.session in wanted
            or proc.group in wanted
            or marked(proc.pid, lines)
            or (strays_of and proc.parent == strays_of and not _has_marker(proc.pid))
        ):
            found[proc.pid] = proc
    grown = True
    while grown:
        more = {p.pid: p for p in processes.values() if p.parent in found and p.pid not in found}
        more = {pid: proc for pid, proc in more.items() if pid not in own}
        found |= more
        grown = bool(more)
    return found


def _ancestors(pid: int, processes: dict[int, Proc]) -> set[int]:
    """A process and its parents: never to be killed by itself."""
    line = set()
    while pid in processes and pid not in line:
        line.add(pid)
        pid = processes[pid].parent
    return line


def _has_marker(pid: int) -> bool:
    """Whether a process belongs to some command, by its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARKER}=".encode() in file.read()
    except OSError:
        return True


def kill_once(find: Callable[[], dict[int, Proc]]) -> list[int]:
    """Freeze all that `find` finds until nothing new appears, then kill it; return the ids that were there.

    Frozen first, so that none can start another or lose its parent while the tree is read. An empty answer
    means that nothing was alive. What may not be signalled stays alive, and will be found again.
    """
    frozen: dict[int, Proc] = {}
    for _ in range(8):
        fresh = {pid: proc for pid, proc in find().items() if pid not in frozen}
        if not fresh:
            break
        for proc in fresh.values():
            send(proc, signal.SIGSTOP)
        frozen |= fresh
    for proc in frozen.values():
        send(proc, signal.SIGKILL)
    return sorted(frozen)


def send(proc: Proc, number: int) -> bool:
    """Signal a process if it is still the same one; whether that was possible."""
    now = look(proc.pid)
    if now is None or now.started != proc.started:
        return False
    try:
        os.kill(proc.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_group(root: int, number: int) -> None:
    """Signal the process group that a command leads; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(root, number)


def reap_orphans(kept: Iterable[int]) -> None:
    """Take the exit status of adopted children that have ended; those in `kept` are somebody else's to wait
    for.
    """
    spared = set(kept)
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return
    for pid in children:
        if pid not in spared:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
