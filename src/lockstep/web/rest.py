"""The resources of `/api/v2` that are in the store: paths, and what each of them gives (BUILDBOT.md section 3).

Reading only. Every function here takes a `Queries` and runs in a thread; nothing here knows HTTP. Actions are in
`actions.py`, logs in `logs.py`, locks and reasons in `waits.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from lockstep.storage.filters import Filter
from lockstep.storage.queries import Queries
from lockstep.web.ages import age, moment
from lockstep.web.asking import Answer, Asked, Item, MissingError, chosen, equals

Params = Mapping[str, str]
Finder = Callable[[Queries, Params], Item]
Handler = Callable[[Queries, Params, Asked], Answer]


def number(text: str) -> int | None:
    """A whole number, or None if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _by_id(kind: str, one: str, param: str) -> Finder:
    """Find a thing by its number."""

    def find(reads: Queries, params: Params) -> Item:
        key = number(params[param])
        item = reads.get(kind, key) if key is not None else None
        if item is None:
            raise missing(reads, kind, one, key, params[param])
        return item

    return find


def missing(reads: Queries, kind: str, one: str, key: int | None, text: str) -> MissingError:
    """What is said of a thing that is not in the store: it was deleted, or there never was one."""
    gone = reads.gone(kind, key) if key is not None else None
    if gone is None:
        return MissingError(f"There is no {one} {text}.")
    if gone.seconds is None:
        kept = f"only the newest {gone.count} are kept, and those that builds have"
    else:
        kept = f"what ended more than {age(gone.seconds)} ago is not kept"
    return MissingError(f"{one.capitalize()} {text} was deleted, on {moment(gone.at)} at the latest: {kept}.")


def by_id_or_name(reads: Queries, kind: str, one: str, text: str) -> Item:
    """Find a thing by its number, or else by its name."""
    key = number(text)
    item = reads.get(kind, key) if key is not None else None
    if item is None:
        found = reads.page(kind, [equals("name", text)], limit=1).items
        if not found:
            raise MissingError(f"There is no {one} '{text}'.")
        item = found[0]
    return item


def builder(reads: Queries, params: Params) -> Item:
    """The builder that a path names."""
    return by_id_or_name(reads, "builders", "builder", params["builder"])


def worker(reads: Queries, params: Params) -> Item:
    """The worker that a path names."""
    return by_id_or_name(reads, "workers", "worker", params["worker"])


build: Final = _by_id("builds", "build", "build")
request: Final = _by_id("buildrequests", "build request", "brid")
booking: Final = _by_id("bookings", "booking", "booking")


def build_of_builder(reads: Queries, params: Params) -> Item:
    """A build by its builder and number."""
    owner = builder(reads, params)
    wanted = number(params["number"])
    filters = [equals("builderid", owner["builderid"]), equals("number", wanted)]
    found = reads.page("builds", filters, limit=1).items if wanted is not None else []
    if not found:
        newer = [filters[0], Filter("number", "gt", (wanted,))]
        gone = reads.gone("builds", 1)
        if wanted and gone and reads.page("builds", newer, limit=1).items:  # numbers have no gaps: it was there
            raise MissingError(f"Build {owner['name']} #{wanted} was deleted, on {moment(gone.at)} at the latest.")
        raise MissingError(f"Builder '{owner['name']}' has no build {params['number']}.")
    return found[0]


def _step_of(find_build: Finder) -> Finder:
    def find(reads: Queries, params: Params) -> Item:
        buildid = find_build(reads, params)["buildid"]
        text = params["step"]
        key = number(text)
        own = equals("buildid", buildid)
        found = reads.page("steps", [own, equals("number", key)], limit=1).items if key is not None else []
        if not found:
            found = reads.page("steps", [own, equals("name", text)], limit=1).items
        if not found:
            raise MissingError(f"Build {buildid} has no step '{text}'.")
        return found[0]

    return find


def _log_of(find_step: Finder) -> Finder:
    def find(reads: Queries, params: Params) -> Item:
        stepid = find_step(reads, params)["stepid"]
        found = reads.page("logs", [equals("stepid", stepid), equals("slug", params["slug"])], limit=1).items
        if not found:
            raise MissingError(f"Step {stepid} has no log '{params['slug']}'.")
        return found[0]

    return find


