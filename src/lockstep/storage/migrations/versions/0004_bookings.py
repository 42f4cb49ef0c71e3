"""Locks that are held for people and for programs outside of Lockstep. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "bookings",
        sa.Column("ticket", _BIG, primary_key=True, autoincrement=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("wish", sa.LargeBinary(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=True),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.Double(), nullable=True),
        sa.Column("ends_at", sa.Double(), nullable=True),
        sa.Column("renewals", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("complete", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("complete_at", sa.Double(), nullable=True),
        sa.Column("ending", sa.Text(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.Column("ended_why", sa.Text(), nullable=False),
    )
    where = sa.text("complete_at IS NULL")
    op.create_index("bookings_live", "bookings", ["ticket"], sqlite_where=where, postgresql_where=where)
