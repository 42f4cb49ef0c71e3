"""The parameters of an action, each as what it must be. Raises `RefusedError` with a sentence that names it."""

from collections.abc import Mapping
from typing import Any

from lockstep.core.durations import seconds_of
from lockstep.core.errors import RefusedError

Params = Mapping[str, Any]


def only(params: Params, *names: str) -> None:
    """Refuse parameters that mean nothing here."""
    unknown = sorted(set(params) - set(names))
    if unknown:
        raise RefusedError(f"There is no parameter '{unknown[0]}'; there are {', '.join(names) or 'none'}.")


def text(params: Params, name: str) -> str:
    """A text; empty if it is missing."""
    value = params.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusedError(f"'{name}' must be a text.")
    if "\0" in value:
        raise RefusedError(f"'{name}' cannot have a NUL in it.")
    return value


def whole(params: Params, name: str, default: int | None = None) -> int:
    """A whole number."""
    value = params.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedError(f"'{name}' must be a whole number." if value is not None else f"'{name}' is missing.")
    return value


def number(params: Params, name: str) -> float:
    """A number of seconds, 0 or more; 0 if it is missing."""
    value = params.get(name)
    seconds = 0.0 if value is None else seconds_of(value) if isinstance(value, int | float) else None
    if seconds is None:
        raise RefusedError(f"'{name}' must be a number of seconds, 0 or more.")
    return seconds


def flag(params: Params, name: str) -> bool:
    """True or false; false if it is missing."""
    value = params.get(name)
    if value is not None and not isinstance(value, bool):
        raise RefusedError(f"'{name}' must be true or false.")
    return bool(value)


def mapping(params: Params, name: str) -> dict[str, Any]:
    """Names and values; none if it is missing."""
    value = params.get(name)
    if value is not None and not isinstance(value, dict):
        raise RefusedError(f"'{name}' must be an object: name to value.")
    return value or {}
