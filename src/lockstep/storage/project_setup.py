"""Which rows follow from a configuration: builders, workers, schedulers, sources and projects. See `project.py`."""

from typing import Any, Final

from lockstep.core import facts as f
from lockstep.core.values import BuilderSetup, Setup
from lockstep.storage.codec import clean, clean_or_none, to_json
from lockstep.storage.projection import LiveWorker, Projection

_FORGOTTEN: Final[dict[str, Any]] = {
    "known": False,
    "state": "absent",
    "session": 0,
    "resumes": False,
    "lease": 0.0,
    "paused": False,
    "pause_reason": "",
    "info": "{}",
}


def setup_changed(p: Projection, fact: f.SetupChanged, _n: f.Numbered, body: bytes) -> None:
    p.changes.upsert("meta", "setup", {"value": body})
    p.builder_ids = dict(fact.builder_ids)
    p.worker_ids = dict(fact.worker_ids)
    p.needs = {builder.name: builder.need for builder in fact.setup.builders}
    _builders(p, fact)
    _workers(p, fact)
    _named(p, fact.setup)


def _builders(p: Projection, fact: f.SetupChanged) -> None:
    configured = {builder.name: builder for builder in fact.setup.builders}
    for name, builderid in fact.builder_ids.items():
        builder = configured.get(name)
        if builder is None:
            p.changes.upsert("builders", builderid, {"name": clean(name), "configured": False})
        else:
            p.changes.upsert("builders", builderid, _builder_row(builder))


def _builder_row(builder: BuilderSetup) -> dict[str, Any]:
    return {
        "name": clean(builder.name),
        "configured": True,
        "description": clean_or_none(builder.description),
        "tags": to_json(builder.tags),
        "project": clean(builder.project),
    }


def _workers(p: Projection, fact: f.SetupChanged) -> None:
    configured = {worker.name: worker for worker in fact.setup.workers}
    serves: dict[str, list[int]] = {}
    for builder in fact.setup.builders:
        for name in builder.workers:
            serves.setdefault(name, []).append(fact.builder_ids[builder.name])
    for name, workerid in fact.worker_ids.items():
        live = p.workers.setdefault(name, LiveWorker())
        setup = configured.get(name)
        live.configured = setup is not None
        row: dict[str, Any] = {"name": clean(name), "configured": live.configured, "builders": "[]"}
        if setup is not None:
            live.known = True
            row |= {"known": True, "max_builds": setup.max_builds, "builders": to_json(serves.get(name, []))}
        p.changes.upsert("workers", workerid, row)
        forget_worker(p, name)


def forget_worker(p: Projection, name: str) -> None:
    """A worker that is neither configured nor connected nor in use is forgotten; it comes back as a new one."""
    live = p.workers[name]
    if live.known and not live.configured and live.state == "absent":
        workerid = p.worker_ids[name]
        if not any(build.worker == name for build in p.builds.values()):
            live.known = False
            p.changes.upsert("workers", workerid, {"name": clean(name)} | _FORGOTTEN)


def _named(p: Projection, setup: Setup) -> None:
    """Schedulers, sources and projects; a name keeps its id for ever."""
    wanted: dict[tuple[str, str], str] = {}
    for scheduler in setup.schedulers:
        wanted["scheduler", scheduler.name] = to_json({"kind": scheduler.kind, "builders": scheduler.builders})
    for source in setup.sources:
        wanted["source", source] = "{}"
    for builder in setup.builders:
        if builder.project:
            wanted["project", builder.project] = "{}"
    for kind, name in [key for key in p.named if key not in wanted]:
        p.changes.upsert("named", (kind, p.named[kind, name]), {"name": clean(name), "configured": False})
    for (kind, name), detail in wanted.items():
        taken = [number for (k, _), number in p.named.items() if k == kind]
        number = p.named.setdefault((kind, name), max(taken, default=0) + 1)
        p.changes.upsert("named", (kind, number), {"name": clean(name), "detail": detail, "configured": True})
