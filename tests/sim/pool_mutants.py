"""Planted faults about units of pools, as `mutants.py` has them about all else."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from msgspec import structs

from lockstep.core import alloc_pools, apply, decide, decide_health, decide_pools, recovery, state
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Result
from lockstep.sim import master


def units_forgotten_after_restart() -> Any:
    """A new process does not know which units somebody has."""
    right = recovery.state_of

    def state_of(saved: Any) -> Any:
        for claim in saved.claims:
            claim.units = tuple((name, ()) for name, _ in claim.units)
        return right(saved)

    return patch.object(master, "state_of", state_of)


def quarantine_forgotten_after_restart() -> Any:
    """A new process gives units away that are in quarantine."""
    right = recovery._pools

    def pools(saved: Any, holds: Any) -> Any:
        return tuple(structs.replace(pool, sick=()) for pool in right(saved, holds))

    return patch.object(recovery, "_pools", pools)


def unit_is_free_with_another() -> Any:
    """When somebody gives units back, those that others have are free, too."""
    right = alloc_pools.Pool.drop

    def drop(self: Any, hold: int) -> None:
        right(self, hold)
        self.taken = 0
        for view in self.views.values():
            view.used = 0

    return patch.object(alloc_pools.Pool, "drop", drop)


def failures_of_units_forgotten_after_restart() -> Any:
    """A new process does not know with which units builds have failed."""
    right = recovery.state_of

    def state_of(saved: Any) -> Any:
        for unit in saved.units:
            unit.failed = ()
        return right(saved)

    return patch.object(master, "state_of", state_of)


def unit_is_blamed_for_stopped_builds() -> Any:
    """A build that is put back, or that somebody stopped, counts as one that failed."""
    right = decide_pools.tried

    def tried(draft: Any, build: Any, result: Result) -> None:
        right(draft, build, Result.FAILURE if result is Result.RETRY else result)

    return patch.object(decide_pools, "tried", tried)


def step_without_fit_units_never_waits_again() -> Any:
    """A step whose units are not fit gives them back, and claims no others."""

    def put_back(draft: Any, _build: Any, step: Any, _reason: str) -> None:
        draft.emit(f.HoldEnded(hold=step.hold, ticket=step.ticket))

    return patch.object(decide_health, "_put_back", put_back)


def look_of_another_quarantine_believed() -> Any:
    """A unit that was fit in an earlier quarantine is so in this one."""

    def make(old: Any) -> Any:
        def unit_fit(draft: Any, event: e.UnitFit) -> None:
            known = draft.state.quarantines.get((event.pool, event.unit))
            old(draft, structs.replace(event, since=known.since if known is not None else event.since))

        return unit_fit

    return patch.dict(decide.HANDLERS, {e.UnitFit: make(decide.HANDLERS[e.UnitFit])})


def person_s_quarantine_is_lifted() -> Any:
    """What a person says of a unit that is not fit changes nothing: it is looked at as before."""
    right = apply.APPLY[f.UnitQuarantined]

    def unit_quarantined(state: Any, fact: f.UnitQuarantined, at: float) -> None:
        known = state.quarantines.get((fact.pool, fact.unit))
        right(state, structs.replace(fact, unfit=fact.unfit or known is not None), at)

    return patch.dict(apply.APPLY, {f.UnitQuarantined: unit_quarantined})


def any_quarantine_is_lifted() -> Any:
    """Units are looked at again whatever they are in quarantine for."""
    right = state.State.looks_again_at

    def looks_again_at(self: Any, pool: str, unit: str) -> float | None:
        known = self.quarantines.get((pool, unit))
        if known is None or known.unfit:
            return right(self, pool, unit)
        self.quarantines[pool, unit] = structs.replace(known, unfit=True)
        found = right(self, pool, unit)
        self.quarantines[pool, unit] = known
        return found

    return patch.object(state.State, "looks_again_at", looks_again_at)


def looks_forgotten_after_restart() -> Any:
    """A new process looks at no unit that was in quarantine before."""
    return patch.object(decide_health, "configured", lambda _draft: None)


def held_unit_is_looked_at() -> Any:
    """Whoever has a unit is disturbed by a look at it."""
    return patch.object(decide_health, "_is_held", lambda _state, _pool, _unit: False)


def unit_is_looked_at_once() -> Any:
    """A unit that is still not fit has no other turn."""
    right = decide_health.time_is_up

    def time_is_up(draft: Any, name: str) -> None:
        right(draft, name)
        draft.effects[:] = [one for one in draft.effects if not isinstance(one, x.ArmTimer)]

    return patch.object(decide_health, "time_is_up", time_is_up)


MUTANTS: tuple[Callable[[], Any], ...] = (
    units_forgotten_after_restart,
    quarantine_forgotten_after_restart,
    unit_is_free_with_another,
    failures_of_units_forgotten_after_restart,
    unit_is_blamed_for_stopped_builds,
    step_without_fit_units_never_waits_again,
    look_of_another_quarantine_believed,
    person_s_quarantine_is_lifted,
    any_quarantine_is_lifted,
    looks_forgotten_after_restart,
    held_unit_is_looked_at,
    unit_is_looked_at_once,
)
