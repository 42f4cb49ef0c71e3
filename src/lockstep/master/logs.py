"""From bytes and texts to numbered lines: the logs that are being written.

Pure bookkeeping: what comes out are parts for the store and their text for listeners. Nothing is stored or read here.
The last lines of a log that is too long are in `log_end.py`.
"""

import codecs
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from lockstep.core.calls import LogType, Stream
from lockstep.master.limits import GROWING_SHOWN, MAX_LINE_BYTES, MAX_LOG_BYTES, MAX_LOG_LINES
from lockstep.master.log_end import EndOfLog
from lockstep.master.masks import Masks
from lockstep.storage.batch import LogEnd, LogPart

Observer = Callable[[Stream, str], None]
"""Takes one line."""
Listener = Callable[[LogPart], None]
"""Takes stored text as it is: taking it apart costs more than storing it, and mostly nobody observes."""
Part = LogPart | LogEnd

_STREAMS: dict[str, Stream] = {"stdout": "o", "stderr": "e", "header": "h"}
_CODE = ":"
"""Stands behind the stream in the key of what a decoder has not decoded yet."""
BEGUN = "~"
"""Stands behind the stream in the key of what says which secret has begun at the end of its rest."""


def stream_of(name: str) -> Stream:
    """The stream of a stdio log for a worker's stream; everything else is standard output of its own log."""
    return _STREAMS.get(name, "o")


class Kept(Struct, frozen=True):
    """How much of a log is kept: bytes from its beginning, headers not counted, and beyond them bytes of its end."""

    beginning: int = MAX_LOG_BYTES
    end: int = 0


