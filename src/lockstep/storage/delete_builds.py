"""Deleting whole build sets: their requests, builds, steps, properties, addresses and logs. See `deleting.py`.

A build set goes when all of it ended long ago. It goes from below: a server that is killed in between leaves a build
with fewer steps, never a step without its build, and the next run finds the rest.
"""

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, TypeVar

from lockstep.storage.deleting import DELETE_CHUNK, MARK_LOG, Deleted, Slice, Slices, Statement, last_old, referred_to
from lockstep.storage.limits import DELETE_BYTES, DELETE_LOOK, DELETE_ROWS, DELETE_SETS, KEPT_BUILDS
from lockstep.storage.reading import Reader

_T = TypeVar("_T")

_SETS: Final = (
    "SELECT s.bsid, s.submitted_at, s.complete_at, p.buildid FROM buildsets s "
    "LEFT JOIN builds p ON p.buildid = s.parent_buildid AND p.complete_at IS NULL "
    f"WHERE s.bsid > ? ORDER BY s.bsid LIMIT {DELETE_SETS}"
)
_REQUESTS: Final = (
    "SELECT r.bsid, r.brid, r.complete_at, m.brid FROM requests r "
    "LEFT JOIN requests m ON m.brid = r.merged_into AND m.complete_at IS NULL WHERE r.bsid IN"
)
_BUILDS: Final = "SELECT brid, buildid, complete_at FROM builds WHERE brid IN"
_NEWEST: Final = (
    "SELECT buildid FROM builds WHERE builderid = ? AND complete_at IS NOT NULL ORDER BY number DESC LIMIT "
)


class OldBuilds:
    """The build sets that ended more than `horizon` seconds before `now`. What is deleted is counted in `deleted`."""

    def __init__(self, reader: Reader, now: float, horizon: float, deleted: Deleted) -> None:
        self._reader = reader
        self._now = now
        self._horizon = horizon
        self._before = now - horizon
        self._deleted = deleted
        self._newest: set[int] = set()
        self._marked = 0

    def slices(self) -> Slices:
        """What to run in one transaction each."""
        yield from self._find_newest()
        last = last_old(self._reader, "buildsets", "bsid", "submitted_at", self._before)
        at = 0
        while rows := self._reader.rows(_SETS, (at,)):
            at = rows[-1][0]
            old = [bsid for bsid, _, ended, parent in rows if self._is_old(ended) and parent is None]
            while old:
                old = old[(yield from self._delete(old)) :]
            if at > last and all(row[1] >= self._before for row in rows):
                return

    def _is_old(self, ended: float | None) -> bool:
        return ended is not None and ended < self._before

    def _find_newest(self) -> Slices:
        """The last builds of each builder stay: forecasts need them, and numbers go on from them."""
        for builderid, configured in self._reader.rows("SELECT builderid, configured FROM builders"):
            rows = self._reader.rows(f"{_NEWEST}{KEPT_BUILDS if configured else 1}", (builderid,))
            self._newest.update(buildid for (buildid,) in rows)
            yield []

    def _delete(self, bsids: Sequence[int]) -> Generator[Slice, None, int]:
        """The first of these build sets, as many as have few builds; but none of which something is needed.

        Returns how many those are: the others are judged anew.
        """
        requests: dict[int, list[int]] = defaultdict(list)
        needed: set[int] = set()
        set_of: dict[int, int] = {}
        for bsid, brid, ended, merged_into in self._reader.rows_in(_REQUESTS, bsids):
            requests[bsid].append(brid)
            set_of[brid] = bsid
            if not self._is_old(ended) or merged_into is not None:
                needed.add(bsid)
        stay = self._newest | referred_to(self._reader)
        builds: dict[int, list[int]] = defaultdict(list)
        for brid, buildid, ended in self._reader.rows_in(_BUILDS, list(set_of)):
            builds[set_of[brid]].append(buildid)
            if not self._is_old(ended) or buildid in stay:
                needed.add(set_of[brid])
        sums = accumulate(0 if bsid in needed else len(builds[bsid]) for bsid in bsids)
        some = max(1, sum(builds_so_far <= DELETE_SETS for builds_so_far in sums))
        gone = [bsid for bsid in bsids[:some] if bsid not in needed]
        buildids = [buildid for bsid in gone for buildid in builds[bsid]]
        statements = yield from self._parts(buildids)
        statements.append(("DELETE FROM builds WHERE buildid = ?", _keys(buildids)))
        statements.append(("DELETE FROM requests WHERE brid = ?", _keys([b for bsid in gone for b in requests[bsid]])))
        statements.append(("DELETE FROM buildsets WHERE bsid = ?", _keys(gone)))
        self._deleted.builds += len(buildids)
        yield from packed(statements)
        return some

    def _parts(self, buildids: Sequence[int]) -> Generator[Slice, None, list[Statement]]:
        """Delete the text of their logs, and return what deletes the logs' rows, the addresses and the steps."""
        stepids = [stepid for (stepid,) in self._reader.rows_in("SELECT stepid FROM steps WHERE buildid IN", buildids)]
        logids = [logid for (logid,) in self._reader.rows_in("SELECT logid FROM logs WHERE stepid IN", stepids)]
        for some in parts(sorted(logids), DELETE_LOOK):
            yield from self._texts(some)
        return [
            ("DELETE FROM log_ends WHERE logid = ?", _keys(logids)),
            ("DELETE FROM logs WHERE logid = ?", _keys(logids)),
            ("DELETE FROM urls WHERE stepid = ?", _keys(stepids)),
            ("DELETE FROM steps WHERE buildid = ?", _keys(buildids)),
        ]

    def _texts(self, logids: Sequence[int]) -> Slices:
        sql = "SELECT logid, first_line, length(content) FROM log_chunks WHERE logid IN"
        sql += f" ({', '.join('?' * len(logids))}) ORDER BY logid, first_line LIMIT {DELETE_LOOK}"
        while rows := self._reader.rows(sql, logids):
            chunks: list[tuple[Any, ...]] = []
            size = 0
            for logid, first_line, length in rows:
                chunks.append((logid, first_line))
                size += length
                if size >= DELETE_BYTES:
                    break
            logs = sorted({logid for logid, _ in chunks})
            self._deleted.logs += len(logs) - (logs[0] == self._marked)
            self._marked = logs[-1]
            yield [(DELETE_CHUNK, chunks), (MARK_LOG, [(self._now, self._horizon, logid) for logid in logs])]


def packed(statements: Sequence[Statement]) -> Slices:
    """The same statements in their order, so many rows in each slice."""
    slice_: Slice = []
    room = DELETE_ROWS
    for sql, keys in statements:
        for some in parts(keys, DELETE_ROWS // 4):
            if room < len(some):
                yield slice_
                slice_, room = [], DELETE_ROWS
            slice_.append((sql, some))
            room -= len(some)
    if slice_:
        yield slice_


def parts(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Items in their order, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _keys(numbers: Sequence[int]) -> list[tuple[int]]:
    return [(number,) for number in numbers]
