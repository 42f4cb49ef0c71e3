"""Runs the programs that sources ask with: in a thread, with a limit of time, ended with all they started.

The server starts programs through the standard library in threads. A thread cannot be stopped, but its program can:
who cancels `run_program` ends the program, and waits no longer than it takes to be killed.
"""

import asyncio
import contextlib
import logging
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final

from lockstep.config.secrets import mask
from lockstep.sources.base import PollError, without_password
from lockstep.sources.guardian import Guardian

log = logging.getLogger(__name__)

PROGRAM_SECONDS: Final = 600.0
"""How long one program may run."""

_SLICE: Final = 1.0
"""Seconds after which a program that was asked to end is killed, and a pipe that outlives its program is left."""

_GONE: Final = 10.0
"""Seconds that a program that was killed has to be gone: a busy machine, or a disk that it waits for, may take some."""

_THREADS: Final = ThreadPoolExecutor(256, "programs")
"""Those that wait for programs: pages and the store have others, so programs that hang keep nobody else waiting.

So many may hang; how many polls run at once is the master's to say.
"""

_GUARDIAN: Final = Guardian()

_PIPE: Final = 1 << 16
"""Bytes that a pipe has room for."""

_OUTPUT_SHOWN: Final = 300
"""Characters of a program's error that are shown."""


class NotStartedError(PollError):
    """There is no such program, or it may not be run."""


async def run_program(
    words: list[str],
    folder: str,
    hide: Mapping[str, str] | None = None,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = PROGRAM_SECONDS,
    threads: Executor = _THREADS,
    keep: int | None = None,
) -> bytes:
    """The standard output of a program, which one of these `threads` waits for.

    Of a check, whose output matters only to who reads why it failed, the last `keep` bytes are kept, and its name is
    shown without its words; what it leaves behind is ended with it, and it with this process. Raises PollError if it
    cannot be started, fails, or takes more than `seconds`; what is in `hide` is not shown.
    """
    program = _Program(words, folder, {"LC_ALL": "C.UTF-8", **(env or {})}, hide or {}, keep)
    job = threads.submit(program.run, stdin, seconds)
    running = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        program.end()
        if not job.cancel():  # it has begun
            await asyncio.wait({running})
            if not running.cancelled():
                running.exception()
        raise


class _Program:
    """One program and the thread that talks to it."""

    def __init__(
        self, words: list[str], folder: str, env: Mapping[str, str], hide: Mapping[str, str], keep: int | None
    ) -> None:
        self._words = words
        self._what = words[0] if keep is not None else _title(words)
        self._keep = keep
        self._folder = folder
        self._env = env
        self._hide = hide
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._unwanted = False

    def end(self) -> None:
        """Ask the program to end: git takes its locks away then. `run` kills it if it does not."""
        with self._lock:
            self._unwanted = True
            self._signal(signal.SIGTERM)

    def run(self, stdin: str | None, seconds: float) -> bytes:
        """Start it, wait for its end, and return what it said."""
        if self._keep is None:
            process = self._start(stdin is not None)
            try:
                out, err = self._talk(process, stdin.encode() if stdin is not None else None, seconds)
            finally:
                _close(process)
        else:
            _GUARDIAN.ready()
            process = self._start(stdin is not None)
            with _GUARDIAN.watching(process.pid):
                try:
                    out, err = self._tails(process, self._keep, seconds)
                finally:
                    if not self._signal(signal.SIGKILL):
                        log.warning("%s left something of another user behind, which cannot be ended.", self._what)
        if process.returncode:
            said = (err.strip() or out.strip()).decode("utf-8", "replace")
            said = mask(without_password(said), self._hide)
            why = said[-_OUTPUT_SHOWN:] or "it said nothing"
            raise PollError(f"{self._what} failed with exit code {process.returncode}: {why}")
        return out

    def _start(self, talks: bool) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._unwanted:
                raise PollError(f"{self._what} is not wanted any more")
            try:
                self._process = subprocess.Popen(
                    self._words,
                    cwd=self._folder,
                    env={**os.environ, **self._env},
                    stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as exc:
                raise NotStartedError(f"{self._words[0]} cannot be started: {exc.strerror}") from None
            return self._process

    def _talk(self, process: subprocess.Popen[bytes], stdin: bytes | None, seconds: float) -> tuple[bytes, bytes]:
        """Its output and errors, up to its end. Something that it left behind may hold the pipes: no matter."""
        slice_ = min(_SLICE, seconds)
        for turn in range(max(1, round(seconds / slice_))):
            ended = process.poll() is not None
            try:
                return process.communicate(stdin if turn == 0 else None, timeout=slice_)
            except subprocess.TimeoutExpired as exc:
                if ended:
                    return exc.output or b"", exc.stderr or b""
                if self._unwanted:
                    break
        raise self._killed(process, seconds)

    def _killed(self, process: subprocess.Popen[bytes], seconds: float) -> PollError:
        """Kill it with all that it started, and wait until it is gone. Returns what is to be told."""
        took = f"{self._what} took more than {seconds:g} seconds"
        self._signal(signal.SIGKILL)
        try:
            process.kill()  # of its group others may have been allowed
        except PermissionError:
            return PollError(f"{took}, and cannot be ended: process {process.pid} is another user's")
        _wait(process, _GONE)
        return PollError(f"{took} and was ended")

    def _tails(self, process: subprocess.Popen[bytes], keep: int, seconds: float) -> tuple[bytes, bytes]:
        """The last so many bytes of its output and of its errors, whatever it says, up to its end."""
        late = threading.Event()
        timer = threading.Timer(seconds, late.set)
        timer.start()
        try:
            found = self._drain(process, keep, late)
            while process.poll() is None and not self._unwanted and not late.is_set():
                _wait(process)  # it says no more
            if self._unwanted:
                _wait(process)
        finally:
            timer.cancel()
        if process.poll() is None or late.is_set():
            raise self._killed(process, seconds)
        return found

    def _drain(self, process: subprocess.Popen[bytes], keep: int, late: threading.Event) -> tuple[bytes, bytes]:
        """Read until it ends, nobody holds the pipes, or nobody cares. What it leaves behind may hold them, and talk.

        Of one that has ended a pipe has no more than is read at once.
        """
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout as out, process.stderr as err, selectors.DefaultSelector() as ready:
            tails = {out.fileno(): bytearray(), err.fileno(): bytearray()}
            for pipe in tails:
                ready.register(pipe, selectors.EVENT_READ)
            while ready.get_map() and not self._unwanted and not late.is_set():
                ended = process.poll() is not None
                for key, _ in ready.select(0 if ended else _SLICE):
                    data = os.read(key.fd, _PIPE)
                    tails[key.fd] += data
                    del tails[key.fd][:-keep]
                    if not data:
                        ready.unregister(key.fd)
                if ended:
                    break
            return bytes(tails[out.fileno()]), bytes(tails[err.fileno()])

    def _signal(self, number: signal.Signals) -> bool:
        """To the program and all that it started; whether none of that was forbidden: sudo starts what is root's."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except PermissionError:
                return False
            except ProcessLookupError:
                pass
        return True


def _title(words: list[str]) -> str:
    """The program and what it is to do: what follows git's settings (`-c NAME=VALUE`)."""
    rest = words[1:]
    while rest[:1] == ["-c"]:
        rest = rest[2:]
    return " ".join([words[0], *rest[:1]])


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close our ends of its pipes: what it left behind may hold the others."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):  # it has not read all that it was to be told
            if pipe is not None:
                pipe.close()


def _wait(process: subprocess.Popen[bytes], seconds: float = _SLICE) -> None:
    """For its end, but not for long."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
