"""Requests: taken in, merged, rendered, cancelled; and what a reload does to them. See `driving.py`."""

import pytest
from msgspec.structs import replace

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, LockKey, Need, Result
from lockstep.core.values import LockSetup, RequestWish, Setup, Submission

from .driving import Hand, builder, lock, plan, setup, submission, use, whole


def full(*builders: str, collapse: bool = False) -> Hand:
    """Builders under one lock that the first build has."""
    made = [builder(name, whole("lock"), collapse=collapse) for name in ("first", *builders)]
    hand = Hand(setup(*made, limits={"lock": 1}))
    hand.started("first")
    return hand


def test_an_unknown_builder_is_refused_in_a_sentence() -> None:
    hand = full("b")
    hand.put(e.Submitted(submission=submission("b", "nobody"), token=3))
    assert hand.errands(x.Reply) == [x.Reply(3, None, "There is no builder 'nobody'.")]
    assert not hand.last.facts


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [2**63, [{"deep": -(2**63)}], float("nan"), (float("-inf"),), nested(101), {"x": nested(900)}]
)
def test_a_property_that_no_store_takes_is_refused(value: object) -> None:
    hand = full("b")
    wish = RequestWish(builder="b", properties={"x": (value, "test")})
    for wanted in (Submission(requests=(wish,)), replace(submission("b"), properties=wish.properties)):
        hand.put(e.Submitted(submission=wanted, token=3))
        assert hand.errands(x.Reply)[0].error.startswith("Property 'x' cannot be kept: a number in it is not finite")
        assert not hand.last.facts
    assert hand.force("b", properties={"x": (nested(100), "test")})


def test_a_priority_that_no_store_takes_is_refused() -> None:
    hand = full("b")
    hand.put(e.Submitted(submission=Submission(requests=(RequestWish(builder="b", priority=2**31),)), token=3))
    assert hand.errands(x.Reply)[0].error == "Priorities are from -2147483647 to 2147483647."
    brid = hand.force("b", priority=-(2**31) + 1)
    hand.put(e.PriorityAsked(brid=brid, priority=10**30, token=4))
    assert hand.errands(x.Reply)[0].error == "Priorities are from -2147483647 to 2147483647."
    assert not hand.last.facts


def test_what_a_scheduler_wants_and_how_far_it_has_read_are_one_decision() -> None:
    hand = full("b")
    wanted = (submission("b"), submission("nobody"))
    hand.put(e.SchedulerMoved(owner="nightly", submissions=wanted, memory={"n": 1}, cursor=5, token=2))
    assert hand.errands(x.Reply)[0].value == ["There is no builder 'nobody'."]
    assert len(hand.new(f.RequestAdded)) == 1
    assert hand.state.memories["nightly"] == ({"n": 1}, 5)
    hand.put(e.Remembered(owner="nightly", memory={"n": 2}))
    assert hand.state.memories["nightly"] == ({"n": 2}, 5)


def test_of_a_scheduler_the_builders_that_are_there_build_though_another_is_gone() -> None:
    hand = full("b")
    wishes = (RequestWish(builder="gone"), RequestWish(builder="b"))
    hand.put(e.SchedulerMoved(owner="s", submissions=(Submission(requests=wishes),), cursor=5, token=2))
    assert hand.errands(x.Reply)[0].value == ["There is no builder 'gone'."]
    assert [added.builder for added in hand.new(f.RequestAdded)] == ["b"]


def test_a_build_set_without_requests_ends_at_once() -> None:
    hand = full()
    hand.put(e.Submitted(submission=Submission(requests=())))
    assert [end.result for end in hand.new(f.BuildsetEnded)] == [Result.SUCCESS]


def test_L40_priority_comes_before_the_ticket() -> None:
    hand = full("b", "c")
    low, high = hand.force("b"), hand.force("c", priority=5)
    hand.prepared(1)
    hand.finished(1)
    assert (hand.request(low).state, hand.request(high).state) == ("waiting", "building")


