"""The REST resources as the store has them: their columns, what may be filtered, and rows in Buildbot's shape.

BUILDBOT.md section 3 names the fields. What needs more than one row is put together in `queries.py`.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from lockstep.storage.codec import from_json, wish_of
from lockstep.storage.filters import Field

MASTER: Final = 1
"""The one master's id."""

Row = tuple[Any, ...]


class Resource(Struct, frozen=True):
    """One kind of thing: the table it is in, the columns that `shape` takes, and its fields for filters."""

    name: str
    table: str
    key: str
    columns: str
    shape: Callable[[Row], dict[str, Any]]
    fields: dict[str, Field]
    properties: str = ""
    """The column of properties, if they can be asked for."""
    grows: bool = False
    """Rows are only added, with growing keys: their number need not be counted anew each time."""


def _date(value: float | None) -> int | None:
    return None if value is None else int(value)


def _ids(value: bool) -> list[int]:
    return [MASTER] if value else []


def _builder(row: Row) -> dict[str, Any]:
    return {
        "builderid": row[0],
        "name": row[1],
        "description": row[2],
        "description_format": None,
        "description_html": None,
        "tags": from_json(row[3]),
        "projectid": row[4],
        "masterids": _ids(row[5]),
    }


def _request(row: Row) -> dict[str, Any]:
    claimed = bool(row[4])
    return {
        "buildrequestid": row[0],
        "buildsetid": row[1],
        "builderid": row[2],
        "priority": row[3],
        "claimed": claimed,
        "claimed_at": _date(row[5]),
        "claimed_by_masterid": MASTER if claimed else None,
        "complete": bool(row[6]),
        "complete_at": _date(row[7]),
        "results": row[8],
        "submitted_at": int(row[9]),
        "waited_for": bool(row[10]),
        "ended_reason": row[11],
        "properties": None,
    }


def _buildset(row: Row) -> dict[str, Any]:
    return {
        "bsid": row[0],
        "reason": row[1],
        "external_idstring": row[2],
        "rebuilt_buildid": row[3],
        "parent_buildid": row[4],
        "parent_relationship": None if row[4] is None else "Triggered from",
        "complete": bool(row[5]),
        "complete_at": _date(row[6]),
        "results": row[7],
        "submitted_at": int(row[8]),
        "sourcestamps": from_json(row[9]),
    }


def _build(row: Row) -> dict[str, Any]:
    ended = row[7]
    return {
        "buildid": row[0],
        "number": row[1],
        "builderid": row[2],
        "buildrequestid": row[3],
        "workerid": row[4],
        "masterid": MASTER,
        "started_at": int(row[5]),
        "complete": bool(row[6]),
        "complete_at": None if ended is None else int(ended),
        "locks_duration_s": int(row[8]),
        "results": row[9],
        "state_string": row[10],
        "properties": {},
    }


def _booking(row: Row) -> dict[str, Any]:
    wish = wish_of(row[3])
    return {
        "bookingid": row[0],
        "who": row[1],
        "reason": row[2],
        "locks": [{"lock": str(a.lock), "kind": a.lock.kind, "mode": a.mode, "count": a.count} for a in wish.accesses],
        "priority": wish.priority,
        "state": row[4],
        "asked_at": int(row[5]),
        "granted_at": _date(row[6]),
        "ends_at": _date(row[7]),
        "lease": wish.lease or None,
        "after_current": wish.after_current,
        "complete": bool(row[8]),
        "complete_at": _date(row[9]),
        "ending": row[10] or None,
        "ended_by": row[11],
        "ended_why": row[12],
    }


def _step(row: Row) -> dict[str, Any]:
    return {
        "stepid": row[0],
        "buildid": row[1],
        "number": row[2],
        "name": row[3],
        "started_at": _date(row[4]),
        "locks_acquired_at": _date(row[5]),
        "complete": bool(row[6]),
        "complete_at": _date(row[7]),
        "results": row[8],
        "hidden": bool(row[9]),
        "state_string": row[10],
        "urls": [],
    }


def _log(row: Row) -> dict[str, Any]:
    return {
        "logid": row[0],
        "stepid": row[1],
        "name": row[2],
        "slug": row[3],
        "type": row[4],
        "complete": bool(row[5]),
        "num_lines": row[6],
        "deleted_at": _date(row[7]),
        "horizon": _date(row[8]),
    }


def _worker(row: Row) -> dict[str, Any]:
    return {
        "workerid": row[0],
        "name": row[1],
        "configured_on": [{"builderid": builder, "masterid": MASTER} for builder in from_json(row[2])],
        "connected_to": [{"masterid": MASTER}] if row[3] in ("connected", "leaving") else [],
        "paused": bool(row[4]),
        "pause_reason": row[5] or None,
        "graceful": bool(row[6]),
        "workerinfo": from_json(row[7]),
    }


