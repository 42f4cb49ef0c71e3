"""What fairness costs: the farm of ALLOCATION.md under first fit and under L40 to L46.

16 workers with 2 slots, 11 kinds of build, load 0.8, in simulated minutes. Wanted (issue 2, section 2): use within 1 %
of first fit's, mean wait at most twice, worst wait at most half. Nothing is asserted. `python bench/fairness.py`.
"""

import argparse
import random
from collections import Counter
from heapq import heappop, heappush
from statistics import fmean

from lockstep.core.alloc_facts import Granted
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import Access, Alternative, Claim, LockKey, Need

WORKERS = [f"w{number}" for number in range(16)]
SLOTS = 2
LOAD = 0.8
NEVER = 1 << 40
"""As many overtakes as make no barrier ever: first fit."""

DB, LICENCE, DEPLOY = LockKey("master", "db"), LockKey("master", "licence"), LockKey("master", "deploy")


def disk(worker: str, count: int, whole: bool = False) -> Access:
    """The lock of a worker's disk."""
    key = LockKey("worker", "disk", worker)
    return Access(key, "exclusive") if whole else Access(key, "counting", count)


class Kind:
    """A kind of build: how often it comes, how long it takes (minutes), where it may run, what it locks."""

    def __init__(
        self, share: float, minutes: float, workers: list[str], locks: tuple[Access, ...] = (), disks: int = 0
    ) -> None:
        self.share = share
        self.minutes = minutes
        ways = []
        for worker in workers:
            own = (disk(worker, disks, disks < 0),) if disks else ()
            ways.append(Alternative(worker, (Access(LockKey("slot", "", worker)), *own, *locks)))
        self.need = Need(tuple(ways))


KINDS = [
    Kind(30, 5, WORKERS),
    Kind(20, 12, WORKERS),
    Kind(8, 20, WORKERS[:8]),
    Kind(8, 15, WORKERS[8:]),
    Kind(7, 8, WORKERS, (Access(DB),)),
    Kind(4, 10, WORKERS, (Access(DB, "counting", 2),)),
    Kind(1, 8, WORKERS, (Access(DB, "exclusive"),)),
    Kind(7, 15, WORKERS, (Access(LICENCE),)),
    Kind(3, 6, WORKERS[:4], (Access(DEPLOY, "exclusive"),)),
    Kind(6, 10, WORKERS, disks=1),
    Kind(2, 8, WORKERS[4:12], (Access(LICENCE, "counting", 5),), disks=-1),
]


def simulate(k: int, days: float, seed: int) -> tuple[float, float, float]:
    """Use of the slots, mean and worst wait in minutes."""
    chance = random.Random(seed)
    allocator = Allocator()
    limits = {DB: 12, LICENCE: 8, DEPLOY: 1}
    for worker in WORKERS:
        limits[LockKey("slot", "", worker)] = SLOTS
        limits[LockKey("worker", "disk", worker)] = 2
    for key, limit in limits.items():
        allocator.set_lock(key, limit, k)
    total = sum(kind.share for kind in KINDS)
    work = sum(kind.share * kind.minutes for kind in KINDS) / total
    gap = work / (LOAD * len(WORKERS) * SLOTS)
    end = days * 24 * 60
    agenda: list[tuple[float, int]] = [(0.0, 0)]
    asked: dict[int, tuple[float, float]] = {}
    waits: list[float] = []
    busy = 0.0
    ticket = 0
    while agenda:
        now, hold = heappop(agenda)
        if hold:
            allocator.release(hold)
        elif now < end:
            heappush(agenda, (now + chance.expovariate(1 / gap), 0))
            ticket += 1
            kind = chance.choices(KINDS, [each.share for each in KINDS])[0]
            asked[ticket] = (now, kind.minutes * chance.lognormvariate(-0.125, 0.5))
            allocator.submit(Claim(ticket, kind.need, ticket))
        for decision in allocator.decide():
            if isinstance(decision, Granted):
                since, minutes = asked.pop(decision.ticket)
                waits.append(now - since)
                busy += max(0.0, min(end, now + minutes) - min(now, end))
                heappush(agenda, (now + minutes, decision.hold))
    return busy / (end * len(WORKERS) * SLOTS), fmean(waits), max(waits)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    print(f"{'':24}{'use':>8}{'mean wait':>12}{'worst wait':>12}   (minutes)")
    table: dict[int, tuple[float, ...]] = {}
    for k in (NEVER, 0, 2, 4, 8, 16, 32):
        runs = [simulate(k, options.days, seed) for seed in range(options.seeds)]
        use, mean, worst = (fmean(column) for column in zip(*runs, strict=True))
        table[k] = (use, mean, worst)
        name = "first fit" if k == NEVER else f"K = {k}" + (" (the default)" if k == 8 else "")
        print(f"{name:24}{use:>8.3f}{mean:>12.1f}{worst:>12.0f}", flush=True)
    first, ours = table[NEVER], table[8]
    verdict = Counter(
        {
            "use within 1 % of first fit's": ours[0] >= 0.99 * first[0],
            "mean wait at most twice": ours[1] <= 2 * first[1],
            "worst wait at most half": ours[2] <= first[2] / 2,
        }
    )
    for wanted, reached in verdict.items():
        print(f"wanted: {wanted:32} {'reached' if reached else 'MISSED'}")


if __name__ == "__main__":
    main()
