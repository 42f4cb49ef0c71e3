"""What a person or program may have done, each as a small function: force, cancel, stop, rebuild, pause, reload.

Pages and the REST API call the same functions. They know no HTTP; what cannot be done raises `RefusedError`, what does
not exist `MissingError`. JSON-RPC around them is in `rpc.py`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from lockstep.core import events as e
from lockstep.core.errors import RefusedError
from lockstep.core.values import Patch, Properties, RequestWish, SourceStamp, Submission
from lockstep.storage.queries import Queries
from lockstep.web import rest
from lockstep.web.asking import Item, MissingError
from lockstep.web.door import Door, ForceForm
from lockstep.web.limits import MAX_COUNT
from lockstep.web.params import Params, mapping, only, text, whole


async def find(door: Door, finder: Callable[[Queries, Mapping[str, str]], Item], ids: Mapping[str, str]) -> Item:
    """Look a thing up in the store. Raises MissingError."""
    return await asyncio.to_thread(finder, door.reads, ids)


async def submit(door: Door, submission: Submission) -> list[Any]:
    """Hand a submission in. Returns `[bsid, {builder id: request id}]`, as Buildbot does."""
    bsid, brids = await door.ask(e.Submitted(submission=submission))
    ids = door.state.builder_ids
    return [bsid, {str(ids[name]): brid for name, brid in brids.items()}]


async def force(door: Door, builder: str, params: Params) -> list[Any]:
    """`count` builds of a builder, with or without a force scheduler."""
    only(params, "branch", "revision", "properties", "reason", "owner", "count")
    properties = mapping(params, "properties")
    count = whole(params, "count", 1)
    if not 1 <= count <= MAX_COUNT:
        raise RefusedError(f"'count' must be from 1 to {MAX_COUNT}.")
    submission = door.plain_submission(
        builder,
        branch=text(params, "branch") or None,
        revision=text(params, "revision") or None,
        properties=properties,
        reason=text(params, "reason"),
        who=text(params, "owner"),
        count=count,
    )
    return await submit(door, submission)


def force_form(door: Door, name: str) -> ForceForm:
    """The force scheduler of that name. Raises MissingError."""
    for form in door.force_forms():
        if form.name == name:
            return form
    raise MissingError(f"There is no force scheduler '{name}'.")


def _builders_of(door: Door, form: ForceForm, params: Params) -> Sequence[str]:
    """Which builders a filled-in form is for: `builderid`, `builderNames`, or the form's only one."""
    known = list(form.spec()["builder_names"])
    names = {str(number): name for name, number in door.state.builder_ids.items()}
    wanted: Any = params.get("builderNames")
    if wanted is None and params.get("builderid") is not None:
        wanted = names.get(str(params["builderid"]), f"with the id {params['builderid']}")
    if wanted is None and len(known) > 1:
        raise RefusedError(f"Say for which builder: builderid, or builderNames of {', '.join(known)}.")
    chosen = [wanted] if isinstance(wanted, str) else known if wanted is None else wanted
    if not isinstance(chosen, list) or not chosen or not all(isinstance(each, str) for each in chosen):
        raise RefusedError("'builderNames' must be a list of builders' names.")
    for each in chosen:
        if each not in known:
            raise RefusedError(f"Force scheduler '{form.name}' has no builder '{each}'; it has {', '.join(known)}.")
    return chosen


async def force_by_form(door: Door, name: str, params: Params) -> list[Any]:
    """What a filled-in force scheduler asks for."""
    form = force_form(door, name)
    builders = _builders_of(door, form, params)
    who = text(params, "owner") or text(params, "username")
    values = {key: value for key, value in params.items() if key not in ("builderid", "builderNames", "owner")}
    submissions = [form.submission(values, builder, who) for builder in builders]
    requests = tuple(wish for submission in submissions for wish in submission.requests)
    return await submit(door, replace(submissions[0], requests=requests))


