"""Opening a database: its address, one process only, the schema's number, migration. Errors are sentences.

What is stored is no concern here.
"""

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from lockstep.storage import schema
from lockstep.storage.errors import StoreError, explain
from lockstep.storage.limits import BUSY_SECONDS, LOCK_SECONDS

_ADVISORY: Final = 0x10C57E9
"""The key of PostgreSQL's advisory lock: one writing process per database."""

_SECRETS: Final = ("password", "sslpassword", "passfile")
"""What PostgreSQL takes behind the `?` of an address and nobody is told."""

MIGRATIONS: Final = Path(__file__).with_name("migrations")


class Database:
    """An address of a store, and how to connect to it. Nothing is opened before it is asked for.

    Args:
        url: `sqlite:///FILE` (a relative FILE is in `basedir`) or `postgresql://USER:PASSWORD@HOST/NAME`.
        basedir: the master's folder.

    Raises:
        StoreError: the address means nothing, or needs a driver that is not installed.
    """

    def __init__(self, url: str, basedir: Path = Path()) -> None:
        self.url = _normal(_parsed(url), basedir)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.place = self.url.difference_update_query(_SECRETS).render_as_string(hide_password=True)
        if self.is_sqlite:
            self.place = f"'{self.url.database}'"

    def engine(self) -> Engine:
        """An engine without a pool: it knows the dialect, compiles for positional parameters, and migrates."""
        try:
            if self.is_sqlite:
                return create_engine(self.url, poolclass=NullPool)
            return create_engine(self.url, poolclass=NullPool, paramstyle="format")
        except ImportError:
            raise StoreError("PostgreSQL needs its driver: pip install 'lockstep-ci[postgresql]'") from None

    def connect(self, engine: Engine, *, read_only: bool = False) -> Any:
        """A driver's connection that leaves beginning and committing to us.

        Raises:
            StoreError: it cannot be opened.
        """
        if self.is_sqlite and not read_only:
            _make_private(Path(str(self.url.database)))
        arguments, given = engine.dialect.create_connect_args(self.url)
        options: dict[str, Any] = dict(given)
        if self.is_sqlite:
            options |= {"check_same_thread": False, "timeout": BUSY_SECONDS, "cached_statements": 512}
            if read_only:  # whoever only reads makes no file
                arguments = [f"file:{quote(str(self.url.database))}?mode=rw"]
                options["uri"] = True
        else:
            options |= {"autocommit": True}
        connection: Any = None
        try:
            connection = engine.dialect.connect(*arguments, **options)
            if self.is_sqlite:
                _prepare_sqlite(connection, read_only=read_only)
            elif read_only:
                connection.execute("SET default_transaction_read_only = on")
        except Exception as error:
            if connection is not None:
                connection.close()
            raise explain(error, self.place) from error
        return connection


def _parsed(text: str) -> URL:
    """An address taken apart. It is not quoted in what is raised: a password may be in it."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    parts = () if url is None else (url.database, url.username, url.password, url.host, *url.query.values())
    if url is None or not all(map(_takes, (text, *parts))):
        told = "write sqlite:///state.sqlite, or postgresql://USER:PASSWORD@HOST/NAME"
        raise StoreError(f"what c['db'] says is no database address; {told}")
    return url


def _takes(part: object) -> bool:
    """Whether a part of an address can be handed to the system at all."""
    text = str(part)
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


def _normal(url: URL, basedir: Path) -> URL:
    backend = url.get_backend_name()
    if backend == "sqlite":
        if url.host or url.username or url.port:
            told = "write sqlite:///state.sqlite, or with four slashes sqlite:////srv/farm/state.sqlite"
            raise StoreError(f"a SQLite store is a file, and c['db'] names a machine; {told}")
        if not url.database or url.database == ":memory:":
            raise StoreError("a store in memory would lose everything; write sqlite:///state.sqlite")
        return url.set(drivername="sqlite", database=str(basedir / url.database), query={})
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    raise StoreError(f"databases of kind '{backend}' are not supported; use sqlite or postgresql")


def _make_private(path: Path) -> None:
    """Make a new file that only its owner may read: notices' addresses and what builds were told may be secrets."""
    with contextlib.suppress(OSError):  # it is there, or opening it will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(connection: sqlite3.Connection, *, read_only: bool) -> None:
    connection.isolation_level = None
    if read_only:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")


