"""Decisions about units that are not fit: they go into quarantine, and whoever was to have them waits for others.

Whether one is fit is found out by the server, after the grant and before anything is done with it: see `health.py` in
`master/`. Nothing of the build or step has begun then, so its claim can wait again with its ticket. See `decide.py`.
"""

from lockstep.core import decide_builds
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.draft import Draft
from lockstep.core.limits import MAX_BOOKING_TEXT
from lockstep.core.nouns import Result
from lockstep.core.records import Build, Step


def units_failed(draft: Draft, event: e.UnitsFailed) -> None:
    """Nobody gets these units from now on. What is heard late says something of them, and nothing of a later hold."""
    state = draft.state
    for pool, unit, why in event.units:
        setup = state.pools.get(pool)
        known = setup is not None and unit in [each.name for each in setup.units]
        if known and (pool, unit) not in state.quarantines:
            draft.emit(f.UnitQuarantined(pool=pool, unit=unit, who="", reason=why[:MAX_BOOKING_TEXT]))
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
