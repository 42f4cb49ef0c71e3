"""From bytes and texts to numbered lines: the logs that are being written.

Pure bookkeeping: what comes out are parts for the store and their text for listeners. Nothing is stored or read here.
"""

from collections.abc import Callable

from lockstep.core.calls import LogType, Stream
from lockstep.master.limits import MAX_LINE_BYTES, MAX_LOG_LINES
from lockstep.master.masks import Masks
from lockstep.storage.batch import LogPart

Observer = Callable[[Stream, str], None]
"""Takes one line."""
Listener = Callable[[LogType, str], None]
"""Takes stored text as it is: taking it apart costs more than storing it, and mostly nobody observes."""

_PREFIXES = ("o", "e", "h")
_STREAMS: dict[str, Stream] = {"stdout": "o", "stderr": "e", "header": "h"}


def stream_of(name: str) -> Stream:
    """The stream of a stdio log for a worker's stream; everything else is standard output of its own log."""
    return _STREAMS.get(name, "o")


class LogFile:
    """One log that is still written. `lines` counts its complete lines; `partial` keeps the rest of each stream.

    Several commands may write at once: each has its own rest, by its id; the step's own has an empty one.
    """

    def __init__(self, logid: int, type_: LogType, lines: int = 0) -> None:
        self.logid = logid
        self.type = type_
        self.lines = lines
        self.partial: dict[tuple[str, Stream], bytes] = {}
        self.listeners: list[Listener] = []
        self.full = False
        self.stored = lines
        self.masks = Masks({})
        """Secrets of the commands that write here."""
        self.hidden = ""
        """The command of which the log says already that nothing of it is kept."""

    def feed(self, stream: Stream, data: bytes, writer: str = "") -> LogPart | None:
        """Take bytes of a stream; returns the lines that they complete."""
        data = self.partial.pop((writer, stream), b"") + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > MAX_LINE_BYTES:
            data = self.masks.hide(data)
            # A secret that has only begun is not cut in two.
            end = max(data.rfind(b"\n") + 1, len(data) - max(0, self.masks.longest - 1))
        if end < len(data):
            self.partial[writer, stream] = data[end:]
        return self._part(stream, data[:end]) if end else None

    def skip(self, stream: Stream, data: bytes) -> None:
        """Take text whose complete lines are stored already (a replay): only its unfinished line is kept."""
        data = self.partial.pop(("", stream), b"") + data
        rest = data[data.rfind(b"\n") + 1 :]
        if rest:
            self.partial["", stream] = rest

    def finish(self, writer: str | None = None) -> list[LogPart]:
        """The lines that never got their newline: of one writer, or of all. A log may be finished twice."""
        ended = [key for key in self.partial if writer is None or key[0] == writer]
        parts = [self._part(key[1], self.partial.pop(key)) for key in ended]
        return [part for part in parts if part is not None]

    def _part(self, stream: Stream, data: bytes) -> LogPart | None:
        if self.full:
            return None
        data = self.masks.hide(data).replace(b"\r\n", b"\n").removesuffix(b"\n")
        lines = data.count(b"\n") + 1
        if self.lines + lines > MAX_LOG_LINES:
            self.full = True
            text = f"The log is longer than {MAX_LOG_LINES} lines; the rest is not kept."
            stream, data, lines = "h", text.encode(), 1
        if self.type == "s":
            prefix = stream.encode()
            data = prefix + data.replace(b"\n", b"\n" + prefix)
        part = LogPart(self.logid, self.lines, lines, data.decode("utf-8", "replace") + "\n")
        self.lines += lines
        return part

    def tell(self, part: LogPart) -> None:
        """A part is stored: tell the listeners."""
        self.stored = part.first_line + part.lines
        for listener in self.listeners:
            listener(self.type, part.text)


def lines_of(type_: LogType, text: str) -> list[tuple[Stream, str]]:
    """Stored text of a log as its lines, each with its stream, without newlines."""
    if not text:
        return []
    lines = text.removesuffix("\n").split("\n")
    if type_ == "s":
        return [(line[0], line[1:]) if line[:1] in _PREFIXES else ("o", line) for line in lines]  # type: ignore[misc]
    return [("o", line) for line in lines]
