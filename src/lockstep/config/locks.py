"""Locks as a configuration speaks of them, and their translation into the core's accesses.

What a lock means is decided in `core/`; here are only the user's objects, their checks (L3, L4) and the translation of
a `locks=` list for one worker (L5, L12). Rendering `locks=` (L24) happens in `needs.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lockstep.config.errors import (
    NO_NAME,
    ConfigErrors,
    Mistake,
    Place,
    announce,
    check_keywords,
    fail,
    here,
    mistake,
    named,
)
from lockstep.config.patience import (
    ACCESS_KEYWORDS,
    BY_PRIORITY,
    CANCEL_OLDEST,
    QUEUE_KEYWORDS,
    most_waiting,
    order_of,
    patience,
    rate_of,
)
from lockstep.core.alloc_facts import ExclusiveTwiceError, PoolTwiceError, normalize
from lockstep.core.answers import exactly
from lockstep.core.durations import HOW, seconds_of
from lockstep.core.limits import (
    MAX_BOOKING_SECONDS,
    MAX_LEASE,
    MAX_LOCK_NAME,
    MAX_OVERTAKES,
    MAX_UNITS,
    MIN_LEASE,
)
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, Access, LockKey
from lockstep.core.values import FOR_EVER

_MODES = ("counting", "exclusive")
AS_ANNOUNCED = "as the worker says"
"""The default of `lease=`."""


def patience_of(lease: Any, what: str, place: Place) -> float:
    """A `lease=` as the core has it: seconds, FOR_EVER for None, 0 if it is not given or wrong."""
    if lease is None:
        return FOR_EVER
    if lease == AS_ANNOUNCED:
        return 0.0
    seconds = seconds_of(lease)
    if seconds is not None and MIN_LEASE <= seconds <= MAX_LEASE:
        return seconds
    hint = f"{HOW}; None keeps what is held until the worker is back, or a person says that it is dead"
    mistake(f"{what} must be a time from {MIN_LEASE:g} to {MAX_LEASE:g} s, or None, not {lease!r}", hint, place)
    return 0.0


class Lockable:
    """What may stand in a `locks=` list. Known by kind and name (L7); `place` is where it was made."""

    kind: str = ""
    word: str = "lock"
    """What it is called in a sentence."""
    name: str
    place: Place

    @property
    def told(self) -> str:
        """What it is called in a mistake."""
        return f'{self.word} "{self.name}"'

    def key(self, worker: str) -> LockKey:
        """What the core knows it by."""
        raise NotImplementedError

    def defaultAccess(self) -> "LockAccess":
        """What it means where it stands in a `locks=` list by itself."""
        return LockAccess(self, "counting", 1)

    def __eq__(self, other: object) -> bool:
        """Two objects of one kind and name are one (L7)."""
        return isinstance(other, Lockable) and (self.kind, self.name) == (other.kind, other.name)

    def __hash__(self) -> int:
        """As equality has it."""
        return hash((self.kind, self.name))


def lock_name(name: Any, what: str, place: Place) -> str:
    """The name of something that is locked (`what`, for the mistake)."""
    found = named(name, what, place)
    if len(found) <= MAX_LOCK_NAME:
        return found
    text = f"{what}: the name must have at most {MAX_LOCK_NAME} characters, not {len(found)}: {found[:40]!r}..."
    mistake(text, place=place)
    return NO_NAME


class BaseLock(Lockable):
    """What both kinds of lock share: a name, and a limit."""

    _keywords: tuple[str, ...] = ("name", "maxCount", *QUEUE_KEYWORDS)

    def __init__(
        self,
        name: str,
        maxCount: int = 1,
        maxOvertakes: int = DEFAULT_MAX_OVERTAKES,
        lease: Any = AS_ANNOUNCED,
        maxWaiting: int | None = None,
        whenFull: str | None = None,
        order: str = BY_PRIORITY,
        rate: str | None = None,
        **unknown: Any,
    ) -> None:
        """Make a lock of that name with `maxCount` units. `maxOvertakes=0` serves in strict order (L42).

        `lease`: so many seconds at least a hold of it waits for a worker that is out of reach; None: until that is
        back, or a person says that nothing runs there (L61). At most `maxWaiting` requests wait for it; `whenFull` says
        who is cancelled then: `cancelOldest` keeps the latest. `order`: whoever waits is served by `priority`, then by
        time; by time alone (`fifo`); or the `newest` first. `rate` ('6/hour'): no more grants than so in any such time.
        """
        self.place = here()
        what = type(self).__name__
        self.name = lock_name(name, what, self.place)
        self.maxCount = limit_of(maxCount, f'{what} "{self.name}": maxCount', self.place)
        self.maxOvertakes = limit_of(maxOvertakes, f'{what} "{self.name}": maxOvertakes', self.place, MAX_OVERTAKES)
        self.lease = patience_of(lease, f'{what} "{self.name}": lease', self.place)
        self.maxWaiting = most_waiting(maxWaiting, whenFull, f'{what} "{self.name}"', self.place)
        self.whenFull = whenFull if self.maxWaiting is not None and whenFull else CANCEL_OLDEST
        self.order = order_of(order, f'{what} "{self.name}"', self.place)
        self.rate = rate_of(rate, f'{what} "{self.name}"', self.place)
        check_keywords(what, unknown, self._keywords, (), self.place)
        announce(self)

    def access(
        self,
        mode: str,
        count: int = 1,
        keepAfterFailure: Any = None,
        waitTimeout: Any = None,
        onTimeout: Any = None,
        skipIfBusy: bool = False,
        raises: bool = False,
        **unknown: Any,
    ) -> "LockAccess":
        """Use this lock: `counting` takes `count` units and shares it, `exclusive` takes it whole.

        `keepAfterFailure` ('2h', or seconds): if whoever holds it ends in FAILURE or EXCEPTION, it stays held for so
        long, for somebody to look; `lockstep release` ends that. `waitTimeout` ('30m'): whoever has waited for so long
        gives up, and ends with `onTimeout`: 'failure', 'warnings' or 'skipped'. `skipIfBusy`: who would have to wait
        for it ends SKIPPED. `raises`: the step takes for itself what its build shares, and shares it again afterwards.
        """
        check_keywords("access()", unknown, ACCESS_KEYWORDS)
        return LockAccess(self, mode, count, keepAfterFailure, waitTimeout, onTimeout, skipIfBusy, raises)

    def limit(self, worker: str) -> int:
        """How many units there are (on that worker)."""
        return self.maxCount

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        return f"{type(self).__name__}({self.name!r}, maxCount={self.maxCount})"


class MasterLock(BaseLock):
    """One lock for the whole installation."""

    kind = "master"

    def key(self, worker: str) -> LockKey:
        """What the core knows this lock by; the worker does not matter."""
        return LockKey("master", self.name)


class WorkerLock(BaseLock):
    """One lock per worker; `maxCountForWorker` gives some workers a limit of their own."""

    kind = "worker"
    _keywords = ("name", "maxCount", "maxCountForWorker", *QUEUE_KEYWORDS)

    def __init__(
        self,
        name: str,
        maxCount: int = 1,
        maxCountForWorker: Any = None,
        maxOvertakes: int = DEFAULT_MAX_OVERTAKES,
        lease: Any = AS_ANNOUNCED,
        maxWaiting: int | None = None,
        whenFull: str | None = None,
        order: str = BY_PRIORITY,
        rate: str | None = None,
        **unknown: Any,
    ) -> None:
        """Make a lock of which each worker has one of its own. `maxWaiting` is for all workers together."""
        super().__init__(name, maxCount, maxOvertakes, lease, maxWaiting, whenFull, order, rate, **unknown)
        self.maxCountForWorker: dict[str, int] = {}
        if maxCountForWorker is None:
            return
        what = f'{type(self).__name__} "{self.name}": maxCountForWorker'
        if not isinstance(maxCountForWorker, Mapping):
            mistake(f"{what} must be a dictionary of worker names and limits, not {maxCountForWorker!r}")
            return
        for worker, limit in maxCountForWorker.items():
            self.maxCountForWorker[str(worker)] = limit_of(limit, f"{what}[{worker!r}]", self.place)

    def limit(self, worker: str) -> int:
        """The worker's own limit, or the common one."""
        return self.maxCountForWorker.get(worker, self.maxCount)

    def key(self, worker: str) -> LockKey:
        """The lock of that worker."""
        return LockKey("worker", self.name, worker)


