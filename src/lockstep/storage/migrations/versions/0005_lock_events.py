"""What happened at each lock; since when a request waits; when calls began and had their locks. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table and the columns. The history of locks begins now; before it there are the facts."""
    op.add_column("requests", sa.Column("waiting_since", sa.Double(), nullable=True))
    op.add_column("calls", sa.Column("started_at", sa.Double(), nullable=True))
    op.add_column("calls", sa.Column("acquired_at", sa.Double(), nullable=True))
    op.get_bind().execute(sa.text("UPDATE requests SET waiting_since = submitted_at WHERE complete_at IS NULL"))
    op.create_table(
        "lock_events",
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("position", _BIG, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("ticket", sa.BigInteger(), nullable=False),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("exclusive", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("brid", sa.BigInteger(), nullable=False),
        sa.Column("buildid", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("call", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("lock_events_lock", "lock_events", ["name", "number"])
    op.create_index("lock_events_time", "lock_events", ["name", "event", "at"])
    steps = sa.text("step > 0")
    op.create_index("lock_events_steps", "lock_events", ["buildid"], sqlite_where=steps, postgresql_where=steps)
