"""The tables of the store. Only their shape is here; who fills them is in `project.py`.

There are facts, rows that history keeps (build sets, requests, builds, steps, logs, changes, source stamps), rows
of what is live only (`claims`: holds and pins; `calls`: the journal of running builds and their commands), and what
is configured. A waiting claim is the row of its request, step or call. Times are Unix seconds. Columns in JSON are
text; columns in msgpack are bytes. A change of a table needs a migration and a new `SCHEMA`.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

SCHEMA: Final = 13
"""The number of this schema: the last migration's."""

metadata: Final = MetaData()


def _id(name: str) -> Column[int]:
    """A primary key (or a part of one) whose numbers the core gives."""
    big = BigInteger().with_variant(Integer(), "sqlite")
    return Column(name, big, primary_key=True, autoincrement=False)


def _int(name: str, default: int | None = 0) -> Column[int]:
    """A number; `default` None: it may be missing."""
    return Column(name, BigInteger, nullable=default is None, default=default)


def _text(name: str, default: str | None = "") -> Column[str]:
    return Column(name, Text, nullable=default is None, default=default)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean(create_constraint=False), nullable=False, default=False)


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=True)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=True)


def _where(condition: str) -> dict[str, Any]:
    """A partial index: only rows for which the condition holds. PostgreSQL is told of it in `opening.py`."""
    return {"sqlite_where": text(condition)}


meta = Table("meta", metadata, Column("key", Text, primary_key=True), _bytes("value"))

facts = Table(
    "facts",
    metadata,
    _id("number"),
    Column("at", Double, nullable=False),
    _text("kind"),
    _text("subject"),
    _bytes("body"),
    _bytes("counters"),
)

builders = Table(
    "builders",
    metadata,
    _id("builderid"),
    _text("name"),
    _text("description", None),
    _text("tags", "[]"),
    _text("project"),
    _flag("configured"),
    _bytes("rank"),
    Index("builders_name", "name", unique=True),
)

workers = Table(
    "workers",
    metadata,
    _id("workerid"),
    _text("name"),
    _flag("configured"),
    _flag("known"),
    _int("max_builds", None),
    _text("builders", "[]"),
    _text("state", "absent"),
    _int("session"),
    _flag("resumes"),
    Column("lease", Double, nullable=False, default=0.0),
    _flag("paused"),
    _text("pause_reason"),
    _flag("graceful"),
    _text("info", "{}"),
    Index("workers_name", "name", unique=True),
)

named = Table(
    "named",
    metadata,
    Column("kind", Text, primary_key=True),
    _id("id"),
    _text("name"),
    _text("detail"),
    _flag("configured"),
)
"""Schedulers, change sources and projects: stable ids for their names."""

locks = Table(
    "locks",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("worker", Text, primary_key=True),
    _int("units", -1),
    _int("max_overtakes"),
    _flag("removed"),
    _int("fence"),
    _bytes("memory"),
    _bytes("starts"),
)

pools = Table(
    "pools",
    metadata,
    Column("name", Text, primary_key=True),
    _bytes("setup"),
    _flag("removed"),
    _int("fence"),
    _bytes("memory"),
)
"""Pools as they were configured last, and what is kept of their grants."""

shares = Table("shares", metadata, Column("name", Text, primary_key=True), _bytes("memory"))
"""Whose turn it is, of what projects have by weight."""

units = Table(
    "units",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    _flag("quarantined"),
    _text("who"),
    _text("reason"),
    _time("since"),
    _bytes("failed"),
    Column("unfit", Boolean(create_constraint=False), nullable=True),
)
"""Units of pools that are, or were, in quarantine, and the builds in a row that failed with them.

Of a quarantine that is older than schema 13 nobody knows whether the unit was `unfit`: null.
"""

cursors = Table("cursors", metadata, Column("owner", Text, primary_key=True), _bytes("memory"), _int("cursor"))

changes = Table(
    "changes",
    metadata,
    _id("changeid"),
    _text("author"),
    _text("comments"),
    _text("files", "[]"),
    _text("branch", None),
    _text("revision", None),
    _text("revlink"),
    _text("repository"),
    _text("project"),
    _text("codebase"),
    _text("category", None),
    _text("properties", "{}"),
    _time("when_timestamp"),
    _text("source"),
)

source_stamps = Table(
    "source_stamps",
    metadata,
    _id("ssid"),
    _time("created_at"),
    _text("codebase"),
    _text("repository"),
    _text("project"),
    _text("branch", None),
    _text("revision", None),
    _bytes("patch"),
    _text("changes", "[]"),
)

stamp_changes = Table(
    "stamp_changes", metadata, _id("ssid"), _id("changeid"), Index("stamp_changes_changeid", "changeid")
)

buildsets = Table(
    "buildsets",
    metadata,
    _id("bsid"),
    _text("reason"),
    _text("scheduler"),
    _text("ssids", "[]"),
    _text("properties", "{}"),
    _time("submitted_at"),
    _text("external_idstring", None),
    _int("rebuilt_buildid", None),
    _int("parent_buildid", None),
    _int("parent_step", None),
    _int("parent_call", None),
    _flag("waited_for"),
    _flag("complete"),
    _time("complete_at"),
    _int("results", None),
    Index("buildsets_live", "bsid", **_where("complete_at IS NULL")),
    Index("buildsets_parent", "parent_buildid", **_where("parent_buildid IS NOT NULL")),
)

