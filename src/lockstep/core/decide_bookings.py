"""Decisions about bookings: people and programs outside of Lockstep who want locks, get them, and give them back.

A booking is a claim like any other (L10, L40); it ends by one way, `end` (L30). See `decide.py`.
"""

from msgspec.structs import replace

from lockstep.core import decide_builds, decide_pools, pool_reasons
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import AccessError, Hold, PoolTwiceError, normalize, units_in
from lockstep.core.answers import exactly, listed
from lockstep.core.draft import Draft
from lockstep.core.limits import (
    LEASE_MARGIN,
    MAX_BOOKING_SECONDS,
    MAX_BOOKING_TEXT,
    MAX_BOOKINGS,
    MAX_LEASE,
    MAX_PRIORITY,
    MIN_LEASE,
)
from lockstep.core.nouns import Access, Alternative, LockKey, Result, capital
from lockstep.core.reasons import Reasons
from lockstep.core.records import Booking, Build
from lockstep.core.values import BookingEnding, BookingWish

BARRIER_FROM_THE_START = -1
"""Earlier than every ticket: such a claim is due at every lock (L42)."""

EARLY = 1.0
"""A timer may fire so many seconds before its wall time; it is not set anew for that."""


_WANTED = ("accesses", "priority", "after_current", "seconds", "lease")
"""What of a wish must be the same when it is asked for again; who asks and why are only words."""

# --- asking


def asked(draft: Draft, event: e.BookingAsked) -> None:
    """Take a wish in. Whoever asks again, as the answer was lost, asks for the same booking."""
    wish = event.wish
    known = _same(draft, wish)
    error = refusal(draft, wish) if known is None else _other_wish(known, wish)
    if error:
        draft.reply(event.token, error=error)
    elif known is not None:
        _renew(draft, known)
        draft.reply(event.token, known.ticket)
    else:
        draft.reply(event.token, add(draft, wish))


def _same(draft: Draft, wish: BookingWish) -> Booking | None:
    """The booking that this wish has asked for before."""
    mine = {name for name in (wish.key, wish.once) if name}
    live = draft.state.bookings.values() if mine else ()
    return next((each for each in live if mine & {each.wish.key, each.wish.once}), None)


def _other_wish(known: Booking, wish: BookingWish) -> str:
    """Why a wish is not the one that this booking was asked for with, or an empty string."""
    try:
        wish = replace(wish, accesses=normalize(wish.accesses))
    except AccessError as error:
        return f"{error}."
    if all(getattr(wish, name) == getattr(known.wish, name) for name in _WANTED):
        return ""
    return f"Booking {known.ticket} has this key and wants something else: take a new key for each wish."


def refusal(draft: Draft, wish: BookingWish) -> str:
    """Why a wish cannot be taken, or an empty string."""
    if len(draft.state.bookings) >= MAX_BOOKINGS:
        return f"There are {MAX_BOOKINGS} bookings already; release some."
    if too_long := _too_long(wish.who, wish.reason, wish.notify):
        return too_long
    if abs(wish.priority) > MAX_PRIORITY:
        return f"Priorities are from -{MAX_PRIORITY} to {MAX_PRIORITY}."
    if not 0 <= wish.seconds <= MAX_BOOKING_SECONDS:
        return f"A booking lasts from 0 (until it is released) to {exactly(MAX_BOOKING_SECONDS)}."
    if wish.lease and not MIN_LEASE <= wish.lease <= MAX_LEASE:
        return f"A lease is from {MIN_LEASE:g} to {MAX_LEASE:g} seconds."
    try:
        accesses = normalize(wish.accesses)
    except PoolTwiceError as error:
        return decide_pools.asked_twice(draft.state, error.lock.name, wish.accesses)
    except AccessError as error:
        return f"{error}."
    if not accesses:
        return "Say which lock."
    return next(filter(None, (_impossible(draft, access) for access in accesses)), "")


def _too_long(*texts: str) -> str:
    """Why texts are refused, or an empty string."""
    if all(len(text) <= MAX_BOOKING_TEXT for text in texts):
        return ""
    return f"Who, why and where to tell it may have at most {MAX_BOOKING_TEXT} characters each."


