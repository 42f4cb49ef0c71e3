"""`lockstep exec`: runs any command on any machine under locks, and ends it when they are lost.

How the command's processes are found and killed is the agent's (`worker/trees.py`, `worker/guard.py`).
"""

import os
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import click

from lockstep.cli import booking
from lockstep.cli.booking import Duration
from lockstep.cli.client import TIMEOUT, Client, address_options, patience_option, person
from lockstep.cli.codes import INTERRUPTED, REFUSED, UNREACHABLE, CliError
from lockstep.worker import trees
from lockstep.worker.clock import boottime
from lockstep.worker.guard import guarded
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


@click.command(
    "exec",
    short_help="Run a command under locks.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--lock", "locks", multiple=True, required=True, help="A lock; may be repeated: all of them, or none.")
@click.option(
    "--mode", type=click.Choice(["exclusive", "counting"]), help="[default: exclusive; counting with --count]"
)
@click.option("--count", type=click.IntRange(1), help="Units of each lock.")
@click.option("--timeout", type=Duration(), help="Wait so long for the locks (2h, 30m, 90 s), then give up.")
@click.option("--lease", type=Duration(), default=60.0, show_default=True, help="Without a server for so long: end.")
@click.option("--for", "seconds", type=Duration(), default=0.0, help="The locks, and the command, end after so long.")
@click.option("--reason", default="", help="What for. [default: the command]")
@click.option("--after-current", is_flag=True, help="Be next: nobody who comes later, and nobody who waits, may pass.")
@click.option("--priority", type=int, default=0, help="As a request's: a greater one comes first.")
@click.option("--quiet", is_flag=True, help="Do not say what is waited for.")
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@patience_option
@address_options
def command(
    client: Client,
    locks: tuple[str, ...],
    mode: str | None,
    count: int | None,
    timeout: float | None,
    lease: float,
    seconds: float,
    reason: str,
    after_current: bool,
    priority: int,
    quiet: bool,
    words: tuple[str, ...],
    patience: float,
) -> int:
    """Run COMMAND, on this machine, while LOCK is held.

    It gets the fences in LOCKSTEP_FENCE_<NAME>. Its input and output are not touched, and its exit code is passed on
    (128 and the signal's number, if a signal ended it). With the command everything ends that it has started. If the
    lock is lost, because no server could be reached for as long as the lease or because somebody took it away, all of
    that is killed.

    \b
    Exit codes of its own: 124 no lock within --timeout, 125 the lock was lost, 126 and 127 COMMAND cannot be run or is
    not there, 3 no server answers, 4 the server refused, 130 Ctrl-C while it waited.

    \b
    Examples:
      lockstep exec --lock database -- ./migrate.sh
      lockstep exec --lock licences --count 2 --timeout 10m -- make simulation
    """
    if mode == "exclusive" and count is not None:
        raise click.UsageError("--count is for --mode counting: exclusive takes all of it.")
    units = (count or 1) if mode == "counting" or count else None
    key = secrets.token_urlsafe(24)
    given: dict[str, Any] = {"for": seconds, "lease": lease, "after_current": after_current, "priority": priority}
    given |= {"locks": [booking.wanted(lock, units) for lock in locks], "owner": person(), "key": key}
    run = _Run(client, key, list(words), {**given, "reason": (reason or " ".join(words))[:200]})
    return guarded(lambda: _told(lambda: run.run(timeout, patience, quiet=quiet)))


def _told(work: Callable[[], int]) -> int:
    """Errors as sentences, in the process that does the work."""
    try:
        return work()
    except CliError as error:
        error.show()
        return error.code
    except (KeyboardInterrupt, _Terminated):
        return INTERRUPTED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class _Terminated(Exception):  # noqa: N818 (a wish, as KeyboardInterrupt is)
    """SIGTERM or SIGHUP, while the locks were waited for."""


class _Run:
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
    raise _Terminated


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
