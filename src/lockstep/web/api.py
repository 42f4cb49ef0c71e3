"""`/api/v2` over HTTP: the tables of `rest.py`, `rpc.py`, `waits.py` and `logs.py` as Litestar's routes.

Here queries are taken from the URL and answers become JSON; what the answers are is decided in those files.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from lockstep.core.answers import Why
from lockstep.storage.filters import QueryError
from lockstep.web import actions, bookings, lock_history, logs, rest, rpc, spec, waits
from lockstep.web.asking import Answer, Asked, Item, chosen, only_fields, parse
from lockstep.web.door import Door
from lockstep.web.guard import HTML_LOG_POLICY
from lockstep.web.live import Hub, fact_stream, kinds_of

BASE: Final = "/api/v2"

Asking = Request[Any, Any, Any]
Endpoint = Callable[[Asking], Awaitable[Response[Any]]]
InBoth = Callable[[Door, Mapping[str, str], Asked], Awaitable[Answer]]
InState = Callable[[Door, Mapping[str, str], Asked], Answer]

_encode = msgspec.json.Encoder().encode
NO_STORE: Final = {"cache-control": "no-store"}
STREAM_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


def reply(body: Any, status: int = 200) -> Response[bytes]:
    """JSON."""
    return Response(_encode(body), status_code=status, media_type="application/json", headers=NO_STORE)


def answer(found: Answer, asked: Asked) -> Response[bytes]:
    """Things of one kind in Buildbot's envelope."""
    items = only_fields(found.items, asked.fields, found.kind)
    meta = {} if found.total is None else {"total": found.total}
    return reply({found.kind: items, "meta": meta})


def params_of(request: Asking) -> Mapping[str, str]:
    """The parts of the path that name things."""
    return {name: unquote(str(value)) for name, value in request.path_params.items()}


def query_of(request: Asking, *extra: str) -> Asked:
    """The query string, taken apart. Raises QueryError."""
    return parse(request.scope["query_string"].decode("latin-1"), extra)


def _stored(door: Door, handler: rest.Handler) -> Endpoint:
    """An endpoint that reads the store, in a thread."""

    async def endpoint(request: Asking) -> Response[Any]:
        asked = msgspec.structs.replace(query_of(request), extra={"now": str(door.now())})
        found = await asyncio.to_thread(handler, door.reads, params_of(request), asked)
        return answer(found, asked)

    return endpoint


def _in_state(door: Door, handler: InState, *extra: str) -> Endpoint:
    """An endpoint that reads the state, in the event loop."""

    async def endpoint(request: Asking) -> Response[Any]:
        asked = query_of(request, *extra)
        return answer(handler(door, params_of(request), asked), asked)

    return endpoint


def _in_both(door: Door, handler: InBoth, *extra: str) -> Endpoint:
    """An endpoint that reads the state and then the store."""

    async def endpoint(request: Asking) -> Response[Any]:
        asked = query_of(request, *extra)
        return answer(await handler(door, params_of(request), asked), asked)

    return endpoint


def _rpc(door: Door, path: str) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        done = await rpc.call(door, path, params_of(request), await request.body())
        return reply(done.body, done.status)

    return endpoint


def _route(path: str, endpoint: Endpoint, make: Any = get, status: int = 200) -> HTTPRouteHandler:
    """A route of Litestar's for a function that takes the request."""

    async def handle(request: Asking) -> Response[Any]:
        return await endpoint(request)

    route: HTTPRouteHandler = make(f"{BASE}/{path}" if path else BASE, status_code=status)(handle)
    return route


# --- force schedulers


def _force_schedulers(door: Door, ids: Mapping[str, str], asked: Asked) -> Answer:
    found = [dict(form.spec()) for form in door.force_forms()]
    if "form" in ids:
        return Answer("forceschedulers", [dict(actions.force_form(door, ids["form"]).spec())])
    return chosen("forceschedulers", found, asked)


def _forms_of_builder(door: Door) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        asked = query_of(request)
        name = await actions.builder_named(door, params_of(request)["builder"])
        found = [dict(form.spec()) for form in door.force_forms()]
        return answer(chosen("forceschedulers", [f for f in found if name in f["builder_names"]], asked), asked)

    return endpoint


# --- why


def _why_request(door: Door) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        item = await actions.find(door, rest.request, params_of(request))
        return _told(await waits.why_request(door, item["buildrequestid"]), item, "build request")

    return endpoint


def _why_build(door: Door, finder: rest.Finder) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        item = await actions.find(door, finder, params_of(request))
        return _told(await waits.why_build(door, item["buildid"]), item, "build")

    return endpoint


def _told(why: Why | None, item: Item, what: str) -> Response[bytes]:
    if why is None:
        reason = item.get("ended_reason")
        sentence = f"The {what} is complete: {reason.removesuffix('.')}." if reason else f"The {what} is complete."
        why = Why(kind="ended", sentence=sentence, since=item["complete_at"])
    return reply({"why": [waits.told(why)], "meta": {}})


# --- logs


