"""The door for whoever reads: lists and single things in Buildbot's shape, logs, and facts by cursor.

Any thread may ask; each question uses a connection of its own that cannot write. Nothing here waits for the writer.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from lockstep.core.facts import Fact, Numbered
from lockstep.core.forecast import Course
from lockstep.storage import codec
from lockstep.storage import lock_history as past
from lockstep.storage.courses import courses
from lockstep.storage.deleted import Gone
from lockstep.storage.deleted import past as past_of
from lockstep.storage.errors import explain
from lockstep.storage.filters import Filter, QueryError, order_by, where
from lockstep.storage.limits import MAX_PAGE
from lockstep.storage.logs import lines_of
from lockstep.storage.opening import Database, must_be_current
from lockstep.storage.past import PastRequest, latest, requests_since
from lockstep.storage.reading import Reader
from lockstep.storage.resources import MASTER, RESOURCES, Resource


class Page(Struct):
    """Some of the things that were asked for, and how many there are in all."""

    items: list[dict[str, Any]]
    total: int


class Queries:
    """Questions to a store that exists. Close it when nobody asks any more.

    Args:
        url: as of `Store.open`.
        basedir: as of `Store.open`.
    """

    def __init__(self, url: str, basedir: Path = Path()) -> None:
        self._database = Database(url, basedir)
        self._engine = self._database.engine()
        self._free: list[Any] = []
        self._guard = threading.Lock()
        self._counted: dict[str, tuple[int, int]] = {}
        self._slices = 0
        self._mark = "?" if self._database.is_sqlite else "%s"

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        """A reader on a connection that nobody else uses meanwhile. A connection that failed is thrown away."""
        with self._guard:
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = self._database.connect(self._engine, read_only=True)
        try:
            yield Reader(connection, self._mark)
        except QueryError:
            self._give_back(connection)
            raise
        except Exception as error:
            connection.close()
            raise explain(error, self._database.place) from error
        else:
            self._give_back(connection)

    def _give_back(self, connection: Any) -> None:
        with self._guard:
            self._free.append(connection)

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._guard:
            free, self._free = self._free, []
        for connection in free:
            connection.close()

    # --- lists

    def page(
        self,
        resource: str,
        filters: Sequence[Filter] = (),
        order: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
        properties: Sequence[str] = (),
    ) -> Page:
        """Things of one kind: builders, builds, buildrequests, buildsets, steps, logs, workers, changes, sourcestamps,
        schedulers, changesources, projects.

        Args:
            resource: its plural name.
            filters: all must hold.
            order: `FIELD` or `-FIELD`, the first counts most; by default by id.
            limit: at most so many, and at most `MAX_PAGE`.
            offset: how many of them to pass over.
            properties: of builds and buildrequests: names of properties to give with them, `*` for all.

        Raises:
            QueryError: there is no such resource, field or operator, or a value is of the wrong kind.
            StoreError: the store cannot be read.
        """
        spec = _spec(resource)
        condition, values = where(filters, spec.fields, resource)
        size = MAX_PAGE if limit is None else max(0, min(limit, MAX_PAGE))
        sql = _select(spec, properties)
        if condition:
            sql += f" WHERE {condition}"
        sql += f" ORDER BY {order_by(order, spec.fields, resource, spec.key)} LIMIT {size} OFFSET {max(0, int(offset))}"
        with self._reader() as reader:
            items = _shaped(reader, spec, reader.rows(sql, values), properties)
            full = len(items) == size or (offset and not items)
            total = self._total(reader, spec, condition, values) if full else offset + len(items)
        return Page(items, total)

    def _total(self, reader: Reader, spec: Resource, condition: str, values: Sequence[Any]) -> int:
        slices = past_of(reader).slices
        if slices != self._slices:  # what was counted may have been deleted
            self._counted.clear()
            self._slices = slices
        if condition or not spec.grows:
            sql = f"SELECT count(*) FROM {spec.table}" + (f" WHERE {condition}" if condition else "")
            return int(reader.rows(sql, values)[0][0])
        last, count = self._counted.get(spec.name, (0, 0))
        rows = reader.rows(f"SELECT count(*), max({spec.key}) FROM {spec.table} WHERE {spec.key} > ?", (last,))
        total = count + int(rows[0][0])
        self._counted[spec.name] = (rows[0][1] or last, total)
        return total

    def get(self, resource: str, key: int, properties: Sequence[str] = ()) -> dict[str, Any] | None:
        """The thing with this id, or None.

        Raises:
            QueryError: there is no such resource.
            StoreError: the store cannot be read.
        """
        spec = _spec(resource)
        with self._reader() as reader:
            rows = reader.rows(f"{_select(spec, properties)} WHERE {spec.key} = ?", (key,))
            items = _shaped(reader, spec, rows, properties)
        return items[0] if items else None

    def gone(self, resource: str, number: int) -> Gone | None:
        """When the thing with this id was deleted, at the latest; None: nothing of that number was.

        Only for things that the store does not have.

        Raises:
            QueryError: there is no such resource.
            StoreError: the store cannot be read.
        """
        spec = _spec(resource)
        with self._reader() as reader:
            return past_of(reader).gone(spec.key, number)

    # --- what hangs on other things

    def properties_of_build(self, buildid: int) -> dict[str, Any]:
        """Name to [value, source]; empty for a build that does not exist.

        Raises:
            StoreError: the store cannot be read.
        """
        return self._properties("SELECT properties FROM builds WHERE buildid = ?", buildid)

    def properties_of_buildset(self, bsid: int) -> dict[str, Any]:
        """Name to [value, source]; empty for a build set that does not exist.

        Raises:
            StoreError: the store cannot be read.
        """
        return self._properties("SELECT properties FROM buildsets WHERE bsid = ?", bsid)

    def _properties(self, sql: str, key: int) -> dict[str, Any]:
        with self._reader() as reader:
            rows = reader.rows(sql, (key,))
        found: dict[str, Any] = codec.from_json(rows[0][0]) if rows else {}
        return found

    def changes_of_build(self, buildid: int) -> list[dict[str, Any]]:
        """The changes of all its source stamps, oldest first.

        Raises:
            StoreError: the store cannot be read.
        """
        sql = (
            "SELECT s.ssids FROM builds b JOIN requests r ON r.brid = b.brid JOIN buildsets s ON s.bsid = r.bsid "
            "WHERE b.buildid = ?"
        )
        with self._reader() as reader:
            rows = reader.rows(sql, (buildid,))
            return _changes_of(reader, codec.from_json(rows[0][0])) if rows else []

    def changes_of_sourcestamp(self, ssid: int) -> list[dict[str, Any]]:
        """Its changes, oldest first.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reader() as reader:
            return _changes_of(reader, [ssid])

    def masters(self, now: float) -> list[dict[str, Any]]:
        """The one master there is. `now` is Unix seconds.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reader() as reader:
            rows = reader.rows("SELECT value FROM meta WHERE key = 'setup'")
        name = codec.fact_of(rows[0][0]).setup.master_name if rows else "lockstep"
        return [{"masterid": MASTER, "name": name, "active": True, "last_active": int(now)}]

    # --- logs

    def log_lines(self, logid: int, first: int = 0, limit: int | None = None) -> Iterator[tuple[int, str]]:
        """Pieces of a log from line `first` (from 0), at most `limit` lines in all: (number of first line, text).

        Raises:
            StoreError: the store cannot be read.
        """
        at = max(0, first)
        left = limit
        while left is None or left > 0:
            with self._reader() as reader:
                rows: Any = reader.rows(_CHUNK, (logid, logid, at))
            piece = next((text for _, text in lines_of(rows, at, left)), None)
            if piece is None or b"\n" not in piece:
                return
            text = piece.decode("utf-8", "replace")
            yield at, text
            lines = text.count("\n")
            at += lines
            if left is not None:
                left -= lines

    def log_contents(self, logid: int, first: int = 0, limit: int | None = None) -> dict[str, Any]:
        """A `logchunk`: lines with their prefixes, as Buildbot's `contents` gives them.

        Raises:
            StoreError: the store cannot be read.
        """
        text = "".join(piece for _, piece in self.log_lines(logid, first, limit))
        return {"logid": logid, "firstline": first, "content": text}

    def log_raw(self, logid: int, type_: str) -> Iterator[str]:
        """The text of a whole log without the prefixes of a stdio log (`type_` `s`), piece by piece.

        Raises:
            StoreError: the store cannot be read.
        """
        for _, text in self.log_lines(logid):
            yield "".join(line[1:] + "\n" for line in text.split("\n")[:-1]) if type_ == "s" else text

    # --- facts

    def facts_after(self, number: int, kinds: Sequence[type[Fact]] = (), limit: int = 1000) -> list[Numbered]:
        """Facts with higher numbers, in their order.

        Args:
            number: the last one that is known; 0 for all.
            kinds: only facts of these types; empty for all.
            limit: at most so many.

        Raises:
            StoreError: the store cannot be read.
        """
        sql = "SELECT number, at, body FROM facts WHERE number > ?"
        values: list[Any] = [number]
        if kinds:
            sql += f" AND kind IN ({', '.join('?' * len(kinds))})"
            values += [kind.__name__ for kind in kinds]
        with self._reader() as reader:
            rows = reader.rows(f"{sql} ORDER BY number LIMIT {max(0, int(limit))}", values)
        return [Numbered(found, at, codec.fact_of(body)) for found, at, body in rows]

    def follow(self, number: int, kinds: Sequence[type[Fact]], limit: int = 1000) -> tuple[list[Numbered], int]:
        """As `facts_after`, and the number to go on from. Keep that number even if nothing was found: facts of other
        kinds are read through, half a second for a million.

        Raises:
            StoreError: the store cannot be read.
        """
        end = self.last_fact()
        found = [fact for fact in self.facts_after(number, kinds, limit) if fact.number <= end]
        return found, found[-1].number if len(found) >= limit else max(end, number)

    # --- locks

    def lock_history(self, name: str, limit: int, offset: int = 0) -> Page:
        """What happened at the locks of a name, the newest last. See `lock_history.py`.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reader() as reader:
            items = past.history(reader, name, max(0, int(limit)), max(0, int(offset)))
            return Page(items, past.length(reader, name))

    def lock_use(self, name: str, start: float, now: float, held: Sequence[past.Held]) -> list[dict[str, Any]]:
        """How long was waited for the locks of a name in a period, and how long they were held.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reader() as reader:
            return past.use(reader, name, start, now, held)

    def lock_events_after(self, number: int, limit: int) -> list[tuple[Any, ...]]:
        """What happened at locks after a fact: number, event, the lock's kind, name and worker, seconds.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reader() as reader:
            return past.after(reader, number, limit)

    def courses(self, builderid: int, workers: Mapping[int, str], most: int) -> list[Course]:
        """How the last builds of a builder went, for forecasts. See `courses.py`.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reader() as reader:
            return courses(reader, builderid, workers, most)

    def requests_since(self, days: float | None, most: int) -> tuple[list[PastRequest], float]:
        """The requests of the last days that there were any (None: of all), for rehearsals. See `past.py`.

        Returns the requests, and the moment before which there are none because builds were deleted (Unix time; 0: none
        were, or so long ago that it matters nothing): the few that are left of that time would look like idle weeks.

        Raises:
            StoreError: the store cannot be read, or another version of Lockstep wrote it.
        """
        with self._reader() as reader:
            must_be_current(reader.connection, self._database)
            since = 0.0 if days is None else latest(reader) - days * 86400
            whole = past_of(reader).whole_since()
            return requests_since(reader, max(since, whole), most), whole if whole > since else 0.0

    def last_fact(self) -> int:
        """The number of the last fact, 0 if there is none.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reader() as reader:
            return int(reader.rows("SELECT max(number) FROM facts")[0][0] or 0)


