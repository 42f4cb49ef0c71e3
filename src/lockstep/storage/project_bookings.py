"""Which rows follow from facts about bookings: one for each, which history keeps. See `project.py`."""

from typing import Any

from lockstep.core import facts as f
from lockstep.storage import project_locks as locks
from lockstep.storage import project_pools as pools
from lockstep.storage.codec import clean, pack
from lockstep.storage.projection import Projection, booking_wait


def booking_added(p: Projection, fact: f.BookingAdded, n: f.Numbered, _body: bytes) -> None:
    p.counters.clock = max(p.counters.clock, fact.ticket)
    p.bookings[fact.ticket] = fact.wish.seconds
    p.waits[fact.ticket] = booking_wait(fact.ticket, n.at, fact.wish.accesses)
    p.changes.insert(
        "bookings",
        fact.ticket,
        {
            "ticket": fact.ticket,
            "who": clean(fact.wish.who),
            "reason": clean(fact.wish.reason),
            "wish": pack(fact.wish),
            "since": fact.since,
            "asked_at": n.at,
            "state": "waiting",
        },
    )


def granted(p: Projection, ticket: int, hold: int, at: float) -> None:
    """A booking has its locks."""
    seconds = p.bookings[ticket]
    row = {"state": "held", "hold": hold, "granted_at": at, "ends_at": at + seconds if seconds else None}
    p.changes.update("bookings", ticket, row)


def hold_passed(p: Projection, fact: f.HoldPassed, n: f.Numbered, _body: bytes) -> None:
    p.last_hold = max(p.last_hold, fact.hold)
    claim: dict[str, Any] = {"owner": fact.ticket, "hold": fact.hold, "pin": -1}
    claim |= {"alternative": pack(fact.alternative), "fences": pack(fact.fences)}
    claim["units"] = pack(fact.units) if fact.units else None
    p.changes.upsert("claims", fact.ticket, claim)
    for access, fence in zip(fact.alternative.accesses, fact.fences, strict=True):
        if access.lock.kind == "pool":
            pools.fenced(p, access, fence)
        else:
            p.changes.upsert("locks", (access.lock.kind, access.lock.name, access.lock.worker), {"fence": fence})
    granted(p, fact.ticket, fact.hold, n.at)
    if (held := p.holds.get(fact.of_hold)) is not None:
        p.changes.update("bookings", fact.ticket, {"buildid": held.buildid})
    locks.granted(p, fact, n, p.waits.pop(fact.ticket))


def not_kept(p: Projection, fact: f.NotKept, n: f.Numbered, _body: bytes) -> None:
    if fact.alternative is not None:
        p.changes.update("claims", fact.lender_ticket, {"alternative": pack(fact.alternative)})
    locks.not_kept(p, fact, n)


def hold_stolen(p: Projection, fact: f.HoldStolen, n: f.Numbered, _body: bytes) -> None:
    locks.stolen(p, fact, n)


def booking_renewed(p: Projection, fact: f.BookingRenewed, _n: f.Numbered, _body: bytes) -> None:
    p.changes.update("bookings", fact.ticket, {"renewals": fact.renewals})


def booking_extended(p: Projection, fact: f.BookingExtended, _n: f.Numbered, _body: bytes) -> None:
    p.changes.update("bookings", fact.ticket, {"ends_at": fact.ends_at})


def booking_leaving(p: Projection, fact: f.BookingLeaving, _n: f.Numbered, _body: bytes) -> None:
    row = {"state": "leaving", "ending": fact.ending, "ended_by": clean(fact.by), "ended_why": clean(fact.why)}
    p.changes.update("bookings", fact.ticket, row)


def booking_ended(p: Projection, fact: f.BookingEnded, n: f.Numbered, _body: bytes) -> None:
    p.bookings.pop(fact.ticket, None)
    row = {
        "state": "ended",
        "complete": True,
        "complete_at": n.at,
        "ending": fact.ending,
        "ended_by": clean(fact.by),
        "ended_why": clean(fact.why),
    }
    p.changes.update("bookings", fact.ticket, row)
