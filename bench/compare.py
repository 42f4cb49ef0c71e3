"""Whether deciding became slower: rows of decide.py with this checkout and with another one, in turns.

Each row is measured in processes of their own, this one and the other by turns, and the least processor time of each
counts: what else the machine does makes single runs slower, never quicker. `python bench/compare.py OTHER_CHECKOUT`,
for example a `git worktree` of an earlier commit. Prints the ratio of the times, new to old, and asserts nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve()
ROUNDS = 3_000


def measure() -> None:
    """Print each row's processor time of so many rounds, as JSON."""
    from load import Load, needs_of_one, needs_of_workers

    rows = {
        "one exclusive lock, 1 class": (needs_of_one(1, False), {"hot": 1}),
        "one exclusive lock, 1,000 classes": (needs_of_one(1000, False), {"hot": 1}),
        "8 units, needs 1-4 and exclusive, 10 classes": (needs_of_one(10, True), {"hot": 8}),
        "8 units, needs 1-4 and exclusive, 1,000 classes": (needs_of_one(1000, True), {"hot": 8}),
        "100 workers as alternatives, 1 class": (needs_of_workers(1, 100), {"slot": 1}),
        "100 workers as alternatives, 1,000 classes": (needs_of_workers(1000, 100), {"slot": 1}),
    }
    found = {}
    for name, (needs, limits) in rows.items():
        load = Load(needs, limits, 3_000)
        load.rounds(ROUNDS)
        started = time.process_time()
        load.rounds(ROUNDS)
        found[name] = time.process_time() - started
    print(json.dumps(found))


def measured(checkout: Path) -> dict[str, float]:
    """The rows with the sources of that checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    words = [sys.executable, str(HERE), "--measure"]
    made = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(made.stdout)
    return found


def main() -> None:
    """Take turns, and print the least times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path, help="the other checkout")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure()
        return
    if asked.other is None or not (asked.other / "src/lockstep").is_dir():
        parser.error("name a checkout with src/lockstep in it")
    turns = [(measured(HERE.parents[1]), measured(asked.other.resolve())) for _ in range(asked.turns)]
    print(f"{f'ms for {ROUNDS:,} rounds, least of {asked.turns}':50}{'this':>9}{'other':>9}   ratio")
    for name in turns[0][0]:
        new, old = (1000 * min(turn[side][name] for turn in turns) for side in (0, 1))
        print(f"{name:50}{new:>9.1f}{old:>9.1f}{new / old:>8.2f}")


if __name__ == "__main__":
    main()
