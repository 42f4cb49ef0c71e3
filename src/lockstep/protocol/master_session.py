"""The master's side of `lockstep.1`: numbers, acknowledgements and resume. Pure; see `session.py` for its
use.

Nothing about Buildbot's worker lives here (`buildbot7.py`), and nothing that stores.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import (
    MAX_COMMANDS,
    MAX_FRAME,
    MAX_NAME,
    MAX_PIECE,
    MAX_START,
    MAX_TEXT,
    SUBPROTOCOL,
    WINDOW,
)
from lockstep.protocol.messages import (
    Ack,
    AgentMessage,
    Ended,
    FileChunk,
    FileFailed,
    FileRead,
    FromMaster,
    Hello,
    Interrupt,
    MasterMessage,
    Output,
    Refused,
    Shutdown,
    Start,
    Welcome,
    decode_from_agent,
    encode,
    encoded_size,
)
from lockstep.protocol.session import Absent, Attached, Cleared, Event, Leaving, Session

State = Literal["opening", "greeted", "open", "refused"]

_FRAME_HEAD = 64
"""Bytes kept free in each frame for its number and the list's head."""


class _Command(Struct):
    """What this connection knows of one command."""

    received: int = 0
    acked: int = 0
    ended: bool = False
    reading: bool = False
    former: bool = False
    """It had ended before this connection."""
    lost_tail: bool = False
    """The agent had made less output than is stored here: its machine lost power."""


