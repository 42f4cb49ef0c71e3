"""Units that are not fit: into quarantine before anything is done with them, and their claim waits for others."""

from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, LockKey, Patience, Result
from lockstep.core.pool_reasons import looked_at
from lockstep.core.reasons import Reasons
from lockstep.core.values import PoolSetup, Setup, UnitSetup

from .driving import Hand, builder, plan, setup, submission

BOARDS = PoolSetup("boards", (UnitSetup("pi-1", ("arm",)), UnitSetup("pi-2", ("arm",)), UnitSetup("nuc", ("amd",))))
SICK = ("boards", "pi-1", "it does not answer")


def some(count: int = 1, where: str = "arm", patience: Patience | None = None) -> Access:
    return Access(LockKey("pool", "boards", where=where), "counting", count, patience=patience)


def farm(*accesses: Access) -> Setup:
    plain = setup(builder("b", *accesses), limits={})
    return Setup(workers=plain.workers, builders=plain.builders, locks=plain.locks, pools=(BOARDS,))


def units(hand: Hand) -> list[tuple[str, ...]]:
    return [dict(hold.units)["boards"] for hold in hand.state.allocator.holds.values() if hold.units]


def failed(hand: Hand, buildid: int, step: int, hold: int, *sick: tuple[str, str, str]) -> None:
    """The check of some units (pi-1) has failed."""
    hand.put(e.UnitsFailed(buildid=buildid, step=step, hold=hold, units=sick or (SICK,)))


def test_a_build_whose_unit_is_not_fit_gets_another_one_with_its_ticket() -> None:
    hand = Hand(farm(some()))
    hand.connect()
    brid = hand.force()
    first = hand.build(hand.request(brid).buildid)
    failed(hand, first.buildid, 0, first.hold)
    assert hand.state.quarantines["boards", "pi-1"].reason == "it does not answer"
    assert hand.result(first.buildid) is Result.RETRY
    again = hand.build(hand.request(brid).buildid)
    assert (again.ticket, units(hand)) == (first.ticket, [("pi-2",)])
    assert [errand.buildid for errand in hand.errands(x.BeginBuild)] == [again.buildid]


def test_a_build_that_has_begun_is_not_put_back_by_what_is_heard_late() -> None:
    hand = Hand(farm(some()))
    buildid = hand.started("b", plan())
    hold = hand.build(buildid).hold
    failed(hand, buildid, 0, hold)
    assert hand.build(buildid).state == "running"
    assert ("boards", "pi-1") in hand.state.quarantines
    failed(hand, buildid, 0, hold)
    failed(hand, 99, 0, hold)
    failed(hand, buildid, 0, hold, ("boards", "mac", "?"), ("phones", "x", "?"))
    assert len(hand.all(f.UnitQuarantined)) == 1


def test_a_build_that_is_stopped_while_its_units_are_looked_at_is_cancelled() -> None:
    hand = Hand(farm(some()))
    brid = hand.force()
    build = hand.build(hand.request(brid).buildid)
    hand.put(e.StopAsked(buildid=build.buildid, reason="enough"))
    failed(hand, build.buildid, 0, build.hold)
    assert hand.result(build.buildid) is Result.CANCELLED
    assert units(hand) == []


def test_a_step_whose_unit_is_not_fit_waits_again_with_its_ticket_and_gets_another_one() -> None:
    hand = Hand(farm())
    buildid = hand.started("b", plan())
    hand.prepared(buildid, 1, some())
    ticket, hold = hand.step(buildid).ticket, hand.step(buildid).hold
    assert hand.step(buildid).fences == {"boards": 1}
    failed(hand, buildid, 1, hold)
    step = hand.step(buildid)
    assert (step.state, step.ticket, step.fences, units(hand)) == ("running", ticket, {"boards": 2}, [("pi-2",)])
    assert step.hold != hold
    failed(hand, buildid, 1, hold, ("boards", "pi-2", "of the hold before"))
    assert hand.step(buildid).state == "running"
    failed(hand, buildid, 1, step.hold, ("boards", "pi-2", "of the hold before"))
    assert (hand.step(buildid).state, hand.step(buildid).hold, units(hand)) == ("waiting", 0, [])
    hand.put(e.QuarantineAsked(pool="boards", unit="pi-2", lift=True))
    assert (hand.step(buildid).state, units(hand)) == ("running", [("pi-2",)])
    assert len([each for each in hand.effects if isinstance(each, x.RunStep)]) == 3
    hand.finished(buildid)
    assert hand.result(buildid) is Result.SUCCESS
    assert units(hand) == []


def test_why_says_which_units_are_looked_at_and_for_how_long() -> None:
    checked = replace(farm(some(2)), pools=(replace(BOARDS, checked=True),))
    hand = Hand(checked)
    hand.connect()
    buildid = hand.request(hand.force()).buildid
    hand.now += 5

    def why() -> str:
        return Reasons(hand.state, hand.now).build(hand.build(buildid)).sentence

    assert why() == "Looks at boards/pi-1 and boards/pi-2 first (healthCheck), for 5 s."
    hand.planned(buildid, plan("flash"))
    assert why() == "Its next step is being prepared."
    hand = Hand(replace(farm(), pools=(replace(BOARDS, checked=True),)))
    buildid = hand.started("b", plan("flash"))
    hand.prepared(buildid, 1, some())
    assert why() == "Looks at boards/pi-1 first (healthCheck), for 0 s."
    hand.call(buildid, c.Keep("arguments", b""))
    assert why().startswith("Runs step 'step 1' for ")


def test_units_that_a_build_lends_were_looked_at_when_it_got_them() -> None:
    plain = setup(builder("b", some(1, "pi-1")), builder("child", some(2)), limits={})
    hand = Hand(replace(plain, pools=(replace(BOARDS, checked=True),)))
    parent = hand.started("b", plan())
    hand.prepared(parent)
    hand.call(parent, c.StartBuilds((submission("child"),), wait=True))
    child = next(each for each in hand.state.builds.values() if each.builder == "child")
    assert units(hand) == [("pi-1",), ("pi-1", "pi-2")]
    assert looked_at(hand.state, child.hold) == [("boards", "pi-2")]


def test_a_step_that_has_done_something_keeps_its_units() -> None:
    hand = Hand(farm())
    buildid = hand.started("b", plan())
    hand.prepared(buildid, 1, some())
    hand.command(buildid)
    failed(hand, buildid, 1, hand.step(buildid).hold)
    assert (hand.step(buildid).state, units(hand)) == ("running", [("pi-1",)])


def test_a_step_that_is_stopped_while_its_units_are_looked_at_ends() -> None:
    hand = Hand(farm())
    buildid = hand.started("b", plan())
    hand.prepared(buildid, 1, some())
    hold = hand.step(buildid).hold
    hand.put(e.StopAsked(buildid=buildid, reason="enough"))
    assert hand.step(buildid).state == "running"
    failed(hand, buildid, 1, hold)
    assert hand.result(buildid) is Result.CANCELLED
    assert units(hand) == []


def test_a_step_waits_for_other_units_as_long_as_it_says() -> None:
    hand = Hand(farm())
    buildid = hand.started("b", plan())
    hand.prepared(buildid, 1, some(2, patience=Patience(Result.FAILURE, 60.0)))
    failed(hand, buildid, 1, hand.step(buildid).hold)
    (timer,) = [each for each in hand.last.effects if isinstance(each, x.ArmTimer)]
    hand.now += 60.0
    hand.put(e.TimerFired(timer=timer.timer))
    assert hand.result(buildid) is Result.FAILURE
