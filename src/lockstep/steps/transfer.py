"""Steps that carry files between worker and master: uploads, downloads.

`maxsize` and `blocksize` are in bytes. What arrives on the master is written beside its place and then moved there
(`master/` does that).
"""

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.errors import missing, mistake
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep, words
from lockstep.steps.commands import RemoteCommand


class _Transfer(BuildStep):
    """What all transfers share."""

    renderables: ClassVar[Any] = ("workersrc", "workerdest", "masterdest", "mastersrc", "url", "urlText")
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {
        "workersrc": kinds.path,
        "workerdest": kinds.path,
        "masterdest": kinds.text,
        "mastersrc": kinds.text,
        "maxsize": kinds.whole,
        "blocksize": kinds.whole,
        "mode": kinds.whole,
        "keepstamp": kinds.flag,
    }
    haltOnFailure: Any = True
    flunkOnFailure: Any = True
    workersrc: Any = None
    workerdest: Any = None
    masterdest: Any = None
    mastersrc: Any = None
    url: Any = None
    urlText: Any = None
    maxsize: Any = None
    blocksize: Any = 256 * 1024

    def take(self, kwargs: dict[str, Any], *names: str) -> dict[str, Any]:
        """Set these attributes from the keywords and return the others."""
        for name in names:
            if name in kwargs:
                setattr(self, name, kwargs.pop(name))
        return kwargs

    def need(self, *names: str) -> None:
        """Report what is missing."""
        for name in names:
            if getattr(self, name) is None:
                missing(name, f"{type(self).__name__} needs {name}=", place=self.place)

    def path(self, path: str) -> str:
        """A path in the step's workdir, below the build's folder."""
        return str(self.build.path_module.join(self.workdir, path))

    async def transfer(self, command: RemoteCommand) -> int:
        """Run the command and show the link."""
        await self.runCommand(command)
        if self.url is not None and not command.didFail():
            name = self.masterdest.rstrip("/").rsplit("/", 1)[-1]
            self.addURL(words(self.urlText) or name, words(self.url))
        return command.results()

    def done(self, what: str) -> Any:
        """The summary."""
        if self.description or self.descriptionDone:
            return super().getResultSummary()
        return {"step": self.with_result(what)}


class FileUpload(_Transfer):
    """Copy a file of the worker (`workersrc`, in the workdir) to the master (`masterdest`)."""

    name: Any = "upload"
    keywords: ClassVar[tuple[str, ...]] = (
        "workersrc",
        "masterdest",
        "maxsize",
        "blocksize",
        "mode",
        "keepstamp",
        "url",
        "urlText",
    )
    mode: Any = None
    keepstamp: Any = False

    def __init__(self, workersrc: Any = None, masterdest: Any = None, **kwargs: Any) -> None:
        """Take source and destination; `slavesrc` is the old name of `workersrc`."""
        self.workersrc = workersrc if workersrc is not None else kwargs.pop("slavesrc", None)
        self.masterdest = masterdest
        super().__init__(**self.take(kwargs, *self.keywords))
        self.need("workersrc", "masterdest")

    async def run(self) -> int:
        args = {
            "path": self.path(self.workersrc),
            "maxsize": self.maxsize,
            "blocksize": self.blocksize,
            "keepstamp": bool(self.keepstamp),
        }
        command = RemoteCommand("upload_file", args)
        command.masterdest = self.masterdest
        result = await self.transfer(command)
        if self.mode is not None and not command.didFail():
            with contextlib.suppress(FileNotFoundError):  # on replay the file may be gone
                os.chmod(self.doors.master_path(self.masterdest), self.mode)
        return result

    def getResultSummary(self) -> Any:
        """What was uploaded."""
        return self.done(f"uploading {self.workersrc}")


