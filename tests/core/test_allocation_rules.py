"""The allocator's rules one by one, each test named by the rule of LOCKS.md that it pins."""

from typing import Any

import pytest

from lockstep.core.alloc_facts import (
    BadCountError,
    BecameBarrier,
    Decision,
    ExclusiveTwiceError,
    Granted,
    Pinned,
    Sentenced,
    Unpinned,
    admits,
    check_access,
    normalize,
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
    assert [each.lock for each in farm.allocator.impossible(ticket)] == [DB]


def test_L3_nothing_is_granted_at_once_even_under_an_exclusive_holder_or_a_limit_of_0() -> None:
    farm = Farm({DB: 1, NET: 0})
    farm.get(whole())
    wanted = normalize([units(0), units(0, NET), units(0, LockKey("master", "removed"))])
    assert wanted == ()
    farm.get(need(*wanted))
    assert farm.allocator.reasons.queue(DB) == []


@pytest.mark.parametrize("count", [True, -1, 1.0, "1", None])
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
    assert [(each.count, each.limit) for each in farm.allocator.impossible(big)] == [(3, 2)]
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


def test_L6_a_name_that_changes_its_kind_admits_nobody_until_the_old_one_is_free() -> None:
    farm = Farm({DB: 1})
    first = farm.get(units(1))
    new = LockKey("worker", "db", "w")
    farm.allocator.forget_lock(DB)
    farm.allocator.set_lock(new, 1)
    second = farm.ask(units(1, new))
    assert farm.decide() == []
    assert farm.end(first) == [second]


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


# --- fairness


def test_L40_steps_of_running_builds_come_first_then_priority_then_ticket() -> None:
    farm = Farm({DB: 1, NET: 9})
    build = farm.get(units(1, NET))
    first = farm.get(whole())
    low, high, high_later = farm.ask(whole()), farm.ask(whole(), level=5), farm.ask(whole(), level=5)
    step = farm.step(build, whole())
    assert farm.decide() == []
    assert farm.allocator.reasons.queue(DB) == [step, high, high_later, low]
    assert farm.end(first) == [step]
    assert farm.end(step) == [high]


def test_L40_a_request_that_is_put_back_keeps_its_ticket_and_is_counted_anew() -> None:
    farm = Farm({DB: 4}, k=2)
    old = farm.get(units(4))
    young = farm.ask(units(4))
    farm.allocator.release(farm.hold_of[old])
    farm.last += 1
    farm.allocator.submit(Claim(old, need(units(4)), old, since=farm.last, put_back=True))
    assert farm.decide() == [old]
    assert farm.allocator.reasons.overtaken(young, DB) == 0
    assert farm.end(old) == [young]


def test_L41_what_a_barrier_leaves_may_be_taken() -> None:
    farm = Farm({DB: 4}, k=0)
    farm.get(units(3))
    barrier = farm.ask(units(2))
    assert farm.decide() == []
    assert [(r.ticket, r.units) for r in farm.allocator.reasons.reservations(DB)] == [(barrier, 2)]
    farm.ask(units(1))
    assert farm.decide() == []
    farm.allocator.set_lock(DB, 6, 0)
    assert farm.decide() == [barrier, barrier + 1]


def test_L42_an_exclusive_claim_is_overtaken_no_more_than_K_times() -> None:
    farm = Farm({DB: 2}, k=3)
    running = [farm.get(units(1)), farm.get(units(1))]
    big = farm.ask(whole())
    overtakers = 0
    for _ in range(10):
        ticket = farm.ask(units(1))
        if farm.end(running.pop(0)) != [ticket]:
            break
        running.append(ticket)
        overtakers += 1
        assert farm.allocator.reasons.overtaken(big, DB) == overtakers
    assert overtakers == 3
    assert farm.allocator.reasons.pin(big) == 0
    assert farm.end(running.pop()) == [big]


def test_L42a_of_equal_claims_only_the_first_is_a_barrier() -> None:
    farm = Farm({DB: 4}, k=0)
    farm.get(units(3))
    first, second = farm.ask(units(2)), farm.ask(units(2))
    farm.decide()
    assert farm.allocator.reasons.pins() == {first: 0}
    assert farm.allocator.reasons.pin(second) == -1


def test_L42b_the_pin_goes_where_fewest_are_pinned_then_where_most_is_free() -> None:
    farm = Farm({slot("a"): 1, slot("b"): 1, slot("c"): 1, DB: 1}, k=0)
    for worker in "abc":
        farm.get(on_workers(worker))
    farm.get(whole(DB))
    busy = Alternative("b", (Access(slot("b")), whole(DB)))
    first = farm.ask(on_workers("a", "b"))
    second = farm.ask(Need((Alternative("a", (Access(slot("a")),)), busy, Alternative("c", (Access(slot("c")),)))))
    assert farm.decide() == []
    assert [(pin.ticket, pin.alternative.worker) for pin in farm.said(Pinned)] == [(first, "a"), (second, "c")]


def test_L42b_the_pin_changes_only_when_it_cannot_be_served_any_more() -> None:
    farm = Farm({slot("a"): 1, slot("b"): 1}, k=0)
    on_a, on_b = farm.get(on_workers("a")), farm.get(on_workers("b"))
    waiter = farm.ask(on_workers("a", "b"))
    farm.decide()
    assert farm.allocator.reasons.pin(waiter) == 0
    farm.allocator.set_lock(slot("a"), 0, 0)
    assert farm.decide() == []
    assert farm.said(Unpinned) == [Unpinned(waiter)]
    assert farm.allocator.reasons.pin(waiter) == 1
    farm.allocator.set_lock(slot("a"), 1, 0)
    farm.decide()
    assert farm.allocator.reasons.pin(waiter) == 1
    assert farm.end(on_a) == [waiter]
    assert on_b in {hold.ticket for hold in farm.allocator.holds.values()}


def test_L42c_a_workers_own_locks_are_reserved_only_while_the_others_are_free() -> None:
    farm = Farm({slot("a"): 1, DB: 1}, k=0)
    holder, builder = farm.get(whole(DB)), farm.get(on_workers("a"))
    waiter = farm.ask(on_workers("a", shared=(whole(DB),)))
    farm.decide()
    assert farm.allocator.reasons.reservations(slot("a")) == []
    passing = farm.ask(on_workers("a"))
    assert farm.end(builder) == [passing]
    assert farm.end(holder) == []
    assert [r.ticket for r in farm.allocator.reasons.reservations(slot("a"))] == [waiter]
    farm.ask(on_workers("a"))
    assert farm.end(passing) == [waiter]


def test_L43_after_a_decision_nobody_waits_who_may_be_granted() -> None:
    farm = Farm({DB: 5})
    for count in (3, 3, 2, 1):
        farm.ask(units(count))
    assert farm.decide() == [1, 3]


def test_L44_a_claim_of_low_priority_is_not_starved() -> None:
    farm = Farm({DB: 1}, k=4)
    running = farm.get(whole())
    low = farm.ask(whole())
    for passed in range(5):
        high = farm.ask(whole(), level=5)
        granted = farm.end(running)
        if passed == 4:
            assert granted == [low]
        else:
            assert granted == [high]
        running = granted[0]


def test_L44_a_high_claim_is_not_passed_without_end_by_many_low_ones() -> None:
    farm = Farm({DB: 4})
    for _ in range(400):
        farm.ask(units(1))
    running = farm.decide()
    high = farm.ask(units(4), level=5)
    farm.decide()
    ends = 0
    while high not in running:
        ends += 1
        running += farm.end(running.pop(0))
    assert ends == 12


def test_L45_equal_claims_share_one_class_whatever_their_number() -> None:
    farm = Farm({DB: 1})
    farm.get(whole())
    for _ in range(50):
        farm.ask(whole())
    farm.decide()
    assert len(farm.allocator.board.classes) == 1


def test_L45_steps_children_and_put_back_claims_are_classes_of_their_own() -> None:
    farm = Farm({DB: 1, NET: 9})
    builds = [farm.get(units(1, NET)) for _ in range(2)]
    farm.get(whole())
    farm.step(builds[0], whole())
    farm.step(builds[1], whole())
    farm.ask(whole(), parent=builds[0])
    farm.ask(whole(), put_back=True)
    farm.decide()
    assert sum(c.live for c in farm.allocator.board.classes) == 4
    assert sum(c.live > 0 for c in farm.allocator.board.classes) == 4


def barrier_before(k: int = 0) -> tuple[Farm, int, int]:
    """A build holds NET; a barrier waits for DB and NET. The build's step may need DB."""
    farm = Farm({DB: 1, NET: 1}, k=k)
    other = farm.get(whole(DB))
    build = farm.get(whole(NET))
    farm.ask(need(whole(DB), whole(NET)))
    assert farm.decide() == []
    return farm, build, other


def test_L46_a_reservation_does_not_stop_the_step_of_a_holder() -> None:
    farm, build, other = barrier_before()
    step = farm.step(build, whole(DB))
    assert farm.decide() == []
    assert farm.end(other) == [step]


def test_L46_through_others_and_through_children() -> None:
    farm, build, other = barrier_before()
    child = farm.ask(whole(DB), parent=build)
    assert farm.decide() == []
    stranger = farm.ask(whole(DB))
    assert farm.end(other) == [child]
    assert stranger in farm.allocator.waiting


def test_L46_the_edge_ends_when_the_parent_no_longer_waits() -> None:
    farm, build, other = barrier_before()
    child = farm.ask(whole(DB), parent=build)
    farm.decide()
    farm.allocator.forget_parent(child)
    assert farm.end(other) == []
    farm.allocator.child_waits(build, child)
    assert farm.decide() == [child]


def test_L46_through_a_barrier_before_the_holder() -> None:
    third = LockKey("master", "third")
    farm = Farm({DB: 1, NET: 1, third: 1}, k=0)
    other, build, more = farm.get(whole(DB)), farm.get(whole(NET)), farm.get(whole(third))
    first = farm.ask(need(whole(DB), whole(NET)))
    farm.decide()
    second = farm.ask(need(whole(DB), whole(third)))
    step = farm.step(more, whole(DB))
    assert farm.decide() == []
    assert farm.end(other) == []
    assert farm.end(build) == [first]
    assert farm.end(first) == [step]
    farm.end(step)
    assert farm.end(more) == [second]


# --- rings


def two_builds() -> tuple[Farm, int, int]:
    farm = Farm({DB: 1, NET: 1})
    return farm, farm.get(whole(DB)), farm.get(whole(NET))


def test_L52_a_ring_is_found_when_it_closes_and_the_youngest_is_sentenced() -> None:
    farm, old, young = two_builds()
    waits = farm.step(old, whole(NET))
    assert farm.decide() == []
    assert farm.said(Sentenced) == []
    closing = farm.step(young, whole(DB))
    assert farm.decide() == []
    (sentence,) = farm.said(Sentenced)
    assert (sentence.ticket, sentence.claims) == (young, (closing,))
    assert [(link.owner, link.locks) for link in sentence.ring] == [(old, (NET,)), (young, (DB,))]
    assert farm.end(young) == [waits]


def test_L52_a_build_that_may_not_be_retried_is_not_sentenced() -> None:
    farm = Farm({DB: 1, NET: 1})
    old, young = farm.get(whole(DB)), farm.get(whole(NET), retryable=False)
    farm.step(young, whole(DB))
    farm.step(old, whole(NET))
    farm.decide()
    assert [sentence.ticket for sentence in farm.said(Sentenced)] == [old]


def test_L52_who_waits_behind_a_ring_is_not_part_of_it() -> None:
    third = LockKey("master", "third")
    farm = Farm({DB: 1, NET: 1, third: 1})
    old, young, outside = farm.get(whole(DB)), farm.get(whole(NET)), farm.get(whole(third))
    farm.step(old, whole(NET))
    farm.step(outside, whole(NET))
    farm.step(young, whole(DB))
    farm.decide()
    assert [sentence.ticket for sentence in farm.said(Sentenced)] == [young]


def test_L52_no_ring_while_somebody_else_can_free_what_is_lacking() -> None:
    farm = Farm({DB: 2, NET: 1})
    first, second, runs = farm.get(units(1)), farm.get(need(whole(NET))), farm.get(units(1))
    farm.step(first, whole(NET))
    step = farm.step(second, units(1))
    assert farm.decide() == []
    assert farm.said(Sentenced) == []
    assert farm.end(runs) == [step]


def test_L52_a_parent_that_waits_for_its_child_is_an_edge() -> None:
    farm, old, young = two_builds()
    farm.ask(whole(NET), parent=old)
    farm.step(young, whole(DB))
    farm.decide()
    (sentence,) = farm.said(Sentenced)
    assert sentence.ticket == young
    assert sentence.ring[0].children == (3,)


# --- safety


def test_L60_fences_and_holds_grow_and_are_restored() -> None:
    farm = Farm({DB: 1})
    for number in (1, 2, 3):
        ticket = farm.get(whole())
        assert farm.said(Granted)[0].fences == (number,)
        assert farm.said(Granted)[0].hold == number
        farm.end(ticket)
    farm.allocator = Allocator.restore(farm.allocator.snapshot())
    farm.get(whole())
    assert (farm.said(Granted)[0].fences, farm.said(Granted)[0].hold) == ((4,), 4)
