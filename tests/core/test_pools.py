"""Pools: any k of the named units that `where` admits (LOCKS.md section 10), decided as the dumb one decides."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lockstep.core import alloc_pools
from lockstep.core.alloc_barriers import Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_facts import Granted, PoolTwiceError, normalize
from lockstep.core.alloc_families import Families
from lockstep.core.alloc_pools import VIEWS_START, Pool
from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import UnitSetup
from lockstep.core.where import WhereError, parse

from .compare import differs, drained, over_the_wire
from .farm import Farm, need, on_workers, slot, units
from .pooled import PooledWorld
from .worlds import Event

ARM = ("arm64",)
BOARDS = (
    UnitSetup("pi-1", ARM),
    UnitSetup("pi-2", (*ARM, "flaky")),
    UnitSetup("pi-3", ARM),
    UnitSetup("nuc-1", ("amd64",)),
)


def some(count: int = 1, where: str = "") -> Access:
    return Access(LockKey("pool", "boards", where=where), "counting", count)


def every(where: str = "") -> Access:
    return Access(LockKey("pool", "boards", where=where), "exclusive")


class Boards(Farm):
    """A farm with the four boards."""

    def __init__(self, k: int = 8) -> None:
        super().__init__({}, k)
        self.allocator.set_pool("boards", BOARDS, k)

    def units(self, ticket: int) -> tuple[str, ...]:
        return dict(self.allocator.holds[self.hold_of[ticket]].units)["boards"]

    def has(self, access: Access, *names: str) -> int:
        ticket = self.get(access)
        assert self.units(ticket) == names
        return ticket


# --- which units


def test_a_claim_gets_so_many_of_the_units_that_where_admits() -> None:
    farm = Boards()
    farm.has(some(2, "arm64 and not flaky"), "pi-1", "pi-3")
    waits = farm.ask(some(1, "arm64 and not flaky"))
    assert farm.decide() == []
    farm.has(some(1, "amd64"), "nuc-1")
    farm.has(some(1, "arm64"), "pi-2")
    assert farm.allocator.reasons.obstacles(waits)[0].kind == "held"


def test_a_unit_can_be_asked_for_by_its_name() -> None:
    farm = Boards()
    farm.has(some(1, "pi-2 or nuc-1"), "nuc-1")
    farm.has(some(1, "pi-2 or nuc-1"), "pi-2")


def test_units_wear_evenly() -> None:
    farm = Boards()
    used = []
    for _ in range(6):
        ticket = farm.get(some(1, "arm64"))
        used.append(farm.units(ticket)[0])
        farm.end(ticket)
    assert used == ["pi-1", "pi-2", "pi-3"] * 2


@pytest.mark.parametrize("restart", [False, True])
def test_a_unit_that_is_new_begins_as_worn_as_the_least_worn_of_the_others(restart: bool) -> None:
    farm = Boards()
    for _ in range(20):
        farm.end(farm.get(some(1, "arm64")))
    farm.allocator.set_pool("boards", (*BOARDS, UnitSetup("pi-0", ARM)), 8)
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    used = []
    for _ in range(6):
        ticket = farm.get(some(1, "arm64"))
        used.append(farm.units(ticket)[0])
        farm.end(ticket)
        if restart:
            farm.allocator = over_the_wire(farm.allocator)
    assert used == ["pi-0", "pi-3", "pi-0", "pi-1", "pi-2", "pi-3"]
    assert farm.allocator.reasons.worn("boards")["pi-0"] == 2, "so often was it handed over"


def test_L2_exclusive_takes_every_unit_that_where_admits_once_nobody_has_any() -> None:
    farm = Boards()
    one = farm.has(some(1, "pi-2"), "pi-2")
    whole = farm.ask(every("arm64"))
    assert farm.decide() == []
    farm.has(some(1, "amd64"), "nuc-1")
    assert farm.end(one) == [whole]
    assert farm.units(whole) == ("pi-1", "pi-2", "pi-3")


def test_L5_more_than_there_are_waits_and_reserves_nothing() -> None:
    farm = Boards(k=0)
    many = farm.ask(some(3, "arm64 and not flaky"))
    farm.has(some(1, "pi-1"), "pi-1")
    (why,) = farm.allocator.reasons.impossible(many)
    assert (why.count, why.limit) == (3, 2)


def test_a_pool_that_nobody_declared_has_no_units() -> None:
    farm = Farm({})
    farm.ask(some())
    assert farm.decide() == []


def test_L12_two_different_wheres_of_one_pool_are_no_claim() -> None:
    assert normalize([some(1, "arm64"), some(1, "arm64")]) == (some(2, "arm64"),)
    with pytest.raises(PoolTwiceError, match=r"boards where amd64"):
        normalize([some(1, "arm64"), some(1, "amd64")])


# --- reservations (L42)


def test_L42_a_barrier_of_one_where_keeps_units_from_another_only_if_it_needs_them() -> None:
    """Somebody due wants one of pi-1 and pi-2, and a slot that is taken: the other of the two may be had."""
    farm = Boards(k=0)
    farm.allocator.set_lock(slot("w"), 1)
    busy = farm.get(Access(slot("w")))
    waits = farm.ask(need(some(1, "pi-1 or pi-2"), Access(slot("w"))))
    farm.has(some(1, "pi-1"), "pi-1")
    last = farm.ask(some(1, "pi-2"))
    assert farm.decide() == []
    assert farm.allocator.reasons.obstacles(last)[0].kind == "reserved"
    assert farm.end(busy) == [waits]
    assert farm.units(waits) == ("pi-2",)


def test_L41_who_could_take_another_unit_leaves_the_one_that_is_reserved() -> None:
    farm = Boards(k=0)
    farm.allocator.set_lock(slot("w"), 1)
    farm.get(Access(slot("w")))
    farm.ask(need(some(1, "pi-1"), Access(slot("w"))))
    farm.has(some(1, "arm64"), "pi-2")
    farm.has(some(1, "arm64"), "pi-3")


def test_L41_only_grants_of_units_that_would_have_done_overtake() -> None:
    farm = Boards(k=2)
    first = farm.has(every(), "nuc-1", "pi-1", "pi-2", "pi-3")
    waits = farm.ask(need(some(1, "arm64"), Access(slot("away"))))
    farm.end(first)
    for where in ("amd64", "arm64", "pi-2"):
        farm.end(farm.get(some(1, where)))
    key = LockKey("pool", "boards", where="arm64")
    assert farm.allocator.reasons.overtaken(waits, key) == 2


# --- quarantine and reloads (L6)


def test_nobody_gets_a_unit_in_quarantine_and_who_has_it_keeps_it() -> None:
    farm = Boards()
    has = farm.has(some(1, "flaky"), "pi-2")
    farm.allocator.quarantine("boards", "pi-2", True)
    assert farm.units(has) == ("pi-2",)
    waits = farm.ask(some(1, "flaky"))
    assert farm.end(has) == []
    farm.allocator.quarantine("boards", "pi-2", False)
    assert farm.decide() == [waits]


def test_L6_a_unit_that_is_removed_is_given_to_nobody_and_a_new_one_at_once() -> None:
    farm = Boards()
    has = farm.has(some(1, "amd64"), "nuc-1")
    waits = farm.ask(some(1, "amd64"))
    farm.allocator.set_pool("boards", BOARDS[:3], 8)
    assert farm.end(has) == []
    farm.allocator.set_pool("boards", (*BOARDS[:3], UnitSetup("nuc-2", ("amd64",))), 8)
    assert farm.decide() == [waits]
    assert farm.units(waits) == ("nuc-2",)


# --- lending (L53)


@pytest.mark.parametrize("restart", [False, True])
def test_L6_a_lock_that_becomes_a_pool_admits_nobody_until_the_lock_is_free(restart: bool) -> None:
    lock = LockKey("master", "boards")
    farm = Farm({lock: 2})
    first, old = farm.get(units(2, lock)), farm.ask(units(1, lock))
    farm.decide()
    farm.allocator.set_pool("boards", BOARDS)
    farm.allocator.forget_lock(lock)
    new = farm.ask(some(2))
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == []
    assert farm.end(first) == [old]
    assert farm.end(old) == [new]
    assert lock not in farm.allocator.board.locks


@pytest.mark.parametrize("restart", [False, True])
def test_L6_a_pool_that_becomes_a_lock_is_in_the_way_until_it_is_free(restart: bool) -> None:
    lock = LockKey("master", "boards")
    farm = Boards()
    first, old = farm.get(some(1, "pi-2")), farm.ask(some(1, "pi-2"))
    farm.allocator.quarantine("boards", "pi-2", True)
    farm.decide()
    farm.allocator.set_lock(lock, 1)
    farm.allocator.forget_pool("boards")
    new = farm.ask(units(1, lock))
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == []
    farm.allocator.quarantine("boards", "pi-2", False)
    assert farm.end(first) == [old]
    assert farm.end(old) == [new]
    late = farm.ask(some(1))
    assert farm.decide() == [], "who wants something of the pool once more waits for the lock"
    again = farm.ask(units(1, lock))
    assert farm.end(new) == [late]
    assert farm.end(late) == [again]


@pytest.mark.parametrize("restart", [False, True])
def test_L6_a_pool_that_is_back_is_not_had_twice(restart: bool) -> None:
    """Somebody has a unit, the pool became a lock for a while, and somebody waits for that."""
    lock = LockKey("master", "boards")
    farm = Boards()
    first = farm.get(some(1))
    farm.allocator.set_lock(lock, 1)
    farm.allocator.forget_pool("boards")
    second = farm.ask(units(1, lock))
    farm.decide()
    farm.allocator.set_pool("boards", BOARDS, 8)
    farm.allocator.forget_lock(lock)
    third = farm.ask(some(1))
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == []
    assert farm.end(first) == [second]
    assert farm.end(second) == [third]


def test_L53_a_child_gets_its_parents_unit_first_and_with_its_fence() -> None:
    farm = Boards()
    parent = farm.has(some(2, "arm64"), "pi-1", "pi-2")
    child = farm.get(some(3, "arm64"), parent=parent)
    assert farm.units(child) == ("pi-1", "pi-2", "pi-3")
    other = farm.ask(some(1, "flaky"), parent=parent)
    assert farm.decide() == [], "its sibling has it"
    farm.end(child)
    (granted,) = [each for each in farm.decisions if isinstance(each, Granted)]
    assert (granted.ticket, granted.units, granted.fences) == (other, (("boards", ("pi-2",)),), (1,))
    assert granted.lent == (LockKey("pool", "boards", where="flaky"),)


def test_L53_a_lent_unit_is_free_when_both_have_ended() -> None:
    farm = Boards()
    parent = farm.has(some(1, "flaky"), "pi-2")
    child = farm.get(some(1, "flaky"), parent=parent)
    waits = farm.ask(some(1, "flaky"))
    assert farm.end(parent) == []
    assert farm.end(child) == [waits]


def test_L52_a_ring_of_units_is_found() -> None:
    farm = Boards()
    one, two = farm.get(some(1, "pi-1")), farm.get(some(1, "pi-2"))
    farm.step(one, some(1, "flaky"))
    farm.step(two, some(1, "pi-1"))
    farm.decide()
    assert [each.ticket for each in farm.decisions] == [two]


def test_L60_a_restart_keeps_units_wear_and_quarantine() -> None:
    farm = Boards()
    has = farm.get(some(1, "arm64"))
    farm.end(farm.get(some(1, "pi-2")))
    farm.allocator.quarantine("boards", "nuc-1", True)
    farm.allocator = over_the_wire(farm.allocator)
    assert farm.units(has) == ("pi-1",)
    farm.has(some(1), "pi-3")
    farm.has(some(1), "pi-2")
    farm.ask(some(1))
    assert farm.decide() == []


def test_what_was_asked_for_once_is_forgotten_and_what_is_held_or_waited_for_is_not() -> None:
    """People ask for units in words of their own: a grant would have to store what each of them remembers (L45)."""
    farm = Boards()
    farm.has(some(1, "nuc-1 or pi-9"), "nuc-1")
    waits = farm.ask(some(1, "amd64 and not pi-1"))
    for number in range(500):
        farm.end(farm.get(some(1, f"arm64 and not x{number}")))
    memory = farm.allocator.reasons.pool_memory("boards")
    assert len(memory.views) <= VIEWS_START + 1
    assert {"", "nuc-1 or pi-9", "amd64 and not pi-1"} <= {where for where, _ in memory.views}
    farm.allocator = over_the_wire(farm.allocator)
    assert farm.end(1) == [waits]


class Steadfast(PooledWorld):
    """Nobody who waits wants something else: only who then wants the old again can miss what a view remembered."""

    def change_need(self) -> list[Event]:
        return []


@pytest.mark.parametrize("restart", [False, True])
def test_a_view_that_nobody_needs_is_forgotten_and_nobody_notices(
    restart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alloc_pools, "VIEWS_START", 1)
    for seed in range(60):
        assert not differs(seed, restart=restart, kind=Steadfast)


def test_alternatives_on_workers_and_units_are_taken_together() -> None:
    farm = Boards()
    for worker in ("a", "b"):
        farm.allocator.set_lock(slot(worker), 1)
    wanted = on_workers("a", "b", shared=(some(2, "arm64"),))
    first, second = farm.ask(wanted), farm.ask(wanted)
    assert farm.decide() == [first]
    assert farm.end(first) == [second]


# --- the words of a where


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("a", "a"),
        ("  a  and(b or not c )", "a and (b or not c)"),
        ("not (a or b) and not not c", "not (a or b) and not not c"),
        ("(a and b) and c", "a and b and c"),
        ("a or b and c", "a or (b and c)"),
    ],
)
def test_a_where_is_read(text: str, told: str) -> None:
    assert str(parse(text)) == told
    assert parse(told) == parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a and", "a label is missing at the end"),
        ("and b", r"a label is missing before 'and' \(character 1\)"),
        ("(a or b", r"'\)' is missing"),
        ("a b", r"'and' or 'or' is missing before 'b' \(character 3\)"),
        ("a)", r"'\)' is too many"),
        ("a == b", r"'=' means nothing \(character 3\)"),
        ("(" * 51 + "a", r"more than 50 of '\(' and 'not'"),
        ("a or " * 200 + "a", "it has 1001 characters, and may have 1000"),
    ],
)
def test_a_where_that_means_nothing_says_why(text: str, why: str) -> None:
    with pytest.raises(WhereError, match=why):
        parse(text)


# --- the dumb one


@pytest.mark.parametrize("block", range(4))
def test_quick_and_dumb_give_the_same_units(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        assert not (difference := differs(seed, kind=PooledWorld, restart=seed % 3 == 0)), difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(40))
def test_quick_and_dumb_give_the_same_units_in_many_worlds(block: int) -> None:
    for seed in range(10_000 + block * 50, 10_050 + block * 50):
        assert not (difference := differs(seed, kind=PooledWorld, events=100, restart=seed % 3 == 0)), difference


def test_everything_that_can_finish_does_where_there_are_pools() -> None:
    for seed in range(100):
        assert not drained(seed, PooledWorld), f"seed {seed}"


def by_name(self: Pool, units: int) -> list[int]:
    every = [at for at in range(len(self.names)) if units >> at & 1]
    return [1 << at for at in sorted(every, key=lambda at: self.names[at])]


def free_and_unreserved(self: Pool, view: Any, anew: int, demands: Any) -> bool:
    """As if every reservation at another view took of this one's units."""
    free = view.mask & self.usable & ~self.taken
    return free.bit_count() - sum(count for mask, count in demands if mask & view.mask) >= anew


