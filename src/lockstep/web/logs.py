"""Logs over HTTP: their text whole, in pieces, and as it is written. How lines look is not decided here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from lockstep.storage.queries import Queries
from lockstep.web.ages import deleted
from lockstep.web.asking import Item
from lockstep.web.door import Door
from lockstep.web.limits import GROWING_LOOK, LOG_PIECE, PAGE_BREATH
from lockstep.web.live import Hub, sse

_END = object()


async def in_thread(pieces: Iterator[str]) -> AsyncIterator[str]:
    """An iterator that reads the store, piece by piece, outside the event loop."""
    while True:
        piece: Any = await asyncio.to_thread(next, pieces, _END)
        if piece is _END:
            return
        yield piece


def raw(reads: Queries, log: Item) -> Iterator[str]:
    """A log as people read it. Before a stdio log stand no prefixes."""
    if told := deleted(log):
        return iter((f"{told}\n",))
    return reads.log_raw(log["logid"], log["type"])


class Lines:
    """Follows one log: stored lines first, then those that are written, each once and in order."""

    def __init__(self, hub: Hub, door: Door, logid: int, first: int) -> None:
        self._hub = hub
        self._door = door
        self._logid = logid
        self.at = first

    async def follow(self) -> AsyncIterator[tuple[int, str] | None]:
        """(number of first line, text) until the log is complete; None each `GROWING_LOOK` seconds if nothing comes."""
        with self._hub.log(self._logid) as queue:
            while not queue.ended:
                complete = await self._complete()
                async for piece in self._stored():
                    yield piece
                if complete:
                    return
                again = False
                while not again and not queue.ended:
                    first, texts = self.at, []
                    items = await queue.take(GROWING_LOOK)
                    for item in items:
                        if item is None or item[0] > self.at:
                            again = True  # or lines are missing: look into the store
                            break
                        texts.append(self._fresh(*item))
                    if any(texts):
                        yield first, "".join(texts)
                    elif not items:
                        yield None

    def growing(self) -> str:
        """The lines that have not ended, as they stand now."""
        return self._door.growing(self._logid)

    async def _complete(self) -> bool:
        log = await asyncio.to_thread(self._door.reads.get, "logs", self._logid)
        return log is None or log["complete"]

    async def _stored(self) -> AsyncIterator[tuple[int, str]]:
        while True:
            pieces = await asyncio.to_thread(self._read)
            for first, text in pieces:
                self.at = first + text.count("\n")
                yield first, text
            if not pieces:
                return

    def _read(self) -> list[tuple[int, str]]:
        return list(self._door.reads.log_lines(self._logid, self.at, LOG_PIECE))

    def _fresh(self, first: int, text: str) -> str:
        """What of a piece is new."""
        lines = text.count("\n")
        if first + lines <= self.at:
            return ""
        text = text.split("\n", self.at - first)[-1]
        self.at = first + lines
        return text


async def follow_events(lines: Lines, draw: Callable[[int, str], str] | None = None) -> AsyncIterator[str]:
    """A log as server-sent events.

    Without `draw`: `lines` with a logchunk as data. With it: unnamed events with what it makes of each piece, and
    `growing` with the lines that have not ended, when nothing else comes and they have changed. The last one is `end`.
    """
    yield ": lines follow\n\n"
    shown, quiet = "", 0.0
    async for piece in lines.follow():
        quiet = quiet + GROWING_LOOK if piece is None else 0.0
        if quiet >= PAGE_BREATH:
            quiet = 0.0
            yield ": still here\n\n"
        elif piece is not None and draw is not None:
            yield sse(draw(*piece), id_=str(lines.at))
        elif piece is not None:
            first, text = piece
            data = msgspec.json.encode({"firstline": first, "content": text}).decode()
            yield sse(data, "lines", str(lines.at))
        if draw is not None and (shown or piece is None) and (now := lines.growing()) != shown:
            shown = now
            yield sse(draw(lines.at, now), "growing")
    yield sse("", "end")
