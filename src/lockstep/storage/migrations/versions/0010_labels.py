"""Which units of a pool were wanted, by their labels. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column. Of what was before nobody knows: any."""
    op.add_column("lock_events", sa.Column("labels", sa.Text(), nullable=True))