class DirectoryUpload(_Transfer):
    """Copy a directory of the worker (`workersrc`) to the master (`masterdest`). `compress` is None, `gz` or `bz2`.

    `maxsize` holds for the archive as it is sent, and for all files in it together when they are unpacked. One that
    has more, or that is not in order, leaves nothing on the master and replaces nothing.
    """

    name: Any = "upload"
    keywords: ClassVar[tuple[str, ...]] = (
        "workersrc",
        "masterdest",
        "maxsize",
        "blocksize",
        "compress",
        "url",
        "urlText",
    )
    compress: Any = None

    def __init__(self, workersrc: Any = None, masterdest: Any = None, **kwargs: Any) -> None:
        """Take source and destination."""
        self.workersrc, self.masterdest = workersrc, masterdest
        super().__init__(**self.take(kwargs, *self.keywords))
        self.need("workersrc", "masterdest")
        if self.compress not in (None, "gz", "bz2"):
            mistake(f"compress must be None, 'gz' or 'bz2', not {self.compress!r}", place=self.place)

    async def run(self) -> int:
        args = {
            "path": self.path(self.workersrc),
            "maxsize": self.maxsize,
            "blocksize": self.blocksize,
            "compress": self.compress,
        }
        command = RemoteCommand("upload_directory", args)
        command.masterdest = self.masterdest
        return await self.transfer(command)

    def getResultSummary(self) -> Any:
        """What was uploaded."""
        return self.done(f"uploading {self.workersrc}")


class _Download(_Transfer):
    """What downloads share."""

    name: Any = "download"
    mode: Any = None

    def command(self) -> RemoteCommand:
        """The command, without what it brings."""
        args = {
            "path": self.path(self.workerdest),
            "maxsize": self.maxsize,
            "blocksize": self.blocksize,
            "mode": self.mode,
        }
        return RemoteCommand("download_file", args)

    def getResultSummary(self) -> Any:
        """What was downloaded."""
        return self.done(f"downloading to {self.workerdest}")


class FileDownload(_Download):
    """Copy a file of the master (`mastersrc`) to the worker (`workerdest`, in the workdir)."""

    keywords: ClassVar[tuple[str, ...]] = ("mastersrc", "workerdest", "maxsize", "blocksize", "mode")

    def __init__(self, mastersrc: Any = None, workerdest: Any = None, **kwargs: Any) -> None:
        """Take source and destination; `slavedest` is the old name of `workerdest`."""
        self.mastersrc = mastersrc
        self.workerdest = workerdest if workerdest is not None else kwargs.pop("slavedest", None)
        super().__init__(**self.take(kwargs, *self.keywords))
        self.need("mastersrc", "workerdest")

    async def run(self) -> int:
        command = self.command()
        command.mastersrc = self.mastersrc
        return await self.transfer(command)


class StringDownload(_Download):
    """Write a text (`s`) to a file of the worker (`workerdest`, in the workdir)."""

    renderables: ClassVar[Any] = ("s",)
    keywords: ClassVar[tuple[str, ...]] = ("s", "workerdest", "maxsize", "blocksize", "mode")

    def __init__(self, s: Any = None, workerdest: Any = None, **kwargs: Any) -> None:
        """Take the text and the file; `slavedest` is the old name of `workerdest`."""
        self.s = s
        self.workerdest = workerdest if workerdest is not None else kwargs.pop("slavedest", None)
        super().__init__(**self.take(kwargs, *self.keywords))
        self.need("s", "workerdest")

    def content(self) -> bytes:
        """The bytes of the file."""
        return self.s if isinstance(self.s, bytes) else str(self.s).encode()

    async def run(self) -> int:
        command = self.command()
        command.content = self.content()
        return await self.transfer(command)


class JSONStringDownload(StringDownload):
    """Write a value (`o`) as JSON to a file of the worker."""

    renderables: ClassVar[Any] = ("o",)
    name: Any = "json_download"

    def __init__(self, o: Any = None, workerdest: Any = None, **kwargs: Any) -> None:
        """Take the value and the file."""
        self.o = o
        super().__init__(s="", workerdest=workerdest, **kwargs)
        self.need("o")

    def content(self) -> bytes:
        return json.dumps(self.o).encode()
