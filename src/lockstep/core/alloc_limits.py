"""The limits in force: what was declared, less what a removed namesake or a used-up start rate forbids (L6).

Who is granted because of it is decided elsewhere; here locks get other limits, come and go.
"""

from collections.abc import Iterable, Mapping

from lockstep.core.alloc_barriers import Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_facts import UNRATED
from lockstep.core.alloc_items import WHOLE, Lock
from lockstep.core.alloc_pools import Pool
from lockstep.core.nouns import LockKey, Need
from lockstep.core.values import UnitSetup


class Limits:
    """Puts declared limits in force."""

    def __init__(self, board: Board, barriers: Barriers) -> None:
        self.board = board
        self.barriers = barriers

    def set_lock(self, key: LockKey, limit: int, max_overtakes: int) -> None:
        """A lock is new, or has another limit. Lowering revokes nothing, raising serves waiters at once (L6)."""
        board = self.board
        lock = board.locks.get(key)
        if lock is None:
            lock = board.add_lock(key, 0, max_overtakes)
        lock.removed = False
        lock.wanted = min(limit, WHOLE - 1)
        if lock in board.leaving:
            del board.leaving[lock]
            self._enforce_namesakes(key)
        if lock.k != max_overtakes:
            self._set_k(lock, max_overtakes)
        self._enforce(lock)

    def forget_lock(self, key: LockKey) -> None:
        """A reload removed the lock: it stays with its last limit until its last hold and waiter have ended (L6)."""
        lock = self.board.locks.get(key)
        if lock is not None:
            lock.removed = True
            self.board.leaving[lock] = None
            self._enforce(lock)
            self._enforce_namesakes(key)

    # --- pools

    def set_pool(self, name: str, units: Iterable[UnitSetup], max_overtakes: int) -> None:
        """A pool is new, or has other units, labels or another K. Who has a unit that is removed keeps it (L6)."""
        pool = self.board.pool(name)
        whole = self.board.lock(LockKey("pool", name))
        whole.removed = False
        pool.configure(units)
        self.board.leaving.pop(whole, None)
        self._enforce_namesakes(whole.key)
        self._enforce(whole)
        if pool.k != max_overtakes:
            pool.k = max_overtakes
            for view in pool.views.values():
                self._set_k(view, max_overtakes)
        self._units_changed(pool)

    def forget_pool(self, name: str) -> None:
        """A reload removed the pool: it stays for who has or wants something of it, and then gets out of the way (L6).

        To be said again when somebody wants something of a pool that has gone.
        """
        whole = self.board.lock(LockKey("pool", name))
        whole.removed = True
        self.board.leaving[whole] = None
        self._enforce_namesakes(whole.key)
        self._enforce(whole)

    def bring_back(self, need: Need) -> None:
        """Somebody wants this: of a removed pool, what has got its name meanwhile has to wait again (L6)."""
        for name in {a.lock.name for each in need.alternatives for a in each.accesses if a.lock.kind == "pool"}:
            if self.board.lock(LockKey("pool", name)).removed:
                self.forget_pool(name)

    def quarantine(self, name: str, unit: str, out: bool) -> None:
        """Nobody gets this unit from now on, or it may be had again. Who has it keeps it."""
        pool = self.board.pools.get(name)
        if pool is not None and pool.quarantine(unit, out):
            self._units_changed(pool)

    def _units_changed(self, pool: Pool) -> None:
        """Limits, what is lent, who lacks what: all may be otherwise. Everybody who waits for the pool is looked at."""
        board = self.board
        board.pool_moved(pool)
        for view in pool.views.values():
            board.limits_moved[view] = None
            for c in board.lock_classes(view):
                board.reopen(c)
        board.suspects.update(dict.fromkeys(board.claims_of))
        self.barriers.stir()

    def forget_views(self, planned: Iterable[LockKey]) -> None:
        """Let crowded pools forget views that nobody holds or waits for, and that are not `planned`.

        They remember what a claim would have been overtaken by that began to wait before: only one whose `where` is
        changed and changed back could miss it. It is done with a grant, because what a pool remembers is stored then.
        """
        board = self.board
        board.sweep()
        kept = {board.locks[key] for key in planned}
        for pool in board.crowded:
            held = (lock for hold in pool.held for lock, _ in board.hold_locks[hold])
            waited_for = (view for view in pool.views.values() if view.shapes)
            for view in pool.keep_views({*kept, *held, *waited_for}):
                board.drop_lock(view)
        board.crowded.clear()

    # --- locks

    def _set_k(self, lock: Lock, k: int) -> None:
        lock.k = k
        self.barriers.settle_watches(lock)
        self.board.limits_moved[lock] = None
        self.barriers.stir()

    def set_starts(self, key: LockKey, left: int) -> None:
        """So many more grants a lock's start rate allows from now on; `UNRATED` if it has none."""
        lock = self.board.locks.get(key)
        if lock is None:
            return
        lock.left = left
        if left < UNRATED:
            self.board.rated[lock] = None
        else:
            self.board.rated.pop(lock, None)
        self._enforce(lock)

    def started(self, taken: Mapping[Lock, int]) -> None:
        """So much was granted anew. What is lent began before: it is no start."""
        for lock, units in taken.items():
            if units and lock in self.board.rated:
                lock.left -= 1
                self._enforce(lock)

    def _enforce(self, lock: Lock) -> None:
        """Put the declared limit in force; while what had the name before is in the way, it is 0 (L6)."""
        board = self.board
        if lock.pool is not None:
            self._enforce_pool(lock.pool)
            return
        lock.closed = self.in_the_way(lock) is not None
        capacity = 0 if lock.closed else lock.wanted
        limit = capacity if lock.left > 0 else 0
        if limit != lock.limit:
            if limit > lock.limit:
                board.dirty[lock] = None
            lock.limit = limit
            board.limits_moved[lock] = None
            if lock.hanging:
                board.moved[lock] = None
            self.barriers.stir()
        if capacity != lock.capacity or lock.closed:  # who waits for a closed one waits for others than before
            lock.capacity = capacity
            board.count_again(lock)
            for owner in board.claims_of:
                board.suspects[owner] = None
            board.safer = True
            self.barriers.stir()

    def _enforce_pool(self, pool: Pool) -> None:
        """The same for a pool: meanwhile nobody gets any of its units."""
        closed = self.in_the_way(self.board.locks[LockKey("pool", pool.name)]) is not None
        if closed is not pool.closed:
            pool.closed = closed
            pool.refresh()
            self._units_changed(pool)

    def _enforce_namesakes(self, key: LockKey) -> None:
        """This lock or pool was removed, has gone, or is had by others: whoever waits for that begins (L6)."""
        for lock in self.board.namesakes(key):
            self._enforce(lock)

    def put_back(self) -> None:
        """These locks are removed, says a snapshot: what has their names has to wait (L6)."""
        for lock in tuple(self.board.leaving):
            self._enforce(lock)
            self._enforce_namesakes(lock.key)

    def moved(self, accesses: Iterable[tuple[Lock, int]]) -> None:
        """These are held, or not held any more, while removed locks are still there."""
        for key in {lock.key for lock, _ in accesses}:
            self._enforce_namesakes(key)

    def in_the_way(self, lock: Lock) -> Lock | None:
        """What has the name of this lock and another kind: a removed one that may be had, or is had.

        If it is removed itself, only one that is had: of two that have waiters, one is served after the other.
        """
        for other in self.board.namesakes(lock.key):
            if (lock.removed or other in self.board.leaving) and (
                _is_held(other) or not (lock.removed or _has_nothing(other))
            ):
                return other
        return None

    def clear_leaving(self) -> bool:
        """Removed locks that nobody holds or waits for are gone; those of their name and other kinds may begin (L6)."""
        board = self.board
        gone = [lock for lock in board.leaving if not _is_held(lock) and not self._is_waited_for(lock)]
        if not gone:
            return False
        board.sweep()
        for lock in gone:
            del board.leaving[lock]
            if lock.pool is None:
                self._drop(lock)
            self._enforce_namesakes(lock.key)
        return True

    def _is_waited_for(self, lock: Lock) -> bool:
        views = (lock,) if lock.pool is None else lock.pool.views.values()
        return any(self.board.lock_classes(view) for view in views)

    def _drop(self, lock: Lock) -> None:
        """A removed lock is no more. What it knows of its grants is kept for one that comes back."""
        board = self.board
        board.drop_lock(lock)
        if lock.share is not None:
            lock.share.forget(lock)
            self.barriers.stir()
        if lock.fence:
            board.gone[lock.key] = lock.state()


def _is_held(lock: Lock) -> bool:
    return bool(lock.holds if lock.pool is None else lock.pool.held)


def _has_nothing(lock: Lock) -> bool:
    """Whether nobody could be granted anything of it, whatever has its name."""
    return not (lock.wanted if lock.pool is None else lock.pool.in_service())
