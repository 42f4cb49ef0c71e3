"""Facts about bookings, folded into rows; and what must hold of them, from facts alone. See `fold.py`, `watch.py`."""

from lockstep.core import facts as f
from lockstep.core.nouns import Alternative, LockKey, Need, Result
from lockstep.core.records import Booking
from lockstep.core.saved import SavedClaim, SavedLock, SavedPool
from lockstep.sim.faults import demand
from lockstep.sim.grants_watch import GrantsWatch, Held, Wait, under
from lockstep.sim.pools import is_pool


class BookingFold:
    """Rows of bookings."""

    def __init__(self) -> None:
        self.bookings: dict[int, Booking] = {}
        self.claims: dict[int, SavedClaim] = {}
        self.pools: dict[str, SavedPool] = {}
        self.last_hold = 0

    def seen(self, counter: str, *numbers: int) -> None:
        """A number was given."""
        raise NotImplementedError

    def _lock(self, key: LockKey) -> SavedLock:
        raise NotImplementedError

    def on_booking_added(self, fact: f.BookingAdded, at: float) -> None:
        self.seen("clock", fact.ticket)
        self.bookings[fact.ticket] = Booking(ticket=fact.ticket, wish=fact.wish, since=fact.since, asked_at=at)

    def booking_granted(self, ticket: int, hold: int, at: float) -> None:
        """The claim was a booking's, or not."""
        row = self.bookings.get(ticket)
        if row is not None:
            row.state, row.hold, row.granted_at = "held", hold, at
            if row.wish.seconds > 0:
                row.ends_at = at + row.wish.seconds

    def on_hold_passed(self, fact: f.HoldPassed, at: float) -> None:
        self.last_hold = max(self.last_hold, fact.hold)
        for access, fence in zip(fact.alternative.accesses, fact.fences, strict=True):
            if access.lock.kind == "pool":
                self.pools[access.lock.name].fence = fence
            else:
                self._lock(access.lock).fence = fence
        self.claims[fact.ticket] = SavedClaim(
            ticket=fact.ticket,
            owner=fact.ticket,
            hold=fact.hold,
            alternative=fact.alternative,
            fences=fact.fences,
            units=fact.units,
        )
        self.booking_granted(fact.ticket, fact.hold, at)

    def on_not_kept(self, fact: f.NotKept, _at: float) -> None:
        if fact.lender:
            self.claims[fact.lender_ticket].alternative = fact.alternative

    def on_booking_renewed(self, fact: f.BookingRenewed, _at: float) -> None:
        self.bookings[fact.ticket].renewals = fact.renewals

    def on_booking_extended(self, fact: f.BookingExtended, _at: float) -> None:
        self.bookings[fact.ticket].ends_at = fact.ends_at

    def on_booking_leaving(self, fact: f.BookingLeaving, _at: float) -> None:
        row = self.bookings[fact.ticket]
        row.state, row.ending, row.ended_by, row.ended_why = "leaving", fact.ending, fact.by, fact.why

    def on_booking_ended(self, fact: f.BookingEnded, _at: float) -> None:
        del self.bookings[fact.ticket]


