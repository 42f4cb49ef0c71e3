"""How fast a rehearsal is: 100,000 requests over 50 locks, on one core (issue 3, figures: under 60 s).

A farm of 40 builders on 16 workers: each build has up to three of 30 locks of the server, every fourth a step with a
lock of its worker, some wait for a build of another. Load about 0.8. `python bench/rehearse.py [--requests N]`.
"""

import argparse
import gc
import time
from random import Random

from lockstep.core.forecast import OWN_WORKER, Phase
from lockstep.core.nouns import Access, Alternative, LockKey, Need
from lockstep.core.state import slot_key
from lockstep.core.values import BuilderSetup, LockSetup, Setup, Stage, WorkerSetup
from lockstep.sim.figures import figures
from lockstep.sim.rehearsal import Ask, Rehearsal, Work

WORKERS = [f"w{number}" for number in range(20)]
SLOTS = 4
BUILDERS = 40
MASTERS = 30


def farm(chance: Random) -> tuple[Setup, list[tuple[Work, ...]]]:
    """The set-up, and the course of each builder's builds."""
    keys = [LockKey("master", f"lock {number}") for number in range(MASTERS)]
    limits = {key: chance.choice([1, 4, 8, 16]) for key in keys}
    locks = [LockSetup(key, limit) for key, limit in limits.items()]
    for worker in WORKERS:
        locks += [LockSetup(slot_key(worker), SLOTS), LockSetup(LockKey("worker", "disk", worker), 2)]
    builders, works = [], []
    for number in range(BUILDERS):
        name = f"b{number}"
        own = [Access(key, "exclusive" if limits[key] == 1 else "counting") for key in chance.sample(keys, number % 4)]
        mine = chance.sample(WORKERS, chance.choice([4, 10, 20]))
        ways = [Alternative(worker, (Access(slot_key(worker)), *own)) for worker in mine]
        disk = Need(tuple(Alternative(w, (Access(LockKey("worker", "disk", w)),)) for w in mine))
        stages = (Stage(number=2, name="test", need=disk),) if number % 4 == 0 else ()
        builders.append(BuilderSetup(name=name, workers=tuple(mine), need=Need(tuple(ways)), stages=stages))
        minutes = chance.choice([1, 2, 3, 5])
        access = (Access(LockKey("worker", "disk", OWN_WORKER)),) if stages else ()
        works.append((Work(Phase(minutes * 60.0)), Work(Phase(minutes * 60.0, access))))
    workers = tuple(WorkerSetup(name=name, max_builds=SLOTS) for name in WORKERS)
    return Setup(workers=workers, builders=tuple(builders), locks=tuple(locks)), works


def main() -> None:
    """Print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--gap", type=float, default=40.0, help="seconds between two requests, on average")
    options = parser.parse_args()
    chance = Random(1)
    setup, works = farm(chance)
    at, load = 0.0, []
    for _ in range(options.requests):
        at += chance.expovariate(1 / options.gap)
        number = chance.randrange(BUILDERS)
        load.append((at, Ask(f"b{number}", works[number])))
    gc.collect()
    began = time.process_time()
    played = Rehearsal(setup, at).play(load)
    took = time.process_time() - began
    found = figures(played)
    ended = sum(story.ended >= 0 for story in played.stories)
    own = sum(lock.key.kind != "slot" for lock in setup.locks)
    print(f"{ended:,} of {options.requests:,} requests over {own} locks and {len(WORKERS)} workers: {took:.1f} s,")
    mean, worst = found.total.mean / 60, found.total.worst / 60
    print(f"{ended / took:,.0f} builds a second; mean wait {mean:.1f} min, worst {worst:.0f} min")
    reached = ended == options.requests and took * 100_000 / options.requests < 60
    print(f"wanted: 100,000 in under 60 s   {'reached' if reached else 'MISSED'}")


if __name__ == "__main__":
    main()
