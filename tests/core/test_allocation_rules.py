"""The allocator's rules one by one (limits, claims, ends), each test named by the rule of LOCKS.md that it pins."""

from typing import Any

import pytest

from lockstep.core.alloc_facts import (
    BadCountError,
    BecameBarrier,
    ExclusiveTwiceError,
    Granted,
    Pinned,
    Unpinned,
    admits,
    check_access,
    normalize,
)
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import Access, Alternative, LockKey, Need

from .compare import over_the_wire
from .farm import DB, NET, Farm, need, on_workers, slot, units, whole


def on(lock: LockKey, worker: str) -> Alternative:
    """The lock, exclusively, and a slot of the worker."""
    return Alternative(worker, (Access(lock, "exclusive"), Access(slot(worker))))


# --- limits and arithmetic


def test_L1_counting_accesses_share_up_to_the_limit() -> None:
    farm = Farm({DB: 3})
    tickets = [farm.ask(units(1)) for _ in range(4)]
    assert farm.decide() == tickets[:3]
    assert farm.end(tickets[0]) == [tickets[3]]


def test_L1_units_add_up() -> None:
    farm = Farm({DB: 4})
    farm.get(units(3))
    farm.ask(units(2))
    assert farm.decide() == []
    assert farm.allocator.reasons.used(DB) == 3


def test_L1_no_unit_beside_an_exclusive_holder() -> None:
    farm = Farm({DB: 4})
    first = farm.get(whole())
    second = farm.ask(units(1))
    assert farm.decide() == []
    assert farm.end(first) == [second]


def test_L2_exclusive_fits_only_alone() -> None:
    farm = Farm({DB: 4})
    first = farm.get(units(1))
    second = farm.ask(whole())
    assert farm.decide() == []
    assert farm.end(first) == [second]


@pytest.mark.parametrize("access", [units(1), whole()])
def test_L2_a_limit_of_0_admits_nobody(access: Access) -> None:
    farm = Farm({DB: 0})
    ticket = farm.ask(access)
    assert farm.decide() == []
    assert [each.lock for each in farm.allocator.reasons.impossible(ticket)] == [DB]


def test_L3_nothing_is_granted_at_once_even_under_an_exclusive_holder_or_a_limit_of_0() -> None:
    farm = Farm({DB: 1, NET: 0})
    farm.get(whole())
    wanted = normalize([units(0), units(0, NET), units(0, LockKey("master", "removed"))])
    assert wanted == ()
    farm.get(need(*wanted))
    assert farm.allocator.reasons.queue(DB) == []


@pytest.mark.parametrize("count", [True, -1, 1.0, "1", None, 2**40 + 1])
def test_L4_a_count_is_a_whole_number_and_no_bool(count: Any) -> None:
    with pytest.raises(BadCountError, match="db") as caught:
        check_access(Access(DB, "counting", count))
    assert caught.value.lock == DB


def test_L4_exclusive_has_count_1_and_modes_are_two() -> None:
    with pytest.raises(BadCountError, match="exclusive"):
        normalize([Access(DB, "exclusive", 2)])
    bad: Any = "shared"
    with pytest.raises(BadCountError, match="shared"):
        normalize([Access(DB, bad)])


def test_L5_a_claim_that_became_impossible_stays_says_why_and_reserves_nothing() -> None:
    farm = Farm({DB: 3}, k=0)
    first = farm.get(units(1))
    big = farm.ask(units(3))
    assert farm.decide() == []
    assert farm.said(BecameBarrier)
    farm.allocator.set_lock(DB, 2, 0)
    small = farm.ask(units(1))
    assert farm.decide() == [small]
    assert farm.said(Unpinned) == [Unpinned(big)]
    assert [(each.count, each.limit) for each in farm.allocator.reasons.impossible(big)] == [(3, 2)]
    assert farm.allocator.reasons.reservations(DB) == []
    farm.allocator.set_lock(DB, 3, 0)
    assert farm.decide() == []
    assert farm.said(Pinned)
    assert farm.end(first) == []
    assert farm.end(small) == [big]


def test_L5_admits() -> None:
    assert admits(1, whole())
    assert not admits(0, whole())
    assert not admits(2, units(3))


def test_L6_lowering_a_limit_revokes_nothing_and_raising_serves_at_once() -> None:
    farm = Farm({DB: 2})
    first, second = farm.get(units(1)), farm.get(units(1))
    third = farm.ask(units(1))
    farm.allocator.set_lock(DB, 1)
    assert farm.decide() == []
    assert len(farm.allocator.holds) == 2
    assert farm.end(first) == []
    farm.allocator.set_lock(DB, 2)
    assert farm.decide() == [third]
    assert second in {hold.ticket for hold in farm.allocator.holds.values()}


