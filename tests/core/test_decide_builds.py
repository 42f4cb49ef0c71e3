"""The life of builds, decision by decision: steps, flags, results, step locks, stopping. See `driving.py`."""

import pytest

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, Result
from lockstep.core.tables import IllegalMoveError, move

from .driving import Hand, builder, lock, plan, setup, submission, use, whole

OK, WARN, FAIL, SKIP, EXC, RETRY, STOP = Result


def one(**limits: int) -> Hand:
    """A worker, a builder `b` that needs `lock` if that has a limit, and nothing else."""
    return Hand(setup(builder("b", *([use("lock")] if "lock" in limits else [])), limits=limits))


def run(hand: Hand, buildid: int, number: int, result: Result = OK) -> None:
    hand.prepared(buildid, number)
    hand.finished(buildid, number, result)


def test_a_build_from_the_request_to_its_end() -> None:
    hand = one(lock=1)
    brid = hand.force()
    assert [type(one.fact).__name__ for one in hand.last.facts] == [
        "StampAdded", "BuildsetAdded", "RequestAdded", "ClaimGranted", "BuildStarted",
    ]  # fmt: skip
    assert hand.errands(x.BeginBuild) == [x.BeginBuild(1)]
    hand.planned(1, plan("compile"))
    assert hand.errands(x.PrepareStep) == [x.PrepareStep(1, 1)]
    hand.prepared(1, 1)
    assert hand.errands(x.RunStep) == [x.RunStep(1, 1)]
    command = hand.command(1)
    assert hand.used("lock") == 1
    hand.over(command)
    assert [done.result.rc for done in hand.errands(x.CallDone)] == [0]
    hand.finished(1)
    assert hand.result(1) is OK
    assert hand.errands(x.DropBuild) == [x.DropBuild(1)]
    assert brid not in hand.state.requests
    assert hand.used("lock") == 0
    assert not hand.state.claims
    assert not hand.state.stamps


def test_L62_the_fences_of_a_build_are_those_of_its_locks() -> None:
    hand = one(lock=1)
    for fence in (1, 2):
        build = hand.started()
        assert hand.build(build).fences == {"lock": fence}
        run(hand, build, 1)


@pytest.mark.parametrize(
    ("flags", "result", "build", "halts"),
    [
        ({}, OK, OK, False),
        ({}, SKIP, OK, False),
        ({}, FAIL, FAIL, False),
        ({"haltOnFailure": True}, FAIL, FAIL, True),
        ({"flunkOnFailure": False}, FAIL, OK, False),
        ({"flunkOnFailure": False, "haltOnFailure": True}, FAIL, OK, True),
        ({"flunkOnFailure": False, "warnOnFailure": True}, FAIL, WARN, False),
        ({"warnOnFailure": True}, FAIL, FAIL, False),
        ({}, WARN, OK, False),
        ({"warnOnWarnings": True}, WARN, WARN, False),
        ({"flunkOnWarnings": True}, WARN, FAIL, False),
        ({}, EXC, EXC, True),
        ({}, STOP, STOP, True),
    ],
)
def test_how_a_step_counts(flags: dict[str, bool], result: Result, build: Result, halts: bool) -> None:
    """Buildbot's manual, common parameters of steps."""
    hand = one()
    first = hand.started("b", plan("first", **flags), plan("second"), plan("last", alwaysRun=True))
    run(hand, first, 1, result)
    (prepare,) = hand.errands(x.PrepareStep)
    assert prepare.number == (3 if halts else 2)
    if not halts:
        run(hand, first, 2)
    run(hand, first, 3)
    assert hand.result(first) is build


def test_the_worst_result_counts() -> None:
    hand = one()
    build = hand.started("b", plan(warnOnWarnings=True), plan(), plan(warnOnWarnings=True))
    for number, result in enumerate((WARN, FAIL, WARN), 1):
        run(hand, build, number, result)
    assert hand.result(build) is FAIL


def test_L34_who_waits_is_served_after_failure_too() -> None:
    hand = one(lock=1)
    first = hand.started()
    second = hand.force()
    assert hand.request(second).state == "waiting"
    run(hand, first, 1, FAIL)
    assert hand.request(second).state == "building"


def test_L20_a_skipped_step_claims_nothing() -> None:
    hand = Hand(setup(builder("b"), limits={"lock": 1}))
    build = hand.started("b", plan(), plan())
    hand.prepared(build, 1, whole("lock"), result=SKIP)
    assert not hand.new(f.ClaimGranted)
    assert [step.ticket for step in hand.new(f.StepStarted)] == [0]
    assert [end.result for end in hand.new(f.StepEnded)] == [SKIP]
    assert hand.errands(x.PrepareStep) == [x.PrepareStep(build, 2)]


