"""Planted faults about units of pools, as `mutants.py` has them about all else."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from msgspec import structs

from lockstep.core import alloc_pools, decide_health, decide_pools, recovery
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


MUTANTS: tuple[Callable[[], Any], ...] = (
    units_forgotten_after_restart,
    quarantine_forgotten_after_restart,
    unit_is_free_with_another,
    failures_of_units_forgotten_after_restart,
    unit_is_blamed_for_stopped_builds,
    step_without_fit_units_never_waits_again,
)
