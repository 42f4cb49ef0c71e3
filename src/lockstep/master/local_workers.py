"""Workers that the server starts itself, each in a session of its own, so that they outlive it (`LocalWorker`).

An agent whose folder is in use already refuses to start: so a worker of before a restart is found again, never doubled.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

from lockstep.master import clock
from lockstep.master.limits import STOP_PATIENCE

log = logging.getLogger(__name__)


_LOCK = Path(".lockstep", "lock")
"""In an agent's folder: locked by the agent that lives there, with its process id in it."""


class LocalWorkers:
    """Starts local workers, finds those of former servers again, and ends them.

    Each has a password, random and in a file that only the server's user can read, and a file that says in which folder
    it lives: so a later server knows of it, also if it is not configured any more.
    """

    def __init__(self, basedir: str) -> None:
        self._basedir = Path(basedir)
        self._records = self._basedir / "workers"
        self._home = Path.cwd()
        """Where the server was started: what is relative in its environment (PYTHONPATH) counts from there."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._found: set[str] = set()
        self._ending: dict[str, int] = {}
        self._starting = threading.Lock()
        self._taken_back = False

    def _file(self, name: str, ending: str) -> Path:
        return self._records / f"{file_name(name)}.{ending}"

    def names(self) -> set[str]:
        """The local workers that were started and have not been ended, by this server or a former one."""
        return {unquote(path.name.removesuffix(".folder")) for path in self._records.glob("*.folder")}

    def password(self, name: str) -> str:
        """The password of a local worker; made when it is first asked for."""
        path = self._file(name, "password")
        if path.exists() and (kept := path.read_text().strip()):
            return kept
        path.unlink(missing_ok=True)  # what a power cut has left may be empty: nobody may come in with that
        path.parent.mkdir(parents=True, exist_ok=True)
        made = secrets.token_urlsafe(24)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made)
        return made

    def _folder(self, name: str) -> Path | None:
        """Where a worker lives, or None if there is none of that name."""
        try:
            return self._basedir / self._file(name, "folder").read_text().removesuffix("\n")
        except FileNotFoundError:
            return None

    def process(self, name: str) -> int | None:
        """The process id of a local worker that runs."""
        folder = self._folder(name)
        try:
            with (folder or self._basedir).joinpath(_LOCK).open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read() or 0) or None
        except (OSError, ValueError):
            pass
        return None

    async def start(self, name: str, workdir: str | None, url: str, lease: float) -> None:
        """Start a local worker, unless it runs. Raises OSError.

        Args:
            name: the worker's.
            workdir: its folder, or None for one below the server's.
            url: where the server listens, `ws://HOST:PORT/`.
            lease: seconds (L61).
        """
        # A worker of before a restart looks there before each attempt to connect.
        self._write(self._file(name, "url"), url)
        running = self._processes.get(name)
        if running is not None and running.poll() is None:
            return
        former = self.process(name)
        if former is not None:
            if name not in self._found:
                self._found.add(name)
                log.info("local worker %s still runs (process %s)", name, former)
            return
        self._found.discard(name)
        self.password(name)
        self._write(self._file(name, "folder"), workdir or f"workers/{file_name(name)}")
        await asyncio.to_thread(self._start, name, lease)

    def _write(self, path: Path, text: str) -> None:
        """Have a file with this line, whole at any time."""
        if not path.exists() or path.read_text() != f"{text}\n":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{path.name}-new").write_text(f"{text}\n")
            path.with_name(f"{path.name}-new").replace(path)

    def _start(self, name: str, lease: float) -> None:
        """In a thread, of which whoever ends this process may not wait for the end."""
        with self._starting:
            if not self._taken_back:
                self._spawn(name, lease)

    def _spawn(self, name: str, lease: float) -> None:
        folder = self._folder(name)
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        # -P: what stands in the current folder is not taken for a module of Python's or ours.
        command = [sys.executable, "-P", "-m", "lockstep.worker"]
        command += [
            "--url",
            f"@{self._file(name, 'url')}",
            "--name",
            name,
            "--basedir",
            str(folder),
            "--password-file",
            str(self._file(name, "password")),
            "--lease",
            f"{lease:g}",
        ]
        with (folder.parent / f"{folder.name}.log").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._home if self._home.is_dir() else None,
            )
        log.info("local worker %s started in %s", name, folder)

    def end(self, name: str) -> bool:
        """End one local worker; it ends its commands and says so first. True when it is gone; else ask again."""
        process = self._processes.get(name)
        number = process.pid if process is not None and process.poll() is None else self.process(name)
        if number is not None:
            if self._ending.get(name) != number:
                self._ending[name] = number
                log.info("local worker %s is being ended (process %s)", name, number)
                _signal(number, signal.SIGTERM)
            return False
        self._processes.pop(name, None)
        self._ending.pop(name, None)
        for ending in ("url", "password", "folder"):
            self._file(name, ending).unlink(missing_ok=True)
        return True

    def stop(self) -> None:
        """End all local workers, those of former servers too (for the demo and for `--stop-workers`)."""
        self._stop(self.names())

    def take_back(self) -> None:
        """End those that this process has started, and start no more: it could not start itself."""
        with self._starting:
            self._taken_back = True
        self._stop(set(self._processes))

    def _stop(self, names: set[str]) -> None:
        """End local workers, and wait until they have ended; those that take too long are killed."""
        end = clock.monotonic() + STOP_PATIENCE
        left = names
        while left and clock.monotonic() < end:
            left = {name for name in left if not self.end(name)}
            time.sleep(0.02 if left else 0)
        self.kill(left)

    def kill(self, names: Iterable[str] | None = None) -> None:
        """End these at once, or all that are left."""
        for name in self.names() if names is None else names:
            number = self.process(name)
            if number is not None:
                _signal(number, signal.SIGKILL)


def _signal(number: int, what: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, what)


def file_name(name: str) -> str:
    """A worker's name as the name of a file; two workers never share one."""
    safe = quote(name, safe="")
    # Beside the folders of workers are files with these endings.
    if safe.startswith(".") or safe.endswith((".log", ".password", ".url", ".url-new", ".folder", ".folder-new")):
        safe = safe.replace(".", "%2E")
    return safe