def two_builds() -> tuple[Hand, int, int]:
    """Two builds; the step of the first has the whole of `lock`, the step of the second waits for it."""
    hand = Hand(setup(builder("a"), builder("b"), limits={"lock": 1}))
    first, second = hand.started("a", plan(), plan()), hand.started("b", plan(), plan("clean", alwaysRun=True))
    hand.prepared(first, 1, whole("lock"))
    assert hand.errands(x.RunStep) == [x.RunStep(first, 1)]
    hand.prepared(second, 1, whole("lock"))
    assert not hand.errands(x.RunStep)
    assert hand.step(second).state == "waiting"
    return hand, first, second


def test_L20_a_step_waits_for_its_locks_and_gives_them_back_at_its_end() -> None:
    hand, first, second = two_builds()
    hand.finished(first, 1)
    assert x.RunStep(second, 1) in hand.last.effects
    assert hand.step(second).fences == {"lock": 2}
    assert hand.step(second).state == "running"
    assert hand.step(second).locks_acquired_at == hand.now


def test_L33_a_cancelled_waiter_is_gone_and_runs_only_what_always_runs() -> None:
    hand, first, second = two_builds()
    hand.put(e.StopAsked(buildid=second))
    assert hand.new(f.ClaimDropped)
    assert hand.errands(x.PrepareStep) == [x.PrepareStep(second, 2)]
    hand.finished(first, 1)
    assert not hand.new(f.ClaimGranted)
    run(hand, second, 2)
    assert hand.result(second) is STOP


def test_L71_waiting_is_counted_also_when_it_is_cancelled() -> None:
    hand, _, second = two_builds()
    hand.now += 100
    hand.put(e.StopAsked(buildid=second))
    run(hand, second, 2)
    (end,) = hand.new(f.BuildEnded)
    assert end.locks_duration == pytest.approx(101.0)


def test_L3_a_count_of_nothing_is_never_queued() -> None:
    hand, _, second = two_builds()
    hand.put(e.StopAsked(buildid=second))
    hand.prepared(second, 2, use("lock", "counting", 0))
    assert hand.errands(x.RunStep) == [x.RunStep(second, 2)]


def test_L12_one_lock_twice_is_added_up() -> None:
    hand = Hand(setup(builder("b"), limits={"lock": 3}))
    build = hand.started()
    hand.prepared(build, 1, use("lock"), use("lock", "counting", 2))
    assert hand.used("lock") == 3


@pytest.mark.parametrize("accesses", [(whole("other"), use("other")), (use("other", "counting", -1),), (use("lock"),)])
def test_L25_a_step_that_could_only_wait_for_its_build_ends_in_exception(accesses: tuple[Access, ...]) -> None:
    hand = Hand(setup(builder("b", use("lock")), limits={"lock": 2, "other": 1}))
    build = hand.started()
    hand.prepared(build, 1, *accesses)
    (end,) = hand.new(f.StepEnded)
    assert end.result is EXC
    assert accesses[0].lock.name in end.summary
    assert hand.result(build) is EXC


def test_a_running_build_that_is_stopped_ends_with_its_command() -> None:
    hand = one(lock=1)
    build = hand.started()
    hand.prepared(build)
    command = hand.command(build)
    hand.put(e.StopAsked(buildid=build, reason="enough", who="me"))
    assert hand.errands(x.InterruptStep) == [x.InterruptStep(build, 1, "enough (by me)")]
    assert hand.errands(x.InterruptCommand) == [x.InterruptCommand("w1", command, "enough (by me)")]
    assert hand.used("lock") == 1
    hand.over(command, -1)
    hand.finished(build, 1, OK)
    assert hand.result(build) is STOP


def test_a_step_does_not_end_before_its_commands() -> None:
    hand = one(lock=1)
    build = hand.started()
    hand.prepared(build)
    command = hand.command(build)
    hand.finished(build)
    assert not hand.last.facts
    hand.over(command)
    hand.finished(build)
    assert hand.result(build) is OK


def test_who_is_being_stopped_gets_no_new_command_and_no_lock() -> None:
    hand = Hand(setup(builder("b"), limits={"lock": 1}))
    build = hand.started()
    hand.prepared(build)
    hand.put(e.StopAsked(buildid=build))
    hand.call(build, c.RunCommand(kind="shell", args={}), 1)
    assert not hand.errands(x.SendCommand)
    assert [done.result.rc for done in hand.errands(x.CallDone)] == [-1]
    hand.call(build, c.Acquire((whole("lock"),)), 2)
    assert not hand.new(f.ClaimGranted)
    assert not hand.state.allocator.waiting


