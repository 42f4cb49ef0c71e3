"""The spool: all that one command has said, on disk until the master has stored it.

A spool is a sequence of records in files of about `SEGMENT` bytes, each named for the offset of its first
output (`NAME.0`, `NAME.8391213`, …): the start (id, machine's life), the process, pieces of output, the
end. Everything is written before it is sent, and read back to be sent; so there is one path for fast and
slow, connected and not, and an agent that is killed can still tell what became of its commands. There is no
fsync: after a power cut the machine's `boot` tells the master that what is missing is lost.

No sockets and no processes here.
"""

import contextlib
import glob
import os
import struct
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from lockstep.protocol.limits import MAX_PIECE
from lockstep.protocol.messages import Ended, Output
from lockstep.worker.limits import SEGMENT

_HEAD = struct.Struct("<IB")  # length of what follows the head, type
_PIECE = struct.Struct("<dB")  # wall time, length of the stream's name
_START, _PROCESS, _OUTPUT, _END = 1, 2, 3, 4


class Beginning(Struct, frozen=True):
    """The first record: the command's id, and the life of the machine in which it was started."""

    command: str
    boot: str


class Process(Struct, frozen=True):
    """The command's process: its id, and its start time in clock ticks of the machine (they identify it)."""

    pid: int
    started: int


class _Segment(Struct):
    """One file: its path, the offset of the first output in it, its length in bytes."""

    path: str
    offset: int
    size: int = 0


