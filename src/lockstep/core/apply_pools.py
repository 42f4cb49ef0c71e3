"""What the facts about pools do to the state. See `apply.py`."""

from lockstep.core import facts as f
from lockstep.core.alloc_facts import together
from lockstep.core.records import Quarantine
from lockstep.core.state import State


def pool_changed(state: State, fact: f.PoolChanged, _at: float) -> None:
    """A pool that is removed stays for whoever still claims it (L6)."""
    if fact.removed:
        del state.pools[fact.name]
        state.allocator.forget_pool(fact.name)
    else:
        state.pools[fact.name] = fact.setup
        state.allocator.set_pool(fact.name, fact.units, fact.max_overtakes)


def unit_quarantined(state: State, fact: f.UnitQuarantined, at: float) -> None:
    quarantine = Quarantine(who=fact.who, reason=fact.reason, since=at, unfit=fact.unfit)
    state.quarantines[fact.pool, fact.unit] = quarantine
    state.looked.pop((fact.pool, fact.unit), None)
    state.allocator.quarantine(fact.pool, fact.unit, True)


def quarantine_lifted(state: State, fact: f.QuarantineLifted, _at: float) -> None:
    del state.quarantines[fact.pool, fact.unit]
    state.looked.pop((fact.pool, fact.unit), None)
    state.failed_with.pop((fact.pool, fact.unit), None)
    state.allocator.quarantine(fact.pool, fact.unit, False)


def units_used(state: State, fact: f.UnitsUsed, _at: float) -> None:
    build = state.builds[fact.buildid]
    build.units = together(build.units, fact.units)


def unit_tried(state: State, fact: f.UnitTried, _at: float) -> None:
    if fact.failed:
        state.failed_with[fact.pool, fact.unit] = fact.failed
    else:
        state.failed_with.pop((fact.pool, fact.unit), None)
