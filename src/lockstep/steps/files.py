"""What steps do with files on the worker: `CompositeStepMixin` for users' steps, and the steps made of it.

Files that travel between worker and master are in `transfer.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from lockstep.config.errors import missing
from lockstep.config.secrets import disarm
from lockstep.core.nouns import Result
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep, BuildStepFailed
from lockstep.steps.commands import RemoteCommand

_MAX_CONTENT = 1 << 20
"""Bytes of a file that `getFileContentFromWorker` reads at most: they become part of the journal."""


class CompositeStepMixin:
    """Small errands on the worker. Paths are below the build's folder.

    With `abandonOnFailure` a failure raises `BuildStepFailed`; without, the answer says so.
    """

    rc_log: Any = None

    def addLogForRemoteCommands(self, logname: str) -> Any:
        """Open the log that these errands write their headers to."""
        assert isinstance(self, BuildStep)
        self.rc_log = self.addLog(logname)
        return self.rc_log

    def _path(self, path: str) -> str:
        """A path below the step's workdir, as one below the build's folder."""
        assert isinstance(self, BuildStep)
        return str(self.build.path_module.join(self.workdir, path))

    async def runRemoteCommand(
        self,
        cmd: str,
        args: dict[str, Any],
        abandonOnFailure: bool = True,
        evaluateCommand: Any = None,
    ) -> Any:
        """Run a command by its kind. Returns whether it failed, or what `evaluateCommand(command)` makes of it."""
        command = RemoteCommand(cmd, args)
        failed = await self._errand(command, abandonOnFailure)
        return evaluateCommand(command) if evaluateCommand is not None else failed

    async def _errand(self, command: RemoteCommand, abandonOnFailure: bool) -> bool:
        assert isinstance(self, BuildStep)
        if self.rc_log is not None:
            command.useLog(self.rc_log)
        await self.runCommand(command)
        if abandonOnFailure and command.didFail():
            raise BuildStepFailed
        return command.didFail()

    async def runRmdir(self, dir: str, timeout: float | None = None, log: Any = None, **kwargs: Any) -> Any:  # noqa: ASYNC109
        """Remove a directory with all that is in it; `timeout` in seconds without progress."""
        args: dict[str, Any] = {"paths": [dir], "logEnviron": bool(getattr(self, "logEnviron", False))}
        if timeout is not None:
            args["timeout"] = timeout
        return await self.runRemoteCommand("rmdir", args, **kwargs)

    async def runRmFile(self, path: str, **kwargs: Any) -> Any:
        """Remove a file."""
        return await self.runRemoteCommand("rmfile", {"path": path}, **kwargs)

    async def runMkdir(self, _dir: str, **kwargs: Any) -> Any:
        """Make a directory, and those above it."""
        return await self.runRemoteCommand("mkdir", {"paths": [_dir]}, **kwargs)

    async def pathExists(self, path: str) -> bool:
        """Whether there is a file or directory."""
        return not await self._errand(RemoteCommand("stat", {"path": path}), abandonOnFailure=False)

    async def runGlob(self, path: str, abandonOnFailure: bool = True, **kwargs: Any) -> list[str]:
        """The paths that match a pattern."""
        command = RemoteCommand("glob", {"path": path})
        await self._errand(command, abandonOnFailure)
        return list(command.updates.get("files", [[]])[-1])

    async def glob(self, path: str) -> list[str]:
        """The paths that match a pattern; sorted."""
        return sorted(await self.runGlob(path))

    async def getFileContentFromWorker(self, filename: str, abandonOnFailure: bool = False) -> str | None:
        """The text of a small file in the step's workdir (1 MiB at most), or None if it cannot be read."""
        command = RemoteCommand(
            "upload_file", {"path": self._path(filename), "maxsize": _MAX_CONTENT, "blocksize": 32 * 1024}
        )
        command.to_result = True
        if await self._errand(command, abandonOnFailure):
            return None
        content = command.updates.get("content", [b""])[-1]
        return str(disarm(content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)))

    async def downloadFileContentToWorker(
        self, workerdest: str, strfile: str | bytes, abandonOnFailure: bool = False, mode: int | None = None
    ) -> bool:
        """Write a text to a file in the step's workdir. Returns whether that failed."""
        command = RemoteCommand("download_file", {"path": self._path(workerdest), "blocksize": 32 * 1024, "mode": mode})
        command.content = strfile.encode() if isinstance(strfile, str) else strfile
        return await self._errand(command, abandonOnFailure)


