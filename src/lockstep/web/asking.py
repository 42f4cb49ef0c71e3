"""How the REST API is asked: `field`, filters with operators, `order`, `limit`, `offset`, `property` (BUILDBOT.md 3).

The query string becomes an `Asked`. What is in the store is filtered there; short lists that are not are filtered here.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from lockstep.storage.filters import OPERATORS, Filter, QueryError, convert, unknown
from lockstep.web.limits import MAX_QUERY_FIELDS

Item = dict[str, Any]


class MissingError(Exception):
    """There is no such thing. The message is a sentence for whoever asked."""


class Answer(Struct):
    """What a path of the API gives: things of one kind, under their plural name."""

    kind: str
    items: Sequence[Any]
    total: int | None = None


class Asked(Struct, frozen=True, kw_only=True):
    """A query string, taken apart."""

    fields: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    order: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    properties: tuple[str, ...] = ()
    extra: Mapping[str, str] = {}

    def narrowed(self, *filters: Filter) -> "Asked":
        """The same, of fewer things."""
        return Asked(
            fields=self.fields,
            filters=(*filters, *self.filters),
            order=self.order,
            limit=self.limit,
            offset=self.offset,
            properties=self.properties,
            extra=self.extra,
        )


def equals(field: str, value: Any) -> Filter:
    """`field=value`."""
    return Filter(field, "eq", (value,))


def parse(query: str, extra: Sequence[str] = ()) -> Asked:
    """A query string as an `Asked`. `extra` are parameters of one path's own.

    Raises:
        QueryError: it means nothing.
    """
    if not query:
        return Asked()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise QueryError(f"more than {MAX_QUERY_FIELDS} parameters are too many") from None
    many: dict[str, list[str]] = {}
    for name, value in pairs:
        many.setdefault(name, []).append(value)
    return Asked(
        fields=_names(many.pop("field", [])),
        order=_names(many.pop("order", [])),
        properties=_names(many.pop("property", [])),
        limit=_number("limit", many.pop("limit", None)),
        offset=_number("offset", many.pop("offset", None)) or 0,
        extra={name: many.pop(name)[-1] for name in extra if name in many},
        filters=tuple(_filter(name, values) for name, values in many.items()),
    )


def _names(values: list[str]) -> tuple[str, ...]:
    return tuple(value for value in values if value)


def _number(name: str, values: list[str] | None) -> int | None:
    if not values:
        return None
    if not values[-1].isascii() or not values[-1].isdigit() or len(values[-1]) > 18:
        raise QueryError(f"'{name}' must be a whole number from 0 on, not '{values[-1][:40]}'")
    return int(values[-1])


def _filter(name: str, values: list[str]) -> Filter:
    field, _, op = name.partition("__")
    op = op or "eq"
    if op not in OPERATORS:
        raise QueryError(f"there is no operator '{op[:40]}'; use one of {', '.join(OPERATORS)}")
    return Filter(field, op, tuple(None if value == "null" else value for value in values))


_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def chosen(kind: str, items: Sequence[Item], asked: Asked) -> Answer:
    """Filter, order and cut a short list that is not in the store.

    Raises:
        QueryError: an unknown field, or a value of the wrong kind.
    """
    known = {name for item in items for name in item}
    if items:
        for name in [*(f.field for f in asked.filters), *(o.removeprefix("-") for o in asked.order)]:
            if name not in known:
                raise unknown(name, dict.fromkeys(known), kind)
    found = [item for item in items if all(_holds(item, one) for one in asked.filters)]
    for order in reversed(asked.order):
        name = order.removeprefix("-")
        found.sort(key=lambda item: (item.get(name) is None, str(item.get(name)).zfill(20)), reverse=order[0] == "-")
    end = None if asked.limit is None else asked.offset + asked.limit
    return Answer(kind, found[asked.offset : end], len(found))


def _holds(item: Item, one: Filter) -> bool:
    value = item.get(one.field)
    if one.op == "contains":
        return any(str(each) in value for each in one.values) if isinstance(value, str | list | tuple) else False
    kind: Any = "bool" if isinstance(value, bool) else "int" if isinstance(value, int | float) else "str"
    wanted = [convert(each, kind, one.field) for each in one.values]
    if one.op in ("eq", "ne"):
        return (value in wanted) == (one.op == "eq")
    if value is None or None in wanted:
        return False
    return _COMPARE[one.op](value, wanted[0])


def only_fields(items: Sequence[Any], fields: Sequence[str], kind: str) -> Sequence[Any]:
    """The items with the wanted fields alone.

    Raises:
        QueryError: no item has such a field.
    """
    if not fields or not items:
        return items
    known = items[0]
    if isinstance(known, dict):
        for field in fields:
            if field not in known:
                raise unknown(field, known, kind)
    return [{field: item.get(field) for field in fields} if isinstance(item, dict) else item for item in items]
