"""Output on its way into the store and out again: complete lines in compressed chunks, and how far a command is stored.

A chunk's lines end with newlines; lines of a stdio log begin with `o`, `e` or `h` (BUILDBOT.md section 3). What
makes lines of a worker's output is in `master/`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import zstandard

from lockstep.storage.batch import CommandProgress, LogEnd, LogPart
from lockstep.storage.codec import pack
from lockstep.storage.limits import CHUNK_RAW_BELOW, CHUNK_TARGET
from lockstep.storage.projection import Projection

RAW: Final = 0
ZSTD: Final = 1


class Packer:
    """Makes chunks small. For one thread only."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=3)

    def pack(self, text: bytes) -> tuple[int, bytes]:
        """How it is packed (RAW or ZSTD), and the bytes to store."""
        if len(text) < CHUNK_RAW_BELOW:
            return RAW, text
        return ZSTD, self._compressor.compress(text)


def unpack(packing: int, content: bytes) -> bytes:
    """The text of a stored chunk."""
    if packing == RAW:
        return content
    return zstandard.ZstdDecompressor().decompress(content)


def add_parts(p: Projection, packer: Packer, parts: Iterable[LogPart]) -> None:
    """Gather the chunks of some parts in `p.changes`."""
    for part in parts:
        packing, content = packer.pack(part.text.encode("utf-8", "replace"))
        log = p.logs.get(part.logid)
        end = part.first_line + part.lines
        if log is None:  # it was closed before its last lines came
            p.changes.update("logs", part.logid, {"num_lines": end})
        else:
            log.lines = end
            log.chunks += 1
            log.bytes += len(content)
        row = {
            "logid": part.logid,
            "first_line": part.first_line,
            "num_lines": part.lines,
            "packing": packing,
            "content": content,
        }
        p.changes.insert("log_chunks", (part.logid, part.first_line), row)


def add_ends(p: Projection, ends: Iterable[LogEnd]) -> None:
    """Gather the last pieces of logs that are too long."""
    for end in ends:
        if end.number >= end.first:
            row = {"logid": end.logid, "number": end.number, "content": end.text}
            p.changes.insert("log_ends", (end.logid, end.number), row)
        for number in range(end.gone, end.first):
            p.changes.remove("log_ends", (end.logid, number), "end")


def add_progress(p: Projection, progress: Iterable[CommandProgress]) -> None:
    """Gather how far commands are stored. Commands that nobody waits for any more are passed over."""
    for one in progress:
        key = p.commands.get(one.command)
        if key is not None and key[0] in p.builds:
            row = {"received": one.offset, "tails": pack(one.tails) if one.tails else None}
            p.changes.update("calls", key, row)


def merged(chunks: Iterable[tuple[int, int, int, bytes]], packer: Packer) -> Iterator[tuple[int, int, int, bytes]]:
    """Neighbouring chunks (first line, lines, packing, content) put together up to `CHUNK_TARGET` bytes of text."""
    first, lines, texts, size = 0, 0, list[bytes](), 0
    for first_line, count, packing, content in chunks:
        text = unpack(packing, content)
        if texts and (size + len(text) > CHUNK_TARGET or first_line != first + lines):
            yield (first, lines, *packer.pack(b"".join(texts)))
            lines, texts, size = 0, [], 0
        if not texts:
            first = first_line
        texts.append(text)
        lines += count
        size += len(text)
    if texts:
        yield (first, lines, *packer.pack(b"".join(texts)))


def lines_of(rows: Iterable[tuple[int, int, int, bytes]], first: int, limit: int | None) -> Iterator[tuple[int, bytes]]:
    """Pieces of a log from line `first`, at most `limit` lines in all: (first line, text with whole lines)."""
    left = limit
    for first_line, count, packing, content in rows:
        if left is not None and left <= 0:
            return
        skip = max(0, first - first_line)
        take = count - skip if left is None else min(count - skip, left)
        if take <= 0:
            continue
        text = unpack(packing, content)
        if skip or take < count:
            text = (
                b"".join(text.splitlines(keepends=True)[skip : skip + take])
                if b"\r" not in text
                else _cut(text, skip, take)
            )
        if left is not None:
            left -= take
        yield first_line + skip, text


def _cut(text: bytes, skip: int, take: int) -> bytes:
    """Some lines of a text in which only newlines end lines."""
    return b"".join(line + b"\n" for line in text.split(b"\n")[skip : skip + take])
