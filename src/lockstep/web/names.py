"""What people call locks, in addresses, on the command line and on pages: one meaning for all of them.

`NAME` is a lock of that name, on whichever worker; `NAME@WORKER` (or `NAME on WORKER`) one of a worker; `worker:NAME`
all builds of a worker; `build directory NAME on WORKER` what it says; `POOL/UNIT` a unit of a pool, `POOL where
EXPRESSION` any that it admits. `lock:` may stand before any of them, where a number alone would be a booking's.
"""

from difflib import get_close_matches

from lockstep.core.errors import RefusedError
from lockstep.core.nouns import FENCED, LockKey
from lockstep.core.pool_reasons import pools_of, units_of
from lockstep.core.state import State, slot_key
from lockstep.core.where import WhereError, parse
from lockstep.web.asking import MissingError

OUTER = FENCED
"""The kinds of locks that a configuration makes by name."""


def known(state: State, *, inner: bool = False) -> list[LockKey]:
    """The locks of the configuration and those still in use; with `inner` also slots and build directories.

    A pool is one, whichever of its units are meant.
    """
    keys = {*state.locks, *(key for key in state.allocator.board.locks if key.kind != "pool")}
    keys |= {LockKey("pool", name) for name in pools_of(state)}
    if inner:
        keys |= {slot_key(name) for name in state.workers}
    return sorted(key for key in keys if inner or key.kind in OUTER)


def called(key: LockKey) -> str:
    """How a lock is named to commands and in the API."""
    if key.kind == "slot":
        return f"worker:{key.worker}"
    if key.kind == "pool":
        return str(key.whole)
    return f"{key.name}@{key.worker}" if key.worker else key.name


def meant(state: State, name: str) -> list[LockKey]:
    """The locks that a name means: one, or one for each worker.

    Raises:
        MissingError: there is none.
    """
    text = name.removeprefix("lock:")
    keys = known(state, inner=True)
    found = [key for key in keys if key.name == text and key.kind in OUTER]
    if not found:
        found = [key for key in keys if text == str(key) or (text == called(key) and key.kind != "builddir")]
    if not found and (units := _units(state, text)) is not None:
        found = [units]
    if found:
        return found
    near = get_close_matches(text, [called(key) for key in keys if key.kind != "builddir"], n=1, cutoff=0.5)
    raise MissingError(f"There is no lock '{name}'." + (f" Did you mean '{near[0]}'?" if near else ""))


def _units(state: State, text: str) -> LockKey | None:
    """The units of a pool that a name means, if it names a pool."""
    name, _, where = text.partition(" where ")
    if where and name in state.pools:
        try:
            return LockKey("pool", name, where=str(parse(where)))
        except WhereError as exc:
            raise RefusedError(f"'{where}' cannot be read: {exc}.") from exc
    name, slash, unit = text.partition("/")
    if not slash or name not in pools_of(state):
        return None
    pool, unit = unit_of(state, text)
    return LockKey("pool", pool, where=unit)


def unit_of(state: State, text: str) -> tuple[str, str]:
    """The pool and the unit that `POOL/UNIT` means.

    Raises:
        MissingError: there is no such pool, or it has no such unit.
        RefusedError: it names no unit.
    """
    pool, unit = pool_of(state, text)
    if not unit:
        raise RefusedError(f"'{text}' names no unit: write POOL/UNIT.")
    return pool, unit


def pool_of(state: State, text: str) -> tuple[str, str]:
    """The same where a pool alone may be meant: then the unit is empty."""
    pool, slash, unit = text.removeprefix("lock:").partition("/")
    if slash and not (pool and unit):
        raise RefusedError(f"'{text}' names no {'unit' if pool else 'pool'}: write POOL/UNIT.")
    if pool not in (pools := pools_of(state)):
        raise MissingError(f"There is no pool '{pool}'. There are: {', '.join(sorted(pools)) or 'none'}.")
    units = units_of(state, LockKey("pool", pool))
    if unit and unit not in {each.name for each in units}:
        names = [each.name for each in units if not each.removed] or [each.name for each in units]
        near = get_close_matches(unit, names, n=1, cutoff=0.5)
        known = f"Did you mean '{pool}/{near[0]}'?" if near else f"It has: {', '.join(names)}."
        raise MissingError(f"Pool '{pool}' has no unit '{unit}'. {known}")
    return pool, unit


def lock_key(state: State, name: str) -> LockKey:
    """The one lock that a name means; of several with that name the one that is for all workers.

    Raises:
        MissingError: there is none.
        RefusedError: it is one for each worker, and no worker is named.
    """
    found = meant(state, name)
    if len(found) == 1 or found[0].kind == "master":
        return found[0]
    names = " or ".join(called(key) for key in found[:2])
    raise RefusedError(f"Lock '{name}' is one for each worker: say which, as in {names}.")
