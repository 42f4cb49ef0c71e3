"""When logs were deleted, and of which build a lock is kept. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns. Nothing was deleted before; of what is kept already nobody knows the build."""
    op.add_column("logs", sa.Column("deleted_at", sa.Double(), nullable=True))
    op.add_column("logs", sa.Column("horizon", sa.Double(), nullable=True))
    op.add_column("bookings", sa.Column("buildid", sa.BigInteger(), nullable=True))
