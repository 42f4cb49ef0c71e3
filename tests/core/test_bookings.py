"""Bookings: locks that are held for people and other programs. Worlds with them are in `tests/sim`."""

import pytest
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import BecameBarrier, Granted
from lockstep.core.allocation import Allocator
from lockstep.core.limits import LEASE_MARGIN, MAX_BOOKING_TEXT
from lockstep.core.nouns import Access, Alternative, Claim, LockKey, Need, Result
from lockstep.core.reasons import Reasons
from lockstep.core.recovery import resume
from lockstep.core.state import slot_key
from lockstep.core.values import BookingWish

from .compare import differs
from .driving import Hand, builder, lock, setup, submission, use, whole
from .worlds import Event, World


def reply(hand: Hand, event: e.Event) -> x.Reply:
    """What the sender of an event is answered."""
    outcome = hand.put(replace(event, token=7))
    (found,) = [effect for effect in outcome.effects if isinstance(effect, x.Reply)]
    return found


def book(hand: Hand, *accesses: Access, **wish: object) -> int:
    """Ask for locks. Returns the ticket."""
    answer = reply(hand, e.BookingAsked(wish=BookingWish(accesses=accesses, who="ann", **wish)))  # type: ignore[arg-type]
    assert not answer.error, answer.error
    return int(answer.value)


def farm(**limits: int) -> Hand:
    """One worker, a builder `b` that needs the whole of `db`."""
    return Hand(setup(builder("b", whole("db")), limits={"db": 1, **limits}))


def timers(hand: Hand) -> dict[str, float]:
    """What was armed and not disarmed since."""
    armed: dict[str, float] = {}
    for effect in hand.effects:
        if isinstance(effect, x.ArmTimer):
            armed[effect.timer] = effect.seconds
        elif isinstance(effect, x.DisarmTimer):
            armed.pop(effect.timer, None)
    return armed


def ends(hand: Hand) -> list[f.BookingEnded]:
    return [one.fact for one in hand.facts if isinstance(one.fact, f.BookingEnded)]


# --- holding


def test_L10_a_booking_queues_like_any_other_and_gets_all_or_nothing() -> None:
    hand = farm(other=1)
    hand.force("b")
    ticket = book(hand, whole("other"), whole("db"), reason="a look")
    assert hand.state.bookings[ticket].state == "waiting"
    assert not hand.state.allocator.reasons.holders(lock("other"))
    why = Reasons(hand.state, hand.now).claim(ticket)
    assert why.sentence.startswith("Waits for lock 'db', held by b #1")
    hand.put(e.BuildBroken(buildid=1, result=Result.FAILURE, reason="it ends"))
    booking = hand.state.bookings[ticket]
    assert (booking.state, booking.granted_at) == ("held", hand.now)
    assert reply(hand, e.BookingReleaseAsked(ticket=ticket, who="ann")).error == ""
    assert ends(hand) == [f.BookingEnded(ticket=ticket, ending="released", by="ann")]
    assert not hand.state.allocator.holds


def test_L33_giving_up_the_wait_changes_nobodys_place() -> None:
    hand = farm()
    hand.force("b")
    first, second = book(hand, whole("db")), book(hand, whole("db"))
    reply(hand, e.BookingReleaseAsked(ticket=first))
    assert ends(hand)[0].ending == "cancelled"
    hand.put(e.BuildBroken(buildid=1, result=Result.FAILURE, reason="it ends"))
    assert hand.state.bookings[second].state == "held"


def test_a_booking_that_has_a_time_ends_with_it() -> None:
    hand = farm()
    ticket = book(hand, whole("db"), seconds=60.0)
    assert timers(hand) == {f"booking:end.{ticket}": 60.0}
    until = reply(hand, e.BookingExtendAsked(ticket=ticket, seconds=40.0)).value
    assert until == hand.state.bookings[ticket].granted_at + 100.0
    hand.put(e.TimerFired(timer=f"booking:end.{ticket}"))  # the former time: too early now
    assert ticket in hand.state.bookings
    hand.now += 100
    hand.put(e.TimerFired(timer=f"booking:end.{ticket}"))
    assert ends(hand)[0].ending == "expired"


