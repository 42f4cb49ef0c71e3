"""What happened at locks, read back: their history, and how long was waited and held in a period (L72).

Reading only; the rows are `project_locks.py`'s. Each question costs at most so many rows as `limits.py` says.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from lockstep.core.answers import Party, booking_party
from lockstep.core.nouns import LockKey
from lockstep.storage.limits import MAX_LOCK_EVENTS
from lockstep.storage.reading import Reader

PERCENTILES: Final = (50, 90, 99)

OF_HOLDERS: Final = ("released", "stolen", "not kept")
"""Events of those who held the lock: their seconds are how long."""

Item = dict[str, Any]


class Held(Struct, frozen=True):
    """A hold that has not ended."""

    key: LockKey
    since: float
    units: int
    exclusive: bool


_EVENTS = (
    "SELECT e.number, e.position, e.at, e.event, e.kind, e.name, e.worker, e.ticket, e.hold, e.units, e.exclusive, "
    "e.fence, e.size, e.seconds, e.detail, e.brid, e.buildid, e.step, e.call, b.number, coalesce(n.name, ''), "
    "coalesce(s.name, ''), "
    "coalesce(k.who, ''), coalesce(k.reason, '') "
    "FROM lock_events e LEFT JOIN builds b ON b.buildid = e.buildid LEFT JOIN requests r ON r.brid = e.brid "
    "LEFT JOIN builders n ON n.builderid = coalesce(b.builderid, r.builderid) "
    "LEFT JOIN steps s ON s.buildid = e.buildid AND s.number = e.step "
    "LEFT JOIN bookings k ON k.ticket = e.ticket AND e.brid = 0 AND e.buildid = 0 "
)


def history(reader: Reader, name: str, limit: int, offset: int) -> list[Item]:
    """What happened at the locks of a name, the newest last; `offset` passes over the newest."""
    sql = f"{_EVENTS}WHERE e.name = ? ORDER BY e.number DESC, e.position DESC LIMIT {limit} OFFSET {offset}"
    return [_item(row) for row in reversed(reader.rows(sql, (name,)))]


def length(reader: Reader, name: str) -> int:
    """How much has happened at the locks of a name."""
    return int(reader.rows("SELECT count(*) FROM lock_events WHERE name = ?", (name,))[0][0])


def after(reader: Reader, number: int, limit: int) -> list[tuple[Any, ...]]:
    """What happened after that fact: number, event, kind, name, worker and seconds, the oldest first.

    What one fact has said is never torn apart, so it may be fewer.
    """
    sql = "SELECT number, event, kind, name, worker, seconds FROM lock_events WHERE number > ? ORDER BY number"
    rows = reader.rows(f"{sql} LIMIT {limit}", (number,))
    if len(rows) == limit:
        whole = [row for row in rows if row[0] != rows[-1][0]]
        return whole or reader.rows(sql.replace("> ?", "= ?"), (rows[-1][0],))
    return rows


def _item(row: tuple[Any, ...]) -> Item:
    number, position, at, event, kind, name, worker, ticket, hold, units, exclusive, fence, size, seconds, *rest = row
    detail, *who = rest
    return {
        "number": number,
        "position": position,
        "at": at,
        "event": event,
        "lock": str(LockKey(kind, name, worker)),
        "kind": kind,
        "name": name,
        "worker": worker,
        "by": msgspec.to_builtins(_party(ticket, *who)) if ticket else None,
        "units": units,
        "exclusive": bool(exclusive),
        "limit": size if event in ("limit", "removed") else None,
        "waited": None if event in OF_HOLDERS else seconds,
        "held": seconds if event in OF_HOLDERS else None,
        "hold": hold or None,
        "fence": fence or None,
        "ticket": ticket,
        "detail": detail,
    }


def _party(
    ticket: int,
    brid: int,
    buildid: int,
    step: int,
    _call: int,
    number: int | None,
    builder: str,
    step_name: str,
    who: str,
    reason: str,
) -> Party:
    if not brid and not buildid:
        return booking_party(ticket, who, reason)
    if number is None and buildid:
        return Party(kind="build", text=f"build {buildid}, which was deleted", builder="", buildid=buildid)
    if number is None:
        return Party(kind="request", text=f"request {brid} of {builder}", builder=builder, requestid=brid)
    build = f"{builder} #{number}"
    if not step:
        return Party(kind="build", text=build, builder=builder, requestid=brid or None, buildid=buildid, number=number)
    text = f"step '{step_name}' of {build}"
    return Party(
        kind="step", text=text, builder=builder, buildid=buildid, number=number, step=step, step_name=step_name
    )


# --- how long was waited, and how much was used


class _Tally(Struct):
    """What is gathered for one lock."""

    waits: list[float] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)
    used: list[tuple[float, float, int, bool]] = field(default_factory=list)
    """Beginning and end, units, exclusive."""
    limits: list[tuple[float, int]] = field(default_factory=list)
    left: int = 0
    barriers: int = 0
    first: float | None = None


def use(reader: Reader, name: str, start: float, now: float, held: Sequence[Held]) -> list[Item]:
    """For each lock of a name: how long was waited and held since `start`, and which share of its units was used.

    Args:
        reader: of the store.
        name: of the locks.
        start: the beginning of the period, Unix seconds.
        now: its end.
        held: the holds of these locks that have not ended.
    """
    tallies: dict[LockKey, _Tally] = {}
    for event in ("limit", "removed"):
        for kind, worker, at, size in reader.rows(_LIMITS, (name, event)):
            tally = tallies.setdefault(LockKey(kind, name, worker), _Tally())
            tally.limits.append((at, size if event == "limit" else 0))
    full = False
    for event in ("granted", "released", "left", "barrier"):
        rows = reader.rows(f"{_SINCE} LIMIT {MAX_LOCK_EVENTS}", (name, event, start))
        if len(rows) >= MAX_LOCK_EVENTS:
            full, start = True, max(start, rows[-1][2])
        for row in rows:
            _count(tallies, name, event, row)
    for one in held:
        tallies.setdefault(one.key, _Tally()).used.append((one.since, now, one.units, one.exclusive))
    return [_told(key, tally, start, now, complete=not full) for key, tally in sorted(tallies.items())]


_LIMITS = (
    "SELECT kind, worker, at, size FROM lock_events WHERE name = ? AND event = ? "
    f"ORDER BY at DESC LIMIT {MAX_LOCK_EVENTS}"
)
_SINCE = (
    "SELECT kind, worker, at, seconds, units, exclusive FROM lock_events "
    "WHERE name = ? AND event = ? AND at >= ? ORDER BY at DESC"
)


def _count(tallies: dict[LockKey, _Tally], name: str, event: str, row: tuple[Any, ...]) -> None:
    kind, worker, at, seconds, units, exclusive = row
    tally = tallies.setdefault(LockKey(kind, name, worker), _Tally())
    tally.first = at if tally.first is None else min(tally.first, at)
    if event == "granted":
        tally.waits.append(seconds)
    elif event == "released":
        tally.holds.append(seconds)
        tally.used.append((at - seconds, at, units, bool(exclusive)))
    elif event == "left":
        tally.left += 1
    else:
        tally.barriers += 1


def _told(key: LockKey, tally: _Tally, start: float, now: float, *, complete: bool) -> Item:
    tally.limits.sort()
    begin = max(start, tally.limits[0][0] if tally.limits else tally.first or start)
    return {
        "lock": str(key),
        "kind": key.kind,
        "name": key.name,
        "worker": key.worker,
        "since": start,
        "until": now,
        "grants": len(tally.waits),
        "left": tally.left,
        "barriers": tally.barriers,
        "wait": _percentiles(tally.waits),
        "use": _percentiles(tally.holds),
        "share": _share(tally, begin, now),
        "complete": complete,
    }


def _percentiles(values: list[float]) -> dict[str, float] | None:
    """The nearest ranks, and the greatest; None of nothing."""
    if not values:
        return None
    values = sorted(values)
    told = {f"p{p}": round(values[ceil(p / 100 * len(values)) - 1], 3) for p in PERCENTILES}
    return {**told, "max": round(values[-1], 3)}


def _share(tally: _Tally, begin: float, now: float) -> float | None:
    """The share of what the limits would have let be used. A whole lock counts as its limit."""
    times = [at for at, _ in tally.limits]
    limits = [limit for _, limit in tally.limits]
    if not limits:
        return None

    def limit_at(at: float) -> int:
        return limits[max(0, bisect_right(times, at) - 1)]

    edges = [begin, *(at for at in times if begin < at < now), now]
    room = sum(limit_at(a) * max(0.0, b - a) for a, b in pairwise(edges))
    used = 0.0
    for since, until, units, exclusive in tally.used:
        used += (limit_at(since) if exclusive else units) * max(0.0, min(until, now) - max(since, begin))
    return round(min(1.0, used / room), 4) if room > 0 else None
