"""Files on their way between workers and the master: parts on disk while they come, moved into place when complete.

The paths on the master come from the configuration, never from a worker. What is inside a directory that a worker
sends is looked at in `unpacking.py`.
"""

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

from lockstep.core.calls import RunCommand
from lockstep.master.limits import MAX_RESULT_FILE
from lockstep.master.unpacking import TooMuchError, unpack


class _Part:
    """What has come of one file. `problem`: why the whole of it will be of no use, or nothing."""

    def __init__(self, file: BinaryIO | None, size: int, problem: str = "") -> None:
        self.file = file
        self.size = size
        self.problem = problem

    def end(self, problem: str) -> None:
        """Keep nothing more of it."""
        self.problem = self.problem or problem
        if self.file is not None:
            self.file.close()
            self.file = None

    def sync(self) -> None:
        """Bring what has come to the disk. Called in the writer's thread."""
        file = self.file
        try:
            if file is not None:
                os.fsync(file.fileno())
        except ValueError:
            pass  # closed meanwhile: nobody wants it any more, or it is of no use
        except OSError as exc:
            self.problem = self.problem or f"the server cannot keep it: {exc}"


class _Source:
    """A file that a worker fetches piece by piece: the one that was there at the first, whatever takes its name."""

    def __init__(self, base: Path, path: str) -> None:
        self._base = base
        self._path = path
        self._file: BinaryIO | None = None
        self._guard = threading.Lock()
        self._readers = 0
        self._over = False

    def read(self, offset: int, length: int) -> bytes:
        """Called in threads, by several at once if a connection broke. Raises OSError."""
        with self._guard:
            if self._file is None:
                self._file = (self._base / os.path.expanduser(self._path)).open("rb")
            file = self._file
            self._readers += 1
        try:
            return os.pread(file.fileno(), length, offset)
        finally:
            with self._guard:
                self._readers -= 1
                self._close()

    def end(self) -> None:
        """Nobody will read it any more, but those who do so now."""
        with self._guard:
            self._over = True
            self._close()

    def _close(self) -> None:
        if self._over and not self._readers and self._file is not None:
            self._file.close()
            self._file = None


class Transfers:
    """The files that commands receive or read. `basedir` is the server's own folder.

    A part stays until the end of its command is stored (`forget`): if the server is killed before that, the agent says
    again that it has ended, and what came is put in its place again.
    """

    def __init__(self, basedir: str) -> None:
        self._folder = Path(basedir) / "transfers"
        self._base = Path(basedir)
        self._parts: dict[str, _Part] = {}
        self._sources: dict[str, _Source] = {}

    def _path(self, command: str) -> Path:
        return self._folder / f"{command}.part"

    def resume(self, command: str, received: int) -> None:
        """Go on after a restart with so many bytes; what was written beyond them comes again."""
        try:
            file = self._path(command).open("r+b")
        except OSError as exc:
            gone = f"what had come before the server's restart is gone ({exc.strerror})"
            self._parts[command] = _Part(None, received, gone)
            return
        part = self._parts[command] = _Part(file, received)
        size = file.seek(0, os.SEEK_END)
        if size < received:
            part.end(f"of {received} bytes that had come before the server's restart {size} are left")
            return
        file.truncate(received)
        file.seek(received)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove parts of commands whose end is stored: the server was killed before it could do so."""
        for path in self._folder.glob("*.part"):
            if path.name.removesuffix(".part") not in keep:
                path.unlink(missing_ok=True)

    def _begin(self, command: str) -> _Part:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)  # what is on its way may be a secret
            part = _Part(self._path(command).open("wb"), 0)
        except OSError as exc:
            part = _Part(None, 0, f"the server cannot keep the file: {exc}")
        self._parts[command] = part
        return part

    def receive(self, command: str, call: RunCommand, data: bytes) -> None:
        """Keep bytes that a worker sent for this command; those that nobody asked for are dropped."""
        if not self.expects(call):
            return
        part = self._parts.get(command) or self._begin(command)
        part.size += len(data)
        limit = MAX_RESULT_FILE if call.to_result else call.args.get("maxsize")
        if isinstance(limit, int) and part.size > limit:
            part.end(f"it has more than the {limit} bytes that are allowed")
        if part.file is None:
            return
        try:
            part.file.write(data)
            part.file.flush()
        except OSError as exc:
            part.end(f"the server cannot keep it: {exc}")

    def received(self, command: str) -> int | None:
        """How many bytes have come for this command; None: it sends no file."""
        part = self._parts.get(command)
        return part.size if part is not None else None

    def sync(self, command: str) -> Callable[[], None] | None:
        """What brings the bytes that came for this command to the disk; None: it sends no file."""
        part = self._parts.get(command)
        return part.sync if part is not None else None

    def expects(self, call: RunCommand) -> bool:
        """Whether something is to be put in place when this command has ended (an empty file sends no bytes)."""
        return bool(call.masterdest) or call.to_result

    async def finish(self, command: str, call: RunCommand, rc: int, times: Any = None) -> tuple[dict[str, Any], str]:
        """Put what has come where it belongs. Returns additions to the result, and what went wrong (or nothing).

        `times`: when the file was read and changed on the worker, if it is to keep that (`keepstamp`).
        """
        if rc != 0:
            return {}, ""
        part = self._parts.get(command) or self._begin(command)
        what = call.masterdest or call.args.get("path", "the file")
        if part.problem:
            return {}, f"cannot store {what}: {part.problem}"
        try:
            if call.to_result:
                return {"content": await asyncio.to_thread(self._path(command).read_bytes)}, ""
            await asyncio.to_thread(self._place, self._path(command), call, times)
        except TooMuchError as exc:
            return {}, f"cannot store {what}: {exc}"
        except Exception as exc:
            # The bytes are a worker's: whatever is wrong with them ends this command and nothing else.
            return {}, f"cannot store {what}: {type(exc).__name__}: {exc}"
        return {}, ""

    def forget(self, command: str) -> None:
        """The end of a command is stored: its part is not needed any more."""
        source = self._sources.pop(command, None)
        if source is not None:
            source.end()
        part = self._parts.pop(command, None)
        if part is not None:
            part.end("")
            self._path(command).unlink(missing_ok=True)

    def _place(self, part: Path, call: RunCommand, times: Any) -> None:
        target = self._base / os.path.expanduser(call.masterdest)
        if call.kind == "upload_directory":
            limit = call.args.get("maxsize")
            unpack(part, call.args.get("compress") or "", target, limit if isinstance(limit, int) else None)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{part.name}")  # two builds may bring the same file at once: each its own
        try:
            with part.open("rb") as source, beside.open("wb") as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
            if times is not None:
                read, changed = times
                os.utime(beside, (float(read), float(changed)))
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    async def read(self, command: str, call: RunCommand, offset: int, length: int) -> bytes:
        """Bytes of the file that a command downloads. Raises OSError."""
        if call.content is not None:
            return call.content[offset : offset + length]
        source = self._sources.setdefault(command, _Source(self._base, call.mastersrc))
        return await asyncio.to_thread(source.read, offset, length)
