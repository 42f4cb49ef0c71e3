"""When locks with a start rate were granted of late. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column. What was granted before counts for no rate."""
    op.add_column("locks", sa.Column("starts", sa.LargeBinary(), nullable=True))
