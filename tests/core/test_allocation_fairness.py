"""Fairness and rings, rule by rule: each test is named by the rule of LOCKS.md that it pins."""

from lockstep.core.alloc_facts import (
    BecameBarrier,
    Granted,
    Pinned,
    Sentenced,
    Unpinned,
)
from lockstep.core.alloc_items import MAX_LANES
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import Access, Alternative, Claim, LockKey, Need

from .farm import DB, NET, Farm, need, on_workers, slot, units, whole

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


def test_L45_priorities_that_nobody_has_any_more_cost_nothing() -> None:
    farm = Farm({DB: 2}, k=3)
    farm.get(units(1))
    big = farm.ask(units(2), level=-500)
    for level in (502, 501):
        farm.end(farm.get(units(1), level=level))
    for level in range(500, 0, -1):
        farm.allocator.cancel(farm.ask(units(2), level=level))
        assert farm.decide() == []
    assert len(farm.allocator.board.locks[DB].lanes) <= MAX_LANES + 2
    assert len(farm.allocator.board.locks[DB].memory()) <= 4
    farm.get(units(1), level=1)
    assert [each.ticket for each in farm.said(BecameBarrier)] == [big], "what is waited for is not forgotten"


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
    farm = Farm({DB: 1, NET: 1}, k=0)
    farm.allocator.set_lock(third, 1)
    other, build = farm.get(whole(DB)), farm.get(whole(NET))
    first = farm.ask(need(whole(DB), whole(NET)))
    farm.decide()
    second = farm.ask(need(whole(DB), whole(third)))
    more = farm.get(whole(third))
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


def test_L40_a_step_is_among_barriers_where_its_build_is() -> None:
    """Else requests that a ring puts back, with their old tickets, pass the oldest build's step for ever."""
    farm = Farm({DB: 1, NET: 1}, k=0)
    oldest = farm.get(whole(NET))
    other = farm.get(whole(DB))
    request = farm.ask(whole(DB))
    step = farm.step(oldest, whole(DB))
    assert farm.decide() == []
    assert farm.end(other) == [step]
    assert request in farm.allocator.waiting


def test_L41_a_request_that_is_put_back_again_and_again_passes_a_waiting_step_K_times_at_most() -> None:
    """Two builds that rings put back, barriers elsewhere, could hand the lock that a step waits for to and fro."""
    farm = Farm({DB: 1, NET: 2}, k=2)
    third = LockKey("master", "third")
    farm.allocator.set_lock(third, 1, 0)  # where who waits is a barrier at once
    oldest = farm.get(units(1, NET))
    running, waiting = farm.get(need(whole(DB), whole(third))), farm.ask(need(whole(DB), whole(third)))
    step = farm.step(oldest, whole(DB))
    assert farm.decide() == []
    for _ in range(3):  # the first grant is to one that waited before the step did
        farm.allocator.release(farm.hold_of[running])
        assert farm.decide() == [waiting]
        farm.last += 1
        farm.allocator.submit(Claim(running, need(whole(DB), whole(third)), running, since=farm.last, put_back=True))
        running, waiting = waiting, running
    farm.allocator.release(farm.hold_of[running])
    assert farm.decide() == [step]


def test_L52_two_that_come_and_go_do_not_pass_a_child_for_ever_that_was_put_back_before_them() -> None:
    """Once a ring is broken that kept such a child waiting, it stands where the build that waits for it does."""
    farm = Farm({DB: 1, NET: 1}, k=0)
    eldest = farm.get(whole(NET))
    running, waiting = farm.get(whole()), farm.ask(whole())
    child = farm.ask(whole(), parent=eldest, put_back=True)
    assert farm.decide() == []
    farm.ask(whole(NET), parent=running)
    assert farm.decide() == []
    (sentence,) = farm.said(Sentenced)
    assert (sentence.ticket, sentence.regained) == (running, (child,))
    assert farm.end(running) == [child]
    assert farm.end(child) == [waiting]


def test_L42_an_earlier_claim_that_joins_a_class_becomes_due_in_time() -> None:
    """A class looks out for when its first claim becomes due; an earlier one that joins it is due before."""
    farm = Farm({DB: 1, slot("a"): 1, slot("b"): 1}, k=1)
    allocator = farm.allocator  # not `farm.decide`, whose full pass would find what was forgotten
    allocator.board.band_size = 0  # as if there were many workers
    ways = Need((*on_workers("a").alternatives, Alternative("b", (Access(slot("b")), units(2)))))
    farm.ask(on_workers("a"))
    (first,) = allocator.decide()
    assert isinstance(first, Granted)
    earlier = farm.ask(ways, level=5)
    farm.ask(on_workers("a"), level=9)
    farm.ask(ways)
    assert allocator.decide() == []
    farm.ask(on_workers("b"))
    allocator.decide()
    allocator.set_level(earlier, 0)
    allocator.decide()
    allocator.release(first.hold)
    assert BecameBarrier(earlier, (slot("a"),)) in allocator.decide()


def test_L42_a_reload_that_lets_nobody_be_passed_holds_for_whoever_comes_next() -> None:
    """Also where everybody of his kind has been served before."""
    farm = Farm({DB: 2})
    farm.end(farm.get(units(1)))
    farm.get(units(2))
    farm.allocator.set_lock(DB, 2, 0)
    waiting = farm.ask(units(1))
    assert farm.decide() == []
    assert [barrier.ticket for barrier in farm.said(BecameBarrier)] == [waiting]
