"""Runs one `shell` command: its process, output, time limits, followed files, and the end of its whole tree.

Starting and reading is in `process.py`, the tree in `trees.py`, what is kept of it in `work.py`.
"""

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from lockstep.protocol.commands import LogFile, Shell, real_word, shown_word, signal_number
from lockstep.protocol.messages import LOG_PREFIX, Reason
from lockstep.worker import trees
from lockstep.worker.clock import boottime
from lockstep.worker.environment import changed_environment, shown_environment
from lockstep.worker.limits import (
    DRAIN,
    INTERRUPT_PATIENCE,
    KILL_PATIENCE,
    KILL_PAUSE,
    LOG_POLL,
    MAX_BACKLOG,
)
from lockstep.worker.logfiles import FollowedFile
from lockstep.worker.process import (
    Child,
    Reader,
    Started,
    signal_name,
    start_with_pipes,
    start_with_terminal,
)
from lockstep.worker.spool import Process
from lockstep.worker.work import Outcome, Stop, Work


class Surroundings(Struct, frozen=True):
    """What a command needs to know of its agent.

    `home`: the agent's, for the marker; `environ`: what commands get; `resolve`: paths; `alone`: whether no
    other command runs; `watch(pid)` and `unwatch(pid)`: the process is waited for by its command, not by
    the agent; `check_lease`: end all commands if the lease is over.
    """

    home: str
    environ: Mapping[str, str]
    resolve: Callable[[str], str]
    alone: Callable[[], bool]
    watch: Callable[[int], None]
    unwatch: Callable[[int], None]
    check_lease: Callable[[], None]


