"""What observers of a log are fed, live and on replay: lines in order, and never earlier than the step could know them.

Live, lines pass as they are stored. On replay those that are stored already are read again, piece by piece, and let
through command by command; if nobody observes, nothing is read.
"""

import asyncio
from collections.abc import Awaitable, Callable

from lockstep.core.calls import LogType
from lockstep.master.limits import TAPE_PIECE
from lockstep.master.log_end import lines_of
from lockstep.master.logs import Observer
from lockstep.storage.batch import LogPart

Read = Callable[[int, int], Awaitable[str]]
"""Stored text of the log: from this line on, so many lines at most."""


class Tape:
    """The lines of one log, for its observers.

    Args:
        type_: the log's.
        stored: how many lines were stored before a restart; None if this is no replay.
        read: where to read them.
    """

    def __init__(self, type_: LogType, stored: int | None = None, read: Read | None = None) -> None:
        self._type = type_
        self._read = read
        self._stored = stored or 0
        self._passed = 0
        self._live = stored is None
        self._observers: list[Observer] = []
        self._reading = asyncio.Lock()

    def observe(self, observer: Observer) -> None:
        """Feed an observer from now on."""
        self._observers.append(observer)

    def take(self, part: LogPart) -> None:
        """Lines were stored."""
        self._stored = part.first_line + part.lines
        if self._live:
            self._passed = self._stored
            self._feed(part.text)

    def _feed(self, text: str) -> None:
        if self._observers:
            for stream, line in lines_of(self._type, text):
                for observer in self._observers:
                    observer(stream, line)

    async def pass_until(self, line: int) -> None:
        """On replay: let lines through up to this number, as far as they are stored."""
        async with self._reading:
            while self.behind and self._passed < line and self._read is not None:
                text = await self._read(self._passed, min(TAPE_PIECE, line - self._passed))
                if not text:
                    break
                self._passed += text.count("\n")
                self._feed(text)
            self.skip_until(line)

    def skip_until(self, line: int) -> None:
        """On replay: lines up to this number have passed."""
        self._passed = max(self._passed, min(line, self._stored))

    @property
    def behind(self) -> bool:
        """Whether lines are stored that must pass before those that come."""
        return not self._live and bool(self._observers) and self._passed < self._stored

    async def catch_up(self) -> None:
        """The replay is over: let everything through."""
        while self.behind:
            await self.pass_until(self._stored)
        self.live()

    def live(self) -> None:
        """Let lines through as they are stored. Only when none is left behind."""
        self._passed = self._stored
        self._live = True
