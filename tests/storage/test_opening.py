"""Opening: one process only, the schema's number, migration, and sentences instead of tracebacks."""

import contextlib
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from lockstep.core import events as e
from lockstep.core.facts import MemoryKept, Numbered
from lockstep.core.values import RequestWish, Submission
from lockstep.storage import opening, schema
from lockstep.storage.batch import Batch
from lockstep.storage.errors import StoreError, explain
from lockstep.storage.opening import Database
from lockstep.storage.store import Store

from .farm import Farm


def one_fact(number: int = 1) -> Batch:
    return Batch(facts=[Numbered(number, 1.5, MemoryKept(owner="poller", memory={"a": [1]}, cursor=number))])


def connection_of(url: str) -> Any:
    database = Database(url)
    return database.connect(database.engine())


def answer(url: str, sql: str) -> list[Any]:
    """The rows that a statement gives."""
    connection = connection_of(url)
    try:
        return list(connection.execute(sql).fetchall())
    finally:
        connection.close()


def set_schema(url: str, number: str) -> None:
    connection = connection_of(url)
    connection.execute(f"UPDATE alembic_version SET version_num = '{number}'")
    connection.close()


def shape(url: str) -> dict[str, Any]:
    """Tables, columns, keys and indexes as the database sees them."""
    seen = inspect(create_engine(Database(url).url, poolclass=NullPool))
    tables = {}
    for name in seen.get_table_names():
        columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in seen.get_columns(name)}
        indexes = sorted(
            (str(i["name"]), tuple(i["column_names"]), bool(i["unique"]), str(sorted(i.get("dialect_options", {}))))
            for i in seen.get_indexes(name)
        )
        tables[name] = (columns, seen.get_pk_constraint(name)["constrained_columns"], indexes)
    return tables


def test_a_new_store_and_a_migrated_one_have_the_same_schema(new_url: Callable[[], str]) -> None:
    made, migrated = new_url(), new_url()
    Store.open(made).close()
    opening.migrate(Database(migrated))
    assert shape(made) == shape(migrated)
    if made.startswith("sqlite"):
        sql = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql IS NOT NULL ORDER BY name"
        texts = [[(n, " ".join(s.split())) for n, s in answer(u, sql)] for u in (made, migrated)]
        assert texts[0] == texts[1]


def test_a_second_opening_is_refused_with_a_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store.open(url)
    with monkeypatch.context() as hasty:
        hasty.setattr(opening, "LOCK_SECONDS", 0.1)
        with pytest.raises(StoreError, match=r"is in use by .*process.*one store serves one master"):
            Store.open(url)
    first.close()
    Store.open(url).close()