_CHUNK = (
    "SELECT first_line, num_lines, packing, content FROM log_chunks WHERE logid = ? AND first_line = "
    "(SELECT max(first_line) FROM log_chunks WHERE logid = ? AND first_line <= ?)"
)


def _spec(resource: str) -> Resource:
    spec = RESOURCES.get(resource)
    if spec is None:
        raise QueryError(f"there is no resource '{resource}'; there are {', '.join(sorted(RESOURCES))}")
    return spec


def _select(spec: Resource, properties: Sequence[str]) -> str:
    more = f", {spec.properties}" if properties and spec.properties else ""
    return f"SELECT {spec.columns}{more} FROM {spec.table}"


def _shaped(
    reader: Reader, spec: Resource, rows: Sequence[tuple[Any, ...]], properties: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of `_select` in Buildbot's shape, with what is in other tables."""
    items = [spec.shape(row) for row in rows]
    if properties and spec.properties:
        width = spec.properties.count(", ") + 1
        for item, row in zip(items, rows, strict=True):
            item["properties"] = _properties_in(row[-width:], properties)
    if items:
        _complete(reader, spec, items)
    return items


def _properties_in(texts: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Properties of these names (`*`: all); later texts count more."""
    found: dict[str, Any] = {}
    for text in texts:
        if text != "{}":
            found |= codec.from_json(text)
    return found if "*" in names else {name: found[name] for name in names if name in found}


def _complete(reader: Reader, spec: Resource, items: list[dict[str, Any]]) -> None:
    """Put in what is in other tables."""
    if spec.name == "steps":
        steps = {item["stepid"]: item for item in items}
        rows = reader.rows_in("SELECT stepid, position, name, url FROM urls WHERE stepid IN", list(steps))
        for stepid, _, name, url in sorted(rows):
            steps[stepid]["urls"].append({"name": name, "url": url})
    elif spec.name == "buildsets":
        stamps = _stamps(reader, sorted({ssid for item in items for ssid in item["sourcestamps"]}))
        for item in items:
            item["sourcestamps"] = [stamps[ssid] for ssid in item["sourcestamps"] if ssid in stamps]
    elif spec.name == "sourcestamps":
        for item in items:
            item["patch"] = _patch(item["ssid"], item["patch"])
    elif spec.name == "changes":
        _put_stamps(reader, items)


def _stamps(reader: Reader, ssids: Sequence[int]) -> dict[int, dict[str, Any]]:
    spec = RESOURCES["sourcestamps"]
    rows = reader.rows_in(f"SELECT {spec.columns} FROM source_stamps WHERE ssid IN", ssids)
    stamps = {row[0]: spec.shape(row) for row in rows}
    for ssid, stamp in stamps.items():
        stamp["patch"] = _patch(ssid, stamp["patch"])
    return stamps


def _patch(ssid: int, packed: bytes | None) -> dict[str, Any] | None:
    """A source stamp's patch; it has the stamp's id."""
    if packed is None:
        return None
    patch = codec.patch_of(packed)
    return {
        "patchid": ssid,
        "body": patch.body.decode("utf-8", "replace"),
        "level": patch.level,
        "subdir": patch.subdir,
        "author": patch.author,
        "comment": patch.comment,
    }


def _put_stamps(reader: Reader, changes: list[dict[str, Any]]) -> None:
    """Each change with the first source stamp that it asked for, or with what such a stamp would say."""
    by_id = {change["changeid"]: change for change in changes}
    rows = reader.rows_in("SELECT changeid, ssid FROM stamp_changes WHERE changeid IN", list(by_id))
    first = dict(sorted(rows, reverse=True))
    stamps = _stamps(reader, sorted(set(first.values())))
    for changeid, change in by_id.items():
        stamp = stamps.get(first.get(changeid, 0))
        if stamp is None:
            names = ("codebase", "repository", "project", "branch", "revision")
            stamp = {name: change[name] for name in names}
            stamp |= {"ssid": None, "created_at": change["when_timestamp"], "patch": None}
        change["sourcestamp"] = stamp


def _changes_of(reader: Reader, ssids: Sequence[int]) -> list[dict[str, Any]]:
    rows = reader.rows_in("SELECT changeid, ssid FROM stamp_changes WHERE ssid IN", ssids)
    spec = RESOURCES["changes"]
    ids = sorted({changeid for changeid, _ in rows})
    found = reader.rows_in(f"SELECT {spec.columns} FROM changes WHERE changeid IN", ids)
    items = sorted((spec.shape(row) for row in found), key=lambda change: int(change["changeid"]))
    _complete(reader, spec, items)
    return items