def _impossible(draft: Draft, access: Access) -> str:
    """Why this access could never be granted as the configuration is (L5), or an empty string."""
    key = access.lock
    if key.kind == "slot":
        worker = draft.state.workers.get(key.worker)
        if worker is None or not worker.configured:
            return f"There is no worker '{key.worker}'."
        limit = worker.max_builds
    elif key.kind == "pool":
        return decide_pools.impossible(draft.state, access)
    elif key in draft.state.locks:
        limit = draft.state.locks[key].limit
    elif key in draft.state.removed_locks:
        limit = draft.state.removed_locks[key].limit
    else:
        return f"There is no lock '{key}'."
    if limit is not None and limit < access.count:
        return f"{capital(key.told)} has {limit} unit{'' if limit == 1 else 's'}: {access.count} can never be had."
    return ""


def add(draft: Draft, wish: BookingWish, keeps: int = 0) -> int:
    """A booking begins to wait, or (`keeps`) gets a part of that hold. Returns its ticket."""
    state = draft.state
    ticket = state.counters.clock + 1
    wish = replace(wish, accesses=normalize(wish.accesses))
    since = BARRIER_FROM_THE_START if wish.after_current else ticket
    draft.emit(f.BookingAdded(ticket=ticket, wish=wish, since=since, keeps=keeps))
    watch_lease(draft, state.bookings[ticket])
    return ticket


def begun(draft: Draft, booking: Booking) -> None:
    """A booking has its locks: its end is watched for."""
    if booking.ends_at:
        draft.effect(x.ArmTimer(_end_timer(booking), max(0.0, booking.ends_at - draft.at)))


def _end_timer(booking: Booking) -> str:
    return f"booking:end.{booking.ticket}"


def _lease_timer(booking: Booking) -> str:
    """The timer's name. One of a lease that was renewed, heard late, says nothing about this one."""
    return f"booking:lease.{booking.ticket}.{booking.renewals}"


def watch_lease(draft: Draft, booking: Booking) -> None:
    """A booking that must be renewed is lost when nobody does, not before its owner has certainly noticed (L61)."""
    if booking.wish.lease:
        draft.effect(x.ArmTimer(_lease_timer(booking), booking.wish.lease + LEASE_MARGIN))


def resume(draft: Draft, booking: Booking) -> None:
    """After a restart: time goes on, and whoever must renew gets a whole lease to do it."""
    if booking.state == "held":
        begun(draft, booking)
    watch_lease(draft, booking)


# --- renewing, extending, giving back


def _found(draft: Draft, ticket: int, token: int) -> Booking | None:
    booking = draft.state.bookings.get(ticket)
    if booking is None:
        draft.reply(token, error=f"There is no booking {ticket}, or it has ended.")
    return booking


def renew_asked(draft: Draft, event: e.BookingRenewAsked) -> None:
    """Begin a lease anew."""
    booking = _found(draft, event.ticket, event.token)
    if booking is None:
        return
    error = ""
    if event.key != booking.wish.key:
        error = _WRONG_KEY.format(booking.ticket)
    elif booking.state == "leaving":
        error = must_end(booking)
    if error:
        draft.reply(event.token, error=error)
        return
    _renew(draft, booking)
    draft.reply(event.token)


def _renew(draft: Draft, booking: Booking) -> None:
    if booking.wish.lease and booking.state != "leaving":
        draft.effect(x.DisarmTimer(_lease_timer(booking)))
        draft.emit(f.BookingRenewed(ticket=booking.ticket, renewals=booking.renewals + 1))
        watch_lease(draft, booking)


def must_end(booking: Booking) -> str:
    """What a program is told whose locks are taken away."""
    by = f" by {booking.ended_by}" if booking.ended_by else ""
    return f"Booking {booking.ticket} must end: it is {booking.ending}{by} ({booking.ended_why})."


_WRONG_KEY = (
    "Booking {} belongs to a program that knows its key. To take its locks away from it, use steal and say why."
)


