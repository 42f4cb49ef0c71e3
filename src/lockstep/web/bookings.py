"""Locks for people and for programs outside of Lockstep: acquire, wait, renew, extend, release, steal; fences (L62).

Actions as in `actions.py`: they know no HTTP, and raise `RefusedError` or `MissingError`. A key is a secret of whoever
acquired; the core gets its digest only.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core import told_units
from lockstep.core.alloc_facts import Hold
from lockstep.core.decide_bookings import must_end
from lockstep.core.errors import RefusedError
from lockstep.core.nouns import Access, fence_variables
from lockstep.core.reasons import Reasons
from lockstep.core.records import Booking
from lockstep.core.state import State
from lockstep.core.values import BookingWish
from lockstep.web.asking import Answer, Asked, Item, MissingError
from lockstep.web.door import Door
from lockstep.web.limits import MAX_WAIT, MIN_KEY
from lockstep.web.names import OUTER, called, lock_key, pool_of, unit_of
from lockstep.web.params import flag, number, only, text, whole

Params = Mapping[str, Any]

_ENDED = {
    "released": "it was released",
    "expired": "its time is over",
    "lost": "it was lost",
    "stolen": "its locks were taken away",
    "cancelled": "it was given up while it waited",
}


# --- asking for locks


def _accesses(state: State, wanted: Any) -> tuple[Access, ...]:
    """What `locks` says: names, or objects with `lock`, `mode`, `count` and `where`.

    A name alone means all of it, that of a pool one unit.
    """
    if not isinstance(wanted, list) or not wanted:
        raise RefusedError("'locks' must be a list: of names, or of objects with 'lock', 'mode' and 'count'.")
    return tuple(_access(state, {"lock": one} if isinstance(one, str) else one) for one in wanted)


def _access(state: State, one: Any) -> Access:
    if not isinstance(one, dict):
        raise RefusedError("'locks' must be a list: of names, or of objects with 'lock', 'mode' and 'count'.")
    only(one, "lock", "mode", "count", "where")
    key = lock_key(state, text(one, "lock"))
    if where := text(one, "where"):
        if key.kind != "pool":
            raise RefusedError(f"'where' is for pools; '{called(key)}' is a lock.")
        key = lock_key(
            state, f"{key.name} where ({key.where}) and ({where})" if key.where else f"{key.name} where {where}"
        )
    some = "count" in one or key.kind == "pool"
    mode = text(one, "mode") or ("counting" if some else "exclusive")
    if mode not in ("counting", "exclusive"):
        raise RefusedError("'mode' must be 'counting' or 'exclusive'.")
    count = whole(one, "count", 1)
    if count < 1:
        raise RefusedError("'count' must be 1 or more.")
    return Access(key, mode, count)  # type: ignore[arg-type]


def _wish(door: Door, params: Params, key: str) -> BookingWish:
    once = text(params, "once")
    for name, secret in (("key", key), ("once", once)):
        if secret and len(secret) < MIN_KEY:
            raise RefusedError(f"'{name}' has {MIN_KEY} characters or more: nobody may guess it.")
    return BookingWish(
        accesses=_accesses(door.state, params.get("locks")),
        who=text(params, "owner"),
        reason=text(params, "reason"),
        priority=whole(params, "priority", 0),
        after_current=flag(params, "after_current"),
        seconds=number(params, "for"),
        lease=number(params, "lease"),
        key=digest(key),
        once=digest(once),
        notify=_address(text(params, "notify")),
    )


def _address(given: str) -> str:
    """Where notices are sent."""
    try:
        parts = urlsplit(given)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if given and not good:
        raise RefusedError("'notify' must be an address: http:// or https://, a host, perhaps a port, and a path.")
    return given


def digest(key: str) -> str:
    """What the core knows of a key: enough to compare it. Keys are long and random, so none can be found from it."""
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


async def acquire(door: Door, params: Params) -> Item:
    """Ask for locks, and wait for them at most `wait` seconds. The key in the answer is needed from then on."""
    only(
        params, "locks", "owner", "reason", "priority", "after_current", "for", "lease", "notify", "key", "once", "wait"
    )
    seconds = number(params, "wait")
    key = text(params, "key")
    if not key and number(params, "lease"):
        key = secrets.token_urlsafe(24)
    ticket = await door.ask(e.BookingAsked(wish=_wish(door, params, key)))
    return {**await _wait(door, ticket, seconds), "key": key or None}


async def wait(door: Door, ticket: int, params: Params) -> Item:
    """Renew, and wait at most `wait` seconds while the booking is as its sender knows it (`state`, else `waiting`)."""
    only(params, "key", "wait", "state")
    seconds, known = number(params, "wait"), text(params, "state") or "waiting"
    if known not in ("waiting", "held"):
        raise RefusedError("'state' is 'waiting', until the locks are had, or 'held', until they must be given back.")
    await door.ask(e.BookingRenewAsked(ticket=await _live(door, ticket), key=digest(text(params, "key"))))
    return await _wait(door, ticket, seconds, known)


async def renew(door: Door, ticket: int, params: Params) -> Item:
    """Begin the lease anew."""
    only(params, "key")
    return await wait(door, ticket, {"key": text(params, "key")})


async def _live(door: Door, ticket: int) -> int:
    """The ticket of a booking that has not ended. Raises RefusedError saying how it ended, or MissingError."""
    if ticket in door.state.bookings:
        return ticket
    row = await asyncio.to_thread(door.reads.get, "bookings", ticket)
    if row is None:
        raise MissingError(f"There is no booking {ticket}.")
    by = f" by {row['ended_by']}" if row["ended_by"] else ""
    why = f": {row['ended_why']}" if row["ended_why"] else ""
    raise RefusedError(f"Booking {ticket} has ended: {_ENDED.get(row['ending'], 'it ended')}{by}{why}.")


async def _wait(door: Door, ticket: int, seconds: float, known: str = "waiting") -> Item:
    """Wait until a booking is no more in the state that is known of it, or so many seconds are over."""
    changed = asyncio.Event()

    def heard(facts: Sequence[f.Numbered]) -> None:
        for fact in (one.fact for one in facts):
            if isinstance(fact, f.ClaimGranted | f.BookingLeaving | f.BookingEnded) and fact.ticket == ticket:
                changed.set()

    stop = door.listen(heard)
    try:
        booking = door.state.bookings.get(ticket)
        if booking is not None and booking.state == known and seconds > 0:
            waits = {asyncio.ensure_future(event.wait()) for event in (changed, door.stopped)}
            await asyncio.wait(waits, timeout=min(seconds, MAX_WAIT), return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()
    finally:
        stop()
    booking = door.state.bookings[await _live(door, ticket)]
    if booking.state == "leaving":
        raise RefusedError(must_end(booking))
    return told(door, booking)


def told(door: Door, booking: Booking) -> Item:
    """A booking that has not ended, for whoever asked for it."""
    hold = door.state.allocator.holds.get(booking.hold)
    pairs = zip(hold.alternative.accesses, hold.fences, strict=True) if hold is not None else ()
    waits = booking.state == "waiting"
    return {
        "bookingid": booking.ticket,
        "state": booking.state,
        "fences": {called(access.lock): fence for access, fence in pairs},
        "units": {pool: list(units) for pool, units in hold.units} if hold is not None else {},
        "data": _data(door.state, hold) if hold is not None else {},
        "environment": environment(door.state, hold) if hold is not None else {},
        "lease": booking.wish.lease or None,
        "ends_at": booking.ends_at or None,
        "why": Reasons(door.state, door.now()).claim(booking.ticket).sentence if waits else None,
    }


def _data(state: State, hold: Hold) -> dict[str, dict[str, dict[str, Any]]]:
    """What the configuration says of each unit of a hold, by pool; nothing of units that it does not name any more."""
    known = {name: {unit.name: unit.data for unit in pool.units} for name, pool in state.pools.items()}
    return {name: {unit: known.get(name, {}).get(unit, {}) for unit in units} for name, units in hold.units}


def environment(state: State, hold: Hold) -> dict[str, str]:
    """The environment that tells the fences and units of a hold, as steps get it: by the lock's name, whichever
    worker's."""
    pairs = zip((access.lock.whole for access in hold.alternative.accesses), hold.fences, strict=True)
    mine = sorted((key.worker != "", str(key), key.name, fence) for key, fence in pairs if key.kind in OUTER)
    names = fence_variables((name, long) for _, long, name, _ in mine)
    fences = {name: str(fence) for name, (_, _, _, fence) in zip(names, mine, strict=True)}
    return fences | told_units.environment(told_units.properties(hold.units, state.pools))


