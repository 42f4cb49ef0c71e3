"""Decisions about builds and their steps: which step is next, how a build ends, what stopping does.

See `decide.py`. Calls of steps are in `decide_calls.py`.
"""

from typing import Any

from lockstep.core import decide_bookings, decide_groups, decide_pools, decide_requests
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import AccessError, normalize
from lockstep.core.calls import Acquire, Triggered
from lockstep.core.draft import Draft
from lockstep.core.limits import MAX_STEPS_PER_BUILD
from lockstep.core.nouns import Access, Result, capital, worse
from lockstep.core.records import Build, Step, Worker
from lockstep.core.values import StepPlan


def build_planned(draft: Draft, event: e.BuildPlanned) -> None:
    """A build's steps are known: go on with the first."""
    build = draft.state.builds.get(event.buildid)
    if build is None or build.steps or build.state not in ("starting", "stopping"):
        return
    plans = event.plans[:MAX_STEPS_PER_BUILD]
    draft.emit(f.BuildPlanKept(buildid=build.buildid, plans=plans, properties=event.properties))
    if draft.state.allocator.board.pools:
        decide_pools.used(draft, build, build.hold)
    go_on(draft, build)


def go_on(draft: Draft, build: Build) -> None:
    """Start the next step of a build that has none running, or end the build.

    What its children were lent is theirs until they have ended, also if it waits for them no more (L53).
    """
    state = draft.state
    if build.buildid not in state.builds:
        return
    if any(bsid in state.buildsets for bsid in state.children.get(build.buildid, ())):
        return
    if any(step.shared for step in build.steps):
        decide_groups.end_if_over(draft, build)
    step = draft.state.next_step(build)
    if step is not None:
        draft.effect(x.PrepareStep(build.buildid, step.number))
    elif not draft.state.commands_of.get(build.buildid):
        end_build(draft, build)


def _awaited(draft: Draft, buildid: int, number: int) -> tuple[Build, Step] | None:
    """The build and the step that it starts next, if that is the one of this number."""
    build = draft.state.builds.get(buildid)
    if build is None or build.state == "starting":
        return None
    if build.current and build.steps[build.current - 1].state != "ended":
        return None
    step = draft.state.next_step(build)
    return (build, step) if step is not None and step.number == number else None


def step_prepared(draft: Draft, event: e.StepPrepared) -> None:
    """A step's `doStepIf`, arguments and locks are known: skip it, claim its locks, or run it (L20)."""
    found = _awaited(draft, event.buildid, event.number)
    if found is None:
        return
    build, step = found
    state = draft.state
    accesses, result, summary = _claimable(draft, build, step, event)
    draft.emit(
        f.StepStarted(
            buildid=build.buildid,
            number=step.number,
            stepid=state.counters.stepid + 1,
            name=event.name,
            accesses=accesses,
            ticket=state.counters.clock + 1 if accesses else 0,
            rendered=event.rendered,
            shared=tuple(access.lock for access in accesses if access.lock in event.shared),
        )
    )
    if result is not None:
        end_step(draft, build, step, result, summary, hidden=event.hidden)
        go_on(draft, build)
    elif not accesses:
        draft.effect(x.RunStep(build.buildid, step.number))


def _claimable(
    draft: Draft, build: Build, step: Step, event: e.StepPrepared
) -> tuple[tuple[Access, ...], Result | None, str]:
    """What a prepared step claims; or its result and summary, if it ends at once (L3, L12, L25)."""
    if event.result is not None:
        return (), event.result, event.summary
    if event.shared and decide_groups.was_given_up(build, step):
        return (), Result.SKIPPED, "not run: the steps that it belongs to did not get their locks"
    try:
        accesses = normalize(event.accesses)
    except AccessError as error:
        return (), Result.EXCEPTION, str(error)
    has_room = draft.state.allocator.reasons.has_room
    if build.stop_result is Result.RETRY and not all(has_room(build.ticket, access) for access in accesses):
        return (), Result.SKIPPED, "not run: its build is put back, and it needs a lock that another has (L52)"
    problem = waits_for_itself(draft, build, accesses) if accesses else ""
    return ((), Result.EXCEPTION, problem) if problem else (accesses, None, "")


