"""Decisions about pools: their units as configured, and what a person says of a unit. See `decide.py`."""

from collections.abc import Iterable

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import Granted, PoolMemory, together
from lockstep.core.answers import listed
from lockstep.core.draft import Draft
from lockstep.core.limits import MAX_BOOKING_TEXT, MAX_TRIES
from lockstep.core.nouns import Access, LockKey, Result
from lockstep.core.pool_reasons import pools_of, units_of
from lockstep.core.records import Build
from lockstep.core.state import State
from lockstep.core.values import PoolSetup, Setup
from lockstep.core.where import WhereError, parse


def configured(draft: Draft, setup: Setup) -> None:
    """Put a configuration's pools in force. One that it does not name stays as it is for whoever still claims it."""
    state = draft.state
    for pool in setup.pools:
        if state.pools.get(pool.name) != pool:
            draft.emit(_changed(pool))
    for name in sorted(set(state.pools) - {pool.name for pool in setup.pools}):
        draft.emit(_changed(state.pools[name], removed=True))


def _changed(pool: PoolSetup, removed: bool = False) -> f.PoolChanged:
    return f.PoolChanged(
        name=pool.name,
        units=pool.units,
        max_overtakes=pool.max_overtakes,
        removed=removed,
        quarantine_after=pool.quarantine_after,
        checked=pool.checked,
        retry=pool.retry,
    )


def memories(draft: Draft, grant: Granted) -> tuple[PoolMemory, ...]:
    """What is to be stored of the pools that a claim got units of."""
    reasons = draft.state.allocator.reasons
    return tuple(reasons.pool_memory(name) for name, _ in grant.units)


def used(draft: Draft, build: Build, hold: int) -> None:
    """A build or one of its steps begins to do something with the units of this hold, if it has any."""
    held = draft.state.allocator.holds.get(hold)
    if held is not None and together(build.units, held.units) != build.units:
        draft.emit(f.UnitsUsed(buildid=build.buildid, units=held.units))


def tried(draft: Draft, build: Build, result: Result) -> None:
    """A build that used units has ended: one that so many in a row failed with goes into quarantine.

    A build that is put back or was cancelled says nothing of them.
    """
    state = draft.state
    failed = result in (Result.FAILURE, Result.EXCEPTION)
    if not failed and result not in (Result.SUCCESS, Result.WARNINGS):
        return
    for name, units in build.units:
        pool = state.pools.get(name)
        here = {unit.name for unit in pool.units} if pool is not None else ()
        for unit in units:
            before = state.failed_with.get((name, unit), ())
            after = (*before, build.told)[-MAX_TRIES:] if failed else ()
            if pool is None or unit not in here or not pool.quarantine_after or (name, unit) in state.quarantines:
                after = ()
            if after != before:
                draft.emit(f.UnitTried(pool=name, unit=unit, failed=after))
            if pool is not None and after and len(after) >= pool.quarantine_after:
                draft.emit(f.UnitQuarantined(pool=name, unit=unit, who="", reason=_failures(after)))


def _failures(builds: tuple[str, ...]) -> str:
    if len(builds) == 1:
        return f"{builds[0]} failed with it"
    return f"{len(builds)} builds in a row failed with it: {listed(builds[::-1], 'before them')}"


def quarantine_asked(draft: Draft, event: e.QuarantineAsked) -> None:
    """A person takes a unit out of use, or lets it be had again.

    Of one that is only not fit they may say so, too: then it is theirs to say when it may be had again.
    """
    if event.lift:
        _lift(draft, event)
        return
    state = draft.state
    known = state.quarantines.get((event.pool, event.unit))
    if wrong := _unknown(draft, event):
        draft.reply(event.token, error=wrong)
    elif max(len(event.who), len(event.reason)) > MAX_BOOKING_TEXT:
        draft.reply(event.token, error=f"Who and why may have at most {MAX_BOOKING_TEXT} characters each.")
    elif known is not None and not known.unfit:
        told = f"Unit '{event.unit}' of pool '{event.pool}' is in quarantine already"
        draft.reply(event.token, error=f"{told}: {known.reason or 'no reason was given'}.")
    else:
        draft.emit(f.UnitQuarantined(pool=event.pool, unit=event.unit, who=event.who, reason=event.reason))
        draft.reply(event.token)


