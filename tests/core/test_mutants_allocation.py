"""Planted faults: each literal or forgetful reading of a rule is caught by the comparison within 500 seeds.

This is the one place where the code under test is replaced; it tests the tests.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lockstep.core.alloc_barriers import Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_families import Families
from lockstep.core.alloc_items import NO_BARRIER, WHOLE, Lock
from lockstep.core.alloc_queues import Queues
from lockstep.core.alloc_search import Search
from lockstep.core.alloc_waits import Waits
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import Claim

from .compare import differs
from .kinds import KindWorld
from .returning import ReturningWorld

SEEDS = 500

WORLDS_OF = {
    "a suspended reservation is no release": 13,
    "an arriving step changes nothing for others": 354,
    "the oldest of a ring is sentenced": 18,
    "the youngest of a ring is sentenced, whether it has anything or not": 48,
}
"""A world in which the fault was noticed once: it is looked at first, then all of them."""


def nobody(*_: Any) -> Iterator[int]:
    return iter(())


def directly_only(self: Waits, start: int) -> set[int]:
    return set(self.edges(start))


def pin_to_the_first(self: Barriers, c: ClaimClass) -> int:
    return next((index for index in range(len(c.alts)) if self.may_reserve(c, index) and self.due(c, index)), -1)


def arrival_is_no_change(self: Queues, claim: Claim) -> None:
    self.board.suspects[claim.owner] = None


def forget_limits(self: Barriers) -> None:
    self.board.limits_moved.clear()


def ghost(self: Allocator, ticket: int) -> None:
    claim = self.waiting.get(ticket)
    if claim is None:
        return
    if claim.owner != ticket or self.board.class_of[ticket].ticket != ticket:  # a ring is broken as ever
        self.queues.dequeue(claim)


def leak(self: Allocator, hold: int) -> None:
    if hold % 10:
        REAL_RELEASE(self, hold)


def oldest(self: Waits, ring: Any) -> int:
    return min((link.owner for link in ring if self.may_retry(link.owner)), default=0)


def any_of_the_ring(self: Waits, ring: Any) -> int:
    return max((link.owner for link in ring if self.may_retry(link.owner)), default=0)


def ends_with_the_lender(self: Families, hold: int, owner: int, accesses: tuple[tuple[Lock, int], ...]) -> None:
    for lock, _ in accesses:
        del lock.holds[hold]
        lock.used = sum(units for each, units in lock.holds.items() if self.board.holds[each].owner != owner)
        if not any(self.board.holds[each].owner in self.board.parent_of for each in lock.holds):
            lock.used = self.recount(lock)


def as_if_the_lender_had_none(self: Families, owner: int, lock: Lock, units: int, gone: Any = ()) -> int:
    return units


def fence_of_its_own(self: Families, owner: int, lock: Lock) -> int:
    lock.fence += 1
    return lock.fence


def without_siblings(self: Families, owner: int, lock: Lock, gone: Any) -> int:
    return 0


def everybody_was_overtaken(self: Any, *_: Any) -> tuple[int, int, int]:
    return 0, self.board.clock + 1, self.board.clock + 1


def nobody_at_all(self: Any, lock: Any) -> set[int]:
    return set()


REAL_RELEASE = Allocator.release
REAL_RANK = Barriers.plain_rank

MUTANTS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "a barrier bars the whole lock": (Barriers, "reserved", lambda self, units: WHOLE),
    "equal steps share one queue": (Queues, "is_special", lambda self, claim: False),
    "every claim is a class of its own": (Queues, "is_special", lambda self, claim: True),
    "nobody is spared": (Barriers, "spares", lambda self, barrier, c: False),
    "everybody is spared": (Barriers, "spares", lambda self, barrier, c: True),
    "L46 without holders": (Waits, "held_edges", nobody),
    "L46 without barriers before": (Waits, "barrier_edges", nobody),
    "L46 without children": (Waits, "child_edges", nobody),
    "L46 without others": (Waits, "_closure", directly_only),
    "only later tickets count": (Barriers, "entries", lambda self, ticket, *_: (0, ticket, ticket)),
    "lower rank counts for everybody for ever": (
        Barriers,
        "entries",
        lambda self, *_: (0, self.board.clock + 1, self.board.clock + 1),
    ),
    "impossible claims reserve": (Barriers, "may_reserve", lambda self, c, index: True),
    "the ticket is lost on RETRY": (Barriers, "plain_rank", lambda self, c, ticket: REAL_RANK(self, c, c.since)),
    "a step is ranked among barriers by its own ticket": (Barriers, "barrier_rank", lambda self, c: c.ticket),
    "priority means nothing": (Barriers, "plain_rank", lambda self, c, ticket: NO_BARRIER + ticket),
    "barriers are not first": (Barriers, "barrier_rank", lambda self, c: self.plain_rank(c, c.ticket)),
    "a suspended reservation is no release": (Barriers, "suspended", lambda self, lock: None),
    "an arriving step changes nothing for others": (Queues, "note_arrival", arrival_is_no_change),
    "what spares is not looked at again": (Search, "offer_barred", lambda self: None),
    "a limit change pins nothing anew": (Barriers, "_recheck_limits", forget_limits),
    "a cancelled first waiter stays as a ghost": (Allocator, "cancel", ghost),
    "one release of ten leaks": (Allocator, "release", leak),
    "a worker's own locks are reserved at once": (Barriers, "is_free", lambda self, c: True),
    "the pin is the first alternative": (Barriers, "choose", pin_to_the_first),
    "there are no barriers": (Barriers, "choose", lambda self, c: -1),
    "the oldest of a ring is sentenced": (Waits, "youngest", oldest),
    "the youngest of a ring is sentenced, whether it has anything or not": (Waits, "youngest", any_of_the_ring),
    "lending without the end of the lender": (Families, "_held_below", lambda self, owner: {}),
    "lending without the end of the borrower": (Families, "give_back", ends_with_the_lender),
    "what one shares is in the way of raising it": (Families, "raises", lambda self, owner, lock, units: False),
    "nothing is lent": (Families, "lender", lambda self, owner, lock: 0),
    "what is lent is taken anew": (Families, "anew", as_if_the_lender_had_none),
    "siblings do not count": (Families, "_lent", without_siblings),
    "a loan has a fence of its own": (Families, "lent_fence", fence_of_its_own),
    "a stranger is a lender": (Families, "strangers", nobody),
    "rings are not found": (Waits, "find_ring", lambda self, suspects: ()),
}


def caught(seed: int) -> bool:
    try:
        return bool(differs(seed))
    except (AssertionError, KeyError, ValueError, IndexError):
        return True


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, method, fault = MUTANTS[name]
    monkeypatch.setattr(where, method, fault)
    worlds = [WORLDS_OF.get(name, 0), *range(SEEDS)]
    assert any(caught(seed) for seed in worlds), f"not caught in {SEEDS} seeds: {name}"


def test_that_who_could_borrow_is_not_looked_at_again_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a parent that claims more while its child waits behind others: longer worlds have that."""
    monkeypatch.setattr(Queues, "offer_family", lambda self, owner: None)
    assert any(differs(seed, events=120) for seed in range(715, 730))


def test_that_a_child_never_regains_its_place_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children go back to the queue while somebody waits for them in worlds of their own."""
    monkeypatch.setattr(Allocator, "_stands_back", lambda self, owner: False)
    assert any(differs(seed, kind=ReturningWorld) for seed in (57, 124, 145, 178))


def test_that_nobody_waits_for_what_keeps_a_lock_closed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names change their kind in worlds of their own."""
    monkeypatch.setattr(Board, "closers", nobody_at_all)
    assert any(differs(seed, kind=KindWorld) for seed in range(60))
