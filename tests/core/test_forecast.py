"""Runs of the same allocation forward: when waiting claims are granted, if builds take as long as is supposed (L70)."""

import pytest
from msgspec.structs import replace

from lockstep.core.alloc_facts import Granted
from lockstep.core.allocation import Allocator
from lockstep.core.forecast import OWN_WORKER, Course, Future, Going, Phase, first_claims, grants_in, likely
from lockstep.core.nouns import Access, Alternative, Claim, LockKey, Need
from lockstep.core.values import ShareRule, UnitSetup

DB = LockKey("master", "db")
DISK = LockKey("worker", "disk", "w")
SLOT = LockKey("slot", "", "w")
DAY = 86400.0


def builds(*tickets: int, accesses: tuple[Access, ...] = (), slots: int = 1, limit: int = 1) -> Allocator:
    """Requests that want the worker and maybe locks; who can be is granted."""
    allocator = Allocator()
    allocator.set_lock(SLOT, slots)
    allocator.set_lock(DB, limit)
    allocator.set_lock(DISK, 1)
    for ticket in tickets:
        allocator.submit(Claim(ticket, Need((Alternative("w", (Access(SLOT), *accesses)),)), ticket))
    return allocator


def start(allocator: Allocator) -> dict[int, int]:
    """Ticket to hold of what is granted now."""
    return {d.ticket: d.hold for d in allocator.decide() if isinstance(d, Granted)}


def course(*seconds: float) -> Course:
    return tuple(Phase(each) for each in seconds)


def test_one_after_the_other() -> None:
    allocator = builds(1, 2, 3)
    holds = start(allocator)
    going = Going(1, holds[1], "w", course(10, 20))
    found = grants_in(allocator.snapshot(), Future((going,), {2: course(5), 3: course(7)}), DAY, 1000)
    assert found == {2: 30.0, 3: 35.0}


def test_the_allocator_that_was_asked_is_as_it_was() -> None:
    allocator = builds(1, 2)
    holds = start(allocator)
    before = allocator.snapshot()
    grants_in(before, Future((Going(1, holds[1], "w", course(1)),), {2: course(5)}), DAY, 1000)
    assert allocator.snapshot() == before


def test_steps_to_come_claim_their_locks_before_requests_get_them() -> None:
    """Build 1 will claim `db` in its second step; build 2 has it until then, and request 3 wants it too."""
    allocator = builds(1, slots=3)
    both = Need((Alternative("w", (Access(SLOT), Access(DB, "exclusive"))),))
    for ticket in (2, 3):
        allocator.submit(Claim(ticket, both, ticket))
    holds = start(allocator)
    steps = (Phase(10), Phase(50, (Access(DB, "exclusive"),)), Phase(5))
    going = (Going(1, holds[1], "w", steps), Going(2, holds[2], "w", course(20)))
    assert grants_in(allocator.snapshot(), Future(going, {3: course(1)}), DAY, 1000)[3] == 70.0
    assert grants_in(allocator.snapshot(), Future(going, {3: course(1)}), 60.0, 1000) == {}


def test_a_step_that_waits_now_has_its_place_and_its_ticket() -> None:
    allocator = builds(1, slots=2)
    holds = start(allocator)
    allocator.submit(Claim(2, Need((Alternative("w", (Access(SLOT), Access(DB, "exclusive"))),)), 2))
    holds |= start(allocator)
    allocator.submit(Claim(3, Need((Alternative("", (Access(DB),)),)), 1, level=1 << 60, since=3))
    assert not start(allocator)
    going = (Going(1, holds[1], "w", course(10), waits=3), Going(2, holds[2], "w", course(25)))
    assert grants_in(allocator.snapshot(), Future(going, {}), DAY, 1000) == {3: 25.0}


def test_a_lock_of_the_own_worker_is_that_of_the_worker_that_it_got() -> None:
    allocator = builds(1, 2, slots=2)
    holds = start(allocator)
    allocator.submit(Claim(3, Need((Alternative("w", (Access(SLOT), Access(DISK, "exclusive"))),)), 3))
    own = (Phase(0), Phase(30, (Access(LockKey("worker", "disk", OWN_WORKER), "exclusive"),)))
    elsewhere = (Phase(0), Phase(30, (Access(LockKey("worker", "disk", "gone"), "exclusive"),)))
    for steps, expected in ((own, 60.0), (elsewhere, 30.0)):
        going = (Going(1, holds[1], "w", steps), Going(2, holds[2], "w", steps))
        assert grants_in(allocator.snapshot(), Future(going, {3: course(1)}), DAY, 1000) == {3: expected}