class SlaveLock(WorkerLock):
    """The old name of `WorkerLock`."""

    _keywords = ("name", "maxCount", "maxCountForSlave", *QUEUE_KEYWORDS)

    def __init__(
        self,
        name: str,
        maxCount: int = 1,
        maxCountForSlave: Any = None,
        maxOvertakes: int = DEFAULT_MAX_OVERTAKES,
        lease: Any = AS_ANNOUNCED,
        **unknown: Any,
    ) -> None:
        """Make a `WorkerLock` in the old spelling."""
        super().__init__(name, maxCount, maxCountForSlave, maxOvertakes, lease, **unknown)


class LockAccess:
    """One use of a lock: `LockAccess(lock, mode, count)` is `lock.access(mode, count)` (L4)."""

    def __init__(
        self,
        lockid: Lockable,
        mode: str,
        count: int = 1,
        keepAfterFailure: Any = None,
        waitTimeout: Any = None,
        onTimeout: Any = None,
        skipIfBusy: bool = False,
        raises: bool = False,
        **unknown: Any,
    ) -> None:
        """Check mode and count. Raises `ConfigErrors` where there is no lock, and reports the rest."""
        self.place = here()
        check_keywords("LockAccess", unknown, ("lockid", *ACCESS_KEYWORDS), place=self.place)
        if not isinstance(lockid, Lockable):
            fail(f"LockAccess needs a lock (MasterLock or WorkerLock), not {lockid!r}", place=self.place)
        self.lockid = lockid
        self.mode = mode
        self.count = count
        told = lockid.told
        self.keepAfterFailure = _keep(keepAfterFailure, f"{told}: keepAfterFailure", self.place)
        self.patience = patience(waitTimeout, onTimeout, skipIfBusy, told, self.place)
        self.raises = _raises(raises, mode, told, self.place)
        if mode not in _MODES:
            hint = 'modes are "counting" and "exclusive"'
            mistake(f"{told}: unknown mode {mode!r} of access", hint, self.place)
            self.mode = "counting"
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            mistake(f"{told}: count must be a whole number, 0 or more, not {count!r}", "", self.place)
            self.count = 1
        elif count > MAX_UNITS:
            mistake(f"{told}: count must be at most {MAX_UNITS}, not {count}", "", self.place)
            self.count = 1
        elif mode == "exclusive" and count != 1:
            hint = "leave the count out: exclusive takes the whole lock"
            mistake(f"{told}: exclusive access has the count 1, not {count}", hint, self.place)
            self.count = 1

    @property
    def lock(self) -> Lockable:
        """The lock that is used."""
        return self.lockid

    def on(self, worker: str) -> Access:
        """The core's access, for a build on that worker."""
        mode = "exclusive" if self.mode == "exclusive" else "counting"
        key, kept = self.lockid.key(worker), self.keepAfterFailure
        return Access(key, mode, self.count, kept, self.patience, self.raises)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        """Same lock, mode, count, time that it is kept, time that it is waited for, and whether it raises."""
        return isinstance(other, LockAccess) and self._told() == other._told()

    def _told(self) -> tuple[Any, ...]:
        return (self.lockid, self.mode, self.count, self.keepAfterFailure, self.patience, self.raises)

    def __hash__(self) -> int:
        """As equality has it."""
        return hash(self._told())

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        kept = f", keepAfterFailure={self.keepAfterFailure:g}" if self.keepAfterFailure else ""
        raised = ", raises=True" if self.raises else ""
        return f"{self.lockid!r}.access({self.mode!r}, {self.count}{kept}{raised})"


