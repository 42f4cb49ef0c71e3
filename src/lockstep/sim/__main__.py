"""`python -m lockstep.sim SEED...`: play worlds, and make a failing one smaller.

It prints; what it plays is in `world.py`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from lockstep.sim.disk import SqlDisk
from lockstep.sim.draw import draw
from lockstep.sim.shrink import failure, shrink, told
from lockstep.sim.tracing import Tracer
from lockstep.sim.world import World


def main() -> int:
    """Returns 1 if a world failed."""
    parser = argparse.ArgumentParser(prog="python -m lockstep.sim", description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int, help="the seeds to play; with --count only the first is needed")
    parser.add_argument("--count", type=int, default=0, help="play so many seeds, from the first one on")
    parser.add_argument("--sql", action="store_true", help="on the real store instead of memory")
    parser.add_argument("--shrink", action="store_true", help="make a failing world smaller and say what is left")
    parser.add_argument("--trace", type=Path, help="write the trace of the (shrunk) world to this file")
    options = parser.parse_args()
    seeds = range(options.seeds[0], options.seeds[0] + options.count) if options.count else options.seeds
    failed = 0
    for seed in seeds:
        failed += not _play(seed, options)
    print(f"{len(seeds)} worlds, {failed} failed")
    return 1 if failed else 0


def _play(seed: int, options: argparse.Namespace) -> bool:
    scenario = draw(seed)
    if options.sql:
        with tempfile.TemporaryDirectory() as folder:
            error = failure(scenario, SqlDisk(Path(folder)))
    else:
        error = failure(scenario)
    if error:
        print(f"seed {seed}: {error}\nTo see it again: python -m lockstep.sim {seed}", file=sys.stderr)
        if options.shrink:
            scenario = shrink(scenario)
            print(told(scenario), file=sys.stderr)
    if options.trace:
        tracer = Tracer()
        try:
            World(scenario, tracer=tracer).play()
        except Exception as exc:
            print(f"the trace ends with: {exc}", file=sys.stderr)
        options.trace.write_text(tracer.text())
    return not error


if __name__ == "__main__":
    sys.exit(main())
