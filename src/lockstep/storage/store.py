"""The door for whoever writes: facts and log chunks in, in one transaction with the rows that follow from them.

One process, and in it one thread, appends. Reading for the web is in `queries.py`, the writing thread in `writer.py`.
"""

import contextlib
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lockstep.core.saved import Saved
from lockstep.storage import codec, opening
from lockstep.storage.batch import Batch, CommandProgress
from lockstep.storage.deleting import Deleted, Deletion, Horizons, Slice
from lockstep.storage.errors import StoreError, explain
from lockstep.storage.limits import MERGE_BYTES, MERGE_ROWS
from lockstep.storage.load import load
from lockstep.storage.logs import Packer, add_ends, add_parts, add_progress, merged
from lockstep.storage.opening import Database
from lockstep.storage.project import project
from lockstep.storage.projection import LiveLog, LiveWorker, Projection, seed
from lockstep.storage.reading import Reader
from lockstep.storage.rows import Changes, Statements, insert_many, write

log = logging.getLogger(__name__)


class Store:
    """An open store. Use `Store.open`; close it when the writer has ended.

    Attributes:
        database: its address.
        installation: a random name made with the store: it keeps command ids unique for ever.
        statements: how many SQL statements the last `append` ran, without BEGIN and COMMIT.
        deletions: what is left to be deleted by `tidy`, and who is told at the end.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.statements = 0
        self._engine = database.engine()
        self._broken = ""
        self._lock = opening.lock_file(database) if database.is_sqlite else -1
        self._connection: Any = None
        self._saved: Saved | None = None
        self.deletions: deque[tuple[Deletion, Callable[[Deleted], None]]] = deque()
        try:
            self._connection = database.connect(self._engine)
            if not database.is_sqlite:
                opening.lock_database(self._connection, database)
            opening.make_ready(self._connection, database, self._engine)
            self._reader = Reader(self._connection, "?" if database.is_sqlite else "%s")
            self._sql = Statements(self._engine.dialect)
            self._packer = Packer()
            self.installation = self._installation()
            self._memory = self._seed()
        except Exception as error:
            self.close()
            raise explain(error, database.place) from error

    @classmethod
    def open(cls, url: str, basedir: Path = Path()) -> "Store":
        """Open a store, and make or migrate it if need be.

        Args:
            url: `c['db']`'s address; see `opening.Database`.
            basedir: the folder that a relative file is in.

        Raises:
            StoreError: it is in use, of a newer version, damaged, or cannot be reached. A sentence says which.
        """
        return cls(Database(url, basedir))

    def _installation(self) -> str:
        name = secrets.token_hex(4)
        self._begin()
        sql = "INSERT INTO meta (key, value) VALUES ('installation', ?) ON CONFLICT (key) DO NOTHING"
        mark = "?" if self.database.is_sqlite else "%s"
        self._connection.execute(sql.replace("?", mark), (name.encode(),))
        self._connection.execute("COMMIT")
        rows = self._reader.rows("SELECT value FROM meta WHERE key = 'installation'")
        return bytes(rows[0][0]).decode()

    def _seed(self) -> Projection:
        self._saved = load(self._reader, self.installation)
        names = "SELECT kind, name, id FROM named"
        named = {(kind, name): int(number) for kind, name, number in self._reader.rows(names)}
        workers = {
            name: LiveWorker(bool(configured), bool(known), state)
            for name, configured, known, state in self._reader.rows(
                "SELECT name, configured, known, state FROM workers"
            )
        }
        return seed(self._saved, self._stored_logs(self._saved), workers, named)

    def _stored_logs(self, saved: Saved) -> dict[int, LiveLog]:
        ids = [logid for build in saved.builds for step in build.steps for logid in step.open_logs]
        logs = {logid: LiveLog() for logid in ids}
        sql = "SELECT logid, first_line + num_lines, length(content) FROM log_chunks WHERE logid IN"
        for logid, end, size in self._reader.rows_in(sql, ids):
            live = logs[logid]
            live.lines = max(live.lines, end)
            live.chunks += 1
            live.bytes += size
        return logs

    # --- writing

    def append(self, batches: Iterable[Batch]) -> int:
        """Store some batches in one transaction, in their order: all of them, or nothing.

        Returns:
            The number of the last fact among them, or 0 if there is none.

        Raises:
            StoreError: nothing of it is stored, and the store takes nothing more: what the caller holds in memory is
                ahead of it. The process must end and start again from the store.
        """
        if self._broken:
            raise StoreError(self._broken)
        self._saved = None
        last = 0
        try:
            changes = self._memory.changes = Changes()
            for batch in batches:
                add_parts(self._memory, self._packer, batch.parts)
                if batch.ends:
                    add_ends(self._memory, batch.ends)
                project(self._memory, batch.facts)
                add_progress(self._memory, batch.progress)
                if batch.facts:
                    last = batch.facts[-1].number
            cursor = self._begin()
            self.statements = write(cursor, self._sql, changes)
            cursor.execute("COMMIT")
            cursor.close()
        except Exception as error:
            raise self._fail(error) from error
        return last

    def _begin(self) -> Any:
        cursor = self._connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self.database.is_sqlite else "BEGIN")
        return cursor

    def _fail(self, error: Exception) -> StoreError:
        told = explain(error, self.database.place)
        self._broken = str(told)
        self._undo()
        return told

    def _undo(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.execute("ROLLBACK")

    # --- when there is time

    def delete(
        self,
        horizons: Horizons,
        now: float,
        done: Callable[[Deleted], None],
        wanted: Callable[[], bool] = lambda: True,
        change: int | None = None,
    ) -> None:
        """Have what is older than its horizon deleted by `tidy`, slice by slice, as long as it is `wanted`.

        Changes after `change` stay. `done` is called at the end.
        """
        self.deletions.append((Deletion(self._reader, horizons, now, wanted, change), done))

    def tidy(self) -> bool:
        """Merge some chunks of one closed log, or delete one slice. Returns whether there was anything to do.

        Nothing depends on it: what fails here is left as it is, and the store takes what comes.
        """
        if self._broken:
            return False
        if self._memory.closed:
            self._merge()
            return True
        return self._delete_slice()

    def _delete_slice(self) -> bool:
        if not self.deletions:
            return False
        deletion, done = self.deletions[0]
        try:
            slice_ = deletion.slice()
            if slice_:
                self._run(slice_)
        except Exception as error:
            self._undo()
            deletion.deleted.error = str(explain(error, self.database.place))
            slice_ = None
        if slice_ is None:
            self.deletions.popleft()
            done(deletion.deleted)
        return True

    def _run(self, slice_: Slice) -> None:
        cursor = self._begin()
        for sql, values in slice_:
            cursor.executemany(self._reader.marked(sql), values)
        cursor.execute("COMMIT")
        cursor.close()

    def _merge(self) -> None:
        """Merge some neighbouring chunks of one closed log, and remember where to go on."""
        logid = next(iter(self._memory.closed))
        first = self._memory.closed.pop(logid)
        try:
            rows, more = self._neighbours(logid, first)
            new = [(logid, *chunk) for chunk in merged(rows, self._packer)]
            if len(new) < len(rows):
                cursor = self._begin()
                span = "DELETE FROM log_chunks WHERE logid = ? AND first_line BETWEEN ? AND ?"
                cursor.execute(self._reader.marked(span), (logid, rows[0][0], rows[-1][0]))
                insert_many(cursor, self._sql, "log_chunks", new)
                cursor.execute("COMMIT")
                cursor.close()
        except Exception as error:
            self._undo()
            log.warning("log %s stays in small pieces: %s", logid, explain(error, self.database.place))
            return
        if more:
            self._memory.closed[logid] = new[-1][1]  # what follows may still fit into the last one

    def _neighbours(self, logid: int, first: int) -> tuple[list[Any], bool]:
        """Chunks of a log from a line on that one transaction may merge, and whether more follow them."""
        sizes = "SELECT first_line, length(content) FROM log_chunks WHERE logid = ? AND first_line >= ?"
        found = self._reader.rows(f"{sizes} ORDER BY first_line LIMIT {MERGE_ROWS}", (logid, first))
        total, count = 0, 0
        while count < len(found) and (count < 2 or total < MERGE_BYTES):
            total += found[count][1]
            count += 1
        sql = "SELECT first_line, num_lines, packing, content FROM log_chunks WHERE logid = ? AND first_line >= ?"
        rows = self._reader.rows(f"{sql} ORDER BY first_line LIMIT {count}", (logid, first))
        return rows, count > 1 and (count < len(found) or len(found) == MERGE_ROWS)

    # --- reading back, before the writer runs

    def load(self) -> Saved:
        """Everything that has not ended. Each call gives objects of its own.

        Raises:
            StoreError: it cannot be read.
        """
        saved, self._saved = self._saved, None
        try:
            return saved or load(self._reader, self.installation)
        except Exception as error:
            raise explain(error, self.database.place) from error

    def progress(self) -> dict[str, CommandProgress]:
        """How far the output of each command is stored that has not ended, by the command's id.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            rows = self._reader.rows(
                "SELECT command, received, tails FROM calls WHERE command_state IN ('asked', 'known')"
            )
            return {
                name: CommandProgress(name, offset, {} if tails is None else codec.tails_of(tails))
                for name, offset, tails in rows
            }
        except Exception as error:
            raise explain(error, self.database.place) from error

    def log_ends(self) -> dict[int, dict[int, str]]:
        """The last pieces, by their number, of each log that is cut.

        Raises:
            StoreError: it cannot be read.
        """
        found: dict[int, dict[int, str]] = {}
        try:
            for logid, number, text in self._reader.rows("SELECT logid, number, content FROM log_ends ORDER BY number"):
                found.setdefault(logid, {})[number] = text
        except Exception as error:
            raise explain(error, self.database.place) from error
        return found

    def open_logs(self) -> dict[int, int]:
        """Each log that is not complete, and how many lines of it are stored."""
        return {logid: live.lines for logid, live in self._memory.logs.items()}

    def close(self) -> None:
        """Close the connection and let other processes in. May be called twice."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._broken = self._broken or f"store {self.database.place} is closed"
