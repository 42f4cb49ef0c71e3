"""Steps that run on the server itself: `MasterShellCommand`.

They do their input and output themselves and so cannot be replayed: if the server goes down, the build is RETRY.
"""

import asyncio
import codecs
import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar, Final

from lockstep.config.errors import missing, note
from lockstep.config.secrets import shown
from lockstep.core.nouns import Result
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep
from lockstep.steps.commands import check_signal, command_text, flatten_command
from lockstep.steps.logs import Log

_WATCHDOG = 'read -r group && { read -r over || kill -KILL "-$group"; }'
"""Waits in a process of its own. If the pipe ends before it was told that all is over, the server is gone."""

_REFERENCE: Final = re.compile(r"\$\{([0-9A-Za-z_]*)\}")

_PIECE: Final = 64 * 1024
"""Bytes of output that go into the log at once, at most."""

_STORED_EVERY: Final = 1024 * 1024
"""Bytes after which what was said is stored before more is read: a program may talk faster than a disk takes it."""

_LOOK: Final = 0.2
"""Seconds at most between two looks whether a program that says nothing more has ended."""


class MasterShellCommand(BuildStep):
    """Run a program on the server, with the server's rights.

    `command` is a list of words or a string for the shell; `path` (or `workdir`) its directory, below the server's own;
    `env` is added to the server's environment, `${NAME}` in it stands for the server's value (nothing if it has none).
    If the build is stopped the program's process group gets `interruptSignal`; if the server is killed, the group is
    killed too: the build is tried again, and must not meet what it started before.
    """

    name: Any = "MasterShellCommand"
    replayable = False
    lean = True
    renderables: ClassVar[Any] = ("command", "env", "path")
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {
        "command": kinds.command,
        "env": kinds.environment,
        "path": kinds.path,
    }
    haltOnFailure: Any = True
    flunkOnFailure: Any = True
    keywords: ClassVar[tuple[str, ...]] = ("command", "env", "path", "logEnviron", "interruptSignal", "decodeRC")
    not_yet: ClassVar[tuple[str, ...]] = ("usePTY",)

    def __init__(
        self,
        command: Any = None,
        env: Any = None,
        path: Any = None,
        logEnviron: bool = False,
        interruptSignal: str = "KILL",
        decodeRC: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take the command and how to run it."""
        self.command, self.env, self.path = command, env, path
        self.logEnviron = logEnviron
        self.interruptSignal = interruptSignal
        self.decodeRC = {0: Result.SUCCESS} if decodeRC is None else dict(decodeRC)
        if kwargs.get("usePTY") in (False, 0, None):
            kwargs.pop("usePTY", None)
        super().__init__(**kwargs)
        if command is None:
            missing("command", "MasterShellCommand needs a command", place=self.place)
        check_signal(interruptSignal, self.place)
        if logEnviron:
            text = "logEnviron of MasterShellCommand has no effect: the server's environment is not shown"
            note(text, place=self.place)
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._unwanted = False

    async def run(self) -> int:
        command = flatten_command(self.command)
        log = self.addLog("stdio")
        where = self.doors.master_path(self.path or self._own_workdir or "")
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        log.addHeader(f"{shown(command)}\n in the server's directory {self.path or '.'}\n")
        added = {**(self.env or {}), **self.build.held()}
        words, added = await self.doors.reveal(log.logid, (words, added))
        try:
            process = await asyncio.to_thread(self._start, words, where, self._environment(added))
            if self.stopped:
                self._kill()
            code = await self._follow(process, log)
        except BaseException as exc:
            self._unwanted = True
            self._kill("KILL")
            if not isinstance(exc, OSError):
                raise
            log.addHeader(f"it cannot be started: {exc.strerror or type(exc).__name__}\n")
            return Result.FAILURE
        finally:
            self._release_watchdog()
        log.addHeader(f"exit code {code}\n")
        return self.decodeRC.get(code, Result.FAILURE)

    def _environment(self, added: dict[str, Any]) -> dict[str, str]:
        """The server's environment, and what is added to it."""
        env = dict(os.environ)
        for name, value in added.items():
            if value is None:
                env.pop(name, None)
                continue
            text = os.pathsep.join(value) if isinstance(value, list | tuple) else str(value)
            env[name] = _REFERENCE.sub(lambda found: os.environ.get(found[1], ""), text)
        return env

    def _start(self, words: list[str], where: str, env: dict[str, str]) -> "subprocess.Popen[bytes]":
        self._watchdog = watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._process = process = subprocess.Popen(
            words,
            cwd=where,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert watchdog.stdin is not None
        watchdog.stdin.write(b"%d\n" % process.pid)
        watchdog.stdin.flush()
        if self._unwanted:  # the step was cancelled meanwhile
            self._kill("KILL")
        return process

    def _release_watchdog(self) -> None:
        """The program has ended, or was never started."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            with contextlib.suppress(BrokenPipeError):
                watchdog.communicate(b"over\n" if self._process is not None else b"")

    async def _follow(self, process: "subprocess.Popen[bytes]", log: Log) -> int:
        """Write what the program says to the log, as it comes, until it has ended.

        Not in threads: pages, files and the store share those, and a program may take hours.
        """
        both = ((process.stdout, log.addStdout), (process.stderr, log.addStderr))
        reads = [asyncio.create_task(self._read(pipe, add)) for pipe, add in both]
        try:
            await asyncio.gather(*reads)
        finally:
            for read in reads:
                read.cancel()
        pause = 0.001
        while (code := process.poll()) is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LOOK)
        return code

    async def _read(self, pipe: "IO[bytes] | None", add: Callable[[str], Any]) -> None:
        reader = asyncio.StreamReader(_PIECE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        unstored = 0
        try:
            while data := await reader.read(_PIECE):
                add(decoder.decode(data))
                unstored += len(data)
                if unstored >= _STORED_EVERY:
                    unstored = 0
                    await self.doors.until_stored()
            add(decoder.decode(b"", True))
        finally:
            transport.close()

    def _kill(self, name: str | None = None) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, getattr(signal, f"SIG{(name or self.interruptSignal).removeprefix('SIG')}"))

    def interrupt(self, reason: Any) -> Any:
        """End the program."""
        self._kill()
        return super().interrupt(reason)

    def getResultSummary(self) -> Any:
        """The description, or the command in a few words."""
        text = self._describe(self.descriptionDone or self.description) or self._describe(command_text(self.command))
        return {"step": self.with_result(text or "finished")}
