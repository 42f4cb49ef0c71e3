"""How quick one decision is: grants a second with many waiting, and the time of single decisions.

Processor time of one core; one round is one end, one arrival, and the grants that follow. Nothing is asserted: the
table says what is wanted and what was reached. `python bench/decide.py [--quick]`.
"""

import argparse
import gc
import random
import time

from load import Load, declare, needs_of_one, needs_of_workers
from lockstep.core.alloc_facts import Granted, Sentenced
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Claim, LockKey, Need
from lockstep.core.values import BuilderSetup, ShareRule, Stage


def throughput(quick: bool) -> None:
    """The table of grants a second."""
    rows = [
        ("one exclusive lock, 1 class", needs_of_one(1, False), {"hot": 1}, 20_000),
        ("one exclusive lock, 10 classes", needs_of_one(10, False), {"hot": 1}, 20_000),
        ("one exclusive lock, 1,000 classes", needs_of_one(1000, False), {"hot": 1}, 15_000),
        ("8 units, needs 1-4 and exclusive, 10 classes", needs_of_one(10, True), {"hot": 8}, 20_000),
        ("8 units, needs 1-4 and exclusive, 1,000 classes", needs_of_one(1000, True), {"hot": 8}, 15_000),
        ("100 workers as alternatives, 1 class", needs_of_workers(1, 100), {"slot": 1}, 20_000),
        ("100 workers as alternatives, 10 classes", needs_of_workers(10, 100), {"slot": 1}, 4_000),
        ("100 workers as alternatives, 1,000 classes", needs_of_workers(1000, 100), {"slot": 1}, 4_000),
    ]
    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000)
    print(f"{'grants a second with so many waiting':50}" + "".join(f"{size:>10,}" for size in sizes) + "    wanted")
    for name, needs, limits, wanted in rows:
        print(f"{name:50}", end="", flush=True)
        rates = []
        for size in sizes:
            gc.collect()
            rates.append(Load(needs, limits, size).run(0.7 if quick else 2))
            print(f"{rates[-1]:>10,.0f}", end="", flush=True)
        flat = "" if max(rates) <= 2 * min(rates) else ", not flat within 2"
        print(f"    {wanted:,} {'reached' if min(rates) >= wanted else 'MISSED'}{flat}", flush=True)


def single(quick: bool) -> None:
    """The times of one round with 10,000 waiting."""
    locks = [Need((Alternative("", (Access(LockKey("master", f"m{n}"), "exclusive"),)),)) for n in range(1000)]
    cases = [
        ("10,000 waiting over 1,000 locks", Load(locks, {f"m{n}": 1 for n in range(1000)}, 10_000)),
        ("100 workers, 1,000 classes, 3 priorities", Load(needs_of_workers(1000, 100), {"slot": 1}, 10_000, 3)),
    ]
    print(f"\n{'one end, one arrival, the grants that follow':50}{'median':>10}{'99 %':>10}    wanted (99 %)")
    for name, load in cases:
        load.run(0.7 if quick else 3)
        steps = sorted(load.steps)
        median, worst = (1000 * steps[int(part * len(steps))] for part in (0.5, 0.99))
        print(f"{name:50}{median:>7.3f} ms{worst:>7.3f} ms    2 ms {'reached' if worst < 2 else 'MISSED'}", flush=True)


