"""What people call locks, in addresses, on the command line and on pages: one meaning for all of them.

`NAME` is a lock of that name, on whichever worker; `NAME@WORKER` (or `NAME on WORKER`) one of a worker; `worker:NAME`
all builds of a worker; `build directory NAME on WORKER` what it says. `lock:` may stand before any of them, where a
number alone would be a booking's.
"""

from difflib import get_close_matches

from lockstep.core.errors import RefusedError
from lockstep.core.nouns import LockKey
from lockstep.core.state import State, slot_key
from lockstep.web.asking import MissingError

OUTER = ("master", "worker")
"""The kinds of locks that a configuration makes by name."""


def known(state: State, *, inner: bool = False) -> list[LockKey]:
    """The locks of the configuration and those still in use; with `inner` also slots and build directories."""
    keys = {*state.locks, *state.allocator.board.locks}
    if inner:
        keys |= {slot_key(name) for name in state.workers}
    return sorted(key for key in keys if inner or key.kind in OUTER)


def called(key: LockKey) -> str:
    """How a lock is named to commands and in the API."""
    if key.kind == "slot":
        return f"worker:{key.worker}"
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
    if found:
        return found
    near = get_close_matches(text, [called(key) for key in keys if key.kind != "builddir"], n=1, cutoff=0.5)
    raise MissingError(f"There is no lock '{name}'." + (f" Did you mean '{near[0]}'?" if near else ""))


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