class Spool:
    """What one command has said.

    `produced` and `acked` are offsets in its output, as is `whole_from`: everything from there on can still be read.
    `end` is set once it has ended.
    """

    def __init__(self, path: str, command: str, boot: str) -> None:
        """Make the spool of a new command, in memory; `create` makes its file."""
        self.beginning = Beginning(command, boot)
        self.produced = 0
        self.acked = 0
        self.whole_from = 0
        self.end: Ended | None = None
        self.process: Process | None = None
        self._path = path
        self._segments: list[_Segment] = []
        self._writer = -1
        self._cursor: tuple[_Segment, int, int] | None = None  # file, position in it, offset of the output there
        self._reader: tuple[str, int] | None = None

    def create(self) -> None:
        """Make the file.

        OSError if the disk refuses; then only an end without output can be kept (in memory).
        """
        first = f"{self._path}.{self.produced}"
        self._writer = os.open(first, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._segments.append(_Segment(first, self.produced))
        self._record(_START, msgspec.msgpack.encode(self.beginning))

    @classmethod
    def load(cls, path: str) -> "Spool | None":
        """Read the spool of a former life; None (and its files are removed) if not even its start is whole.

        A record that was not written to its end (or whose content a power cut has lost) is cut off, with what follows.
        Without an end, the command must be ended by the caller.
        """
        spool: Spool | None = None
        whole = True
        for name in _segment_files(path):
            if not whole:
                os.unlink(name)
                continue
            with open(name, "rb") as file:
                data = file.read()
            records = _records(data)
            if spool is None:
                kind, payload, size = next(records, (0, b"", 0))
                beginning = _beginning(payload) if kind == _START else None
                if beginning is None:
                    os.unlink(name)
                    whole = False
                    continue
                spool = cls(path, beginning.command, beginning.boot)
            else:
                size = 0
            spool._take_segment(name, records, size)
            whole = spool._segments[-1].size == len(data)
            os.truncate(name, spool._segments[-1].size)
        if spool is not None and spool.end is None:
            spool._writer = os.open(spool._segments[-1].path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        return spool

    def _take_segment(self, name: str, records: Iterator[tuple[int, bytes, int]], size: int) -> None:
        """Take one file of a former life, from the records in it; those before were acknowledged if they
        are gone.
        """
        segment = _Segment(name, int(name.rpartition(".")[2]), size)
        if segment.offset > self.produced:
            self.produced = self.acked = self.whole_from = segment.offset
        for kind, payload, end in records:
            try:
                self._replay(kind, payload)
            except (msgspec.DecodeError, UnicodeDecodeError, struct.error):
                break
            segment.size = end
        self._segments.append(segment)

    def _replay(self, kind: int, payload: bytes) -> None:
        """Take one record of a former life. Raises what decoding raises."""
        if kind == _OUTPUT:
            size = _PIECE.unpack_from(payload)[1]
            if not 0 < size < len(payload) - _PIECE.size or not payload[_PIECE.size : _PIECE.size + size].decode():
                raise msgspec.DecodeError("output of no stream")
            self.produced += len(payload) - _PIECE.size - size
        elif kind == _PROCESS:
            self.process = msgspec.msgpack.decode(payload, type=Process)
        elif kind == _END:
            self.end = msgspec.msgpack.decode(payload, type=Ended)

    @property
    def backlog(self) -> int:
        """Bytes of output that are not acknowledged."""
        return self.produced - self.acked

    def note_process(self, process: Process) -> None:
        """Write down which process the command is."""
        self.process = process
        self._record(_PROCESS, msgspec.msgpack.encode(process))

    def append(self, stream: str, data: bytes, at: float) -> None:
        """Add output. OSError if the disk refuses; then nothing of the refused piece counts."""
        name = stream.encode()
        for begin in range(0, len(data), MAX_PIECE):
            piece = data[begin : begin + MAX_PIECE] if len(data) > MAX_PIECE else data
            if self._segments[-1].size >= SEGMENT:
                self._roll()
            self._record(_OUTPUT, _PIECE.pack(at, len(name)) + name, piece)
            self.produced += len(piece)

    def finish(self, end: Ended) -> None:
        """Add the end. If the disk refuses it, it is still told, but would not survive the agent."""
        self.end = end
        with contextlib.suppress(OSError, IndexError):
            self._record(_END, msgspec.msgpack.encode(end))
        self._close_writer()

    def _record(self, kind: int, payload: bytes, more: bytes = b"") -> None:
        """Write one record, whole or not at all."""
        segment = self._segments[-1]
        parts = [_HEAD.pack(len(payload) + len(more), kind), payload, more]
        wanted = _HEAD.size + len(payload) + len(more)
        try:
            written = os.writev(self._writer, parts)
            if written != wanted:
                raise OSError(28, "the disk is full")
        except OSError:
            os.ftruncate(self._writer, segment.size)
            raise
        segment.size += wanted

    def _roll(self) -> None:
        """Go on in a new file."""
        path = f"{self._path}.{self.produced}"
        writer = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._close_writer()
        self._writer = writer
        self._segments.append(_Segment(path, self.produced))

    def read(self, offset: int, limit: int) -> list[Output]:
        """Return output from `offset` on, about `limit` bytes of it (at least one piece if there is any)."""
        found = _Pieces(self.beginning.command)
        while offset < self.produced and limit > 0:
            segment, position, at = self._locate(offset)
            if position >= segment.size:
                following = self._segments[self._segments.index(segment) + 1]
                if following.offset > offset:
                    raise ValueError(f"output from {offset} was given back already")
                self._cursor = (following, 0, following.offset)
                continue
            data = self._pread(segment, position, limit)
            for kind, payload, end in _records(data):
                here = at
                if kind == _OUTPUT:
                    time, name_size = _PIECE.unpack_from(payload)
                    begin = _PIECE.size + name_size
                    at += len(payload) - begin
                    if at > offset:
                        stream = payload[_PIECE.size : begin].decode()
                        found.add(offset, stream, payload[begin + offset - here :], time)
                        limit -= at - offset
                        offset = at
                self._cursor = (segment, position + end, at)
                if limit <= 0:
                    break
        return found.done()

    def _locate(self, offset: int) -> tuple[_Segment, int, int]:
        """Where to read for `offset`: the cursor if it stands there, else the beginning of its file."""
        cursor = self._cursor
        if cursor is None or cursor[2] > offset or cursor[0] not in self._segments:
            segment = next(s for s in reversed(self._segments) if s.offset <= offset)
            cursor = self._cursor = (segment, 0, segment.offset)
        return cursor

    def _pread(self, segment: _Segment, position: int, limit: int) -> bytes:
        """Read whole records: about `limit` bytes, or the next record if it is longer."""
        if self._reader is None or self._reader[0] != segment.path:
            self._close_reader()
            self._reader = (segment.path, os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC))
        want = min(max(limit, MAX_PIECE) + 1024, segment.size - position)
        return os.pread(self._reader[1], want, position)

    def ack(self, offset: int) -> None:
        """Everything before `offset` is stored elsewhere: whole files of it are removed (the first stays)."""
        self.acked = max(self.acked, min(offset, self.produced))
        while len(self._segments) > 2 and self._segments[2].offset <= self.acked:
            os.unlink(self._segments.pop(1).path)
            self.whole_from = self._segments[1].offset

    def remove(self) -> None:
        """Forget all of it."""
        self.close()
        for segment in self._segments:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(segment.path)
        self._segments.clear()

    def rewind(self, offset: int) -> None:
        """Forget all output, and the end if there is one; what is added now follows `offset`. OSError as above."""
        self.remove()
        self._cursor = self.end = None
        self.produced = self.acked = self.whole_from = offset
        self.create()
        if self.process is not None:
            self.note_process(self.process)

    def close(self) -> None:
        """Let go of the files, and leave them there."""
        self._close_reader()
        self._close_writer()

    def _close_reader(self) -> None:
        """Close what is read from, if anything."""
        if self._reader is not None:
            os.close(self._reader[1])
            self._reader = None

    def _close_writer(self) -> None:
        """Close what is written to, if anything."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1


def spools(folder: str) -> list[str]:
    """Return the paths (for `Spool.load`) of all spools in a folder."""
    return sorted({name.rpartition(".")[0] for name in _numbered(os.path.join(glob.escape(folder), "*"))})


def _segment_files(path: str) -> list[str]:
    """The files of one spool, in order; those that were removed (acknowledged) may be missing."""
    return sorted(_numbered(glob.escape(path)), key=lambda name: int(name.rpartition(".")[2]))


def _numbered(pattern: str) -> list[str]:
    """The files that are named so, with a number behind a dot: others are nobody's here."""
    return [name for name in glob.glob(f"{pattern}.*") if name.rpartition(".")[2].isdecimal()]


def _beginning(payload: bytes) -> Beginning | None:
    """What a spool's first record says; None if a power cut has lost it."""
    try:
        return msgspec.msgpack.decode(payload, type=Beginning)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _records(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """The whole records in `data`: type, payload, and where each ends."""
    position = 0
    while position + _HEAD.size <= len(data):
        size, kind = _HEAD.unpack_from(data, position)
        end = position + _HEAD.size + size
        if end > len(data) or not _START <= kind <= _END:
            return
        yield kind, data[position + _HEAD.size : end], end
        position = end


class _Pieces:
    """Gathers output; pieces of one stream that follow each other become one message."""

    def __init__(self, command: str) -> None:
        """Gather the output of one command."""
        self._command = command
        self._done: list[Output] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._head = (0, "", 0.0)

    def add(self, offset: int, stream: str, data: bytes, at: float) -> None:
        """Add the piece that follows."""
        if self._chunks and (self._head[1] != stream or self._size + len(data) > MAX_PIECE):
            self.done()
        if not self._chunks:
            self._head = (offset, stream, at)
        self._chunks.append(data)
        self._size += len(data)

    def done(self) -> list[Output]:
        """Return all messages so far."""
        if self._chunks:
            offset, stream, at = self._head
            self._done.append(Output(self._command, offset, stream, b"".join(self._chunks), at))
            self._chunks = []
            self._size = 0
        return self._done
