"""Change sources at work: each is asked in its time, and what it finds is stored with what it must remember.

What a poll does is in `sources/`; a poll that fails says why in the log and is tried again at the next time.
"""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lockstep.core import events as e
from lockstep.core.errors import RAISED
from lockstep.master import clock
from lockstep.sources.base import PollError, PollingChangeSource

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)


class Polling:
    """Runs the configuration's change sources."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Take the sources of the configuration in force; those of before end, in the midst of a poll too."""
        await self.stop()
        for name, source in self._house.config.change_sources.items():
            if isinstance(source, PollingChangeSource):
                self._tasks[name] = asyncio.create_task(self._follow(name, source))

    async def stop(self) -> None:
        """End all of them, with the programs that they wait for."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _follow(self, name: str, source: PollingChangeSource) -> None:
        if not source.pollAtLaunch:
            await asyncio.sleep(source.pollInterval)
        while True:
            await self._poll(name, source)
            await asyncio.sleep(source.pollInterval)

    async def _poll(self, name: str, source: PollingChangeSource) -> None:
        key = f"source:{name}"
        memory = self._house.loop.state.memories.get(key, (None, 0))[0]
        folder = Path(self._house.path("sources")) / "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            polled = await source.poll(memory, clock.wall(), str(folder), self._house.secret)
            if polled.changes or polled.memory != memory:
                await self._house.loop.ask(e.ChangesFound(source=key, changes=polled.changes, memory=polled.memory))
        except PollError as exc:
            log.warning("change source %s: %s", name, exc)
        except OSError as exc:
            log.warning("change source %s: %s", name, exc)
        except RAISED:
            log.exception("change source %s failed", name)