def _change(row: Row) -> dict[str, Any]:
    names = "changeid author comments files branch revision revlink repository project codebase category properties"
    change = dict(zip(names.split(), row, strict=False))
    change["files"] = from_json(row[3])
    change["properties"] = from_json(row[11])
    change["when_timestamp"] = int(row[12] or 0)
    change["parent_changeids"] = []
    change["sourcestamp"] = None
    return change


def _stamp(row: Row) -> dict[str, Any]:
    return {
        "ssid": row[0],
        "created_at": int(row[1]),
        "codebase": row[2],
        "repository": row[3],
        "project": row[4],
        "branch": row[5],
        "revision": row[6],
        "patch": row[7],
    }


def _scheduler(row: Row) -> dict[str, Any]:
    return {"schedulerid": row[0], "name": row[1], "enabled": bool(row[2]), "master": _master(row[2])}


def _source(row: Row) -> dict[str, Any]:
    return {"changesourceid": row[0], "name": row[1], "master": _master(row[2])}


def _master(here: bool) -> dict[str, Any] | None:
    """The master that runs it; who knows the time completes it (`web/rest.py`)."""
    return {"masterid": MASTER} if here else None


def _project(row: Row) -> dict[str, Any]:
    return {"projectid": row[0], "name": row[1], "slug": row[1], "description": None, "active": bool(row[2])}


def _named(kind: str, name: str, id_: str, shape: Callable[[Row], dict[str, Any]], flag: str) -> Resource:
    table = f"(SELECT id, name, configured FROM named WHERE kind = '{kind}') AS n"
    fields = {id_: Field("id"), "name": Field("name", "str"), flag: Field("configured", "bool")}
    return Resource(name, table, "id", "id, name, configured", shape, fields)


_PROJECT: Final = "(SELECT id FROM named WHERE kind = 'project' AND named.name = builders.project)"
_OF_BUILDSET: Final = "(SELECT bsid FROM requests r WHERE r.brid = builds.brid)"
_PARENT: Final = (
    "(SELECT s.parent_buildid FROM requests r JOIN buildsets s ON s.bsid = r.bsid WHERE r.brid = builds.brid)"
)
_LINES: Final = (
    "CASE WHEN complete THEN num_lines ELSE "
    "coalesce((SELECT max(c.first_line + c.num_lines) FROM log_chunks c WHERE c.logid = logs.logid), 0) END"
)

