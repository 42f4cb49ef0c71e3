"""Everything that has not ended, from its rows (L60). History is not read: each query runs over an index of live rows.

What a row means for the core is decided in `core/recovery.py`.
"""

from collections import defaultdict
from typing import Any

from lockstep.core import facts as f
from lockstep.core.nouns import LockKey, Result, worse
from lockstep.core.records import (
    Booking,
    Build,
    Buildset,
    CallRecord,
    Command,
    Counters,
    Quarantine,
    Request,
    Stamp,
    Step,
    Worker,
)
from lockstep.core.saved import Saved, SavedClaim, SavedLock, SavedPool, SavedUnit
from lockstep.core.values import SourceStamp
from lockstep.storage import codec
from lockstep.storage.deleted import past
from lockstep.storage.reading import Reader

_LAST = "SELECT number, counters FROM facts WHERE number = (SELECT max(number) FROM facts)"


def load(reader: Reader, installation: str) -> Saved:
    """The whole of it."""
    saved = Saved(installation=installation)
    _meta(reader, saved)
    _names(reader, saved)
    _counters(reader, saved)
    _locks(reader, saved)
    _pools(reader, saved)
    saved.turns = [
        codec.share_memory_of(memory) for (memory,) in reader.rows("SELECT memory FROM shares ORDER BY name")
    ]
    _buildsets(reader, saved)
    _stamps(reader, saved)
    _requests(reader, saved)
    _builds(reader, saved)
    _bookings(reader, saved)
    return saved


def _meta(reader: Reader, saved: Saved) -> None:
    for (value,) in reader.rows("SELECT value FROM meta WHERE key = 'setup'"):
        saved.setup = codec.fact_of(value).setup
    for owner, memory, cursor in reader.rows("SELECT owner, memory, cursor FROM cursors"):
        saved.memories[owner] = (None if memory is None else codec.plain_of(memory), cursor)


def _names(reader: Reader, saved: Saved) -> None:
    saved.builder_ids = {name: id_ for id_, name in reader.rows("SELECT builderid, name FROM builders")}
    ranked = "SELECT name, rank FROM builders WHERE rank IS NOT NULL"
    saved.ranks = {name: codec.rank_of(rank) for name, rank in reader.rows(ranked)}
    last = "SELECT name, (SELECT max(number) FROM builds WHERE builds.builderid = builders.builderid) FROM builders"
    saved.build_numbers = {name: number for name, number in reader.rows(last) if number}
    columns = (
        "workerid, name, configured, max_builds, state, session, resumes, lease, paused, pause_reason, graceful, info"
    )
    for row in reader.rows(f"SELECT known, {columns} FROM workers ORDER BY workerid"):
        (
            known,
            workerid,
            name,
            configured,
            max_builds,
            state,
            session,
            resumes,
            lease,
            paused,
            reason,
            graceful,
            info,
        ) = row
        saved.worker_ids[name] = workerid
        if known:
            worker = Worker(
                name=name,
                workerid=workerid,
                configured=bool(configured),
                max_builds=max_builds,
                state=state,
                session=session,
                resumes=bool(resumes),
                lease=lease,
                paused=bool(paused),
                pause_reason=reason,
                graceful=bool(graceful),
                info=codec.from_json(info),
            )
            saved.workers.append(worker)


def _counters(reader: Reader, saved: Saved) -> None:
    known = past(reader)
    known.raised(reader)
    saved.counters = Counters(
        **known.highest,
        builderid=max(saved.builder_ids.values(), default=0),
        workerid=max(saved.worker_ids.values(), default=0),
    )
    for number, told in reader.rows(_LAST):
        told_of = codec.plain_of(told)
        saved.last_fact = number
        saved.last_hold = told_of["hold"]
        saved.counters.clock = told_of["clock"]
        saved.counters.session = told_of["session"]


