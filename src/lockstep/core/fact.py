"""What every fact is, and the envelope that numbers it. The facts themselves are in `facts.py` and `facts_bookings.py`.

Nothing else lives here.
"""

from msgspec import Struct


class Fact(Struct, frozen=True, kw_only=True, tag_field="fact", tag=True):
    """Base of all facts."""


class Numbered(Struct, frozen=True, array_like=True):
    """A fact's envelope: its number (from 1, without gaps), the wall time (Unix seconds), the fact."""

    number: int
    at: float
    fact: Fact
