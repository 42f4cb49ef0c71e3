"""What a command that only asks a server costs: processor time of a whole run (HOUSE section 4: under 0.2 s).

Nothing is asserted: the table says what is wanted and what was reached. `python bench/command_line.py`.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("lockstep")
NOBODY = "http://127.0.0.1:9"
"""Nothing listens there: the question is asked, and answered by a refusal."""

ASKING = (("builds",), ("why", "1"), ("locks", "--json"))
COMMANDS = (("--help",), *((*words, "--url", NOBODY) for words in ASKING))
RUNS = 15
WANTED = 0.2


def processor_time(words: tuple[str, ...]) -> float:
    """Seconds that one run takes of the processor."""
    process = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, and print a table."""
    print(f"{'command':42}{'median':>10}{'least':>10}   wanted: under {WANTED} s")
    for words in COMMANDS:
        times = [processor_time(words) for _ in range(RUNS)]
        reached = "reached" if statistics.median(times) < WANTED else "missed"
        print(f"lockstep {' '.join(words):33}{statistics.median(times):8.3f} s{min(times):8.3f} s   {reached}")


if __name__ == "__main__":
    main()
