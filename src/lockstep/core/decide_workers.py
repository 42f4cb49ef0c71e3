"""Decisions about workers: coming, going, pausing, and what becomes of their builds (L60, L61).

See `decide.py`. Timers of sleeping steps end here too, since all timers come in as one event.
"""

from lockstep.core import decide_bookings, decide_builds, decide_calls, decide_health, decide_rates, decide_waits
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.answers import exactly
from lockstep.core.calls import CommandResult, Sleep
from lockstep.core.draft import Draft
from lockstep.core.limits import LEASE_MARGIN
from lockstep.core.nouns import Result
from lockstep.core.records import Worker
from lockstep.core.state import State
from lockstep.core.values import FOR_EVER


def connected(draft: Draft, event: e.WorkerConnected) -> None:
    """A worker is here and has said what it runs. Replies the session number."""
    state = draft.state
    worker = state.workers.get(event.worker)
    if worker is None:
        draft.reply(event.token, error=f"There is no worker '{event.worker}' in the configuration.")
        return
    decide_builds.stop_waiting(draft, worker)
    session = state.counters.session + 1
    draft.emit(
        f.WorkerUp(worker=event.worker, session=session, resumes=event.resumes, lease=event.lease, info=event.info)
    )
    draft.effect(x.Welcome(event.worker, session))
    draft.reply(event.token, session)
    known, gone = set(event.known), set(event.gone)
    mine = [command for command in state.commands.values() if command.worker == event.worker]
    for command in mine:
        if command.id not in state.commands:
            continue
        if command.id in known:
            draft.emit(f.CommandKnown(command=command.id))
            if command.interrupted:
                draft.effect(x.InterruptCommand(event.worker, command.id, "its build is being stopped"))
        elif command.id in gone or not event.resumes or command.state == "known" or command.interrupted:
            why = f"worker '{event.worker}' came back without it"
            lost = CommandResult(rc=-1, failure=why, lost=True)
            decide_calls.command_ended(draft, e.CommandEnded(command=command.id, result=lost))
        else:
            draft.effect(x.SendCommand(event.worker, command.id))
    for name in sorted(known - {command.id for command in mine}):
        draft.effect(x.InterruptCommand(event.worker, name, "nobody waits for it", forget=True))


def disconnected(draft: Draft, event: e.WorkerDisconnected) -> None:
    """A connection ended. What ran there is kept until the worker is back or its lease is over (L61)."""
    state = draft.state
    worker = state.workers.get(event.worker)
    if worker is None or worker.session != event.session or worker.state not in ("connected", "leaving"):
        return
    busy = bool(state.builds_on.get(event.worker))
    # Who was being stopped and has told the ends of all that it ran has nothing left that could run.
    stopped = worker.state == "leaving" and all(each.worker != event.worker for each in state.commands.values())
    draft.emit(f.WorkerDown(worker=event.worker, busy=busy))
    if busy and stopped:
        _give_up(draft, worker, "it was stopped")
    elif busy:
        watch_lease(draft, worker, event.silent)


def leaving(draft: Draft, event: e.WorkerLeaving) -> None:
    """A worker is being stopped: it gets nothing new. The ends of what it runs come as those of any command."""
    worker = draft.state.workers.get(event.worker)
    if worker is not None and worker.session == event.session and worker.state == "connected":
        draft.emit(f.WorkerLeaving(worker=event.worker))


def watch_lease(draft: Draft, worker: Worker, silent: float = 0.0) -> None:
    """Give an unreachable worker up when it has certainly stopped its commands, and is not waited for (L61).

    It has been `silent` for so many seconds already.
    """
    seconds = patience(draft.state, worker)
    draft.state.awaited.pop(worker.name, None)
    if worker.lease > 0 and seconds != FOR_EVER:
        left = max(0.0, seconds + LEASE_MARGIN - max(0.0, silent))
        _await(draft, worker, decide_builds.lease_timer(worker), seconds, left)


def _await(draft: Draft, worker: Worker, timer: str, until: float, seconds: float) -> None:
    draft.state.awaited.setdefault(worker.name, {})[timer] = until
    draft.effect(x.ArmTimer(timer, seconds))


def _other_timer(worker: Worker, seconds: float) -> str:
    """The name of a timer that a reload made necessary."""
    return f"{decide_builds.lease_timer(worker)}:{seconds:g}"