def waits_for_itself(draft: Draft, build: Build, accesses: tuple[Access, ...]) -> str:
    """Why a claim of this build could only wait for the build itself, as a sentence; or nothing (L25).

    What its step's own calls hold or wait for counts too, as far as it does not fit beside this claim.
    """
    allocator = draft.state.allocator
    hold = allocator.holds.get(build.hold)
    for access in accesses:
        mine = [held for held in (hold.alternative.accesses if hold else ()) if held.lock.whole == access.lock.whole]
        raises = access.raises and access.lock.kind != "pool"
        if raises and (problem := _may_not_raise(build, access, mine)):
            return problem
        if mine and not raises:
            return (
                f"{capital(access.lock.told)} is held by the build (locks= of builder '{build.builder}', its factory "
                f"or its worker '{build.worker}') and claimed by its step: the step would wait for itself."
            )
        if decide_groups.holds(draft.state, build, access.lock):
            return (
                f"{capital(access.lock.told)} is held by the LockedSteps that the step belongs to and claimed by the "
                "step: it would wait for itself."
            )
        own = [a for a in own_accesses(draft, build) if a.lock.whole == access.lock.whole]
        exclusive = any(a.mode == "exclusive" for a in (access, *own))
        units = access.count + sum(a.count for a in own)
        if own and (exclusive or units > allocator.reasons.limit(access.lock)):
            return f"{capital(access.lock.told)} is claimed by the step already: it would wait for itself."
    return ""


def _may_not_raise(build: Build, access: Access, mine: list[Access]) -> str:
    """Why a step may not raise a lock; or nothing. What may be raised must be known beforehand, to be safe (L51)."""
    if not any(held.mode == "counting" for held in mine):
        return (
            f"{capital(access.lock.told)} is to be raised by the step, but its build does not share it "
            "(access('counting'))."
        )
    if not any(access in step.plan.raises for step in build.steps):
        return (
            f"{capital(access.lock.told)} is to be raised by a step of which the configuration did not say so when its "
            "build began: two builds could wait for each other. Write raises=True into locks= of a step of the factory."
        )
    return ""


def own_accesses(draft: Draft, build: Build) -> list[Access]:
    """What the current step of a build, and its calls, hold or wait for."""
    step = current_step(build)
    allocator = draft.state.allocator
    accesses: list[Access] = []
    for record in step.calls.values() if step is not None else ():
        if isinstance(record.call, Acquire) and (record.hold in allocator.holds or record.ticket in allocator.waiting):
            accesses += normalize(record.call.accesses)
    if step is not None:
        hold = allocator.holds.get(step.hold)
        accesses += step.accesses if hold is None else hold.alternative.accesses
    return accesses


def step_finished(draft: Draft, event: e.StepFinished) -> None:
    """A step's `run` has returned. It ends with its last command: a hold never ends before what it protects (L30)."""
    build = draft.state.builds.get(event.buildid)
    step = draft.state.step(event.buildid, event.number)
    if build is None or step is None or step.state != "running":
        return
    commands = (draft.state.commands[name] for name in draft.state.commands_of.get(event.buildid, ()))
    if any(command.step == event.number for command in commands):
        return
    result = event.result
    if step.interrupted:
        result = build.stop_result or result
    end_step(draft, build, step, result, event.summary, hidden=event.hidden, lines=event.lines)
    go_on(draft, build)


def end_step(
    draft: Draft,
    build: Build,
    step: Step,
    result: Result,
    summary: str,
    hidden: bool = False,
    lines: dict[int, int] | None = None,
) -> None:
    """End a step: its unfinished calls, its holds, its part in the build's result."""
    _end_calls(draft, build, step)
    drop_waits(draft, step, summary)
    so_far, halted = combine(build.result, step.plan, result)
    draft.emit(
        f.StepEnded(
            buildid=build.buildid,
            number=step.number,
            stepid=step.stepid,
            result=result,
            build_result=so_far,
            summary=summary,
            hidden=hidden,
            halted=halted,
            lines=lines or {},
        )
    )
    decide_groups.give_back(draft, build, step, result)


def _end_calls(draft: Draft, build: Build, step: Step) -> None:
    """A step that ends gives back what its calls hold, and nobody waits for its commands any more (L30)."""
    state = draft.state
    for command in [state.commands[name] for name in sorted(state.commands_of.get(build.buildid, ()))]:
        if command.step == step.number:
            draft.effect(x.InterruptCommand(command.worker, command.id, "its step has ended", forget=True))
            draft.emit(f.CommandOver(command=command.id))
    for record in step.calls.values():
        if record.hold in state.allocator.holds:
            draft.emit(f.HoldEnded(hold=record.hold, ticket=record.ticket))
        elif record.due and record.state == "started":
            draft.effect(x.DisarmTimer(f"sleep:{build.buildid}.{step.number}.{record.number}"))
    _cancel_children(draft, build, "the step that waited for it has ended")


def drop_waits(draft: Draft, step: Step, reason: str) -> None:
    """Nothing of a step waits for a lock any more (L33)."""
    waiting = draft.state.allocator.waiting
    for ticket in (step.ticket, *(record.ticket for record in step.calls.values())):
        if ticket in waiting:
            draft.emit(f.ClaimDropped(ticket=ticket, reason=reason))


