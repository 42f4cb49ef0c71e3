"""Decisions about the calls of steps: what each starts, and how it ends (HOUSE.md section 2).

See `decide.py`.
"""

import re
from typing import Any

from lockstep.core import calls as c
from lockstep.core import decide_builds, decide_groups, decide_pools, decide_requests
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import AccessError, normalize
from lockstep.core.draft import Draft
from lockstep.core.limits import MAX_CALLS_PER_STEP, MAX_STEPS_PER_BUILD
from lockstep.core.nouns import Access, Result, capital
from lockstep.core.records import Build, Step

STOPPED = c.CommandResult(rc=-1, failure="the build is being stopped")


def call_made(draft: Draft, event: e.CallMade) -> None:
    """A running step makes its next call. One that is known already is answered again, never done again."""
    state = draft.state
    build = state.builds.get(event.buildid)
    step = state.step(event.buildid, event.step)
    if build is None or step is None or step.state != "running":
        draft.reply(event.token, error="the step has ended")
        return
    known = step.calls.get(event.number)
    if known is None:
        if len(step.calls) >= MAX_CALLS_PER_STEP:
            reason = f"step '{step.name}' makes more than {MAX_CALLS_PER_STEP} calls"
            decide_builds.break_build(draft, build, Result.EXCEPTION, reason)
        else:
            _start(draft, build, step, event)
    elif known.state == "ended":
        draft.effect(x.CallDone(build.buildid, step.number, known.number, known.result))


def _start(draft: Draft, build: Build, step: Step, event: e.CallMade) -> None:
    call = event.call
    accesses, problem = _claimed(draft, build, call) if isinstance(call, c.Acquire) else ((), "")
    # Whoever is being stopped claims nothing: such a call has no end, and its step ends without it.
    claims = bool(accesses) and not problem and not step.interrupted
    command = ""
    if isinstance(call, c.RunCommand):
        command = f"{draft.state.installation}-{build.buildid}.{step.stepid}.{event.number}"
    if not step.calls and step.hold and draft.state.allocator.board.pools:
        decide_pools.used(draft, build, step.hold)
    draft.emit(
        f.CallStarted(
            buildid=build.buildid,
            step=step.number,
            stepid=step.stepid,
            number=event.number,
            call=call,
            fingerprint=event.fingerprint,
            ticket=draft.state.counters.clock + 1 if claims else 0,
            command=command,
            due=draft.at + max(0.0, call.seconds) if isinstance(call, c.Sleep) else 0.0,
        )
    )
    if isinstance(call, c.RunCommand):
        _start_command(draft, build, step, event.number, command)
    elif isinstance(call, c.Sleep):
        draft.effect(x.ArmTimer(f"sleep:{build.buildid}.{step.number}.{event.number}", max(0.0, call.seconds)))
    elif problem:
        decide_builds.break_build(draft, build, Result.EXCEPTION, problem)
    elif not accesses:
        _end_at_once(draft, build, step, event)


def _claimed(draft: Draft, build: Build, call: c.Acquire) -> tuple[tuple[Access, ...], str]:
    """What a call claims, or why it may not (L4, L12, L25)."""
    try:
        accesses = normalize(call.accesses)
    except AccessError as error:
        return (), str(error)
    impatient = next((access for access in accesses if access.patience is not None), None)
    if impatient is not None:
        how = "waitTimeout= and skipIfBusy= are for what stands in locks="
        told = capital(impatient.lock.told)
        return (), f"{told} is claimed by a running step, which waits as long as it takes: {how}."
    return accesses, decide_builds.waits_for_itself(draft, build, accesses)


def _start_command(draft: Draft, build: Build, step: Step, number: int, command: str) -> None:
    if step.interrupted:
        # Whoever is being stopped gets no new command; the step learns it as an ended call.
        draft.emit(f.CommandOver(command=command))
        decide_builds.end_call(draft, build.buildid, step.number, number, STOPPED)
    elif (worker := draft.state.workers.get(build.worker)) is not None and worker.state == "leaving":
        draft.emit(f.CommandOver(command=command))
        decide_builds.break_build(draft, build, Result.RETRY, f"worker '{build.worker}' is being stopped")
    else:
        draft.effect(x.SendCommand(build.worker, command))