def page(reads: Queries, kind: str, asked: Asked) -> Answer:
    """Things of one kind, as asked."""
    found = reads.page(kind, asked.filters, asked.order, asked.limit, asked.offset, asked.properties)
    return Answer(kind, found.items, found.total)


def _all(kind: str) -> Handler:
    return lambda reads, _params, asked: _with_masters(reads, page(reads, kind, asked), asked)


def _with_masters(reads: Queries, found: Answer, asked: Asked) -> Answer:
    """Things that name the master that runs them, with all that there is to say of it."""
    if any("master" in item for item in found.items):
        (master,) = reads.masters(float(asked.extra["now"]))
        for item in found.items:
            item["master"] = master if item["master"] else None
    return found


def _one(kind: str, find: Finder, key: str = "") -> Handler:
    """One thing; with its properties where the query asks for them and `key` says how to find it again."""

    def handle(reads: Queries, params: Params, asked: Asked) -> Answer:
        item = find(reads, params)
        _with_masters(reads, Answer(kind, [item]), asked)
        if key and asked.properties:
            item = reads.get(kind, item[key], asked.properties) or item
        return Answer(kind, [item])

    return handle


def _of(kind: str, find: Finder, field: str, key: str = "") -> Handler:
    """Things that belong to one: those whose `field` is its `key`."""

    def handle(reads: Queries, params: Params, asked: Asked) -> Answer:
        owner = find(reads, params)
        return page(reads, kind, asked.narrowed(equals(field, owner[key or field])))

    return handle


def _workers_of_builder(reads: Queries, params: Params, asked: Asked) -> Answer:
    builderid = builder(reads, params)["builderid"]
    found = reads.page("workers").items
    on = [each for each in found if any(at["builderid"] == builderid for at in each["configured_on"])]
    if "worker" in params:
        wanted = worker(reads, params)["workerid"]
        on = [each for each in on if each["workerid"] == wanted]
        if not on:
            raise MissingError(f"Builder {params['builder']} has no worker '{params['worker']}'.")
        return Answer("workers", on)
    return chosen("workers", on, asked)


def _masters(reads: Queries, params: Params, asked: Asked) -> Answer:
    # The caller puts the time in: nothing here reads a clock.
    found = reads.masters(float(asked.extra["now"]))
    if "builder" in params:
        builder(reads, params)
    wanted = params.get("master")
    if wanted is None:
        return chosen("masters", found, asked)
    if all(wanted not in (str(each["masterid"]), each["name"]) for each in found):
        raise MissingError(f"There is no master '{wanted}'.")
    return Answer("masters", found)


def _of_master(kind: str) -> Handler:
    def handle(reads: Queries, params: Params, asked: Asked) -> Answer:
        _masters(reads, params, asked)
        return _with_masters(reads, page(reads, kind, asked), asked)

    return handle


def _properties_of_build(find: Finder) -> Handler:
    return lambda reads, params, _asked: Answer(
        "properties", [reads.properties_of_build(find(reads, params)["buildid"])]
    )


def _changes_of_build(find: Finder) -> Handler:
    return lambda reads, params, asked: chosen("changes", reads.changes_of_build(find(reads, params)["buildid"]), asked)


def _changes_of_stamp(reads: Queries, params: Params, asked: Asked) -> Answer:
    ssid = _stamp(reads, params)["ssid"]
    return chosen("changes", reads.changes_of_sourcestamp(ssid), asked)


def _properties_of_buildset(reads: Queries, params: Params, _asked: Asked) -> Answer:
    bsid = _buildset(reads, params)["bsid"]
    return Answer("properties", [reads.properties_of_buildset(bsid)])


def _nothing(kind: str, find: Finder | None = None) -> Handler:
    """Things of a kind that there are none of here."""

    def handle(reads: Queries, params: Params, _asked: Asked) -> Answer:
        if find is not None:
            find(reads, params)
        return Answer(kind, [], 0)

    return handle


def _running_builds(reads: Queries, params: Params, asked: Asked) -> Answer:
    """Builds on one worker."""
    return page(reads, "builds", asked.narrowed(Filter("workerid", "eq", (worker(reads, params)["workerid"],))))


_buildset: Final = _by_id("buildsets", "build set", "buildset")
_stamp: Final = _by_id("sourcestamps", "source stamp", "stamp")
_step: Final = _by_id("steps", "step", "step")
log: Final = _by_id("logs", "log", "log")
_change: Final = _by_id("changes", "change", "change")
_source: Final = _by_id("changesources", "change source", "source")


