"""Decisions about locks that outlive the step which claimed them, or that it gives back before its end (`LockedSteps`).

The first step of a group that runs claims the group's locks with its own, in one claim (L10). When it ends, its own are
given back; the group's stay in its hold until no step of the group can run any more. See `decide.py`.
"""

from lockstep.core import decide_bookings
from lockstep.core import facts as f
from lockstep.core.alloc_facts import units_in
from lockstep.core.draft import Draft
from lockstep.core.nouns import Alternative, LockKey, Result
from lockstep.core.records import Build, Step
from lockstep.core.state import State

_FAILED = (Result.FAILURE, Result.EXCEPTION)


def holds(state: State, build: Build, lock: LockKey) -> bool:
    """Whether a build's group holds this lock, of a pool any units."""
    opener = state.opener(build)
    held = state.allocator.holds[opener.hold].alternative.accesses if opener is not None else ()
    return any(lock.whole == access.lock.whole for access in held)


def was_given_up(build: Build, step: Step) -> bool:
    """Whether a step of the same group has waited for the group's locks and ended without them."""
    group = step.plan.group
    return any(
        other.plan.group == group and other.shared and not other.hold and other.state == "ended"
        for other in build.steps[: build.current]
    )


def _goes_on(state: State, build: Build, group: int) -> bool:
    """Whether another step of a group may run."""
    if build.broken:
        return False
    only_always = build.halted or build.stop_result is not None
    left = build.steps[build.current :]
    return any(step.plan.group == group and (step.plan.alwaysRun or not only_always) for step in left)


def give_back(draft: Draft, build: Build, step: Step, result: Result) -> None:
    """A step has ended: its own locks go, or all, if no step of its group can run any more."""
    held = draft.state.allocator.holds.get(step.hold)
    if held is None:
        return
    stays = step.shared if step.shared and _goes_on(draft.state, build, step.plan.group) else ()
    what = f"step '{step.name}' of {build.told}"
    decide_bookings.keep_after_failure(draft, build, step.hold, result, what, stays)
    own = tuple(access.lock for access in held.alternative.accesses if access.lock not in stays)
    if not stays:
        draft.emit(f.HoldEnded(hold=step.hold, ticket=step.ticket))
    elif own:
        _return(draft, build, step, own)


def end_if_over(draft: Draft, build: Build) -> None:
    """No step of a build runs now: what its group holds goes, if no step of the group can run any more."""
    opener = draft.state.opener(build)
    if opener is not None and opener.state == "ended" and not _goes_on(draft.state, build, opener.plan.group):
        end(draft, build)


def end(draft: Draft, build: Build) -> None:
    """What a build's group holds is given back (L30)."""
    opener = draft.state.opener(build)
    if opener is None:
        return
    group = [step for step in build.steps if step.plan.group == opener.plan.group]
    worst = next((step for step in group if step.result in _FAILED), opener)
    what = f"step '{worst.name}' of {build.told}"
    decide_bookings.keep_after_failure(draft, build, opener.hold, worst.result or Result.SUCCESS, what)
    draft.emit(f.HoldEnded(hold=opener.hold, ticket=opener.ticket))


# --- before the end


def return_lock(draft: Draft, build: Build, step: Step, lock: LockKey) -> str:
    """A running step gives one of its locks (of a pool: its units) back, or one of its group's.

    Returns why it may not, or nothing.
    """
    state = draft.state
    owners = [step, state.opener(build)]
    held = ((one, [key.whole for key in _held(state, one)]) for one in owners if one is not None)
    owner = next((one for one, keys in held if lock.whole in keys), None)
    if owner is None:
        return f"step '{step.name}' has no {lock.told} by its locks="
    commands = (state.commands[name] for name in state.commands_of.get(build.buildid, ()))
    if any(command.step == step.number for command in commands):
        return f"a command of step '{step.name}' still runs under {lock.told}"
    _return(draft, build, owner, tuple(key for key in _held(state, owner) if key.whole == lock.whole))
    return ""


def _held(state: State, step: Step) -> list[LockKey]:
    hold = state.allocator.holds.get(step.hold)
    return [access.lock for access in hold.alternative.accesses] if hold is not None else []


def _return(draft: Draft, build: Build, step: Step, locks: tuple[LockKey, ...]) -> None:
    held = draft.state.allocator.holds[step.hold]
    gone = tuple(a.lock for a in held.alternative.accesses if a.lock in locks)
    pairs = zip(held.alternative.accesses, held.fences, strict=True)
    kept = [(access, fence) for access, fence in pairs if access.lock not in gone]
    draft.emit(
        f.LocksReturned(
            buildid=build.buildid,
            step=step.number,
            hold=held.id,
            ticket=step.ticket,
            owner=held.owner,
            locks=gone,
            alternative=Alternative(held.alternative.worker, tuple(access for access, _ in kept)),
            fences=tuple(fence for _, fence in kept),
            units=units_in(held.units, (access.lock for access, _ in kept)),
        )
    )
