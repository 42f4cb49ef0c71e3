"""What hooks say of a builder's place in the queue, and why a request ended. Frozen."""

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; the reasons of requests that have ended are in their facts."""
    op.add_column("builders", sa.Column("rank", sa.LargeBinary(), nullable=True))
    op.add_column("requests", sa.Column("reason", sa.Text(), nullable=True))
    connection = op.get_bind()
    told = connection.execute(sa.text("SELECT body FROM facts WHERE kind = 'RequestEnded' ORDER BY number"))
    rows = [fact for (body,) in told if (fact := msgspec.msgpack.decode(bytes(body))).get("reason")]
    update = sa.text("UPDATE requests SET reason = :reason WHERE brid = :brid")
    for fact in rows:
        connection.execute(update, {"reason": str(fact["reason"]).replace("\0", ""), "brid": fact["brid"]})