def combine(so_far: Result, plan: StepPlan, result: Result) -> tuple[Result, bool]:
    """How a step's result enters its build's, and whether the build halts (manual: common step parameters)."""
    halted = False
    counted = result
    match result:
        case Result.SUCCESS | Result.SKIPPED:
            return so_far, False
        case Result.FAILURE:
            halted = plan.haltOnFailure
            if not plan.flunkOnFailure:
                counted = Result.WARNINGS if plan.warnOnFailure else Result.SUCCESS
        case Result.WARNINGS:
            if plan.flunkOnWarnings:
                counted = Result.FAILURE
            elif not plan.warnOnWarnings:
                counted = Result.SUCCESS
        case Result.EXCEPTION | Result.RETRY | Result.CANCELLED:
            halted = True
    return worse(so_far, counted), halted


# --- stopping


def stop_asked(draft: Draft, event: e.StopAsked) -> None:
    """Somebody stops a build."""
    build = draft.state.builds.get(event.buildid)
    if build is None:
        draft.reply(event.token, error=f"Build {event.buildid} is not running.")
        return
    stop_build(draft, build, event.reason or "stopped", event.who)
    draft.reply(event.token)


def stop_build(draft: Draft, build: Build, reason: str, who: str = "") -> None:
    """Cancel a build: its current step is interrupted; steps with `alwaysRun` still run (L33)."""
    text = f"{reason} (by {who})" if who else reason
    if build.broken:
        if build.stop_result is Result.RETRY:
            # It ends with its commands anyway; now it does not go back to the queue.
            draft.emit(f.BuildStopping(buildid=build.buildid, result=Result.CANCELLED, reason=text, broken=True))
        return
    _stop(draft, build, Result.CANCELLED, text, "cancelled while waiting for locks")


def sentence_build(draft: Draft, build: Build, reason: str) -> None:
    """Put a ring's youngest build back: its current step is stopped; steps with `alwaysRun` run if they need not wait.

    One that is being stopped already, or is in a ring with its very `alwaysRun` step, runs no more of them (L33, L52).
    """
    if build.stop_result is None:
        _stop(draft, build, Result.RETRY, reason, reason)
    else:
        break_build(draft, build, Result.RETRY, reason)


def _stop(draft: Draft, build: Build, result: Result, reason: str, waiting: str) -> None:
    """Stop the current step and let the build end with this result; `waiting` sums up a step that waits for locks."""
    step = current_step(build)
    number = step.number if step is not None else 0
    draft.emit(f.BuildStopping(buildid=build.buildid, result=result, reason=reason, step=number))
    if step is None:
        if build.steps:
            go_on(draft, build)
        return
    drop_waits(draft, step, reason)
    if step.state == "waiting":
        end_step(draft, build, step, result, waiting)
        go_on(draft, build)
    else:
        draft.effect(x.InterruptStep(build.buildid, step.number, reason))
        _interrupt_commands(draft, build, reason)
        _cancel_children(draft, build, f"the build that waited for it is stopped: {reason}")


def current_step(build: Build) -> Step | None:
    """The step that waits or runs, if there is one."""
    step = build.steps[build.current - 1] if build.current else None
    return step if step is not None and step.state in ("waiting", "running") else None


def _interrupt_commands(draft: Draft, build: Build, reason: str) -> None:
    for name in sorted(draft.state.commands_of.get(build.buildid, ())):
        command = draft.state.commands[name]
        if not command.interrupted:
            draft.emit(f.CommandInterrupted(command=name, reason=reason))
        draft.effect(x.InterruptCommand(command.worker, name, reason))


def _cancel_children(draft: Draft, build: Build, reason: str) -> None:
    """The builds that a build waits for are of no use any more."""
    for bsid in sorted(draft.state.children.get(build.buildid, ())):
        if bsid in draft.state.buildsets:
            for request in list(draft.state.requests_of(bsid)):
                if request.brid in draft.state.requests:
                    decide_requests.cancel(draft, request, reason, "")


def build_broken(draft: Draft, event: e.BuildBroken) -> None:
    """A build cannot go on."""
    build = draft.state.builds.get(event.buildid)
    if build is not None:
        break_build(draft, build, event.result, event.reason)


UNUSED = "nothing runs on it any more"
"""Why an unreachable worker is given up when its last build ends otherwise."""


