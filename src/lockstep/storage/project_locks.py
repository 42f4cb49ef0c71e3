"""Which rows of `lock_events` follow from the facts: what happened at each lock that somebody configured (L72).

One row for each lock that a fact concerns. Worker slots and build directories have none: theirs is the list of builds.
A wait has a row where it ends, with its seconds; while it lasts, the lock's queue tells of it. See `project.py`.
"""

from collections.abc import Iterable
from typing import Any, Final

from lockstep.core import facts as f
from lockstep.core.nouns import FENCED, Access, LockKey, Need
from lockstep.storage.codec import clean
from lockstep.storage.projection import LiveHold, LiveWait, Projection

Envelope = f.Numbered

_SHOWN: Final = 10
_LENT: Final = "lent by the build that waits for it"

KINDS: Final = FENCED
"""The kinds of locks that have a history. A pool has one, whichever units are meant; its rows name them."""


def _add(p: Projection, n: Envelope, position: int, event: str, key: LockKey, **more: Any) -> None:
    row = {"number": n.number, "position": position, "event": event, "at": n.at}
    row |= {"kind": key.kind, "name": clean(key.name), "worker": clean(key.worker)}
    p.changes.insert("lock_events", (n.number, position), row | more)


def _who(one: LiveWait | LiveHold) -> dict[str, int]:
    return {"brid": one.brid, "buildid": one.buildid, "step": one.step, "call": one.call}


def _wanted(access: Access) -> dict[str, Any]:
    wanted = {"units": access.count, "exclusive": access.mode == "exclusive"}
    return wanted | {"labels": clean(access.lock.where)} if access.lock.where else wanted


def _units(held: LiveHold, access: Access) -> dict[str, Any]:
    """Which units of a pool a hold has: so many, whatever it asked for."""
    names = next((units for name, units in held.units if access.lock.kind == "pool" and name == access.lock.name), ())
    return {"units": len(names), "exclusive": False, "detail": clean(", ".join(names))} if names else {}


def pool_changed(p: Projection, fact: f.PoolChanged, n: Envelope) -> None:
    """A pool is new, has other units or labels, or is no longer configured (L6)."""
    event = "removed" if fact.removed else "limit"
    names = clean(", ".join(unit.name for unit in fact.units[:_SHOWN]))
    more = f" and {len(fact.units) - _SHOWN} more" if len(fact.units) > _SHOWN else ""
    _add(p, n, 0, event, LockKey("pool", fact.name), size=len(fact.units), detail=names + more)


def quarantined(p: Projection, fact: f.UnitQuarantined | f.QuarantineLifted, n: Envelope) -> None:
    """Nobody gets a unit any more, or it may be had again."""
    by = f", by {fact.who}" if fact.who else ""
    if isinstance(fact, f.UnitQuarantined):
        event, detail = "quarantined", f"{fact.unit}: {fact.reason}{by}"
    else:
        event, detail = "back in use", f"{fact.unit}{f': {fact.reason}' if fact.reason else ''}{by}"
    _add(p, n, 0, event, LockKey("pool", fact.pool), detail=clean(detail))


def limit_changed(p: Projection, fact: f.LimitChanged, n: Envelope) -> None:
    """A lock is new, has another limit, or is no longer configured (L6)."""
    if fact.key.kind in KINDS:
        _add(p, n, 0, "removed" if fact.removed else "limit", fact.key, size=fact.limit)


def granted(p: Projection, fact: f.ClaimGranted | f.HoldPassed, n: Envelope, wait: LiveWait) -> None:
    """A wait has ended well. The build of a request is told later (`build_started`)."""
    pairs = zip(fact.alternative.accesses, fact.fences, strict=True)
    kept = tuple((access, fence) for access, fence in pairs if access.lock.kind in KINDS)
    held = LiveHold(n.number, n.at, kept, wait.brid, wait.buildid, wait.step, wait.call, fact.units)
    p.holds[fact.hold] = held
    more = {**_who(held), "ticket": fact.ticket, "hold": fact.hold, "seconds": max(0.0, n.at - wait.at)}
    lent = fact.lent if isinstance(fact, f.ClaimGranted) else ()
    for position, (access, fence) in enumerate(kept):
        wanted = _wanted(access) | ({"detail": _LENT} if access.lock in lent else {}) | _units(held, access)
        _add(p, n, position, "granted", access.lock, fence=fence, **wanted, **more)


def build_started(p: Projection, fact: f.BuildStarted, held: LiveHold) -> None:
    """The request that was granted its locks is this build now."""
    held.buildid = fact.buildid
    for position in range(len(held.kept)):
        p.changes.update("lock_events", (held.number, position), {"buildid": fact.buildid})