def test_L61_a_lease_that_is_not_renewed_is_lost_after_a_margin() -> None:
    hand = farm()
    ticket = book(hand, whole("db"), lease=30.0, key="secret")
    assert timers(hand) == {f"booking:lease.{ticket}.0": 30.0 + LEASE_MARGIN}
    assert reply(hand, e.BookingRenewAsked(ticket=ticket, key="secret")).error == ""
    assert list(timers(hand)) == [f"booking:lease.{ticket}.1"]
    hand.put(e.TimerFired(timer=f"booking:lease.{ticket}.0"))  # heard late
    assert ticket in hand.state.bookings
    hand.put(e.TimerFired(timer=f"booking:lease.{ticket}.1"))
    assert (ends(hand)[0].ending, "lease of 30 s" in ends(hand)[0].why) == ("lost", True)


def test_L60_after_a_restart_time_goes_on_and_a_lease_begins_anew() -> None:
    hand = farm()
    timed = book(hand, whole("db"), seconds=60.0)
    leased = book(hand, whole("db"), lease=30.0)
    effects = resume(hand.state, hand.now + 20).effects
    armed = {effect.timer: effect.seconds for effect in effects if isinstance(effect, x.ArmTimer)}
    granted = hand.state.bookings[timed].granted_at
    assert armed == {f"booking:end.{timed}": granted + 60 - hand.now - 20, f"booking:lease.{leased}.0": 40.0}


def test_a_key_is_needed_where_there_is_one_and_the_same_key_is_the_same_booking() -> None:
    hand = farm()
    ticket = book(hand, whole("db"), key="secret")
    assert book(hand, whole("db"), key="secret") == ticket
    for event in (e.BookingRenewAsked(ticket=ticket, key="guess"), e.BookingReleaseAsked(ticket=ticket)):
        assert "knows its key" in reply(hand, event).error
    assert not reply(hand, e.BookingReleaseAsked(ticket=ticket, key="secret")).error


def test_a_person_can_have_a_worker_to_himself() -> None:
    hand = Hand(setup(builder("b"), limits={}))
    ticket = book(hand, Access(slot_key("w1"), "exclusive"))
    brid = hand.force("b")
    assert hand.state.requests[brid].state == "waiting"
    reply(hand, e.BookingReleaseAsked(ticket=ticket))
    assert hand.state.requests[brid].state == "building"
    hand.lose()
    waits = book(hand, Access(slot_key("w1"), "exclusive"))
    assert "worker 'w1' is out of reach" in Reasons(hand.state, hand.now).claim(waits).sentence


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (BookingWish(accesses=()), "Say which lock."),
        (BookingWish(accesses=(whole("nonsense"),)), "There is no lock 'nonsense'."),
        (BookingWish(accesses=(use("db", count=2),)), "Lock 'db' has 1 unit: 2 can never be had."),
        (BookingWish(accesses=(use("db", count=-1),)), "count must be an integer >= 0"),
        (BookingWish(accesses=(whole("db"), whole("db"))), "used twice in one claim"),
        (BookingWish(accesses=(Access(slot_key("w9")),)), "There is no worker 'w9'."),
        (BookingWish(accesses=(whole("db"),), seconds=-1.0), "A booking lasts from 0"),
        (BookingWish(accesses=(whole("db"),), seconds=float("nan")), "A booking lasts from 0"),
        (BookingWish(accesses=(whole("db"),), lease=0.1), "A lease is from 1 to"),
        (BookingWish(accesses=(whole("db"),), priority=1 << 40), "Priorities are"),
        (BookingWish(accesses=(whole("db"),), reason="x" * (MAX_BOOKING_TEXT + 1)), "at most"),
    ],
)
def test_wrong_wishes_get_one_sentence_and_change_nothing(wish: BookingWish, said: str) -> None:
    hand = farm()
    before = hand.state.last_fact
    assert said in reply(hand, e.BookingAsked(wish=wish)).error
    assert hand.state.last_fact == before


