"""Workers come, go, are paused, lost and declared dead; what becomes of their builds (L60, L61). See `driving.py`."""

import pytest

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.limits import LEASE_MARGIN
from lockstep.core.nouns import Result
from lockstep.core.values import WorkerSetup

from .driving import Hand, builder, plan, setup, use


def running() -> tuple[Hand, int, str]:
    """A build under a lock, with a command that runs."""
    hand = Hand(setup(builder("b", use("lock")), limits={"lock": 1}))
    build = hand.started("b", plan(), plan("clean", alwaysRun=True))
    hand.prepared(build)
    return hand, build, hand.command(build)


def test_nobody_gets_a_worker_that_is_not_here_or_paused() -> None:
    hand = Hand(setup(builder("b")), connect=())
    brid = hand.force()
    assert hand.request(brid).state == "waiting"
    hand.put(e.WorkerPauseAsked(worker="w1", paused=True))
    hand.connect()
    assert hand.request(brid).state == "waiting"
    hand.put(e.WorkerPauseAsked(worker="w1", paused=False))
    assert hand.request(brid).state == "building"


def test_L23_a_worker_has_as_many_builds_as_it_may() -> None:
    workers = (WorkerSetup(name="w1", max_builds=2),)
    hand = Hand(setup(*(builder(name) for name in "abc"), workers=workers))
    brids = [hand.force(name) for name in "abc"]
    assert [hand.request(brid).state for brid in brids] == ["building", "building", "waiting"]


def test_L23_one_build_directory_serves_one_build() -> None:
    hand = Hand(setup(builder("b")))
    assert [hand.request(hand.force()).state for _ in range(2)] == ["building", "waiting"]


def test_an_idle_worker_that_goes_is_absent() -> None:
    hand = Hand(setup(builder("b")))
    hand.lose()
    assert hand.state.workers["w1"].state == "absent"
    assert not hand.errands(x.ArmTimer)


def test_L61_a_hold_is_kept_until_the_lease_is_over() -> None:
    hand, build, command = running()
    hand.lose()
    (timer,) = hand.errands(x.ArmTimer)
    assert timer.seconds == 60.0 + LEASE_MARGIN
    assert hand.used("lock") == 1
    hand.put(e.TimerFired(timer=timer.timer))
    assert hand.result(build) is Result.RETRY
    assert hand.used("lock") == 0
    assert command not in hand.state.commands
    assert hand.state.workers["w1"].state == "absent"
    assert hand.request(1).put_back


def test_L61_back_within_the_lease_nothing_happened() -> None:
    hand, build, command = running()
    hand.lose()
    (timer,) = hand.errands(x.ArmTimer)
    hand.connect(known=(command,))
    assert x.DisarmTimer(timer.timer) in hand.last.effects
    assert not hand.new(f.BuildStopping)
    hand.over(command)
    assert len(hand.errands(x.CallDone)) == 1
    assert hand.build(build).stop_result is None


def test_L61_the_timer_of_a_former_connection_says_nothing() -> None:
    hand, build, command = running()
    hand.lose()
    (timer,) = hand.errands(x.ArmTimer)
    hand.connect(known=(command,))
    hand.lose()
    hand.put(e.TimerFired(timer=timer.timer))
    assert not hand.last.facts
    assert hand.used("lock") == 1
    assert build in hand.state.builds


def test_a_command_that_was_asked_for_and_did_not_arrive_is_sent_again() -> None:
    hand, _, command = running()
    hand.lose()
    hand.connect(known=())
    assert hand.errands(x.SendCommand) == [x.SendCommand("w1", command)]


def test_a_command_that_was_there_and_is_not_any_more_is_lost() -> None:
    hand, build, command = running()
    hand.lose()
    hand.connect(known=(command,))
    hand.lose()
    hand.connect(known=())
    assert not hand.errands(x.SendCommand)
    assert hand.result(build) is Result.RETRY