def _scheduler(reads: Queries, params: Params) -> Item:
    return by_id_or_name(reads, "schedulers", "scheduler", params["scheduler"])


def _project(reads: Queries, params: Params) -> Item:
    return by_id_or_name(reads, "projects", "project", params["project"])


BUILD_PATHS: Final[dict[str, Finder]] = {
    "builds/{build:str}": build,
    "builders/{builder:str}/builds/{number:str}": build_of_builder,
}
STEP_PATHS: Final[dict[str, Finder]] = {
    "steps/{step:str}": _step,
    **{f"{path}/steps/{{step:str}}": _step_of(find) for path, find in BUILD_PATHS.items()},
}
LOG_PATHS: Final[dict[str, Finder]] = {
    "logs/{log:str}": log,
    **{f"{path}/logs/{{slug:str}}": _log_of(find) for path, find in STEP_PATHS.items()},
}


def _routes() -> dict[str, Handler]:
    routes: dict[str, Handler] = {
        "builders": _all("builders"),
        "builders/{builder:str}": _one("builders", builder),
        "builders/{builder:str}/buildrequests": _of("buildrequests", builder, "builderid"),
        "builders/{builder:str}/builds": _of("builds", builder, "builderid"),
        "builders/{builder:str}/workers": _workers_of_builder,
        "builders/{builder:str}/workers/{worker:str}": _workers_of_builder,
        "builders/{builder:str}/masters": _masters,
        "builders/{builder:str}/masters/{master:str}": _masters,
        "buildrequests": _all("buildrequests"),
        "buildrequests/{brid:str}": _one("buildrequests", request, "buildrequestid"),
        "buildrequests/{brid:str}/builds": _of("builds", request, "buildrequestid"),
        "buildsets": _all("buildsets"),
        "buildsets/{buildset:str}": _one("buildsets", _buildset),
        "buildsets/{buildset:str}/properties": _properties_of_buildset,
        "bookings": _all("bookings"),
        "bookings/{booking:str}": _one("bookings", booking),
        "builds": _all("builds"),
        "changes": _all("changes"),
        "changes/{change:str}": _one("changes", _change),
        "changesources": _all("changesources"),
        "changesources/{source:str}": _one("changesources", _source),
        "logs": _all("logs"),
        "masters": _masters,
        "masters/{master:str}": _masters,
        "projects": _all("projects"),
        "projects/{project:str}": _one("projects", _project),
        "projects/{project:str}/builders": _of("builders", _project, "projectid"),
        "schedulers": _all("schedulers"),
        "schedulers/{scheduler:str}": _one("schedulers", _scheduler),
        "sourcestamps": _all("sourcestamps"),
        "sourcestamps/{stamp:str}": _one("sourcestamps", _stamp),
        "sourcestamps/{stamp:str}/changes": _changes_of_stamp,
        "steps": _all("steps"),
        "test_result_sets": _nothing("test_result_sets"),
        "workers": _all("workers"),
        "workers/{worker:str}": _one("workers", worker),
        "workers/{worker:str}/builds": _running_builds,
    }
    for kind in ("builders", "builds", "buildrequests", "workers", "changesources", "schedulers"):
        routes[f"masters/{{master:str}}/{kind}"] = _of_master(kind)
    for path, find in BUILD_PATHS.items():
        routes[path] = _one("builds", find, "buildid")
        routes[f"{path}/steps"] = _of("steps", find, "buildid")
        routes[f"{path}/properties"] = _properties_of_build(find)
        routes[f"{path}/changes"] = _changes_of_build(find)
        routes[f"{path}/data"] = _nothing("build_data", find)
        routes[f"{path}/triggered_builds"] = _of("builds", find, "parent_buildid", "buildid")
        routes[f"{path}/test_result_sets"] = _nothing("test_result_sets", find)
    for path, find in STEP_PATHS.items():
        routes[path] = _one("steps", find)
        routes[f"{path}/logs"] = _of("logs", find, "stepid")
    for path, find in LOG_PATHS.items():
        routes[path] = _one("logs", find)
    return routes


ROUTES: Final = _routes()
"""Path below `/api/v2` to what it gives."""
