"""Deleting what is old: the one place that does (decision 0033). What belongs to whole builds is in `delete_builds.py`.

It goes in slices. Each is a transaction of its own in the writer's thread, when nothing else is to be stored
(`store.py`): nobody waits for more than one. What runs or waits, and what that refers to, is never touched; what a
killed server has left the next run finds again.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from lockstep.storage import codec
from lockstep.storage.deleted import KEY, Gone, Past, past
from lockstep.storage.limits import DELETE_BYTES, DELETE_LOOK, DELETE_ROWS
from lockstep.storage.reading import Reader


class Horizons(Struct, frozen=True, kw_only=True):
    """How long what has ended is kept, in seconds; None: for ever. `changes` is how many of them are kept."""

    logs: float | None = None
    builds: float | None = None
    changes: int | None = None

    def __bool__(self) -> bool:
        """Whether anything is ever deleted."""
        return self.logs is not None or self.builds is not None or self.changes is not None


class Deleted(Struct):
    """How much was deleted. It ended before its end if it was `stopped`, or for the reason `error`."""

    logs: int = 0
    builds: int = 0
    changes: int = 0
    facts: int = 0
    stopped: bool = False
    error: str = ""


Statement = tuple[str, Sequence[tuple[Any, ...]]]
"""SQL written with `?`, and the values of each time that it is run."""

Slice = list[Statement]
Slices = Iterator[Slice]

REMEMBER: Final = (
    f"INSERT INTO meta (key, value) VALUES ('{KEY}', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
MARK_LOG: Final = "UPDATE logs SET type = 'd', num_lines = 0, deleted_at = ?, horizon = ? WHERE logid = ?"
DELETE_CHUNK: Final = "DELETE FROM log_chunks WHERE logid = ? AND first_line = ?"

_CHUNKS: Final = (
    "SELECT c.logid, c.first_line, length(c.content), s.started_at, b.complete_at, b.buildid, "
    "l.complete AND r.complete_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM log_ends e WHERE e.logid = c.logid) "
    "FROM log_chunks c JOIN logs l ON l.logid = c.logid JOIN steps s ON s.stepid = l.stepid "
    "JOIN builds b ON b.buildid = s.buildid JOIN requests r ON r.brid = b.brid "
    f"WHERE (c.logid, c.first_line) > (?, ?) ORDER BY c.logid, c.first_line LIMIT {DELETE_LOOK}"
)
_REFERRED: Final = (
    "SELECT parent_buildid FROM buildsets WHERE complete_at IS NULL AND parent_buildid IS NOT NULL "
    "UNION SELECT rebuilt_buildid FROM buildsets WHERE complete_at IS NULL AND rebuilt_buildid IS NOT NULL "
    "UNION SELECT buildid FROM bookings WHERE complete_at IS NULL AND buildid > 0"
)
_EVENTS: Final = (
    "SELECT e.number, e.position, e.at, e.ticket = 0 OR b.buildid IS NOT NULL OR r.brid IS NOT NULL "
    "OR k.ticket IS NOT NULL FROM lock_events e LEFT JOIN builds b ON b.buildid = e.buildid "
    "LEFT JOIN requests r ON r.brid = e.brid AND e.buildid = 0 "
    "LEFT JOIN bookings k ON k.ticket = e.ticket AND e.brid = 0 AND e.buildid = 0 "
    f"WHERE (e.number, e.position) > (?, ?) ORDER BY e.number, e.position LIMIT {DELETE_LOOK}"
)
_BOOKINGS: Final = (
    f"SELECT ticket, asked_at, complete_at FROM bookings WHERE ticket > ? ORDER BY ticket LIMIT {DELETE_LOOK}"
)
_SETS: Final = f"SELECT bsid, ssids FROM buildsets WHERE bsid > ? ORDER BY bsid LIMIT {DELETE_LOOK}"
_STAMPS: Final = f"SELECT ssid, created_at FROM source_stamps WHERE ssid > ? ORDER BY ssid LIMIT {DELETE_LOOK}"
_CHANGES: Final = (
    "SELECT changeid, when_timestamp, EXISTS (SELECT 1 FROM stamp_changes s WHERE s.changeid = changes.changeid) "
    f"FROM changes WHERE changeid > ? AND changeid <= ? ORDER BY changeid LIMIT {DELETE_LOOK}"
)
_NTH: Final = "SELECT changeid FROM changes ORDER BY changeid DESC LIMIT 1 OFFSET ?"
_MEMORIES: Final = "SELECT memory FROM cursors WHERE memory IS NOT NULL"
_FACTS: Final = f"SELECT number, at FROM facts WHERE number > ? ORDER BY number LIMIT {DELETE_ROWS}"
_OLD_FACTS: Final = "DELETE FROM facts WHERE number > ? AND number <= ? AND at < ?"
_LOGS: Final = "logs JOIN steps ON steps.stepid = logs.stepid"


class Deletion:
    """One run: what is older than its horizon at the time `now`. `deleted` is what it has done so far.

    `wanted` is asked before each slice: when it says no, nothing more is deleted. Changes after `change` stay.
    """

    def __init__(
        self,
        reader: Reader,
        horizons: Horizons,
        now: float,
        wanted: Callable[[], bool] = lambda: True,
        change: int | None = None,
    ) -> None:
        self._reader = reader
        self._horizons = horizons
        self._now = now
        self._wanted = wanted
        self._change = change
        self._past: Past | None = None
        self._rest = self._slices()
        self.deleted = Deleted()

    def slice(self) -> Slice | None:
        """What to run next in a transaction of its own, worked out now. An empty one is a breath; None: it is over."""
        self.deleted.stopped = not self._wanted()
        return None if self.deleted.stopped else next(self._rest, None)

    def _slices(self) -> Slices:
        from lockstep.storage.delete_builds import OldBuilds

        horizons, now = self._horizons, self._now
        if horizons.logs is not None:
            yield from self._logs(horizons.logs)
        if horizons.builds is not None:
            gone = Gone(now, seconds=horizons.builds)
            old = OldBuilds(self._reader, now, horizons.builds, self.deleted)
            for slice_ in old.slices():
                yield self._told(slice_, builds=gone)
            for slice_ in self._history(now - horizons.builds):
                yield self._told(slice_, builds=gone)
        if horizons.changes is not None:
            for slice_ in self._changes(None, horizons.changes):
                yield self._told(slice_, changes=Gone(now, count=horizons.changes))
        elif horizons.builds is not None:
            for slice_ in self._changes(now - horizons.builds, None):
                yield self._told(slice_, changes=Gone(now, horizons.builds))

    def _told(self, slice_: Slice, *, builds: Gone | None = None, changes: Gone | None = None) -> Slice:
        """A slice with what must be known of it afterwards."""
        if not slice_:
            return slice_
        known = self._past
        if known is None:
            known = self._past = past(self._reader)
        known.raised(self._reader)
        known.builds = builds or known.builds
        known.changes = changes or known.changes
        known.slices += 1
        return [*slice_, (REMEMBER, [(codec.pack(known),)])]

    # --- logs

    def _logs(self, horizon: float) -> Slices:
        """The text of logs of builds that ended so long ago; the logs' rows stay, and say so."""
        before = self._now - horizon
        last = last_old(self._reader, _LOGS, "logs.logid", "steps.started_at", before)
        at = (0, -1)
        marked = 0
        while rows := self._reader.rows(_CHUNKS, at):
            referred = referred_to(self._reader)
            chunks: list[tuple[int, int]] = []
            size = 0
            for logid, first_line, length, _started, ended, buildid, over in rows:
                at = (logid, first_line)
                if over and ended is not None and ended < before and buildid not in referred:
                    chunks.append(at)
                    size += length or 0
                    if size >= DELETE_BYTES:
                        break
            if chunks:
                logs = sorted({logid for logid, _ in chunks})
                self.deleted.logs += len(logs) - (logs[0] == marked)
                marked = logs[-1]
                yield [(DELETE_CHUNK, chunks), (MARK_LOG, [(self._now, horizon, logid) for logid in logs])]
            else:
                yield []
            if at[0] > last and all(row[3] >= before for row in rows):
                return

    # --- what happened at locks, bookings, source stamps, facts

    def _history(self, before: float) -> Slices:
        yield from self._bookings(before)
        yield from self._events(before)
        yield from self._stamps(before)
        yield from self._facts(before)

    def _bookings(self, before: float) -> Slices:
        """What people and programs held."""
        last = last_old(self._reader, "bookings", "ticket", "asked_at", before)
        at = 0
        while rows := self._reader.rows(_BOOKINGS, (at,)):
            at = rows[-1][0]
            old = [(ticket,) for ticket, _, ended in rows if ended is not None and ended < before]
            yield [("DELETE FROM bookings WHERE ticket = ?", old)] if old else []
            if at > last and all(row[1] >= before for row in rows):
                return

    def _events(self, before: float) -> Slices:
        """What happened at locks, of builds, requests and bookings that are there no more. Limits stay."""
        last = last_old(self._reader, "lock_events", "number", "at", before)
        at = (-1, -1)
        while rows := self._reader.rows(_EVENTS, at):
            at = rows[-1][:2]
            old = [(number, position) for number, position, when, needed in rows if when < before and not needed]
            yield [("DELETE FROM lock_events WHERE number = ? AND position = ?", old)] if old else []
            if at[0] > last and all(row[2] >= before for row in rows):
                return

    def _stamps(self, before: float) -> Slices:
        """Source stamps that no build set names any more."""
        at = 0
        used: set[int] = set()
        while rows := self._reader.rows(_SETS, (at,)):
            at = rows[-1][0]
            used.update(ssid for _, ssids in rows for ssid in codec.from_json(ssids))
            yield []
        last = last_old(self._reader, "source_stamps", "ssid", "created_at", before)
        at = 0
        while rows := self._reader.rows(_STAMPS, (at,)):
            at = rows[-1][0]
            old = [(ssid,) for ssid, made, *_ in rows if made < before and ssid not in used]
            by_stamp = "WHERE ssid = ?"
            yield [(f"DELETE FROM {table} {by_stamp}", old) for table in ("stamp_changes", "source_stamps") if old]
            if at > last and all(row[1] >= before for row in rows):
                return

    def _facts(self, before: float) -> Slices:
        """Facts: what is true now is in the rows. The last one stays: numbers go on from it."""
        last = last_old(self._reader, "facts", "number", "at", before)
        at = 0
        while rows := self._reader.rows(_FACTS, (at,))[:-1]:
            begin, at = at, rows[-1][0]
            old = sum(when < before for _, when in rows)
            self.deleted.facts += old
            yield [(_OLD_FACTS, [(begin, at, before)])] if old else []
            if at > last and not old:
                return

    # --- changes

    def _changes(self, before: float | None, most: int | None) -> Slices:
        """Changes that no source stamp names: those of commits from before, or all but the newest so many."""
        reader = self._reader
        last = reader.rows("SELECT max(changeid) FROM changes")[0][0] or 0
        last = last if self._change is None else min(last, self._change)
        kept = reader.rows(_NTH, (most - 1,)) if most else []
        least = kept[0][0] if kept else 0
        remembered = set(_change_ids([codec.plain_of(m) for (m,) in reader.rows(_MEMORIES)]))
        at = 0
        while rows := reader.rows(_CHANGES, (at, last)):
            at = rows[-1][0]
            old = [
                (changeid,)
                for changeid, when, used in rows
                if not used
                and changeid not in remembered
                and (changeid < least or (before is not None and (when or 0.0) < before))
            ]
            self.deleted.changes += len(old)
            yield [("DELETE FROM changes WHERE changeid = ?", old)] if old else []


