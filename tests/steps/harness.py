"""A `StepContext` that really runs commands, in a folder of its own, and keeps a journal that can be replayed.

It is small and complete: what `master/` does with a store, a loop and a worker, this does with a list and subprocess.
"""

import asyncio
import glob
import os
import shutil
import signal
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lockstep.config.secrets import substitute
from lockstep.core.calls import (
    Acquire,
    AddSteps,
    AddUrl,
    CloseLog,
    CommandResult,
    Now,
    OpenLog,
    RunCommand,
    SetProperty,
    Sleep,
    StartBuilds,
    WriteLog,
)
from lockstep.core.nouns import Result
from lockstep.core.values import SourceStamp
from lockstep.protocol.commands import parse_command
from lockstep.steps.execution import Prepared, StepOutcome, execute, prepare, render_arguments
from lockstep.worker.environment import changed_environment, shown_environment


@dataclass
class StoredLog:
    """A log: its lines as (stream, text), and whether it is closed."""

    name: str
    type: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    def text(self, streams: str = "oe") -> str:
        """The lines of these streams."""
        return "".join(line + "\n" for stream, line in self.lines if stream in streams)


@dataclass
class Entry:
    """One call of the journal. `ended` is False for one that was cut off; `extent` the logs' lengths at its end."""

    call: Any
    ended: bool = False
    result: Any = None
    extent: dict[int, int] = field(default_factory=dict)


@dataclass
class FakeBuild:
    """A `BuildContext` with plain attributes."""

    buildid: int = 1
    number: int = 1
    builder: str = "b"
    worker: str = "bot-1"
    basedir: str = "builddir"
    properties: dict[str, Any] = field(default_factory=dict)
    sourcestamps: tuple[SourceStamp, ...] = (SourceStamp(),)
    changes: tuple[Any, ...] = ()
    result: Result = Result.SUCCESS
    env: dict[str, Any] = field(default_factory=dict)
    worker_info: dict[str, Any] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    units: dict[str, Any] = field(default_factory=dict)


class Diverged(BaseException):
    """A replayed step asked for something else than the first time."""


class Cut(BaseException):
    """The server was killed while a call was under way."""


