"""What the forms of the pages do: the same actions as the API's, from fields of text.

A table from address to act; each returns where to go on, or nothing for the page that the form was on.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from lockstep.core.errors import WrongFieldsError
from lockstep.web import actions, bookings, rest, views
from lockstep.web.door import Door

Form = list[tuple[str, str]]
Act = Callable[[Door, Mapping[str, str], Form], Awaitable[str]]


def _texts(form: Form, *names: str) -> dict[str, Any]:
    given = dict(form)
    return {name: given[name].strip() for name in names if given.get(name, "").strip()}


def _whole(given: dict[str, Any], name: str) -> None:
    if name in given:
        try:
            given[name] = int(given[name])
        except ValueError:
            raise WrongFieldsError({name: f"{given[name]!r} is no whole number"}) from None


async def _requested(door: Door, answer: list[Any]) -> str:
    """The page of what was asked for: the request, or with several the builder."""
    bsid, brids = answer
    request = next(iter(brids.values()), 0)
    return f"/requests/{request}" if len(brids) == 1 and bsid else "/"


async def _force(door: Door, ids: Mapping[str, str], form: Form) -> str:
    given = _texts(form, "branch", "revision", "reason", "owner", "count")
    _whole(given, "count")
    properties = {}
    for line in dict(form).get("properties", "").splitlines():
        name, equals, value = line.partition("=")
        if line.strip() and not equals:
            raise WrongFieldsError(
                {"properties": f"{line.strip()[:60]!r} is no property; write NAME=VALUE, one a line"}
            )
        if line.strip():
            properties[name.strip()] = value.strip()
    name = await actions.builder_named(door, ids["builder"])
    answer = await actions.force(door, name, {**given, "properties": properties})
    return views.builder_path(door, name) if given.get("count", 1) > 1 else await _requested(door, answer)


async def _force_form(door: Door, ids: Mapping[str, str], form: Form) -> str:
    name = await actions.builder_named(door, ids["builder"])
    values: dict[str, Any] = {"builderNames": [name]}
    for field, value in form:
        values[field] = [*values[field], value] if isinstance(values.get(field), list) else value
        if sum(1 for other, _ in form if other == field) > 1 and not isinstance(values[field], list):
            values[field] = [value]
    return await _requested(door, await actions.force_by_form(door, ids["form"], values))


async def _cancel(door: Door, ids: Mapping[str, str], form: Form) -> str:
    request = await actions.find(door, rest.request, ids)
    await actions.cancel(door, request["buildrequestid"], _texts(form, "reason"))
    return ""


async def _priority(door: Door, ids: Mapping[str, str], form: Form) -> str:
    request = await actions.find(door, rest.request, ids)
    given = _texts(form, "priority")
    _whole(given, "priority")
    await actions.set_priority(door, request["buildrequestid"], given)
    return ""


async def _stop(door: Door, ids: Mapping[str, str], form: Form) -> str:
    build = await actions.find(door, rest.build, ids)
    await actions.stop(door, build["buildid"], _texts(form, "reason"))
    return ""


async def _rebuild(door: Door, ids: Mapping[str, str], form: Form) -> str:
    build = await actions.find(door, rest.build, ids)
    return await _requested(door, await actions.rebuild(door, build, _texts(form, "reason")))


async def _end_booking(door: Door, ids: Mapping[str, str], form: Form) -> str:
    """Release a booking; what a program wants or has is taken away from it."""
    ticket = (await actions.find(door, rest.booking, ids))["bookingid"]
    booking = door.state.bookings.get(ticket)
    if booking is None or not booking.wish.key:
        await bookings.release(door, ticket, {})
    else:
        reason = "cancelled on a page" if booking.state == "waiting" else ""
        await bookings.steal_booking(door, ticket, {"reason": reason, **_texts(form, "reason")})
    return ""


async def _quarantine(door: Door, ids: Mapping[str, str], form: Form) -> str:
    await bookings.quarantine(door, f"{ids['pool']}/{ids['unit']}", _texts(form, "reason"))
    return ""


async def _lift(door: Door, ids: Mapping[str, str], form: Form) -> str:
    """Of one unit, or where none is named of all that are in quarantine."""
    name = f"{ids['pool']}/{ids['unit']}" if "unit" in ids else ids["pool"]
    await bookings.lift(door, name, _texts(form))
    return ""


def _pause(*, paused: bool) -> Act:
    async def act(door: Door, ids: Mapping[str, str], form: Form) -> str:
        worker = await actions.find(door, rest.worker, ids)
        await actions.pause(door, worker["name"], _texts(form, "reason"), paused=paused)
        return ""

    return act


async def _dead(door: Door, ids: Mapping[str, str], _form: Form) -> str:
    worker = await actions.find(door, rest.worker, ids)
    await actions.declare_dead(door, worker["name"], {})
    return ""


def filled_again(path: str, ids: Mapping[str, str], form: Form, error: Exception) -> dict[str, Any] | None:
    """What the page of a form that was refused shows: the form as it was filled in, with what is wrong at its fields.

    None for forms that have nothing to fill in.
    """
    if path not in AGAIN:
        return None
    values: dict[str, list[str]] = {}
    for name, value in form:
        values.setdefault(name, []).append(value)
    fields = error.fields if isinstance(error, WrongFieldsError) else {}
    return {"form": ids.get("form", ""), "values": values, "fields": fields, "sentence": str(error)}


AGAIN: Final = {
    "/builders/{builder:str}/force": views.builder,
    "/builders/{builder:str}/force/{form:str}": views.builder,
}
"""Address of a form that a person fills in, to the page that it is on."""

FORMS: Final[dict[str, Act]] = {
    "/builders/{builder:str}/force": _force,
    "/builders/{builder:str}/force/{form:str}": _force_form,
    "/requests/{brid:str}/cancel": _cancel,
    "/requests/{brid:str}/priority": _priority,
    "/builds/{build:str}/stop": _stop,
    "/builds/{build:str}/rebuild": _rebuild,
    "/bookings/{booking:str}/end": _end_booking,
    "/locks/{pool:str}/{unit:str}/quarantine": _quarantine,
    "/locks/{pool:str}/{unit:str}/lift": _lift,
    "/locks/{pool:str}/lift": _lift,
    "/workers/{worker:str}/pause": _pause(paused=True),
    "/workers/{worker:str}/unpause": _pause(paused=False),
    "/workers/{worker:str}/dead": _dead,
}
"""Address to what a form that is sent there does."""
