"""A command under locks: it is started when they are held, and ended with all that it has started when they are lost.

How the command's processes are found and killed is the agent's (`worker/trees.py`, `worker/guard.py`). The options of
`lockstep exec` are in `exec.py`.
"""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import threading
import time
from typing import Any, Final

import click

from lockstep.cli import booking, show
from lockstep.cli.client import TIMEOUT, Client
from lockstep.cli.codes import REFUSED, UNREACHABLE, CliError
from lockstep.core.answers import exactly
from lockstep.worker import trees
from lockstep.worker.clock import boottime
from lockstep.worker.guard import Deadline, heard
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
_POLLS: Final = 6
"""The lease is renewed so often while it lasts: no more than two of these parts are gone when a server goes away."""


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
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting = True
        self._untaken: list[int] = []
        """Signals that no command was there to have."""

    def run(self, deadline: Deadline, timeout: float | None, patience: float, *, quiet: bool) -> int:
        """Wait, run, release. Returns the exit code. The guardian looks at the deadline."""
        self._deadline = deadline
        for number in heard():
            signal.signal(number, lambda got, _: self._signalled(got))
        try:
            held = self._acquire(timeout, patience, quiet=quiet)
            if held is None:
                click.echo(f"The lock was not had within {exactly(timeout or 0.0)}.", err=True)
                return WAITED
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
                show.say(f"lockstep: {now['why']}", err=True)

        made = booking.asked(
            self._client,
            "bookings",
            "acquire",
            patience if timeout is None else min(patience, timeout),
            self._note_sent,
            **self._wish,
        )
        self._number = made["bookingid"]
        held = booking.until_held(self._client, made, patience, told, self._note_sent, timeout)
        self._may_run_until(self._sent + self._lease)
        return held

    def _may_run_until(self, at: float) -> None:
        self._until = at
        self._deadline.set(at)

    def _note_sent(self) -> None:
        self._sent = boottime()

    def _renew(self) -> None:
        """Renew, in a thread of its own, until the command is over or the locks are lost.

        Each question waits a while, to hear at once that the locks must be given back; what it renews counts from when
        it was sent. So the first one, and the first after a failure, does not wait.
        """
        poll = min(self._lease / _POLLS, TIMEOUT)
        wait = 0.0
        while not self._over.is_set():
            sent = boottime()
            try:
                path = f"bookings/{self._number}"
                heard_by = wait + max(1.0, poll)
                self._client.call(path, "wait", timeout=heard_by, key=self._key, wait=wait, state="held")
                self._may_run_until(sent + self._lease)
                wait = poll
            except CliError as exc:
                if exc.code == REFUSED:
                    self._lost = str(exc)
                    return
                wait = 0.0
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
                if exc.code == UNREACHABLE and boottime() < self._until and not self._untaken:
                    time.sleep(_PAUSE)
                    continue
            return

    # --- the command

    def _under(self, fences: dict[str, str]) -> int:
        """Run the command. Nothing of it is left when this returns or raises."""
        self._waiting = False
        name, _, value = self._mark.partition("=")
        environment = {**os.environ, **fences, name: value}
        try:
            self._child = subprocess.Popen(
                self._words, env=environment, close_fds=True, start_new_session=not trees.HAS_PROC
            )
            while self._untaken:
                _pass_on(self._child, self._untaken.pop(0))
            threading.Thread(target=self._renew, daemon=True).start()
            return self._attend(self._child)
        except OSError as exc:
            if self._child is not None:
                raise
            show.say(f"lockstep: cannot run '{self._words[0]}': {exc.strerror}", err=True)
            return MISSING if isinstance(exc, FileNotFoundError) else CANNOT
        finally:
            self._over.set()
            if self._child is not None:
                self._kill(self._child)

    def _signalled(self, number: int) -> None:
        """A signal ends the wait for the locks, once; then it is the command's."""
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
        if self._child is None or self._child.returncode is not None:
            self._untaken.append(number)
        else:
            _pass_on(self._child, number)

    def _attend(self, child: "subprocess.Popen[bytes]") -> int:
        """Wait until the command ends, or the locks may be lost. Returns the exit code."""
        with _Ending(child.pid) as ending:
            while child.poll() is None and not self._lost and boottime() < self._until:
                ending.wait(max(0.0, min(_LOOK, self._until - boottime())))
        code = child.returncode
        if code is None or boottime() >= self._until:  # the guardian may have killed it
            why = self._lost or f"no server could be reached for the lease of {exactly(self._lease)}"
            why = why.rstrip(".")
            self._kill(child)
            show.say(f"lockstep: the lock is lost ({why}); the command was ended.", err=True)
            return LOST
        return SIGNALLED - code if code < 0 else code

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
    """Wakes whoever waits for the end of a process, where the system can do that."""

    def __init__(self, pid: int) -> None:
        self._fd = -1
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._fd = os.pidfd_open(pid)

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
