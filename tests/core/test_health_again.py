"""Units in quarantine that were not fit are looked at again, until they are (L95)."""

from msgspec.structs import replace

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, LockKey
from lockstep.core.pool_reasons import units_of
from lockstep.core.reasons import Reasons
from lockstep.core.values import BookingWish, PoolSetup, Setup, UnitSetup

from .driving import Hand, builder, setup
from .test_recovery import crash

BOARDS = PoolSetup("boards", (UnitSetup("pi"), UnitSetup("nuc")), checked=True, retry=600.0)
TIMER = "look:boards/pi"


def farm(pool: PoolSetup = BOARDS) -> Setup:
    plain = setup(builder("b", Access(LockKey("pool", "boards", where="pi"))), limits={})
    return replace(plain, pools=(pool,))


def sick(pool: PoolSetup = BOARDS) -> Hand:
    """The check of pi has failed; a build waits for it."""
    hand = Hand(farm(pool))
    hand.connect()
    build = hand.build(hand.request(hand.force()).buildid)
    failed = (("boards", "pi", "it does not answer"),)
    hand.put(e.UnitsFailed(buildid=build.buildid, step=0, hold=build.hold, units=failed))
    return hand


def since(hand: Hand) -> float:
    return hand.state.quarantines["boards", "pi"].since


def timers(hand: Hand) -> list[float]:
    """The times that were set by the last event, Unix time."""
    return [hand.now + one.seconds for one in hand.last.effects if isinstance(one, x.ArmTimer) and one.timer == TIMER]


def looks(hand: Hand) -> list[float]:
    """Since when the units are in quarantine that are looked at because of the last event."""
    return [one.since for one in hand.last.effects if isinstance(one, x.LookAgain)]


def turn(hand: Hand, seconds: float = 600.0) -> None:
    """So many seconds later the timer has run out."""
    hand.now += seconds - 1.0  # an event takes a second
    hand.put(e.TimerFired(timer=TIMER))


def fit(hand: Hand, since: float) -> None:
    hand.put(e.UnitFit(pool="boards", unit="pi", since=since))


def held(hand: Hand) -> bool:
    return any(hold.units for hold in hand.state.allocator.holds.values())


def say(hand: Hand, **more: bool) -> str:
    """Somebody speaks of the unit. Returns what is answered."""
    hand.put(e.QuarantineAsked(pool="boards", unit="pi", who="ann", reason="mine", token=1, **more))
    (reply,) = [one for one in hand.last.effects if isinstance(one, x.Reply)]
    return reply.error


def test_L95_a_unit_that_was_not_fit_is_looked_at_again_until_it_is() -> None:
    hand = sick()
    began = since(hand)
    assert timers(hand) == [began + 600]
    assert not looks(hand)
    turn(hand)
    assert (looks(hand), timers(hand)) == ([began], [hand.now + 600])
    turn(hand)
    assert (looks(hand), held(hand)) == ([began], False)
    fit(hand, began)
    (lifted,) = hand.all(f.QuarantineLifted)
    assert (lifted.pool, lifted.unit, lifted.who, lifted.reason) == ("boards", "pi", "", "its health check passes")
    assert held(hand)
    turn(hand)
    fit(hand, began)
    assert not hand.last.effects
    assert len(hand.all(f.QuarantineLifted)) == 1


def test_L95_a_timer_that_is_early_or_comes_twice_begins_no_look() -> None:
    hand = sick()
    turn(hand, 500)
    assert not looks(hand)
    assert timers(hand) == [since(hand) + 600]
    turn(hand, 100)
    turn(hand, 1)
    assert not looks(hand)
    assert timers(hand) == [since(hand) + 1200]


def test_L95_when_the_clock_is_put_back_the_next_turn_is_no_later_than_usual() -> None:
    hand = sick()
    hand.now -= 5000
    turn(hand, 1)
    assert timers(hand) == [hand.now + 600]


