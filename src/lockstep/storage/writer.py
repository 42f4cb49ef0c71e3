"""The writing thread: takes all batches that wait, commits them as one transaction, and tells their owners.

What is written is the store's business; who hands in batches and waits for them is the loop (`master/loop.py`).
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from lockstep.storage.batch import Batch
from lockstep.storage.deleting import Deleted, Horizons
from lockstep.storage.errors import StoreError
from lockstep.storage.limits import DELETE_QUIET, MAX_GROUP, MAX_WAITING, TIDY_AFTER
from lockstep.storage.store import Store

Callback = Callable[[str], None]
"""Called in the writer's thread after a batch's commit with "", or with the sentence that says why it failed."""


class Writer:
    """Commits batches in the order in which they are handed in.

    After a commit that failed nothing is taken any more: every batch that waits, and every later one, is answered with
    the reason, and the process must end (HOUSE section 1). Threads may share a writer; the store belongs to it alone.

    Attributes:
        commits: how many transactions were committed.
        last_fact: the number of the last fact that is stored by this writer, or 0.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[tuple[Batch, Callback]] = deque()
        self._orders: deque[tuple[Horizons, float, Callable[[Deleted], None], Callable[[], bool], int | None]] = deque()
        self._in_a_row = 0
        self._wake = threading.Condition()
        self._error = ""
        self._closing = False
        self.commits = 0
        self.last_fact = 0
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, batch: Batch, done: Callback) -> None:
        """Hand in a batch; `done` is called when it is stored. An empty one waits for those before it.

        Raises:
            StoreError: the writer is closed, or much too far behind.
        """
        with self._wake:
            if self._closing:
                raise StoreError("the store is being closed and takes nothing more")
            if len(self._waiting) >= MAX_WAITING:
                raise StoreError(f"the disk is too slow: {MAX_WAITING} batches wait to be stored")
            self._waiting.append((batch, done))
            self._wake.notify()

    def delete(
        self,
        horizons: Horizons,
        now: float,
        done: Callable[[Deleted], None],
        wanted: Callable[[], bool] = lambda: True,
        change: int | None = None,
    ) -> None:
        """Delete what is older than that, slice by slice, when nothing waits to be stored, as long as it is `wanted`.

        Changes after `change` stay. Both are called in the writer's thread: `wanted` before each slice, and `done` at
        the end, unless the writer is closed before.
        """
        with self._wake:
            self._orders.append((horizons, now, done, wanted, change))
            self._wake.notify()

    def close(self) -> None:
        """Store what waits, then end the thread. The store stays open. May be called twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._take():
            self._commit(group)

    def _take(self) -> list[tuple[Batch, Callback]]:
        """Wait for batches, and tidy up meanwhile. An empty list means the end."""
        while True:
            with self._wake:
                if self._waiting and self._in_a_row < TIDY_AFTER:
                    self._in_a_row += 1
                    return [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
                if self._closing and not self._waiting:
                    return []
                patient = self._store.deletions and not self._waiting
                if patient and self._wake.wait_for(lambda: self._waiting or self._closing, DELETE_QUIET):
                    continue  # what builds do comes in bursts: a slice begins when none is under way
            self._in_a_row = 0
            if not self._tidy():
                with self._wake:
                    self._wake.wait_for(lambda: self._waiting or self._closing or self._orders)

    def _tidy(self) -> bool:
        while self._orders:
            self._store.delete(*self._orders.popleft())
        return not self._error and self._store.tidy()

    def _commit(self, group: list[tuple[Batch, Callback]]) -> None:
        if not self._error:
            batches = [batch for batch, _ in group if batch]
            try:
                for first in (first for batch in batches for first in batch.first):
                    first()
                if batches:
                    self.last_fact = self._store.append(batches) or self.last_fact
                    self.commits += 1
            except StoreError as error:
                self._error = str(error)
        for _, done in group:
            with contextlib.suppress(RuntimeError):  # the loop that waited for it has been closed
                done(self._error)
