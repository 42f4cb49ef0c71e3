"""What is said of pools and their units: who has each, which are in quarantine and why. See `reasons.py`."""

from collections.abc import Callable, Iterable, Sequence

from lockstep.core.answers import Holder, Shortage, Unit, Why, WhyKind, listed, span
from lockstep.core.nouns import LockKey, told_lock
from lockstep.core.records import Quarantine
from lockstep.core.state import State
from lockstep.core.values import PoolSetup, UnitSetup
from lockstep.core.where import parse


def pools_of(state: State) -> set[str]:
    """The pools that there are: also those that no configuration names any more, while somebody has a unit of one, or
    one of its units is in quarantine."""
    had = {name for name, pool in state.allocator.board.pools.items() if pool.held}
    return {*state.pools, *had, *(name for name, _ in state.quarantines)}


def units_of(state: State, key: LockKey) -> tuple[Unit, ...]:
    """The units of a pool that are meant, as configured; then those that are none any more, and that somebody has or
    that are in quarantine."""
    reasons = state.allocator.reasons
    pool = state.pools.get(key.name, PoolSetup(key.name, ()))
    had: dict[str, list[int]] = {}
    for hold in reasons.holders(key):
        for name in dict(hold.units).get(key.name, ()):
            had.setdefault(name, []).append(hold.id)
    where, worn = parse(key.where), reasons.worn(key.name)
    here = [unit for unit in pool.units if where.admits({unit.name, *unit.labels})]
    known = {unit.name for unit in pool.units}
    sick = {unit for name, unit in state.quarantines if name == key.name and where.admits({unit})}
    gone = [UnitSetup(name) for name in sorted({*had, *sick} - known)]
    return tuple(_unit(state, key.name, unit, worn, had, unit.name not in known) for unit in (*here, *gone))


def _unit(
    state: State, pool: str, unit: UnitSetup, worn: dict[str, int], had: dict[str, list[int]], removed: bool
) -> Unit:
    quarantine = state.quarantines.get((pool, unit.name))
    return Unit(
        name=unit.name,
        labels=unit.labels,
        data=unit.data,
        worn=worn.get(unit.name, 0),
        holds=tuple(had.get(unit.name, ())),
        quarantined_at=quarantine.since if quarantine is not None else None,
        quarantined_by=quarantine.who if quarantine is not None else None,
        quarantine=quarantine.reason if quarantine is not None else None,
        checked_again_at=state.looks_again_at(pool, unit.name),
        failed=state.failed_with.get((pool, unit.name), ()),
        removed=removed,
    )


def named(state: State, key: LockKey) -> str:
    """A lock in a sentence; a unit of a pool, where one is meant: `unit 'pi-1' of pool 'boards'`."""
    units = state.pools[key.name].units if key.kind == "pool" and key.name in state.pools else ()
    one = any(unit.name == key.where for unit in units)
    return f"unit '{key.where}' of {key.whole.told}" if one else key.told


def looked_at(state: State, hold: int) -> list[tuple[str, str]]:
    """The units of a hold that are looked at before anything is done with them: pool and name.

    What was lent was looked at by the lender.
    """
    held = state.allocator.holds.get(hold)
    checked = [(n, units) for n, units in held.units if n in state.pools and state.pools[n].checked] if held else []
    if not checked:
        return []
    others = [other.units for other in state.allocator.holds.values() if other.id != hold]
    had = {(name, unit) for each in others for name, units in each for unit in units}
    return [(name, unit) for name, units in checked for unit in units if (name, unit) not in had]


def looking(state: State, hold: int, since: float, now: float) -> Why | None:
    """What whoever has this hold and has not begun with it is doing: its units are looked at, if they are to be."""
    names = [f"{pool}/{unit}" for pool, unit in looked_at(state, hold)]
    sentence = f"Looks at {listed(names)} first (healthCheck), for {span(now - since)}."
    return Why(kind="preparing", sentence=sentence, since=since) if names else None


def _sick(state: State, name: str, where_text: str) -> dict[str, Quarantine]:
    """The units of a pool that would do and are in quarantine."""
    sick = {unit: each for (pool, unit), each in state.quarantines.items() if pool == name}
    where, setup = parse(where_text), state.pools.get(name)
    units = setup.units if sick and setup is not None else ()
    return {
        each.name: sick[each.name] for each in units if each.name in sick and where.admits({each.name, *each.labels})
    }


def out(state: State, key: LockKey, now: float) -> tuple[str, ...]:
    """The units that would do and are in quarantine, each with the reason: `pi-2 (it hums; by ann, for 3 min)`."""
    if key.kind != "pool" or not state.quarantines:
        return ()
    sick = _sick(state, key.name, key.where)
    return tuple(f"{name} ({_since(each, now)}{_again(state, key.name, name, now)})" for name, each in sick.items())


def _since(quarantine: Quarantine, now: float) -> str:
    why = f"{quarantine.reason}; " if quarantine.reason else ""
    return f"{why}{f'by {quarantine.who}, ' if quarantine.who else ''}for {span(now - quarantine.since)}"


def _again(state: State, pool: str, unit: str, now: float) -> str:
    due = state.looks_again_at(pool, unit)
    return f", looked at again in {span(max(0.0, due - now))}" if due is not None else ""


def before(state: State, key: LockKey, holders: Callable[[LockKey], Iterable[Holder]]) -> str:
    """What had the name of a lock or pool before a reload and is in its way (L6), and who has it; empty if nothing."""
    other = state.allocator.reasons.in_the_way(key)
    if other is None:
        return ""
    names = [holder.by.text for holder in holders(other.whole)]
    kind = "pool" if other.kind == "pool" else f"{other.kind} lock"
    return f"the {kind}" + (f", which {listed(names)} has" if names else ", for which others wait")


def never(state: State, shortages: Sequence[Shortage]) -> tuple[WhyKind, str]:
    """That so much can never be had as the limits are; or not before the end of a quarantine, and how that is ended."""
    told = listed([too_few(each) for each in shortages], "more")
    if not all(each.out and not each.before and each.limit + len(each.out) >= each.units for each in shortages):
        return "never", f"Cannot start as the limits are: it needs {told}."
    lifts = []
    for short in shortages:
        names = list(_sick(state, short.name, short.where))
        lifts.append(f"`lockstep quarantine --lift {short.name}/{names[0] if len(names) == 1 else 'UNIT'}`")
    return "quarantine", f"Waits for {told}. To use it again: {listed(list(dict.fromkeys(lifts)))}."


def too_few(short: Shortage) -> str:
    """What can never be had as the limits are."""
    if short.before:
        told = f"{short.units} of {told_lock(short.kind, short.name)}"
        return f"{told}, and what had that name before the reload is not free yet ({short.before})"
    if short.kind != "pool":
        return f"{short.units} of {told_lock(short.kind, short.lock)}, whose limit is {short.limit}"
    told = f"{short.units} of {told_lock(short.kind, short.lock)}, of which {short.limit} can be had"
    return f"{told}; in quarantine: {listed(short.out)}" if short.out else told


def has_only(short: Shortage) -> str:
    """The same of one worker among others."""
    return f"lacks {too_few(short)}" if short.kind == "pool" else f"has only {short.limit} of lock '{short.name}'"
