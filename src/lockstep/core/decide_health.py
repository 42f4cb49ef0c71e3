"""Decisions about units that are not fit: they go into quarantine, and whoever was to have them waits for others.

Where their pool says so they are looked at again after a while, and again, until they are fit. Whether one is fit is
found out by the server, after the grant and before anything is done with it: see `health.py` in `master/`. Nothing of
the build or step has begun then, so its claim can wait again with its ticket. See `decide.py`.
"""

from typing import Final

from lockstep.core import decide_builds
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.draft import Draft
from lockstep.core.limits import MAX_BOOKING_TEXT
from lockstep.core.nouns import Result
from lockstep.core.records import Build, Step
from lockstep.core.state import State

EARLY: Final = 0.001
"""A timer may fire so many seconds before its wall time."""

PASSED: Final = "its health check passes"


def units_failed(draft: Draft, event: e.UnitsFailed) -> None:
    """Nobody gets these units from now on. What is heard late says something of them, and nothing of a later hold."""
    state = draft.state
    for pool, unit, why in event.units:
        setup = state.pools.get(pool)
        known = setup is not None and unit in [each.name for each in setup.units]
        if known and (pool, unit) not in state.quarantines:
            reason = why[:MAX_BOOKING_TEXT]
            draft.emit(f.UnitQuarantined(pool=pool, unit=unit, who="", reason=reason, unfit=True))
            _watch(draft, pool, unit)
    build = state.builds.get(event.buildid)
    if build is None or not event.units or build.broken:
        return
    pool, unit, why = event.units[0]
    reason = f"unit '{unit}' of pool '{pool}' is not fit: {why}"
    if not event.step:
        if build.hold == event.hold and not build.steps:
            decide_builds.break_build(draft, build, Result.RETRY, f"{reason}; the build is tried again")
        return
    step = decide_builds.current_step(build)
    if step is not None and step.hold == event.hold and step.state == "running" and not step.calls:
        _put_back(draft, build, step, reason)


def _put_back(draft: Draft, build: Build, step: Step, reason: str) -> None:
    """A step that has done nothing waits again for all that it claimed; if it is to be stopped, it ends."""
    if step.interrupted:
        decide_builds.end_step(draft, build, step, build.stop_result or Result.CANCELLED, reason)
        decide_builds.go_on(draft, build)
        return
    draft.emit(f.HoldEnded(hold=step.hold, ticket=step.ticket))
    draft.emit(
        f.StepPutBack(
            buildid=build.buildid,
            number=step.number,
            stepid=step.stepid,
            ticket=step.ticket,
            accesses=step.accesses,
        )
    )


# --- looking again


def _watch(draft: Draft, pool: str, unit: str) -> None:
    """Look at a unit again when it is time."""
    due = draft.state.looks_again_at(pool, unit)
    if due is not None:
        seconds = min(draft.state.pools[pool].retry, max(0.0, due - draft.at))
        draft.effect(x.ArmTimer(f"look:{pool}/{unit}", seconds))


def configured(draft: Draft) -> None:
    """A configuration is in force, or a process has begun: what was to be looked at again still is, or is now."""
    for pool, unit in sorted(draft.state.quarantines):
        _watch(draft, pool, unit)


def time_is_up(draft: Draft, name: str) -> None:
    """It may be a unit's turn to be looked at. Its next turn comes, whatever becomes of this one.

    Who has the unit still may be working with it, and is not disturbed: then this turn is passed over.
    """
    state = draft.state
    pool, _, unit = name.partition("/")
    due = state.looks_again_at(pool, unit)
    if due is None:
        return
    if due <= draft.at + EARLY:
        state.looked[pool, unit] = draft.at
        if not _is_held(state, pool, unit):
            draft.effect(x.LookAgain(pool, unit, state.quarantines[pool, unit].since))
    _watch(draft, pool, unit)


def _is_held(state: State, pool: str, unit: str) -> bool:
    holds = state.allocator.holds.values()
    return any(name == pool and unit in units for hold in holds for name, units in hold.units)


def unit_fit(draft: Draft, event: e.UnitFit) -> None:
    """A unit may be had again, if it is in quarantine because it was not fit, and since then."""
    known = draft.state.quarantines.get((event.pool, event.unit))
    again = draft.state.looks_again_at(event.pool, event.unit) is not None
    if again and known is not None and known.since == event.since:
        draft.emit(f.QuarantineLifted(pool=event.pool, unit=event.unit, who="", reason=PASSED))
