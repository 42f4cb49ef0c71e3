"""What one transaction changes, gathered row by row, and written with one statement for each kind of change.

The SQL is compiled once by SQLAlchemy for the database's dialect and run on the driver's own cursor: SQLAlchemy's
execution costs about 150 µs of processor per statement, the driver's about 10. Which rows change is `project.py`'s.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, insert, update
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import ClauseElement

from lockstep.storage import schema
from lockstep.storage.errors import StoreError

Key = Any
"""A row's primary key: its value, or a tuple where the key has several columns."""

_ORDER: Final = tuple(schema.metadata.tables)
_TABLES: Final = schema.metadata.tables


def _template(table: Table) -> dict[str, Any]:
    return {c.name: None if c.default is None else c.default.arg for c in table.columns}  # type: ignore[attr-defined]


TEMPLATES: Final = {name: _template(table) for name, table in _TABLES.items()}
"""Table to a whole row of its defaults."""


KEYS: Final = {name: tuple(column.name for column in table.primary_key.columns) for name, table in _TABLES.items()}
"""Table to the columns of its primary key, in order."""


class Changes:
    """The rows that a batch makes, changes and takes away. Later changes of one row overwrite earlier ones."""

    def __init__(self) -> None:
        self.new: dict[str, dict[Key, dict[str, Any]]] = {}
        self.changed: dict[str, dict[Key, dict[str, Any]]] = {}
        self.put: dict[str, dict[Key, dict[str, Any]]] = {}
        self.gone: dict[str, list[tuple[Any, ...]]] = {}

    def insert(self, table: str, key: Key, row: dict[str, Any]) -> None:
        """A row that is not there yet. `row` has its key; what it leaves out has the column's default."""
        self.new.setdefault(table, {})[key] = TEMPLATES[table] | row

    def update(self, table: str, key: Key, row: dict[str, Any]) -> None:
        """New values for some columns of a row that is there, or was inserted in this batch."""
        fresh = self.new.get(table)
        if fresh is not None and key in fresh:
            fresh[key].update(row)
            return
        changed = self.changed.setdefault(table, {})
        if key in changed:
            changed[key].update(row)
        else:
            changed[key] = row

    def upsert(self, table: str, key: Key, row: dict[str, Any]) -> None:
        """A row that may be there or not. Every upsert into one table names the same columns or merges into them."""
        put = self.put.setdefault(table, {})
        if key in put:
            put[key].update(row)
        else:
            put[key] = row

    def delete(self, statement: str, *values: Any) -> None:
        """Take rows away by one of `Statements.DELETES`. Deletes run before everything else."""
        self.gone.setdefault(statement, []).append(values)

    def remove(self, table: str, key: Key, statement: str) -> None:
        """Take one row away that is there, or was inserted in this batch, or neither."""
        if self.new.get(table, {}).pop(key, None) is None:
            self.delete(statement, *key)


