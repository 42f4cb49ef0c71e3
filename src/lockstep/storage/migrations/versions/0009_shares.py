"""Whose turn it is, of what projects have by weight. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table. Nobody has had a turn."""
    op.create_table(
        "shares",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("memory", sa.LargeBinary(), nullable=True),
    )
