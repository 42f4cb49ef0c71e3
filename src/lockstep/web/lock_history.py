"""What happened at locks, and how much they are used: over REST and for the locks' pages (L72).

The state is asked first, in the event loop, then the store, in a thread.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from lockstep.core.alloc_facts import Hold
from lockstep.core.nouns import Access
from lockstep.core.reasons import Reasons
from lockstep.storage.filters import QueryError
from lockstep.storage.lock_history import Held
from lockstep.web.asking import Answer, Asked, Item, MissingError
from lockstep.web.door import Door
from lockstep.web.limits import MAX_HISTORY, SHOWN_HISTORY
from lockstep.web.names import OUTER, known, meant

PERIOD: Final = 7 * 86400.0
"""Seconds that are looked back on unless somebody says otherwise."""


def _name_of(door: Door, text: str) -> tuple[str, bool]:
    """The name of the locks that are meant: `cpu`, also for `cpu@w1`. And whether there is such a lock now."""
    try:
        key = meant(door.state, text)[0]
    except MissingError:
        return text.removeprefix("lock:"), False
    if key.kind not in OUTER:
        raise QueryError(f"'{text}' has no history of its own: it is that of the worker's builds")
    return key.name, True


async def history(door: Door, ids: Mapping[str, str], asked: Asked) -> Answer:
    """What happened at the locks of one name, the newest last."""
    name, is_known = _name_of(door, ids["lock"])
    limit = SHOWN_HISTORY if asked.limit is None else min(asked.limit, MAX_HISTORY)
    found = await asyncio.to_thread(door.reads.lock_history, name, limit, asked.offset)
    if not found.total and not is_known:
        raise MissingError(f"There is no lock '{ids['lock']}'.")
    return Answer("history", found.items, found.total)


async def use(door: Door, ids: Mapping[str, str], asked: Asked) -> Answer:
    """How long was waited for locks and how long they were held, of all of them or those of one name."""
    text = asked.extra.get("seconds", str(PERIOD))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e10:
        raise QueryError(f"'seconds' must be a number above 0, not '{text[:40]}'")
    if "lock" not in ids:
        items = await uses(door, None, seconds)
        return Answer("lock_use", items, len(items))
    name, is_known = _name_of(door, ids["lock"])
    items = await uses(door, name, seconds)
    if not items and not is_known:
        raise MissingError(f"There is no lock '{ids['lock']}'.")
    return Answer("lock_use", items, len(items))


async def uses(door: Door, name: str | None, seconds: float) -> list[Item]:
    """The same, for a page."""
    names = sorted({key.name for key in known(door.state)}) if name is None else [name]
    now, held = door.now(), _held(door)

    def read() -> list[Item]:
        return [
            item
            for each in names
            for item in door.reads.lock_use(each, now - seconds, now, [one for one in held if one.key.name == each])
        ]

    return await asyncio.to_thread(read)


def _held(door: Door) -> list[Held]:
    """What is held now."""
    reasons = Reasons(door.state, door.now())
    return [
        _hold(hold, access, reasons.held_since(hold) or door.now())
        for hold in door.state.allocator.holds.values()
        for access in hold.alternative.accesses
        if access.lock.kind in OUTER
    ]


def _hold(hold: Hold, access: Access, since: float) -> Held:
    """One lock of a hold; of a pool so many units as it has, whatever it asked for."""
    units = dict(hold.units).get(access.lock.name, ()) if access.lock.kind == "pool" else ()
    exclusive = access.mode == "exclusive" and not units
    return Held(access.lock.whole, since, len(units) or access.count, exclusive)