def _contents(door: Door, finder: rest.Finder) -> Endpoint:
    """The lines of a log as JSON, piece by piece: a log may be far longer than what a server has memory for."""

    async def endpoint(request: Asking) -> Response[Any]:
        asked = query_of(request)
        log = await actions.find(door, finder, params_of(request))
        chunk = {"logid": log["logid"], "firstline": asked.offset, "content": ""}
        (item,) = only_fields([chunk], asked.fields, "logchunks")
        if "content" not in item:
            return reply({"logchunks": [item], "meta": {}})
        rest_of_it = {name: value for name, value in item.items() if name != "content"}
        head = _encode(rest_of_it).decode().removesuffix("}")
        lines = door.reads.log_lines(log["logid"], asked.offset, asked.limit)
        text = logs.in_thread(_enveloped(head + (", " if rest_of_it else ""), lines))
        return Stream(text, media_type="application/json", headers=NO_STORE)

    return endpoint


def _growing(door: Door, finder: rest.Finder) -> Endpoint:
    """The lines of a log that have not ended, which `contents` has not."""

    async def endpoint(request: Asking) -> Response[Any]:
        log = await actions.find(door, finder, params_of(request))
        content = door.growing(log["logid"])
        chunk = {"logid": log["logid"], "firstline": log["num_lines"], "content": content}
        return reply({"logchunks": only_fields([chunk], query_of(request).fields, "logchunks"), "meta": {}})

    return endpoint


def _enveloped(head: str, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    """The pieces of a log's text as one JSON string, in Buildbot's envelope."""
    yield f'{{"logchunks":[{head}"content":"'
    for _, text in lines:
        yield _encode(text).decode()[1:-1]
    yield '"}],"meta":{}}'


def _raw(door: Door, finder: rest.Finder, *, inline: bool) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        log = await actions.find(door, finder, params_of(request))
        html = inline and log["type"] == "h"
        headers = dict(NO_STORE)
        if html:
            headers["content-security-policy"] = HTML_LOG_POLICY
        if not inline:
            name = f"{log['slug']}.{'html' if log['type'] == 'h' else 'txt'}"
            headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
        kind = "text/html" if html else "text/plain"
        text = logs.in_thread(logs.raw(door.reads, log))
        return Stream(text, media_type=kind, headers=headers)

    return endpoint


def _follow(door: Door, hub: Hub, finder: rest.Finder) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        hub.room()
        asked = query_of(request)
        log = await actions.find(door, finder, params_of(request))
        first = rest.number(request.headers.get("last-event-id", ""))
        first = asked.offset if first is None else first
        events = logs.follow_events(logs.Lines(hub, door, log["logid"], first))
        return Stream(events, media_type="text/event-stream", headers=STREAM_HEADERS)

    return endpoint


# --- events, root, specification


def _events(door: Door, hub: Hub) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        hub.room()
        asked = query_of(request, "after", "kinds")
        text = request.headers.get("last-event-id") or asked.extra.get("after")
        after = None if text is None else rest.number(text)
        if text is not None and after is None:
            raise QueryError(f"'after' must be the number of an event, not '{text[:40]}'")
        kinds = kinds_of(asked.extra.get("kinds", ""))
        events = fact_stream(hub, door, kinds, after)
        return Stream(events, media_type="text/event-stream", headers=STREAM_HEADERS)

    return endpoint


def _constant(kind: str, items: list[Item]) -> Endpoint:
    async def endpoint(request: Asking) -> Response[Any]:
        asked = query_of(request)
        return answer(chosen(kind, items, asked), asked)

    return endpoint


# --- all of it


def routes(door: Door, hub: Hub) -> list[HTTPRouteHandler]:
    """Every route of the API."""
    made = [_route(path, _stored(door, each)) for path, each in rest.ROUTES.items()]
    made += [_route(path, _rpc(door, path), post) for path in rpc.METHODS]
    own: dict[str, Endpoint] = {
        "": _constant("rootlinks", [{"name": name} for name in spec.ROOTS]),
        "application.spec": _constant("specs", spec.specs()),
        "forceschedulers": _in_state(door, _force_schedulers),
        "forceschedulers/{form:str}": _in_state(door, _force_schedulers),
        "builders/{builder:str}/forceschedulers": _forms_of_builder(door),
        "buildrequests/{brid:str}/why": _why_request(door),
        "why/request/{brid:str}": _why_request(door),
        "why/build/{build:str}": _why_build(door, rest.build),
        "locks": _in_state(door, waits.locks, "waiters"),
        "locks/{lock:str}": _in_state(door, waits.locks, "waiters"),
        "locks/{lock:str}/history": _in_both(door, lock_history.history),
        "locks/{lock:str}/use": _in_both(door, lock_history.use, "seconds"),
        "lock_use": _in_both(door, lock_history.use, "seconds"),
        "locks/{lock:str}/fences/{fence:str}": _in_state(door, bookings.fence),
        "claims": _in_both(door, waits.claims),
        "events": _events(door, hub),
    }
    for path, finder in rest.BUILD_PATHS.items():
        own[f"{path}/why"] = _why_build(door, finder)
    for path, finder in rest.LOG_PATHS.items():
        own[f"{path}/contents"] = _contents(door, finder)
        own[f"{path}/raw"] = _raw(door, finder, inline=False)
        own[f"{path}/raw_inline"] = _raw(door, finder, inline=True)
        own[f"{path}/growing"] = _growing(door, finder)
        own[f"{path}/follow"] = _follow(door, hub, finder)
    return made + [_route(path, endpoint) for path, endpoint in own.items()]
