"""One command in the agent: its spool, its end, and the doors through which what runs it speaks and is
spoken to.

No processes and no sockets here: `shell.py`, `transfer.py` and `files.py` run commands, `agent.py` talks.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from lockstep.protocol.commands import Command
from lockstep.protocol.messages import HEADER, STDERR, Ended, FileChunk, FileFailed, FileRead, Reason, encoded_size
from lockstep.worker.clock import boottime, wall
from lockstep.worker.limits import MAX_RESULTS
from lockstep.worker.spool import Process, Spool


class Outcome(Struct, frozen=True):
    """How a command ended, before its output has been counted."""

    rc: int
    reason: Reason = ""
    detail: str = ""
    results: dict[str, Any] = {}


class Stop(Struct, frozen=True):
    """Why a command is to be ended, and whether without any patience (`at_once`: no SIGTERM, no other
    signal).
    """

    reason: Reason
    detail: str
    at_once: bool = False


class Work:
    """One command that the agent knows: running, or ended and not yet acknowledged.

    `task` runs it. `changed` is called when there is something new to send. `sent_at` is the time at which
    output was last sent (for gathering). `asked` is the piece of a file it waits for.
    """

    def __init__(self, spool: Spool, kind: str, command: Command | None, changed: Callable[["Work"], None]) -> None:
        """Make it for a spool that was created, or loaded from a former life."""
        self.id = spool.beginning.command
        self.spool = spool
        self.kind = kind
        self.command = command
        self.task: asyncio.Task[None] | None = None
        self.unwanted = False
        self.sent_at = 0.0
        self.asked: FileRead | None = None
        self.asked_sent = False
        self.stop: Stop | None = None
        self.on_stop: Callable[[Stop], None] | None = None
        self.on_room: Callable[[], None] | None = None
        self.failure: str = ""
        self._changed = changed
        self._begun = boottime()
        self._answer: asyncio.Future[FileChunk | FileFailed] | None = None
        self._room: asyncio.Event | None = None

    @property
    def ended(self) -> bool:
        """Whether its end is known."""
        return self.spool.end is not None

    def emit(self, stream: str, data: bytes) -> None:
        """Add output. If the disk refuses it, the command is ended, and its end says why."""
        if not data or self.failure:
            return
        self._keep(lambda: self.spool.append(stream, data, wall()))
        self._changed(self)

    def note_process(self, process: Process) -> None:
        """Write down which process the command is. If the disk refuses it, as above."""
        self._keep(lambda: self.spool.note_process(process))

    def _keep(self, write: Callable[[], None]) -> None:
        """Write something into the spool."""
        try:
            write()
        except OSError as error:
            self.failure = f"its output could not be kept on the worker's disk: {error.strerror}"
            self.end_it(Stop("error", self.failure, at_once=True))

    def header(self, text: str) -> None:
        """Add a remark of the agent."""
        self.emit(HEADER, text.encode(errors="replace"))

    def complain(self, text: str) -> None:
        """Add a line to the error output."""
        self.emit(STDERR, f"{text}\n".encode(errors="replace"))

    def finish(self, outcome: Outcome) -> None:
        """The command has ended; nothing more may be added."""
        reason, detail, rc = outcome.reason, outcome.detail, outcome.rc
        if self.failure and not reason:
            reason, detail, rc = "error", self.failure, -1
        elapsed = boottime() - self._begun
        end = Ended(self.id, self.spool.produced, rc, reason, detail, elapsed, outcome.results)
        if encoded_size(end) > MAX_RESULTS:
            detail = f"its results take more than {MAX_RESULTS} bytes"
            end = Ended(self.id, self.spool.produced, -1, "error", detail, elapsed)
        self.spool.finish(end)
        self._changed(self)

    def end_it(self, stop: Stop) -> None:
        """Have the command ended; the first reason counts, but haste may be added."""
        if self.ended or (self.stop is not None and (self.stop.at_once or not stop.at_once)):
            return
        if self.stop is not None:
            stop = Stop(self.stop.reason, self.stop.detail, at_once=True)
        self.stop = stop
        if self.on_stop is not None:
            self.on_stop(stop)
        elif self.task is not None:
            self.task.cancel()

    def lose(self, offset: int) -> str:
        """The master goes on from `offset`, and what followed has been given back: end it as lost, and say why."""
        kept = (
            f"the server has no more than {offset} bytes of its output, of {self.spool.whole_from} that it had stored"
        )
        detail = f"{kept} (was its store restored from an older backup?)"
        self._keep(lambda: self.spool.rewind(offset))
        if self.task is None:
            self.finish(Outcome(-1, "lost", detail))
        else:
            self.end_it(Stop("lost", detail, at_once=True))
        return detail

    def acknowledged(self, offset: int) -> None:
        """The master has stored the output before `offset`."""
        self.spool.ack(offset)
        if self.on_room is not None:
            self.on_room()
        if self._room is not None:
            self._room.set()

    async def wait_for_room(self, limit: int) -> None:
        """Return when at most `limit` bytes wait for an acknowledgement."""
        while self.spool.backlog > limit:
            self._room = asyncio.Event()
            await self._room.wait()
        self._room = None

    async def read_file(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes of the master's file; empty at its end. OSError if the master cannot."""
        self._answer = asyncio.get_running_loop().create_future()
        self.asked = FileRead(self.id, offset, length)
        self.asked_sent = False
        self._changed(self)
        answer = await self._answer
        if isinstance(answer, FileFailed):
            raise OSError(answer.reason)
        return answer.data

    def answer(self, message: FileChunk | FileFailed) -> None:
        """The master's answer to `read_file`, or its refusal of an upload."""
        expected = self.asked
        if isinstance(message, FileFailed) and expected is None:
            self.end_it(Stop("error", message.reason))
        elif expected is None or self._answer is None or self._answer.done():
            return
        elif isinstance(message, FileFailed) or message.offset == expected.offset:
            self.asked = None
            self._answer.set_result(message)
