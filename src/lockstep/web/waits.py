"""Our own part of the API: locks, claims, and why something waits (L70). It reads the state, in the event loop only."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from lockstep.core.alloc_facts import Units
from lockstep.core.answers import Expected, Why
from lockstep.core.nouns import Access
from lockstep.core.reasons import Reasons
from lockstep.storage.filters import QueryError
from lockstep.web.asking import Answer, Asked, Item, chosen
from lockstep.web.door import Door
from lockstep.web.limits import CLAIMS_AT_ONCE, MAX_CLAIMS, SHOWN_WAITERS
from lockstep.web.names import known, meant


def locks(door: Door, ids: Mapping[str, str], asked: Asked) -> Answer:
    """All locks, or those of one name: limit, holders, waiters in order, each with its reason."""
    name = ids.get("lock")
    wanted = {one.field for one in asked.filters}
    keys = known(door.state, inner="kind" in wanted) if name is None else meant(door.state, name)
    reasons = Reasons(door.state, door.now())
    shown = _shown(asked)
    items = [_plain(reasons.lock(key, shown)) for key in keys]
    if name is not None:
        return Answer("locks", items, len(items))
    return chosen("locks", items, asked)


def _shown(asked: Asked) -> int:
    text = asked.extra.get("waiters", str(SHOWN_WAITERS))
    if not text.isascii() or not text.isdigit():
        raise QueryError(f"'waiters' must be a whole number from 0 on, not '{text[:40]}'")
    return int(text)


async def claims(door: Door, _ids: Mapping[str, str], asked: Asked) -> Answer:
    """Everything that is held, and everything that waits; those that are told of have their reason."""
    expected = await door.forecasts.expected()
    reasons = Reasons(door.state, door.now())
    allocator = door.state.allocator
    items = [_held(reasons, hold) for hold in allocator.holds.values()]
    items += [_waiting(reasons, ticket) for ticket in sorted(allocator.waiting)]
    answer = chosen("claims", items, asked)
    if asked.limit is None:
        answer.items = answer.items[:MAX_CLAIMS]
    fact = door.state.last_fact
    for number, item in enumerate(answer.items):
        if item["state"] == "waiting":
            if number % CLAIMS_AT_ONCE == 0:  # a long queue must not hold up what decides
                await asyncio.sleep(0)
            if door.state.last_fact != fact:
                fact, reasons = door.state.last_fact, Reasons(door.state, door.now())
            why = foreseen(reasons.claim(item["ticket"]), expected)
            item["reason"], item["why"] = why.sentence, _plain(why)
    return answer


def _access(access: Access, fence: int | None = None, units: Units = ()) -> Item:
    told: Item = {"lock": str(access.lock), "kind": access.lock.kind, "mode": access.mode, "count": access.count}
    if access.lock.kind == "pool" and fence is not None:
        told["units"] = list(dict(units).get(access.lock.name, ()))
    return told if fence is None else {**told, "fence": fence}


def _held(reasons: Reasons, hold: Any) -> Item:
    pairs = zip(hold.alternative.accesses, hold.fences, strict=True)
    return {
        "ticket": hold.ticket,
        "state": "held",
        "by": _plain(reasons.party(hold.ticket)),
        "hold": hold.id,
        "worker": hold.alternative.worker or None,
        "since": reasons.held_since(hold),
        "accesses": [_access(access, fence, hold.units) for access, fence in pairs],
        "reason": None,
        "why": None,
    }


def _waiting(reasons: Reasons, ticket: int) -> Item:
    claim = reasons.state.allocator.waiting[ticket]
    first = claim.need.alternatives[0] if claim.need.alternatives else None
    return {
        "ticket": ticket,
        "state": "waiting",
        "by": _plain(reasons.party(ticket)),
        "hold": None,
        "worker": None,
        "since": reasons.since(ticket),
        "accesses": [_access(access) for access in first.accesses] if first is not None else [],
        "reason": None,
        "why": None,
    }


async def why_request(door: Door, brid: int) -> Why | None:
    """Why a request has not ended; None if it has."""
    expected = await door.forecasts.expected()
    request = door.state.requests.get(brid)
    return foreseen(Reasons(door.state, door.now()).request(request), expected) if request is not None else None


async def why_build(door: Door, buildid: int) -> Why | None:
    """What a build waits for or does; None if it has ended."""
    expected = await door.forecasts.expected()
    build = door.state.builds.get(buildid)
    return foreseen(Reasons(door.state, door.now()).build(build), expected) if build is not None else None


def foreseen(why: Why, expected: Mapping[int, Expected]) -> Why:
    """A reason with when it is expected to end, if it is that of a claim that could start."""
    found = expected.get(why.ticket) if why.can_start else None
    return msgspec.structs.replace(why, expected=found) if found is not None else why


def told(why: Why) -> Item:
    """A reason as the API gives it."""
    return _plain(why)


def _plain(value: Any) -> Item:
    item: Item = msgspec.to_builtins(value)
    return item