def extend_asked(draft: Draft, event: e.BookingExtendAsked) -> None:
    """Let a booking that is held end later."""
    booking = _found(draft, event.ticket, event.token)
    if booking is None:
        return
    error = ""
    if booking.state == "leaving":
        error = must_end(booking)
    elif booking.state != "held":
        error = f"Booking {booking.ticket} waits; its time begins when it has its locks."
    elif not booking.ends_at:
        error = f"Booking {booking.ticket} has no end: it lasts until it is released."
    elif not 0 < event.seconds <= MAX_BOOKING_SECONDS:
        error = f"A booking is extended by more than 0 and at most {exactly(MAX_BOOKING_SECONDS)}."
    elif booking.ends_at + event.seconds > draft.at + MAX_BOOKING_SECONDS:
        error = f"A booking may last {exactly(MAX_BOOKING_SECONDS)} from now on, not longer."
    if error:
        draft.reply(event.token, error=error)
        return
    draft.emit(f.BookingExtended(ticket=booking.ticket, ends_at=booking.ends_at + event.seconds))
    begun(draft, booking)
    draft.reply(event.token, booking.ends_at)


def release_asked(draft: Draft, event: e.BookingReleaseAsked) -> None:
    """Give a booking back. One with a key is given back by whoever has it; others take it away with a reason."""
    booking = _found(draft, event.ticket, event.token)
    if booking is None:
        return
    error = _too_long(event.who)
    if booking.wish.key and event.key != booking.wish.key:
        error = _WRONG_KEY.format(booking.ticket)
    if error:
        draft.reply(event.token, error=error)
        return
    end(draft, booking, "cancelled" if booking.state == "waiting" else "released", event.who)
    draft.reply(event.token)


def time_is_up(draft: Draft, timer: str) -> None:
    """A booking's end has come, or its lease was not renewed."""
    what, _, rest = timer.partition(".")
    ticket, _, renewals = rest.partition(".")
    booking = draft.state.bookings.get(int(ticket))
    if booking is None:
        return
    if what == "lease":
        if booking.renewals == int(renewals) and booking.wish.lease:
            end(draft, booking, "lost", why=f"it was not renewed within its lease of {exactly(booking.wish.lease)}")
    elif booking.state == "held" and booking.ends_at:
        if booking.ends_at > draft.at + EARLY:
            begun(draft, booking)
        else:
            take_away(draft, booking, "expired", why="its time was over")


def take_away(draft: Draft, booking: Booking, ending: BookingEnding, by: str = "", why: str = "") -> None:
    """End a hold against its owner's will: a person's at once; a program must have stopped before another gets it."""
    if not booking.wish.lease:
        end(draft, booking, ending, by, why)
    elif booking.state == "held":
        draft.emit(f.BookingLeaving(ticket=booking.ticket, ending=ending, by=by, why=why))


def end(draft: Draft, booking: Booking, ending: BookingEnding, by: str = "", why: str = "") -> None:
    """End a booking, waiting or held: the one way (L30). One that is leaving ends as it was told."""
    if booking.ending is not None:
        ending, by, why = booking.ending, booking.ended_by, booking.ended_why
    if booking.state == "waiting":
        told = f"{ending}{f' by {by}' if by else ''}{f': {why}' if why else ''}"
        draft.emit(f.ClaimDropped(ticket=booking.ticket, reason=told))
    else:
        draft.emit(f.HoldEnded(hold=booking.hold, ticket=booking.ticket))
    draft.emit(f.BookingEnded(ticket=booking.ticket, ending=ending, by=by, why=why))
    if booking.ends_at:
        draft.effect(x.DisarmTimer(_end_timer(booking)))
    if booking.wish.lease:
        draft.effect(x.DisarmTimer(_lease_timer(booking)))


# --- stealing


def steal_asked(draft: Draft, event: e.StealAsked) -> None:
    """Take locks away: a booking ends, a build is put back; then whoever takes them is first, but for barriers.

    Whoever asks again, as the answer was lost, has what was taken the first time.
    """
    done = _same(draft, event.wish) if event.wish is not None else None
    if done is not None:
        draft.reply(event.token, done.ticket, error=_other_wish(done, event.wish) if event.wish is not None else "")
        return
    victims, error = _victims(draft, event)
    error = error or _too_long(event.who, event.reason)
    if not error and not event.reason.strip():
        error = "Say why: whoever loses the lock is told."
    if not error and event.wish is not None:
        error = refusal(draft, event.wish)
    if error:
        draft.reply(event.token, error=error)
        return
    ticket = add(draft, event.wish) if event.wish is not None else 0
    waiting = draft.state.bookings.get(event.ticket)
    if waiting is not None and waiting.state == "waiting":
        end(draft, waiting, "cancelled", event.who, event.reason)
    for hold in victims:
        _rob(draft, hold, event)
    draft.reply(event.token, ticket)