def test_an_agent_that_was_restarted_has_lost_its_commands() -> None:
    hand, build, command = running()
    hand.lose()
    hand.connect(gone=(command,))
    assert hand.result(build) is Result.RETRY
    assert hand.used("lock") == 1, "the same request again, at once: its worker is here"


def test_buildbot_worker_has_no_lease_and_loses_its_commands() -> None:
    hand = Hand(setup(builder("b", use("lock")), limits={"lock": 1}), connect=())
    hand.connect(resumes=False, lease=0.0)
    build = hand.started()
    hand.prepared(build)
    hand.command(build)
    hand.lose()
    assert not hand.errands(x.ArmTimer)
    assert hand.used("lock") == 1
    hand.connect(resumes=False, lease=0.0)
    assert hand.result(build) is Result.RETRY


def test_a_person_may_declare_a_worker_dead() -> None:
    hand, build, _ = running()
    hand.put(e.WorkerDeclaredDead(worker="w1", token=5))
    assert hand.errands(x.Reply)[0].error
    hand.lose()
    hand.put(e.WorkerDeclaredDead(worker="w1", who="me", token=6))
    assert not hand.errands(x.Reply)[0].error
    assert hand.result(build) is Result.RETRY
    (given_up,) = hand.new(f.WorkerGivenUp)
    assert given_up.reason == "declared dead by me"


def test_a_build_that_is_being_stopped_ends_as_stopped_when_its_worker_is_lost() -> None:
    hand, build, _ = running()
    hand.put(e.StopAsked(buildid=build))
    hand.lose()
    hand.put(e.WorkerDeclaredDead(worker="w1"))
    assert hand.result(build) is Result.CANCELLED
    assert not hand.state.requests


def test_a_stopped_build_whose_command_was_lost_cleans_up_if_its_worker_is_here() -> None:
    hand, build, command = running()
    hand.put(e.StopAsked(buildid=build))
    hand.lose()
    hand.connect(gone=(command,))
    (done,) = hand.errands(x.CallDone)
    assert done.result.lost
    hand.finished(build)
    assert hand.errands(x.PrepareStep) == [x.PrepareStep(build, 2)]


def test_a_command_that_nobody_waits_for_is_ended() -> None:
    hand, _, command = running()
    hand.lose()
    hand.put(e.WorkerDeclaredDead(worker="w1"))
    hand.connect(known=(command,))
    assert hand.errands(x.InterruptCommand) == [x.InterruptCommand("w1", command, "nobody waits for it", forget=True)]


def test_an_interrupted_command_is_interrupted_again_after_a_reconnect() -> None:
    hand, build, command = running()
    hand.put(e.StopAsked(buildid=build))
    hand.lose()
    hand.connect(known=(command,))
    assert [effect.command for effect in hand.errands(x.InterruptCommand)] == [command]


def test_L32_what_is_late_false_or_doubled_changes_nothing() -> None:
    hand, build, command = running()
    old = hand.state.workers["w1"].session
    hand.lose()
    hand.connect(known=(command,))
    for event in (
        e.WorkerDisconnected(worker="w1", session=old),
        e.WorkerDisconnected(worker="nobody", session=1),
        e.WorkerDeclaredDead(worker="nobody"),
        e.TimerFired(timer="lease:99:w1"),
        e.TimerFired(timer="lease:1:nobody"),
        e.TimerFired(timer=f"sleep:{build}.1.1"),
        e.TimerFired(timer="sleep:77.1.1"),
        e.CommandInterruptAsked(buildid=build, step=1, call=9),
    ):
        hand.put(event)
        assert not hand.last.facts, event
    hand.over(command)
    assert hand.last.facts
    hand.over(command)
    assert not hand.last.facts
    hand.over("test-1.1.1-never")
    assert not hand.last.facts


def test_a_worker_that_is_not_configured_is_refused() -> None:
    hand = Hand(setup(builder("b")))
    hand.put(e.WorkerConnected(worker="stranger", token=9))
    assert hand.errands(x.Reply)[0].error == "There is no worker 'stranger' in the configuration."


