"""Unpacks the archive of a directory that a worker sent: nothing outside its folder, no more than is allowed, and all
of it or nothing.

A worker may be wrong or evil: whatever its archive says is doubted here. How archives come is in `transfers.py`.
"""

import bz2
import contextlib
import gzip
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lockstep.master.limits import MAX_ARCHIVE_HEADER, MAX_UPLOADED_DEPTH, MAX_UPLOADED_ENTRIES


class TooMuchError(Exception):
    """An archive holds more than is allowed; the message says of what, and how much that is."""


def unpack(archive: Path, compress: str, folder: Path, maxsize: int | None) -> None:
    """Put what is in an archive into a folder; both may be there from before.

    Everything is unpacked into a folder inside that one first (so it gets the group and rights that the folder hands
    on), and then moved: what is refused leaves nothing behind, and replaces nothing.

    Args:
        archive: the file.
        compress: `gz`, `bz2` or nothing.
        folder: where it belongs.
        maxsize: bytes that all files in it may have together, unpacked; None: no limit.

    Raises:
        TooMuchError: it holds more than is allowed.
        OSError, tarfile.TarError, ...: it is damaged, leads outside, or cannot be kept.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    inner = folder / f".{archive.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(inner, ignore_errors=True)  # a server that was killed here may have left it
        inner.mkdir()
        with _open(archive, compress) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            tar.extractall(inner, members=_counted(tar, maxsize), filter=_inside)
        for source, target in list(_moves(inner, folder)):
            os.replace(source, target)
    except BaseException:
        shutil.rmtree(inner, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody else may have put something there
            for each in missing:
                each.rmdir()
        raise
    shutil.rmtree(inner)


class _Reader:
    """An archive as `tarfile` reads it: content in small pieces, but a header at once, however long it says it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """So many bytes. Raises `tarfile.TarError` for more than are read at once of an honest archive."""
        if size > MAX_ARCHIVE_HEADER:
            raise tarfile.TarError(f"a header of {size} bytes")
        return self._file.read(size)


@contextlib.contextmanager
def _open(archive: Path, compress: str) -> Iterator[Any]:
    openers: dict[str, Any] = {"": open, "gz": gzip.open, "bz2": bz2.open}
    with openers[compress](archive, "rb") as file:
        yield _Reader(file)


def _counted(tar: tarfile.TarFile, maxsize: int | None) -> Iterator[tarfile.TarInfo]:
    """The entries of an archive, one after another, while they are no more than is allowed."""
    entries = size = 0
    while (member := tar.next()) is not None:
        entries += 1
        if member.size < 0:
            raise tarfile.TarError(f"{member.name[:100]!r} has {member.size} bytes")
        size += member.size
        if entries > MAX_UPLOADED_ENTRIES:
            raise TooMuchError(f"it has more than the {MAX_UPLOADED_ENTRIES} files and folders that are allowed")
        if maxsize is not None and size > maxsize:
            raise TooMuchError(f"unpacked, it has more than the {maxsize} bytes that are allowed")
        if member.name.count("/") > MAX_UPLOADED_DEPTH:
            raise tarfile.TarError(f"{member.name[:100]!r}... is more than {MAX_UPLOADED_DEPTH} folders deep")
        # Otherwise all that was read is kept in memory.
        tar.pax_headers = member.pax_headers = {}
        tar.members = []  # type: ignore[attr-defined]
        yield member


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """What of an archive may be put into a folder. Raises `tarfile.TarError`.

    Python's own filter asks where a name leads at the moment; before 3.13.4 it could be misled (CVE-2025-4517), and
    where a link leads changes when another one is replaced. So nothing is put behind a link, and a link goes up only
    from where it is: whatever the others are, it stays inside.
    """
    member = tarfile.data_filter(member, folder)
    parts = member.name.split("/")
    behind = os.path.normpath(os.path.join(os.path.realpath(folder), *parts[:-1]))
    if ".." in parts or os.path.realpath(behind) != behind:
        raise tarfile.TarError(f"the name {member.name[:100]!r} leads through a link or upwards")
    if member.issym() or member.islnk():
        down = [part for part in member.linkname.split("/") if part not in ("", ".")]
        ups = next((at for at, part in enumerate(down) if part != ".."), len(down))
        deep = sum(part not in ("", ".") for part in parts[:-1]) if member.issym() else 0
        if ups > deep or ".." in down[ups:]:
            raise tarfile.TarError(f"the link {member.name[:100]!r} leads to {member.linkname[:100]!r}")
    if member.islnk() and not os.path.exists(os.path.join(folder, member.linkname)):
        # `tarfile` would look for it in all the rest, which nobody has counted.
        raise tarfile.TarError(f"the link {member.name[:100]!r} leads to nothing before it")
    return member


def _moves(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """What to move where, so that all of one folder is in another. Raises OSError where that cannot be."""
    for entry in source.iterdir():
        there = target / entry.name
        comes, is_there = (each.is_dir() and not each.is_symlink() for each in (entry, there))
        if comes and is_there:
            yield from _moves(entry, there)
        elif is_there or (comes and os.path.lexists(there)):
            what = "a folder" if is_there else "no folder"
            raise FileExistsError(f"{entry.name!r} is {what} on the server, and is not that in the archive")
        else:
            yield entry, there
