"""After a crash: the state is read back, recovery comes before the first grant, errands are told again (L60)."""

import pytest
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, LockKey, Result
from lockstep.core.recovery import resume, state_of
from lockstep.core.state import slot_key
from lockstep.core.values import PoolSetup, UnitSetup
from lockstep.sim.checks import same
from lockstep.sim.fold import Fold

from .driving import Hand, builder, lock, plan, setup, submission, use, whole


def crash(hand: Hand) -> Hand:
    """Another process, from what is stored."""
    rows = Fold("test")
    for one in hand.facts:
        rows.put(one)
    same(state_of(rows.saved()), hand.state, "what is stored and the state")
    after = Hand(state=state_of(rows.saved()))
    after.now = hand.now + 100.0
    after.facts = list(hand.facts)
    after.last = resume(after.state, after.now)
    after.facts += after.last.facts
    return after


def busy() -> Hand:
    """Build 1 runs a command under `lock`; request 2 waits for it."""
    hand = Hand(setup(builder("a", use("lock")), builder("b", use("lock")), limits={"lock": 1}))
    hand.started("a", plan(), plan())
    hand.prepared(1)
    hand.command(1)
    hand.force("b")
    return hand


def test_L60_a_hold_whose_build_still_runs_stays_held() -> None:
    hand = crash(busy())
    assert hand.used("lock") == 1
    assert [type(one.fact).__name__ for one in hand.last.facts] == ["WorkerDown"]
    assert hand.errands(x.ResumeBuild) == [x.ResumeBuild(1)]
    assert hand.errands(x.RunStep) == [x.RunStep(1, 1)]
    (timer,) = hand.errands(x.ArmTimer)
    assert timer.timer == "lease:1:w1"
    hand.connect(known=("test-1.1.1",))
    assert not hand.new(f.ClaimGranted)
    hand.over("test-1.1.1")
    hand.finished(1, 1)
    hand.prepared(1, 2)
    hand.finished(1, 2)
    assert hand.request(2).state == "building"


def test_L60_nobody_is_granted_a_worker_that_has_not_come_back() -> None:
    hand = Hand(setup(builder("a"), builder("b")))
    hand.started("a")
    hand = crash(hand)
    brid = hand.force("b")
    assert hand.request(brid).state == "waiting"
    hand.connect()
    assert hand.request(brid).state == "building"


def test_L62_fences_go_on_where_they_were() -> None:
    hand = Hand(setup(builder("a", use("lock")), limits={"lock": 1}))
    hand.planned(hand.state.requests[hand.force("a")].buildid)
    hand.prepared(1)
    hand.finished(1)
    hand = crash(hand)
    hand.connect()
    build = hand.request(hand.force("a")).buildid
    assert hand.build(build).fences == {"lock": 2}


@pytest.mark.parametrize(
    ("at", "errand"),
    [
        ("asked", x.BeginBuild(1)),
        ("planned", x.PrepareStep(1, 1)),
        ("running", x.RunStep(1, 1)),
        ("between", x.PrepareStep(1, 2)),
    ],
)
def test_the_errand_that_was_lost_is_told_again(at: str, errand: x.Effect) -> None:
    hand = Hand(setup(builder("a")))
    hand.force("a")
    if at != "asked":
        hand.planned(1, plan(), plan())
    if at in ("running", "between"):
        hand.prepared(1)
    if at == "between":
        hand.finished(1)
    assert errand in crash(hand).last.effects


def test_a_waiting_step_goes_on_waiting_with_its_ticket() -> None:
    hand = Hand(setup(builder("a"), builder("b"), limits={"lock": 1}))
    first, second = hand.started("a"), hand.started("b")
    hand.prepared(first, 1, whole("lock"))
    hand.prepared(second, 1, whole("lock"))
    ticket = hand.step(second).ticket
    hand = crash(hand)
    assert list(hand.state.allocator.waiting) == [ticket]
    hand.finished(first, 1)
    assert hand.errands(x.RunStep) == [x.RunStep(second, 1)]


def test_L33_a_call_of_a_stopped_step_does_not_wait_again() -> None:
    hand = Hand(setup(builder("a"), builder("b"), limits={"lock": 1}))
    first, second = hand.started("a"), hand.started("b")
    hand.prepared(first, 1, whole("lock"))
    hand.prepared(second)
    hand.call(second, c.Acquire((whole("lock"),)), 1)
    hand.command(second, 2)
    hand.put(e.StopAsked(buildid=second))
    hand = crash(hand)
    assert not hand.state.allocator.waiting
    hand.finished(first, 1)
    assert hand.used("lock") == 0


def test_a_sleep_has_only_the_rest_to_go() -> None:
    hand = Hand(setup(builder("a")))
    build = hand.started("a")
    hand.prepared(build)
    hand.call(build, c.Sleep(150.0))
    hand = crash(hand)
    timers = {timer.timer: timer.seconds for timer in hand.errands(x.ArmTimer)}
    assert timers["sleep:1.1.1"] == pytest.approx(50.0)