def _raises(value: Any, mode: str, what: str, place: Place) -> bool:
    """Whether an access raises a shared lock; False after reporting what is wrong with it."""
    if not isinstance(value, bool):
        mistake(f"{what}: raises must be True or False, not {value!r}", "", place)
    elif value and mode != "exclusive":
        mistake(f"{what}: raises=True is for access('exclusive', ...): it takes whole what the build shares", "", place)
    else:
        return value
    return False


def limit_of(value: Any, what: str, place: Place, most: int = MAX_UNITS) -> int:
    """A limit as it must be (L4); 1 after reporting a wrong one."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        mistake(f"{what} must be a whole number, 0 or more, not {value!r}", place=place)
    elif value > most:
        mistake(f"{what} must be at most {most}, not {value}", place=place)
    else:
        return value
    return 1


def _keep(value: Any, what: str, place: Place) -> float:
    """For how many seconds a lock is kept; 0 after reporting a wrong value."""
    seconds = 0.0 if value is None else seconds_of(value)
    if seconds is None or seconds > MAX_BOOKING_SECONDS or (value is not None and not seconds):
        mistake(f"{what} must be a time above 0 and at most {exactly(MAX_BOOKING_SECONDS)}, not {value!r}", HOW, place)
        return 0.0
    return seconds


def as_accesses(locks: Any, what: str = "locks=", place: Place | None = None) -> list[LockAccess]:
    """The accesses in a plain `locks=` value: None, one lock, or a list of locks and accesses, nested or not.

    Raises `ConfigErrors` for anything else; a renderable must have been rendered before.
    """
    if locks is None:
        return []
    if isinstance(locks, Lockable):
        return [locks.defaultAccess()]
    if isinstance(locks, LockAccess):
        return [locks]
    if not isinstance(locks, list | tuple) and (
        isinstance(locks, str | bytes | Mapping) or not isinstance(locks, Iterable)
    ):
        hint = "put locks or lock.access(mode, count) into a list"
        raise ConfigErrors([Mistake(place or here(), f"{what} holds {locks!r}, which is no lock", hint)])
    return [access for item in locks for access in as_accesses(item, what, place)]


def tidy(locks: Any) -> Any:
    """A `locks=` value as a list, where it is another kind of iterable; renderables and mistakes stay as they are."""
    if locks is None:
        return []
    if isinstance(locks, list):
        return locks
    if isinstance(locks, Lockable | LockAccess):
        return [locks]
    if isinstance(locks, str | bytes | Mapping) or hasattr(locks, "getRenderingFor"):
        return locks
    return list(locks) if isinstance(locks, Iterable) else locks


def accesses_for(worker: str, locks: Any, what: str = "locks=", place: Place | None = None) -> tuple[Access, ...]:
    """A plain `locks=` value (several may be chained in a list) as one claim's accesses on that worker (L3, L12).

    Counts of 0 are dropped, the same lock twice is added. Raises `ConfigErrors` if it cannot be (exclusive and again).
    """
    found = [access.on(worker) for access in as_accesses(locks, what, place)]
    for lock in {access.lock for access in found if access.patience is not None and access.count}:
        if sum(access.lock == lock for access in found if access.count) > 1:
            text = f'{what}: {_word(lock)} "{lock}" is there twice, and once with waitTimeout= or skipIfBusy='
            raise ConfigErrors([Mistake(place or here(), text, "name it once")])
    try:
        return normalize(found)
    except PoolTwiceError as exc:
        text = f'{what}: pool "{exc.lock.name}" is there twice, with different where='
        hint = "name it once: with two, which units would do is no question of a count"
        raise ConfigErrors([Mistake(place or here(), text, hint)]) from None
    except ExclusiveTwiceError as exc:
        text = f'{what}: {_word(exc.lock)} "{exc.lock}" is there twice, and once exclusive'
        hint = f"exclusive takes the whole {_word(exc.lock)}: name it once"
        raise ConfigErrors([Mistake(place or here(), text, hint)]) from None


def _word(key: LockKey) -> str:
    return "pool" if key.kind == "pool" else "lock"
