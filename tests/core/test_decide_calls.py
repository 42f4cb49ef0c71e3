"""Calls of steps: what each does, and that none is done twice (HOUSE.md section 2). See `driving.py`."""

import pytest

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Result

from .driving import Hand, builder, plan, setup, submission, use, whole


@pytest.fixture
def hand() -> Hand:
    """A build `1` of `b` whose step runs; locks `x` (1) and `y` (2); builders `child` and `other`."""
    hand = Hand(setup(builder("b"), builder("child"), builder("other"), limits={"x": 1, "y": 2}))
    hand.started("b", plan(), plan("clean", alwaysRun=True))
    hand.prepared(1)
    return hand


def results(hand: Hand) -> list[object]:
    return [done.result for done in hand.errands(x.CallDone)]


def test_calls_that_end_at_once(hand: Hand) -> None:
    hand.call(1, c.SetProperty("revision", "r1", "step"), 1)
    assert hand.build(1).properties["revision"] == ("r1", "step")
    hand.call(1, c.Now(), 2)
    assert results(hand) == [hand.now]
    hand.call(1, c.AddUrl("report", "http://x"), 3)
    assert hand.new(f.UrlAdded)
    hand.call(1, c.Keep("seen", b"1"), 4)
    assert results(hand) == [b"1"]
    hand.call(1, c.OpenLog("stdio"), 5)
    hand.call(1, c.OpenLog("stdio"), 6)
    assert results(hand) == [2]
    assert [opened.slug for opened in hand.all(f.LogOpened)] == ["stdio", "stdio_2"]
    hand.call(1, c.CloseLog(1), 7)
    assert hand.new(f.LogClosed)
    hand.call(1, c.CloseLog(1), 8)
    assert not hand.new(f.LogClosed)


def test_a_call_that_is_known_is_answered_and_not_done_again(hand: Hand) -> None:
    hand.call(1, c.Now(), 1)
    before = results(hand)
    hand.call(1, c.Now(), 1)
    assert not hand.last.facts
    assert results(hand) == before
    command = hand.command(1, 2)
    hand.call(1, c.RunCommand(kind="shell", args={}), 2)
    assert not hand.last.facts
    assert not hand.last.effects
    hand.over(command)
    hand.call(1, c.RunCommand(kind="shell", args={}), 2)
    assert not hand.last.facts
    assert len(results(hand)) == 1


def test_ids_of_commands_are_never_used_twice(hand: Hand) -> None:
    first = hand.command(1, 1)
    hand.over(first)
    second = hand.command(1, 2)
    hand.over(second)
    hand.finished(1, 1)
    hand.prepared(1, 2)
    third = hand.command(1, 1)
    assert len({first, second, third}) == 3
    assert all(name.startswith("test-1.") for name in (first, second, third))


def test_a_call_of_a_step_that_has_ended_is_refused(hand: Hand) -> None:
    hand.finished(1, 1)
    hand.put(e.CallMade(buildid=1, step=1, number=9, call=c.Now(), fingerprint="", token=4))
    assert hand.errands(x.Reply)[0].error == "the step has ended"
    assert not hand.last.facts


def test_a_sleep_ends_with_its_timer(hand: Hand) -> None:
    hand.call(1, c.Sleep(30.0))
    (timer,) = hand.errands(x.ArmTimer)
    assert timer == x.ArmTimer("sleep:1.1.1", 30.0)
    hand.put(e.TimerFired(timer=timer.timer))
    assert results(hand) == [None]
    hand.put(e.TimerFired(timer=timer.timer))
    assert not hand.last.facts


def test_a_sleep_that_nobody_awaits_any_more_is_disarmed(hand: Hand) -> None:
    hand.call(1, c.Sleep(30.0))
    hand.finished(1, 1)
    assert hand.errands(x.DisarmTimer) == [x.DisarmTimer("sleep:1.1.1")]


# --- locks inside a step


def test_a_step_acquires_and_releases(hand: Hand) -> None:
    hand.call(1, c.Acquire((whole("x"), use("y"))), 1)
    assert results(hand) == [{"x": 1, "y": 1}]
    assert (hand.used("x"), hand.used("y")) == (1, 1)
    hand.call(1, c.Release(1), 2)
    assert (hand.used("x"), hand.used("y")) == (0, 0)
    hand.call(1, c.Release(1), 3)
    assert not hand.new(f.HoldEnded), "L32"
    hand.finished(1, 1)
    assert not hand.new(f.HoldEnded)


def test_L30_what_a_call_holds_ends_with_its_step(hand: Hand) -> None:
    hand.call(1, c.Acquire((whole("x"),)), 1)
    hand.finished(1, 1)
    assert hand.used("x") == 0
    assert not [ticket for ticket, ref in hand.state.claims.items() if ref[0] == "call"]


def test_acquiring_waits_and_is_served(hand: Hand) -> None:
    other = hand.started("other")
    hand.prepared(other, 1, whole("x"))
    hand.call(1, c.Acquire((whole("x"),)), 1)
    assert not results(hand)
    hand.finished(other, 1)
    assert results(hand) == [{"x": 2}]