def test_wrong_use_of_a_booking_gets_one_sentence_and_changes_nothing() -> None:
    hand = farm()
    hand.force("b")
    ticket = book(hand, whole("db"))
    before = hand.state.last_fact
    said = {
        "There is no booking 99": e.BookingReleaseAsked(ticket=99),
        "There is no booking 98": e.BookingRenewAsked(ticket=98),
        "its time begins": e.BookingExtendAsked(ticket=ticket, seconds=5.0),
        "There is no booking 97": e.StealAsked(ticket=97, reason="now"),
        "Say why": e.StealAsked(lock=lock("db"), reason=" "),
        "Nobody holds lock 'free'": e.StealAsked(lock=lock("free"), reason="now"),
        "Hold 77 of lock 'db' is not current": e.StealAsked(lock=lock("db"), hold=77, reason="now"),
        "Hold 77 of worker w1 is not current.": e.StealAsked(lock=slot_key("w1"), hold=77, reason="now"),
    }
    for text, event in said.items():
        assert text in reply(hand, event).error
    assert hand.state.last_fact == before


# --- after the current one (LOCKS section 10)


def test_L42_after_the_current_one_is_a_barrier_from_the_start() -> None:
    hand = Hand(setup(builder("b", use("pool")), builder("c", use("pool")), limits={"pool": 2}))
    hand.force("b")
    ticket = book(hand, whole("pool"), after_current=True)
    hand.force("c")  # it would fit beside what is held, but may not pass
    assert len(hand.state.builds) == 1
    why = Reasons(hand.state, hand.now).claim(ticket)
    assert "passed" not in why.sentence
    hand.put(e.BuildBroken(buildid=1, result=Result.FAILURE, reason="it ends"))
    assert hand.state.bookings[ticket].state == "held"


def test_L42_a_barrier_from_the_start_reserves_only_what_it_needs() -> None:
    allocator = Allocator()
    pool, other = lock("pool"), lock("other")
    for key, limit in ((pool, 3), (other, 1)):
        allocator.set_lock(key, limit)
    allocator.submit(Claim(1, Need((Alternative("", (use("pool", count=2),)),)), 1))
    allocator.decide()
    allocator.submit(Claim(2, Need((Alternative("", (use("pool", count=2),)),)), 2, since=-1))
    assert BecameBarrier(2, (pool,)) in allocator.decide()
    allocator.submit(Claim(3, Need((Alternative("", (use("other"),)),)), 3))
    allocator.submit(Claim(4, Need((Alternative("", (use("pool"),)),)), 4))
    assert [each.ticket for each in allocator.decide() if isinstance(each, Granted)] == [3]


class Impatient(World):
    """A world in which many claims are barriers from the start."""

    def submitted(self, claim: Claim) -> list[Event]:
        if claim.owner == claim.ticket and not claim.parent and self.random.random() < 0.3:
            claim = replace(claim, since=-1, put_back=False)
        return super().submitted(claim)


def test_L42_barriers_from_the_start_are_the_same_for_quick_and_dumb() -> None:
    for seed in range(30_000, 30_080):
        difference = differs(seed, restart=seed % 4 == 0, kind=Impatient)
        assert not difference, difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(10))
def test_L42_barriers_from_the_start_are_the_same_for_quick_and_dumb_in_many_worlds(block: int) -> None:
    for seed in range(30_080 + block * 100, 30_180 + block * 100):
        difference = differs(seed, restart=seed % 4 == 0, kind=Impatient)
        assert not difference, difference


# --- stealing