async def release(door: Door, ticket: int, params: Params) -> None:
    """Give locks back, or give up waiting for them."""
    only(params, "owner", "key")
    key = digest(text(params, "key"))
    await door.ask(e.BookingReleaseAsked(ticket=await _live(door, ticket), who=text(params, "owner"), key=key))


async def extend(door: Door, ticket: int, params: Params) -> Item:
    """Let a booking end later."""
    only(params, "for", "owner")
    seconds = number(params, "for")
    until = await door.ask(e.BookingExtendAsked(ticket=await _live(door, ticket), seconds=seconds))
    return {"bookingid": ticket, "ends_at": until}


async def steal_booking(door: Door, ticket: int, params: Params) -> None:
    """Take all its locks away from a booking."""
    only(params, "owner", "reason")
    ticket = await _live(door, ticket)
    await door.ask(e.StealAsked(ticket=ticket, who=text(params, "owner"), reason=text(params, "reason")))


async def steal_lock(door: Door, name: str, params: Params) -> Item:
    """Take a lock away from who holds it; with `take` somebody else wants it then, after whoever is next for sure."""
    only(params, "owner", "reason", "hold", "all", "take", "once")
    key = lock_key(door.state, name)
    wish = None
    if params.get("take") is not None:
        given = params["take"]
        if not isinstance(given, dict):
            raise RefusedError("'take' must be an object: for, mode, count.")
        only(given, "for", "mode", "count", "where")
        lock = {"lock": name, **{k: v for k, v in given.items() if k in ("mode", "count", "where")}}
        mine = {"for": given.get("for", 0)} | {each: params.get(each) for each in ("owner", "reason", "once")}
        wish = _wish(door, {**mine, "locks": [lock], "after_current": True}, "")
    ticket = await door.ask(
        e.StealAsked(
            lock=key,
            hold=whole(params, "hold", 0),
            everybody=flag(params, "all"),
            wish=wish,
            who=text(params, "owner"),
            reason=text(params, "reason"),
        )
    )
    return {**await _wait(door, ticket, 0), "key": None} if ticket else {"bookingid": None}