def test_L95_what_is_heard_late_of_a_quarantine_that_is_over_says_nothing_of_another() -> None:
    hand = sick()
    before = since(hand)
    say(hand, lift=True)
    build = hand.build(hand.request(1).buildid)
    failed = (("boards", "pi", "again"),)
    hand.put(e.UnitsFailed(buildid=build.buildid, step=0, hold=build.hold, units=failed))
    fit(hand, before)
    assert since(hand) > before


def test_L95_a_person_s_quarantine_is_not_lifted_nor_looked_at() -> None:
    hand = sick()
    before = since(hand)
    assert say(hand) == ""
    quarantine = hand.state.quarantines["boards", "pi"]
    assert (quarantine.who, quarantine.reason, quarantine.unfit) == ("ann", "mine", False)
    assert say(hand) == "Unit 'pi' of pool 'boards' is in quarantine already: mine."
    turn(hand)
    assert (looks(hand), timers(hand)) == ([], [])
    fit(hand, before)
    fit(hand, since(hand))
    assert ("boards", "pi") in hand.state.quarantines
    assert not hand.all(f.QuarantineLifted)


def test_L95_who_has_the_unit_is_not_disturbed() -> None:
    hand = Hand(farm())
    pi = Access(LockKey("pool", "boards", where="pi"))
    hand.put(e.BookingAsked(wish=BookingWish(accesses=(pi,))))
    (ticket,) = hand.state.bookings
    failed = (("boards", "pi", "heard late"),)
    hand.put(e.UnitsFailed(buildid=9, step=0, hold=9, units=failed))
    turn(hand)
    assert (looks(hand), timers(hand)) == ([], [hand.now + 600])
    hand.put(e.BookingReleaseAsked(ticket=ticket))
    turn(hand)
    assert looks(hand) == [since(hand)]


def test_L95_a_reload_begins_and_ends_it() -> None:
    for without in (
        replace(BOARDS, retry=0.0),
        replace(BOARDS, units=BOARDS.units[1:]),
        replace(BOARDS, name="other"),
    ):
        hand = sick()
        began = since(hand)
        hand.put(e.Configured(setup=farm(without)))
        assert timers(hand) == []
        turn(hand)
        assert (looks(hand), timers(hand)) == ([], [])
        fit(hand, began)
        assert since(hand) == began
        hand.put(e.Configured(setup=farm()))
        assert timers(hand) == [hand.now]
        turn(hand, 1)
        assert looks(hand) == [began]
    hand.put(e.Configured(setup=farm(replace(BOARDS, retry=60.0))))
    assert timers(hand) == [hand.now - 1 + 60]


def test_L95_after_a_restart_a_look_that_was_lost_is_begun_again() -> None:
    hand = sick()
    turn(hand)
    hand = crash(hand)
    assert hand.state.quarantines["boards", "pi"].unfit
    assert [one.seconds for one in hand.errands(x.ArmTimer) if one.timer == TIMER] == [0.0]
    turn(hand, 1)
    assert looks(hand) == [since(hand)]
    fit(hand, since(hand))
    assert ("boards", "pi") not in hand.state.quarantines


def test_L95_a_quarantine_of_another_cause_is_not_lifted() -> None:
    hand = Hand(farm())
    hand.put(e.QuarantineAsked(pool="boards", unit="nuc", reason="it hums"))
    hand.put(e.Configured(setup=farm(replace(BOARDS, retry=60.0))))
    assert not hand.errands(x.ArmTimer)
    hand.put(e.UnitFit(pool="boards", unit="nuc", since=hand.state.quarantines["boards", "nuc"].since))
    assert ("boards", "nuc") in hand.state.quarantines


def test_when_a_unit_is_looked_at_again_is_said() -> None:
    hand = sick()
    hand.now += 60
    (pi, nuc) = units_of(hand.state, LockKey("pool", "boards"))
    assert (pi.checked_again_at, nuc.checked_again_at) == (since(hand) + 600, None)
    why = Reasons(hand.state, hand.now).request(hand.request(1))
    assert "in quarantine: pi (it does not answer; for 1 min, looked at again in 9 min)." in why.sentence
    turn(hand, 600)
    (pi, nuc) = units_of(hand.state, LockKey("pool", "boards"))
    assert pi.checked_again_at == hand.now + 600
