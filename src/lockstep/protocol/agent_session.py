"""The agent's side of `lockstep.1`: numbers, acknowledgements, window and lease, over all of its
connections. Pure.

Commands and their output are elsewhere (`worker/`); here are only offsets and times. All times are seconds
on one clock that also runs while the machine sleeps (CLOCK_BOOTTIME), given as arguments.
"""

from collections import deque
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import HEARTBEATS_PER_LEASE, MAX_HEARTBEAT_PERIOD, MIN_LEASE, PATIENCE, WINDOW
from lockstep.protocol.messages import (
    Ack,
    AgentMessage,
    Ended,
    FromAgent,
    Hello,
    MasterMessage,
    Output,
    Refused,
    Start,
    Welcome,
    decode_from_master,
    encode,
)

State = Literal["closed", "opening", "open", "refused"]


class _Sent(Struct):
    """How far the output of one command has gone out in this connection, and how much of it is
    acknowledged.
    """

    sent: int
    acked: int
    ended: bool = False


class AgentSession:
    """What the agent must remember to keep the protocol's rules; one for its whole life.

    `state`: `closed` (no connection), `opening` (Hello is sent), `open`, `refused`. `heartbeat`: seconds
    between two heartbeats. `leaving`: the agent is being stopped, and each frame says so.
    """

    def __init__(self, lease: float) -> None:
        """Make it with the lease in seconds that the agent announces; ValueError if it is below
        `MIN_LEASE`.
        """
        if not lease >= MIN_LEASE:
            raise ValueError(f"a lease of {lease} s is too short (at least {MIN_LEASE} s)")
        self.lease = lease
        self.heartbeat = min(lease / HEARTBEATS_PER_LEASE, MAX_HEARTBEAT_PERIOD)
        self.state: State = "closed"
        self.window = WINDOW
        self.leaving = False
        self._number = 0
        self._seen = 0
        self._unanswered: deque[tuple[int, float]] = deque()
        self._answered_sent_at: float | None = None
        self._last_answer_at = 0.0
        self._beat_at = 0.0
        self._commands: dict[str, _Sent] = {}

    def open(self, hello: Hello, now: float) -> bytes:
        """Begin a new connection, and return its first frame."""
        self.state = "opening"
        self._number = self._seen = 0
        self._unanswered.clear()
        self._commands.clear()
        self._last_answer_at = self._beat_at = now
        return self._frame((hello,), now)

    def close(self) -> None:
        """The connection is lost.

        What was sent in it is as if it had not been sent, until the master says more.
        """
        self.state = "closed"
        self._commands.clear()

    def receive(self, data: bytes, now: float) -> tuple[MasterMessage, ...]:
        """Take one frame of the master at `now`, and return its messages (`Ack` clipped to what was sent).

        Raises `ProtocolError` with the master at fault for what is not allowed.
        """
        frame = decode_from_master(data)
        if not self._seen <= frame.seen <= self._number:
            raise ProtocolError("master", f"it has seen frame {frame.seen} of {self._number}")
        self._seen = frame.seen
        while self._unanswered and self._unanswered[0][0] <= frame.seen:
            self._answered_sent_at = self._unanswered.popleft()[1]
        self._last_answer_at = now
        for message in frame.messages:
            self._take(message)
        return frame.messages

    def _take(self, message: MasterMessage) -> None:
        """Check one message against the state, and remember what it changes."""
        if isinstance(message, Welcome | Refused):
            if self.state != "opening":
                raise ProtocolError("master", f"{type(message).__name__} in state {self.state}")
            self.state = "refused" if isinstance(message, Refused) else "open"
            if isinstance(message, Welcome):
                self.window = message.window or WINDOW
                self._commands = {command: _Sent(at, at) for command, at in message.stored.items()}
            return
        if self.state != "open":
            raise ProtocolError("master", f"{type(message).__name__} in state {self.state}")
        if isinstance(message, Start):
            self._commands.setdefault(message.command, _Sent(0, 0))
        elif isinstance(message, Ack):
            self._take_ack(message)

    def _take_ack(self, ack: Ack) -> None:
        """An acknowledgement of what was sent in this connection, and of nothing else."""
        known = self._commands.get(ack.command)
        if known is None:
            return
        if ack.offset > known.sent or (ack.ended and not known.ended):
            raise ProtocolError("master", f"it acknowledges what {ack.command} has not sent")
        known.acked = max(known.acked, ack.offset)
        if ack.ended:
            del self._commands[ack.command]

    def position(self, command: str) -> int | None:
        """The offset from which this command's output is to be sent next, or None if it is not to be sent."""
        known = self._commands.get(command)
        return known.sent if known is not None else None

    def room(self) -> int:
        """How many bytes of output may go out before the master acknowledges some."""
        in_flight = sum(known.sent - known.acked for known in self._commands.values())
        return max(0, self.window - in_flight)

    def end_sent(self, command: str) -> bool:
        """Whether the end of this command has gone out in this connection."""
        known = self._commands.get(command)
        return known is None or known.ended

    def frame(self, messages: Iterable[AgentMessage], now: float) -> bytes:
        """Return the next frame, to be sent at `now`; without messages it is a heartbeat.

        Raises `ProtocolError` (the agent's own fault) if it would break a rule.
        """
        if self.state != "open":
            raise ProtocolError("agent", f"it speaks in state {self.state}")
        batch = tuple(messages)
        for message in batch:
            self._check(message)
        if not batch:
            self._beat_at = now
        return self._frame(batch, now)

    def _check(self, message: AgentMessage) -> None:
        """Hold the agent to the rules of offsets and ends."""
        if isinstance(message, Hello):
            raise ProtocolError("agent", "Hello a second time")
        known = self._commands.get(message.command)
        if known is None or known.ended:
            raise ProtocolError("agent", f"{type(message).__name__} of {message.command}, which is over")
        if isinstance(message, Output):
            if message.offset != known.sent:
                raise ProtocolError("agent", f"output from {message.offset} after {known.sent}")
            known.sent += len(message.data)
        elif isinstance(message, Ended):
            known.ended = True

    def _frame(self, messages: tuple[AgentMessage, ...], now: float) -> bytes:
        """Number a frame and remember when it was sent."""
        self._number += 1
        self._unanswered.append((self._number, now))
        return encode(FromAgent(self._number, messages, self.leaving))

    @property
    def lease_ends_at(self) -> float:
        """When the commands must be ended if no newer frame is answered (in the past if none ever was)."""
        return self._answered_sent_at + self.lease if self._answered_sent_at is not None else 0.0

    @property
    def next_heartbeat_at(self) -> float:
        """When the next heartbeat is due in an open connection."""
        return self._beat_at + self.heartbeat

    @property
    def hopeless_at(self) -> float:
        """When the connection is to be given up if the master stays silent."""
        return self._last_answer_at + (PATIENCE + 1) * self.heartbeat
