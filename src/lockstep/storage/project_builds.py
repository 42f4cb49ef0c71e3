"""Which rows follow from the facts about builds, steps, calls, logs and commands. See `project.py`."""

from typing import Any

from lockstep.core import facts as f
from lockstep.core.nouns import FENCED
from lockstep.storage import project_locks as locks
from lockstep.storage.codec import clean, pack, to_json
from lockstep.storage.limits import CHUNK_SMALL, CHUNKS_WORTH_MERGING
from lockstep.storage.projection import CallKey, LiveBuild, LiveLog, Projection, step_wait

Envelope = f.Numbered


def build_started(p: Projection, fact: f.BuildStarted, n: Envelope, _body: bytes) -> None:
    held = p.holds.get(fact.hold)
    p.builds[fact.buildid] = LiveBuild(fact.worker)
    p.changes.insert(
        "builds",
        fact.buildid,
        {
            "buildid": fact.buildid,
            "number": fact.number,
            "builderid": p.builder_ids[fact.builder],
            "brid": fact.brid,
            "workerid": p.worker_ids[fact.worker],
            "ticket": fact.ticket,
            "hold": fact.hold,
            "fences": pack(fact.fences),
            "started_at": n.at,
            "state_string": "starting",
        },
    )
    row = {"state": "building", "buildid": fact.buildid, "claimed": True, "claimed_at": n.at}
    p.changes.update("requests", fact.brid, row)
    if held is not None:
        locks.build_started(p, fact, held)


def build_plan_kept(p: Projection, fact: f.BuildPlanKept, _n: Envelope, _body: bytes) -> None:
    build = p.builds[fact.buildid]
    build.properties = dict(fact.properties)
    build.plans = list(fact.plans)
    row = {"properties": to_json(build.properties), "plans": pack(build.plans), "state_string": "building"}
    p.changes.update("builds", fact.buildid, row)


def steps_added(p: Projection, fact: f.StepsAdded, _n: Envelope, _body: bytes) -> None:
    build = p.builds[fact.buildid]
    build.plans[fact.at - 1 : fact.at - 1] = fact.plans
    p.changes.update("builds", fact.buildid, {"plans": pack(build.plans)})


def build_stopping(p: Projection, fact: f.BuildStopping, _n: Envelope, _body: bytes) -> None:
    row: dict[str, Any] = {"stop_results": int(fact.result), "stop_reason": clean(fact.reason)}
    row["state_string"] = "stopping"
    if fact.broken:
        row["broken"] = True
    p.changes.update("builds", fact.buildid, row)
    if fact.step:
        p.changes.update("steps", (fact.buildid, fact.step), {"interrupted": True})


def build_ended(p: Projection, fact: f.BuildEnded, n: Envelope, _body: bytes) -> None:
    row = {
        "complete": True,
        "complete_at": n.at,
        "ended_fact": n.number,
        "results": int(fact.result),
        "state_string": clean(fact.summary),
        "locks_duration": fact.locks_duration,
    }
    p.changes.update("builds", fact.buildid, row)
    build = p.builds.pop(fact.buildid)
    for rows in (p.changes.new.get("calls"), p.changes.changed.get("calls")):
        if rows:
            for key in build.calls:
                rows.pop(key, None)
    p.changes.delete("journal", fact.buildid)


# --- steps


def step_started(p: Projection, fact: f.StepStarted, n: Envelope, body: bytes) -> None:
    key = (fact.buildid, fact.number)
    row = {
        "buildid": fact.buildid,
        "number": fact.number,
        "stepid": fact.stepid,
        "name": clean(fact.name),
        "started_at": n.at,
        "ticket": fact.ticket,
        "state": "waiting" if fact.ticket else "running",
        "locks_acquired_at": None if fact.ticket else n.at,
        "state_string": "waiting for locks" if fact.ticket else "running",
    }
    p.changes.insert("steps", key, row)
    journal = {"buildid": fact.buildid, "step": fact.number, "number": 0, "started": body, "state": "started"}
    p.changes.insert("calls", (*key, 0), journal)
    p.builds[fact.buildid].calls.append((*key, 0))
    if fact.ticket:
        p.counters.clock = max(p.counters.clock, fact.ticket)
        p.waits[fact.ticket] = step_wait(fact.ticket, n.at, (*key, 0), fact.accesses)


def step_put_back(p: Projection, fact: f.StepPutBack, n: Envelope, _body: bytes) -> None:
    row = {
        "state": "waiting",
        "locks_acquired_at": None,
        "hold": 0,
        "fences": None,
        "state_string": "waiting for locks",
    }
    p.changes.update("steps", (fact.buildid, fact.number), row)
    p.waits[fact.ticket] = step_wait(fact.ticket, n.at, (fact.buildid, fact.number, 0), fact.accesses)


def claim_of_step_granted(p: Projection, fact: f.ClaimGranted, n: Envelope, key: CallKey) -> None:
    """A waiting step, or a call of a step, has its locks."""
    buildid, step, call = key
    if call:
        p.changes.update("calls", key, {"hold": fact.hold, "acquired_at": n.at})
        return
    row = {"state": "running", "locks_acquired_at": n.at, "hold": fact.hold, "fences": pack(_fences(fact))}
    p.changes.update("steps", (buildid, step), row | {"state_string": "running"})


