"""The end of a log that is too long to be kept whole: its last bytes, while nobody knows yet which are the last.

Each piece is stored as it comes, and taken back when enough has come after it: so a killed server loses nothing of it,
and what is stored never grows beyond the limit by more than a piece.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from lockstep.core.calls import LogType, Stream
from lockstep.storage.batch import LogEnd

_PREFIXES = ("o", "e", "h")


class EndOfLog:
    """The last `size` bytes of one log. `size` 0: nothing is kept, only that the log is cut."""

    def __init__(self, logid: int, type_: LogType, size: int) -> None:
        self._logid = logid
        self._type = type_
        self._size = size
        self._pieces: deque[tuple[int, str, int]] = deque()
        self._bytes = 0
        self._next = 0

    def resume(self, stored: Mapping[int, str]) -> None:
        """Go on after a restart with the stored pieces."""
        for number, text in sorted(stored.items()):
            self._keep(number, text)
        self._next = max(stored, default=-1) + 1

    def _keep(self, number: int, text: str) -> None:
        size = size_of(self._type, text)
        self._pieces.append((number, text, size))
        self._bytes += size

    def add(self, text: str) -> LogEnd | None:
        """Lines as they are stored, prefixes included. Returns what is to be stored."""
        number = self._next
        if not self._size and number:
            return None
        self._next += 1
        self._keep(number, text if self._size else "")
        gone = self._pieces[0][0]
        while len(self._pieces) > 1 and self._bytes - self._pieces[0][2] >= self._size:
            self._bytes -= self._pieces.popleft()[2]
        return LogEnd(self._logid, number, self._pieces[-1][1], gone, self._pieces[0][0])

    def close(self) -> tuple[str, list[LogEnd]]:
        """Nothing more comes: the last bytes, and what is not needed any more."""
        if not self._pieces:
            return "", []
        gone = LogEnd(self._logid, self._next - 1, "", self._pieces[0][0], self._next)
        lines = lines_of(self._type, "".join(text for _, text, _ in self._pieces))
        kept = text_of(self._type, _last(lines, self._bytes - self._size))
        self._pieces.clear()
        return kept, [gone]


def size_of(type_: LogType, text: str) -> int:
    """The bytes of the lines in stored text: headers, and the marks of streams, are not of them."""
    if type_ != "s":
        return len(text.encode("utf-8", "replace"))
    return sum(len(line.encode("utf-8", "replace")) + 1 for stream, line in lines_of(type_, text) if stream != "h")


def _last(lines: list[tuple[Stream, str]], over: int) -> list[tuple[Stream, str]]:
    """Lines without the first `over` bytes."""
    for position, (stream, line) in enumerate(lines):
        if over <= 0:
            return lines[position:]
        data = line.encode("utf-8", "replace")
        if over < len(data):
            return [(stream, data[over:].decode("utf-8", "ignore")), *lines[position + 1 :]]
        over -= len(data) + 1
    return []


def lines_of(type_: LogType, text: str) -> list[tuple[Stream, str]]:
    """Stored text of a log as its lines, each with its stream, without newlines."""
    if not text:
        return []
    lines = text.removesuffix("\n").split("\n")
    if type_ == "s":
        return [(line[0], line[1:]) if line[:1] in _PREFIXES else ("o", line) for line in lines]  # type: ignore[misc]
    return [("o", line) for line in lines]


def text_of(type_: LogType, lines: Sequence[tuple[Stream, str]]) -> str:
    """Lines as the text that is stored of them."""
    mark = type_ == "s"
    return "".join(f"{stream if mark else ''}{line}\n" for stream, line in lines)