def _locks(reader: Reader, saved: Saved) -> None:
    sql = (
        "SELECT kind, name, worker, units, max_overtakes, removed, fence, memory, starts "
        "FROM locks ORDER BY kind, name, worker"
    )
    for kind, name, worker, units, overtakes, removed, fence, memory, starts in reader.rows(sql):
        lock = SavedLock(
            key=LockKey(kind, name, worker),
            limit=units,
            max_overtakes=overtakes,
            removed=bool(removed),
            fence=fence,
            memory=None if memory is None else codec.tuples(codec.plain_of(memory)),
            starts=() if starts is None else codec.tuples(codec.plain_of(starts)),
        )
        saved.locks.append(lock)
    sql = (
        "SELECT ticket, owner, hold, alternative, fences, units, pin FROM claims "
        "WHERE hold <> 0 OR pin >= 0 ORDER BY ticket"
    )
    for ticket, owner, hold, alternative, fences, units, pin in reader.rows(sql):
        claim = SavedClaim(ticket=ticket, owner=owner, hold=hold, pin=pin)
        if alternative is not None:
            claim.alternative = codec.alternative_of(alternative)
            claim.fences = codec.numbers_of(fences)
            claim.units = codec.units_of(units) if units is not None else ()
        saved.claims.append(claim)


def _pools(reader: Reader, saved: Saved) -> None:
    for setup, removed, fence, memory in reader.rows("SELECT setup, removed, fence, memory FROM pools ORDER BY name"):
        known = codec.pool_memory_of(memory) if memory is not None else None
        if setup is not None:
            saved.pools.append(SavedPool(setup=codec.pool_of(setup), removed=bool(removed), fence=fence, memory=known))
    sql = "SELECT pool, name, quarantined, who, reason, since, unfit, failed FROM units ORDER BY pool, name"
    for pool, name, quarantined, who, reason, since, unfit, failed in reader.rows(sql):
        unit = SavedUnit(pool=pool, unit=name)
        if quarantined:
            unit.quarantine = Quarantine(who=who, reason=reason, since=since, unfit=bool(unfit))
        if failed is not None:
            unit.failed = codec.names_of(failed)
        saved.units.append(unit)


# --- build sets, source stamps, requests

_BUILDSET = (
    "bsid, reason, scheduler, ssids, properties, submitted_at, external_idstring, rebuilt_buildid, parent_buildid, "
    "parent_step, parent_call, waited_for, complete"
)


def _buildsets(reader: Reader, saved: Saved) -> None:
    """Those that are pending, and those that are complete and that a call of a running step waits for."""
    columns = ", ".join(f"b.{column}" for column in _BUILDSET.split(", "))
    awaited = (
        f"SELECT {columns} FROM calls c JOIN buildsets b ON b.parent_buildid = c.buildid AND b.parent_step = c.step "
        "AND b.parent_call = c.number JOIN steps s ON s.buildid = c.buildid AND s.number = c.step "
        "WHERE c.state = 'started' AND c.number > 0 AND s.state <> 'ended' AND b.parent_buildid IS NOT NULL"
    )
    rows = reader.rows(f"SELECT {_BUILDSET} FROM buildsets WHERE complete_at IS NULL")
    rows += [row for row in reader.rows(awaited) if row[-1] and row[-2]]
    for row in sorted(rows):
        bsid, reason, scheduler, ssids, properties, at, external, rebuilt, *parent, waited_for, complete = row
        buildset = Buildset(
            bsid=bsid,
            reason=reason,
            scheduler=scheduler,
            ssids=tuple(codec.from_json(ssids)),
            properties=codec.properties_of(properties),
            submitted_at=at,
            external_id=external,
            rebuilt_buildid=rebuilt,
            parent_call=None if parent[0] is None else (parent[0], parent[1], parent[2]),
            waited_for=bool(waited_for),
            state="complete" if complete else "pending",
        )
        saved.buildsets.append(buildset)
    _results_of_buildsets(reader, {buildset.bsid: buildset for buildset in saved.buildsets})


