"""Which units a build had, and which builds in a row failed with one. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns. What was before counts for no quarantine."""
    op.add_column("builds", sa.Column("units", sa.LargeBinary(), nullable=True))
    op.add_column("units", sa.Column("failed", sa.LargeBinary(), nullable=True))
