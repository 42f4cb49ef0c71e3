"""Runs the programs that sources ask with: in a thread, with a limit of time, ended with all they started.

The server starts programs through the standard library in threads. A thread cannot be stopped, but its program can:
who cancels `run_program` ends the program, and waits no longer than it takes to be killed.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import Final

from lockstep.config.secrets import mask
from lockstep.sources.base import PollError, without_password

PROGRAM_SECONDS: Final = 600.0
"""How long one program may run."""

_SLICE: Final = 1.0
"""Seconds after which a program that was asked to end is killed, and a pipe that outlives its program is left."""

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
) -> bytes:
    """The standard output of a program.

    Raises PollError if it cannot be started, fails, or takes more than `seconds`; what is in `hide` is not shown.
    """
    program = _Program(words, folder, {"LC_ALL": "C.UTF-8", **(env or {})}, hide or {})
    running = asyncio.ensure_future(asyncio.to_thread(program.run, stdin, seconds))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        program.end()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()
        raise


class _Program:
    """One program and the thread that talks to it."""

    def __init__(self, words: list[str], folder: str, env: Mapping[str, str], hide: Mapping[str, str]) -> None:
        self._words = words
        self._what = " ".join(words[:2])
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
        process = self._start(stdin is not None)
        out, err = self._talk(process, stdin.encode() if stdin is not None else None, seconds)
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
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_SLICE)
        raise PollError(f"{self._what} took more than {seconds:g} seconds and was ended")

    def _signal(self, number: signal.Signals) -> None:
        """To the program and all that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