class LogFile:
    """One log that is still written. `lines` counts its complete lines; `partial` keeps the rest of each stream.

    Several commands may write at once: each has its own rest, by its id; the step's own has an empty one.

    Args:
        logid: the log's.
        type_: the log's.
        step: that writes it: build and number.
        kept: how much is kept.
        encoding: of what commands write, by the name that Python has for it; what comes out is UTF-8.
    """

    def __init__(
        self,
        logid: int,
        type_: LogType,
        step: tuple[int, int] = (0, 0),
        kept: Kept = Kept(),  # noqa: B008  (frozen)
        encoding: str = "",
    ) -> None:
        self.logid = logid
        self.type = type_
        self.step = step
        self.lines = 0
        self.partial: dict[tuple[str, Stream], bytes] = {}
        self.listeners: list[Listener] = []
        self.masks = Masks({})
        """Secrets of the commands that write here."""
        self.hidden = ""
        """The command of which the log says already that nothing of it is kept."""
        self._size = 0
        self._kept = kept
        self._end: EndOfLog | None = None
        self._encoding = "" if encoding == "utf-8" else encoding
        self._decoders: dict[tuple[str, Stream], codecs.IncrementalDecoder] = {}

    # --- what comes

    def feed(self, stream: Stream, data: bytes, writer: str = "", *, decoded: bool = True) -> list[Part]:
        """Take bytes of a stream; returns the lines that they complete. `decoded`: they are UTF-8 already."""
        if self._encoding and not decoded and stream != "h":
            data = self._decode(writer, stream, data)
        data = self.partial.pop((writer, stream), b"") + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > MAX_LINE_BYTES:
            data = self.masks.hide(data)
            # A secret that has only begun is not cut in two.
            end = max(data.rfind(b"\n") + 1, len(data) - max(0, self.masks.longest - 1))
        if end < len(data):
            self.partial[writer, stream] = data[end:]
        return self._parts(stream, data[:end]) if end else []

    def _decode(self, writer: str, stream: Stream, data: bytes) -> bytes:
        try:
            return self._decoder(writer, stream).decode(data).encode("utf-8", "replace")
        except UnicodeError:  # not at all of this encoding (UTF-16 without its mark): what there is of UTF-8 is shown
            return data

    def _decoder(self, writer: str, stream: Stream) -> codecs.IncrementalDecoder:
        known = self._decoders.get((writer, stream))
        if known is None:
            known = self._decoders[writer, stream] = codecs.getincrementaldecoder(self._encoding)("replace")
        return known

    def skip(self, stream: Stream, data: bytes) -> None:
        """Take text whose complete lines are stored already (a replay): only its unfinished line is kept."""
        data = self.partial.pop(("", stream), b"") + data
        rest = data[data.rfind(b"\n") + 1 :]
        if rest:
            self.partial["", stream] = rest

    def finish(self, writer: str) -> list[Part]:
        """The lines of one writer that never got their newline."""
        for key in [key for key in self._decoders if key[0] == writer]:
            last = self._decoders.pop(key).decode(b"", True).encode("utf-8", "replace")
            if last:
                self.partial[key] = self.partial.get(key, b"") + last
        ended = [key for key in self.partial if key[0] == writer]
        return [part for key in ended for part in self._parts(key[1], self.partial.pop(key))]

    def close(self) -> list[Part]:
        """Nothing more comes. A log may be closed twice."""
        writers = {key[0] for key in (*self.partial, *self._decoders)}
        parts = [part for writer in sorted(writers) for part in self.finish(writer)]
        if self._end is not None:
            text, gone = self._end.close()
            if text:
                parts.append(self._lines("h", b"... and its end:"))
                parts.append(self._part(text))
            parts += gone
        return parts

    # --- over a restart

    def rests(self, writer: str) -> Iterator[tuple[str, bytes]]:
        """What has come of one writer and is not stored as lines, by any key."""
        for (who, stream), rest in self.partial.items():
            if who == writer:
                hidden, begun = self.masks.split(rest)
                yield stream, hidden
                if begun:
                    yield f"{stream}{BEGUN}", begun
        for (who, stream), decoder in self._decoders.items():
            pending, flag = decoder.getstate()
            if who == writer:
                yield f"{stream}{_CODE}", b"%d:" % flag + pending

    def unfinished(self, writer: str) -> int:
        """The bytes of one writer that are not stored as lines yet."""
        return sum(len(rest) for (who, _), rest in self.partial.items() if who == writer)

    def growing(self) -> str:
        """The lines that have not ended, each as a terminal would show it now; marked as those that are stored.

        Of a log of which nothing more is kept there are none.
        """
        if self._end is not None:
            return ""
        lines = ((stream, self.masks.split(rest)[0]) for (_, stream), rest in self.partial.items())
        shown = ((stream, text.rstrip(b"\r").rsplit(b"\r", 1)[-1][-GROWING_SHOWN:]) for stream, text in lines)
        return "".join(self._marked(stream, text) for stream, text in shown if text)

    def resume_rest(self, writer: str, key: str, rest: bytes) -> None:
        """Go on after a restart with what `rests` gave. The secrets must be known when it is said which have begun."""
        if key.endswith(BEGUN):
            whole: tuple[str, Stream] = (writer, key.removesuffix(BEGUN))  # type: ignore[assignment]
            self.partial[whole] = self.partial.get(whole, b"") + self.masks.begun(rest)
        elif not key.endswith(_CODE):
            self.partial[writer, key] = rest  # type: ignore[index]
        elif self._encoding:
            flag, _, pending = rest.partition(b":")
            self._decoder(writer, key.removesuffix(_CODE)).setstate((pending, int(flag)))  # type: ignore[arg-type]

    def resume(self, lines: int, size: int, end: Mapping[int, str] | None) -> None:
        """Go on after a restart.

        Args:
            lines: how many are stored.
            size: the bytes of these that count against what is kept.
            end: the last pieces of a log that is cut; None: it is not.
        """
        self.lines, self._size = lines, size
        if end is not None:
            self._end = EndOfLog(self.logid, self.type, self._kept.end)
            self._end.resume(end)

    # --- lines

    def _parts(self, stream: Stream, data: bytes) -> list[Part]:
        """Whole lines, as far as they are kept."""
        data = self.masks.hide(data).replace(b"\r\n", b"\n").removesuffix(b"\n")
        if not data.isascii():  # what is counted is what is stored
            data = data.decode("utf-8", "replace").encode()
        room = MAX_LOG_LINES - self.lines
        if self._end is not None:
            if stream == "h":
                return [self._lines(stream, data)] if room > data.count(b"\n") else []
            return self._to_end(stream, data)
        if room <= data.count(b"\n"):
            return self._cut(stream, b"", data, f"{MAX_LOG_LINES} lines")
        size = 0 if stream == "h" and self.type == "s" else len(data) + 1
        if self._size + size > self._kept.beginning:
            at = _boundary(data, self._kept.beginning - self._size)
            return self._cut(stream, data[:at], data[at:], f"{self._kept.beginning} bytes")
        self._size += size
        return [self._lines(stream, data)]

    def _cut(self, stream: Stream, head: bytes, rest: bytes, limit: str) -> list[Part]:
        """The log becomes too long here."""
        parts: list[Part] = [self._lines(stream, head.removesuffix(b"\n"))] if head else []
        end = f"; of the rest only the last {self._kept.end} bytes are" if self._kept.end else "; the rest is not"
        parts.append(self._lines("h", f"The log is longer than {limit}{end} kept.".encode()))
        self._end = EndOfLog(self.logid, self.type, self._kept.end)
        return parts + self._to_end(stream, rest if head.endswith(b"\n") else rest.removeprefix(b"\n"))

    def _to_end(self, stream: Stream, data: bytes) -> list[Part]:
        assert self._end is not None
        stored = self._end.add(self._marked(stream, data))
        return [stored] if stored is not None else []

    def _marked(self, stream: Stream, data: bytes) -> str:
        if self.type == "s":
            prefix = stream.encode()
            data = prefix + data.replace(b"\n", b"\n" + prefix)
        return data.decode("utf-8", "replace") + "\n"

    def _lines(self, stream: Stream, data: bytes) -> LogPart:
        return self._part(self._marked(stream, data))

    def _part(self, text: str) -> LogPart:
        part = LogPart(self.logid, self.lines, text.count("\n"), text)
        self.lines += part.lines
        return part

    def tell(self, part: LogPart) -> None:
        """A part is stored: tell the listeners."""
        for listener in self.listeners:
            listener(part)


def _boundary(data: bytes, at: int) -> int:
    """Where to cut UTF-8, at `at` or just before it: no character is cut in two."""
    while 0 < at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at
