"""The master's end of one connection, whatever the other side speaks: what `master/agents.py` is built on.

The interface `Session` and its events live here, and `open_session`, which picks the dialect. The two
dialects are in `master_session.py` (our agent) and `buildbot7.py` (an unmodified `buildbot-worker`). All of
it is pure: bytes and times go in, events and bytes come out; no sockets, no clock, no storage.

How to use it, for one accepted WebSocket (the handshake's HTTP Basic name and password are checked before):

    session = open_session(websocket.subprotocol, name)
    send each of session.outgoing()                     # Buildbot's worker waits for the first word
    for each binary message:
        events = session.receive(message, monotonic())  # ProtocolError: log it, close the connection
        Attached(hello)   -> session.refuse(reason), or session.welcome(stored, home, boot) -> more events
        Leaving           -> have nothing new run there; then session.shutdown(...)
        Output            -> store it; when it is stored: session.ack(command, offset + len(data))
        Ended             -> store it; when it is stored: session.ack(command, produced, ended=True)
        FileRead          -> session.file_chunk(command, offset, data), or session.file_failed(command,
        reason) Absent            -> the worker does not run this command: see below Cleared           ->
        one of `session.unwanted` has stopped send each of session.outgoing();  if session.closing: close
        the connection
    at any time: session.start(...), session.interrupt(...), then session.outgoing()
    when the connection is lost: throw the session away; nothing is said to be lost by that (L61)

`welcome(stored, home, boot)`: `stored` maps each command that the master believes to be at this worker to
the offset up to which its output is stored. `home` and `boot` are those of `Hello` at the connection in
which these commands were sent (kept by the master as facts of the worker; empty if there was none). For a
command of `stored` that the worker does not know, `Absent` tells whether it never arrived (start it again,
with the same id) or is lost (RETRY; it certainly does not run any more). Commands that the worker runs and
the master does not want are in `unwanted` until they have stopped: give the worker nothing that needs their
locks before that.

A second connection of the same name: if `hello.home` is the same, it is the same agent on a new connection,
and the old one should be closed; otherwise refuse the newcomer (duplicate name).

`last_received` is the time (as given to `receive`) of the last message: the lease counts from it, plus a
margin.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import SUBPROTOCOL
from lockstep.protocol.messages import Ended, FileRead, Hello, Output


class Attached(Struct, frozen=True):
    """The worker has said who it is. The answer is `Session.welcome` or `Session.refuse`."""

    hello: Hello


class Absent(Struct, frozen=True):
    """The worker does not run `command`, and has no end of it to tell.

    With `never_arrived` it is certain that it was not started: the same Start may be sent again. Without it
    the command may have run, in part or whole, and what came of it is lost; it certainly does not run now.
    """

    command: str
    never_arrived: bool


class Cleared(Struct, frozen=True):
    """A command that the master did not want has stopped and is forgotten."""

    command: str


class Leaving(Struct, frozen=True):
    """The worker is being stopped: it ends its commands, tells their ends and goes. It is said once."""


Event = Attached | Leaving | Output | Ended | FileRead | Absent | Cleared


class Session(ABC):
    """One connection of one worker, as the master sees it. The head of this file says how to use it.

    `name`: the worker's. `dialect`: `lockstep.1` or `msgpack_experimental_v7`. `hello`: what the worker
    said, once it has. `lease`: seconds, 0 where the worker has none. `last_received`: time of the last
    message, or None. `closing`: after `outgoing` is sent, close the connection. `unwanted`: see `Cleared`.
    `leaving`: see `Leaving`.
    """

    dialect: str

    def __init__(self, name: str) -> None:
        """Begin a session with the worker that has authenticated itself as `name`."""
        self.name = name
        self.hello: Hello | None = None
        self.last_received: float | None = None
        self.closing = False
        self.leaving = False
        self.unwanted: set[str] = set()

    @property
    def lease(self) -> float:
        """Seconds after which the worker ends its commands by itself; 0 if it never does."""
        return self.hello.lease if self.hello is not None else 0.0

    @abstractmethod
    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take one WebSocket message, received at `now` (seconds, monotonic).

        Returns what it means. Raises `ProtocolError` if the worker is wrong; the connection is of no use
        then.
        """

    @abstractmethod
    def welcome(self, stored: Mapping[str, int], home: str = "", boot: str = "") -> list[Event]:
        """Answer `Attached`: take the worker. The arguments are explained at the head of this file."""

    @abstractmethod
    def refuse(self, reason: str) -> None:
        """Send the worker away with a sentence for the people there."""

    @abstractmethod
    def start(self, command: str, kind: str, args: Mapping[str, Any]) -> None:
        """Have a command run. Without effect if the worker has it already (also after a reconnection).

        `kind` and `args` are as in `commands.py`; paths are relative to the worker's base directory, or
        absolute. Raises `ProtocolError` (the master's fault) if it is too big, or a mistake in `args` can
        be seen from here.
        """

    @abstractmethod
    def interrupt(self, command: str, reason: str) -> None:
        """Have a command ended; its `Ended` follows as always. Without effect for one that is not there."""

    @abstractmethod
    def ack(self, command: str, offset: int, ended: bool = False) -> None:
        """Say that all output before `offset`, and with `ended` also the end, is stored for ever."""

    @abstractmethod
    def file_chunk(self, command: str, offset: int, data: bytes) -> None:
        """Answer `FileRead`: bytes of the file from `offset`, at most `length`, empty at the file's end."""

    @abstractmethod
    def file_failed(self, command: str, reason: str) -> None:
        """Answer `FileRead`, or a piece of an upload: the file cannot be read or stored. The command will
        fail.
        """

    @abstractmethod
    def shutdown(self, reason: str) -> None:
        """Ask the worker to end itself."""

    @abstractmethod
    def ask(self) -> None:
        """Ask for a sign of life, where the worker gives none by itself; call it every 10 seconds or so."""

    @property
    @abstractmethod
    def unsent(self) -> int:
        """How many messages wait for `outgoing`."""

    @abstractmethod
    def outgoing(self) -> list[bytes]:
        """Return, and forget, the messages to be sent now, in their order."""


def open_session(subprotocol: str | None, name: str) -> Session:
    """Return the session for a connection that chose `subprotocol` (None or empty: a `buildbot-worker`).

    Raises `ProtocolError` for a sub-protocol that is not spoken here.
    """
    if subprotocol == SUBPROTOCOL:
        from lockstep.protocol.master_session import MasterSession

        return MasterSession(name)
    if subprotocol:
        raise ProtocolError("agent", f"it wants to speak {subprotocol!r}; {SUBPROTOCOL!r} is spoken here")
    from lockstep.protocol.buildbot7 import BuildbotSession

    return BuildbotSession(name)
