"""What each page shows, as plain values for its template. Reading only; HTTP and drawing are in `pages.py`.

Every view reads the state first, in the event loop, and then the store, in a thread. Names end in what they show.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from lockstep.core.answers import Expected, Why
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES
from lockstep.core.reasons import Reasons
from lockstep.core.records import Build, Request, Worker
from lockstep.storage.filters import Filter
from lockstep.storage.queries import Queries
from lockstep.web import lock_history, rest
from lockstep.web.asking import Item, MissingError, equals
from lockstep.web.door import Door
from lockstep.web.limits import SHOWN_BUILDS, SHOWN_HISTORY, SHOWN_NAMES, SHOWN_ROWS, SHOWN_WAITERS
from lockstep.web.names import OUTER, known, meant
from lockstep.web.waits import foreseen

Ids = Mapping[str, str]


class View(Struct):
    """A page: its template, its title, and what the template shows. `live`: it changes by itself.

    `logs` are those whose lines it shows while they are written.
    """

    template: str
    title: str
    shown: dict[str, Any]
    live: bool = True
    logs: Sequence[int] = ()


def builder_path(door: Door, name: str) -> str:
    """The address of a builder's page."""
    safe = name and not name.isdigit() and name not in (".", "..")
    return f"/builders/{quote(name, safe='') if safe else door.state.builder_ids.get(name, 0)}"


def names_of(ids: Mapping[str, int]) -> dict[int, str]:
    """Names by id."""
    return {number: name for name, number in ids.items()}


# --- what runs and waits


def running_row(door: Door, reasons: Reasons, build: Build, expected: Mapping[int, Expected]) -> Item:
    """A running build as a line."""
    step = door.state.step(build.buildid, build.current)
    why = foreseen(reasons.build(build), expected)
    said = door.step_summary(build.buildid, build.current) if step is not None and step.state == "running" else ""
    return {
        "buildid": build.buildid,
        "number": build.number,
        "builder": build.builder,
        "builder_path": builder_path(door, build.builder),
        "worker": build.worker,
        "started_at": build.started_at,
        "state": build.state,
        "result": int(build.result),
        "step": step.name if step is not None and step.state in ("running", "waiting") else "",
        "done": sum(1 for each in build.steps if each.state == "ended"),
        "steps": len(build.steps),
        "said": said,
        "waits": why.kind not in ("running", "preparing"),
        "why": why,
    }


def waiting_row(door: Door, reasons: Reasons, request: Request, expected: Mapping[int, Expected]) -> Item:
    """A waiting request as a line."""
    buildset = door.state.buildsets[request.bsid]
    return {
        "brid": request.brid,
        "builder": request.builder,
        "builder_path": builder_path(door, request.builder),
        "priority": request.priority,
        "submitted_at": request.submitted_at,
        "reason": buildset.reason,
        "put_back": request.put_back,
        "why": foreseen(reasons.request(request), expected),
    }


def _running(
    door: Door, reasons: Reasons, expected: Mapping[int, Expected], wanted: Callable[[Build], bool] = lambda _: True
) -> list[Item]:
    builds = sorted(door.state.builds.values(), key=lambda build: build.buildid)
    return [running_row(door, reasons, build, expected) for build in builds if wanted(build)]


def _waiting(
    door: Door, reasons: Reasons, expected: Mapping[int, Expected], builder: str | None = None
) -> tuple[list[Item], int]:
    """The first waiting requests in their order, and how many there are."""
    found = [
        request
        for request in door.state.requests.values()
        if request.state != "building" and builder in (None, request.builder)
    ]
    found.sort(key=lambda request: (-door.state.level(request), request.ticket))
    return [waiting_row(door, reasons, request, expected) for request in found[:SHOWN_ROWS]], len(found)


def _ended(reads: Queries, number: int, order: str, *filters: Filter) -> list[Item]:
    return reads.page("builds", [equals("complete", True), *filters], [order], number).items


def build_rows(door: Door, builds: Sequence[Item]) -> list[Item]:
    """Stored builds as lines, with names for ids."""
    builders, workers = names_of(door.state.builder_ids), names_of(door.state.worker_ids)
    rows = []
    for build in builds:
        name = builders.get(build["builderid"], "?")
        row = {**build, "builder": name, "builder_path": builder_path(door, name)}
        rows.append({**row, "worker": workers.get(build["workerid"], "?")})
    return rows


async def now(door: Door, _ids: Ids) -> View:
    """What runs and what waits."""
    expected = await door.forecasts.expected()
    reasons = Reasons(door.state, door.now())
    running = _running(door, reasons, expected)
    waiting, count = _waiting(door, reasons, expected)
    ended = await asyncio.to_thread(_ended, door.reads, SHOWN_BUILDS, "-complete_at")
    away = [
        worker.name
        for worker in door.state.workers.values()
        if worker.configured and worker.state not in ("connected", "leaving")
    ]
    shown = {
        "running": running,
        "waiting": waiting,
        "waiting_count": count,
        "ended": build_rows(door, ended),
        "away": sorted(away),
        "some_builders": [(name, builder_path(door, name)) for name in sorted(door.state.builders)[:SHOWN_NAMES]],
    }
    return View("now.html", "Now", shown)


# --- builders


async def builders(door: Door, _ids: Ids) -> View:
    """All builders."""
    state = door.state
    running: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for request in state.requests.values():
        count = running if request.state == "building" else waiting
        count[request.builder] = count.get(request.builder, 0) + 1
    names = sorted(state.builders)
    ids = [state.builder_ids[name] for name in names]
    last = await asyncio.to_thread(_last_builds, door.reads, ids)
    rows = [
        {
            "name": name,
            "path": builder_path(door, name),
            "setup": state.builders[name],
            "running": running.get(name, 0),
            "waiting": waiting.get(name, 0),
            "last": last[state.builder_ids[name]],
        }
        for name in names
    ]
    return View("builders.html", "Builders", {"builders": rows})