def _results_of_buildsets(reader: Reader, buildsets: dict[int, Buildset]) -> None:
    ids = sorted(buildsets)
    requests = "SELECT bsid, brid, results, merged_into, complete FROM requests WHERE bsid IN"
    for bsid, brid, results, into, complete in reader.rows_in(requests, ids):
        buildset = buildsets[bsid]
        if not complete:
            buildset.open_requests.add(brid)
        elif not into:
            buildset.result = worse(buildset.result, Result(results))
    builds = (
        "SELECT b.ended_fact, r.bsid, n.name, b.number, b.buildid, b.results "
        "FROM requests r JOIN builds b ON b.brid = r.brid "
        "JOIN builders n ON n.builderid = b.builderid WHERE b.complete_at IS NOT NULL AND r.bsid IN"
    )
    for _, bsid, builder, number, buildid, results in sorted(reader.rows_in(builds, ids)):
        buildsets[bsid].builds.append((builder, number, buildid, results))


def _stamps(reader: Reader, saved: Saved) -> None:
    """The source stamps of pending build sets."""
    users: dict[int, set[int]] = defaultdict(set)
    for buildset in saved.buildsets:
        if buildset.state == "pending":
            for ssid in buildset.ssids:
                users[ssid].add(buildset.bsid)
    sql = (
        "SELECT ssid, codebase, repository, project, branch, revision, patch, changes FROM source_stamps WHERE ssid IN"
    )
    for ssid, codebase, repository, project, branch, revision, patch, changes in reader.rows_in(sql, sorted(users)):
        stamp = SourceStamp(
            codebase=codebase,
            repository=repository,
            project=project,
            branch=branch,
            revision=revision,
            patch=None if patch is None else codec.patch_of(patch),
            changes=tuple(codec.from_json(changes)),
        )
        saved.stamps.append(Stamp(ssid=ssid, stamp=stamp, users=users[ssid]))


def _requests(reader: Reader, saved: Saved) -> None:
    builders = {id_: name for name, id_ in saved.builder_ids.items()}
    sql = (
        "SELECT brid, bsid, builderid, priority, ticket, since, submitted_at, properties, need, collapse_key, parent, "
        "put_back, buildid, state, waiting_since FROM requests WHERE complete_at IS NULL ORDER BY brid"
    )
    for row in reader.rows(sql):
        brid, bsid, builderid, priority, ticket, since, at, properties, need, key, parent, *rest = row
        put_back, buildid, state, waiting_since = rest
        request = Request(
            brid=brid,
            bsid=bsid,
            builder=builders[builderid],
            priority=priority,
            ticket=ticket,
            since=since,
            submitted_at=at,
            waiting_since=waiting_since,
            properties=codec.properties_of(properties),
            need=None if need is None else codec.need_of(need),
            collapse_key=None if key is None else codec.tuples(codec.plain_of(key)),
            parent=parent,
            put_back=bool(put_back),
            buildid=buildid,
            state=state,
        )
        saved.requests.append(request)


def _bookings(reader: Reader, saved: Saved) -> None:
    sql = (
        "SELECT ticket, wish, since, asked_at, hold, granted_at, ends_at, renewals, state, ending, ended_by, ended_why "
        "FROM bookings "
        "WHERE complete_at IS NULL ORDER BY ticket"
    )
    for ticket, wish, since, asked_at, hold, granted_at, ends_at, renewals, state, ending, by, why in reader.rows(sql):
        booking = Booking(
            ticket=ticket,
            wish=codec.wish_of(wish),
            since=since,
            asked_at=asked_at,
            hold=hold,
            granted_at=granted_at or 0.0,
            ends_at=ends_at or 0.0,
            renewals=renewals,
            state=state,
            ending=ending or None,
            ended_by=by,
            ended_why=why,
        )
        saved.bookings.append(booking)


# --- builds