def test_a_step_to_come_wants_such_units_as_its_like_had_though_nobody_asks_for_them_now() -> None:
    """Build 1 will want an arm board; build 2 has the only one, by its name, and the other board is free."""
    allocator = builds(1, 2, slots=2)
    allocator.set_pool("boards", (UnitSetup("pi", ("arm",)), UnitSetup("nuc")))
    holds = start(allocator)
    pi = LockKey("pool", "boards", where="pi")
    allocator.submit(Claim(3, Need((Alternative("", (Access(pi),)),)), 2, level=1 << 60, since=3))
    holds |= start(allocator)
    allocator.submit(Claim(4, Need((Alternative("w", (Access(SLOT, "counting", 2),)),)), 4))
    for where, both_ended in (("arm", 45.0), ("", 30.0)):
        steps = (Phase(0), Phase(15, (Access(LockKey("pool", "boards", where=where)),)))
        going = (Going(1, holds[1], "w", steps), Going(2, holds[2], "w", (Phase(30),), phase_holds=(holds[3],)))
        assert grants_in(allocator.snapshot(), Future(going, {4: course(1)}), DAY, 1000) == {4: both_ended}, where


@pytest.mark.parametrize(
    "gone",
    [Access(LockKey("pool", "boards", where="arm")), Access(LockKey("pool", "boards"), count=3), Access(DB, count=2)],
)
def test_what_nobody_could_have_any_more_is_not_waited_for(gone: Access) -> None:
    allocator = builds(1)
    allocator.set_pool("boards", (UnitSetup("pi", ("rpi",)), UnitSetup("nuc")), 8)
    holds = start(allocator)
    allocator.submit(Claim(2, Need((Alternative("w", (Access(SLOT),)),)), 2))
    going = Going(1, holds[1], "w", (Phase(10), Phase(15, (gone,))))
    assert grants_in(allocator.snapshot(), Future((going,), {2: course(1)}), DAY, 1000) == {2: 25.0}


@pytest.mark.parametrize("steps", [None, ()])
def test_of_a_build_that_nobody_knows_the_end_is_not_foreseen(steps: Course | None) -> None:
    allocator = builds(1, 2)
    holds = start(allocator)
    found = grants_in(allocator.snapshot(), Future((Going(1, holds[1], "w", steps),), {2: course(5)}), DAY, 1000)
    assert found == ({} if steps is None else {2: 0.0})


def test_a_ring_that_would_close_ends_its_youngest_build() -> None:
    allocator = builds(slots=2)
    keys = {1: DB, 2: DISK}
    for ticket, key in keys.items():
        need = Need((Alternative("w", (Access(SLOT), Access(key, "exclusive"))),))
        allocator.submit(Claim(ticket, need, ticket))
    holds = start(allocator)
    allocator.submit(Claim(3, Need((Alternative("w", (Access(SLOT),)),)), 3))
    going = tuple(
        Going(owner, holds[owner], "w", (Phase(owner), Phase(10, (Access(keys[3 - owner], "exclusive"),))))
        for owner in (1, 2)
    )
    assert grants_in(allocator.snapshot(), Future(going, {3: course(1)}), DAY, 1000) == {3: 2.0}


def test_who_is_looked_at_is_limited() -> None:
    allocator = builds(*range(1, 20))
    holds = start(allocator)
    snapshot = first_claims(allocator.snapshot(), 3)
    assert [claim.ticket for claim in snapshot.waiting] == [2, 3, 4]
    assert first_claims(snapshot, 3) is snapshot
    shared = replace(
        allocator.snapshot(),
        shares=(ShareRule("s", (("*", 1), ("apps", 1)), (), ("w",)),),
        projects=((18, "apps"), (19, "apps")),
    )
    assert [claim.ticket for claim in first_claims(shared, 4).waiting] == [2, 18, 3, 19], "some of each project"
    future = Future((Going(1, holds[1], "w", course(1)),), {ticket: course(1) for ticket in range(2, 20)})
    assert grants_in(snapshot, future, DAY, 2) == {2: 1.0, 3: 2.0}
    assert grants_in(snapshot, future, DAY, 100, wanted=[2]) == {2: 1.0}


def test_what_remains_of_a_build_is_what_longer_ones_took() -> None:
    known = [course(5, 1), course(20, 2), course(30, 3)]
    assert likely(known, 0, 10.0) == [course(10, 2), course(20, 3)]
    assert likely(known, 1, 2.5) == [course(0.5)]
    assert likely(known, 0, 40.0) == [course(4, 1), course(4, 2), course(4, 3)]
    assert likely(known, 7, 40.0) == [course(4)]


def test_a_start_rate_is_waited_for() -> None:
    allocator = Allocator()
    allocator.set_lock(DB, 1)
    allocator.set_starts(DB, 1)
    for ticket in (1, 2, 3):
        allocator.submit(Claim(ticket, Need((Alternative("", (Access(DB, "exclusive"),)),)), ticket, since=ticket))
    course = (Phase(5.0),)
    future = Future((), dict.fromkeys((1, 2, 3), course), {DB: 60.0}, ((20.0, DB),))
    assert grants_in(allocator.snapshot(), future, 1e6, 1000) == {1: 0.0, 2: 20.0, 3: 60.0}
