"""Processes as they are measured: processor time and memory from /proc, ports, waiting, and stopping what was started.

Linux only. Nothing here knows a CI server.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 300.0
"""Seconds until a measurement is given up."""


class GaveUpError(Exception):
    """A measured system did not do what was waited for."""


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def processor(pid: int) -> float:
    """Processor seconds of a process, all its threads, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int) -> float:
    """MiB of a process that are in memory (RSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise GaveUpError(f"process {pid} has no memory")


def until(condition: Callable[[], Any], what: str, every: float = 0.02, patience: float = PATIENCE) -> Any:
    """Wait for something that other processes do. Raises GaveUpError."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every)
    raise GaveUpError(f"waited {patience:g} s in vain for {what}")


def quiet(pid: int, idle: float = 1.5, patience: float = 120.0) -> float:
    """Processor seconds that a process uses until it has used almost none for `idle` seconds."""
    began = last = processor(pid)
    deadline, since = time.monotonic() + patience, time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.1)
        now = processor(pid)
        if now - last > 0.03:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > idle:
            return now - began
    raise GaveUpError(f"process {pid} was not quiet within {patience:g} s")


class Started:
    """A process that was started here, with what it says in a file.

    Variables that change how Python runs are not handed on: whoever installs a program has its compiled modules.
    """

    def __init__(self, words: list[str], log: Path, **env: str) -> None:
        self._log = log
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LOCKSTEP_"))}
        kept |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                words, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**kept, **env}
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self.popen.pid

    def check(self) -> None:
        """Raise GaveUpError if it has ended."""
        if self.popen.poll() is not None:
            said = self._log.read_text(errors="replace")[-1500:]
            raise GaveUpError(f"{self.popen.args!r} has ended ({self.popen.returncode}): {said}")

    def stop(self) -> None:
        """End it, with force after ten seconds."""
        if self.popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


def run(words: list[str]) -> None:
    """Run a program to its end. Raises GaveUpError with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode:
        raise GaveUpError(f"{words!r}: {(done.stdout + done.stderr)[-1500:]}")
