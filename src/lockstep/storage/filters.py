"""What a caller may ask of a list: filters, order, a page; and the SQL for it. Values never become part of the SQL."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from lockstep.core.limits import MAX_WHOLE
from lockstep.storage.codec import clean, to_json

Kind = Literal["int", "date", "bool", "set", "str", "list"]
"""`date` is a column of float seconds that callers see as integers; `list` a JSON list of strings; `set` is true where
the column has a value: so `complete=false` runs over the index of what is live."""

OPERATORS: Final = ("eq", "ne", "lt", "le", "gt", "ge", "contains")

_TRUE: Final = ("on", "true", "yes", "1")
_FALSE: Final = ("off", "false", "no", "0")


class QueryError(Exception):
    """Somebody asked for what cannot be. The message is a sentence for whoever asked."""


class Field(Struct, frozen=True):
    """A field that can be filtered and ordered by: its SQL expression and its kind."""

    sql: str
    kind: Kind = "int"


class Filter(Struct, frozen=True):
    """`FIELD__op=value`. Several values of `eq` mean any of them, of `ne` none; `None` is null."""

    field: str
    op: str
    values: tuple[Any, ...]


def unknown(field: str, fields: Mapping[str, Any], resource: str) -> QueryError:
    """The error for a field that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(field, fields, 1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(fields))}"
    return QueryError(f"{resource} have no field '{field}'{hint}")


def convert(value: Any, kind: Kind, field: str) -> Any:
    """A value as it came in a URL, as its column has it.

    Raises:
        QueryError: it is not of that kind.
    """
    if value is None:
        return None
    if kind in ("bool", "set"):
        text = str(value).lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise QueryError(f"'{value}' is no truth value for '{field}'; write true or false")
    if kind in ("int", "date"):
        try:
            number = int(value)
        except ValueError:
            raise QueryError(f"'{value}' is no whole number, as '{field}' needs") from None
        if abs(number) >= MAX_WHOLE:  # one more is asked for where seconds are
            raise QueryError(f"'{value}' is more than any '{field}' can be")
        return number
    return clean(str(value))  # as it was stored


def where(filters: Sequence[Filter], fields: Mapping[str, Field], resource: str) -> tuple[str, list[Any]]:
    """The conditions of all filters, joined by AND (empty if there are none), and their values.

    Raises:
        QueryError: an unknown field or operator, or a value of the wrong kind.
    """
    parts: list[str] = []
    values: list[Any] = []
    for one in filters:
        field = fields.get(one.field)
        if field is None:
            raise unknown(one.field, fields, resource)
        if one.op not in OPERATORS:
            raise QueryError(f"there is no operator '{one.op}'; use one of {', '.join(OPERATORS)}")
        if not one.values:
            raise QueryError(f"'{one.field}' needs a value")
        given = [convert(value, "str" if one.op == "contains" else field.kind, one.field) for value in one.values]
        sql, used = _condition(field, one.op, given)
        parts.append(sql)
        values += used
    return " AND ".join(parts), values


def _condition(field: Field, op: str, values: list[Any]) -> tuple[str, list[Any]]:
    if op in ("eq", "ne"):
        every = [_equals(field, value) for value in values]
        sql = " OR ".join(part for part, _ in every)
        used = [value for _, some in every for value in some]
        return (f"({sql})", used) if op == "eq" else (f"NOT coalesce({sql}, FALSE)", used)
    if op == "contains":
        return _contains(field, values)
    if len(values) != 1 or values[0] is None:
        raise QueryError(f"'{op}' needs one value")
    value = values[0]
    if field.kind == "date":  # callers see whole seconds
        sign = {"lt": "<", "ge": ">=", "le": "<", "gt": ">="}[op]
        return f"{field.sql} {sign} ?", [value + 1 if op in ("le", "gt") else value]
    sign = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}[op]
    return f"{field.sql} {sign} ?", [value]


def _equals(field: Field, value: Any) -> tuple[str, list[Any]]:
    if value is None:
        return f"{field.sql} IS NULL", []
    if field.kind == "set":
        return f"{field.sql} IS {'NOT ' if value else ''}NULL", []
    if field.kind == "date":
        return f"({field.sql} >= ? AND {field.sql} < ?)", [value, value + 1]
    if field.kind == "list":
        return _contains(field, [value])
    return f"{field.sql} = ?", [value]


def _contains(field: Field, values: list[Any]) -> tuple[str, list[Any]]:
    if field.kind not in ("str", "list"):
        raise QueryError("'contains' is for texts and lists only")
    # not LIKE: SQLite's ignores case, PostgreSQL's does not; replace() means the same on both
    used = [to_json(str(value)) if field.kind == "list" else str(value) for value in values]
    return "(" + " OR ".join(f"{field.sql} <> replace({field.sql}, ?, '')" for _ in values) + ")", used


def order_by(order: Sequence[str], fields: Mapping[str, Field], resource: str, key: str) -> str:
    """The ORDER BY of `[-]FIELD` names; the key comes last, so that pages do not overlap.

    Raises:
        QueryError: an unknown field.
    """
    parts = []
    last = key
    for name in order:
        bare = name.removeprefix("-")
        field = fields.get(bare)
        if field is None:
            raise unknown(bare, fields, resource)
        direction = " DESC" if name.startswith("-") else ""
        parts.append(f"{field.sql}{direction}")
        last = f"{key}{direction}"
        if field.sql == key:
            return ", ".join(parts)
    return ", ".join([*parts, last])