class ShellRun:
    """One run of one program. Make it, then await `run` once."""

    def __init__(self, work: Work, args: Shell, around: Surroundings) -> None:
        """Prepare it; nothing happens yet."""
        self._work = work
        self._args = args
        self._around = around
        self._loop = asyncio.get_running_loop()
        self._change = asyncio.Event()
        self._child: Child | None = None
        self._readers: list[Reader] = []
        self._followed: list[tuple[str, FollowedFile]] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._silence: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._lines = 0
        self._stop: Stop | None = None
        self._kill = False
        self._escaped: list[int] = []

    async def run(self) -> Outcome:
        """Run the program to its end, and return how it ended. Mistakes in the arguments raise ValueError."""
        cwd = self._around.resolve(self._args.workdir)
        os.makedirs(cwd, exist_ok=True)
        words = self._words()
        self._announce(cwd)
        for name, entry in self._args.logfiles.items():
            file = entry if isinstance(entry, LogFile) else LogFile(entry)
            path = self._around.resolve(os.path.join(cwd, file.filename))
            self._followed.append((f"{LOG_PREFIX}{name}", FollowedFile(path, file.follow)))
        try:
            started = self._start(words, cwd)
        except OSError as error:
            self._work.complain(f"cannot run {words[0]!r} in {cwd}: {error.strerror}")
            return Outcome(126 if isinstance(error, PermissionError) else 127, detail=str(error.strerror))
        return await self._attend(started)

    def _words(self) -> list[str]:
        """The program and its arguments."""
        command = self._args.command
        if isinstance(command, str):
            return ["/bin/sh", "-c", command]
        return [real_word(word) for word in command]

    def _announce(self, cwd: str) -> None:
        """The header: what is run, where and under which limits."""
        args = self._args
        command = args.command
        shown = command if isinstance(command, str) else shlex.join(shown_word(word) for word in command)
        limits = [("timeout", args.timeout or None), ("maxTime", args.max_time or None), ("max_lines", args.max_lines)]
        text = f"{shown}\n in dir {cwd}"
        text += "".join(f" ({name} {value:g})" for name, value in limits if value is not None) + "\n"
        if args.log_environ and args.env:
            text += f" environment:\n{shown_environment(args.env)}"
        self._work.header(text + f" using PTY: {self._with_terminal()}\n")

    def _with_terminal(self) -> bool:
        """Whether it gets a terminal: not if it is given input (as in Buildbot)."""
        return self._args.use_pty and self._args.initial_stdin is None

    def _start(self, words: list[str], cwd: str) -> Started:
        """Start the process, in its environment."""
        env = changed_environment(self._around.environ, self._args.env)
        env["PWD"] = cwd
        env[trees.MARKER] = f"{self._around.home}/{self._work.id}"
        if self._with_terminal():
            return start_with_terminal(words, cwd, env)
        return start_with_pipes(words, cwd, env, self._args.initial_stdin)

    async def _attend(self, started: Started) -> Outcome:
        """Stay with the process until it, and if it was stopped its whole tree, has ended."""
        self._child = Child(started.popen, self._change.set)
        self._around.watch(self._child.pid)
        proc = trees.look(self._child.pid) if trees.HAS_PROC else None
        self._work.note_process(Process(self._child.pid, proc.started if proc is not None else 0))
        wanted = {"stdout": self._args.want_stdout, "stderr": self._args.want_stderr}
        for stream, fd in started.outputs:
            self._readers.append(Reader(fd, self._taker(stream, wanted[stream]), self._change.set))
        self._arm()
        self._work.on_stop = self._stopped
        self._work.on_room = self._room
        if self._work.stop is not None:
            self._stopped(self._work.stop)
        try:
            await self._until_over()
        except BaseException:  # the agent fails: nothing may stay behind
            await self._kill_tree()
            raise
        finally:
            self._close()
        return self._outcome()

    def _arm(self) -> None:
        """Start the clocks."""
        args = self._args
        self._heard_at = self._loop.time()
        if args.max_time:
            late = f"command timed out: {args.max_time:g} seconds elapsed"
            self._timers.append(self._loop.call_later(args.max_time, self._limit, "timeout", late))
        if args.timeout:
            self._silence = self._loop.call_later(args.timeout, self._silent)
        if self._followed:
            self._looking = self._loop.call_later(LOG_POLL, self._poll)

    def _stop_clocks(self) -> None:
        """No limit of time, and no look from time to time, any more."""
        for timer in [*self._timers, self._silence, self._looking]:
            if timer is not None:
                timer.cancel()

    def _taker(self, stream: str, wanted: bool) -> Callable[[bytes], None]:
        """What is done with each piece of one stream."""

        def take(data: bytes) -> None:
            """Keep it, count it, and stop reading where too much waits."""
            self._heard_at = self._loop.time()
            if wanted:
                self._work.emit(stream, data)
            if self._args.max_lines is not None:
                self._lines += data.count(b"\n")
                if self._lines > self._args.max_lines:
                    counted = f"{self._lines}/{self._args.max_lines} written/allowed"
                    self._limit("max_lines_failure", f"command exceeds max lines: {counted}")
            if self._work.spool.backlog > MAX_BACKLOG:
                for reader in self._readers:
                    reader.pause()

        return take

    def _room(self) -> None:
        """The master has stored something: go on reading if that was waited for."""
        if self._work.spool.backlog <= MAX_BACKLOG // 2:
            self._heard_at = self._loop.time()
            for reader in self._readers:
                reader.resume()
            if self._child is not None and self._child.code is not None:
                self._change.set()  # the rest of followed files may wait for it

    def _silent(self) -> None:
        """Perhaps it has been silent for too long."""
        assert self._args.timeout is not None
        quiet = self._loop.time() - self._heard_at
        if self._work.spool.backlog > MAX_BACKLOG // 2:
            quiet = 0.0  # it is we who do not listen
        if quiet >= self._args.timeout:
            late = f"command timed out: {self._args.timeout:g} seconds without output"
            self._limit("timeout_without_output", late)
        else:
            self._silence = self._loop.call_later(max(self._args.timeout - quiet, 0.01), self._silent)

    def _poll(self) -> None:
        """Look at the followed files, again soon where there was more than is read at once."""
        self._looking = self._loop.call_later(0.0 if self._read_followed() else LOG_POLL, self._poll)

    def _read_followed(self) -> bool:
        """Pass on what is new in the followed files, as far as there is room. Whether there is more to read now."""
        behind = False
        for stream, file in self._followed:
            if self._work.spool.backlog > MAX_BACKLOG:
                return False
            for data in file.read():
                self._heard_at = self._loop.time()
                self._work.emit(stream, data)
            behind = behind or file.behind
        return behind

    async def _read_rest(self) -> None:
        """The command has ended: pass on the rest of the followed files; one that is killed waits for no room."""
        for _, file in self._followed:
            file.command_ended()
        while True:
            self._change.clear()
            if self._read_followed():
                await asyncio.sleep(0)
            elif self._followed and self._work.spool.backlog > MAX_BACKLOG and not self._kill:
                await self._change.wait()
            else:
                return

    def _limit(self, reason: Reason, text: str) -> None:
        """A limit is reached."""
        self._work.end_it(Stop(reason, text))

    def _stopped(self, stop: Stop) -> None:
        """It is to be ended; called a second time if haste is added."""
        assert self._child is not None
        if self._stop is None:
            self._work.header(f"\n{stop.detail or stop.reason}, attempting to kill\n")
        self._stop = stop
        patience = 0.0
        first = signal_number(self._args.interrupt_signal)
        if not stop.at_once:
            if self._args.sigterm_time is not None:
                patience, first = self._args.sigterm_time, signal.SIGTERM
            elif stop.reason == "interrupted" and first != signal.SIGKILL:
                patience = INTERRUPT_PATIENCE
        if patience > 0 and self._child.code is None:
            trees.signal_group(self._child.pid, first)
            self._timers.append(self._loop.call_later(patience, self._lose_patience))
        else:
            self._lose_patience()

    def _lose_patience(self) -> None:
        """No more waiting: the tree is killed."""
        self._kill = True
        self._change.set()

    async def _until_over(self) -> None:
        """Wait for the end of the process and of its output, or kill the tree."""
        child = self._child
        assert child is not None
        drain_until: float | None = None
        while True:
            self._change.clear()
            if child.code is not None:
                self._around.check_lease()  # perhaps the guardian has killed it
            if self._kill or (self._stop is not None and child.code is not None):
                await self._kill_tree()
                break
            if child.code is not None:
                if all(reader.ended for reader in self._readers):
                    break
                if drain_until is None:
                    drain_until = self._loop.time() + DRAIN
                    self._timers.append(self._loop.call_later(DRAIN, self._change.set))
                elif self._loop.time() >= drain_until:
                    self._work.header("\na background process keeps the output open; it is not waited for\n")
                    break
            await self._change.wait()
        killed = self._kill or self._stop is not None
        for reader in self._readers:
            reader.drain()
        self._stop_clocks()
        await self._read_rest()
        if self._kill and not killed:
            await self._kill_tree()

    async def _kill_tree(self) -> None:
        """Kill all that belongs to the command, again and again until it is gone."""
        child = self._child
        assert child is not None
        deadline = boottime() + KILL_PATIENCE
        while True:
            if trees.HAS_PROC:
                alive = trees.kill_once(self._find)
            else:
                trees.signal_group(child.pid, signal.SIGKILL)
                alive = []
            if (not alive and child.code is not None) or boottime() > deadline:
                break
            await asyncio.sleep(KILL_PAUSE)
        self._escaped = alive

    def _find(self) -> dict[int, trees.Proc]:
        """The living processes of this command."""
        assert self._child is not None
        marker = trees.marker_line(self._around.home, self._work.id)
        return trees.members([self._child.pid], [marker], os.getpid() if self._around.alone() else 0)

    def _close(self) -> None:
        """Let everything go."""
        self._work.on_stop = None
        self._work.on_room = None
        self._stop_clocks()
        for reader in self._readers:
            reader.close()
        assert self._child is not None
        self._around.unwatch(self._child.pid)
        if self._child.code is not None:
            self._child.reap()

    def _outcome(self) -> Outcome:
        """How it ended, from all that has happened."""
        assert self._child is not None
        code = self._child.code
        results: dict[str, Any] = {}
        if self._escaped:
            results["escaped"] = self._escaped
        if code is not None and code < 0:
            results["signal"] = -code
            self._work.header(f"process killed by signal {-code} ({signal_name(-code)})\n")
        stop = self._stop
        if stop is None:
            return Outcome(code if code is not None and code >= 0 else -1, results=results)
        return Outcome(-1, stop.reason, stop.detail, results)