requests = Table(
    "requests",
    metadata,
    _id("brid"),
    _int("bsid"),
    _int("builderid"),
    _int("priority"),
    _int("ticket"),
    _int("since"),
    _time("submitted_at"),
    _text("properties", "{}"),
    _bytes("need"),
    _bytes("collapse_key"),
    _int("parent"),
    _flag("waited_for"),
    _flag("put_back"),
    _int("buildid"),
    _text("state"),
    _flag("claimed"),
    _time("claimed_at"),
    _flag("complete"),
    _time("complete_at"),
    _int("results", None),
    _int("merged_into"),
    _text("reason", None),
    _time("waiting_since"),
    Index("requests_live", "brid", **_where("complete_at IS NULL")),
    Index("requests_bsid", "bsid"),
    Index("requests_builderid", "builderid", "brid"),
)

builds = Table(
    "builds",
    metadata,
    _id("buildid"),
    _int("number"),
    _int("builderid"),
    _int("brid"),
    _int("workerid"),
    _int("ticket"),
    _int("hold"),
    _bytes("fences"),
    _time("started_at"),
    _text("properties", "{}"),
    _bytes("plans"),
    _int("running_results"),
    _flag("halted"),
    _flag("broken"),
    _int("stop_results", None),
    _text("stop_reason"),
    _flag("complete"),
    _time("complete_at"),
    _int("ended_fact"),
    _int("results", None),
    Column("locks_duration", Double, nullable=False, default=0.0),
    _text("state_string"),
    _bytes("units"),
    Index("builds_live", "buildid", **_where("complete_at IS NULL")),
    Index("builds_ended", "complete_at", "buildid", **_where("complete_at IS NOT NULL")),
    Index("builds_number", "builderid", "number", unique=True),
    Index("builds_brid", "brid"),
)

steps = Table(
    "steps",
    metadata,
    _id("buildid"),
    _id("number"),
    _int("stepid"),
    _text("name"),
    _text("state"),
    _time("started_at"),
    _time("locks_acquired_at"),
    _flag("complete"),
    _time("complete_at"),
    _int("results", None),
    _flag("hidden"),
    _flag("interrupted"),
    _int("ticket"),
    _int("hold"),
    _bytes("fences"),
    _text("state_string"),
    Index("steps_stepid", "stepid", unique=True),
    sqlite_with_rowid=False,
)

urls = Table("urls", metadata, _id("stepid"), _id("position"), _text("name"), _text("url"), sqlite_with_rowid=False)

logs = Table(
    "logs",
    metadata,
    _id("logid"),
    _int("stepid"),
    _text("name"),
    _text("slug"),
    _text("type"),
    _flag("complete"),
    _int("num_lines"),
    _time("deleted_at"),
    _time("horizon"),
    Index("logs_stepid", "stepid"),
)
"""A log of the type `d` was deleted, at `deleted_at`, since its build had ended more than `horizon` seconds before."""

log_chunks = Table(
    "log_chunks",
    metadata,
    _id("logid"),
    _id("first_line"),
    _int("num_lines"),
    Column("packing", SmallInteger, nullable=False, default=0),
    _bytes("content"),
)

log_ends = Table("log_ends", metadata, _id("logid"), _id("number"), _text("content"))
"""What an open log of which only a part is kept has said last; a log with a row here is cut."""

claims = Table(
    "claims",
    metadata,
    _id("ticket"),
    _int("owner"),
    _int("hold"),
    _bytes("alternative"),
    _bytes("fences"),
    _int("pin", -1),
    _bytes("units"),
)

bookings = Table(
    "bookings",
    metadata,
    _id("ticket"),
    _text("who"),
    _text("reason"),
    _bytes("wish"),
    _int("since"),
    _time("asked_at"),
    _int("hold"),
    _time("granted_at"),
    _time("ends_at"),
    _int("renewals"),
    _text("state"),
    _flag("complete"),
    _time("complete_at"),
    _text("ending"),
    _text("ended_by"),
    _text("ended_why"),
    _int("buildid", None),
    Index("bookings_live", "ticket", **_where("complete_at IS NULL")),
)
"""`buildid` is the build that failed and whose locks are kept for a look, if it is that."""

calls = Table(
    "calls",
    metadata,
    _id("buildid"),
    _id("step"),
    _id("number"),
    _bytes("started"),
    _bytes("ended"),
    _text("state"),
    _int("hold"),
    _text("command"),
    _text("command_state"),
    _flag("interrupted"),
    _int("received"),
    _bytes("tails"),
    _time("started_at"),
    _time("acquired_at"),
    sqlite_with_rowid=False,
)
"""The journal. Number 0 of a step is its `StepStarted` fact; `started` and `ended` are the facts of a call."""

lock_events = Table(
    "lock_events",
    metadata,
    _id("number"),
    _id("position"),
    Column("at", Double, nullable=False),
    _text("event"),
    _text("kind"),
    _text("name"),
    _text("worker"),
    _int("ticket"),
    _int("hold"),
    _int("units"),
    _flag("exclusive"),
    _int("fence"),
    _int("size"),
    _time("seconds"),
    _int("brid"),
    _int("buildid"),
    _int("step"),
    _int("call"),
    _text("detail"),
    _text("labels", None),
    Index("lock_events_lock", "name", "number"),
    Index("lock_events_time", "name", "event", "at"),
    Index("lock_events_steps", "buildid", **_where("step > 0")),
    sqlite_with_rowid=False,
)
"""What happened at each lock, for its history: `number` is the fact's. `seconds` are those waited until then, or
(released) held; `size` is a new limit. `labels` says which units of a pool were wanted; null: any."""
