"""Change sources at work: each is asked in its time, and what it finds is stored with what it must remember.

What a poll does is in `sources/`; a poll that fails says why in the log and is tried again at the next time. Few run at
once, but one that hangs keeps no other waiting: it gives up its place, and ends when its program has run too long.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lockstep.core import events as e
from lockstep.core.errors import RAISED
from lockstep.master import clock
from lockstep.master.limits import POLL_PATIENCE, POLLS_AT_ONCE
from lockstep.sources.base import PollError, PollingChangeSource

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)


class Polling:
    """Runs the configuration's change sources."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._sources: dict[str, PollingChangeSource] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, float] = {}
        self._places = asyncio.Semaphore(POLLS_AT_ONCE)

    async def start(self) -> None:
        """Take the sources of the configuration in force.

        One that asks what it asked before goes on, in the midst of a poll too. Another one of the same name takes its
        turn, so that reloads that come often do not put it off; a poll that was under way begins anew.
        """
        sources = self._house.config.change_sources
        wanted = {name: source for name, source in sources.items() if isinstance(source, PollingChangeSource)}
        await self._end([n for n, source in self._sources.items() if n not in wanted or not source.same(wanted[n])])
        self._asked = {name: asked for name, asked in self._asked.items() if name in wanted}
        for name in [name for name in wanted if name not in self._tasks]:
            self._sources[name] = wanted[name]
            self._tasks[name] = asyncio.create_task(self._follow(name, wanted[name]))

    async def stop(self) -> None:
        """End all of them, with the programs that they wait for."""
        await self._end(list(self._tasks))

    async def _end(self, names: Sequence[str]) -> None:
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            del self._sources[name]

    async def _follow(self, name: str, source: PollingChangeSource) -> None:
        asked = self._asked.setdefault(name, clock.monotonic())
        wait = 0.0 if source.pollAtLaunch else asked + source.pollInterval - clock.monotonic()
        while True:
            await asyncio.sleep(max(0.0, wait))
            self._asked[name] = -math.inf  # whoever takes over in the midst of it is to ask at once
            await self._in_place(name, source)
            self._asked[name] = clock.monotonic()
            wait = source.pollInterval

    async def _in_place(self, name: str, source: PollingChangeSource) -> None:
        """Poll when there is a place."""
        await self._places.acquire()
        with contextlib.ExitStack() as place:
            place.callback(self._places.release)

            def slow() -> None:
                text = "change source %s: its poll has taken %g seconds and goes on; other sources do not wait for it"
                log.warning(text, name, POLL_PATIENCE)
                place.close()

            late = asyncio.get_running_loop().call_later(POLL_PATIENCE, slow)
            try:
                await self._poll(name, source)
            finally:
                late.cancel()

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
