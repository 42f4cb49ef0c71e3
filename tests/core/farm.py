"""A small world for rule tests: an allocator with a few locks, and words for what people do to it."""

from typing import Any

from lockstep.core.alloc_facts import (
    Decision,
    Granted,
)
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Claim, LockKey, Need

DB = LockKey("master", "db")
NET = LockKey("master", "net")


def slot(worker: str) -> LockKey:
    return LockKey("slot", "", worker)


def units(count: int, key: LockKey = DB) -> Access:
    return Access(key, "counting", count)


def whole(key: LockKey = DB) -> Access:
    return Access(key, "exclusive")


def need(*accesses: Access) -> Need:
    return Need((Alternative("", accesses),))


def on_workers(*workers: str, shared: tuple[Access, ...] = ()) -> Need:
    return Need(tuple(Alternative(worker, (*shared, Access(slot(worker)))) for worker in workers))


class Farm:
    """An allocator, and the tickets of what it granted."""

    def __init__(self, limits: dict[LockKey, int], k: int = 8) -> None:
        self.allocator = Allocator()
        self.k = k
        self.last = 0
        self.hold_of: dict[int, int] = {}
        self.decisions: list[Decision] = []
        for key, limit in limits.items():
            self.allocator.set_lock(key, limit, k)

    def ask(self, what: Need | Access, **more: Any) -> int:
        """One more claim; its ticket."""
        self.last += 1
        wanted = what if isinstance(what, Need) else need(what)
        ticket = more.pop("ticket", self.last)
        more.setdefault("owner", ticket)
        self.allocator.submit(Claim(ticket, wanted, **more))
        return int(ticket)

    def step(self, owner: int, what: Access) -> int:
        return self.ask(what, owner=owner, level=STEP_LEVEL)

    def decide(self) -> list[int]:
        """Decide, check that a second look decides nothing, and say which tickets were granted."""
        self.decisions = self.allocator.decide()
        assert self.allocator.decide() == []
        assert self.allocator.full_pass() == []
        granted = [each for each in self.decisions if isinstance(each, Granted)]
        self.hold_of.update({each.ticket: each.hold for each in granted})
        return [each.ticket for each in granted]

    def get(self, what: Need | Access, **more: Any) -> int:
        """A claim that is granted at once."""
        ticket = self.ask(what, **more)
        assert self.decide() == [ticket]
        return ticket

    def end(self, ticket: int) -> list[int]:
        self.allocator.release(self.hold_of[ticket])
        return self.decide()

    def said(self, kind: type) -> list[Any]:
        return [each for each in self.decisions if isinstance(each, kind)]