def _victims(draft: Draft, event: e.StealAsked) -> tuple[list[Hold], str]:
    """The holds that end, or why none does."""
    state = draft.state
    if event.lock is None:
        booking = state.bookings.get(event.ticket)
        if booking is None:
            return [], f"There is no booking {event.ticket}, or it has ended."
        return [] if booking.state == "waiting" else [state.allocator.holds[booking.hold]], ""
    holds, named = state.allocator.reasons.holders(event.lock), pool_reasons.named(state, event.lock)
    if event.hold:
        holds = [hold for hold in holds if hold.id == event.hold]
        if not holds:
            return [], f"Hold {event.hold} of {named} is not current."
    if not holds:
        return [], f"Nobody holds {named}: hold it as usual."
    if len(holds) > 1 and not event.everybody:
        reasons = Reasons(state, draft.at)
        names = listed([f"{reasons.party(hold.ticket).text} (hold {hold.id})" for hold in holds])
        return [], f"{capital(named)} is held by {names}: say which hold, or all."
    return holds, ""


def _rob(draft: Draft, hold: Hold, event: e.StealAsked) -> None:
    """End whoever has this hold, and say by whom and why."""
    state = draft.state
    lock = event.lock or hold.alternative.accesses[0].lock
    told = f"{pool_reasons.named(state, lock)} was taken away"
    draft.emit(f.HoldStolen(hold=hold.id, ticket=hold.ticket, lock=lock, who=event.who, reason=event.reason))
    by = event.who or "somebody"
    if hold.ticket in state.bookings:
        why = f"{told}: {event.reason}"
        take_away(draft, state.bookings[hold.ticket], "stolen", by, why)
        return
    for build in [build for build in state.builds.values() if build.ticket == hold.owner]:
        decide_builds.sentence_build(draft, build, f"{capital(told)} by {by}: {event.reason}")


# --- keeping after a failure


def keep_after_failure(
    draft: Draft, build: Build, hold: int, result: Result, what: str, but: tuple[LockKey, ...] = ()
) -> None:
    """What a failed build or step wanted kept for a look goes over to a booking of nobody's, before its hold ends.

    All `but` these: they are given back later. Nor what is lent: two would have it then.
    """
    held = draft.state.allocator.holds.get(hold)
    if held is None or result not in (Result.FAILURE, Result.EXCEPTION):
        return
    reason = f"kept after failure of {what}"
    for access in held.alternative.accesses:
        if not access.keep or access.lock in but:
            continue
        if draft.state.allocator.reasons.stands_alone(held, access.lock):
            _keep(draft, hold, access, reason)
        else:
            _leave(draft, held, access)


def _keep(draft: Draft, hold: int, access: Access, reason: str) -> None:
    reasons = draft.state.allocator.reasons
    seconds = access.keep
    access = Access(access.lock, access.mode, access.count)
    ticket = add(draft, BookingWish(accesses=(access,), reason=reason, seconds=seconds), keeps=hold)
    draft.emit(
        f.HoldPassed(
            ticket=ticket,
            hold=reasons.next_hold(),
            alternative=Alternative("", (access,)),
            fences=(reasons.next_fence(access.lock),),
            of_hold=hold,
            units=units_in(draft.state.allocator.holds[hold].units, (access.lock,)),
        )
    )
    begun(draft, draft.state.bookings[ticket])


def _leave(draft: Draft, held: Hold, access: Access) -> None:
    """What is lent is not kept (L53): the lender's end decides, and finds the wish among its own."""
    state = draft.state
    lender = state.allocator.reasons.lender(held, access.lock)
    if lender is None:
        why = "others have it too, as builds that were waited for have, and there is no room beside them"
        draft.emit(f.NotKept(hold=held.id, ticket=held.ticket, access=access, why=why))
        return
    noted = tuple(
        replace(each, keep=max(each.keep, access.keep)) if each.lock.whole == access.lock.whole else each
        for each in lender.alternative.accesses
    )
    draft.emit(
        f.NotKept(
            hold=held.id,
            ticket=held.ticket,
            access=access,
            why=f"{Reasons(state, draft.at).party(lender.ticket).text} lends it, and keeps it if it fails too",
            lender=lender.id,
            lender_ticket=lender.ticket,
            alternative=replace(lender.alternative, accesses=noted),
        )
    )
