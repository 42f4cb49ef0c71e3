"""What observers of a log are fed, live and on replay: lines in order, and never earlier than the step could know them.

Live, lines pass as they are stored. On replay the stored ones are there at once, but are let through command by
command.
"""

from lockstep.core.calls import LogType, Stream
from lockstep.master.logs import Observer, lines_of

Line = tuple[Stream, str]


class Tape:
    """The stored lines of one log, for its observers.

    Args:
        stored: lines of before a restart; None if this is no replay: then nothing is kept.
    """

    def __init__(self, stored: list[Line] | None) -> None:
        self._lines: list[Line] | None = stored
        self._passed = 0
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Feed an observer from now on."""
        self._observers.append(observer)

    def take(self, type_: LogType, text: str) -> None:
        """Lines were stored."""
        if self._lines is not None:
            self._lines += lines_of(type_, text)
        elif self._observers:
            for stream, line in lines_of(type_, text):
                for observer in self._observers:
                    observer(stream, line)

    def pass_until(self, line: int) -> None:
        """On replay: let lines through up to this number."""
        if self._lines is None:
            return
        for stream, text in self._lines[self._passed : line]:
            for observer in self._observers:
                observer(stream, text)
        self._passed = max(self._passed, line)

    def live(self) -> None:
        """The replay has caught up: let everything through."""
        if self._lines is not None:
            self.pass_until(len(self._lines))
            self._lines = None