def released(p: Projection, fact: f.HoldEnded, n: Envelope, held: LiveHold) -> None:
    """A hold has ended (L30)."""
    more = {**_who(held), "ticket": fact.ticket, "hold": fact.hold, "seconds": max(0.0, n.at - held.at)}
    _released(p, n, held, held.kept, more)


def _released(
    p: Projection, n: Envelope, held: LiveHold, gone: tuple[tuple[Access, int], ...], more: dict[str, Any]
) -> None:
    for position, (access, fence) in enumerate(gone):
        wanted = _wanted(access) | _units(held, access)
        _add(p, n, position, "released", access.lock, fence=fence, **wanted, **more)


def returned(p: Projection, fact: f.LocksReturned, n: Envelope, held: LiveHold) -> None:
    """Some locks of a hold were given back before it ends."""
    gone = tuple(pair for pair in held.kept if pair[0].lock in fact.locks)
    held.kept = tuple(pair for pair in held.kept if pair[0].lock not in fact.locks)
    more = {**_who(held), "ticket": fact.ticket, "hold": fact.hold, "seconds": max(0.0, n.at - held.at)}
    _released(p, n, held, gone, more)


def stolen(p: Projection, fact: f.HoldStolen, n: Envelope) -> None:
    """Somebody takes a lock away from its holder. The end of the hold has a row of its own."""
    held = p.holds.get(fact.hold)
    if held is not None and fact.lock.kind in KINDS:
        more = {**_who(held), "ticket": fact.ticket, "hold": fact.hold, "seconds": max(0.0, n.at - held.at)}
        detail = clean(f"by {fact.who or 'somebody'}: {fact.reason}")
        _add(p, n, 0, "stolen", fact.lock, detail=detail, **more)


def not_kept(p: Projection, fact: f.NotKept, n: Envelope) -> None:
    """A lock does not stay held after a failure."""
    held = p.holds.get(fact.hold)
    if held is not None and fact.access.lock.kind in KINDS:
        more = {**_who(held), "ticket": fact.ticket, "hold": fact.hold, "seconds": max(0.0, n.at - held.at)}
        _add(p, n, 0, "not kept", fact.access.lock, detail=clean(fact.why), **_wanted(fact.access), **more)


def left(p: Projection, n: Envelope, wait: LiveWait, reason: str = "") -> None:
    """A wait has ended without a grant (L33): at the locks that it waited for whichever worker it would have been."""
    more = {**_who(wait), "ticket": wait.ticket, "seconds": max(0.0, n.at - wait.at), "detail": clean(reason)}
    for position, access in enumerate(_common(_need(p, wait))):
        _add(p, n, position, "left", access.lock, **_wanted(access), **more)


def barrier(p: Projection, fact: f.BarrierRaised, n: Envelope) -> None:
    """A claim was overtaken too often at these locks (L42)."""
    wait = p.waits.get(fact.ticket)
    if wait is not None:
        more = {**_who(wait), "ticket": fact.ticket, "seconds": max(0.0, n.at - wait.at)}
        for position, key in enumerate(key for key in fact.locks if key.kind in KINDS):
            _add(p, n, position, "barrier", key, **more)


def pinned(p: Projection, fact: f.ClaimPinned, n: Envelope) -> None:
    """A barrier reserves on one of its alternatives, or on none any more (L42b)."""
    wait = p.waits.get(fact.ticket)
    if wait is None:
        return
    alternatives = _need(p, wait).alternatives
    event, worker = "unpinned", ""
    if 0 <= fact.alternative < len(alternatives):
        event, worker = "pinned", alternatives[fact.alternative].worker
        wait.pinned = tuple(a for a in alternatives[fact.alternative].accesses if a.lock.kind in KINDS)
    more = {**_who(wait), "ticket": fact.ticket, "seconds": max(0.0, n.at - wait.at), "detail": clean(worker)}
    for position, access in enumerate(wait.pinned):
        _add(p, n, position, event, access.lock, **_wanted(access), **more)


def _need(p: Projection, wait: LiveWait) -> Need:
    """What is waited for: what was rendered, or else what the builder needs as configured now."""
    return wait.need or p.needs.get(wait.builder) or Need(())


def _common(need: Need) -> Iterable[Access]:
    """The accesses that all alternatives have."""
    if not need.alternatives:
        return ()
    everywhere = set.intersection(*(set(each.accesses) for each in need.alternatives))
    return [a for a in need.alternatives[0].accesses if a in everywhere and a.lock.kind in KINDS]
