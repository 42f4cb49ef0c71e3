"""Decisions about builds and their steps: which step is next, how a build ends, what stopping does.

See `decide.py`. Calls of steps are in `decide_calls.py`.
"""

from typing import Any

from lockstep.core import decide_requests
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.calls import Triggered
from lockstep.core.draft import Draft
from lockstep.core.limits import MAX_STEPS_PER_BUILD
from lockstep.core.nouns import Result, worse
from lockstep.core.records import Build, Step
from lockstep.core.values import StepPlan


def build_planned(draft: Draft, event: e.BuildPlanned) -> None:
    """A build's steps are known: go on with the first."""
    build = draft.state.builds.get(event.buildid)
    if build is None or build.steps or build.state not in ("starting", "stopping"):
        return
    plans = event.plans[:MAX_STEPS_PER_BUILD]
    draft.emit(f.BuildPlanKept(buildid=build.buildid, plans=plans, properties=event.properties))
    go_on(draft, build)


def go_on(draft: Draft, build: Build) -> None:
    """Start the next step of a build that has none running, or end the build."""
    if build.buildid not in draft.state.builds:
        return
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
    claims = bool(event.accesses) and event.result is None
    draft.emit(
        f.StepStarted(
            buildid=build.buildid,
            number=step.number,
            stepid=state.counters.stepid + 1,
            name=event.name,
            accesses=event.accesses if claims else (),
            ticket=state.counters.clock + 1 if claims else 0,
            rendered=event.rendered,
        )
    )
    if event.result is not None:
        _end_step(draft, build, step, event.result, event.summary, hidden=event.hidden)
        go_on(draft, build)
    elif not claims:
        draft.effect(x.RunStep(build.buildid, step.number))


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
    _end_step(draft, build, step, result, event.summary, hidden=event.hidden, lines=event.lines)
    go_on(draft, build)