def test_acquiring_nothing_succeeds_at_once(hand: Hand) -> None:
    hand.call(1, c.Acquire((use("x", "counting", 0),)), 1)
    assert results(hand) == [{}]


def test_L33_a_wait_for_a_lock_ends_with_its_step(hand: Hand) -> None:
    other = hand.started("other")
    hand.prepared(other, 1, whole("x"))
    hand.call(1, c.Acquire((whole("x"),)), 1)
    hand.finished(1, 1)
    assert hand.new(f.ClaimDropped)
    assert not hand.state.allocator.waiting


def test_L33_a_stop_ends_a_calls_wait_at_once_and_for_good(hand: Hand) -> None:
    other = hand.started("other")
    hand.prepared(other, 1, whole("x"))
    hand.call(1, c.Acquire((whole("x"),)), 1)
    hand.command(1, 2)
    hand.put(e.StopAsked(buildid=1))
    assert hand.new(f.ClaimDropped)
    hand.finished(other, 1)
    assert not results(hand)
    assert hand.used("x") == 0


@pytest.mark.parametrize("again", [whole("x"), use("y", "counting", 2)])
def test_L25_a_call_that_could_only_wait_for_its_own_step_breaks_the_build(hand: Hand, again: object) -> None:
    hand.call(1, c.Acquire((use("x"), use("y"))), 1)
    hand.call(1, c.Acquire((again,)), 2)  # type: ignore[arg-type]
    assert hand.result(1) is Result.EXCEPTION
    assert hand.used("x") == 0


# --- builds that a step starts


def test_a_trigger_that_does_not_wait_ends_at_once(hand: Hand) -> None:
    hand.call(1, c.StartBuilds((submission("child"),)), 1)
    ((triggered,),) = results(hand)  # type: ignore[misc]
    assert triggered.requests == {"child": 2}
    hand.finished(1, 1)
    assert hand.request(2).state == "building"


def test_a_trigger_waits_for_all_its_builds(hand: Hand) -> None:
    hand.call(1, c.StartBuilds((submission("child"), submission("other")), wait=True), 1)
    assert not results(hand)
    for build in (2, 3):
        hand.planned(build)
        hand.prepared(build)
        hand.finished(build, 1, Result.SUCCESS if build == 2 else Result.FAILURE)
    ((child, other),) = results(hand)  # type: ignore[misc]
    assert (child.result, child.builds) == (0, (("child", 1, 2, 0),))
    assert (other.result, other.builds) == (2, (("other", 1, 3, 2),))
    hand.finished(1, 1)
    assert 1 not in hand.state.buildsets or not hand.state.children


def test_a_trigger_of_an_unknown_builder_starts_none(hand: Hand) -> None:
    hand.call(1, c.StartBuilds((submission("child"), submission("nobody")), wait=True), 1)
    ((first, second),) = results(hand)  # type: ignore[misc]
    assert (first.result, second.result) == (Result.EXCEPTION, Result.EXCEPTION)
    assert not hand.new(f.RequestAdded)


def test_a_build_that_is_stopped_cancels_what_it_waits_for(hand: Hand) -> None:
    hand.call(1, c.StartBuilds((submission("child"), submission("other")), wait=True), 1)
    hand.put(e.WorkerPauseAsked(worker="w1", paused=True))
    hand.put(e.StopAsked(buildid=1))
    assert 2 not in hand.state.requests or hand.build(2).stop_result is Result.CANCELLED
    for build in (2, 3):
        hand.planned(build)
    assert not results(hand) or results(hand)
    assert {hand.result(build) for build in (2, 3)} == {Result.CANCELLED}


def test_a_child_whose_step_has_ended_is_cancelled_and_reports_to_nobody(hand: Hand) -> None:
    hand.call(1, c.StartBuilds((submission("child"),), wait=True), 1)
    hand.planned(2)
    hand.prepared(2)
    command = hand.command(2)
    hand.finished(1, 1)
    assert hand.build(2).stop_result is Result.CANCELLED
    assert hand.state.allocator.snapshot().parents == ((2, 1),), "its build goes on when it has ended"
    hand.over(command, -1)
    hand.finished(2, 1)
    assert hand.result(2) is Result.CANCELLED
    assert not hand.new(f.CallEnded)
    assert 2 not in hand.state.buildsets
    assert not hand.state.allocator.snapshot().parents


def test_a_child_that_is_put_back_is_still_waited_for(hand: Hand) -> None:
    hand.call(1, c.StartBuilds((submission("child"),), wait=True), 1)
    hand.put(e.BuildBroken(buildid=2, result=Result.RETRY, reason="again"))
    assert not results(hand)
    hand.planned(3)
    hand.prepared(3)
    hand.finished(3)
    ((triggered,),) = results(hand)  # type: ignore[misc]
    assert [build[3] for build in triggered.builds] == [Result.RETRY, Result.SUCCESS]
