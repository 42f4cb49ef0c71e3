"""Files from and to the master: `upload_file`, `upload_directory`, `download_file`.

An upload is output in the stream `file`; it is resumed and acknowledged as all output is. A download asks
for one piece after the other, and puts the file in its place when it is whole.
"""

import asyncio
import contextlib
import errno
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import IO, Any

from lockstep.protocol.commands import DownloadFile, UploadDirectory, UploadFile
from lockstep.protocol.limits import MAX_PIECE
from lockstep.protocol.messages import FILE
from lockstep.worker.limits import UPLOAD_BACKLOG
from lockstep.worker.work import Outcome, Work

Resolve = Callable[[str], str]


async def upload_file(work: Work, args: UploadFile, resolve: Resolve) -> Outcome:
    """Send one file. A missing or too long one is exit code 1, as in Buildbot."""
    path = resolve(args.path)
    work.header(f"sending {path}\n")
    try:
        async with _closed_later(await asyncio.to_thread(_open, path)) as file:
            found = os.fstat(file.fileno())
            results: dict[str, Any] = {"utime": [found.st_atime, found.st_mtime]} if args.keepstamp else {}
            if await _send(work, file, args.maxsize):
                return Outcome(0, results=results)
    except OSError as error:
        work.complain(f"cannot open file {path!r} for upload: {error.strerror}")
        return Outcome(1)
    work.complain(f"maximum filesize reached, truncating file {path!r}")
    return Outcome(1)


def _open(path: str) -> io.BufferedIOBase:
    """Open a file to be sent. OSError for what cannot be, and for a pipe: that would be waited for, maybe for ever."""
    if stat.S_ISFIFO(os.stat(path).st_mode):
        raise OSError(errno.ESPIPE, "it is a pipe")
    return open(path, "rb")


@contextlib.asynccontextmanager
async def _closed_later(file: io.BufferedIOBase) -> AsyncIterator[io.BufferedIOBase]:
    """Close a file in the end, in a thread: while a device or disk does not answer, that would wait, and all else."""
    loop = asyncio.get_running_loop()
    try:
        yield file
    except BaseException:
        loop.run_in_executor(None, file.close)
        raise
    await loop.run_in_executor(None, file.close)


async def upload_directory(work: Work, args: UploadDirectory, resolve: Resolve) -> Outcome:
    """Send one directory as a tar archive, which is made in a temporary file first."""
    path = resolve(args.path)
    work.header(f"sending {path}\n")
    with tempfile.TemporaryFile() as archive:
        try:
            await asyncio.to_thread(_pack, path, archive, args.compress)
        except OSError as error:
            work.complain(f"cannot read directory {path!r}: {error.strerror or error}")
            return Outcome(1)
        archive.seek(0)
        if await _send(work, archive, args.maxsize):
            return Outcome(0)
    work.complain(f"maximum filesize reached, truncating the archive of {path!r}")
    return Outcome(1)


def _pack(path: str, archive: IO[bytes], compress: str | None) -> None:
    """Write the archive of what is in a directory; its names are relative to it."""
    if not os.path.isdir(path):
        raise NotADirectoryError(20, "it is not a directory")
    with tarfile.open(fileobj=archive, mode=f"w:{compress or ''}") as tar:  # type: ignore[call-overload]
        for name in sorted(os.listdir(path)):
            tar.add(os.path.join(path, name), name)


async def _send(work: Work, file: io.BufferedIOBase | IO[bytes], maxsize: int | None) -> bool:
    """Send all of a file, no faster than the master stores it; False if it is longer than `maxsize` bytes."""
    left = maxsize
    while True:
        data = await asyncio.to_thread(file.read, MAX_PIECE)
        if not data:
            return True
        if left is not None and len(data) > left:
            work.emit(FILE, data[:left])
            return False
        if left is not None:
            left -= len(data)
        work.emit(FILE, data)
        await work.wait_for_room(UPLOAD_BACKLOG)


async def download_file(work: Work, args: DownloadFile, resolve: Resolve) -> Outcome:
    """Fetch one file. It appears under its name when it is whole."""
    path = resolve(args.path)
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        fd, fresh = tempfile.mkstemp(dir=folder, prefix=".lockstep-")
    except OSError as error:
        work.complain(f"cannot open file {path!r} for download: {error.strerror}")
        return Outcome(1)
    try:
        async with _closed_later(os.fdopen(fd, "wb")) as file:
            whole = await _fetch(work, file, args)
        if not whole:
            work.complain(f"maximum filesize reached, {path!r} is not written")
            return Outcome(1)
        os.chmod(fresh, args.mode if args.mode is not None else 0o666 & ~_umask())
        os.replace(fresh, path)
        fresh = ""
    except OSError as error:
        work.complain(f"cannot download {path!r}: {error.strerror or error}")
        return Outcome(1)
    finally:
        if fresh:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
    return Outcome(0)


async def _fetch(work: Work, file: io.BufferedIOBase, args: DownloadFile) -> bool:
    """Write the master's file; False if it is longer than allowed."""
    offset = 0
    while True:
        data = await work.read_file(offset, min(args.blocksize, MAX_PIECE))
        if not data:
            return True
        offset += len(data)
        if args.maxsize is not None and offset > args.maxsize:
            return False
        await asyncio.to_thread(file.write, data)


def _umask() -> int:
    """Return this process's umask, which can only be read by setting it."""
    mask = os.umask(0o22)
    os.umask(mask)
    return mask