def last_old(reader: Reader, table: str, key: str, at: str, before: float) -> int:
    """How far to look for rows from before, at least: the last one among so many, evenly spread over the table.

    Rows come in the order of time, but for those of a clock that was ahead. After a page of such rows there may be
    some old ones that are not found: fewer than there are between two looks, so they are found when they are more.
    """

    select = f"SELECT {key}, {at} FROM {table}"
    ends = [row[0] for order in ("ASC", "DESC") for row in reader.rows(f"{select} ORDER BY {key} {order} LIMIT 1")]
    if not ends:
        return 0
    first, number = ends
    stride = max(1, (number - first) // DELETE_LOOK)
    while number >= first:
        found, when = reader.rows(f"{select} WHERE {key} <= ? ORDER BY {key} DESC LIMIT 1", (number,))[0]
        if when is not None and when < before:
            return int(found)
        number = found - stride
    return 0


def referred_to(reader: Reader) -> set[int]:
    """The builds that something refers to which has not ended: its parent, what it repeats, a lock kept for a look."""
    return {buildid for (buildid,) in reader.rows(_REFERRED)}


def _change_ids(value: Any) -> Iterator[int]:
    """The changes in what schedulers remember."""
    if isinstance(value, dict):
        if isinstance(number := value.get("changeid"), int):
            yield number
        for item in value.values():
            yield from _change_ids(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _change_ids(item)