def break_build(draft: Draft, build: Build, result: Result, reason: str, gone: str = UNUSED) -> None:
    """End a build as soon as its commands have stopped; no further step runs (HOUSE 2.3).

    One that is being stopped ends as that was meant: cancelled by somebody, or put back because of a ring.

    Args:
        draft: the decision being made.
        build: a running one.
        result: of the build.
        reason: a sentence for people.
        gone: why its worker is given up, if that is out of reach and has no other build.
    """
    if build.broken:
        return
    if build.stop_result is not None:
        result, reason = build.stop_result, f"{build.stop_reason}; {reason}"
    step = current_step(build)
    number = step.number if step is not None else 0
    draft.emit(f.BuildStopping(buildid=build.buildid, result=result, reason=reason, step=number, broken=True))
    if step is not None:
        drop_waits(draft, step, reason)
    if not end_if_broken(draft, build, gone):
        _interrupt_commands(draft, build, reason)


def end_if_broken(draft: Draft, build: Build, gone: str = UNUSED) -> bool:
    """End a broken build whose last command is over. True if it has ended."""
    if build.buildid in draft.state.builds and build.broken and not draft.state.commands_of.get(build.buildid):
        end_build(draft, build, gone)
        return True
    return False


def lease_timer(worker: Worker) -> str:
    """The timer's name. A timer of a former session, heard late, says nothing about this one."""
    return f"lease:{worker.session}:{worker.name}"


def stop_waiting(draft: Draft, worker: Worker) -> None:
    """An unreachable worker is back, or nobody needs it any more."""
    for timer in draft.state.awaited.pop(worker.name, {lease_timer(worker): 0.0}):
        draft.effect(x.DisarmTimer(timer))


# --- ends (L30: the one way)


def end_build(draft: Draft, build: Build, gone: str = UNUSED) -> None:
    """End a build: everything that it holds ends with it, in the same decision (L30, L31)."""
    state = draft.state
    step = current_step(build)
    if step is not None:
        end_step(draft, build, step, build.stop_result or Result.EXCEPTION, build.stop_reason)
    decide_groups.end(draft, build)
    result = build.result if build.stop_result is None else build.stop_result
    request = state.requests[build.brid]
    draft.emit(
        f.BuildEnded(
            buildid=build.buildid,
            result=result,
            summary=summary(build, result),
            locks_duration=build.locks_duration,
        )
    )
    decide_bookings.keep_after_failure(draft, build, build.hold, result, build.told)
    if build.units:
        decide_pools.tried(draft, build, result)
    draft.emit(f.HoldEnded(hold=build.hold, ticket=build.ticket))
    draft.effect(x.DropBuild(build.buildid))
    worker = state.workers.get(build.worker)
    if worker is not None and worker.state == "unreachable" and build.worker not in state.builds_on:
        stop_waiting(draft, worker)
        draft.emit(f.WorkerGivenUp(worker=build.worker, reason=gone))
    if result is Result.RETRY:
        draft.put_back.append((request.brid, build.stop_reason))
    else:
        decide_requests.end(draft, request, result)


def summary(build: Build, result: Result) -> str:
    """One line about how a build ended, as Buildbot words it."""
    if build.stop_reason:
        return build.stop_reason
    if result is Result.SUCCESS:
        return "build successful"
    bad = [_told(step) for step in build.steps if step.result == result]
    word = "failed" if result is Result.FAILURE else result.name.lower()
    return f"{word} {', '.join(bad)}".strip()


def _told(step: Step) -> str:
    """How a step ended. What is said of one that never ran does not name it."""
    if not step.summary:
        return step.name
    return step.summary if step.locks_acquired_at else f"'{step.name}': {step.summary}"


# --- the ends of calls, for everybody who can end one


def end_call(draft: Draft, buildid: int, number: int, call: int, result: Any) -> None:
    """End a call that a step waits for, and let the step go on after the commit."""
    step = draft.state.step(buildid, number)
    record = step.calls.get(call) if step is not None else None
    if step is None or step.state != "running" or record is None or record.state != "started":
        return
    order = draft.state.last_fact + 1
    draft.emit(f.CallEnded(buildid=buildid, step=number, stepid=step.stepid, number=call, result=result, order=order))
    draft.effect(x.CallDone(buildid, number, call, result))


def child_ended(draft: Draft, call: tuple[int, int, int]) -> None:
    """A build set that a call waits for is complete; with the last of them the call ends, or what waited behind it."""
    if not draft.state.call_waits(call):
        build = draft.state.builds.get(call[0])
        if build is not None and not build.broken and current_step(build) is None:
            go_on(draft, build)
        return
    buildsets = draft.state.waited_buildsets(call)
    if any(buildset.state == "pending" for buildset in buildsets):
        return
    result = [Triggered(buildset=b.bsid, requests={}, result=int(b.result), builds=tuple(b.builds)) for b in buildsets]
    end_call(draft, *call, result)