_ALL: Final = (
    Resource(
        "builders",
        "builders",
        "builderid",
        f"builderid, name, description, tags, {_PROJECT}, configured",
        _builder,
        {
            "builderid": Field("builderid"),
            "name": Field("name", "str"),
            "description": Field("description", "str"),
            "tags": Field("tags", "list"),
            "projectid": Field(_PROJECT),
            "masterids": Field("CASE WHEN configured THEN 1 ELSE 0 END"),
        },
    ),
    Resource(
        "buildrequests",
        "requests",
        "brid",
        "brid, bsid, builderid, priority, claimed, claimed_at, complete, complete_at, results, submitted_at, "
        "waited_for, reason",
        _request,
        {
            "buildrequestid": Field("brid"),
            "buildsetid": Field("bsid"),
            "builderid": Field("builderid"),
            "priority": Field("priority"),
            "claimed": Field("claimed", "bool"),
            "claimed_at": Field("claimed_at", "date"),
            "complete": Field("complete_at", "set"),
            "complete_at": Field("complete_at", "date"),
            "results": Field("results"),
            "submitted_at": Field("submitted_at", "date"),
            "waited_for": Field("waited_for", "bool"),
            "ended_reason": Field("reason", "str"),
        },
        properties="(SELECT s.properties FROM buildsets s WHERE s.bsid = requests.bsid), properties",
        grows=True,
    ),
    Resource(
        "buildsets",
        "buildsets",
        "bsid",
        "bsid, reason, external_idstring, rebuilt_buildid, parent_buildid, complete, complete_at, results, "
        "submitted_at, ssids",
        _buildset,
        {
            "bsid": Field("bsid"),
            "reason": Field("reason", "str"),
            "external_idstring": Field("external_idstring", "str"),
            "rebuilt_buildid": Field("rebuilt_buildid"),
            "parent_buildid": Field("parent_buildid"),
            "complete": Field("complete_at", "set"),
            "complete_at": Field("complete_at", "date"),
            "results": Field("results"),
            "submitted_at": Field("submitted_at", "date"),
        },
        grows=True,
    ),
    Resource(
        "bookings",
        "bookings",
        "ticket",
        "ticket, who, reason, wish, state, asked_at, granted_at, ends_at, complete, complete_at, ending, ended_by, "
        "ended_why",
        _booking,
        {
            "bookingid": Field("ticket"),
            "who": Field("who", "str"),
            "reason": Field("reason", "str"),
            "state": Field("state", "str"),
            "asked_at": Field("asked_at", "date"),
            "granted_at": Field("granted_at", "date"),
            "ends_at": Field("ends_at", "date"),
            "complete": Field("complete_at", "set"),
            "complete_at": Field("complete_at", "date"),
            "ending": Field("ending", "str"),
            "ended_by": Field("ended_by", "str"),
        },
        grows=True,
    ),
    Resource(
        "builds",
        "builds",
        "buildid",
        "buildid, number, builderid, brid, workerid, started_at, complete, complete_at, locks_duration, results, "
        "state_string",
        _build,
        {
            "buildid": Field("buildid"),
            "number": Field("number"),
            "builderid": Field("builderid"),
            "buildrequestid": Field("brid"),
            "buildsetid": Field(_OF_BUILDSET),
            "parent_buildid": Field(_PARENT),
            "workerid": Field("workerid"),
            "masterid": Field("1"),
            "started_at": Field("started_at", "date"),
            "complete": Field("complete_at", "set"),
            "complete_at": Field("complete_at", "date"),
            "locks_duration_s": Field("locks_duration", "date"),
            "results": Field("results"),
            "state_string": Field("state_string", "str"),
        },
        properties="properties",
        grows=True,
    ),
    Resource(
        "steps",
        "steps",
        "stepid",
        "stepid, buildid, number, name, started_at, locks_acquired_at, complete, complete_at, results, hidden, "
        "state_string",
        _step,
        {
            "stepid": Field("stepid"),
            "buildid": Field("buildid"),
            "number": Field("number"),
            "name": Field("name", "str"),
            "started_at": Field("started_at", "date"),
            "locks_acquired_at": Field("locks_acquired_at", "date"),
            "complete": Field("complete_at", "set"),
            "complete_at": Field("complete_at", "date"),
            "results": Field("results"),
            "hidden": Field("hidden", "bool"),
            "state_string": Field("state_string", "str"),
        },
        grows=True,
    ),
    Resource(
        "logs",
        "logs",
        "logid",
        f"logid, stepid, name, slug, type, complete, {_LINES}, deleted_at, horizon",
        _log,
        {
            "logid": Field("logid"),
            "stepid": Field("stepid"),
            "name": Field("name", "str"),
            "slug": Field("slug", "str"),
            "type": Field("type", "str"),
            "complete": Field("complete", "bool"),
            "num_lines": Field(_LINES),
            "deleted_at": Field("deleted_at", "date"),
            "horizon": Field("horizon", "date"),
        },
        grows=True,
    ),
    Resource(
        "workers",
        "workers",
        "workerid",
        "workerid, name, builders, state, paused, pause_reason, graceful, info",
        _worker,
        {
            "workerid": Field("workerid"),
            "name": Field("name", "str"),
            "paused": Field("paused", "bool"),
            "graceful": Field("graceful", "bool"),
            "configured": Field("configured", "bool"),
            "connected": Field("CASE WHEN state IN ('connected', 'leaving') THEN 1 ELSE 0 END"),
        },
    ),
    Resource(
        "changes",
        "changes",
        "changeid",
        "changeid, author, comments, files, branch, revision, revlink, repository, project, codebase, category, "
        "properties, when_timestamp",
        _change,
        {
            "changeid": Field("changeid"),
            "author": Field("author", "str"),
            "comments": Field("comments", "str"),
            "files": Field("files", "list"),
            "branch": Field("branch", "str"),
            "revision": Field("revision", "str"),
            "revlink": Field("revlink", "str"),
            "repository": Field("repository", "str"),
            "project": Field("project", "str"),
            "codebase": Field("codebase", "str"),
            "category": Field("category", "str"),
            "when_timestamp": Field("when_timestamp", "date"),
        },
        grows=True,
    ),
    Resource(
        "sourcestamps",
        "source_stamps",
        "ssid",
        "ssid, created_at, codebase, repository, project, branch, revision, patch",
        _stamp,
        {
            "ssid": Field("ssid"),
            "created_at": Field("created_at", "date"),
            "codebase": Field("codebase", "str"),
            "repository": Field("repository", "str"),
            "project": Field("project", "str"),
            "branch": Field("branch", "str"),
            "revision": Field("revision", "str"),
        },
        grows=True,
    ),
    _named("scheduler", "schedulers", "schedulerid", _scheduler, "enabled"),
    _named("source", "changesources", "changesourceid", _source, "active"),
    _named("project", "projects", "projectid", _project, "active"),
)

RESOURCES: Final = {resource.name: resource for resource in _ALL}
