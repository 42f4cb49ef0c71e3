"""Pools and their units. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the tables, and what a claim has of pools. There were none before."""
    op.create_table(
        "pools",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("setup", sa.LargeBinary(), nullable=True),
        sa.Column("removed", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.LargeBinary(), nullable=True),
    )
    op.create_table(
        "units",
        sa.Column("pool", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("quarantined", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=True),
    )
    op.add_column("claims", sa.Column("units", sa.LargeBinary(), nullable=True))
