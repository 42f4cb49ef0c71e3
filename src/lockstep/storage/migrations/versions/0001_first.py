"""The first schema. Frozen: later changes are migrations of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    _upgrade_configured()
    _upgrade_requests()
    _upgrade_builds()
    _upgrade_logs()


def _upgrade_configured() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
    )
    op.create_table(
        "facts",
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("counters", sa.LargeBinary(), nullable=True),
    )
    op.create_table(
        "builders",
        sa.Column("builderid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("configured", sa.Boolean(create_constraint=False), nullable=False),
    )
    op.create_index("builders_name", "builders", ["name"], unique=True)
    op.create_table(
        "workers",
        sa.Column("workerid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("configured", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("known", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("max_builds", sa.BigInteger(), nullable=True),
        sa.Column("builders", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("resumes", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("lease", sa.Double(), nullable=False),
        sa.Column("paused", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("pause_reason", sa.Text(), nullable=False),
        sa.Column("graceful", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("info", sa.Text(), nullable=False),
    )
    op.create_index("workers_name", "workers", ["name"], unique=True)
    op.create_table(
        "named",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("configured", sa.Boolean(create_constraint=False), nullable=False),
    )
    op.create_table(
        "locks",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("worker", sa.Text(), primary_key=True),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("max_overtakes", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.LargeBinary(), nullable=True),
    )
    op.create_table(
        "cursors",
        sa.Column("owner", sa.Text(), primary_key=True),
        sa.Column("memory", sa.LargeBinary(), nullable=True),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
    )


def _upgrade_requests() -> None:
    op.create_table(
        "changes",
        sa.Column("changeid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("comments", sa.Text(), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("revlink", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("codebase", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("when_timestamp", sa.Double(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
    )
    op.create_table(
        "source_stamps",
        sa.Column("ssid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("created_at", sa.Double(), nullable=True),
        sa.Column("codebase", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("patch", sa.LargeBinary(), nullable=True),
        sa.Column("changes", sa.Text(), nullable=False),
    )
    op.create_table(
        "stamp_changes",
        sa.Column("ssid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("changeid", _BIG, primary_key=True, autoincrement=False),
    )
    op.create_index("stamp_changes_changeid", "stamp_changes", ["changeid"])
    op.create_table(
        "buildsets",
        sa.Column("bsid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("scheduler", sa.Text(), nullable=False),
        sa.Column("ssids", sa.Text(), nullable=False),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("submitted_at", sa.Double(), nullable=True),
        sa.Column("external_idstring", sa.Text(), nullable=True),
        sa.Column("rebuilt_buildid", sa.BigInteger(), nullable=True),
        sa.Column("parent_buildid", sa.BigInteger(), nullable=True),
        sa.Column("parent_step", sa.BigInteger(), nullable=True),
        sa.Column("parent_call", sa.BigInteger(), nullable=True),
        sa.Column("waited_for", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("complete", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("complete_at", sa.Double(), nullable=True),
        sa.Column("results", sa.BigInteger(), nullable=True),
    )
    op.create_index(
        "buildsets_live",
        "buildsets",
        ["bsid"],
        sqlite_where=sa.text("complete_at IS NULL"),
        postgresql_where=sa.text("complete_at IS NULL"),
    )
    op.create_index(
        "buildsets_parent",
        "buildsets",
        ["parent_buildid"],
        sqlite_where=sa.text("parent_buildid IS NOT NULL"),
        postgresql_where=sa.text("parent_buildid IS NOT NULL"),
    )
    op.create_table(
        "requests",
        sa.Column("brid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("bsid", sa.BigInteger(), nullable=False),
        sa.Column("builderid", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("ticket", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("submitted_at", sa.Double(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("need", sa.LargeBinary(), nullable=True),
        sa.Column("collapse_key", sa.LargeBinary(), nullable=True),
        sa.Column("parent", sa.BigInteger(), nullable=False),
        sa.Column("waited_for", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("put_back", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("buildid", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("claimed", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("claimed_at", sa.Double(), nullable=True),
        sa.Column("complete", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("complete_at", sa.Double(), nullable=True),
        sa.Column("results", sa.BigInteger(), nullable=True),
        sa.Column("merged_into", sa.BigInteger(), nullable=False),
    )
    op.create_index("requests_bsid", "requests", ["bsid"])
    op.create_index("requests_builderid", "requests", ["builderid", "brid"])
    op.create_index(
        "requests_live",
        "requests",
        ["brid"],
        sqlite_where=sa.text("complete_at IS NULL"),
        postgresql_where=sa.text("complete_at IS NULL"),
    )


def _upgrade_builds() -> None:
    op.create_table(
        "builds",
        sa.Column("buildid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("builderid", sa.BigInteger(), nullable=False),
        sa.Column("brid", sa.BigInteger(), nullable=False),
        sa.Column("workerid", sa.BigInteger(), nullable=False),
        sa.Column("ticket", sa.BigInteger(), nullable=False),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("fences", sa.LargeBinary(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("plans", sa.LargeBinary(), nullable=True),
        sa.Column("running_results", sa.BigInteger(), nullable=False),
        sa.Column("halted", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("broken", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("stop_results", sa.BigInteger(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=False),
        sa.Column("complete", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("complete_at", sa.Double(), nullable=True),
        sa.Column("ended_fact", sa.BigInteger(), nullable=False),
        sa.Column("results", sa.BigInteger(), nullable=True),
        sa.Column("locks_duration", sa.Double(), nullable=False),
        sa.Column("state_string", sa.Text(), nullable=False),
    )
    op.create_index("builds_brid", "builds", ["brid"])
    op.create_index(
        "builds_live",
        "builds",
        ["buildid"],
        sqlite_where=sa.text("complete_at IS NULL"),
        postgresql_where=sa.text("complete_at IS NULL"),
    )
    op.create_index("builds_number", "builds", ["builderid", "number"], unique=True)
    op.create_table(
        "steps",
        sa.Column("buildid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("stepid", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("locks_acquired_at", sa.Double(), nullable=True),
        sa.Column("complete", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("complete_at", sa.Double(), nullable=True),
        sa.Column("results", sa.BigInteger(), nullable=True),
        sa.Column("hidden", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("interrupted", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("ticket", sa.BigInteger(), nullable=False),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("fences", sa.LargeBinary(), nullable=True),
        sa.Column("state_string", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("steps_stepid", "steps", ["stepid"], unique=True)
    op.create_table(
        "urls",
        sa.Column("stepid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("position", _BIG, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logs",
        sa.Column("logid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("stepid", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("complete", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("num_lines", sa.BigInteger(), nullable=False),
    )
    op.create_index("logs_stepid", "logs", ["stepid"])


def _upgrade_logs() -> None:
    op.create_table(
        "log_chunks",
        sa.Column("logid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("first_line", _BIG, primary_key=True, autoincrement=False),
        sa.Column("num_lines", sa.BigInteger(), nullable=False),
        sa.Column("packing", sa.SmallInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
    )
    op.create_table(
        "claims",
        sa.Column("ticket", _BIG, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.BigInteger(), nullable=False),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("alternative", sa.LargeBinary(), nullable=True),
        sa.Column("fences", sa.LargeBinary(), nullable=True),
        sa.Column("pin", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "calls",
        sa.Column("buildid", _BIG, primary_key=True, autoincrement=False),
        sa.Column("step", _BIG, primary_key=True, autoincrement=False),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("started", sa.LargeBinary(), nullable=True),
        sa.Column("ended", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("command_state", sa.Text(), nullable=False),
        sa.Column("interrupted", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("tails", sa.LargeBinary(), nullable=True),
        sqlite_with_rowid=False,
    )
