"""Facts about bookings: locks that are held for a person or for a program outside of Lockstep, and not by a build.

Values only, as in `facts.py`, which names them all. That a booking's claim is granted, dropped or given back is told by
the same facts as of every claim (L30).
"""

from lockstep.core.alloc_facts import Units
from lockstep.core.fact import Fact
from lockstep.core.nouns import Access, Alternative, LockKey
from lockstep.core.values import BookingEnding, BookingWish


class BookingAdded(Fact, frozen=True):
    """Somebody wants locks; `ticket` is the booking's id and its claim's.

    `since` is when it began to wait, or -1: a barrier from the start. With `keeps` it does not wait at all: it gets a
    part of that hold by a `HoldPassed` (an access with `keepAfterFailure`).
    """

    ticket: int
    wish: BookingWish
    since: int
    keeps: int = 0


class BookingRenewed(Fact, frozen=True):
    """Whoever must renew a booking has done so, for the `renewals`th time. Its lease begins anew."""

    ticket: int
    renewals: int


class BookingExtended(Fact, frozen=True):
    """A booking that is held ends later, Unix time."""

    ticket: int
    ends_at: float


class BookingLeaving(Fact, frozen=True):
    """A program must stop and give its locks back: its lease is not renewed any more. Fields as of the end."""

    ticket: int
    ending: BookingEnding
    by: str = ""
    why: str = ""


class HoldPassed(Fact, frozen=True):
    """A part of a hold that is about to end goes over to a booking, with no moment in between (`keepAfterFailure`).

    `units` are what it has of pools.
    """

    ticket: int
    hold: int
    alternative: Alternative
    fences: tuple[int, ...]
    of_hold: int
    units: Units = ()


class NotKept(Fact, frozen=True):
    """A lock that was to stay held after a failure does not: it was only lent, or is lent to others still (L53).

    Where somebody lends it, that one's end decides: `alternative` is what its hold `lender` has, and keeps after a
    failure, from now on.
    """

    hold: int
    ticket: int
    access: Access
    why: str
    lender: int = 0
    lender_ticket: int = 0
    alternative: Alternative | None = None


class HoldStolen(Fact, frozen=True):
    """Somebody takes a lock away from its holder; what becomes of that one has facts of its own."""

    hold: int
    ticket: int
    lock: LockKey
    who: str
    reason: str


class BookingEnded(Fact, frozen=True):
    """A booking has ended, held or waiting. `by` is who ended it and `why` a sentence, both may be empty."""

    ticket: int
    ending: BookingEnding
    by: str = ""
    why: str = ""