def test_L40_a_priority_may_be_changed_while_it_waits() -> None:
    hand = full("b", "c")
    first, second = hand.force("b"), hand.force("c")
    hand.put(e.PriorityAsked(brid=second, priority=9))
    hand.prepared(1)
    hand.finished(1)
    assert (hand.request(first).state, hand.request(second).state) == ("waiting", "building")
    hand.put(e.PriorityAsked(brid=second, priority=1, token=4))
    assert hand.errands(x.Reply)[0].error


def test_L33_cancelling_a_waiter_serves_those_whom_only_it_kept() -> None:
    hand = Hand(setup(builder("one", use("lock")), builder("all", whole("lock")), builder("b", use("lock")),
                      limits={"lock": 2}))  # fmt: skip
    hand.state.allocator.set_lock(lock("lock"), 2, 0)  # strict order
    hand.started("one")
    blocked, behind = hand.force("all"), hand.force("b")
    assert hand.request(behind).state == "waiting"
    hand.put(e.CancelAsked(brid=blocked))
    assert hand.request(behind).state == "building"
    assert blocked not in hand.state.requests


def test_cancelling_what_builds_stops_it() -> None:
    hand = full()
    hand.prepared(1)
    command = hand.command(1)
    hand.put(e.CancelAsked(brid=1, reason="no", who="me"))
    hand.over(command, -1)
    hand.finished(1)
    assert hand.result(1) is Result.CANCELLED


def test_cancelling_what_is_not_there_is_answered() -> None:
    hand = full()
    hand.put(e.CancelAsked(brid=77, token=1))
    assert hand.errands(x.Reply)[0].error == "Request 77 is not waiting or running."
    assert not hand.last.facts


# --- merging


def test_the_newer_change_takes_the_place_of_the_older() -> None:
    hand = full("b", "c", collapse=True)
    old = hand.change("b", revision="1")
    other = hand.force("c")
    ticket = hand.request(old).ticket
    new = hand.change("b", revision="2")
    assert old not in hand.state.requests
    assert hand.request(new).ticket == ticket < hand.request(other).ticket
    (end,) = hand.new(f.RequestEnded)
    assert (end.result, end.into) == (Result.SKIPPED, new)
    assert len(hand.state.allocator.waiting) == 2


def test_what_must_not_be_merged_is_not() -> None:
    hand = full("b", collapse=True)
    hand.change("b", branch="main", revision="1")
    hand.change("b", branch="other", revision="2")
    for _ in range(2):
        hand.force("b", collapse=False)
    assert len(hand.state.allocator.waiting) == 4


def test_a_request_that_builds_or_was_put_back_is_not_merged() -> None:
    hand = full("b", collapse=True)
    hand.prepared(1)
    hand.finished(1)
    first = hand.change("b", revision="1")
    assert hand.request(first).state == "building"
    hand.put(e.BuildBroken(buildid=2, result=Result.RETRY, reason="again"))
    assert hand.request(first).put_back
    hand.change("b", revision="2")
    assert first in hand.state.requests


# --- rendering (L24)


def rendered() -> tuple[Hand, Setup, Need]:
    plain = builder("b", use("lock"))
    assert plain.need is not None
    made = setup(plain, limits={"lock": 1})
    return Hand(replace(made, builders=(replace(plain, need=None),))), made, plain.need


def test_L24_a_request_waits_until_its_locks_are_rendered() -> None:
    hand, _, need = rendered()
    brid = hand.force()
    assert hand.errands(x.RenderNeed) == [x.RenderNeed(brid)]
    assert hand.request(brid).state == "rendering"
    hand.put(e.NeedRendered(brid=brid, need=need))
    assert hand.request(brid).state == "building"
    hand.put(e.NeedRendered(brid=brid, need=need))
    assert not hand.last.facts


