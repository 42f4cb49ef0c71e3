"""Plain SELECTs on a driver's connection, the same on both databases."""

from collections.abc import Sequence
from typing import Any, Final

_AT_ONCE: Final = 500
"""Values in one IN list."""


class Reader:
    """Runs SELECTs. `mark` is the database's sign for a parameter; SQL is written with `?`."""

    def __init__(self, connection: Any, mark: str) -> None:
        self.connection = connection
        self._mark = mark

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows. Every `?` in `sql` is a parameter."""
        if not values:
            plain: list[tuple[Any, ...]] = self.connection.execute(sql).fetchall()
            return plain
        result: list[tuple[Any, ...]] = self.connection.execute(self.marked(sql), tuple(values)).fetchall()
        return result

    def marked(self, sql: str) -> str:
        """SQL with parameters, written with `?`, as the database's driver takes it."""
        return sql if self._mark == "?" else sql.replace("%", "%%").replace("?", self._mark)

    def rows_in(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """All rows of a SELECT that ends with `COLUMN IN`, for any number of values."""
        result: list[tuple[Any, ...]] = []
        for start in range(0, len(values), _AT_ONCE):
            some = values[start : start + _AT_ONCE]
            result += self.rows(f"{sql} ({', '.join('?' * len(some))})", some)
        return result
