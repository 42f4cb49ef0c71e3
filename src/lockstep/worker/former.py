"""What an agent finds of its former life: leftovers are killed, and unfinished commands get an honest end."""

import logging
import time
from collections.abc import Callable

from lockstep.protocol.messages import HEADER, Ended
from lockstep.worker import trees
from lockstep.worker.clock import boottime, wall
from lockstep.worker.limits import KILL_PATIENCE, KILL_PAUSE
from lockstep.worker.places import Places
from lockstep.worker.spool import Spool, spools
from lockstep.worker.work import Work

log = logging.getLogger("lockstep.worker")


def bury_former_life(places: Places, home: str, boot: str, changed: Callable[[Work], None]) -> list[Work]:
    """Return the commands of the former life, all of them ended; call it before anything else runs.

    Blocks until every process of them is dead, at most `KILL_PATIENCE` seconds.
    """
    found = [spool for spool in map(Spool.load, spools(places.spool)) if spool is not None]
    unfinished = [spool for spool in found if spool.end is None]
    if unfinished:
        log.warning("%d commands of a former life are ended", len(unfinished))
    escaped = _kill_leftovers(unfinished, home, boot)
    for spool in unfinished:
        _end(spool, same_boot=spool.beginning.boot == boot, escaped=escaped)
    return [Work(spool, "", None, changed) for spool in found]


def _kill_leftovers(unfinished: list[Spool], home: str, boot: str) -> list[int]:
    """Kill what still runs of these commands; return the ids of those that could not be killed."""
    roots = [
        (spool.process.pid, spool.process.started)
        for spool in unfinished
        if spool.process is not None and spool.beginning.boot == boot
    ]
    markers = [trees.marker_line(home, spool.beginning.command) for spool in unfinished]
    if not unfinished or not trees.HAS_PROC:
        return []

    def find() -> dict[int, trees.Proc]:
        """What is alive now."""
        alive = [pid for pid, started in roots if (proc := trees.look(pid)) and proc.started == started]
        return trees.members(alive, markers)

    deadline = boottime() + KILL_PATIENCE
    while left := trees.kill_once(find):
        if boottime() > deadline:
            log.error("these processes of a former life cannot be killed: %s", left)
            return left
        time.sleep(KILL_PAUSE)
    return []


def _end(spool: Spool, same_boot: bool, escaped: list[int]) -> None:
    """Write the end that an unfinished command has come to."""
    detail = "the worker was restarted" if same_boot else "the worker's machine was restarted"
    try:
        spool.append(HEADER, f"\n{detail} while this command ran\n".encode(), wall())
    except OSError as error:
        log.error("the spool of %s cannot be written: %s", spool.beginning.command, error)
    results = {"escaped": escaped} if escaped else {}
    end = Ended(spool.beginning.command, spool.produced, -1, "lost", detail, results=results)
    spool.finish(end)