class BookingWatch(GrantsWatch):
    """Who has booked: a hold of a booking lives as long as that, and is passed on without a gap."""

    def __init__(self) -> None:
        super().__init__()
        self.bookings: dict[int, f.BookingAdded] = {}
        self.where: dict[int, tuple[str, int, int, int]] = {}
        self.stolen: set[int] = set()
        """Owners who were robbed: builds that must end in RETRY, unless they were ending otherwise."""
        self.ending: dict[int, Result] = {}
        """Owners whose builds are being stopped, and how each will end."""

    def on_booking_added(self, fact: f.BookingAdded) -> None:
        self.see_number(fact.ticket)
        demand(fact.ticket not in self.where, f"booking {fact.ticket} has the ticket of another claim")
        self.bookings[fact.ticket] = fact
        self.where[fact.ticket] = ("booking", fact.ticket, 0, 0)
        self.since[fact.ticket] = fact.since
        self.levels[fact.ticket] = fact.wish.priority
        if not fact.keeps:
            need = Need((Alternative("", fact.wish.accesses),))
            self.wait(Wait(fact.ticket, fact.ticket, fact.wish.priority, need, fact.since < 0))

    def on_hold_passed(self, fact: f.HoldPassed) -> None:
        old = self.holds.get(fact.of_hold)
        demand(old is not None, f"booking {fact.ticket} is given a part of hold {fact.of_hold}, which is not")
        assert old is not None
        for access, fence in zip(fact.alternative.accesses, fact.fences, strict=True):
            given = [a for a in old.accesses if (a.lock, a.mode, a.count) == (access.lock, access.mode, access.count)]
            demand(len(given) == 1, f"hold {old.id} passes on {access}, which it does not have")
            name = under(access.lock)
            demand(fence > self.fences.get(name, 0), f"fence {fence} of {name} was given before (L62)")
            self.fences[name] = fence
        demand(fact.hold > self.last_hold, f"hold {fact.hold} has an id that was given before")
        self.last_hold = fact.hold
        before = {a.lock: self._users(a.lock, {}) for a in fact.alternative.accesses}
        rest = tuple(a for a in old.accesses if a.lock not in {access.lock for access in fact.alternative.accesses})
        kept = dict(old.fences)
        self.holds[old.id] = Held(old.id, old.ticket, old.owner, rest, {a.lock.whole: kept[a.lock.whole] for a in rest})
        own = {a.lock.whole: fence for a, fence in zip(fact.alternative.accesses, fact.fences, strict=True)}
        self.holds[fact.hold] = Held(fact.hold, fact.ticket, fact.ticket, fact.alternative.accesses, own)
        for access in (a for a in fact.alternative.accesses if not is_pool(a)):
            after = self._users(access.lock, {})
            alone = len(after) == 1 or all(a.mode == "counting" for _, a in after)
            demand(alone, f"hold {fact.of_hold} passes {access} on, which others have too: {after} (L2)")
            fits = len(after) == 1 or self.most_at_once(after) <= self.limits.get(access.lock, 0)
            demand(fits, f"hold {fact.of_hold} passes {access} on beside {after} (L1)")
            grown = self.most_at_once(after) > self.most_at_once(before[access.lock])
            demand(not grown, f"hold {fact.of_hold} passes {access} on, which was lent (L53)")

    def on_not_kept(self, fact: f.NotKept) -> None:
        hold = self.holds.get(fact.hold)
        demand(hold is not None and fact.access in hold.accesses, f"hold {fact.hold} has no {fact.access} to keep")
        if fact.alternative is not None:
            lender = self.holds[fact.lender]
            demand(lender.ticket == fact.lender_ticket, f"hold {fact.lender} is another claim's")
            assert hold is not None
            demand(lender.owner in self.lenders(hold.owner), f"hold {fact.lender} lends nothing to hold {fact.hold}")
            plain = [(a.lock, a.mode, a.count) for a in lender.accesses]
            noted = [(a.lock, a.mode, a.count) for a in fact.alternative.accesses]
            demand(plain == noted, f"hold {fact.lender} becomes {fact.alternative}")
            self.holds[lender.id] = Held(
                lender.id, lender.ticket, lender.owner, fact.alternative.accesses, lender.fences
            )

    def on_hold_stolen(self, fact: f.HoldStolen) -> None:
        hold = self.holds.get(fact.hold)
        demand(hold is not None and hold.ticket == fact.ticket, f"hold {fact.hold} is stolen and is nobody's")
        assert hold is not None
        demand(any(a.lock == fact.lock for a in hold.accesses), f"{fact.lock} is stolen from hold {hold.id}")
        if self.ending.get(hold.owner, Result.RETRY) is Result.RETRY:
            self.stolen.add(hold.owner)

    def robbed_ends(self, owner: int, fact: f.BuildEnded) -> None:
        """A build that was robbed ends: it goes back to the queue, or was cancelled meanwhile."""
        robbed = owner in self.stolen and fact.result not in (Result.RETRY, Result.CANCELLED)
        demand(not robbed, f"build {fact.buildid} was robbed and ends with {fact.result}")
        self.stolen.discard(owner)
        self.ending.pop(owner, None)

    def on_booking_renewed(self, fact: f.BookingRenewed) -> None:
        demand(fact.ticket in self.bookings, f"booking {fact.ticket} is renewed and has ended")

    def on_booking_leaving(self, fact: f.BookingLeaving) -> None:
        held = [hold for hold in self.holds.values() if hold.ticket == fact.ticket]
        demand(bool(held), f"booking {fact.ticket} must leave and holds nothing")
        demand(self.bookings[fact.ticket].wish.lease > 0, f"booking {fact.ticket} is asked to leave and hears nothing")

    def on_booking_ended(self, fact: f.BookingEnded) -> None:
        demand(fact.ticket in self.bookings, f"booking {fact.ticket} ends twice, or never was")
        demand(fact.ticket not in self.waiting, f"booking {fact.ticket} has ended and waits")
        if fact.ending == "stolen":
            demand(fact.ticket in self.stolen, f"booking {fact.ticket} is said to be stolen, and nobody did it")
        del self.bookings[fact.ticket]