def test_L24_what_cannot_be_rendered_ends_in_exception() -> None:
    hand, _, _ = rendered()
    brid = hand.force()
    hand.put(e.NeedRendered(brid=brid, error="locks= of 'b' raised KeyError"))
    (end,) = hand.new(f.RequestEnded)
    assert (end.result, end.reason) == (Result.EXCEPTION, "locks= of 'b' raised KeyError")


def test_L24_a_reload_renders_waiting_claims_again() -> None:
    hand, made, need = rendered()
    hand.put(e.WorkerPauseAsked(worker="w1", paused=True))
    brid = hand.force()
    hand.put(e.NeedRendered(brid=brid, need=need))
    ticket = hand.request(brid).ticket
    hand.put(e.Configured(setup=replace(hand.state.setup, master_name="other")))
    assert hand.errands(x.RenderNeed) == [x.RenderNeed(brid)]
    hand.put(e.Configured(setup=made))
    assert hand.request(brid).need is None
    assert hand.state.allocator.waiting[ticket].need == need


def test_L24_after_a_reload_nothing_is_granted_that_the_former_configuration_said() -> None:
    hand, _, need = rendered()
    hand.force()
    brid = hand.force()
    hand.put(e.NeedRendered(brid=1, need=need))
    hand.put(e.NeedRendered(brid=brid, need=need))
    hand.put(e.Configured(setup=replace(hand.state.setup, master_name="other")))
    assert hand.errands(x.RenderNeed) == [x.RenderNeed(brid)]
    hand.put(e.BuildBroken(buildid=1, result=Result.FAILURE, reason="over"))
    assert hand.request(brid).state == "waiting"
    hand.put(e.NeedRendered(brid=brid, need=need))
    assert hand.request(brid).state == "building"


def test_L7_of_a_lock_that_is_made_again_at_run_time_the_smaller_limit_holds() -> None:
    hand = Hand(setup(builder("b", use("lock")), limits={"lock": 3}))
    for limit in (2, 5):
        hand.put(e.LocksSeen(locks=(LockSetup(lock("lock"), limit),)))
        assert hand.state.locks[lock("lock")].limit == 2
    assert not hand.last.facts


def test_L24_a_request_that_is_being_rendered_takes_what_a_reload_brings() -> None:
    hand, made, _ = rendered()
    brid = hand.force()
    hand.put(e.Configured(setup=made))
    assert hand.request(brid).state == "building"


def test_L24_what_is_put_back_is_rendered_again() -> None:
    hand, _, need = rendered()
    brid = hand.force()
    hand.put(e.NeedRendered(brid=brid, need=need))
    hand.put(e.BuildBroken(buildid=1, result=Result.RETRY, reason="again"))
    assert hand.errands(x.RenderNeed) == [x.RenderNeed(brid)]
    assert hand.request(brid).state == "waiting"
    hand.put(e.NeedRendered(brid=brid, need=need))
    assert hand.request(brid).state == "building"


def test_L24_what_is_put_back_after_a_reload_needs_what_the_new_configuration_says() -> None:
    hand, _, need = rendered()
    brid = hand.force()
    hand.put(e.NeedRendered(brid=brid, need=need))
    hand.put(e.Configured(setup=setup(builder("b", use("other")), limits={"other": 1})))
    hand.put(e.BuildBroken(buildid=1, result=Result.RETRY, reason="again"))
    assert (hand.used("lock"), hand.used("other")) == (0, 1)


def test_what_is_put_back_of_a_removed_builder_waits() -> None:
    hand, _, need = rendered()
    brid = hand.force()
    hand.put(e.NeedRendered(brid=brid, need=need))
    hand.put(e.Configured(setup=setup()))
    hand.put(e.BuildBroken(buildid=1, result=Result.RETRY, reason="its builder is gone"))
    assert hand.request(brid).state == "waiting"