def test_L6_a_removed_lock_stays_until_its_last_hold_and_waiter_have_ended() -> None:
    farm = Farm({DB: 1})
    first = farm.get(units(1))
    second = farm.ask(units(1))
    farm.allocator.forget_lock(DB)
    assert farm.decide() == []
    assert farm.end(first) == [second]
    assert farm.allocator.reasons.limit(DB) == 1
    farm.end(second)
    assert farm.allocator.reasons.limit(DB) == 0
    assert DB not in farm.allocator.board.locks


def test_L6_a_fence_is_not_used_again_when_a_removed_lock_comes_back() -> None:
    farm = Farm({DB: 1})
    farm.end(farm.get(units(1)))
    farm.allocator.forget_lock(DB)
    farm.decide()
    farm.allocator.set_lock(DB, 1)
    farm.get(units(1))
    assert farm.said(Granted)[0].fences == (2,)


@pytest.mark.parametrize("first_new", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_L6_a_name_that_changes_its_kind_admits_nobody_until_the_old_one_is_free(
    first_new: bool, restart: bool
) -> None:
    farm = Farm({DB: 1})
    first = farm.get(units(1))
    new = LockKey("worker", "db", "w")
    if first_new:
        farm.allocator.set_lock(new, 1)
    farm.allocator.forget_lock(DB)
    if not first_new:
        farm.allocator.set_lock(new, 1)
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    second = farm.ask(units(1, new))
    assert farm.decide() == []
    assert farm.end(first) == [second]


def test_L6_a_name_that_changes_its_kind_waits_for_holders_also_of_a_lock_that_was_lowered_to_0() -> None:
    farm = Farm({DB: 1})
    first = farm.get(units(1))
    farm.ask(units(1))
    farm.allocator.set_lock(DB, 0)
    farm.allocator.forget_lock(DB)
    new = LockKey("worker", "db", "w")
    farm.allocator.set_lock(new, 1)
    second = farm.ask(units(1, new))
    assert farm.decide() == []
    assert farm.end(first) == [second], "who waits for what admits nobody keeps nobody waiting"


@pytest.mark.parametrize("restart", [False, True])
def test_L6_who_waits_for_the_new_kind_when_the_old_one_is_back_waits_for_its_holders(restart: bool) -> None:
    farm = Farm({DB: 1})
    first = farm.get(units(1))
    new = LockKey("worker", "db", "w")
    farm.allocator.set_lock(new, 1)
    farm.allocator.forget_lock(DB)
    second = farm.ask(units(1, new))
    farm.decide()
    farm.allocator.set_lock(DB, 1)
    farm.allocator.forget_lock(new)
    third = farm.ask(units(1))
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == []
    assert farm.end(first) == [second]
    assert farm.end(second) == [third]


def test_L6_a_name_that_gets_its_old_kind_back_beside_the_new_one_is_two_locks() -> None:
    farm = Farm({DB: 1})
    farm.get(units(1))
    new = LockKey("worker", "db", "w")
    farm.allocator.set_lock(new, 1)
    farm.allocator.forget_lock(DB)
    second = farm.ask(units(1, new))
    assert farm.decide() == []
    farm.allocator.set_lock(DB, 1)
    assert farm.decide() == [second]


def test_L7_a_master_lock_and_a_worker_lock_of_one_name_are_two() -> None:
    other = LockKey("worker", "db", "w")
    farm = Farm({DB: 1, other: 1})
    farm.get(whole())
    farm.get(whole(other))


# --- all or nothing


def test_L10_a_waiting_claim_holds_nothing() -> None:
    farm = Farm({DB: 1, NET: 1})
    farm.get(whole(DB))
    farm.ask(need(whole(NET), whole(DB)))
    assert farm.decide() == []
    farm.get(whole(NET))


def test_L11_the_order_inside_a_claim_means_nothing() -> None:
    farm = Farm({DB: 1, NET: 1})
    first = farm.ask(need(whole(DB), whole(NET)))
    second = farm.ask(need(whole(NET), whole(DB)))
    assert farm.decide() == [first]
    assert farm.end(first) == [second]


def test_L12_counts_of_one_lock_are_added_and_zeros_dropped() -> None:
    assert normalize([units(1), units(0, NET), units(2), units(1, NET)]) == (units(3), units(1, NET))


def test_L12_an_exclusive_access_stands_alone() -> None:
    with pytest.raises(ExclusiveTwiceError, match="db"):
        normalize([units(1), whole()])
    assert normalize([units(0), whole()]) == (whole(),)


def test_L12_the_allocator_refuses_what_is_not_normalized() -> None:
    with pytest.raises(ValueError, match="L12"):
        Farm({DB: 2}).ask(need(units(1), units(1)))


def test_L13_one_decision_sees_what_it_granted_itself() -> None:
    farm = Farm({DB: 3, NET: 1})
    tickets = [farm.ask(need(units(2), units(1, NET))), farm.ask(units(2)), farm.ask(units(1))]
    assert farm.decide() == [tickets[0], tickets[2]]


# --- levels


def test_L22_L23_slot_build_directory_and_locks_are_one_claim() -> None:
    directory = LockKey("builddir", "b", "w")
    farm = Farm({slot("w"): 2, directory: 1, DB: 1})
    wanted = Need((Alternative("w", (Access(slot("w")), whole(directory), units(1))),))
    first, second = farm.ask(wanted), farm.ask(wanted)
    assert farm.decide() == [first]
    assert farm.allocator.reasons.used(slot("w")) == 1
    assert farm.end(first) == [second]


def test_L23_max_builds_is_a_lock_of_the_worker() -> None:
    farm = Farm({slot("w"): 2})
    tickets = [farm.ask(on_workers("w")) for _ in range(3)]
    assert farm.decide() == tickets[:2]


def test_L24_a_claim_that_is_rendered_again_keeps_its_place() -> None:
    farm = Farm({DB: 1, NET: 1})
    first = farm.get(whole(DB))
    farm.get(whole(NET))
    old, young = farm.ask(whole(NET)), farm.ask(whole(DB))
    farm.allocator.replace(old, need(whole(DB)))
    assert farm.decide() == []
    assert farm.allocator.reasons.queue(DB) == [old, young]
    assert farm.end(first) == [old]


def test_L26_the_first_alternative_that_fits_is_taken() -> None:
    farm = Farm({slot(w): 1 for w in "abc"})
    for _ in range(3):
        farm.ask(on_workers("b", "a", "c"))
    farm.decide()
    assert [grant.alternative.worker for grant in farm.said(Granted)] == ["b", "a", "c"]
    assert [grant.index for grant in farm.said(Granted)] == [0, 1, 2]


def test_L26_the_first_that_fits_is_taken_even_if_others_waited_for_the_same_lock() -> None:
    """The first two waited for one lock; when it is free, the first lacks its worker and the third fits as well."""
    farm = Farm({DB: 1, **{slot(w): 1 for w in "abc"}})
    allocator = farm.allocator  # not `farm.decide`, whose full pass would find what was forgotten
    farm.ask(Need((on(DB, "c"),)))
    (first,) = allocator.decide()
    farm.ask(Need((on(DB, "a"), on(DB, "b"), Alternative("c", (Access(slot("c")),)))))
    assert allocator.decide() == []
    farm.ask(on_workers("a"))
    assert len(allocator.decide()) == 1
    assert isinstance(first, Granted)
    allocator.release(first.hold)
    assert [grant.alternative.worker for grant in allocator.decide() if isinstance(grant, Granted)] == ["b"]


# --- ends


def test_L30_releasing_is_the_end_of_a_hold_at_all_its_locks() -> None:
    farm = Farm({DB: 1, NET: 1})
    first = farm.get(need(whole(DB), whole(NET)))
    second, third = farm.ask(whole(NET)), farm.ask(whole(DB))
    assert farm.decide() == []
    assert farm.end(first) == [second, third]


def test_L31_a_full_pass_changes_nothing() -> None:
    farm = Farm({DB: 2}, k=1)
    farm.get(units(1))
    farm.ask(whole())
    farm.get(units(1))
    farm.ask(units(1))
    assert farm.decide() == []
    assert farm.allocator.full_pass() == []


def test_L32_releasing_twice_or_what_is_unknown_changes_nothing() -> None:
    farm = Farm({DB: 1})
    first = farm.get(units(1))
    second = farm.ask(units(1))
    assert farm.end(first) == [second]
    farm.allocator.release(farm.hold_of[first])
    farm.allocator.release(4711)
    farm.ask(units(1))
    assert farm.decide() == []


def test_L33_cancelling_a_waiter_changes_nobody_elses_place() -> None:
    farm = Farm({DB: 1})
    first = farm.get(whole())
    tickets = [farm.ask(whole()) for _ in range(4)]
    farm.allocator.cancel(tickets[0])
    farm.allocator.cancel(tickets[2])
    farm.allocator.cancel(4711)
    assert farm.decide() == []
    assert farm.allocator.reasons.queue(DB) == [tickets[1], tickets[3]]
    assert farm.end(first) == [tickets[1]]
    assert farm.end(tickets[1]) == [tickets[3]]


def test_L33_whom_only_the_cancelled_ones_reservation_blocked_is_served_at_once() -> None:
    farm = Farm({DB: 2}, k=0)
    farm.get(units(1))
    big, small = farm.ask(whole()), farm.ask(units(1))
    assert farm.decide() == []
    farm.allocator.cancel(big)
    assert farm.decide() == [small]


def test_L34_the_allocator_knows_no_results() -> None:
    assert "result" not in Allocator.release.__annotations__
