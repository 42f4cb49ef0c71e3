"""Runs one command of any kind, from its arguments to its outcome, whatever goes wrong on the way."""

import asyncio
import logging

from lockstep.protocol.commands import (
    Command,
    CopyTree,
    DownloadFile,
    MakeDirectories,
    OnePath,
    RemoveTrees,
    Shell,
    UploadDirectory,
    UploadFile,
)
from lockstep.worker.files import copy_tree, remove_trees, small_command
from lockstep.worker.places import Places
from lockstep.worker.shell import ShellRun, Surroundings
from lockstep.worker.transfer import download_file, upload_directory, upload_file
from lockstep.worker.work import Outcome, Work

log = logging.getLogger("lockstep.worker")


async def run_command(work: Work, command: Command, places: Places, around: Surroundings) -> None:
    """Run a command to its end, and write that end into its spool. Never raises."""
    try:
        outcome = await _run(work, command, places, around)
    except asyncio.CancelledError:
        stop = work.stop
        outcome = Outcome(-1, stop.reason, stop.detail) if stop is not None else Outcome(-1, "shutdown")
    except ValueError as error:
        outcome = Outcome(-1, "refused", str(error))
    except Exception as error:
        log.exception("command %s (%s) failed", work.id, work.kind)
        outcome = Outcome(-1, "error", f"the worker failed: {type(error).__name__}: {error}")
    if outcome.reason in {"refused", "error"} and outcome.detail:
        work.header(f"{outcome.detail}\n")
    work.finish(outcome)


async def _run(work: Work, command: Command, places: Places, around: Surroundings) -> Outcome:
    """Hand the command to what runs its kind."""
    if isinstance(command, Shell):
        return await ShellRun(work, command, around).run()
    if isinstance(command, UploadFile):
        return await upload_file(work, command, places.resolve)
    if isinstance(command, UploadDirectory):
        return await upload_directory(work, command, places.resolve)
    if isinstance(command, DownloadFile):
        return await download_file(work, command, places.resolve)
    if isinstance(command, RemoveTrees):
        return await remove_trees(work, command, places, around)
    if isinstance(command, CopyTree):
        return await copy_tree(work, command, places, around)
    assert isinstance(command, OnePath | MakeDirectories)
    return await small_command(work, work.kind, command, places)
