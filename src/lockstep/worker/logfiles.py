"""Followed log files: what is appended to them while a command runs. No processes here."""

import os
import stat
from collections.abc import Iterator

from lockstep.worker.limits import LOG_LOOK, READ_SIZE


class FollowedFile:
    """One log file, looked at from time to time.

    Without `follow` it is read from its beginning, but only once it has been made or changed since the
    command's start: what a former command left there is not repeated. With `follow` only what is appended
    counts. A file that was replaced or cut is read from its beginning. `behind`: at the last look there was more than
    is read at once.
    """

    def __init__(self, path: str, follow: bool) -> None:
        """Begin to follow the file at `path`, which need not exist."""
        self._path = path
        self._seen = _identity(path)
        self._fresh = follow or self._seen is None
        self._position = self._seen[2] if follow and self._seen is not None else 0
        self._inode = self._seen[1] if self._seen is not None else 0
        self._over = False
        self._end = 0
        self.behind = False

    def command_ended(self) -> None:
        """What is there now is the last that counts: something that was left behind may go on writing."""
        now = _identity(self._path)
        self._over, self._end = True, now[2] if now is not None else 0

    def read(self) -> Iterator[bytes]:
        """Return what is new, in pieces, `LOG_LOOK` bytes at most; nothing if the file cannot be read."""
        self.behind = False
        now = _identity(self._path)
        if now is None or (not self._fresh and now == self._seen):
            return
        self._fresh = True
        if now[1] != self._inode or now[2] < self._position:
            self._inode, self._position = now[1], 0
        there = min(now[2], self._end) if self._over else now[2]
        end = min(there, self._position + LOG_LOOK)
        try:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                while data := file.read(min(READ_SIZE, end - self._position)):
                    self._position += len(data)
                    yield data
        except OSError:
            return
        self.behind = end <= self._position < there


def _identity(path: str) -> tuple[int, int, int, int] | None:
    """Device, inode, size and time of change of a file; None if there is none, or a pipe or device: whoever opens
    one may wait for ever.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
