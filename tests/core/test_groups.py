"""Locks that several steps of a build hold together (`LockedSteps`), and locks that a step gives back early."""

import pytest
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, Patience, Result
from lockstep.core.reasons import Reasons
from lockstep.core.values import StepPlan

from .driving import Hand, builder, lock, plan, setup, use, whole

BOARD, PORT = lock("board"), lock("port")


def farm(**limits: int) -> Hand:
    """Two workers and three builders: `b`, `d`, and `whole`, which needs the board."""
    made = (builder("b"), builder("d", workers=("w2",)), builder("whole", whole("board"), workers=("w2",)))
    return Hand(setup(*made, limits={"board": 1, "port": 1, **limits}, workers=("w1", "w2")), connect=["w1", "w2"])


def group(*names: str, **flags: object) -> tuple[StepPlan, ...]:
    """Steps with locks in common."""
    return tuple(plan(name, group=1, **flags) for name in names)


def opens(hand: Hand, buildid: int, number: int, *own: Access, board: Access | None = None) -> None:
    """The first of a group that runs."""
    hand.prepared(buildid, number, *own, board or whole("board"), shared=(BOARD,))


def holds_board(hand: Hand) -> bool:
    return bool(hand.used("board"))


def test_the_locks_are_held_from_the_first_step_to_the_last() -> None:
    hand = farm()
    buildid = hand.started("b", plan("before"), *group("one", "two", "three"), plan("after"))
    hand.prepared(buildid, 1)
    hand.finished(buildid, 1)
    assert not holds_board(hand)
    opens(hand, buildid, 2, whole("port"))
    (granted,) = hand.new(f.ClaimGranted)  # all at once
    assert {a.lock for a in granted.alternative.accesses} == {BOARD, PORT}
    waits = hand.force("whole")
    hand.finished(buildid, 2)
    assert (hand.used("board"), hand.used("port")) == (1, 0)
    assert hand.step(buildid, 2).fences == {"board": 1}
    why = Reasons(hand.state, hand.now).claim(hand.request(waits).ticket)
    assert "lock 'board', held by the steps from 'step 2' on of b #1" in why.sentence
    hand.prepared(buildid, 3)
    assert not hand.new(f.ClaimGranted)
    hand.finished(buildid, 3, Result.FAILURE)
    assert holds_board(hand)
    hand.prepared(buildid, 4, whole("port"))
    hand.finished(buildid, 4)
    assert hand.request(waits).state == "building"  # in the very decision that ends the last of them
    assert hand.used("port") == 0
    hand.prepared(buildid, 5)
    hand.finished(buildid, 5)
    assert hand.result(buildid) is Result.FAILURE


def test_a_skipped_step_claims_nothing_and_the_last_one_ends_it() -> None:
    hand = farm()
    buildid = hand.started("b", *group("one", "two", "three"))
    hand.prepared(buildid, 1, result=Result.SKIPPED)
    assert not holds_board(hand)
    opens(hand, buildid, 2)
    assert holds_board(hand)
    hand.finished(buildid, 2)
    assert holds_board(hand)
    hand.prepared(buildid, 3, result=Result.SKIPPED)
    assert not hand.state.builds
    assert not holds_board(hand)


def test_when_the_build_halts_only_steps_that_always_run_keep_it() -> None:
    hand = farm()
    steps = (
        *group("one", haltOnFailure=True),
        *group("two"),
        *group("clean up", alwaysRun=True),
        plan("report", alwaysRun=True),
    )
    buildid = hand.started("b", *steps)
    opens(hand, buildid, 1)
    hand.finished(buildid, 1, Result.FAILURE)
    assert holds_board(hand)
    hand.prepared(buildid, 3)
    hand.finished(buildid, 3)
    assert not holds_board(hand)
    assert [effect.number for effect in hand.errands(x.PrepareStep)] == [4]


def test_a_build_that_is_stopped_between_two_steps_gives_it_back_unless_a_step_always_runs() -> None:
    hand = farm()
    buildid = hand.started("b", *group("one", "two"), plan("report", alwaysRun=True))
    opens(hand, buildid, 1)
    hand.finished(buildid, 1)
    assert holds_board(hand)
    hand.put(e.StopAsked(buildid=buildid))
    assert not holds_board(hand)
    hand.prepared(buildid, 3)
    hand.finished(buildid, 3)
    assert hand.result(buildid) is Result.CANCELLED