def lock_file(database: Database) -> int:
    """Keep every other process out of a SQLite store. Returns the file descriptor that holds the lock.

    Raises:
        StoreError: another process has it, or the folder cannot be written to.
    """
    path = f"{database.url.database}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        folder = os.path.dirname(path)
        raise StoreError(f"store {database.place}: there is no folder '{folder}'; make it") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise StoreError(
            f"store {database.place}: its lock file '{path}' cannot be opened ({why}); check the folder"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f"process {holder}" if holder else "another process"
        raise StoreError(
            f"store {database.place} is in use by {who}; one store serves one master: stop that one first"
        ) from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def lock_database(connection: Any, database: Database) -> None:
    """Keep every other process out of a PostgreSQL store for as long as this connection lives.

    Raises:
        StoreError: another process has it, and has kept it for `LOCK_SECONDS`: the server needs a moment to notice
            that a process was killed.
    """
    connection.execute(f"SET lock_timeout = {int(LOCK_SECONDS * 1000)}")
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY,))
    except Exception as error:
        if type(error).__name__ != "LockNotAvailable":
            raise
        raise StoreError(
            f"store {database.place} is in use by another process; one store serves one master: stop that one first"
        ) from None
    connection.execute("SET lock_timeout = 0")


def schema_number(connection: Any, database: Database) -> int | None:
    """The number of the stored schema; None: the database is empty.

    Raises:
        StoreError: there are tables, but not ours.
    """
    if database.is_sqlite:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    else:
        rows = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        ).fetchall()
    names = {row[0] for row in rows}
    if not names:
        return None
    if "alembic_version" not in names or "facts" not in names:
        if "alembic_version" in names and len(names) == 1:
            return 0
        raise StoreError(f"store {database.place}: this database belongs to another program; give Lockstep its own")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    try:
        return int(row[0]) if row else 0
    except ValueError:
        raise StoreError(f"store {database.place}: this database belongs to another program") from None


def make_ready(connection: Any, database: Database, engine: Engine) -> None:
    """Make the schema, or bring it up to date.

    Raises:
        StoreError: it is newer than this program, belongs to another, or could not be changed.
    """
    number = schema_number(connection, database)
    if number == schema.SCHEMA:
        return
    if number is None:
        _create(connection, database, engine)
    elif number > schema.SCHEMA:
        raise StoreError(
            f"store {database.place} was written by a newer Lockstep (schema {number}, this one knows "
            f"{schema.SCHEMA}); install that version again, or restore a backup from before"
        )
    else:
        migrate(database)


def must_be_current(connection: Any, database: Database) -> None:
    """Refuse a store that is no Lockstep store, or not of this version: who only reads does not migrate.

    Raises:
        StoreError: with a sentence that says which.
    """
    number = schema_number(connection, database)
    if number is None:
        raise StoreError(f"store {database.place} is empty")
    if number != schema.SCHEMA:
        told = "start its server once with this version" if number < schema.SCHEMA else "use the newer Lockstep"
        raise StoreError(f"store {database.place} has schema {number}, this Lockstep knows {schema.SCHEMA}; {told}")


def _create(connection: Any, database: Database, engine: Engine) -> None:
    """A new store straight from the tables, in one transaction: what the migrations would make, without Alembic."""
    from sqlalchemy.schema import CreateIndex, CreateTable

    statements = []
    for table in schema.metadata.tables.values():
        statements.append(str(CreateTable(table).compile(dialect=engine.dialect)))
        statements += [str(CreateIndex(index).compile(dialect=engine.dialect)) for index in _indexes(table, database)]
    statements.append("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    statements.append(f"INSERT INTO alembic_version VALUES ('{schema.SCHEMA:04}')")
    try:
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
    except Exception as error:
        raise explain(error, database.place) from error


def _indexes(table: Any, database: Database) -> list[Any]:
    """A table's indexes. PostgreSQL's conditions are added here: in the schema they would load its dialect always."""
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    for index in indexes if not database.is_sqlite else ():
        where = index.dialect_kwargs.get("sqlite_where")
        if where is not None:
            index.dialect_kwargs["postgresql_where"] = where
    return indexes


def migrate(database: Database, folder: Path = MIGRATIONS) -> None:
    """Bring an older schema up to date: all its migrations in one transaction, or nothing.

    Raises:
        StoreError: a migration failed; the store is as it was.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    engine = create_engine(database.url, poolclass=NullPool)
    if database.is_sqlite:
        _let_sqlite_roll_back_tables(engine)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except Exception as error:
        told = explain(error, database.place)
        raise StoreError(f"{told}; the store could not be migrated and is as it was") from error


def _let_sqlite_roll_back_tables(engine: Engine) -> None:
    """Begin transactions ourselves: the driver would commit before each change of a table."""

    @event.listens_for(engine, "begin")
    def _begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