def _builds(reader: Reader, saved: Saved) -> None:
    builders = {id_: name for name, id_ in saved.builder_ids.items()}
    workers = {id_: name for name, id_ in saved.worker_ids.items()}
    sql = (
        "SELECT buildid, number, builderid, brid, workerid, ticket, hold, fences, started_at, properties, plans, "
        "running_results, halted, broken, stop_results, stop_reason, units "
        "FROM builds WHERE complete_at IS NULL ORDER BY buildid"
    )
    for row in reader.rows(sql):
        buildid, number, builderid, brid, workerid, ticket, hold, fences, at, properties, plans, *rest = row
        result, halted, broken, stop_result, stop_reason, units = rest
        build = Build(
            buildid=buildid,
            number=number,
            builder=builders[builderid],
            brid=brid,
            worker=workers[workerid],
            ticket=ticket,
            hold=hold,
            fences=codec.fences_of(fences),
            started_at=at,
            properties=codec.properties_of(properties),
            result=Result(result),
            halted=bool(halted),
            broken=bool(broken),
            stop_result=None if stop_result is None else Result(stop_result),
            stop_reason=stop_reason,
            state="starting" if plans is None else "running",
            units=codec.units_of(units) if units is not None else (),
        )
        if stop_result is not None:
            build.state = "stopping"
        if plans is not None:
            build.steps = [Step(number=i, plan=p, name=p.name) for i, p in enumerate(codec.plans_of(plans), 1)]
        saved.builds.append(build)
    live = {build.buildid: build for build in saved.builds}
    _steps(reader, live)
    _calls(reader, live, saved)


def _steps(reader: Reader, builds: dict[int, Build]) -> None:
    sql = (
        "SELECT buildid, number, stepid, name, state, started_at, locks_acquired_at, complete_at, results, "
        "interrupted, ticket, hold, fences, state_string FROM steps WHERE buildid IN"
    )
    by_id: dict[int, Step] = {}
    for row in sorted(reader.rows_in(sql, sorted(builds)), key=lambda row: row[:2]):
        buildid, number, stepid, name, state, started, acquired, ended, result, interrupted, ticket, hold, *rest = row
        fences, summary = rest
        build = builds[buildid]
        step = by_id[stepid] = build.steps[number - 1]
        build.current = number
        step.stepid = stepid
        step.name = name
        step.state = state
        step.started_at = started
        step.locks_acquired_at = acquired or 0.0
        step.interrupted = bool(interrupted)
        step.ticket = ticket
        step.hold = hold
        step.fences = {} if fences is None else codec.fences_of(fences)
        if state == "ended":
            step.result = Result(result)
            step.summary = summary
            build.locks_duration += max(0.0, (ended if acquired is None else acquired) - started)
    sql = "SELECT stepid, logid, slug, complete FROM logs WHERE stepid IN"
    for stepid, logid, slug, complete in sorted(reader.rows_in(sql, sorted(by_id))):
        by_id[stepid].logs[logid] = slug
        if not complete:
            by_id[stepid].open_logs.add(logid)


def _calls(reader: Reader, builds: dict[int, Build], saved: Saved) -> None:
    sql = (
        "SELECT buildid, step, number, started, ended, hold, command, command_state, interrupted, started_at, "
        "acquired_at FROM calls "
        "ORDER BY buildid, step, number"
    )
    for row in reader.rows(sql):
        buildid, number, call, started, ended, hold, command, command_state, interrupted, at, acquired = row
        build = builds[buildid]
        step = build.steps[number - 1]
        fact: Any = codec.fact_of(started)
        if isinstance(fact, f.StepStarted):
            step.accesses, step.shared = fact.accesses, fact.shared
            step.rendered = fact.rendered
            continue
        record = CallRecord(
            number=call, call=fact.call, fingerprint=fact.fingerprint, ticket=fact.ticket, hold=hold, due=fact.due
        )
        record.started_at, record.acquired_at = at or 0.0, acquired or 0.0
        if ended is not None:
            record.state = "ended"
            end = codec.fact_of(ended)
            record.result = codec.result_of(fact.call, end.result)
            record.order = end.order
        step.calls[call] = record
        if command_state in ("asked", "known"):
            saved.commands.append(
                Command(
                    id=command,
                    buildid=buildid,
                    step=number,
                    call=call,
                    worker=build.worker,
                    state=command_state,
                    interrupted=bool(interrupted),
                )
            )
