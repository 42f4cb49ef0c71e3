"""Where things are: paths from the master, and the agent's own files in its base directory.

A relative path is relative to the base directory and stays inside of it; an absolute one was written by a
person on purpose, and is taken as it is (Buildbot does so too). The agent's own directory is out of reach
for both.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

_OWN: Final = ".lockstep"
_SIMPLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")


class OccupiedError(Exception):
    """Another agent lives in the same base directory; the text says so."""


class Places:
    """The base directory of one agent, and what is in it."""

    def __init__(self, basedir: str | os.PathLike[str]) -> None:
        """Take a base directory, which is made if it is not there. OSError if it cannot be."""
        self.basedir = os.path.realpath(basedir)
        self.own = os.path.join(self.basedir, _OWN)
        self.spool = os.path.join(self.own, "commands")
        os.makedirs(self.spool, mode=0o700, exist_ok=True)

    def take(self) -> int:
        """Take the lock that says that an agent lives here, and return its descriptor; `OccupiedError` if another
        agent has it.
        """
        fd = os.open(os.path.join(self.own, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 100, 0).decode(errors="replace").strip()
            os.close(fd)
            sentence = f"another worker (process {holder}) uses {self.basedir}; give each worker its own --basedir"
            raise OccupiedError(sentence) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        return fd

    def home(self) -> str:
        """Return the name of this directory for ever; it is made up at the first call (a power cut may undo that)."""
        path = Path(self.own, "home")
        with contextlib.suppress(FileNotFoundError):
            if name := path.read_text().strip():
                return name
        name = secrets.token_hex(8)
        fresh = path.with_suffix(".new")
        fresh.write_text(name)
        fresh.replace(path)
        return name

    def spool_path(self, command: str) -> str:
        """Return the path (without the number of a segment) of a command's spool, whatever its id looks
        like.
        """
        simple = command if _SIMPLE.match(command) else hashlib.sha256(command.encode()).hexdigest()
        return os.path.join(self.spool, simple)

    def resolve(self, path: str) -> str:
        """Return the absolute path for one from the master; ValueError if it is not allowed."""
        if "\0" in path:
            raise ValueError("a path with a zero byte in it")
        full = os.path.normpath(os.path.join(self.basedir, path))
        if not os.path.isabs(path) and not _inside(full, self.basedir):
            raise ValueError(f"the path {path!r} leads out of the worker's base directory")
        if _inside(full, self.own):
            raise ValueError(f"the path {path!r} leads into the worker's own files")
        return full

    def resolve_to_remove(self, path: str) -> str:
        """Return the absolute path of what may be removed; ValueError if that would be the agent's own
        home.
        """
        full = self.resolve(path)
        if _inside(self.own, os.path.realpath(full)) or _inside(self.own, full):
            raise ValueError(f"the path {path!r} holds the worker's own files; it is not removed")
        return full


def _inside(path: str, folder: str) -> bool:
    """Whether `path` is `folder`, or in it (both absolute and normal)."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