class _OneCommand(CompositeStepMixin, BuildStep):
    """A step that is one errand: `kind` and `arguments()`."""

    kind: ClassVar[str] = ""
    what: ClassVar[str] = ""

    def arguments(self) -> dict[str, Any]:
        """The command's arguments."""
        raise NotImplementedError

    async def run(self) -> int:
        command = RemoteCommand(self.kind, self.arguments())
        await self.runCommand(command)
        return command.results()

    def getResultSummary(self) -> Any:
        """The description, or what was done."""
        if self.description or self.descriptionDone:
            return super().getResultSummary()
        return {"step": self.with_result(self.what)}


class MakeDirectory(_OneCommand):
    """Make a directory on the worker, and those above it. `dir` is below the build's folder."""

    name: Any = "MakeDirectory"
    renderables: ClassVar[Any] = ("dir",)
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {"dir": kinds.text}
    kind = "mkdir"
    what = "directory made"

    def __init__(self, dir: Any = None, **kwargs: Any) -> None:
        """Take the directory."""
        self.dir = dir
        super().__init__(**kwargs)
        _needs(self, "dir")

    def arguments(self) -> dict[str, Any]:
        return {"paths": [self.dir]}


class RemoveDirectory(_OneCommand):
    """Remove a directory on the worker with all that is in it. `dir` is below the build's folder, or a list."""

    name: Any = "RemoveDirectory"
    renderables: ClassVar[Any] = ("dir",)
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {"dir": kinds.texts}
    kind = "rmdir"
    what = "directory removed"

    def __init__(self, dir: Any = None, **kwargs: Any) -> None:
        """Take the directory."""
        self.dir = dir
        super().__init__(**kwargs)
        _needs(self, "dir")

    def arguments(self) -> dict[str, Any]:
        paths = list(self.dir) if isinstance(self.dir, Iterable) and not isinstance(self.dir, str) else [self.dir]
        return {"paths": paths}


class CopyDirectory(_OneCommand):
    """Copy a directory on the worker. `timeout` and `maxTime` in seconds."""

    name: Any = "CopyDirectory"
    renderables: ClassVar[Any] = ("src", "dest")
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {
        "src": kinds.text,
        "dest": kinds.text,
        "timeout": kinds.seconds,
        "maxTime": kinds.seconds,
    }
    kind = "cpdir"
    what = "directory copied"

    def __init__(
        self,
        src: Any = None,
        dest: Any = None,
        timeout: float | None = 120,
        maxTime: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Take source and destination."""
        self.src, self.dest, self.timeout, self.maxTime = src, dest, timeout, maxTime
        super().__init__(**kwargs)
        _needs(self, "src", "dest")

    def arguments(self) -> dict[str, Any]:
        return {"from_path": self.src, "to_path": self.dest, "timeout": self.timeout, "maxTime": self.maxTime}


class FileExists(_OneCommand):
    """Succeed if there is a file of that name on the worker (a directory is none)."""

    name: Any = "FileExists"
    renderables: ClassVar[Any] = ("file",)
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {"file": kinds.text}
    haltOnFailure: Any = True
    kind = "stat"

    def __init__(self, file: Any = None, **kwargs: Any) -> None:
        """Take the file."""
        self.file = file
        super().__init__(**kwargs)
        _needs(self, "file")

    def arguments(self) -> dict[str, Any]:
        return {"path": self.file}

    async def run(self) -> int:
        command = RemoteCommand(self.kind, self.arguments())
        await self.runCommand(command)
        if command.results() != Result.SUCCESS:
            return command.results()
        mode = command.updates.get("stat", [[0]])[-1][0]
        return Result.SUCCESS if mode & 0o170000 == 0o100000 else Result.FAILURE

    def getResultSummary(self) -> Any:
        """Whether there is one."""
        return {"step": "file found" if self.results == Result.SUCCESS else self.with_result("no such file")}


def _needs(step: BuildStep, *names: str) -> None:
    """Report the arguments that are missing."""
    for name in names:
        if not getattr(step, name):
            missing(name, f"{type(step).__name__} needs {name}=", place=step.place)