def _end_at_once(draft: Draft, build: Build, step: Step, event: e.CallMade) -> None:
    result: Any = None
    buildid, number = build.buildid, event.number
    match event.call:
        case c.SetProperty(name, value, source):
            former = build.properties.get(name)
            result = list(former) if former is not None else None
            draft.emit(f.PropertySet(buildid=buildid, name=name, value=value, source=source))
        case c.OpenLog(name, type_):
            result = _open_log(draft, build, step, name, type_)
        case c.CloseLog(log):
            if log in step.open_logs:
                draft.emit(f.LogClosed(buildid=buildid, step=step.number, logid=log))
        case c.AddUrl(name, url):
            draft.emit(f.UrlAdded(buildid=buildid, step=step.number, stepid=step.stepid, name=name, url=url))
        case c.AddSteps(plans, where):
            if len(build.steps) + len(plans) > MAX_STEPS_PER_BUILD:
                reason = f"step '{step.name}' adds more than {MAX_STEPS_PER_BUILD} steps to its build"
                decide_builds.break_build(draft, build, Result.EXCEPTION, reason)
                return
            at = step.number + 1 if where == "after-current" else len(build.steps) + 1
            draft.emit(f.StepsAdded(buildid=buildid, at=at, plans=plans))
            result = list(range(at, at + len(plans)))
        case c.StartBuilds():
            if event.call.wait and event.call.submissions and not step.interrupted:
                _start_children(draft, build, step, event.number, event.call)
                return
            parent = (buildid, step.number, number)
            result = [] if step.interrupted else _submit_all(draft, event.call, parent, wait=False)
        case c.Release(_, lock) if lock is not None:
            result = decide_groups.return_lock(draft, build, step, lock)
        case c.Release(acquired_by):
            _release(draft, step, acquired_by)
        case c.Acquire():
            result = {}
        case c.Now():
            result = draft.at
        case c.Keep():
            result = event.call.data
    decide_builds.end_call(draft, buildid, step.number, number, result)


def _open_log(draft: Draft, build: Build, step: Step, name: str, type_: c.LogType) -> int:
    logid = draft.state.counters.logid + 1
    slug = base = re.sub(r"[^a-zA-Z0-9]+", "_", name)[:50].strip("_") or "log"
    taken = set(step.logs.values())
    suffix = 2
    while slug in taken:
        slug = f"{base}_{suffix}"
        suffix += 1
    draft.emit(
        f.LogOpened(
            buildid=build.buildid,
            step=step.number,
            stepid=step.stepid,
            logid=logid,
            name=name,
            slug=slug,
            type=type_,
        )
    )
    return logid


def _submit_all(draft: Draft, call: c.StartBuilds, parent: tuple[int, int, int], *, wait: bool) -> list[c.Triggered]:
    results = []
    for submission in call.submissions:
        error = decide_requests.refusal(draft, submission)
        if error:
            results.append(c.Triggered(buildset=0, requests={}, result=int(Result.EXCEPTION)))
            continue
        bsid, brids = decide_requests.submit(draft, submission, parent, waited_for=wait)
        results.append(c.Triggered(buildset=bsid, requests=brids))
    return results


def _start_children(draft: Draft, build: Build, step: Step, number: int, call: c.StartBuilds) -> None:
    """Submit, and wait for all of them; the call ends with the last (`decide_builds.child_ended`).

    If one cannot be taken, none is.
    """
    where = (build.buildid, step.number, number)
    if any(decide_requests.refusal(draft, submission) for submission in call.submissions):
        refused = c.Triggered(buildset=0, requests={}, result=int(Result.EXCEPTION))
        decide_builds.end_call(draft, *where, [refused] * len(call.submissions))
        return
    _submit_all(draft, call, where, wait=True)
    decide_builds.child_ended(draft, where)


def _release(draft: Draft, step: Step, acquired_by: int) -> None:
    record = step.calls.get(acquired_by)
    if record is not None and record.hold in draft.state.allocator.holds:
        draft.emit(f.HoldEnded(hold=record.hold, ticket=record.ticket))


def interrupt_asked(draft: Draft, event: e.CommandInterruptAsked) -> None:
    """A step ends one of its own commands; the command's end follows as always."""
    for name in sorted(draft.state.commands_of.get(event.buildid, ())):
        command = draft.state.commands[name]
        if command.step == event.step and command.call == event.call:
            if not command.interrupted:
                draft.emit(f.CommandInterrupted(command=name, reason=event.reason))
            draft.effect(x.InterruptCommand(command.worker, name, event.reason))


def command_ended(draft: Draft, event: e.CommandEnded) -> None:
    """A worker says how a command ended. Heard twice, it changes nothing (L32)."""
    state = draft.state
    command = state.commands.get(event.command)
    if command is None:
        return
    build = state.builds[command.buildid]
    draft.emit(f.CommandOver(command=event.command))
    if decide_builds.end_if_broken(draft, build):
        return
    if event.result.lost and build.stop_result is None:
        # Nobody can say how it ended: its build is tried again, unless somebody is stopping it anyway.
        decide_builds.break_build(draft, build, Result.RETRY, event.result.failure or "a command was lost")
    elif not build.broken:
        decide_builds.end_call(draft, command.buildid, command.step, command.call, event.result)