def test_a_build_that_is_robbed_goes_back_and_the_thief_comes_first() -> None:
    hand = farm()
    brid = hand.force("b")
    hand.force("b")
    wish = BookingWish(accesses=(whole("db"),), who="bob", after_current=True)
    answer = reply(hand, e.StealAsked(lock=lock("db"), wish=wish, who="bob", reason="the board burns"))
    build = hand.state.builds.get(1)
    assert build is not None
    assert build.stop_result is Result.RETRY
    assert build.stop_reason == "Lock 'db' was taken away by bob: the board burns"
    hand.put(e.BuildPlanned(buildid=1, plans=(), properties={}))
    assert hand.state.requests[brid].state == "waiting"
    assert hand.state.bookings[answer.value].state == "held"
    (stolen,) = [one.fact for one in hand.facts if isinstance(one.fact, f.HoldStolen)]
    assert (stolen.lock, stolen.who, stolen.reason) == (lock("db"), "bob", "the board burns")


def test_a_booking_that_is_robbed_ends_as_stolen() -> None:
    hand = farm()
    ticket = book(hand, whole("db"), seconds=60.0, key="secret")
    assert not reply(hand, e.StealAsked(ticket=ticket, who="bob", reason="it is late")).error
    assert ends(hand) == [
        f.BookingEnded(ticket=ticket, ending="stolen", by="bob", why="lock 'db' was taken away: it is late")
    ]
    assert timers(hand) == {}


def test_of_several_holders_one_is_named_or_all() -> None:
    hand = farm(pool=3)
    tickets = [book(hand, use("pool")) for _ in range(3)]
    error = reply(hand, e.StealAsked(lock=lock("pool"), reason="now")).error
    assert "say which hold, or all" in error
    assert "ann (booking" in error
    hold = hand.state.bookings[tickets[1]].hold
    reply(hand, e.StealAsked(lock=lock("pool"), hold=hold, reason="now"))
    assert sorted(hand.state.bookings) == [tickets[0], tickets[2]]
    reply(hand, e.StealAsked(lock=lock("pool"), everybody=True, reason="now"))
    assert not hand.state.bookings


# --- keeping after a failure


def test_a_lock_is_kept_after_a_failure_and_nobody_gets_it_in_between() -> None:
    kept = replace(whole("db"), keep=60.0)
    hand = Hand(setup(builder("b", kept, whole("other")), limits={"db": 1, "other": 1}))
    hand.force("b")
    after = book(hand, whole("db"), after_current=True)
    hand.put(e.BuildBroken(buildid=1, result=Result.EXCEPTION, reason="it broke"))
    (keeper,) = [b for b in hand.state.bookings.values() if b.state == "held"]
    assert keeper.wish.reason == "kept after failure of b #1"
    assert keeper.ends_at == hand.now + 60
    (hold,) = hand.state.allocator.reasons.holders(lock("db"))
    assert (hold.ticket, hold.fences) == (keeper.ticket, (2,))
    assert not hand.state.allocator.reasons.holders(lock("other"))
    assert hand.state.bookings[after].state == "waiting"
    hand.put(e.FullPass())
    assert not hand.last.facts
    reply(hand, e.BookingReleaseAsked(ticket=keeper.ticket, who="ann"))
    assert hand.state.bookings[after].state == "held"


@pytest.mark.parametrize("result", [Result.RETRY, Result.CANCELLED, Result.SUCCESS])
def test_a_lock_is_kept_only_after_a_failure(result: Result) -> None:
    hand = Hand(setup(builder("b", replace(whole("db"), keep=60.0)), limits={"db": 1}))
    brid = hand.force("b")
    if result is Result.SUCCESS:
        hand.put(e.BuildPlanned(buildid=1, plans=(), properties={}))
    elif result is Result.CANCELLED:
        hand.put(e.CancelAsked(brid=brid))
        hand.put(e.BuildPlanned(buildid=1, plans=(), properties={}))
    else:
        hand.put(e.BuildBroken(buildid=1, result=result, reason="it broke"))
    assert not hand.state.bookings


