"""The builds that ended lately are found without looking at all others. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the index."""
    ended = sa.text("complete_at IS NOT NULL")
    op.create_index("builds_ended", "builds", ["complete_at", "buildid"], sqlite_where=ended, postgresql_where=ended)
