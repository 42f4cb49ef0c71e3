"""Decisions about the calls of steps: what each starts, and how it ends (HOUSE.md section 2).

See `decide.py`.
"""

import re
from typing import Any

from lockstep.core import calls as c
from lockstep.core import decide_builds, decide_requests
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.draft import Draft
from lockstep.core.nouns import Result
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
    if known is not None:
        if known.state == "ended":
            draft.effect(x.CallDone(build.buildid, step.number, known.number, known.result))
        return
    _start(draft, build, step, event)


def _start(draft: Draft, build: Build, step: Step, event: e.CallMade) -> None:
    call = event.call
    claims = isinstance(call, c.Acquire)
    command = ""
    if isinstance(call, c.RunCommand):
        command = f"{draft.state.installation}-{build.buildid}.{step.stepid}.{event.number}"
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
    elif not claims:
        _end_at_once(draft, build, step, event)


def _start_command(draft: Draft, build: Build, step: Step, number: int, command: str) -> None:
    if step.interrupted:
        # Whoever is being stopped gets no new command; the step learns it as an ended call.
        draft.emit(f.CommandOver(command=command))
        decide_builds.end_call(draft, build.buildid, step.number, number, STOPPED)
    else:
        draft.effect(x.SendCommand(build.worker, command))


def _end_at_once(draft: Draft, build: Build, step: Step, event: e.CallMade) -> None:
    result: Any = None
    buildid, number = build.buildid, event.number
    match event.call:
        case c.SetProperty(name, value, source):
            draft.emit(f.PropertySet(buildid=buildid, name=name, value=value, source=source))
        case c.OpenLog(name, type_):
            result = _open_log(draft, build, step, name, type_)
        case c.CloseLog(log):
            if log in step.open_logs:
                draft.emit(f.LogClosed(buildid=buildid, step=step.number, logid=log))
        case c.AddUrl(name, url):
            draft.emit(f.UrlAdded(buildid=buildid, step=step.number, stepid=step.stepid, name=name, url=url))
        case c.AddSteps(plans, where):
            at = step.number + 1 if where == "after-current" else len(build.steps) + 1
            draft.emit(f.StepsAdded(buildid=buildid, at=at, plans=plans))
            result = list(range(at, at + len(plans)))
        case c.StartBuilds():
            if event.call.wait and event.call.submissions:
                _start_children(draft, build, step, event.number, event.call)
                return
            result = _submit_all(draft, event.call, None)
        case c.Release(acquired_by):
            _release(draft, step, acquired_by)
        case c.Now():
            result = draft.at
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


def _submit_all(draft: Draft, call: c.StartBuilds, parent: tuple[int, int, int] | None) -> list[c.Triggered]:
    results = []
    for submission in call.submissions:
        error = decide_requests.refusal(draft, submission)
        if error:
            results.append(c.Triggered(buildset=0, requests={}, result=int(Result.EXCEPTION)))
            continue
        bsid, brids = decide_requests.submit(draft, submission, parent, waited_for=parent is not None)
        results.append(c.Triggered(buildset=bsid, requests=brids))
    return results


def _start_children(draft: Draft, build: Build, step: Step, number: int, call: c.StartBuilds) -> None:
    """Submit, and wait for all of them; the call ends with the last (`decide_builds.child_ended`)."""
    where = (build.buildid, step.number, number)
    results = _submit_all(draft, call, where)
    if any(not triggered.buildset for triggered in results):
        decide_builds.end_call(draft, *where, results)
    else:
        decide_builds.child_ended(draft, where)


def _release(draft: Draft, step: Step, acquired_by: int) -> None:
    record = step.calls.get(acquired_by)
    if record is not None and record.hold:
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
    if event.result.lost:
        lost_command(draft, build, event.result)
        return
    if not decide_builds.end_if_broken(draft, build):
        decide_builds.end_call(draft, command.buildid, command.step, command.call, event.result)


def lost_command(draft: Draft, build: Build, result: c.CommandResult) -> None:
    """Nobody can say how a command ended: its build is tried again, unless it is being stopped anyway."""
    if build.stop_result is None:
        decide_builds.break_build(draft, build, Result.RETRY, result.failure or "a command was lost")
    elif not decide_builds.end_if_broken(draft, build) and not draft.state.commands_of.get(build.buildid):
        decide_builds.end_build(draft, build)