def _lift(draft: Draft, event: e.QuarantineAsked) -> None:
    """Units that no configuration names any more are in quarantine, too, and what is repaired need not be back yet."""
    sick = sorted(unit for pool, unit in draft.state.quarantines if pool == event.pool)
    units = [unit for unit in sick if event.unit in ("", unit)]
    for unit in units:
        draft.emit(f.QuarantineLifted(pool=event.pool, unit=unit, who=event.who[:MAX_BOOKING_TEXT]))
    if units:
        draft.reply(event.token, units)
    elif wrong := _unknown(draft, event):
        draft.reply(event.token, error=wrong)
    else:
        told = f"Unit '{event.unit}' of pool '{event.pool}'" if event.unit else f"No unit of pool '{event.pool}'"
        draft.reply(event.token, error=f"{told} is {'not ' if event.unit else ''}in quarantine.")


def impossible(state: State, access: Access) -> str:
    """Why this access to a pool could never be granted as the configuration is (L5), or an empty string.

    Units in quarantine count: they come back.
    """
    key = access.lock
    pool = state.pools.get(key.name)
    if pool is None:
        return _no_pool(state, key.name)
    try:
        where = parse(key.where)
    except WhereError as error:
        return f"Pool '{key.name}': where '{key.where}' cannot be read: {error}."
    labels = pool.words()
    for word in where.words():
        if word not in labels:
            known = ", ".join(sorted(labels)) or "none"
            return f"Pool '{key.name}' has no unit and no label '{word}'. It has: {known}."
    count = pool.admitted(where)
    if count < access.count:
        units = f"{count} unit{'' if count == 1 else 's'}{f' where {key.where}' if key.where else ''}"
        return f"Pool '{key.name}' has {units}: {access.count} can never be had."
    return ""


def asked_twice(state: State, name: str, accesses: Iterable[Access]) -> str:
    """Why units of one pool cannot be asked for one by one, and how they are asked for at once."""
    wanted = [access for access in accesses if access.lock.kind == "pool" and access.lock.name == name]
    units = {unit.name for unit in state.pools[name].units} if name in state.pools else set()
    named = list(dict.fromkeys(access.lock.where for access in wanted if access.count == 1))
    if len(named) < len(wanted) or not units.issuperset(named):
        told = f"Units of pool '{name}' are asked for more than once"
        return f"{told}: ask once, with a count and a where that admits all of them."
    where = " or ".join(named)
    once = f'lockstep exec --lock {name} --count {len(named)} --where "{where}"'
    return f"Units of pool '{name}' are asked for one by one: ask once for {len(named)} where '{where}' ({once})."


def _no_pool(state: State, name: str) -> str:
    """That the configuration has no such pool, though somebody may have units of it still."""
    if name in pools_of(state):
        return f"Pool '{name}' is not in the configuration any more: its units go to nobody."
    return f"There is no pool '{name}'. There are: {', '.join(sorted(state.pools)) or 'none'}."


def _unknown(draft: Draft, event: e.QuarantineAsked) -> str:
    """That there is no such pool, or no such unit in it, if one is named; empty if there is."""
    pools = draft.state.pools
    if event.pool not in pools:
        had = [unit.name for unit in units_of(draft.state, LockKey("pool", event.pool))]
        if event.lift and event.unit in ("", *had):
            return ""
        return _no_pool(draft.state, event.pool)
    names = [unit.name for unit in pools[event.pool].units]
    if event.unit in names or (event.lift and not event.unit):
        return ""
    return f"Pool '{event.pool}' has no unit '{event.unit}'. It has: {', '.join(names) or 'none'}."