def test_what_is_being_stopped_is_told_again() -> None:
    hand = busy()
    hand.put(e.StopAsked(buildid=1, reason="enough"))
    hand = crash(hand)
    assert hand.errands(x.InterruptStep) == [x.InterruptStep(1, 1, "enough")]
    hand.connect(known=("test-1.1.1",))
    assert [effect.command for effect in hand.errands(x.InterruptCommand)] == ["test-1.1.1"]


def test_a_broken_build_only_waits_for_its_commands() -> None:
    hand = busy()
    hand.put(e.BuildBroken(buildid=1, result=Result.RETRY, reason="it differs"))
    hand = crash(hand)
    assert not hand.errands(x.RunStep)
    assert not hand.errands(x.ResumeBuild)
    hand.connect(gone=("test-1.1.1",))
    assert hand.result(1) is Result.RETRY


def test_a_step_that_cannot_be_replayed_is_tried_again() -> None:
    hand = Hand(setup(builder("a", use("lock")), limits={"lock": 1}))
    build = hand.started("a", plan("deploy", replayable=False))
    hand.prepared(build)
    hand = crash(hand)
    assert hand.result(build) is Result.RETRY
    assert "step 'step 1' cannot be replayed" in hand.new(f.BuildStopping)[0].reason
    assert hand.request(1).state == "waiting"


def test_barriers_and_what_locks_remember_are_read_back() -> None:
    hand = Hand(setup(builder("all", whole("lock")), builder("b", use("lock")), builder("c", use("lock")),
                      limits={"lock": 2}))  # fmt: skip
    hand.state.allocator.set_lock(lock("lock"), 2, 8)
    hand.started("b")
    waiting = hand.force("all")
    for number in range(2, 11):
        brid = hand.force("c")
        if hand.request(brid).state == "waiting":
            break
        hand.planned(number)
        hand.prepared(number)
        hand.finished(number)
    assert hand.all(f.BarrierRaised)
    assert hand.request(brid).state == "waiting"
    ticket = hand.request(waiting).ticket
    assert hand.state.allocator.reasons.pin(ticket) == 0
    after = crash(hand)
    after.put(e.FullPass())
    assert after.state.allocator.reasons.overtaken(ticket, lock("lock")) == 8


def test_parents_still_wait_for_their_children() -> None:
    hand = Hand(setup(builder("a"), builder("b")))
    hand.started("a")
    hand.prepared(1)
    hand.call(1, c.StartBuilds((submission("b"),), wait=True))
    hand = crash(hand)
    assert hand.state.allocator.snapshot().parents == ((2, 1),)
    hand.connect()
    hand.planned(2)
    hand.prepared(2)
    hand.finished(2)
    assert [done.number for done in hand.errands(x.CallDone)] == [1]


def test_a_removed_lock_is_there_until_its_last_holder_has_ended() -> None:
    hand = busy()
    hand.put(e.Configured(setup=setup(builder("a"))))
    hand = crash(hand)
    assert hand.used("lock") == 1
    hand.put(e.BuildBroken(buildid=1, result=Result.EXCEPTION, reason="no"))
    hand.connect(gone=("test-1.1.1",))
    assert lock("lock") not in hand.state.allocator.board.locks
    assert crash(hand).state.removed_locks[lock("lock")].limit == 1


def test_L6_a_removed_pool_is_in_the_way_of_the_lock_of_its_name_until_its_last_holder_has_ended() -> None:
    pool = PoolSetup("boards", (UnitSetup("pi-1"),))
    hand = Hand(replace(setup(builder("a", Access(LockKey("pool", "boards")))), pools=(pool,)))
    hand.started("a", plan())
    hand.prepared(1)
    hand.command(1)
    hand.put(e.Configured(setup=setup(builder("a"), builder("b", use("boards")), limits={"boards": 1})))
    hand = crash(hand)
    hand.connect(known=("test-1.1.1",))
    brid = hand.force("b")
    assert hand.request(brid).state == "waiting"
    hand.over("test-1.1.1")
    hand.finished(1, 1)
    assert hand.request(brid).state == "building"


def test_requests_that_wait_for_their_locks_to_be_rendered_are_rendered() -> None:
    made = setup(builder("a"))
    hand = Hand(replace(made, builders=(replace(made.builders[0], need=None),)))
    brid = hand.force("a")
    assert crash(hand).errands(x.RenderNeed) == [x.RenderNeed(brid)]


def test_a_paused_worker_is_paused() -> None:
    hand = Hand(setup(builder("a")))
    hand.put(e.WorkerPauseAsked(worker="w1", paused=True))
    hand = crash(hand)
    hand.connect()
    assert hand.state.allocator.reasons.limit(slot_key("w1")) == 0


def test_an_empty_store_gives_an_empty_state() -> None:
    hand = crash(Hand())
    assert not hand.last.facts
    assert not hand.last.effects