def test_L30_a_broken_build_gives_it_back_with_its_end() -> None:
    hand = farm()
    buildid = hand.started("b", *group("one", "two"))
    opens(hand, buildid, 1)
    hand.finished(buildid, 1)
    hand.put(e.BuildBroken(buildid=buildid, result=Result.RETRY, reason="it ends"))
    (first, second) = hand.new(f.HoldEnded)
    assert (first.ticket, second.ticket) != (0, 0)
    assert len(hand.all(f.BuildStarted)) == 2  # it runs again


@pytest.mark.parametrize("stopped", [False, True])
def test_L33_a_group_that_did_not_get_its_locks_does_not_run(stopped: bool) -> None:
    hand = farm()
    hand.force("whole")
    buildid = hand.started("b", *group("one"), *group("two", alwaysRun=True), plan("report", alwaysRun=True))
    opens(hand, buildid, 1, board=replace(whole("board"), patience=Patience(Result.WARNINGS, 60.0)))
    if stopped:
        hand.put(e.StopAsked(buildid=buildid))
    else:
        hand.now += 60
        hand.put(e.TimerFired(timer=f"wait:{hand.step(buildid).ticket}"))
    opens(hand, buildid, 2)
    assert hand.step(buildid, 2).result is Result.SKIPPED
    assert hand.step(buildid, 2).summary == "not run: the steps that it belongs to did not get their locks"
    hand.prepared(buildid, 3)
    hand.finished(buildid, 3)
    assert hand.result(buildid) is (Result.CANCELLED if stopped else Result.SUCCESS)


def test_L25_what_the_group_holds_its_steps_cannot_claim() -> None:
    hand = farm(board=3)
    buildid = hand.started("b", *group("one", "two", "three"))
    opens(hand, buildid, 1, board=use("board"))
    hand.finished(buildid, 1)
    hand.prepared(buildid, 2, use("board"))
    ended = hand.all(f.StepEnded)[-1]
    assert ended.result is Result.EXCEPTION
    assert "is held by the LockedSteps that the step belongs to" in ended.summary


def test_it_is_kept_after_the_failure_of_any_of_them_when_the_last_has_ended() -> None:
    hand = farm()
    buildid = hand.started("b", *group("one", "two", "three"))
    opens(hand, buildid, 1, replace(whole("port"), keep=60.0), board=replace(whole("board"), keep=60.0))
    hand.finished(buildid, 1)
    assert not hand.all(f.HoldPassed)
    hand.prepared(buildid, 2)
    hand.finished(buildid, 2, Result.FAILURE)
    assert not hand.all(f.HoldPassed)
    hand.prepared(buildid, 3)
    hand.finished(buildid, 3)
    (passed,) = hand.all(f.HoldPassed)
    assert [access.lock for access in passed.alternative.accesses] == [BOARD]
    assert hand.state.bookings[passed.ticket].wish.reason == "kept after failure of step 'step 2' of b #1"


# --- giving back early


def give(hand: Hand, buildid: int, name: str, number: int = 1) -> object:
    """The current step gives a lock back. Returns what it is answered."""
    hand.call(buildid, c.Release(0, lock(name)), number)
    (done,) = hand.errands(x.CallDone)
    return done.result


def test_one_of_several_locks_is_given_back_early() -> None:
    hand = farm()
    buildid = hand.started("b")
    hand.prepared(buildid, 1, whole("board"), whole("port"))
    waits = hand.force("whole")
    assert give(hand, buildid, "board") == ""
    assert hand.request(waits).state == "building"
    assert hand.step(buildid).fences == {"port": 1}
    assert hand.used("port") == 1
    assert give(hand, buildid, "board", 2) == "step 'step 1' has no lock 'board' by its locks="
    hand.finished(buildid)
    assert (hand.used("board"), hand.used("port")) == (1, 0)


def test_L30_not_while_a_command_runs_under_it() -> None:
    hand = farm()
    buildid = hand.started("b")
    hand.prepared(buildid, 1, whole("board"))
    command = hand.command(buildid)
    assert give(hand, buildid, "board", 2) == "a command of step 'step 1' still runs under lock 'board'"
    assert holds_board(hand)
    hand.over(command)
    assert give(hand, buildid, "board", 3) == ""
    assert not holds_board(hand)


def test_a_later_step_gives_back_what_its_group_has() -> None:
    hand = farm()
    buildid = hand.started("b", *group("one", "two", "three"))
    opens(hand, buildid, 1)
    hand.finished(buildid, 1)
    hand.prepared(buildid, 2)
    assert give(hand, buildid, "board") == ""
    assert not holds_board(hand)
    hand.finished(buildid, 2)
    hand.prepared(buildid, 3, whole("board"))  # now it can be claimed again
    assert holds_board(hand)
    hand.finished(buildid, 3)
    assert hand.result(buildid) is Result.SUCCESS
    assert not hand.state.allocator.holds