async def cancel(door: Door, brid: int, params: Params) -> None:
    """Cancel a request; if it is building, its build is stopped."""
    only(params, "reason", "owner")
    if brid not in door.state.requests:
        raise RefusedError(f"Build request {brid} is complete; there is nothing to cancel.")
    await door.ask(e.CancelAsked(brid=brid, reason=text(params, "reason"), who=text(params, "owner")))


async def set_priority(door: Door, brid: int, params: Params) -> None:
    """Give a waiting request another priority."""
    only(params, "priority", "owner")
    await door.ask(e.PriorityAsked(brid=brid, priority=whole(params, "priority")))


async def stop(door: Door, buildid: int, params: Params) -> None:
    """Stop a build."""
    only(params, "reason", "owner", "results")
    whole(params, "results", 0)
    if buildid not in door.state.builds:
        raise RefusedError(f"Build {buildid} has ended; there is nothing to stop.")
    await door.ask(e.StopAsked(buildid=buildid, reason=text(params, "reason"), who=text(params, "owner")))


async def rebuild(door: Door, build: Item, params: Params) -> list[Any]:
    """Ask for a build again: same source stamps, same properties as its request had."""
    only(params, "reason", "owner")
    submission = await asyncio.to_thread(_again, door.reads, build, text(params, "reason"), text(params, "owner"))
    return await submit(door, submission)


def _again(reads: Queries, build: Item, reason: str, who: str) -> Submission:
    request = reads.get("buildrequests", build["buildrequestid"], ("*",))
    buildset = reads.get("buildsets", request["buildsetid"]) if request is not None else None
    builder = reads.get("builders", build["builderid"])
    if request is None or buildset is None or builder is None:
        raise MissingError(f"What build {build['buildid']} was asked for is not stored any more.")
    properties: Properties = {name: (value, source) for name, (value, source) in (request["properties"] or {}).items()}
    stamps = tuple(_stamp(reads, each) for each in buildset["sourcestamps"])
    default = f"rebuild of {builder['name']} #{build['number']}" + (f" by {who}" if who else "")
    return Submission(
        requests=(RequestWish(builder=builder["name"], priority=request["priority"]),),
        reason=reason or default,
        sourcestamps=stamps or (SourceStamp(),),
        properties=properties,
        rebuilt_buildid=build["buildid"],
        collapse=False,
    )


def _stamp(reads: Queries, item: Item) -> SourceStamp:
    patch = item["patch"]
    return SourceStamp(
        codebase=item["codebase"],
        repository=item["repository"],
        project=item["project"],
        branch=item["branch"],
        revision=item["revision"],
        changes=tuple(change["changeid"] for change in reads.changes_of_sourcestamp(item["ssid"])),
        patch=None
        if patch is None
        else Patch(
            body=patch["body"].encode(),
            level=patch["level"],
            subdir=patch["subdir"],
            author=patch["author"] or "",
            comment=patch["comment"] or "",
        ),
    )


async def pause(door: Door, worker: str, params: Params, *, paused: bool) -> None:
    """Let a worker get no new builds, or let it go on."""
    only(params, "reason", "owner")
    text(params, "owner")
    await door.ask(e.WorkerPauseAsked(worker=worker, paused=paused, reason=text(params, "reason")))


async def declare_dead(door: Door, worker: str, params: Params) -> None:
    """A person says that nothing runs any more on a worker that is out of reach (L61)."""
    only(params, "owner")
    await door.ask(e.WorkerDeclaredDead(worker=worker, who=text(params, "owner")))


async def reload(door: Door, params: Params) -> list[str]:
    """Read the configuration again. Returns warnings."""
    only(params, "owner")
    text(params, "owner")
    return list(await door.reload())


async def builder_named(door: Door, text: str) -> str:
    """The name of the builder with this id or name. Raises MissingError."""
    if text in door.state.builders:
        return text
    item = await find(door, rest.builder, {"builder": text})
    return str(item["name"])