class MasterSession(Session):
    """One connection of one of our own agents."""

    dialect = SUBPROTOCOL

    def __init__(self, name: str) -> None:
        """Begin a session with the agent that has authenticated itself as `name`."""
        super().__init__(name)
        self._state: State = "opening"
        self._seen = 0
        self._answer_due = False
        self._commands: dict[str, _Command] = {}
        self._queue: list[MasterMessage] = []

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take one frame of the agent; see `Session.receive`."""
        frame = decode_from_agent(data)
        if frame.number != self._seen + 1:
            raise ProtocolError("agent", f"frame {frame.number} after frame {self._seen}")
        self._seen = frame.number
        self.last_received = now
        if self._state == "refused":
            return []
        if not frame.messages:
            self._answer_due = self._state == "open"
        events = self._leaves() if frame.leaving else []
        for message in frame.messages:
            events += self._take(message)
        return events

    def _leaves(self) -> list[Event]:
        """The agent is being stopped."""
        if self.leaving or self._state != "open":
            return []
        self.leaving = True
        return [Leaving()]

    def _take(self, message: AgentMessage) -> list[Event]:
        """One message: check it against what was said before, and return what it means."""
        if isinstance(message, Hello):
            return self._take_hello(message)
        if self._state != "open":
            raise ProtocolError("agent", f"{type(message).__name__} before it was welcomed")
        known = self._commands.get(message.command)
        if known is None:
            raise ProtocolError("agent", f"{type(message).__name__} of a command it was not given")
        if known.ended:
            raise ProtocolError("agent", f"{type(message).__name__} after the end of {message.command}")
        if isinstance(message, Output):
            return self._take_output(message, known)
        if isinstance(message, Ended):
            return self._take_end(message, known)
        return self._take_read(message, known)

    def _take_read(self, read: FileRead, known: _Command) -> list[Event]:
        """A wish for a piece of a file: of a size that fits into a frame, and one at a time."""
        if not 0 <= read.offset < 1 << 62 or not 0 < read.length <= MAX_PIECE:
            raise ProtocolError("agent", f"it wants {read.length} bytes from {read.offset} (1 to {MAX_PIECE} at once)")
        if known.reading:
            raise ProtocolError("agent", f"it wants two pieces of the file of {read.command} at once")
        known.reading = True
        return [read]

    def _take_hello(self, hello: Hello) -> list[Event]:
        """The first message, once."""
        if self._state != "opening":
            raise ProtocolError("agent", "Hello a second time")
        if len(hello.commands) > MAX_COMMANDS:
            raise ProtocolError("agent", f"it knows {len(hello.commands)} commands (limit {MAX_COMMANDS})")
        if hello.lease < 0 or hello.lease != hello.lease:
            raise ProtocolError("agent", f"a lease of {hello.lease} seconds")
        self._state = "greeted"
        self.hello = hello
        return [Attached(hello)]

    def _take_output(self, piece: Output, known: _Command) -> list[Event]:
        """A piece of output: pass on what is new in it."""
        if not 0 < len(piece.data) <= MAX_PIECE or not 0 < len(piece.stream) <= MAX_NAME:
            raise ProtocolError("agent", f"a piece of {len(piece.data)} bytes (1 to {MAX_PIECE} are allowed)")
        if piece.offset > known.received:
            gap = f"output of {piece.command} from {piece.offset}, after {known.received}"
            raise ProtocolError("agent", f"{gap}: bytes are missing")
        fresh = piece.offset + len(piece.data) - known.received
        if fresh <= 0:
            return []
        known.received += fresh
        if piece.command in self.unwanted:
            self._queue.append(Ack(piece.command, known.received))
            return []
        if fresh == len(piece.data):
            return [piece]
        return [Output(piece.command, known.received - fresh, piece.stream, piece.data[-fresh:], piece.at)]

    def _take_end(self, end: Ended, known: _Command) -> list[Event]:
        """The end of a command, after all of its output."""
        if end.produced != known.received and not known.lost_tail:
            made = f"{end.command} made {end.produced} bytes of output, of which {known.received} came"
            raise ProtocolError("agent", made)
        known.ended = True
        # An older agent does not say it in its frames: an end tells it, if it was not made in a former life.
        events = self._leaves() if end.reason == "shutdown" and not known.former else []
        if end.command not in self.unwanted:
            return [*events, end]
        self.unwanted.remove(end.command)
        self._queue.append(Ack(end.command, end.produced, ended=True))
        del self._commands[end.command]
        return [*events, Cleared(end.command)]

    def welcome(self, stored: Mapping[str, int], home: str = "", boot: str = "") -> list[Event]:
        """Take the agent and go on with its commands; see `Session.welcome`."""
        if self._state != "greeted" or self.hello is None:
            raise ProtocolError("master", "Welcome without Hello")
        self._state = "open"
        for known in self.hello.commands:
            if known.command in stored:
                offset = stored[known.command]
                former = known.state == "ended"
                tail = former and known.produced < offset
                self._commands[known.command] = _Command(offset, offset, former=former, lost_tail=tail)
            elif known.state == "running":
                self.unwanted.add(known.command)
                self._commands[known.command] = _Command(known.produced, known.produced)
        self._queue.append(Welcome("1", {c: known.received for c, known in self._commands.items()}, WINDOW))
        self._queue += [Interrupt(c, "the master does not know this command") for c in self.unwanted]
        same = bool(home) and (home, boot) == (self.hello.home, self.hello.boot)
        return [Absent(command, same) for command in stored if command not in self._commands]

    def refuse(self, reason: str) -> None:
        """Send the agent away; see `Session.refuse`."""
        self._state = "refused"
        self._queue = [Refused(reason[:MAX_TEXT])]
        self.closing = True

    def start(self, command: str, kind: str, args: Mapping[str, Any]) -> None:
        """Have a command run; see `Session.start`."""
        self._must_be_open()
        if command in self._commands:
            return
        if not 0 < len(command) <= MAX_NAME or not 0 < len(kind) <= MAX_NAME:
            raise ProtocolError("master", f"the id or kind of {command[:80]!r} is empty or too long")
        message = Start(command, kind, dict(args))
        size = encoded_size(message)
        if size > MAX_START:
            raise ProtocolError("master", f"the command takes {size} bytes; at most {MAX_START} are allowed")
        self._commands[command] = _Command()
        self._queue.append(message)

    def interrupt(self, command: str, reason: str) -> None:
        """Have a command ended; see `Session.interrupt`."""
        self._must_be_open()
        if command in self._commands:
            self._queue.append(Interrupt(command, reason[:MAX_TEXT]))

    def ack(self, command: str, offset: int, ended: bool = False) -> None:
        """Acknowledge what is stored; see `Session.ack`."""
        self._must_be_open()
        known = self._commands.get(command)
        if known is None:
            return
        if offset > known.received or (ended and not known.ended):
            raise ProtocolError("master", f"it acknowledges what {command} has not said yet")
        if offset <= known.acked and not ended:
            return
        known.acked = max(known.acked, offset)
        self._queue.append(Ack(command, known.acked, ended))
        if ended:
            del self._commands[command]

    def file_chunk(self, command: str, offset: int, data: bytes) -> None:
        """Answer `FileRead`; see `Session.file_chunk`."""
        if len(data) > MAX_PIECE:
            raise ProtocolError("master", f"{len(data)} bytes of a file at once (at most {MAX_PIECE})")
        known = self._commands.get(command)
        if known is not None:
            known.reading = False
            self._queue.append(FileChunk(command, offset, data))

    def file_failed(self, command: str, reason: str) -> None:
        """Say that a file cannot be read or stored; see `Session.file_failed`."""
        known = self._commands.get(command)
        if known is not None:
            known.reading = False
            self._queue.append(FileFailed(command, reason[:MAX_TEXT]))

    def shutdown(self, reason: str) -> None:
        """Ask the agent to end itself; see `Session.shutdown`."""
        self._must_be_open()
        self._queue.append(Shutdown(reason[:MAX_TEXT]))

    def ask(self) -> None:
        """Nothing: our agents give signs of life by themselves."""

    @property
    def unsent(self) -> int:
        """How many messages wait; see `Session.unsent`."""
        return len(self._queue)

    def outgoing(self) -> list[bytes]:
        """Return the frames to be sent now; see `Session.outgoing`."""
        if not self._queue and not self._answer_due:
            return []
        batches: list[list[MasterMessage]] = [[]]
        room = MAX_FRAME - _FRAME_HEAD
        for message in self._queue:
            size = encoded_size(message)
            if size > room and batches[-1]:
                batches.append([])
                room = MAX_FRAME - _FRAME_HEAD
            batches[-1].append(message)
            room -= size
        self._queue = []
        self._answer_due = False
        return [encode(FromMaster(self._seen, tuple(batch))) for batch in batches]

    def _must_be_open(self) -> None:
        """Only a welcomed agent is spoken to."""
        if self._state != "open":
            raise ProtocolError("master", f"it speaks to worker {self.name} in state {self._state}")
