"""A command under locks: it is started when they are held, and ended with all that it has started when they are lost.

How the command's processes are found and killed is the agent's (`worker/trees.py`, `worker/guard.py`). The options of
`lockstep exec` are in `exec.py`.
"""

import os
import secrets
import select
import signal
import subprocess
import threading
import time
from typing import Any, Final

import click

from lockstep.cli import booking
from lockstep.cli.client import TIMEOUT, Client
from lockstep.cli.codes import REFUSED, UNREACHABLE, CliError
from lockstep.worker import trees
from lockstep.worker.clock import boottime
from lockstep.worker.limits import KILL_PATIENCE, KILL_PAUSE

WAITED: Final = 124
"""The exit code when the locks were not had in time."""
LOST: Final = 125
"""The exit code when the locks were lost, and the command was ended."""
CANNOT: Final = 126
MISSING: Final = 127
SIGNALLED: Final = 128
MARKER: Final = "LOCKSTEP_EXEC"
"""The environment variable that marks the command's processes."""
_LOOK: Final = 0.5
"""Seconds between two looks at the clock: one that runs during suspension wakes nobody."""
_PAUSE: Final = 1.0
"""Seconds between two tries to renew while no server answers."""


class Terminated(Exception):  # noqa: N818 (a wish, as KeyboardInterrupt is)
    """SIGTERM or SIGHUP, while the locks were waited for."""


class Run:
    """One command under its locks. `until` is when they may be lost, on a clock that runs during suspension (L61)."""

    def __init__(self, client: Client, key: str, words: list[str], wish: dict[str, Any]) -> None:
        self._client = client
        self._key = key
        self._words = words
        self._wish = wish
        self._number = 0
        self._sent = 0.0
        self._until = 0.0
        self._lease = float(wish["lease"])
        self._lost = ""
        self._over = threading.Event()
        self._mark = f"{MARKER}={secrets.token_hex(16)}"

    def run(self, timeout: float | None, patience: float, *, quiet: bool) -> int:
        """Wait, run, release. Returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _terminated)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            held = self._acquire(timeout, patience, quiet=quiet)
        except BaseException:
            self._release()
            raise
        if held is None:
            self._release()
            click.echo(f"The lock was not had within {timeout:g} s.", err=True)
            return WAITED
        try:
            return self._under(held["environment"])
        finally:
            self._release()

    # --- the locks

    def _acquire(self, timeout: float | None, patience: float, *, quiet: bool) -> dict[str, Any] | None:
        said: list[str] = []

        def told(now: dict[str, Any]) -> None:
            self._number = now["bookingid"]
            if not quiet and now["why"] not in said[-1:]:
                said.append(now["why"])
                click.echo(f"lockstep: {now['why']}", err=True)

        self._note_sent()
        made = self._client.call("bookings", "acquire", **self._wish)
        self._number = made["bookingid"]
        held = booking.until_held(self._client, made, patience, told, self._note_sent, timeout)
        self._until = self._sent + self._lease
        return held

    def _note_sent(self) -> None:
        self._sent = boottime()

    def _renew(self) -> None:
        """Renew, in a thread of its own, until the command is over or the locks are lost."""
        third = min(self._lease / 3, TIMEOUT)
        while not self._over.is_set():
            sent = boottime()
            try:
                path = f"bookings/{self._number}"
                self._client.call(path, "wait", timeout=third + max(1.0, third), key=self._key, wait=third)
                self._until = sent + self._lease
            except CliError as exc:
                if exc.code == REFUSED:
                    self._lost = str(exc)
                    return
                self._over.wait(min(_PAUSE, self._lease / 10))

    def _release(self) -> None:
        """Give the locks back; if no server answers, they end with their lease."""
        self._over.set()
        if not self._number:
            return
        while True:
            try:
                self._client.call(f"bookings/{self._number}", "release", timeout=_PAUSE * 5, key=self._key)
            except CliError as exc:
                if exc.code == UNREACHABLE and boottime() < self._until:
                    time.sleep(_PAUSE)
                    continue
            return

    # --- the command

    def _under(self, fences: dict[str, str]) -> int:
        name, _, value = self._mark.partition("=")
        environment = {**os.environ, **fences, name: value}
        try:
            child = subprocess.Popen(self._words, env=environment, close_fds=True, start_new_session=not trees.HAS_PROC)
        except OSError as exc:
            click.echo(f"lockstep: cannot run '{self._words[0]}': {exc.strerror}", err=True)
            return MISSING if isinstance(exc, FileNotFoundError) else CANNOT
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda got, _: _pass_on(child, got))
        threading.Thread(target=self._renew, daemon=True).start()
        self._attend(child)
        self._over.set()
        lost = child.returncode is None
        self._kill(child)
        if lost:
            why = self._lost or f"no server could be reached for the lease of {self._lease:g} s"
            click.echo(f"lockstep: the lock is lost ({why}); the command was ended.", err=True)
            return LOST
        code = child.returncode
        return SIGNALLED - code if code < 0 else code

    def _attend(self, child: "subprocess.Popen[bytes]") -> None:
        """Wait until the command ends, or the locks may be lost."""
        with _Ending(child.pid) as ending:
            while child.poll() is None and not self._lost and boottime() < self._until:
                ending.wait(max(0.0, min(_LOOK, self._until - boottime())))

    def _kill(self, child: "subprocess.Popen[bytes]") -> None:
        """End everything that the command has started, itself included."""
        end = boottime() + KILL_PATIENCE
        if not trees.HAS_PROC:
            trees.signal_group(child.pid, signal.SIGKILL)
        else:
            roots = [child.pid] if child.returncode is None else []
            while trees.kill_once(lambda: trees.members(roots, [self._mark.encode()])) and boottime() < end:
                time.sleep(KILL_PAUSE)
                child.poll()
        child.wait()


class _Ending:
    """Wakes whoever waits for the end of a process."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1

    def __enter__(self) -> "_Ending":
        return self

    def wait(self, seconds: float) -> None:
        """Wait so long, or until it has ended."""
        if self._fd >= 0:
            select.select([self._fd], [], [], seconds)
        else:
            time.sleep(min(seconds, KILL_PAUSE))

    def __exit__(self, *_error: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _terminated(_number: int, _frame: object) -> None:
    raise Terminated


def _pass_on(child: "subprocess.Popen[bytes]", number: int) -> None:
    """Hand a signal to the command, unless the terminal has done so already."""
    if number == signal.SIGINT and _in_foreground():
        return
    child.send_signal(number)


def _in_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to this process group, and so to the command too."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