def test_a_build_that_is_stopped_before_its_steps_are_known_runs_what_always_runs() -> None:
    hand = one()
    build = hand.state.requests[hand.force()].buildid
    hand.put(e.StopAsked(buildid=build))
    hand.planned(build, plan(), plan("clean", alwaysRun=True))
    assert hand.errands(x.PrepareStep) == [x.PrepareStep(build, 2)]


def test_a_build_without_steps_ends() -> None:
    hand = one()
    build = hand.state.requests[hand.force()].buildid
    hand.put(e.BuildPlanned(buildid=build, plans=(), properties={}))
    assert hand.result(build) is OK


def test_a_broken_build_ends_when_its_commands_have() -> None:
    hand = one(lock=1)
    build = hand.started("b", plan(), plan("clean", alwaysRun=True))
    hand.prepared(build)
    command = hand.command(build)
    hand.put(e.BuildBroken(buildid=build, result=RETRY, reason="the replay differs"))
    assert hand.used("lock") == 1
    hand.over(command)
    assert hand.result(build) is RETRY
    assert hand.request(1).put_back


def test_what_somebody_stopped_is_never_put_back() -> None:
    for stop_first in (True, False):
        hand = one(lock=1)
        build = hand.started()
        hand.prepared(build)
        command = hand.command(build)
        events = [e.StopAsked(buildid=build), e.BuildBroken(buildid=build, result=RETRY, reason="it differs")]
        for event in events if stop_first else events[::-1]:
            hand.put(event)
        hand.over(command)
        assert hand.result(build) is STOP
        assert not hand.state.requests


def test_L40_who_is_put_back_keeps_the_ticket_and_is_counted_anew() -> None:
    hand = one(lock=1)
    first, second = hand.force(), hand.force()
    ticket = hand.request(first).ticket
    build = hand.request(first).buildid
    hand.planned(build)
    run(hand, build, 1, RETRY)
    assert hand.result(build) is RETRY
    assert hand.request(first).ticket == ticket
    assert hand.request(first).since > hand.request(second).ticket
    assert hand.request(first).state == "waiting"
    assert hand.request(second).state == "building", "whoever waited comes first, or a ring would close again"


def test_steps_that_are_added_run_where_they_were_put() -> None:
    hand = one()
    build = hand.started("b", plan("first"), plan("last"))
    hand.prepared(build, 1)
    hand.call(build, c.AddSteps((plan("now"),), "after-current"), 1)
    assert [done.result for done in hand.errands(x.CallDone)] == [[2]]
    hand.call(build, c.AddSteps((plan("later"),), "after-last"), 2)
    assert [step.plan.name for step in hand.build(build).steps] == ["first", "now", "last", "later"]
    assert [step.number for step in hand.build(build).steps] == [1, 2, 3, 4]


def test_L52_the_youngest_of_a_true_ring_is_put_back() -> None:
    hand = Hand(setup(builder("a", whole("x")), builder("b", whole("y")), limits={"x": 1, "y": 1}))
    old, young = hand.started("a"), hand.started("b")
    hand.prepared(old, 1, whole("y"))
    assert not hand.new(f.RingBroken)
    hand.prepared(young, 1, whole("x"))
    (ring,) = hand.new(f.RingBroken)
    assert ring.ticket == hand.request(2).ticket
    assert "a #1 waits for lock 'y'; b #1 waits for lock 'x'" in ring.text
    assert hand.result(young) is RETRY
    assert hand.step(old).state == "running"
    assert hand.request(2).state == "waiting"
    hand.finished(old, 1)
    assert hand.request(2).state == "building"


@pytest.mark.parametrize(("lock", "runs"), [("", True), ("z", True), ("y", False)])
def test_L52_steps_that_always_run_do_so_if_they_need_no_lock_that_another_has(lock: str, runs: bool) -> None:
    builders = (builder("old", whole("y")), builder("young", whole("x")))
    hand = Hand(setup(*builders, limits={"x": 1, "y": 1, "z": 1}))
    old, young = hand.started("old"), hand.started("young", plan(), plan("clean", alwaysRun=True), plan())
    hand.prepared(young, 1, whole("y"))
    hand.prepared(old, 1, whole("x"))
    assert hand.new(f.RingBroken)
    assert hand.errands(x.PrepareStep) == [x.PrepareStep(young, 2)]
    assert hand.step(old).state == "waiting", "what the young one holds is held until its end"
    hand.prepared(young, 2, *([whole(lock)] if lock else []))
    if runs:
        assert hand.errands(x.RunStep) == [x.RunStep(young, 2)]
        hand.finished(young, 2)
    assert hand.result(young) is RETRY
    assert hand.step(old).state == "running"


