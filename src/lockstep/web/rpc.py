"""JSON-RPC 2.0 as Buildbot's API has it: POST a method to a thing (BUILDBOT.md section 3).

A table from path to methods, and what is around a call: taking the body apart, answering, refusing. What a method does
is in `actions.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from lockstep.core.errors import AwayError, RefusedError
from lockstep.storage.filters import QueryError
from lockstep.web import actions, bookings, rest
from lockstep.web.asking import MissingError
from lockstep.web.door import Door

Ids = Mapping[str, str]
Method = Callable[[Door, Ids, Mapping[str, Any]], Awaitable[Any]]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603


class RpcAnswer(Struct):
    """The status of an answer and its body."""

    status: int
    body: dict[str, Any]


class _CallError(Exception):
    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


async def _force(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await actions.force(door, await actions.builder_named(door, ids["builder"]), params)


async def _force_by_form(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await actions.force_by_form(door, ids["form"], params)


async def _cancel(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    request = await actions.find(door, rest.request, ids)
    return await actions.cancel(door, request["buildrequestid"], params)


async def _set_priority(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    request = await actions.find(door, rest.request, ids)
    return await actions.set_priority(door, request["buildrequestid"], params)


def _of_build(path: str) -> dict[str, Method]:
    finder = rest.BUILD_PATHS[path]

    async def stop(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
        build = await actions.find(door, finder, ids)
        return await actions.stop(door, build["buildid"], params)

    async def rebuild(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
        return await actions.rebuild(door, await actions.find(door, finder, ids), params)

    return {"stop": stop, "rebuild": rebuild}


async def _pause(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await actions.pause(door, (await actions.find(door, rest.worker, ids))["name"], params, paused=True)


async def _unpause(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await actions.pause(door, (await actions.find(door, rest.worker, ids))["name"], params, paused=False)


async def _declare_dead(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await actions.declare_dead(door, (await actions.find(door, rest.worker, ids))["name"], params)


async def _acquire(door: Door, _ids: Ids, params: Mapping[str, Any]) -> Any:
    return await bookings.acquire(door, params)


def _of_booking(act: Callable[[Door, int, Mapping[str, Any]], Awaitable[Any]]) -> Method:
    async def call_(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
        booking = await actions.find(door, rest.booking, ids)
        return await act(door, booking["bookingid"], params)

    return call_


async def _steal(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await bookings.steal_lock(door, ids["lock"], params)


async def _quarantine(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await bookings.quarantine(door, ids["lock"], params)


async def _lift(door: Door, ids: Ids, params: Mapping[str, Any]) -> Any:
    return await bookings.lift(door, ids["lock"], params)


async def _reload(door: Door, _ids: Ids, params: Mapping[str, Any]) -> Any:
    return await actions.reload(door, params)


def _not_here(why: str) -> Method:
    async def refuse(_door: Door, _ids: Ids, _params: Mapping[str, Any]) -> Any:
        raise RefusedError(why)

    return refuse


METHODS: Final[dict[str, dict[str, Method]]] = {
    "builders/{builder:str}": {"force": _force},
    "forceschedulers/{form:str}": {"force": _force_by_form},
    "buildrequests/{brid:str}": {"cancel": _cancel, "set_priority": _set_priority},
    **{path: _of_build(path) for path in rest.BUILD_PATHS},
    "workers/{worker:str}": {
        "pause": _pause,
        "unpause": _unpause,
        "declare_dead": _declare_dead,
        "stop": _not_here("A worker is stopped where it runs (end its process); here it can be paused."),
        "kill": _not_here("A worker is ended where it runs; when it is out of reach for good, use declare_dead."),
    },
    "schedulers/{scheduler:str}": {
        "enable": _not_here("Schedulers cannot be switched off yet; take it out of the configuration and reload."),
    },
    "bookings": {"acquire": _acquire},
    "bookings/{booking:str}": {
        "wait": _of_booking(bookings.wait),
        "renew": _of_booking(bookings.renew),
        "extend": _of_booking(bookings.extend),
        "release": _of_booking(bookings.release),
        "steal": _of_booking(bookings.steal_booking),
    },
    "locks/{lock:str}": {
        "steal": _steal,
        "quarantine": _quarantine,
        "lift": _lift,
    },
    "control": {"reload": _reload},
}
"""Path below `/api/v2` to its methods."""


async def call(door: Door, path: str, ids: Ids, body: bytes) -> RpcAnswer:
    """Carry out one call and answer it."""
    id_: Any = None
    try:
        request = _parse(body)
        id_ = request.get("id")
        method, params = _method(path, request)
        result = await method(door, ids, params)
    except _CallError as error:
        return _error(id_, error.status, error.code, error.text)
    except AwayError as error:
        return _error(id_, 503, INTERNAL_ERROR, str(error))
    except (RefusedError, QueryError) as error:
        return _error(id_, 400, INVALID_PARAMS, str(error))
    except MissingError as error:
        return _error(id_, 404, INVALID_REQUEST, str(error))
    return RpcAnswer(200, {"id": id_, "jsonrpc": "2.0", "result": result})


def _error(id_: Any, status: int, code: int, text: str) -> RpcAnswer:
    return RpcAnswer(status, {"id": id_, "jsonrpc": "2.0", "error": {"code": code, "message": text}})


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _CallError(400, PARSE_ERROR, f"The body is no JSON: {error}.") from None
    if not isinstance(request, dict):
        raise _CallError(400, INVALID_REQUEST, "The body must be one JSON-RPC request, an object.")
    if request.get("jsonrpc") != "2.0":
        raise _CallError(400, INVALID_REQUEST, "'jsonrpc' must be \"2.0\".")
    id_ = request.get("id")
    if isinstance(id_, bool) or not isinstance(id_, str | int | None):
        raise _CallError(400, INVALID_REQUEST, "'id' must be a text, a number or null.")
    return request


def _method(path: str, request: dict[str, Any]) -> tuple[Method, dict[str, Any]]:
    name = request.get("method")
    params = request.get("params", {})
    if not isinstance(name, str):
        raise _CallError(400, INVALID_REQUEST, "'method' must be a text.")
    if not isinstance(params, dict):
        raise _CallError(400, INVALID_REQUEST, "'params' must be an object.")
    methods = METHODS[path]
    if name not in methods:
        known = ", ".join(sorted(methods))
        raise _CallError(501, METHOD_NOT_FOUND, f"There is no method '{name[:60]}' here; there are {known}.")
    return methods[name], params
