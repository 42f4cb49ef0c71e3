"""Files on their way between workers and the master: parts on disk while they come, moved into place when complete.

The paths on the master come from the configuration, never from a worker; names inside a directory that a worker sends
are checked.
"""

import asyncio
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

from lockstep.core.calls import RunCommand
from lockstep.master.limits import MAX_RESULT_FILE


class Transfers:
    """The files that commands receive or read. `basedir` is the server's own folder."""

    def __init__(self, basedir: str) -> None:
        self._folder = Path(basedir) / "transfers"
        self._base = Path(basedir)
        self._open: dict[str, tuple[BinaryIO, int]] = {}

    def _part(self, command: str) -> Path:
        return self._folder / f"{command}.part"

    def resume(self, command: str, received: int) -> None:
        """Go on after a restart with so many bytes; what was written beyond them comes again."""
        path = self._part(command)
        self._folder.mkdir(exist_ok=True)
        path.touch()
        file = path.open("r+b")
        file.truncate(received)
        file.seek(received)
        self._open[command] = (file, received)

    def receive(self, command: str, call: RunCommand, data: bytes) -> None:
        """Keep bytes that a worker sent for this command."""
        known = self._open.get(command)
        if known is None:
            self._folder.mkdir(exist_ok=True)
            known = (self._part(command).open("wb"), 0)
        file, received = known
        file.write(data)
        file.flush()
        self._open[command] = (file, received + len(data))

    def received(self, command: str) -> int | None:
        """How many bytes have come for this command; None: it sends no file."""
        known = self._open.get(command)
        return known[1] if known is not None else None

    def expects(self, command: str, call: RunCommand) -> bool:
        """Whether something is to be put in place when this command has ended (an empty file sends no bytes)."""
        return command in self._open or bool(call.masterdest) or call.to_result

    async def finish(self, command: str, call: RunCommand, rc: int) -> tuple[dict[str, Any], str]:
        """Put what has come where it belongs. Returns additions to the result, and what went wrong (or nothing)."""
        part = self._part(command)
        if command not in self._open:
            self.receive(command, call, b"")
        file, size = self._open.pop(command)
        file.close()
        try:
            if rc != 0:
                return {}, ""
            if call.to_result:
                if size > MAX_RESULT_FILE:
                    return {}, f"the file has {size} bytes; a step may read at most {MAX_RESULT_FILE}"
                return {"content": part.read_bytes()}, ""
            await asyncio.to_thread(self._place, part, call)
        except (OSError, tarfile.TarError) as exc:
            return {}, f"cannot store {call.masterdest}: {exc}"
        finally:
            part.unlink(missing_ok=True)
        return {}, ""

    def _place(self, part: Path, call: RunCommand) -> None:
        target = self._base / os.path.expanduser(call.masterdest)
        if call.kind == "upload_directory":
            target.mkdir(parents=True, exist_ok=True)
            with tarfile.open(part) as archive:
                archive.extractall(target, filter="data")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.part")
        shutil.copyfile(part, beside)
        mode = call.args.get("mode")
        if isinstance(mode, int):
            beside.chmod(mode & 0o777)
        beside.replace(target)

    async def read(self, call: RunCommand, offset: int, length: int) -> bytes:
        """Bytes of the file that a command downloads. Raises OSError."""
        if call.content is not None:
            return call.content[offset : offset + length]
        return await asyncio.to_thread(self._read, call.mastersrc, offset, length)

    def _read(self, path: str, offset: int, length: int) -> bytes:
        with (self._base / os.path.expanduser(path)).open("rb") as file:
            file.seek(offset)
            return file.read(length)
