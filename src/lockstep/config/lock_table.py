"""All locks and pools of a configuration: which limit holds where two objects are one, and what the core is told.

What one lock is, is in `locks.py`; what a pool is, in `pools.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lockstep.config.locks import BaseLock, Lockable, WorkerLock
from lockstep.config.patience import BY_PRIORITY, CANCEL_NEWEST, ORDERS
from lockstep.config.pools import ResourcePool
from lockstep.core.nouns import LockKey
from lockstep.core.values import FOR_EVER, LockSetup, QueueOrder, QueueRule, StartRate


class LockTable:
    """All locks of a configuration, by kind and name; of two limits the smaller one holds (L7). And all its pools."""

    def __init__(self, locks: Iterable[Lockable] = ()) -> None:
        """Start with these, in the order in which they were made."""
        self._locks: dict[tuple[str, str], list[BaseLock]] = {}
        self.pools: dict[str, ResourcePool] = {}
        self._supposed: dict[LockKey, int] = {}
        for lock in locks:
            self.add(lock)

    def supposing(self, limits: Mapping[LockKey, int]) -> "LockTable":
        """The same locks with other limits for some: what would be if (`rehearse`)."""
        table = LockTable()
        table._locks, table._supposed, table.pools = self._locks, dict(limits), self.pools
        return table

    def add(self, lock: Lockable) -> None:
        """Take one more object; a lock with the same limits as another adds nothing, nor does a second pool."""
        if isinstance(lock, ResourcePool):
            self.pools.setdefault(lock.name, lock)
        elif isinstance(lock, BaseLock) and self.tells(lock):
            self._locks.setdefault((lock.kind, lock.name), []).append(lock)

    def setup(self, lock: BaseLock, worker: str) -> LockSetup:
        """The lock of that name on that worker as the core must know it, this object counted in."""
        same = [*self._locks.get((lock.kind, lock.name), ()), lock]
        key = lock.key(worker)
        limit = self._supposed.get(key, min(one.limit(worker) for one in same))
        return LockSetup(key, limit, min(one.maxOvertakes for one in same))

    def queues(self) -> tuple[QueueRule, ...]:
        """How many may wait for each lock that says it; of two numbers the smaller one holds."""
        strictest = {}
        for sort, same in self._locks.items():
            said = [lock for lock in same if lock.maxWaiting is not None]
            if said:
                strictest[sort] = min(said, key=lambda lock: (lock.maxWaiting, lock.whenFull))
        return tuple(
            QueueRule(kind, name, lock.maxWaiting or 0, lock.whenFull == CANCEL_NEWEST)  # type: ignore[arg-type]
            for (kind, name), lock in strictest.items()
        )

    def orders(self) -> tuple[QueueOrder, ...]:
        """The locks whose waiters come in another order than by priority."""
        found = {sort: min((lock.order for lock in same), key=ORDERS.index) for sort, same in self._locks.items()}
        return tuple(
            QueueOrder(kind, name, order)  # type: ignore[arg-type]
            for (kind, name), order in found.items()
            if order != BY_PRIORITY
        )

    def rates(self) -> tuple[StartRate, ...]:
        """The locks that may be granted only so often; of two rates the lower one holds."""
        found = {
            sort: min(rates, key=lambda rate: (rate[0] / rate[1], rate[0]))
            for sort, same in self._locks.items()
            if (rates := [lock.rate for lock in same if lock.rate is not None])
        }
        return tuple(StartRate(kind, name, *rate) for (kind, name), rate in found.items())  # type: ignore[arg-type]

    def lease(self, key: LockKey) -> float:
        """The longest lease that objects of this lock have, 0 if none has one."""
        found = [one.lease for one in self._locks.get((key.kind, key.name), ())]
        return FOR_EVER if FOR_EVER in found else max(found, default=0.0)

    def tells(self, lock: BaseLock) -> bool:
        """Whether the limits of this object are news: a lock that is not here, or other limits than any here."""
        return not any(_limits(lock) == _limits(other) for other in self._locks.get((lock.kind, lock.name), ()))

    def limit(self, lock: BaseLock, worker: str) -> int:
        """The limit that holds."""
        return self.setup(lock, worker).limit

    def limit_of(self, key: LockKey) -> int | None:
        """The limit that holds for a lock that the core knows by `key`; None for one that is not in the table.

        Of a pool: how many of its units are meant.
        """
        if key.kind == "pool":
            pool = self.pools.get(key.name)
            return pool.admitted(key.where) if pool is not None else None
        same = self._locks.get((key.kind, key.name))
        return self._supposed.get(key, min(one.limit(key.worker) for one in same)) if same else None

    def all(self) -> list[BaseLock]:
        """One object of each lock."""
        return [same[0] for same in self._locks.values()]

    def disagreements(self) -> list[tuple[BaseLock, BaseLock]]:
        """Pairs of lock objects that are one lock and have different limits."""
        return [(same[0], other) for same in self._locks.values() for other in same[1:]]


def _limits(lock: BaseLock) -> tuple[Any, ...]:
    """All that two objects of one lock may disagree about."""
    per_worker = sorted(lock.maxCountForWorker.items()) if isinstance(lock, WorkerLock) else []
    return (
        lock.maxCount,
        per_worker,
        lock.maxOvertakes,
        lock.lease,
        lock.maxWaiting,
        lock.whenFull,
        lock.order,
        lock.rate,
    )