def _end_step(
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
    if step.state == "waiting":
        draft.emit(f.ClaimDropped(ticket=step.ticket))
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
    if step.hold:
        draft.emit(f.HoldEnded(hold=step.hold, ticket=step.ticket))


def _end_calls(draft: Draft, build: Build, step: Step) -> None:
    """A step that ends gives back what its calls hold, and nobody waits for its commands any more (L30)."""
    state = draft.state
    for command in [state.commands[name] for name in sorted(state.commands_of.get(build.buildid, ()))]:
        if command.step == step.number:
            draft.effect(x.InterruptCommand(command.worker, command.id, "its step has ended", forget=True))
            draft.emit(f.CommandOver(command=command.id))
    for record in step.calls.values():
        if record.ticket and record.hold:
            draft.emit(f.HoldEnded(hold=record.hold, ticket=record.ticket))
        elif record.ticket and record.state == "started":
            draft.emit(f.ClaimDropped(ticket=record.ticket))
        elif record.due and record.state == "started":
            draft.effect(x.DisarmTimer(f"sleep:{build.buildid}.{step.number}.{record.number}"))
    for buildset in [b for b in state.buildsets.values() if b.parent_call and b.parent_call[0] == build.buildid]:
        if buildset.waited_for and buildset.state == "pending":
            for request in list(state.requests_of(buildset.bsid)):
                decide_requests.cancel(draft, request, "the step that waited for it has ended", "")


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
    if build.stop_result not in (None, Result.CANCELLED):
        return
    text = f"{reason} (by {who})" if who else reason
    step = build.steps[build.current - 1] if build.current else None
    current = step if step is not None and step.state in ("waiting", "running") else None
    draft.emit(
        f.BuildStopping(
            buildid=build.buildid,
            result=Result.CANCELLED,
            reason=text,
            step=current.number if current is not None else 0,
        )
    )
    if current is None:
        if build.steps or not build.ticket:
            go_on(draft, build)
        return
    if current.state == "waiting":
        _end_step(draft, build, current, Result.CANCELLED, "cancelled while waiting for locks")
        go_on(draft, build)
        return
    draft.effect(x.InterruptStep(build.buildid, current.number, text))
    _interrupt_commands(draft, build, text)
    _cancel_children(draft, build, text)


def _interrupt_commands(draft: Draft, build: Build, reason: str) -> None:
    for name in sorted(draft.state.commands_of.get(build.buildid, ())):
        command = draft.state.commands[name]
        if not command.interrupted:
            draft.emit(f.CommandInterrupted(command=name, reason=reason))
        draft.effect(x.InterruptCommand(command.worker, name, reason))


def _cancel_children(draft: Draft, build: Build, reason: str) -> None:
    """The builds that a stopped build waits for are of no use any more."""
    for bsid in sorted(draft.state.children.get(build.buildid, ())):
        if bsid in draft.state.buildsets:
            for request in list(draft.state.requests_of(bsid)):
                decide_requests.cancel(draft, request, f"the build that waited for it is stopped: {reason}", "")


def build_broken(draft: Draft, event: e.BuildBroken) -> None:
    """A build cannot go on."""
    build = draft.state.builds.get(event.buildid)
    if build is not None:
        break_build(draft, build, event.result, event.reason)


def break_build(draft: Draft, build: Build, result: Result, reason: str) -> None:
    """End a build as soon as its commands have stopped; no further step runs (HOUSE 2.3, L52)."""
    if build.stop_result not in (None, Result.CANCELLED):
        return
    step = build.steps[build.current - 1] if build.current else None
    current = step if step is not None and step.state in ("waiting", "running") else None
    number = current.number if current is not None else 0
    draft.emit(f.BuildStopping(buildid=build.buildid, result=result, reason=reason, step=number))
    if not draft.state.commands_of.get(build.buildid):
        end_build(draft, build)
        return
    _interrupt_commands(draft, build, reason)


def end_if_broken(draft: Draft, build: Build) -> bool:
    """End a broken build whose last command is over. True if it has ended."""
    broken = build.stop_result not in (None, Result.CANCELLED)
    if broken and not draft.state.commands_of.get(build.buildid):
        end_build(draft, build)
        return True
    return False


# --- ends (L30: the one way)


def end_build(draft: Draft, build: Build) -> None:
    """End a build: everything that it holds ends with it, in the same decision (L30, L31)."""
    state = draft.state
    current = build.steps[build.current - 1] if build.current else None
    if current is not None and current.state in ("waiting", "running"):
        _end_step(draft, build, current, build.stop_result or Result.EXCEPTION, build.stop_reason)
    result = build.result
    if build.stop_result is not None:
        result = build.stop_result
    request = state.requests[build.brid]
    draft.emit(
        f.BuildEnded(
            buildid=build.buildid,
            result=result,
            summary=summary(build, result),
            locks_duration=build.locks_duration,
        )
    )
    draft.emit(f.HoldEnded(hold=build.hold, ticket=build.ticket))
    draft.effect(x.DropBuild(build.buildid))
    worker = state.workers.get(build.worker)
    if worker is not None and worker.state == "unreachable" and build.worker not in state.builds_on:
        draft.emit(f.WorkerGivenUp(worker=build.worker, reason="nothing runs on it any more"))
        draft.effect(x.DisarmTimer(f"lease:{build.worker}"))
    if result is Result.RETRY:
        clock = state.counters.clock + 1
        draft.emit(f.RequestPutBack(brid=request.brid, since=clock, reason=build.stop_reason))
        builder = state.builders.get(request.builder)
        if builder is not None and builder.need is None:
            draft.effect(x.RenderNeed(request.brid))
    else:
        decide_requests.end(draft, request, result)


def summary(build: Build, result: Result) -> str:
    """One line about how a build ended, as Buildbot words it."""
    if build.stop_reason:
        return build.stop_reason
    if result is Result.SUCCESS:
        return "build successful"
    bad = [step.summary or step.name for step in build.steps if step.result == result]
    return f"{result.name.lower()} {', '.join(bad)}".strip()


# --- the ends of calls, for everybody who can end one


def end_call(draft: Draft, buildid: int, number: int, call: int, result: Any) -> None:
    """End a call that a step waits for, and let the step go on after the commit."""
    step = draft.state.step(buildid, number)
    record = step.calls.get(call) if step is not None else None
    if step is None or record is None or record.state != "started":
        return
    draft.emit(f.CallEnded(buildid=buildid, step=number, stepid=step.stepid, number=call, result=result))
    draft.effect(x.CallDone(buildid, number, call, result))


def child_ended(draft: Draft, call: tuple[int, int, int]) -> None:
    """A build set that a call waits for is complete; with the last of them the call ends."""
    step = draft.state.step(call[0], call[1])
    record = step.calls.get(call[2]) if step is not None else None
    if record is None or record.state != "started":
        return
    buildsets = draft.state.waited_buildsets(call)
    if any(buildset.state == "pending" for buildset in buildsets):
        return
    result = [Triggered(buildset=b.bsid, requests={}, result=int(b.result), builds=tuple(b.builds)) for b in buildsets]
    end_call(draft, *call, result)