@pytest.mark.parametrize("ends", ["declared dead", "its build ends"])
def test_a_worker_that_was_removed_is_forgotten_when_nothing_runs_on_it(ends: str) -> None:
    hand, build, command = running()
    hand.put(e.Configured(setup=setup(workers=())))
    hand.lose()
    assert hand.state.workers["w1"].state == "unreachable"
    if ends == "declared dead":
        hand.put(e.WorkerDeclaredDead(worker="w1"))
    else:
        hand.put(e.BuildBroken(buildid=build, result=Result.EXCEPTION, reason="no"))
        hand.over(command)
    assert build not in hand.state.builds
    assert "w1" not in hand.state.workers


def test_two_builds_of_a_lost_worker_of_which_one_waits_for_the_other() -> None:
    from .driving import submission

    hand = Hand(setup(builder("parent"), builder("child")))
    parent = hand.started("parent")
    hand.prepared(parent)
    hand.call(parent, c.StartBuilds((submission("child"),), wait=True))
    assert len(hand.state.builds) == 2
    hand.lose()
    hand.put(e.WorkerDeclaredDead(worker="w1"))
    assert not hand.state.builds
    assert [request.builder for request in hand.state.requests.values()] == ["parent"]


def test_a_worker_that_is_being_stopped_gets_nothing_new() -> None:
    hand, build, command = running()
    session = hand.state.workers["w1"].session
    hand.put(e.WorkerLeaving(worker="w1", session=session))
    hand.put(e.WorkerLeaving(worker="w1", session=session))
    assert len(hand.all(f.WorkerLeaving)) == 1
    hand.over(command, rc=-1, lost=True)
    assert hand.result(build) is Result.RETRY
    assert (hand.used("lock"), hand.state.builds) == (0, {})
    hand.lose()
    assert hand.state.workers["w1"].state == "absent"
    assert not hand.errands(x.ArmTimer)
    hand.connect()
    assert len(hand.state.builds) == 1


def test_a_build_whose_worker_is_being_stopped_gets_no_further_command() -> None:
    hand, build, command = running()
    hand.put(e.WorkerLeaving(worker="w1", session=hand.state.workers["w1"].session))
    hand.over(command)
    hand.call(build, c.RunCommand(kind="shell", args={}), 2)
    assert not hand.errands(x.SendCommand)
    assert hand.result(build) is Result.RETRY
    assert hand.used("lock") == 0


def test_a_stopped_worker_takes_builds_with_it_that_run_nothing_there() -> None:
    hand, build, command = running()
    hand.over(command)
    hand.put(e.WorkerLeaving(worker="w1", session=hand.state.workers["w1"].session))
    assert hand.used("lock") == 1
    hand.lose()
    assert hand.result(build) is Result.RETRY
    assert hand.used("lock") == 0
    assert hand.state.workers["w1"].state == "absent"


def test_L61_a_stopped_worker_that_did_not_tell_an_end_is_waited_for() -> None:
    hand, _, _ = running()
    hand.put(e.WorkerLeaving(worker="w1", session=hand.state.workers["w1"].session))
    hand.lose()
    assert hand.state.workers["w1"].state == "unreachable"
    assert [timer.seconds for timer in hand.errands(x.ArmTimer)] == [60.0 + LEASE_MARGIN]
    assert hand.used("lock") == 1


def test_only_the_present_connection_of_a_worker_says_that_it_is_being_stopped() -> None:
    hand = Hand(setup(builder("b")))
    for worker, session in (("w1", 0), ("nobody", 1)):
        hand.put(e.WorkerLeaving(worker=worker, session=session))
        assert not hand.last.facts
    session = hand.state.workers["w1"].session
    hand.put(e.WorkerLeaving(worker="w1", session=session))
    assert hand.request(hand.force()).state == "waiting"
    hand.connect()
    assert len(hand.state.builds) == 1
    hand.put(e.WorkerLeaving(worker="w1", session=session))
    assert not hand.last.facts
