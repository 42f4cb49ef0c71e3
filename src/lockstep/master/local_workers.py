"""Workers that the server starts itself, each in a session of its own, so that they outlive it (`LocalWorker`).

An agent whose folder is in use already refuses to start: so a worker of before a restart is found again, never doubled.
"""

import asyncio
import logging
import os
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

log = logging.getLogger(__name__)


class LocalWorkers:
    """Starts local workers. Their passwords are random, and live in files that only the server's user can read."""

    def __init__(self, basedir: str) -> None:
        self._basedir = Path(basedir)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        self.names: set[str] = set()
        """The local workers that have been started, or found running."""

    def _folder(self, name: str, workdir: str | None) -> Path:
        return self._basedir / workdir if workdir else self._basedir / "workers" / file_name(name)

    def _password_file(self, name: str) -> Path:
        return self._basedir / "workers" / f"{file_name(name)}.password"

    def password(self, name: str) -> str:
        """The password of a local worker; made when it is first asked for."""
        path = self._password_file(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text().strip()

    async def start(self, name: str, workdir: str | None, url: str, lease: float) -> None:
        """Start a local worker, unless it runs.

        Args:
            name: the worker's.
            workdir: its folder, or None for one below the server's.
            url: where the server listens, `ws://HOST:PORT/`.
            lease: seconds (L61).
        """
        self.names.add(name)
        self._tell(name, url)
        running = self._processes.get(name)
        if running is not None and running.poll() is None:
            return
        self.password(name)
        folder = self._folder(name, workdir)
        await asyncio.to_thread(self._spawn, name, folder, lease)

    def _url_file(self, name: str) -> Path:
        return self._basedir / "workers" / f"{file_name(name)}.url"

    def _tell(self, name: str, url: str) -> None:
        """Write down where the server listens: a worker of before a restart looks there before each attempt."""
        path = self._url_file(name)
        if not path.exists() or path.read_text() != f"{url}\n":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".url-new").write_text(f"{url}\n")
            path.with_suffix(".url-new").replace(path)

    def _spawn(self, name: str, folder: Path, lease: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "lockstep.worker", "--url", f"@{self._url_file(name)}", "--name", name]
        command += [
            "--basedir",
            str(folder),
            "--password-file",
            str(self._password_file(name)),
            "--lease",
            f"{lease:g}",
        ]
        with (folder.parent / f"{folder.name}.log").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        log.info("local worker %s started in %s", name, folder)

    def end(self, name: str) -> None:
        """End one local worker, if this process started it; it ends its commands and says so first."""
        self.names.discard(name)
        process = self._processes.pop(name, None)
        if process is not None and process.poll() is None:
            process.terminate()
            self._ending.append(process)
        self._ending = [process for process in self._ending if process.poll() is None]

    def stop(self) -> None:
        """End the local workers that this process started (for the demo and for `--stop-workers`)."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def file_name(name: str) -> str:
    """A worker's name as the name of a file; two workers never share one."""
    safe = quote(name, safe="")
    # Beside the folders of workers are files with these endings.
    if safe.startswith(".") or safe.endswith((".log", ".password", ".url", ".url-new")):
        safe = safe.replace(".", "%2E")
    return safe
