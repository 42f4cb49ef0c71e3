"""What a build is told of the units that it has of pools: properties, and the environment that follows from them.

Of a pool `boards` the property `units:boards` has the names, always as a list. `unit:boards` and, for what else is
known of its units, `unit:boards:address` are plain values where it is one unit, and lists in the order of the names
where it is several.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, count
from typing import Any, Final

import msgspec

from lockstep.core.alloc_facts import Units
from lockstep.core.nouns import variable
from lockstep.core.values import PoolSetup

SOURCE: Final = "Lock"
"""Where these properties come from, as fences do."""
_NAMES: Final = "units:"
_ONE: Final = "unit:"
PREFIXES: Final = (_NAMES, _ONE)


def properties(units: Units, pools: Mapping[str, PoolSetup]) -> dict[str, Any]:
    """The properties that tell of these units. Of one that is configured no more, only its name is known."""
    found: dict[str, Any] = {}
    for name, names in units:
        pool = pools.get(name)
        known = {unit.name: unit.data for unit in pool.units} if pool is not None else {}
        data = [known.get(unit, {}) for unit in names]
        keys = dict.fromkeys(chain.from_iterable(data))
        found[f"{_NAMES}{name}"] = list(names)
        found[f"{_ONE}{name}"] = _plain(names)
        found |= {f"{_ONE}{name}:{key}": _plain([each.get(key) for each in data]) for key in sorted(keys)}
    return found


def _plain(values: Iterable[Any]) -> Any:
    """The one value, or all of them."""
    every = list(values)
    return every[0] if len(every) == 1 else every


def without(told: Mapping[str, Any], pool: str) -> dict[str, Any]:
    """What is told of the units of all pools but this one."""
    return {name: value for name, value in told.items() if name.split(":")[1] != pool}


def environment(told: Mapping[str, Any]) -> dict[str, str]:
    """The variables that these properties become: `LOCKSTEP_UNITS_BOARDS`, `LOCKSTEP_UNIT_BOARDS_ADDRESS`.

    Of several units each has its number: `LOCKSTEP_UNIT_BOARDS_2_ADDRESS`. Where two would be one variable, the second
    is numbered, as fences are.
    """
    found: dict[str, str] = {}
    names = {name.removeprefix(_NAMES): told[name] for name in sorted(told) if name.startswith(_NAMES)}
    for name, units in names.items():
        _add(found, variable("UNITS", name), ",".join(units))
    for name in sorted(told):
        pool, _, key = name.removeprefix(_ONE).partition(":")
        if not name.startswith(_ONE) or pool not in names:
            continue
        several = told[name] if len(names[pool]) != 1 else [told[name]]
        for number, each in enumerate(several, 1):
            numbered = (pool, str(number)) if len(several) > 1 else (pool,)
            _add(found, variable("UNIT", *numbered, *([key] if key else [])), as_text(each))
    return found


def _add(found: dict[str, str], name: str, value: str) -> None:
    numbered = (f"{name}_{number}" for number in count(2))
    found[next(each for each in chain([name], numbered) if each not in found)] = value


def as_text(value: Any) -> str:
    """A value as the environment has it: texts as they are, nothing for None, else JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
