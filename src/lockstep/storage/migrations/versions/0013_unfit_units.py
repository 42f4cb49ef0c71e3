"""Which units are in quarantine because they were not fit. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column. Of quarantines that are older nobody knows: a person lifts them."""
    op.add_column("units", sa.Column("unfit", sa.Boolean(create_constraint=False), nullable=True))