def _last_builds(reads: Queries, builderids: Sequence[int]) -> dict[int, list[Item]]:
    """The latest builds of each builder, oldest first."""
    found: dict[int, list[Item]] = {}
    for each in builderids:
        found[each] = reads.page("builds", [equals("builderid", each)], ["-number"], 10).items[::-1]
    return found


async def builder(door: Door, ids: Ids) -> View:
    """One builder, and the forms that force it."""
    item = await asyncio.to_thread(rest.builder, door.reads, ids)
    name = item["name"]
    expected = await door.forecasts.expected()
    reasons = Reasons(door.state, door.now())
    waiting, count = _waiting(door, reasons, expected, name)
    running = _running(door, reasons, expected, lambda build: build.builder == name)
    mine = equals("builderid", item["builderid"])
    ended = await asyncio.to_thread(_ended, door.reads, SHOWN_ROWS, "-number", mine)
    shown = {
        "builder": item,
        "path": builder_path(door, name),
        "setup": door.state.builders.get(name),
        "locks": _locks_of(door, name),
        "forms": [form.spec() for form in door.force_forms() if name in form.spec()["builder_names"]],
        "running": running,
        "waiting": waiting,
        "waiting_count": count,
        "ended": build_rows(door, ended),
    }
    return View("builder.html", name, shown)


def _locks_of(door: Door, name: str) -> list[str]:
    """The locks of a builder's builds, for people."""
    setup = door.state.builders.get(name)
    need = setup.need if setup is not None else None
    found: dict[str, None] = {}
    for alternative in need.alternatives if need is not None else ():
        for access in alternative.accesses:
            if access.lock.kind in OUTER:
                units = "" if access.mode == "exclusive" else f" ×{access.count}"
                where = f" where {access.lock.where}" if access.lock.where else ""
                found[f"{access.lock.name}{where}{units}"] = None
    return list(found)


# --- requests


async def request(door: Door, ids: Ids) -> View:
    """One build request: why it waits, or what became of it."""
    brid = rest.number(ids["brid"])
    expected = await door.forecasts.expected()
    live = door.state.requests.get(brid or 0)
    reasons = Reasons(door.state, door.now())
    row = waiting_row(door, reasons, live, expected) if live is not None else None
    item, buildset, builds = await asyncio.to_thread(_request, door.reads, ids)
    name = names_of(door.state.builder_ids).get(item["builderid"], "?")
    shown = {
        "request": item,
        "buildset": buildset,
        "builder": name,
        "path": builder_path(door, name),
        "row": row,
        "waits": live is not None and live.state != "building",
        "builds": build_rows(door, builds),
    }
    return View("request.html", f"Request {brid} of {name}", shown, live=live is not None or not item["complete"])


def _request(reads: Queries, ids: Ids) -> tuple[Item, Item, list[Item]]:
    item = rest.request(reads, ids)
    item = reads.get("buildrequests", item["buildrequestid"], ("*",)) or item
    buildset = reads.get("buildsets", item["buildsetid"]) or {}
    return item, buildset, reads.page("builds", [equals("buildrequestid", item["buildrequestid"])]).items


# --- locks


async def locks(door: Door, ids: Ids) -> View:
    """All locks, or those of one name."""
    name = ids.get("lock")
    keys = known(door.state) if name is None else meant(door.state, name)
    reasons = Reasons(door.state, door.now())
    shown = [reasons.lock(key, SHOWN_WAITERS if name is not None else 5) for key in keys]
    if name is None:
        shown.sort(key=lambda lock: (not lock.waiting, not lock.holders, lock.name, lock.worker))
    more: dict[str, Any] = {"locks": shown, "one": name, "history": [], "use": []}
    more["usual_overtakes"] = DEFAULT_MAX_OVERTAKES
    if name is not None and any(key.kind in OUTER for key in keys):
        found = await asyncio.to_thread(door.reads.lock_history, keys[0].name, SHOWN_HISTORY)
        more["history"] = found.items
        more["use"] = await lock_history.uses(door, keys[0].name, lock_history.PERIOD)
    return View("locks.html", f"Lock {name}" if name else "Locks", more)


# --- workers and changes


async def workers(door: Door, ids: Ids) -> View:
    """All workers, or the one of that name."""
    state, name = door.state, ids.get("worker")
    if name is not None and name not in state.workers:
        raise MissingError(f"There is no worker '{name}'.")
    reasons = Reasons(state, door.now())
    found = sorted(state.workers.values(), key=lambda each: each.name)
    rows = [_worker(door, reasons, each) for each in found if name in (None, each.name)]
    return View("workers.html", f"Worker {name}" if name else "Workers", {"workers": rows, "one": name})


def _worker(door: Door, reasons: Reasons, each: Worker) -> Item:
    on = sorted(door.state.builds_on.get(each.name, ()))
    return {
        "worker": each,
        "running": [running_row(door, reasons, door.state.builds[buildid], {}) for buildid in on],
        "builders": sorted(b.name for b in door.state.builders.values() if each.name in b.workers),
    }


async def changes(door: Door, _ids: Ids) -> View:
    """The latest changes."""
    page = await asyncio.to_thread(door.reads.page, "changes", (), ["-changeid"], SHOWN_ROWS)
    return View("changes.html", "Changes", {"changes": page.items, "sources": door.state.setup.sources})


def why_of(door: Door, build: Build | None, expected: Mapping[int, Expected]) -> Why | None:
    """What a running build waits for or does."""
    return foreseen(Reasons(door.state, door.now()).build(build), expected) if build is not None else None
