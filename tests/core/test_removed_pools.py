"""Pools that a reload removed, and what has their name now: never had at once, whatever happens meanwhile (L6)."""

from lockstep.core.alloc_part import give_back
from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import UnitSetup

from .compare import over_the_wire
from .farm import NET, Farm, need, units, whole

POOL = LockKey("pool", "boards")
LOCK = LockKey("master", "boards")


def with_pool(limits: dict[LockKey, int]) -> Farm:
    farm = Farm(limits)
    farm.allocator.set_pool("boards", [UnitSetup("pi-1")], 8)
    return farm


def one(key: LockKey) -> Access:
    return units(1, key)


def test_L6_L60_a_restart_knows_that_a_pool_is_removed_which_somebody_only_has() -> None:
    farm = with_pool({})
    first = farm.get(one(POOL))
    farm.allocator.set_lock(LOCK, 1, 8)
    farm.allocator.forget_pool("boards")
    new = farm.ask(one(LOCK))
    farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == []
    assert farm.end(first) == [new]


def test_L6_L24_a_claim_that_comes_to_want_a_removed_pool_waits_for_who_has_the_lock_of_its_name() -> None:
    farm = with_pool({NET: 1, LOCK: 1})
    farm.allocator.forget_pool("boards")
    farm.get(one(NET))
    waits = farm.ask(one(NET))
    lock = farm.get(one(LOCK))
    farm.allocator.replace(waits, need(one(POOL)))
    assert farm.decide() == []
    late = farm.ask(one(LOCK))
    assert farm.end(lock) == [waits]
    assert farm.end(waits) == [late]


def test_L6_L30_who_waits_for_the_pool_is_served_when_a_hold_gives_the_removed_lock_back() -> None:
    """Somebody waits in vain for that lock: it does not go away, but nobody can have it."""
    farm = Farm({LOCK: 1, NET: 1})
    both = farm.get(need(one(LOCK), one(NET)))
    farm.ask(one(LOCK))
    farm.allocator.set_lock(LOCK, 0, 8)
    farm.allocator.set_pool("boards", [UnitSetup("pi-1")], 8)
    farm.allocator.forget_lock(LOCK)
    waits = farm.ask(one(POOL))
    assert farm.decide() == []
    give_back(farm.allocator, farm.hold_of[both], {LOCK})
    assert farm.decide() == [waits]


def test_L6_a_lock_and_a_pool_of_one_name_both_removed_are_served_one_after_the_other() -> None:
    farm = Farm({LOCK: 1})
    first, lock = farm.get(whole(LOCK)), farm.ask(whole(LOCK))
    farm.decide()
    farm.allocator.set_pool("boards", [UnitSetup("pi-1")], 8)
    farm.allocator.forget_lock(LOCK)
    pool = farm.ask(one(POOL))
    farm.decide()
    farm.allocator.forget_pool("boards")
    assert farm.decide() == []
    (next_,) = farm.end(first)
    assert farm.end(next_) == [({lock, pool} - {next_}).pop()]
