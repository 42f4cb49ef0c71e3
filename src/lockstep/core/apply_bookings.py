"""What the facts about bookings do to the state. See `apply.py`."""

from lockstep.core import facts as f
from lockstep.core.records import Booking
from lockstep.core.state import State
from lockstep.core.tables import move


def booking_added(state: State, fact: f.BookingAdded, at: float) -> None:
    state.counters.clock = fact.ticket
    booking = Booking(ticket=fact.ticket, wish=fact.wish, since=fact.since, asked_at=at)
    state.bookings[fact.ticket] = booking
    state.claims[fact.ticket] = ("booking", fact.ticket, 0, 0)
    if fact.keeps:
        state.allocator.tick(fact.ticket)
    else:
        state.claim(state.booking_claim(booking))


def granted(booking: Booking, hold: int, at: float) -> None:
    """A booking has its locks; its time begins."""
    booking.state = move("booking", booking.ticket, booking.state, "granted")  # type: ignore[assignment]
    booking.hold = hold
    booking.granted_at = at
    booking.ends_at = at + booking.wish.seconds if booking.wish.seconds else 0.0


def hold_passed(state: State, fact: f.HoldPassed, at: float) -> None:
    booking = state.bookings[fact.ticket]
    claim = state.booking_claim(booking)
    state.allocator.pass_on(fact.of_hold, claim, fact.hold, fact.fences)
    granted(booking, fact.hold, at)


def not_kept(state: State, fact: f.NotKept, _at: float) -> None:
    if fact.alternative is not None:
        state.allocator.reword(fact.lender, fact.alternative)


def booking_renewed(state: State, fact: f.BookingRenewed, _at: float) -> None:
    booking = state.bookings[fact.ticket]
    booking.state = move("booking", fact.ticket, booking.state, "renewed")  # type: ignore[assignment]
    booking.renewals = fact.renewals


def booking_extended(state: State, fact: f.BookingExtended, _at: float) -> None:
    booking = state.bookings[fact.ticket]
    booking.state = move("booking", fact.ticket, booking.state, "extended")  # type: ignore[assignment]
    booking.ends_at = fact.ends_at


def booking_leaving(state: State, fact: f.BookingLeaving, _at: float) -> None:
    booking = state.bookings[fact.ticket]
    booking.state = move("booking", fact.ticket, booking.state, "must leave")  # type: ignore[assignment]
    booking.ending, booking.ended_by, booking.ended_why = fact.ending, fact.by, fact.why


def booking_ended(state: State, fact: f.BookingEnded, _at: float) -> None:
    booking = state.bookings.pop(fact.ticket)
    move("booking", fact.ticket, booking.state, "ended")
    del state.claims[fact.ticket]
