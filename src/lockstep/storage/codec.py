"""How values become bytes and text in columns, and values again. Nothing else."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from lockstep.core import alloc_facts, calls, facts, nouns, records, values

_packer: Final = msgspec.msgpack.Encoder()
_json: Final = msgspec.json.Encoder()

RESULT_TYPES: Final[dict[type, Any]] = {
    calls.RunCommand: calls.CommandResult,
    calls.StartBuilds: list[calls.Triggered],
}
"""What the result of a call is where it is more than plain values."""


def scrub(value: Any) -> Any:
    """Plain values without what no store takes: halves of surrogate pairs, as undecodable file names have them."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {scrub(key): scrub(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return value


def pack(value: Any) -> bytes:
    """Msgpack of anything that msgspec knows."""
    try:
        return _packer.encode(value)
    except UnicodeEncodeError:
        return _packer.encode(scrub(msgspec.to_builtins(value, builtin_types=(bytes,))))


def to_json(value: Any) -> str:
    """JSON text of anything that msgspec knows."""
    try:
        return _json.encode(value).decode()
    except UnicodeEncodeError:
        return _json.encode(scrub(msgspec.to_builtins(value))).decode()


def clean(text: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "�")


def clean_or_none(text: str | None) -> str | None:
    """As `clean`, for what may be missing."""
    return None if text is None else clean(text)


def tuples(value: Any) -> Any:
    """A value with tuples for lists, all the way down: what is compared or hashed is made of tuples."""
    return tuple(tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _lazy(type_: Any) -> Callable[[bytes], Any]:
    """A msgpack decoder that is made at its first use."""
    decoder: list[msgspec.msgpack.Decoder[Any]] = []

    def decode(data: bytes) -> Any:
        if not decoder:
            decoder.append(msgspec.msgpack.Decoder(type_))
        return decoder[0].decode(data)

    return decode


fact_of: Final[Callable[[bytes], Any]] = _lazy(facts.AnyFact)
pool_of: Final[Callable[[bytes], Any]] = _lazy(values.PoolSetup)
pool_memory_of: Final[Callable[[bytes], Any]] = _lazy(alloc_facts.PoolMemory)
share_memory_of: Final[Callable[[bytes], Any]] = _lazy(alloc_facts.ShareMemory)
names_of: Final[Callable[[bytes], Any]] = _lazy(tuple[str, ...])
units_of: Final[Callable[[bytes], Any]] = _lazy(alloc_facts.Units)
need_of: Final[Callable[[bytes], Any]] = _lazy(nouns.Need)
alternative_of: Final[Callable[[bytes], Any]] = _lazy(nouns.Alternative)
wish_of: Final[Callable[[bytes], Any]] = _lazy(values.BookingWish)
rank_of: Final[Callable[[bytes], Any]] = _lazy(values.Rank)
plans_of: Final[Callable[[bytes], Any]] = _lazy(list[values.StepPlan])
patch_of: Final[Callable[[bytes], Any]] = _lazy(values.Patch)
fences_of: Final[Callable[[bytes], Any]] = _lazy(dict[str, int])
numbers_of: Final[Callable[[bytes], Any]] = _lazy(tuple[int, ...])
tails_of: Final[Callable[[bytes], Any]] = _lazy(dict[str, bytes])
plain_of: Final[Callable[[bytes], Any]] = _lazy(Any)
counters_of: Final[Callable[[bytes], Any]] = _lazy(records.Counters)
_properties = msgspec.json.Decoder(values.Properties)


def properties_of(text: str) -> values.Properties:
    """Properties from their column."""
    return _properties.decode(text)


def result_of(call: calls.Call, result: Any) -> Any:
    """A call's stored result with the type that its docstring names."""
    wanted = RESULT_TYPES.get(type(call))
    return result if wanted is None or result is None else msgspec.convert(result, wanted)


def from_json(text: str) -> Any:
    """A plain value from its JSON."""
    return msgspec.json.decode(text)