def of_this_view(self: Pool, view: Any, anew: int, demands: Any) -> bool:
    free = view.mask & self.usable & ~self.taken
    return free.bit_count() - sum(count for mask, count in demands if mask == view.mask) >= anew


def only_what_is_free(demands: Any, given: list[int], free: int, at: int) -> int:
    left: int = demands[at][0] & free & ~sum(given)
    return left & -left


def also_sick_ones(self: Pool) -> None:
    sick, self.sick = self.sick, 0
    REAL_REFRESH(self)
    self.sick = sick


def never(*_: Any) -> Iterator[int]:
    return iter(())


REAL_REFRESH = Pool.refresh

MUTANTS: dict[str, tuple[Any, str, Callable[..., Any], tuple[int, ...]]] = {
    "what barriers could have is not looked at": (Barriers, "demands", lambda self, c, pool: [], (1, 10)),
    "a change concerns no other view": (Board, "open_pool", lambda self, pool: None, (8, 11)),
    "the first by name is given": (Pool, "_least_worn", by_name, (1, 3)),
    "a unit in quarantine is given": (Pool, "refresh", also_sick_ones, (9, 12)),
    "a grant overtakes at its own view": (Pool, "touched", lambda self, units: [], (4, 5)),
    "only reservations of the same view count": (Pool, "leaves_enough", of_this_view, (10,)),
    "reservations of views that overlap are added": (Pool, "leaves_enough", free_and_unreserved, (1, 10)),
    "nobody moves aside for another": (alloc_pools, "_find", only_what_is_free, (10, 39)),
    "wear is not counted": (Pool, "wear_out", lambda self, units: None, (1, 3)),
    "no unit is lent": (Families, "kin", lambda self, owner: frozenset(), (1, 4)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_planted_fault_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, method, fault, worlds = MUTANTS[name]
    monkeypatch.setattr(where, method, fault)

    def caught(seed: int) -> bool:
        try:
            return bool(differs(seed, kind=PooledWorld, events=40))
        except (AssertionError, KeyError, ValueError, IndexError, StopIteration):
            return True

    assert any(caught(seed) for seed in (*worlds, *range(60))), f"not caught: {name}"