def test_what_a_failed_step_held_is_kept() -> None:
    hand = Hand(setup(builder("b"), limits={"db": 1}))
    from .driving import plan

    hand.force("b")
    hand.put(e.BuildPlanned(buildid=1, plans=(plan("flash"),), properties={}))
    accesses = (Access(LockKey("master", "db"), "exclusive", 1, 30.0),)
    hand.put(e.StepPrepared(buildid=1, number=1, name="flash", accesses=accesses))
    hand.put(e.StepFinished(buildid=1, number=1, result=Result.FAILURE))
    (keeper,) = hand.state.bookings.values()
    assert keeper.wish.reason == "kept after failure of step 'flash' of b #1"
    assert not hand.state.builds


def test_who_asks_again_with_a_lease_has_a_whole_one() -> None:
    hand = farm()
    wish = BookingWish(accesses=(whole("db"),), lease=30.0, key="k")
    first = reply(hand, e.BookingAsked(wish=wish)).value
    assert reply(hand, e.BookingAsked(wish=wish)).value == first
    assert [timer for timer in timers(hand) if timer.startswith("booking:lease")] == [f"booking:lease.{first}.1"]


def family(parent: Access | None, child: Access, limit: int) -> tuple[Hand, int, int]:
    """A parent waits for a child, each with its access of `x`. Their builds' ids."""
    made = builder("p", *([parent] if parent else [])), builder("k", child, workers=("w2",))
    hand = Hand(setup(*made, limits={"x": limit}, workers=("w1", "w2")), connect=["w1", "w2"])
    mother = hand.started("p")
    hand.prepared(mother)
    hand.call(mother, c.StartBuilds(submissions=(submission("k"),), wait=True))
    (kid,) = [build.buildid for build in hand.state.builds.values() if build.builder == "k"]
    return hand, mother, kid


def kept(access: Access) -> Access:
    return replace(access, keep=60.0)


@pytest.mark.parametrize(
    ("parent", "child", "limit"),
    [
        (whole("x"), kept(whole("x")), 1),
        (whole("x"), kept(use("x")), 1),
        (use("x"), kept(whole("x")), 1),
        (use("x", count=2), kept(use("x")), 2),
        (use("x", count=2), kept(use("x", count=3)), 4),
    ],
)
@pytest.mark.parametrize("result", [Result.FAILURE, Result.SUCCESS])
def test_L53_what_was_lent_is_not_kept_but_by_its_lender(
    parent: Access, child: Access, limit: int, result: Result
) -> None:
    hand, mother, kid = family(parent, child, limit)
    hand.put(e.BuildBroken(buildid=kid, result=Result.EXCEPTION, reason="it broke"))
    assert not hand.state.bookings
    assert hand.used("x") == parent.count
    (left,) = hand.all(f.NotKept)
    assert left.why == "p #1 lends it, and keeps it if it fails too"
    hand.finished(mother, 1, result)
    reasons = [booking.wish.reason for booking in hand.state.bookings.values()]
    assert reasons == (["kept after failure of p #1"] if result is Result.FAILURE else [])
    assert hand.used("x") == (parent.count if result is Result.FAILURE else 0)


def test_L53_what_was_taken_anew_is_kept() -> None:
    hand, _, kid = family(None, kept(use("x")), 1)
    hand.put(e.BuildBroken(buildid=kid, result=Result.EXCEPTION, reason="it broke"))
    (keeper,) = hand.state.bookings.values()
    assert keeper.wish.reason == "kept after failure of k #1"


def test_L53_a_build_that_breaks_keeps_nothing_that_its_child_has_still() -> None:
    hand, mother, kid = family(kept(whole("x")), whole("x"), 1)
    hand.planned(kid)
    hand.prepared(kid)
    command = hand.command(kid)
    hand.put(e.BuildBroken(buildid=mother, result=Result.EXCEPTION, reason="it broke"))
    assert [left.why for left in hand.all(f.NotKept)] == [
        "others have it too, as builds that were waited for have, and there is no room beside them"
    ]
    assert not hand.state.bookings
    assert [hold.owner for hold in hand.state.allocator.reasons.holders(lock("x"))] == [hand.build(kid).ticket]
    hand.over(command, rc=-1)
    hand.finished(kid, 1, Result.CANCELLED)
    assert not hand.used("x")
