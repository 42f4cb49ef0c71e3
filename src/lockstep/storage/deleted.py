"""What is known of what was deleted: the highest numbers ever given, so that none comes again, and when it was.

It is one row of `meta`, written in each transaction that deletes something (`deleting.py`).
"""

from typing import Any, Final

import msgspec
from msgspec import Struct, field

from lockstep.storage.reading import Reader

COUNTED: Final = {
    "bsid": "buildsets",
    "brid": "requests",
    "buildid": "builds",
    "stepid": "steps",
    "logid": "logs",
    "changeid": "changes",
    "ssid": "source_stamps",
}
"""Column to its table: numbers of which none is left out, so that one that is not there was deleted."""

KEY: Final = "deleted"
"""Its row of `meta`."""

_OF_CHANGES: Final = ("changeid",)


class Gone(Struct, frozen=True):
    """When things were deleted the last time: Unix time, and how many seconds (of changes: or how many) are kept."""

    at: float
    seconds: float | None = None
    count: int | None = None


class Past(Struct):
    """The highest numbers as of the last deletion, by column; when builds and changes were deleted; transactions."""

    highest: dict[str, int] = field(default_factory=dict)
    builds: Gone | None = None
    changes: Gone | None = None
    slices: int = 0

    def raised(self, reader: Reader) -> None:
        """Know the highest numbers that there are now."""
        for column, table in COUNTED.items():
            self.highest[column] = highest(reader, column, table, self)

    def gone(self, column: str, number: int) -> Gone | None:
        """When the thing of this number was deleted at the latest, if it was: nobody has it in the store."""
        if not 0 < number <= self.highest.get(column, 0):
            return None
        return self.changes if column in _OF_CHANGES else self.builds

    def whole_since(self) -> float:
        """From when on all builds that were asked for are there still, Unix time; 0 if none was deleted.

        Of those before, the last ones of each builder are.
        """
        known = self.builds
        return 0.0 if known is None or known.seconds is None else known.at - known.seconds


def past(reader: Reader) -> Past:
    """What is known now."""
    rows = reader.rows(f"SELECT value FROM meta WHERE key = '{KEY}'")
    return msgspec.msgpack.decode(bytes(rows[0][0]), type=Past) if rows else Past()


def highest(reader: Reader, column: str, table: str, known: Past) -> int:
    """The highest number that was ever given."""
    found: Any = reader.rows(f"SELECT max({column}) FROM {table}")[0][0]
    return max(found or 0, known.highest.get(column, 0))
