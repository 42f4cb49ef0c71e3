"""Decisions about pools: their units as configured, and what a person says of a unit. See `decide.py`."""

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import Granted, PoolMemory
from lockstep.core.draft import Draft
from lockstep.core.nouns import Access
from lockstep.core.state import State
from lockstep.core.values import Setup
from lockstep.core.where import WhereError, parse


def configured(draft: Draft, setup: Setup) -> None:
    """Put a configuration's pools in force. One that it does not name stays as it is for whoever still claims it."""
    state = draft.state
    for pool in setup.pools:
        if state.pools.get(pool.name) != pool:
            draft.emit(f.PoolChanged(name=pool.name, units=pool.units, max_overtakes=pool.max_overtakes))
    for name in sorted(set(state.pools) - {pool.name for pool in setup.pools}):
        gone = state.pools[name]
        draft.emit(f.PoolChanged(name=name, units=gone.units, max_overtakes=gone.max_overtakes, removed=True))


def memories(draft: Draft, grant: Granted) -> tuple[PoolMemory, ...]:
    """What is to be stored of the pools that a claim got units of."""
    reasons = draft.state.allocator.reasons
    return tuple(reasons.pool_memory(name) for name, _ in grant.units)


def quarantine_asked(draft: Draft, event: e.QuarantineAsked) -> None:
    """A person takes a unit out of use, or lets it be had again."""
    state = draft.state
    pool = state.pools.get(event.pool)
    if pool is None or event.unit not in [unit.name for unit in pool.units]:
        draft.reply(event.token, error=_unknown(draft, event))
        return
    known = state.quarantines.get((event.pool, event.unit))
    told = f"Unit '{event.unit}' of pool '{event.pool}'"
    if event.lift and known is None:
        draft.reply(event.token, error=f"{told} is not in quarantine.")
    elif event.lift:
        draft.emit(f.QuarantineLifted(pool=event.pool, unit=event.unit, who=event.who))
        draft.reply(event.token)
    elif known is not None:
        draft.reply(event.token, error=f"{told} is in quarantine already: {known.reason or 'no reason was given'}.")
    else:
        draft.emit(f.UnitQuarantined(pool=event.pool, unit=event.unit, who=event.who, reason=event.reason))
        draft.reply(event.token)


def impossible(state: State, access: Access) -> str:
    """Why this access to a pool could never be granted as the configuration is (L5), or an empty string.

    Units in quarantine count: they come back.
    """
    key = access.lock
    pool = state.pools.get(key.name)
    if pool is None:
        return f"There is no pool '{key.name}'. There are: {', '.join(sorted(state.pools)) or 'none'}."
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


def _unknown(draft: Draft, event: e.QuarantineAsked) -> str:
    pools = draft.state.pools
    if event.pool not in pools:
        return f"There is no pool '{event.pool}'. There are: {', '.join(sorted(pools)) or 'none'}."
    units = ", ".join(unit.name for unit in pools[event.pool].units) or "none"
    return f"Pool '{event.pool}' has no unit '{event.unit}'. It has: {units}."
