"""Fences: of one name they only grow, whatever it is the name of, and whoever had it meanwhile (L62)."""

from collections.abc import Callable

import pytest

from lockstep.core.alloc_board import Board
from lockstep.core.alloc_facts import Granted
from lockstep.core.alloc_items import Series
from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import UnitSetup

from .compare import differs, over_the_wire
from .farm import Farm, units
from .kinds import KindWorld

MASTER = LockKey("master", "board")
POOL = LockKey("pool", "board")
HERE = LockKey("worker", "board", "w1")
THERE = LockKey("worker", "board", "w2")
KINDS: dict[str, tuple[LockKey, ...]] = {"master": (MASTER,), "pool": (POOL,), "worker": (HERE, THERE)}


def becomes(farm: Farm, kind: str) -> None:
    """A reload: this is what is called `board` now."""
    for key in KINDS[kind]:
        if key.kind == "pool":
            farm.allocator.set_pool("board", [UnitSetup("pi-1"), UnitSetup("pi-2")], 8)
        else:
            farm.allocator.set_lock(key, 2)
    for key in (each for other, keys in KINDS.items() if other != kind for each in keys):
        if key.kind != "pool":
            farm.allocator.forget_lock(key)
        elif "board" in farm.allocator.board.pools:
            farm.allocator.forget_pool("board")
    farm.decide()


def fence(farm: Farm, key: LockKey) -> int:
    """The fence of a grant that ends at once."""
    ticket = farm.get(Access(key))
    (found,) = farm.said(Granted)[0].fences
    farm.end(ticket)
    return int(found)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "kinds", ["master pool worker", "worker master pool", "pool worker master", "pool master pool"]
)
def test_L62_a_name_that_changes_its_kind_goes_on_counting(kinds: str, restart: bool) -> None:
    farm = Farm({})
    given = []
    for kind in (*kinds.split(), *kinds.split()):
        becomes(farm, kind)
        if restart:
            farm.allocator = over_the_wire(farm.allocator)
        given += [fence(farm, key) for key in KINDS[kind]]
    assert given == list(range(1, len(given) + 1))


@pytest.mark.parametrize("kinds", ["master worker", "worker pool", "pool master"])
def test_L62_who_comes_after_the_old_ones_last_waiter_has_the_greater_number(kinds: str) -> None:
    """The new kind is there already while old claims are still served."""
    was, now = kinds.split()
    old, new = KINDS[was][0], KINDS[now][0]
    farm = Farm({})
    becomes(farm, was)
    first, second = farm.get(units(2, old)), farm.ask(units(2, old))
    becomes(farm, now)
    third = farm.ask(units(2, new))
    assert farm.end(first) == [second]
    assert farm.said(Granted)[0].fences == (2,)
    assert farm.end(second) == [third]
    assert farm.said(Granted)[0].fences == (3,)


def test_L62_a_restart_knows_the_fence_of_a_kind_that_is_gone() -> None:
    farm = Farm({MASTER: 1})
    assert fence(farm, MASTER) == 1
    becomes(farm, "pool")
    assert MASTER not in farm.allocator.board.locks
    farm.allocator = over_the_wire(farm.allocator)
    assert fence(farm, POOL) == 2


def test_L62_each_lock_tells_the_last_fence_that_was_its_own() -> None:
    farm = Farm({HERE: 1, THERE: 1})
    assert [fence(farm, HERE), fence(farm, THERE)] == [1, 2]
    assert [farm.allocator.reasons.fence(key) for key in (HERE, THERE)] == [1, 2]


FAULTS: dict[str, tuple[type, str, Callable[..., object]]] = {
    "each lock counts for itself": (Board, "series_of", lambda self, key: Series()),
    "each kind counts for itself": (
        Board,
        "series_of",
        lambda self, key: self.series.setdefault(f"{key.kind} {key.name}", Series()),
    ),
    "what was given before a restart is not known": (Series, "reached", lambda self, fence: None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_in_random_worlds_a_planted_fault_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, method, fault = FAULTS[name]
    monkeypatch.setattr(where, method, fault)
    assert any(differs(seed, kind=KindWorld, restart=True) for seed in range(60))
