"""Small commands on files: `mkdir`, `stat`, `glob`, `listdir`, `rmfile`; and `rmdir` and `cpdir`, which run
programs.

What fails has the system's error number as exit code, and says why in the header, as Buildbot's worker does.
"""

import asyncio
import errno
import glob
import os
from collections.abc import Callable
from typing import Any

from lockstep.protocol.commands import CopyTree, MakeDirectories, OnePath, RemoveTrees, Shell
from lockstep.worker.places import Places
from lockstep.worker.shell import ShellRun, Surroundings
from lockstep.worker.work import Outcome, Work


async def small_command(work: Work, kind: str, command: OnePath | MakeDirectories, places: Places) -> Outcome:
    """Run one of the small commands in a thread: a file system may be slow, and the agent must stay awake."""
    try:
        if isinstance(command, MakeDirectories):
            paths = [places.resolve(path) for path in command.paths]
            return await asyncio.to_thread(_make_directories, paths)
        path = places.resolve_to_remove(command.path) if kind == "rmfile" else places.resolve(command.path)
        return await asyncio.to_thread(_SMALL[kind], path)
    except OSError as error:
        work.header(f"{kind}: {error.strerror or error}: {error.filename or ''}\n")
        return Outcome(error.errno or 1)


def _make_directories(paths: list[str]) -> Outcome:
    """Make directories and their parents."""
    for path in paths:
        os.makedirs(path, exist_ok=True)
    return Outcome(0)


def _stat(path: str) -> Outcome:
    """The ten numbers of stat(2), as Buildbot's worker returns them."""
    found = os.stat(path)
    return Outcome(0, results={"stat": list(found[:10])})


def _glob(path: str) -> Outcome:
    """The paths that match a pattern."""
    return Outcome(0, results={"files": sorted(glob.glob(path, recursive=True))})


def _listdir(path: str) -> Outcome:
    """The names in a directory."""
    return Outcome(0, results={"files": sorted(os.listdir(path))})


def _rmfile(path: str) -> Outcome:
    """Remove one file."""
    os.unlink(path)
    return Outcome(0)


_SMALL: dict[str, Callable[[str], Outcome]] = {
    "stat": _stat,
    "glob": _glob,
    "listdir": _listdir,
    "rmfile": _rmfile,
}


async def remove_trees(work: Work, args: RemoveTrees, places: Places, around: Surroundings) -> Outcome:
    """Remove directories with `rm`; where that fails, make them writable and try once more."""
    for given in args.paths:
        path = places.resolve_to_remove(given)
        outcome = await _program(work, ["rm", "-rf", "--", path], args, around)
        if outcome.rc > 0 and not outcome.reason:
            await _program(work, ["chmod", "-Rf", "u+rwx", "--", path], args, around)
            outcome = await _program(work, ["rm", "-rf", "--", path], args, around)
        if outcome.rc != 0:
            return outcome
    return Outcome(0)


async def copy_tree(work: Work, args: CopyTree, places: Places, around: Surroundings) -> Outcome:
    """Copy what is in one directory into another one, which is made if it is not there."""
    source, target = places.resolve(args.from_path), places.resolve_to_remove(args.to_path)
    if not await asyncio.to_thread(os.path.isdir, source):
        work.header(f"cpdir: {os.strerror(errno.ENOENT)}: {source}\n")
        return Outcome(1)
    os.makedirs(target, exist_ok=True)
    return await _program(work, ["cp", "-R", "-P", "-p", "--", f"{source}/.", target], args, around)


async def _program(work: Work, words: list[str], args: RemoveTrees | CopyTree, around: Surroundings) -> Outcome:
    """Run a program with the command's limits."""
    shell: Any = Shell(command=list(words), timeout=args.timeout, max_time=args.max_time, log_environ=False)
    return await ShellRun(work, shell, around).run()