def test_a_second_process_is_refused_and_a_dead_one_is_no_obstacle(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    code = f"from lockstep.storage.store import Store; s = Store.open({url!r}); print('open', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(StoreError, match=f"in use by process {other.pid}"):
        Store.open(url)
    other.kill()
    other.communicate()
    Store.open(url).close()


def test_a_row_that_cannot_be_read_is_told_of(url: str) -> None:
    store = Store.open(url)
    store.append([one_fact()])
    store.close()
    connection = connection_of(url)
    rubbish = "x'c1'" if url.startswith("sqlite") else r"'\xc1'"
    connection.execute(f"UPDATE cursors SET memory = {rubbish}")
    connection.close()
    with pytest.raises(StoreError, match=r"a row cannot be read: .* put a backup in its place"):
        Store.open(url).load()


def test_a_newer_schema_is_refused(url: str) -> None:
    Store.open(url).close()
    set_schema(url, f"{schema.SCHEMA + 1:04}")
    with pytest.raises(StoreError, match="written by a newer Lockstep"):
        Store.open(url)


NEXT = '''"""Synthetic: the next schema."""
import sqlalchemy as sa
from alembic import op

revision = "{number:04}"
down_revision = "{before:04}"


def upgrade() -> None:
    op.add_column("cursors", sa.Column("note", sa.Text(), nullable=False, server_default="none"))
    {extra}
'''


@pytest.fixture
def next_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the program one schema newer; its migration also does `extra`."""

    def make(extra: str) -> None:
        folder = tmp_path / "migrations"
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        for source in (opening.MIGRATIONS / "env.py", *opening.MIGRATIONS.glob("versions/*.py")):
            (folder / source.relative_to(opening.MIGRATIONS)).write_text(source.read_text())
        before, number = schema.SCHEMA, schema.SCHEMA + 1
        text = NEXT.format(extra=extra, before=before, number=number)
        (folder / "versions" / f"{number:04}_next.py").write_text(text)
        real = opening.migrate
        monkeypatch.setattr(schema, "SCHEMA", number)
        monkeypatch.setattr(opening, "migrate", lambda database: real(database, folder))

    return make


def test_an_older_store_is_migrated_and_keeps_its_rows(url: str, next_schema: Callable[[str], None]) -> None:
    store = Store.open(url)
    store.append([one_fact()])
    installation = store.installation
    store.close()
    next_schema("pass")
    store = Store.open(url)
    saved = store.load()
    store.close()
    assert saved.installation == installation
    assert saved.memories == {"poller": ({"a": [1]}, 1)}
    assert answer(url, "SELECT owner, note FROM cursors") == [("poller", "none")]
    assert answer(url, "SELECT version_num FROM alembic_version")[0][0] == f"{schema.SCHEMA:04}"


def test_reasons_of_requests_that_ended_before_the_schema_had_them_come_from_their_facts(url: str) -> None:
    store = Store.open(url)
    farm = Farm(3)
    asked = e.Submitted(submission=Submission(requests=(RequestWish(builder="b0"),)))
    events = [asked, e.CancelAsked(brid=1, reason="no longer wanted")]
    store.append([farm.do_configure(), *(farm.happen(event) for event in events)])
    store.close()
    connection = connection_of(url)
    connection.execute("ALTER TABLE requests DROP COLUMN reason")
    connection.execute("ALTER TABLE builders DROP COLUMN rank")
    connection.execute("ALTER TABLE locks DROP COLUMN starts")
    connection.execute("ALTER TABLE claims DROP COLUMN units")
    connection.execute("ALTER TABLE builds DROP COLUMN units")
    connection.execute("DROP INDEX builds_ended")
    for column in ("deleted_at", "horizon"):
        connection.execute(f"ALTER TABLE logs DROP COLUMN {column}")
    for table in ("log_ends", "bookings", "lock_events", "pools", "units", "shares"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("ALTER TABLE requests DROP COLUMN waiting_since")
    for column in ("started_at", "acquired_at"):
        connection.execute(f"ALTER TABLE calls DROP COLUMN {column}")
    connection.close()
    set_schema(url, "0001")
    Store.open(url).close()
    assert answer(url, "SELECT reason FROM requests") == [("no longer wanted",)]


def test_a_migration_that_fails_leaves_the_store_as_it_was(url: str, next_schema: Callable[[str], None]) -> None:
    Store.open(url).close()
    before = shape(url)
    number = f"{schema.SCHEMA:04}"
    next_schema("raise ValueError('half way')")
    with pytest.raises(StoreError, match=r"half way.*is as it was"):
        Store.open(url)
    assert shape(url) == before
    assert answer(url, "SELECT version_num FROM alembic_version")[0][0] == number


def test_a_store_that_cannot_be_opened_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError) as caught:
        Store.open(f"sqlite:///{path}")
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread has closed it just now
            assert not each.readlink().is_relative_to(tmp_path), caught.value


def test_alembic_is_not_loaded_for_a_store_that_is_up_to_date(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lockstep.storage.store import Store\n"
        "for _ in range(2): Store.open('sqlite:///s.sqlite', Path(sys.argv[1])).close()\n"
        "print(sorted(m for m in sys.modules if m in ('alembic', 'psycopg', 'sqlalchemy.orm')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "is no database address"),
        ("mysql://localhost/x", "'mysql' are not supported"),
        ("sqlite://", "in memory would lose everything"),
        ("sqlite:////nowhere/at/all/state.sqlite", "there is no folder '/nowhere/at/all'; make it"),
        ("sqlite:///a\0b", "is no database address"),
        ("sqlite:///a\udc80b", "is no database address"),
        ("postgresql://nobody:secret%00@127.0.0.1:1/none", "is no database address"),
        ("sqlite://machine/state.sqlite", "c.'db'. names a machine"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot be reached"),
        ("postgresql://nobody:secret@127.0.0.1:none/none", "is no database address"),
        ("postgresql:nobody:secret@127.0.0.1/none", "is no database address"),
        ("postgresql://127.0.0.1:1/none?user=nobody&password=secret", "cannot be reached"),
        ("postgresql://nobody:secret@127.0.0.1:99999/none", "what c.'db'. says is refused"),
        ("postgresql://nobody:secret@127.0.0.1/none?taste=sweet", "what c.'db'. says is refused"),
        ("postgresql://nobody:secret@machine.invalid/none", "the machine that c.'db'. names is not known"),
    ],
)
def test_wrong_addresses_are_refused_with_a_sentence(address: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        Store.open(address)
    assert "secret" not in str(caught.value)


def test_what_a_database_server_refuses_is_told(postgres: str) -> None:
    with pytest.raises(StoreError, match="has no such user or database"):
        Store.open(postgres.replace("/postgres?", "/nothing?", 1))
    with pytest.raises(StoreError, match="has no such user or database"):
        Store.open(re.sub("//[^@]*@", "//nobody:secret@", postgres))
    import psycopg

    words = 'connection failed: connection to server at "::1", port 5432 failed: FATAL:  password authentication failed'
    told = str(explain(psycopg.OperationalError(words), "x"))
    assert "refuses the user or the password" in told


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"This is a letter to my aunt. " * 100)
    with pytest.raises(StoreError, match="no Lockstep store, or damaged"):
        Store.open(f"sqlite:///{tmp_path}/state.sqlite")
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StoreError, match="belongs to another program"):
        Store.open(f"sqlite:///{tmp_path}/other.sqlite")


def test_a_damaged_page_is_told_as_a_sentence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    store = Store.open(url)
    store.append([one_fact(n) for n in range(1, 200)])
    store.close()
    data = bytearray((tmp_path / "state.sqlite").read_bytes())
    data[4096:] = b"\x99" * (len(data) - 4096)
    (tmp_path / "state.sqlite").write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(url)


def test_a_full_disk_is_told_and_nothing_more_is_taken(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    store = Store.open(url)
    store.append([one_fact(1)])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Batch(facts=[Numbered(2, 1.0, MemoryKept(owner="x", memory="y" * 100_000))])
    with pytest.raises(StoreError, match="the disk is full; make room"):
        store.append([big])
    with pytest.raises(StoreError, match="the disk is full"):
        store.append([one_fact(2)])
    store.close()
    assert Store.open(url).load().last_fact == 1


def test_a_database_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/state.sqlite")
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="may not be written to"):
        store.append([one_fact()])


def test_a_new_store_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    store = Store.open(f"sqlite:///{path}")
    store.append([one_fact()])
    modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.glob("state.sqlite*")}
    assert modes.pop(f"{path.name}.lock", 0o600) & 0o700 == 0o600
    assert set(modes.values()) == {0o600}, modes
    store.close()
    path.chmod(0o640)  # who has said otherwise
    Store.open(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o777 == 0o640