def configured(draft: Draft) -> None:
    """A configuration is in force: who was waited for without an end, or longer, may be waited for with an end now.

    A shorter time counts from here: nobody knows here how much of the longer one is over.
    """
    for worker in draft.state.workers.values():
        timers = draft.state.awaited.get(worker.name)
        if worker.state == "unreachable" and not timers:
            watch_lease(draft, worker)
        elif worker.state == "unreachable" and timers:
            seconds = patience(draft.state, worker)
            if seconds != FOR_EVER and seconds < min(timers.values()):
                _await(draft, worker, _other_timer(worker, seconds), seconds, seconds + LEASE_MARGIN)


def _lease_is_over(draft: Draft, worker: Worker, timer: str) -> None:
    """A worker has been out of reach for as long as was known when that began; it may be waited for longer by now."""
    timers, seconds = draft.state.awaited[worker.name], patience(draft.state, worker)
    if seconds != FOR_EVER and seconds <= timers[timer]:
        _give_up(draft, worker, f"out of touch for longer than {exactly(seconds)}")
        return
    before = timers.pop(timer)
    if seconds != FOR_EVER and seconds > max(timers.values(), default=0.0):
        _await(draft, worker, _other_timer(worker, seconds), seconds, seconds - before)


def patience(state: State, worker: Worker) -> float:
    """How long an unreachable worker is waited for, or FOR_EVER: the longest of what it announced, what it was given,
    and what the locks were given that its builds hold or need (L61).
    """
    owners = {state.builds[buildid].ticket for buildid in state.builds_on.get(worker.name, ())}
    held = {a.lock for h in state.allocator.holds.values() if h.owner in owners for a in h.alternative.accesses}
    found = [worker.lease]
    found += [each.patience for each in state.setup.workers if each.name == worker.name]
    found += [each.seconds for each in state.setup.leases if each.key in held]
    return FOR_EVER if FOR_EVER in found else max(found)


def pause_asked(draft: Draft, event: e.WorkerPauseAsked) -> None:
    """A paused worker finishes what it runs and gets nothing new."""
    worker = draft.state.workers.get(event.worker)
    if worker is None:
        draft.reply(event.token, error=f"There is no worker '{event.worker}'.")
        return
    if worker.paused != event.paused or worker.pause_reason != event.reason:
        draft.emit(f.WorkerPaused(worker=event.worker, paused=event.paused, reason=event.reason))
    draft.reply(event.token)


def declared_dead(draft: Draft, event: e.WorkerDeclaredDead) -> None:
    """A person takes the responsibility that nothing runs on an unreachable worker any more (L61)."""
    worker = draft.state.workers.get(event.worker)
    if worker is None or worker.state != "unreachable":
        draft.reply(event.token, error=f"Worker '{event.worker}' is not out of reach.")
        return
    _give_up(draft, worker, f"declared dead by {event.who or 'somebody'}")
    draft.reply(event.token)


def timer_fired(draft: Draft, event: e.TimerFired) -> None:
    """A lease is over, a sleep, a booking's time, a claim's patience, the time for which a lock's grant counts, or the
    time after which a unit is looked at again."""
    kind, _, rest = event.timer.partition(":")
    if kind == "lease":
        for name, timers in list(draft.state.awaited.items()):
            if event.timer in timers and draft.state.workers[name].state == "unreachable":
                _lease_is_over(draft, draft.state.workers[name], event.timer)
    elif kind == "sleep":
        buildid, number, call = (int(part) for part in rest.split("."))
        step = draft.state.step(buildid, number)
        record = step.calls.get(call) if step is not None else None
        if record is not None and isinstance(record.call, Sleep):
            decide_builds.end_call(draft, buildid, number, call, None)
    elif kind == "booking":
        decide_bookings.time_is_up(draft, rest)
    elif kind == "wait":
        decide_waits.time_is_up(draft, int(rest))
    elif kind == "rate":
        decide_rates.time_is_up(draft, event.timer)
    elif kind == "look":
        decide_health.time_is_up(draft, rest)


def _give_up(draft: Draft, worker: Worker, reason: str) -> None:
    """End the builds of a worker whose commands have certainly stopped; the last of them ends its being in use."""
    state = draft.state
    for buildid in sorted(state.builds_on.get(worker.name, ())):
        for name in sorted(state.commands_of.get(buildid, ())):
            draft.emit(f.CommandOver(command=name))
        build = state.builds.get(buildid)
        if build is not None:
            decide_builds.break_build(draft, build, Result.RETRY, f"worker '{worker.name}' is lost: {reason}", reason)
            decide_builds.end_if_broken(draft, build, reason)
