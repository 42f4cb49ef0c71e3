"""Has old things deleted at the times that the configuration says. What is deleted, and how: `storage/deleting.py`.

When it was done last is remembered: what fell into a time without a server is made up for at its next start. A new
configuration counts from the moment in which it came into force, and stops a run of another that is under way.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from lockstep.config.errors import NOWHERE
from lockstep.core import events as e
from lockstep.core.errors import RefusedError
from lockstep.master import clock
from lockstep.schedulers.timetable import TimeTable
from lockstep.storage.deleting import Deleted, Horizons
from lockstep.storage.writer import Writer

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

OWNER: Final = "janitor"
"""Under which name it is remembered when old things were deleted last."""

_LONGEST_WAIT: Final = 3600.0
"""Seconds; the wall clock may be set, so it is looked at again."""


class Janitor:
    """Looks at the time, and has the writer delete.

    `kept` has stored what schedulers remember, and returns the last change that they need not be told of again.
    """

    def __init__(self, house: "House", writer: Writer, kept: Callable[[], Awaitable[int]]) -> None:
        self._house = house
        self._writer = writer
        self._kept = kept
        self._changed = asyncio.Event()
        self._last = 0.0

    def reloaded(self) -> None:
        """Another configuration is in force."""
        self._last = 0.0
        self._changed.set()

    async def run(self) -> None:
        """Delete in its time, for ever."""
        self.recall()
        while True:
            self._changed.clear()
            seconds = await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)

    def recall(self) -> None:
        """Go on from what is remembered."""
        self._last = self._remembered()

    async def look(self) -> float:
        """Delete if it is time. Returns after how many seconds to look again."""
        horizons = self.horizons()
        if not horizons:
            if self._remembered():  # who says later how long things are kept says it anew
                self._remember(0.0)
            return _LONGEST_WAIT
        if not 0.0 < self._last <= clock.wall():  # nothing is known, or the clock was ahead
            self._remember(clock.wall())
        wake, now = self._next(), clock.wall()
        if wake is None or wake > now:
            return _LONGEST_WAIT if wake is None else min(_LONGEST_WAIT, wake - now)
        try:
            error = await self._delete(horizons, now)
        except RefusedError as exc:
            error = str(exc)
        if error:
            log.error("old things could not be deleted: %s. That is tried again in an hour.", error)
            return _LONGEST_WAIT
        return 0.0

    def horizons(self) -> Horizons:
        """How long things are kept as the configuration in force says."""
        config = self._house.config
        janitor = config.janitor
        return Horizons(
            logs=janitor.logHorizon if janitor is not None else None,
            builds=janitor.buildHorizon if janitor is not None else None,
            changes=config.changeHorizon,
        )

    def _next(self) -> float | None:
        """When to delete next; in the past: at once. Where only changes are counted, at midnight."""
        janitor = self._house.config.janitor
        return janitor.after(self._last) if janitor is not None else TimeTable("", NOWHERE, hour=0).after(self._last)

    def _remembered(self) -> float:
        memory = self._house.loop.state.memories.get(OWNER, (None, 0))[0]
        return float(memory["last"]) if memory is not None else 0.0

    def _remember(self, at: float) -> None:
        self._last = at
        self._house.loop.post(e.Remembered(owner=OWNER, memory={"last": at}))

    async def _delete(self, horizons: Horizons, now: float) -> str:
        """One run: it is over when all is deleted that is old now, or other horizons are in force.

        Returns why it could not be done.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Deleted] = loop.create_future()

        def told(deleted: Deleted) -> None:
            with contextlib.suppress(RuntimeError):  # the loop that waited for it has been closed
                loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(deleted))

        change = await self._kept()
        await self._house.loop.settle()
        self._writer.delete(horizons, now, told, lambda: self.horizons() == horizons, change)
        deleted = await done
        if deleted.logs or deleted.builds or deleted.changes:
            text = "deleted what was old: the text of %s logs, %s builds, %s changes"
            log.info(text, deleted.logs, deleted.builds, deleted.changes)
        if not deleted.error and self._last:  # else it was reloaded meanwhile: the next stated time counts
            self._remember(now)
        return deleted.error
