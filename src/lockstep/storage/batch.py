"""What the store takes: facts, lines of logs, and how far commands are stored. Values only."""

from collections.abc import Callable

from msgspec import Struct, field

from lockstep.core.facts import Numbered


class LogPart(Struct, frozen=True):
    """Complete lines to append to a log. `first_line` counts from 0; `text` has `lines` newlines, the last at its end.

    Lines of a stdio log begin with `o`, `e` or `h` (BUILDBOT.md section 3).
    """

    logid: int
    first_line: int
    lines: int
    text: str


class LogEnd(Struct, frozen=True):
    """Lines that are the last of a log of which only a part is kept, so far: piece `number` of them.

    Pieces from `gone` to before `first` are of no use any more; this one neither, if it is among them. A log with a
    piece is cut: what stands in it already is its beginning.
    """

    logid: int
    number: int
    text: str
    gone: int = 0
    first: int = 0


class CommandProgress(Struct, frozen=True):
    """How much of a command's output is stored: what may be acknowledged to its agent.

    `offset` is the agent's own count. `tails` are lines that have not ended yet, under any key that the caller likes
    (log id, stream): they are stored here so that nothing up to `offset` is lost.
    """

    command: str
    offset: int
    tails: dict[str, bytes] = field(default_factory=dict)


class Batch(Struct):
    """What is to be stored in one transaction, all or nothing. An empty batch is false.

    `first` is called in the writer's thread before that: files outside of the store, of which the batch says that they
    are there, are brought to the disk.
    """

    facts: list[Numbered] = field(default_factory=list)
    parts: list[LogPart] = field(default_factory=list)
    ends: list[LogEnd] = field(default_factory=list)
    progress: list[CommandProgress] = field(default_factory=list)
    first: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to store."""
        return bool(self.facts or self.parts or self.ends or self.progress)