class Harness:
    """The doors of one step. `root` is the worker's folder. With `journal`, what is in it is not done again."""

    number = 1

    def __init__(self, root: Path, build: FakeBuild | None = None, journal: list[Entry] | None = None) -> None:
        self.root = root
        self.build = build or FakeBuild()
        if journal is None:
            (root / self.build.basedir / "build").mkdir(parents=True, exist_ok=True)
            (root / "master").mkdir(exist_ok=True)
        self.journal: list[Entry] = []
        self.stored = journal or []
        self.logs: dict[int, StoredLog] = {}
        self.properties: dict[str, Any] = {}
        self.urls: dict[str, str] = {}
        self.added: list[tuple[Any, str]] = []
        self.slept: list[float] = []
        self.summaries: list[str] = []
        self.secrets: dict[str, str] = {}
        self.schedulers: dict[str, Any] = {}
        self.commands: list[RunCommand] = []
        self.answers: dict[type, Any] = {}
        self.clock = 1000.0
        self.handler: Callable[[str], Awaitable[None]] | None = None
        self.processes: set[asyncio.subprocess.Process] = set()
        self.started = asyncio.Event()
        self.cut_at = 0
        self._observers: list[list[Any]] = []

    # the contract

    @property
    def calls(self) -> int:
        return len(self.journal)

    async def call(self, call: Any) -> Any:
        entry = self._start(call)
        if not entry.ended:
            if self.cut_at and len(self.journal) >= self.cut_at:
                raise Cut
            entry.result = await self._perform(call)
            self._end(entry)
        return self._deliver(entry)

    def call_now(self, call: Any) -> Any:
        entry = self._start(call)
        if not entry.ended:
            if self.cut_at and len(self.journal) >= self.cut_at:
                raise Cut
            entry.result = self._at_once(call)
            self._end(entry)
        elif isinstance(call, OpenLog | SetProperty | CloseLog | AddUrl):
            self._at_once(call)
        return self._deliver(entry)

    def write_log(self, log: int, stream: Any, text: str) -> None:
        assert not self.logs[log].closed
        self.call_now(WriteLog(log, stream, text, len(text)))

    async def until_stored(self) -> None:
        pass

    def open_log(self, name: str, type: Any, encoding: str = "") -> int:
        return int(self.call_now(OpenLog(name, type)))

    def observe(self, log: int, observer: Callable[[Any, str], None]) -> None:
        self._observers.append([log, observer, 0])

    def add_steps(self, steps: list[Any], where: str) -> None:
        self.call_now(AddSteps(tuple(step.plan() for step in steps), where))  # type: ignore[arg-type]
        self.added += [(step, where) for step in steps]

    def submission(self, scheduler: str) -> Any:
        return self.schedulers[scheduler]

    def update_summary(self, text: str) -> None:
        self.summaries.append(text)

    def master_path(self, path: str) -> str:
        return str(self.root / "master" / path)

    async def reveal(self, log: int, tree: Any) -> Any:
        return substitute(tree, self.secrets.__getitem__)

    def on_interrupt(self, handler: Callable[[str], Awaitable[None]]) -> None:
        self.handler = handler

    # what tests do

    async def stop(self, reason: str = "stopped") -> None:
        """What the master does when somebody stops the build."""
        assert self.handler is not None
        await self.handler(reason)
        for process in list(self.processes):
            os.killpg(process.pid, signal.SIGKILL)

    def log(self, name: str = "stdio") -> StoredLog:
        """The log of that name."""
        return next(log for log in self.logs.values() if log.name == name)

    def text(self, name: str = "stdio", streams: str = "oe") -> str:
        """The text of the log of that name."""
        return self.log(name).text(streams)

    # the journal

    def _start(self, call: Any) -> Entry:
        number = len(self.journal)
        if number < len(self.stored):
            entry = self.stored[number]
            if entry.call != call:
                raise Diverged(f"call {number + 1}: {entry.call} was stored, {call} is asked")
        else:
            entry = Entry(call)
        self.journal.append(entry)
        return entry

    def _end(self, entry: Entry) -> None:
        entry.ended = True
        entry.extent = {number: len(log.lines) for number, log in self.logs.items()}

    def _deliver(self, entry: Entry) -> Any:
        for watched in self._observers:
            log, observer, fed = watched
            end = entry.extent.get(log, 0)
            for stream, line in self.logs[log].lines[fed:end]:
                observer(stream, line)
            watched[2] = max(fed, end)
        return entry.result

    def _at_once(self, call: Any) -> Any:
        match call:
            case OpenLog(name=name, type=type):
                number = 1 + sum(isinstance(entry.call, OpenLog) for entry in self.journal[:-1])
                self.logs.setdefault(number, StoredLog(name, type))
                return number
            case WriteLog(log=log, stream=stream, digest=text):
                self.logs[log].lines += [(stream, line) for line in text.removesuffix("\n").split("\n")]
            case CloseLog(log=log):
                self.logs[log].closed = True
            case SetProperty(name=name, value=value, source=source):
                self.properties[name] = value
                self.build.properties[name] = (value, source)
            case AddUrl(name=name, url=url):
                self.urls[name] = url
            case Now():
                self.clock += 1
                return self.clock
        return None

    async def _perform(self, call: Any) -> Any:
        match call:
            case RunCommand():
                return await self._run(call)
            case Sleep(seconds=seconds):
                self.slept.append(seconds)
                return None
            case Acquire(accesses=accesses):
                return {str(access.lock): 1 for access in accesses}
            case StartBuilds():
                return self.answers[StartBuilds](call)
        raise AssertionError(call)

    # the worker

    async def _run(self, call: RunCommand) -> CommandResult:
        self.commands.append(call)
        msgspec.msgpack.encode(call)
        args = substitute(call.args, self.secrets.__getitem__)
        kind, _ = parse_command(call.kind, args)
        return await self._shell(call, args) if kind == "shell" else self._files(kind, call, args)

    def _files(self, kind: str, call: RunCommand, args: dict[str, Any]) -> CommandResult:
        path = self.root / str(args.get("path", ""))
        results: dict[str, Any] = {}
        try:
            match kind:
                case "mkdir":
                    for name in args["paths"]:
                        (self.root / name).mkdir(parents=True, exist_ok=True)
                case "rmdir":
                    for name in args["paths"]:
                        doomed = self.root / name
                        doomed.unlink() if doomed.is_file() else shutil.rmtree(doomed, ignore_errors=True)
                case "cpdir":
                    shutil.copytree(self.root / args["from_path"], self.root / args["to_path"], symlinks=True)
                case "stat":
                    results["stat"] = list(path.stat())[:10]
                case "glob":
                    results["files"] = glob.glob(str(path))
                case "listdir":
                    results["files"] = sorted(os.listdir(path))
                case "rmfile":
                    path.unlink()
                case "upload_file":
                    self._received(call, path.read_bytes(), results)
                case "download_file":
                    path.parent.mkdir(parents=True, exist_ok=True)
                    data = (
                        call.content
                        if call.content is not None
                        else Path(self.master_path(call.mastersrc)).read_bytes()
                    )
                    path.write_bytes(data)
                    if args.get("mode") is not None:
                        path.chmod(args["mode"])
                case "upload_directory":
                    with tarfile.open(self.root / "up.tar", "w") as tar:
                        tar.add(path, ".")
                    with tarfile.open(self.root / "up.tar") as tar:
                        tar.extractall(self.master_path(call.masterdest), filter="data")
        except OSError as exc:
            self.logs[call.stdio].lines.append(("h", str(exc))) if call.stdio else None
            return CommandResult(rc=1, failure=str(exc))
        return CommandResult(rc=0, results=results)

    def _received(self, call: RunCommand, data: bytes, results: dict[str, Any]) -> None:
        if call.to_result:
            results["content"] = data
        else:
            Path(self.master_path(call.masterdest)).write_bytes(data)

    async def _shell(self, call: RunCommand, args: dict[str, Any]) -> CommandResult:
        env = changed_environment(os.environ, args["env"])
        command = args["command"]
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        cwd = self.root / args["workdir"]
        cwd.mkdir(parents=True, exist_ok=True)
        shown = shown_environment(args["env"]).splitlines()
        self.logs[call.stdio].lines += [("h", line) for line in [f"{words} in {args['workdir']}", *shown]]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                cwd=cwd,
                env=env,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            return CommandResult(rc=-1, failure=str(exc))
        self.processes.add(process)
        self.started.set()
        out, err = await process.communicate((args.get("initial_stdin") or "").encode())
        self.processes.discard(process)
        for stream, data in (("o", out), ("e", err)):
            if data:
                lines = data.decode(errors="replace").removesuffix("\n").split("\n")
                self.logs[call.stdio].lines += [(stream, line) for line in lines]
        for name, file in args["logfiles"].items():
            path = cwd / file["filename"]
            if path.exists():
                self.logs[call.logs[name]].lines += [("o", line) for line in path.read_text().splitlines()]
        return CommandResult(rc=max(process.returncode or 0, -1))


async def run_step(step: Any, harness: Harness) -> StepOutcome:
    """Prepare and execute a step as the master does."""
    prepared = await prepare(step, harness.build)
    if prepared.accesses:
        prepared = await render_arguments(step, harness.build, prepared)
    return await execute(step, harness, prepared)


def go(step: Any, harness: Harness) -> StepOutcome:
    """Run a step of a configuration in a fresh event loop."""
    return asyncio.run(run_step(step.make(), harness))


def replay(step: Any, harness: Harness, root: Path) -> tuple[StepOutcome, Harness]:
    """Run a step again from its journal, as after a restart. The logs are there already."""
    again = Harness(root, FakeBuild(**{**vars(harness.build), "properties": {}}), harness.journal)
    again.logs = harness.logs
    for log in again.logs.values():
        log.closed = False
    again.answers, again.schedulers = harness.answers, harness.schedulers
    return asyncio.run(run_step(step.make(), again)), again


def prepared_of(step: Any, harness: Harness) -> Prepared:
    """What `prepare` says."""
    return asyncio.run(prepare(step, harness.build))
