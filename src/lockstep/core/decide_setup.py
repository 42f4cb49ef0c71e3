"""Decisions about the configuration, changes, and what schedulers and sources keep.

See `decide.py`.
"""

import msgspec

from lockstep.core import decide_health, decide_pools, decide_rates, decide_workers
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.draft import Draft
from lockstep.core.nouns import capital
from lockstep.core.records import Request
from lockstep.core.values import LockSetup, Setup

_CONFIGURED_KINDS = ("master", "worker", "builddir")


def configured(draft: Draft, event: e.Configured) -> None:
    """Put a configuration in force: new limits first, so that new needs find their locks (L6)."""
    state = draft.state
    setup = event.setup
    lost = _held_and_gone(draft, setup)
    for lock in setup.locks:
        if lock.key.kind in _CONFIGURED_KINDS and state.locks.get(lock.key) != lock:
            draft.emit(f.LimitChanged(key=lock.key, limit=lock.limit, max_overtakes=lock.max_overtakes))
    decide_pools.configured(draft, setup)
    if setup != state.setup:
        draft.emit(
            f.SetupChanged(
                setup=setup,
                builder_ids=_numbered(state.builder_ids, [b.name for b in setup.builders]),
                worker_ids=_numbered(state.worker_ids, [w.name for w in setup.workers]),
            )
        )
    kept = {lock.key for lock in setup.locks}
    for lock in list(state.locks.values()):
        if lock.key not in kept:
            draft.emit(_removed(lock))
    decide_rates.configured(draft)
    decide_health.configured(draft)
    decide_workers.configured(draft)
    for request in state.requests.values():
        _render_again(draft, request)
    draft.reply(event.token, lost)


def _render_again(draft: Draft, request: Request) -> None:
    """After a reload, waiting claims are rendered again and keep their tickets (L24).

    Until then they need what cannot be had: what the former configuration said is nothing to be granted any more.
    """
    if request.state not in ("rendering", "waiting"):
        return
    builder = draft.state.builders.get(request.builder)
    again = builder is not None and (builder.need is None or (builder.asked and request.state == "rendering"))
    if request.need is not None or (request.state == "rendering" and not again):
        draft.emit(f.NeedSet(brid=request.brid, need=None))
    if again:
        draft.effect(x.RenderNeed(request.brid))


def locks_seen(draft: Draft, event: e.LocksSeen) -> None:
    """Locks that were made while rendering: known from now on, until a reload does not name them (L6, L24).

    Of one that is known already the smaller limit holds, wherever it was made (L7).
    """
    for lock in event.locks:
        known = draft.state.locks.get(lock.key, lock)
        limit, overtakes = min(lock.limit, known.limit), min(lock.max_overtakes, known.max_overtakes)
        if lock.key not in draft.state.locks or (limit, overtakes) != (known.limit, known.max_overtakes):
            draft.emit(f.LimitChanged(key=lock.key, limit=limit, max_overtakes=overtakes))


def _removed(lock: LockSetup) -> f.LimitChanged:
    return f.LimitChanged(key=lock.key, limit=lock.limit, max_overtakes=lock.max_overtakes, removed=True)


def _numbered(ids: dict[str, int], names: list[str]) -> dict[str, int]:
    """Ids for all names; a name keeps its id for ever."""
    result = dict(ids)
    for name in names:
        result.setdefault(name, len(result) + 1)
    return result


def _held_and_gone(draft: Draft, setup: Setup) -> list[str]:
    """A sentence for each lock, pool or unit that this set-up removes while somebody holds it (L6)."""
    kept = {lock.key for lock in setup.locks}
    units = {pool.name: {unit.name for unit in pool.units} for pool in setup.pools}
    gone: dict[str, list[int]] = {}
    for hold in draft.state.allocator.holds.values():
        for access in hold.alternative.accesses:
            if access.lock.kind in ("master", "worker") and access.lock not in kept:
                gone.setdefault(capital(access.lock.told), []).append(hold.owner)
        for pool, names in hold.units:
            for name in names:
                if name not in units.get(pool, ()):
                    gone.setdefault(f"Unit '{name}' of pool '{pool}'", []).append(hold.owner)
    builds = {build.ticket: build for build in draft.state.builds.values()}
    sentences = []
    for what, owners in sorted(gone.items()):
        named = [b.told for o in owners if (b := builds.get(o)) is not None]
        named += [f"booking {owner}" for owner in owners if owner in draft.state.bookings]
        who = ", ".join(named) or "somebody"
        sentences.append(f"{what} is gone from the configuration while {who} holds it; a renamed one is a new one.")
    return sentences


def remembered(draft: Draft, event: e.Remembered) -> None:
    """Keep what a scheduler or source wants kept."""
    keep(draft, event.owner, event.memory, event.cursor)
    draft.reply(event.token)


def keep(draft: Draft, owner: str, memory: object, cursor: int | None) -> None:
    """Emit the fact, unless there is nothing new to keep."""
    if owner and (memory is not None or cursor is not None):
        draft.emit(f.MemoryKept(owner=owner, memory=memory, cursor=cursor))


def changes_found(draft: Draft, event: e.ChangesFound) -> None:
    """Number the changes, and keep the source's memory with them: none is found twice or lost."""
    numbers = []
    for change in event.changes:
        number = draft.state.counters.changeid + 1
        numbers.append(number)
        draft.emit(f.ChangeAdded(change=msgspec.structs.replace(change, changeid=number, source=event.source)))
    keep(draft, event.source, event.memory, None)
    draft.reply(event.token, numbers)