# --- units of pools


async def quarantine(door: Door, name: str, params: Params) -> None:
    """Take a unit of a pool out of use."""
    only(params, "owner", "reason")
    pool, unit = unit_of(door.state, name)
    who, reason = text(params, "owner"), text(params, "reason")
    if not reason.strip():
        raise RefusedError("Say why: whoever misses the unit is told.")
    await door.ask(e.QuarantineAsked(pool=pool, unit=unit, who=who or "somebody", reason=reason))


async def lift(door: Door, name: str, params: Params) -> dict[str, Any]:
    """Let a unit be had again, or all units of a pool that are in quarantine."""
    only(params, "owner")
    pool, unit = pool_of(door.state, name)
    who = text(params, "owner") or "somebody"
    return {"units": await door.ask(e.QuarantineAsked(pool=pool, unit=unit, lift=True, who=who))}


# --- fences (L62)


def fence(door: Door, ids: Mapping[str, str], _asked: Asked) -> Answer:
    """Whether a number is the fence of a hold that lives, and whether it is the highest that was given."""
    key = lock_key(door.state, ids["lock"])
    if not ids["fence"].isascii() or not ids["fence"].isdigit() or len(ids["fence"]) > 18:
        raise MissingError(f"'{ids['fence'][:40]}' is no fence: it is a whole number.")
    number_ = int(ids["fence"])
    reasons = Reasons(door.state, door.now())
    holder = next((each for each in reasons.holders(key) if each.fence == number_), None)
    last = door.state.allocator.reasons.fence(key)
    item: Item = {
        "lock": called(key),
        "kind": key.kind,
        "fence": number_,
        "current": holder is not None,
        "exclusive": holder is not None and holder.exclusive,
        "highest": number_ == last,
        "last": last,
        "by": holder.by.text if holder is not None else None,
    }
    return Answer("fences", [item], 1)