def locks_returned(p: Projection, fact: f.LocksReturned) -> None:
    """A step has fewer locks than before."""
    p.changes.update("steps", (fact.buildid, fact.step), {"fences": pack(_fences(fact))})


def _fences(fact: f.ClaimGranted | f.LocksReturned) -> dict[str, int]:
    """What a step has, or keeps, as it is told to it (L62)."""
    pairs = zip(fact.alternative.accesses, fact.fences, strict=True)
    return {str(access.lock.whole): fence for access, fence in pairs if access.lock.kind in FENCED}


def step_ended(p: Projection, fact: f.StepEnded, n: Envelope, _body: bytes) -> None:
    row = {
        "state": "ended",
        "complete": True,
        "complete_at": n.at,
        "results": int(fact.result),
        "state_string": clean(fact.summary),
        "hidden": fact.hidden,
    }
    p.changes.update("steps", (fact.buildid, fact.number), row)
    build: dict[str, Any] = {"running_results": int(fact.build_result)}
    if fact.halted:
        build["halted"] = True
    p.changes.update("builds", fact.buildid, build)
    for logid in p.builds[fact.buildid].open_logs.pop(fact.number, ()):
        _close_log(p, logid, fact.lines.get(logid))


def url_added(p: Projection, fact: f.UrlAdded, n: Envelope, _body: bytes) -> None:
    row = {"stepid": fact.stepid, "position": n.number, "name": clean(fact.name), "url": clean(fact.url)}
    p.changes.insert("urls", (fact.stepid, n.number), row)


# --- calls, properties, logs


def call_started(p: Projection, fact: f.CallStarted, n: Envelope, body: bytes) -> None:
    key = (fact.buildid, fact.step, fact.number)
    row = {
        "buildid": fact.buildid,
        "step": fact.step,
        "number": fact.number,
        "started": body,
        "state": "started",
        "command": fact.command,
        "command_state": "asked" if fact.command else "",
        "started_at": n.at,
    }
    p.changes.insert("calls", key, row)
    p.builds[fact.buildid].calls.append(key)
    if fact.command:
        p.commands[fact.command] = key
    if fact.ticket:
        p.counters.clock = max(p.counters.clock, fact.ticket)
        p.waits[fact.ticket] = step_wait(fact.ticket, n.at, key, getattr(fact.call, "accesses", ()))


def call_ended(p: Projection, fact: f.CallEnded, _n: Envelope, body: bytes) -> None:
    p.changes.update("calls", (fact.buildid, fact.step, fact.number), {"ended": body, "state": "ended"})


def property_set(p: Projection, fact: f.PropertySet, _n: Envelope, _body: bytes) -> None:
    properties = p.builds[fact.buildid].properties
    properties[fact.name] = (fact.value, fact.source)
    p.changes.update("builds", fact.buildid, {"properties": to_json(properties)})


def log_opened(p: Projection, fact: f.LogOpened, _n: Envelope, _body: bytes) -> None:
    p.logs[fact.logid] = LiveLog()
    p.builds[fact.buildid].open_logs.setdefault(fact.step, []).append(fact.logid)
    row = {
        "logid": fact.logid,
        "stepid": fact.stepid,
        "name": clean(fact.name),
        "slug": clean(fact.slug),
        "type": fact.type,
    }
    p.changes.insert("logs", fact.logid, row)


def log_closed(p: Projection, fact: f.LogClosed, _n: Envelope, _body: bytes) -> None:
    opened = p.builds[fact.buildid].open_logs.get(fact.step, [])
    if fact.logid in opened:
        opened.remove(fact.logid)
        _close_log(p, fact.logid, fact.lines)


def _close_log(p: Projection, logid: int, lines: int | None) -> None:
    """A log is complete. `lines` None: as many as are stored."""
    log = p.logs.pop(logid)
    p.changes.update("logs", logid, {"complete": True, "num_lines": log.lines if lines is None else lines})
    if log.chunks >= CHUNKS_WORTH_MERGING and log.bytes <= log.chunks * CHUNK_SMALL:
        p.closed[logid] = 0


# --- commands


def command_known(p: Projection, fact: f.CommandKnown, _n: Envelope, _body: bytes) -> None:
    _command(p, p.commands.get(fact.command), {"command_state": "known"})


def command_interrupted(p: Projection, fact: f.CommandInterrupted, _n: Envelope, _body: bytes) -> None:
    _command(p, p.commands.get(fact.command), {"interrupted": True})


def command_over(p: Projection, fact: f.CommandOver, _n: Envelope, _body: bytes) -> None:
    _command(p, p.commands.pop(fact.command, None), {"command_state": "ended", "tails": None})


def _command(p: Projection, key: CallKey | None, row: dict[str, Any]) -> None:
    """New values for the row of a command's call; the rows of a build that has ended are gone."""
    if key is not None and key[0] in p.builds:
        p.changes.update("calls", key, row)
