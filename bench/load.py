"""What decide.py and compare.py measure: a system under a load that keeps many waiting.

It names nothing that earlier commits do not have, so that compare.py can load it with their sources.
"""

import random
import time
from collections.abc import Callable

from lockstep.core.alloc_facts import Granted
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import Access, Alternative, Claim, LockKey, Need

HOT = LockKey("master", "hot")
Pick = Callable[[], tuple[Need, int]]


def needs_of_one(classes: int, counted: bool) -> list[Need]:
    """Different needs for one hot lock. What tells them apart is a roomy second lock."""
    needs = []
    for number in range(classes):
        exclusive = not counted or number % 5 == 4
        access = Access(HOT, "exclusive") if exclusive else Access(HOT, "counting", number % 4 + 1)
        other = Access(LockKey("master", f"own {number}"))
        needs.append(Need((Alternative("", (access, other)),)))
    return needs


def needs_of_workers(classes: int, workers: int) -> list[Need]:
    """Needs with all workers as alternatives, in different orders."""
    needs = []
    for number in range(classes):
        shift = number % workers
        order = [*range(shift, workers), *range(shift)]
        own = () if classes == 1 else (Access(LockKey("master", f"own {number}")),)
        alternatives = (Alternative(f"w{w}", (Access(LockKey("slot", "", f"w{w}")), *own)) for w in order)
        needs.append(Need(tuple(alternatives)))
    return needs


def declare(allocator: Allocator, needs: list[Need], limits: dict[str, int]) -> None:
    """Make the locks that these needs name."""
    keys = {access.lock for need in needs for way in need.alternatives for access in way.accesses}
    for key in sorted(keys):
        allocator.set_lock(key, limits.get(key.name or key.kind, 1_000_000))


class Load:
    """A system under a load that keeps so many waiting."""

    def __init__(self, needs: list[Need], limits: dict[str, int], waiting: int, levels: int = 1) -> None:
        self.allocator = Allocator()
        self.random = random.Random(1)
        self.needs = needs
        self.levels = levels
        self.waiting = waiting
        self.running: list[int] = []
        self.ticket = 0
        self.steps: list[float] = []
        declare(self.allocator, needs, limits)
        for need in needs:  # every kind of build has been asked for before
            self.ticket += 1
            self.allocator.submit(Claim(self.ticket, need, self.ticket))
            self.allocator.cancel(self.ticket)
        for _ in range(waiting):
            self.arrive()
        self.decide()

    def arrive(self) -> None:
        """One more claim."""
        self.ticket += 1
        level = self.draw(self.levels) if self.levels > 1 else 0
        need = self.needs[self.draw(len(self.needs))]
        self.allocator.submit(Claim(self.ticket, need, self.ticket, level, self.ticket))

    def draw(self, choices: int) -> int:
        """One of so many, from 0: quicker than `Random.randrange`, as what the load itself costs counts too."""
        return int(self.random.random() * choices)

    def decide(self) -> int:
        """Decide, and remember what runs."""
        granted = 0
        for decision in self.allocator.decide():
            if type(decision) is Granted:
                granted += 1
                self.running.append(decision.hold)
        return granted

    def run(self, seconds: float) -> float:
        """Grants a second, after a time to settle."""
        self._rounds(seconds / 2)
        self.steps.clear()
        started = time.process_time()
        granted = self._rounds(seconds)
        return granted / (time.process_time() - started)

    def _rounds(self, seconds: float) -> int:
        granted = 0
        until = time.process_time() + seconds
        now = time.process_time()
        while now < until:
            granted += self._round()
            before, now = now, time.process_time()
            self.steps.append(now - before)
        return granted

    def rounds(self, number: int) -> int:
        """Grants in so many rounds."""
        return sum(self._round() for _ in range(number))

    def _round(self) -> int:
        if self.running:
            position = self.draw(len(self.running))
            self.running[position], self.running[-1] = self.running[-1], self.running[position]
            self.allocator.release(self.running.pop())
        granted = self.decide()
        for _ in range(max(1, self.waiting - len(self.allocator.waiting))):
            self.arrive()
        return granted + self.decide()
