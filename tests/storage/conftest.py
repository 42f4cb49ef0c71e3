"""Both databases for the store's tests: a SQLite file, and the real PostgreSQL of tests/conftest.py."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from lockstep.storage import opening

_numbers = itertools.count(1)


def _maker(request: pytest.FixtureRequest, folder: Path) -> Callable[[], str]:
    if request.param == "sqlite":
        return lambda: f"sqlite:///{folder}/state{next(_numbers)}.sqlite"
    make: Callable[[], str] = request.getfixturevalue("new_database")
    return make


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine PostgreSQL may take its time to notice that a store was closed, or its process killed."""
    monkeypatch.setattr(opening, "LOCK_SECONDS", 60.0)


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