class Statements:
    """SQL text for one dialect, each compiled when first used, with the order of its parameters."""

    DELETES: Final = {
        "claim": (schema.claims, ("ticket", "hold")),
        "journal": (schema.calls, ("buildid",)),
        "chunks": (schema.log_chunks, ("logid",)),
        "end": (schema.log_ends, ("logid", "number")),
    }

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._made: dict[tuple[str, ...], tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]] = {}

    def compile(self, clause: ClauseElement) -> tuple[str, list[str]]:
        """SQL text and the names of its positional parameters."""
        compiled: Any = clause.compile(dialect=self.dialect)
        return str(compiled), list(compiled.positiontup or ())

    def _make(
        self, kind: tuple[str, ...], clause: ClauseElement
    ) -> tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
        sql, names = self.compile(clause)
        bare = [name.removeprefix("p_") for name in names]
        one = itemgetter(bare[0])
        getter: Callable[[dict[str, Any]], tuple[Any, ...]] = (
            itemgetter(*bare) if len(bare) > 1 else lambda row: (one(row),)
        )
        self._made[kind] = (sql, getter)
        return self._made[kind]

    def insert(self, name: str) -> tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
        """For whole rows of a table."""
        kind = ("insert", name)
        return self._made.get(kind) or self._make(
            kind, insert(_TABLES[name]).values({c: bindparam(f"p_{c}") for c in TEMPLATES[name]})
        )

    def update(self, name: str, columns: tuple[str, ...]) -> tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
        """For these columns of a row found by its key; the key's columns are parameters too."""
        kind = ("update", name, *columns)
        made = self._made.get(kind)
        if made is None:
            table = _TABLES[name]
            clause = update(table).values({c: bindparam(f"p_{c}") for c in columns})
            for key in KEYS[name]:
                clause = clause.where(table.c[key] == bindparam(f"p_{key}"))
            made = self._make(kind, clause)
        return made

    def upsert(self, name: str, columns: tuple[str, ...]) -> tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
        """For rows that may be there; only these columns are changed where they are."""
        kind = ("upsert", name, *columns)
        made = self._made.get(kind)
        if made is None:
            made = self._make(kind, self._upsert_clause(name, columns))
        return made

    def _upsert_clause(self, name: str, columns: tuple[str, ...]) -> ClauseElement:
        table = _TABLES[name]
        given: dict[str, Any] = {c: bindparam(f"p_{c}") for c in TEMPLATES[name]}
        keys = list(KEYS[name])
        if self.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as insert_pg

            pg = insert_pg(table).values(given)
            return pg.on_conflict_do_update(index_elements=keys, set_={c: pg.excluded[c] for c in columns})
        from sqlalchemy.dialects.sqlite import insert as insert_lite

        lite = insert_lite(table).values(given)
        return lite.on_conflict_do_update(index_elements=keys, set_={c: lite.excluded[c] for c in columns})

    def delete(self, name: str) -> str:
        """For rows in which the columns that `DELETES` names have given values."""
        kind = ("delete", name)
        made = self._made.get(kind)
        if made is None:
            table, columns = self.DELETES[name]
            clause = delete(table)
            for position, column in enumerate(columns):
                clause = clause.where(table.c[column] == bindparam(f"p_{position}_{column}"))
            sql, _ = self.compile(clause)
            made = self._made[kind] = (sql, itemgetter(0))
        return made[0]


def write(cursor: Any, statements: Statements, changes: Changes) -> int:
    """Run everything on a driver's cursor inside the open transaction. Returns the number of statements.

    Raises:
        StoreError: a row that should be there is not: a fault of Lockstep itself.
    """
    count = 0
    for name, rows in changes.gone.items():
        cursor.executemany(statements.delete(name), rows)
        count += 1
    for name in _ORDER:
        if fresh := changes.new.get(name):
            sql, values = statements.insert(name)
            cursor.executemany(sql, [values(row) for row in fresh.values()])
            count += 1
        if put := changes.put.get(name):
            count += _write_upserts(cursor, statements, name, put)
        if changed := changes.changed.get(name):
            count += _write_updates(cursor, statements, name, changed)
    return count


def _by_columns(rows: dict[Key, dict[str, Any]], keys: Sequence[str]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Rows grouped by the columns that they name; their keys are put into them."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for key, row in rows.items():
        columns = tuple(row)
        if len(keys) == 1:
            row[keys[0]] = key
        else:
            row.update(zip(keys, key, strict=True))
        groups.setdefault(columns, []).append(row)
    merged: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for columns, group in groups.items():
        merged.setdefault(tuple(sorted(columns)), []).extend(group)
    return merged


def _write_updates(cursor: Any, statements: Statements, name: str, rows: dict[Key, dict[str, Any]]) -> int:
    groups = _by_columns(rows, KEYS[name])
    for columns, group in groups.items():
        sql, values = statements.update(name, columns)
        cursor.executemany(sql, [values(row) for row in group])
        if cursor.rowcount != len(group):
            raise StoreError(
                f"a fault of Lockstep itself: of {len(group)} rows of '{name}' to change only "
                f"{cursor.rowcount} are there"
            )
    return len(groups)


def _write_upserts(cursor: Any, statements: Statements, name: str, rows: dict[Key, dict[str, Any]]) -> int:
    groups = _by_columns(rows, KEYS[name])
    template = TEMPLATES[name]
    for columns, group in groups.items():
        sql, values = statements.upsert(name, columns)
        cursor.executemany(sql, [values(template | row) for row in group])
    return len(groups)


def insert_many(cursor: Any, statements: Statements, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Whole rows given as tuples in the order of the table's columns."""
    sql, _ = statements.insert(name)
    cursor.executemany(sql, rows)