@pytest.mark.parametrize(
    ("event", "result"),
    [
        (e.BuildBroken(buildid=2, result=STOP, reason="its code swallows every cancel"), RETRY),
        (e.BuildBroken(buildid=2, result=EXC, reason="its code raised"), RETRY),
        (e.StopAsked(buildid=2), STOP),
    ],
)
def test_L52_a_sentenced_build_goes_back_whatever_ends_it_but_a_person(event: e.Event, result: Result) -> None:
    hand = Hand(setup(builder("old", whole("y")), builder("young", whole("x")), limits={"x": 1, "y": 1}))
    old, young = hand.started("old"), hand.started("young")
    hand.prepared(young, 1)
    hand.call(young, c.Acquire((whole("y"),)))
    hand.prepared(old, 1, whole("x"))
    assert hand.new(f.RingBroken)
    hand.put(event)
    if event == e.StopAsked(buildid=2):
        hand.finished(young, 1)
    assert hand.result(young) is result
    assert hand.step(old).state == "running"


def test_L52_a_child_that_a_ring_frees_is_cancelled_with_its_parent() -> None:
    """The decision that sentences the parent may have granted the child already: it must be stopped all the same."""
    builders = (
        builder("old", whole("x")),
        builder("parent", whole("y")),
        builder("child", whole("x")),
        builder("free"),
    )
    hand = Hand(setup(*builders, limits={"x": 1, "y": 1}))
    old, parent = hand.started("old"), hand.started("parent")
    hand.prepared(old, 1, whole("y"))
    hand.prepared(parent, 1)
    hand.call(parent, c.StartBuilds((submission("child", "free"),), wait=True))
    # One child needs what the old one has, who needs what their parent has.
    assert hand.new(f.RingBroken)
    assert hand.new(f.BuildStarted), "the other child"
    assert hand.errands(x.InterruptStep)
    hand.finished(parent, 1)
    (free,) = [build for build in hand.state.builds.values() if build.builder == "free"]
    assert free.stop_result is Result.CANCELLED
    assert hand.step(old).state == "waiting", "the parent has not ended before its child"
    hand.put(e.BuildPlanned(buildid=free.buildid, plans=(plan(),), properties={}))
    assert hand.result(parent) is RETRY
    assert hand.step(old).state == "running"
    hand.put(e.FullPass())
    assert not hand.last.facts


def test_L53_a_build_goes_on_when_the_children_that_it_gave_up_have_ended() -> None:
    """They may still run under what it lent them."""
    hand = Hand(setup(builder("parent", whole("y")), builder("child", whole("y")), limits={"y": 1}))
    parent = hand.started("parent", plan(), plan("tidy", alwaysRun=True))
    hand.prepared(parent, 1)
    hand.call(parent, c.StartBuilds((submission("child"),), wait=True))
    (child,) = [build.buildid for build in hand.state.builds.values() if build.builder == "child"]
    hand.put(e.BuildPlanned(buildid=child, plans=(plan(),), properties={}))
    hand.prepared(child, 1)
    hand.put(e.StopAsked(buildid=parent))
    hand.finished(parent, 1)
    assert not hand.errands(x.PrepareStep), "its child has not ended"
    hand.finished(child, 1)
    assert hand.errands(x.PrepareStep) == [x.PrepareStep(parent, 2)]


def test_an_illegal_move_names_what_where_and_why() -> None:
    with pytest.raises(IllegalMoveError, match="build 7 in state 'ended' cannot take 'planned'"):
        move("build", 7, "ended", "planned")


def test_L25_a_build_may_raise_what_its_own_factory_said() -> None:
    alone = Access(lock("db"), "exclusive", raises=True)
    hand = Hand(setup(builder("b", use("db")), limits={"db": 2}))
    build = hand.started("b", plan(raises=(alone,)))
    hand.prepared(build, 1, alone)
    assert hand.step(build).state == "running"
    assert hand.used("db") == 2
    hand.finished(build)
    late = hand.started("b", plan())
    hand.prepared(late, 1, alone)
    assert "of which the configuration did not say so" in hand.new(f.StepEnded)[0].summary
