"""Buildbot 4.3.0 and Lockstep in turns on the same work, as a table with the wanted ratios (issue 2, section 6).

`python bench/side_by_side.py [--only NAMES] [--runs N] [--quick] [--keep FILE]`. Buildbot is installed into `.cache/`
when it is first needed. Nothing is asserted: the table says what is wanted and what was reached. Everything listens on
the loopback and is stopped at the end. The measures are in `measures.py`, the driven systems in `systems.py`.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from msgspec import Struct

from measures import MEASURES, QUICK, Kind, Size
from processes import GaveUpError
from systems import Buildbot, Lockstep, LockstepWithBuildbotWorkers, machine

KINDS: tuple[Kind, ...] = (Buildbot, Lockstep, LockstepWithBuildbotWorkers)
OF_THE_MASTER = ("start-1", "start-500", "memory", "rest")
"""Measures that have nothing to do with the kind of worker."""

Results = dict[str, dict[str, list[dict[str, float]]]]
"""Measure, system, one dictionary for each run."""


class Row(Struct, frozen=True):
    """A line of the table. `wanted` is how many times better than Buildbot; None: only told."""

    measure: str
    field: str
    label: str
    unit: str
    wanted: float | None = None
    more_is_better: bool = False


ROWS = (
    Row("builds-1", "per_minute", "builds a minute, 1 worker", "", 10, True),
    Row("builds-8", "per_minute", "builds a minute, 8 workers", "", 10, True),
    Row("builds-1", "processor_ms", "master's processor time for a build, 1 worker", "ms", 15),
    Row("builds-8", "processor_ms", "master's processor time for a build, 8 workers", "ms", 15),
    Row("handoff-build", "gap_ms", "from holder to holder, lock of the build", "ms", 20),
    Row("handoff-step", "gap_ms", "from holder to holder, lock of the step", "ms", 20),
    Row("output", "seconds", "a step that says 20 MB", "s", 30),
    Row("queue", "processor_ms", "processor time for one more request, 1,000 waiting", "ms", 500),
    Row("start-1", "first", "start with 1 builder, new folder", "s", 1.3),
    Row("start-1", "again", "start with 1 builder, used folder", "s", 1.3),
    Row("start-500", "first", "start with 500 builders, new folder", "s", 20),
    Row("start-500", "again", "start with 500 builders, used folder", "s", 20),
    Row("start-1", "processor", "processor time of a start with 1 builder", "s"),
    Row("start-500", "processor", "processor time of a start with 500 builders", "s"),
    Row("output", "processor", "master's processor time for 20 MB of output", "s"),
    Row("memory", "idle", "memory at rest", "MiB", 1),
    Row("rest", "per_second", "GET builds?limit=50 a second", "", None, True),
)


def measure(chosen: list[str], runs: int, size: Size, results: Results, keep: Path | None) -> None:
    """Run everything in turns; what could not be measured is said and left out."""
    for name in chosen:
        for run in range(runs):
            for kind in KINDS:
                if kind is LockstepWithBuildbotWorkers and name in OF_THE_MASTER:
                    continue
                began = time.monotonic()
                try:
                    numbers = MEASURES[name](kind, size)
                except GaveUpError as error:
                    print(f"{name}, {kind.name}: {error}", file=sys.stderr)
                    continue
                results.setdefault(name, {}).setdefault(kind.name, []).append(numbers)
                told = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
                print(
                    f"{name} run {run + 1} {kind.name}: {told}  [{time.monotonic() - began:.0f} s]",
                    file=sys.stderr,
                    flush=True,
                )
                if keep is not None:
                    keep.write_text(json.dumps(results, indent=1))


def median(results: Results, measure: str, kind: Kind, field: str) -> float | None:
    """Over the runs, or None if there is none."""
    values = [run[field] for run in results.get(measure, {}).get(kind.name, []) if field in run]
    return statistics.median(values) if values else None


def better(row: Row, theirs: float, ours: float) -> float:
    """How many times better than Buildbot's."""
    return (ours / theirs if row.more_is_better else theirs / ours) if ours and theirs else 0.0


def number(value: float | None, unit: str) -> str:
    """As a person reads it."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{text} {unit}".strip()


def table(results: Results) -> str:
    """The table, in Markdown."""
    lines = [
        "| | Buildbot | Lockstep | times better | wanted | with `buildbot-worker` | times better |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in ROWS:
        theirs, ours, mixed = (median(results, row.measure, kind, row.field) for kind in KINDS)
        if theirs is None and ours is None:
            continue
        cells = [row.label, number(theirs, row.unit), number(ours, row.unit)]
        ratio = better(row, theirs, ours) if theirs and ours else None
        missed = " (missed)" if ratio is not None and row.wanted is not None and ratio < row.wanted else ""
        cells.append("-" if ratio is None else f"{number(ratio, '')}{missed}")
        cells.append("-" if row.wanted is None else f"{row.wanted:g}")
        cells.append(number(mixed, row.unit))
        cells.append(number(better(row, theirs, mixed), "") if theirs and mixed else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def growth(results: Results) -> str:
    """How Lockstep's memory goes with builds, as a sentence; empty if it was not measured."""
    runs = results.get("memory", {}).get(Lockstep.name, [])
    if not runs:
        return ""
    fields = [field for field in runs[0] if field.startswith("after_")]
    steps = [f"{field[6:]}: {median(results, 'memory', Lockstep, field):.1f}" for field in fields]
    return "Lockstep's memory at rest after so many builds, MiB: " + ", ".join(steps) + "."


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"some of {','.join(MEASURES)}")
    parser.add_argument("--runs", type=int, default=3, help="medians are over so many (default: 3)")
    parser.add_argument("--quick", action="store_true", help="a small work, once: to see that everything runs")
    parser.add_argument("--keep", type=Path, help="a JSON file that runs are added to; the table is over all of them")
    given = parser.parse_args()
    chosen = given.only.split(",") if given.only else list(MEASURES)
    if unknown := [name for name in chosen if name not in MEASURES]:
        parser.error(f"there is no measure '{unknown[0]}'; there are {', '.join(MEASURES)}")
    results: Results = {}
    if given.keep is not None and given.keep.exists():
        results = json.loads(given.keep.read_text())
    print(machine(), file=sys.stderr)
    measure(chosen, 1 if given.quick else given.runs, QUICK if given.quick else Size(), results, given.keep)
    print(f"\n{table(results)}\n\n{growth(results)}\n\nMeasured on {machine()}.")


if __name__ == "__main__":
    main()
