"""The things that the core speaks of: locks, accesses, needs, claims, results.

Only values live here (frozen records and small enumerations); what changes them lives in `state.py`, `allocation.py`
and the `decide_*` files. LOCKS.md section 1 defines the words.
"""

import enum
import re
from collections.abc import Iterable
from itertools import chain, count
from typing import Final, Literal

from msgspec import Struct

Mode = Literal["counting", "exclusive"]
"""How a lock is used: shared by units, or whole (LOCKS.md section 1)."""

LockKind = Literal["master", "worker", "slot", "builddir", "pool"]
"""`slot` is a worker's `max_builds`, `builddir` one build directory on one worker (L23); a `pool` has named units."""

FENCED: Final = ("master", "worker", "pool")
"""The kinds of locks that a configuration makes by name: builds are told their fences (L62); they have a history."""

STEP_LEVEL: Final = 1 << 60
"""The priority level of every step's claim: steps of running builds come before all requests (L40)."""

PRIORITIES: Final = 1 << 32
"""So many priorities there are: what hooks say of a builder and a request weighs more than any of them (L24a)."""

DEFAULT_MAX_OVERTAKES: Final = 8
"""How often a waiting claim may be overtaken at a lock before it becomes a barrier (L42)."""

UNLIMITED: Final = 1 << 40
"""The limit of a slot lock of a worker without `max_builds`."""


class LockKey(Struct, frozen=True, gc=False, cache_hash=True, array_like=True, order=True):
    """What a lock is known by (L6, L7): its kind, its name, and for a lock of a worker that worker's name.

    Of a pool, `where` says which of its units are meant; empty: all.
    """

    kind: LockKind
    name: str
    worker: str = ""
    where: str = ""

    @property
    def whole(self) -> "LockKey":
        """The same lock, of a pool all units: views of one pool are one lock to whoever must not wait for itself."""
        return LockKey(self.kind, self.name, self.worker) if self.where else self

    def __str__(self) -> str:
        """The lock as people read it: `database`, `cpu on bot-1`, or `boards where arm64`."""
        if self.where:
            return f"{self.name} where {self.where}"
        if self.kind == "slot":
            return f"worker {self.worker}"
        if self.kind == "builddir":
            return f"build directory {self.name} on {self.worker}"
        return f"{self.name} on {self.worker}" if self.worker else self.name

    @property
    def told(self) -> str:
        """The lock in a sentence: `lock 'database'`, `pool 'boards'`, `worker bot-1`."""
        return told_lock(self.kind, str(self))


def told_lock(kind: str, name: str) -> str:
    """A lock in a sentence, by its kind and its name as people read it."""
    if kind in ("slot", "builddir"):
        return name  # it says already what it is
    return f"{'pool' if kind == 'pool' else 'lock'} '{name}'"


def capital(text: str) -> str:
    """The text as a sentence begins."""
    return text[:1].upper() + text[1:]


def variable(*parts: str) -> str:
    """An environment variable that is called by these words: `LOCKSTEP_UNIT_BOARDS_ADDRESS`."""
    return "LOCKSTEP_" + re.sub(r"[^A-Z0-9]", "_", "_".join(parts).upper())


def fence_variable(lock: str) -> str:
    """The environment variable that carries a lock's fence: `LOCKSTEP_FENCE_DATABASE` (L62)."""
    return variable("FENCE", lock)


def fence_variables(locks: Iterable[tuple[str, str]]) -> list[str]:
    """The variable of each of these locks: by its name; where that is taken, by its longer one; then by a number."""
    found: list[str] = []
    for names in locks:
        plain = [fence_variable(name) for name in names]
        numbered = (f"{plain[0]}_{number}" for number in count(2))
        found.append(next(each for each in chain(plain, numbered) if each not in found))
    return found


class Patience(Struct, frozen=True, gc=False, cache_hash=True, array_like=True):
    """How long a claim waits for a lock: `seconds` (0: as long as it takes), then it ends with `result`.

    `skip`: it does not wait for this lock at all, and ends SKIPPED (`skipIfBusy`).
    """

    result: "Result"
    seconds: float = 0.0
    skip: bool = False


class Access(Struct, frozen=True, gc=False, cache_hash=True, array_like=True):
    """One use of one lock: `count` units of it, or (exclusive) the whole of it.

    `keep` says for how many seconds it stays held after a failure of whoever held it (`keepAfterFailure`). `raises`: a
    step takes a lock for itself that its build shares.
    """

    lock: LockKey
    mode: Mode = "counting"
    count: int = 1
    keep: float = 0.0
    patience: Patience | None = None
    raises: bool = False


class Alternative(Struct, frozen=True, gc=False, cache_hash=True, array_like=True):
    """One way to satisfy a claim: a worker (empty: none is needed) and every access that goes with it.

    No lock occurs twice in `accesses` and no count is 0; `normalized` makes it so (L12).
    """

    worker: str
    accesses: tuple[Access, ...]


class Need(Struct, frozen=True, gc=False, cache_hash=True, array_like=True):
    """Everything that one requester needs at once: its alternatives, in their order of preference (L26)."""

    alternatives: tuple[Alternative, ...]


class Claim(Struct, frozen=True, gc=False):
    """One requester's need, and its place in time.

    `ticket` is the claim's identity and its place in the queue; a request that is put back keeps it (RETRY). `since`
    is the ticket-clock when this wait began: the ticket itself, but for RETRY (overtaking is counted anew, L40).
    `owner` is the ticket of the build-level claim that the holds belong to: a build's own ticket, also for claims of
    its steps. `parent` is the owner that waits for this claim's build to end (`Trigger(waitForFinish=True)`), or 0.
    `level` is the priority, `STEP_LEVEL` for steps. `retryable` says whether a ring may put its build back (L52).
    `newest`: of its level it comes before all that came before it, and it may be overtaken without end.
    `plan` is the builder of a request where it is foreseen what its build may still claim (L51), else empty.
    """

    ticket: int
    need: Need
    owner: int
    level: int = 0
    since: int = 0
    parent: int = 0
    put_back: bool = False
    retryable: bool = True
    newest: bool = False
    plan: str = ""


class Result(enum.IntEnum):
    """How a step, a build, a request or a build set ended. The numbers are Buildbot's."""

    SUCCESS = 0
    WARNINGS = 1
    FAILURE = 2
    SKIPPED = 3
    EXCEPTION = 4
    RETRY = 5
    CANCELLED = 6


_WORST_FIRST: Final = (
    Result.CANCELLED,
    Result.RETRY,
    Result.EXCEPTION,
    Result.FAILURE,
    Result.WARNINGS,
    Result.SUCCESS,
    Result.SKIPPED,
)


def worse(a: Result, b: Result) -> Result:
    """The worse of two results, in Buildbot's order of severity."""
    return a if _WORST_FIRST.index(a) < _WORST_FIRST.index(b) else b