def test_a_removed_builder_keeps_its_requests_and_serves_none() -> None:
    hand = full("b")
    brid = hand.force("b")
    before = hand.state.setup
    hand.put(e.Configured(setup=setup(builder("first", whole("lock")), limits={"lock": 1})))
    hand.prepared(1)
    hand.finished(1)
    assert hand.request(brid).state == "waiting"
    hand.put(e.Configured(setup=before))
    assert hand.request(brid).state == "building"


def test_a_build_of_a_removed_builder_goes_on_with_its_next_locked_step() -> None:
    """Fault 16 of LOCKS.md section 11."""
    hand = Hand(setup(builder("b"), limits={"lock": 2}))
    build = hand.started("b", plan(), plan())
    hand.prepared(build, 1)
    hand.put(e.Configured(setup=setup()))
    hand.finished(build, 1)
    hand.prepared(build, 2, whole("lock"))
    assert hand.errands(x.RunStep) == [x.RunStep(build, 2)]
    hand.finished(build, 2)
    assert hand.result(build) is Result.SUCCESS
    assert lock("lock") not in hand.state.allocator.board.locks


# --- limits (L6)


def test_L6_a_lower_limit_revokes_nothing_and_a_higher_one_serves_at_once() -> None:
    builders = [builder(name, use("lock")) for name in "abc"]
    hand = Hand(setup(*builders, limits={"lock": 2}))
    brids = [hand.force(name) for name in "abc"]
    hand.put(e.Configured(setup=setup(*builders, limits={"lock": 1})))
    assert hand.used("lock") == 2
    hand.planned(1)
    hand.prepared(1)
    hand.finished(1)
    assert hand.request(brids[2]).state == "waiting"
    hand.put(e.Configured(setup=setup(*builders, limits={"lock": 3})))
    assert hand.request(brids[2]).state == "building"


def test_L6_a_lock_that_disappears_while_held_is_named() -> None:
    hand = full()
    hand.put(e.Configured(setup=setup(builder("first")), token=8))
    (sentence,) = hand.errands(x.Reply)[0].value
    assert sentence.startswith("Lock 'lock' is gone from the configuration while first #1 holds it")
    assert hand.used("lock") == 1
    assert [change.removed for change in hand.new(f.LimitChanged)] == [True]


def test_L6_a_lock_that_changes_its_kind_while_held_waits_for_the_old_one() -> None:
    hand = full("b")
    worker_lock = LockKey("worker", "lock", "w1")
    made = setup(builder("first"), builder("b", Access(worker_lock)))
    hand.put(e.Configured(setup=replace(made, locks=(*made.locks, LockSetup(worker_lock, 1)))))
    brid = hand.force("b")
    assert hand.request(brid).state == "waiting"
    hand.put(e.BuildBroken(buildid=1, result=Result.EXCEPTION, reason="no"))
    assert hand.request(brid).state == "building"


def test_L24_another_need_is_claimed_with_the_old_ticket() -> None:
    hand = full("b")
    brid = hand.force("b")
    hand.put(e.Configured(setup=setup(builder("first", whole("lock")), builder("b"), limits={"lock": 1})))
    assert hand.request(brid).state == "building"


def test_a_configuration_that_changes_nothing_gives_no_facts() -> None:
    hand = full("b")
    hand.force("b")
    hand.put(e.Configured(setup=hand.state.setup))
    assert not hand.last.facts


def test_ids_are_kept_for_ever() -> None:
    hand = Hand(setup(builder("a"), builder("b"), workers=("w1", "w2")))
    hand.put(e.Configured(setup=setup(builder("c"), builder("b"), workers=("w3", "w2"))))
    assert hand.state.builder_ids == {"a": 1, "b": 2, "c": 3}
    assert hand.state.worker_ids == {"w1": 1, "w2": 2, "w3": 3}


def test_requests_of_one_submission_for_one_builder() -> None:
    hand = full("b")
    wishes = tuple(RequestWish(builder="b") for _ in range(3))
    hand.put(e.Submitted(submission=Submission(requests=wishes, collapse=False)))
    assert len(hand.state.allocator.waiting) == 3