class Nested:
    """200 builds that hold a lock of 50 and claim others one by one, in no order: everything is one cyclic part."""

    def __init__(self) -> None:
        self.random = random.Random(1)
        self.allocator = Allocator()
        self.locks = [LockKey("master", f"m{n}") for n in range(50)]
        for key in self.locks:
            self.allocator.set_lock(key, self.random.choice((1, 4, 8)))
        self.plans = [self._plan(f"b{number}") for number in range(100)]
        self.allocator.set_plans({plan.name: plan for plan in self.plans})
        self.ticket = 0
        self.at: dict[int, tuple[BuilderSetup, int]] = {}
        self.builds: dict[int, int] = {}
        self.steps_of: dict[int, int] = {}
        self.steps: list[float] = []

    def _plan(self, name: str) -> BuilderSetup:
        own, *later = self.random.sample(self.locks, 3)
        stages = tuple(Stage(number=n, name="step", need=self._need(key)) for n, key in enumerate(later, 1))
        return BuilderSetup(name=name, workers=(), need=self._need(own), stages=stages)

    def _need(self, key: LockKey) -> Need:
        access = Access(key, "exclusive") if self.random.random() < 0.3 else Access(key)
        return Need((Alternative("", (access,)),))

    def arrive(self) -> None:
        """One more build is asked for."""
        self.ticket += 1
        plan = self.random.choice(self.plans)
        self.at[self.ticket] = (plan, 0)
        assert plan.need is not None
        self.allocator.submit(Claim(self.ticket, plan.need, self.ticket, 0, self.ticket))
        self.allocator.set_course(self.ticket, plan.name, 0)

    def go_on(self) -> None:
        """A build ends its step, and comes to the next one or to its end."""
        asking = {claim.owner for claim in self.allocator.waiting.values()}
        free = [owner for owner in self.builds if owner not in asking]
        if not free:
            return
        owner = self.random.choice(free)
        if owner in self.steps_of:
            self.allocator.release(self.steps_of.pop(owner))
        plan, number = self.at[owner]
        if number == len(plan.stages):
            self.allocator.release(self.builds.pop(owner))
            del self.at[owner]
            return
        self.at[owner] = (plan, number + 1)
        self.allocator.set_course(owner, plan.name, number + 1)
        self.ticket += 1
        need = plan.stages[number].need
        assert need is not None
        self.allocator.submit(Claim(self.ticket, need, owner, STEP_LEVEL, self.ticket))

    def run(self, rounds: int) -> int:
        """Time decisions with 200 builds that wait or run. Returns how many rings closed: there must be none."""
        rings = 0
        for _ in range(rounds):
            while len(self.at) < 200:
                self.arrive()
            self.go_on()
            started = time.process_time()
            decided = self.allocator.decide()
            self.steps.append(time.process_time() - started)
            for each in decided:
                if isinstance(each, Granted):
                    (self.builds if each.owner == each.ticket else self.steps_of)[each.owner] = each.hold
                rings += isinstance(each, Sentenced)
        return rings


def withheld(quick: bool) -> None:
    """The times of decisions where grants are withheld (L51)."""
    load = Nested()
    rings = load.run(300)
    load.steps.clear()
    rings += load.run(700 if quick else 3000)
    steps = sorted(load.steps)
    median, worst = (1000 * steps[int(part * len(steps))] for part in (0.5, 0.99))
    held = f"{len(load.builds)} run, {len(load.allocator.board.withheld)} withheld, {rings} rings"
    reached = "reached" if worst < 10 else "MISSED"
    print(f"{'one part of 50 locks and 200 builds':50}{median:>7.3f} ms{worst:>7.3f} ms    10 ms {reached} ({held})")


class Sharing(Load):
    """A load whose claims are of four projects, which have the slots of all workers by weight (or have not)."""

    def __init__(self, waiting: int, levels: int, shared: bool) -> None:
        self.allocator = Allocator()
        self.random = random.Random(1)
        self.needs = needs_of_workers(20, 100)
        self.levels, self.waiting, self.ticket = levels, waiting, 0
        self.running, self.steps = [], []
        declare(self.allocator, self.needs, {"slot": 1})
        weights = (("*", 1), ("p0", 1), ("p1", 2), ("p2", 3), ("p3", 1))
        if shared:
            self.allocator.set_shares([ShareRule("s", weights, (), tuple(f"w{n}" for n in range(100)))])
        for _ in range(waiting + 100):
            self.arrive()
        self.decide()

    def arrive(self) -> None:
        """One more claim, of one of the projects."""
        self.allocator.set_project(self.ticket + 1, f"p{self.ticket % 4}")
        super().arrive()


def shares(quick: bool) -> None:
    """What it costs that projects have workers by weight, beside the same without."""
    print(f"\n{'500 waiting for 100 workers, 4 projects':50}{'without':>13}{'with shares':>13}")
    for name, levels in (("20 classes", 1), ("500 priorities", 500)):
        medians = []
        for shared in (False, True):
            load = Sharing(500, levels, shared)
            load.run(0.7 if quick else 2)
            medians.append(1000 * sorted(load.steps)[len(load.steps) // 2])
        ratio = medians[1] / medians[0]
        print(f"{name:50}{medians[0]:>10.3f} ms{medians[1]:>10.3f} ms    x{ratio:.1f}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, without 100,000 waiting")
    quick = parser.parse_args().quick
    throughput(quick)
    single(quick)
    withheld(quick)
    shares(quick)


if __name__ == "__main__":
    main()
