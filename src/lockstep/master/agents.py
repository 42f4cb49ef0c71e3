"""The connections of workers: what they say becomes events and stored output, what the core wants becomes messages.

`protocol.session` has the rules of the conversation, whatever dialect a worker speaks; here are the sockets and the
passwords. What becomes of the output is in `outputs.py`. A bad message closes one connection and changes nothing else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lockstep.config.secrets import names_in, substitute
from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core.errors import RAISED, RefusedError
from lockstep.core.facts import CommandOver, Numbered
from lockstep.core.records import Command
from lockstep.master import clock
from lockstep.master.doorkeeper import Doorkeeper
from lockstep.master.limits import MAX_NEWCOMERS, MAX_UNSENT
from lockstep.master.masks import Masks, look_up, why_missing
from lockstep.master.outputs import Outputs, call_of
from lockstep.master.transfers import Transfers
from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import SUBPROTOCOL
from lockstep.protocol.messages import Ended, FileRead, Output
from lockstep.protocol.session import Absent, Attached, Cleared, Event, Leaving, Session, open_session
from lockstep.storage.batch import CommandProgress

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

ASK_PERIOD = 10.0
"""Seconds between two questions for a sign of life, where a worker gives none by itself."""


class Connection:
    """One accepted WebSocket.

    `welcomed`: the agent has been told what is stored. `number`: the core's session number, 0 until it has taken the
    worker; `early` waits for that. `heard`: when its last message was received, by the monotonic clock.
    `sending`: commands whose secrets are being looked up, and why they must end again. `silent`: nothing is sent to it
    any more.
    """

    def __init__(self, session: Session, peer: str) -> None:
        self.session = session
        self.peer = peer
        self.number = 0
        self.heard = clock.monotonic()
        self.unresolved: set[str] = set()
        self.gone: set[str] = set()
        self.welcomed = False
        self.announced = False
        self.sending: dict[str, str] = {}
        self.early: list[Callable[[], None]] = []
        self.outbox: asyncio.Event = asyncio.Event()
        self.sent: asyncio.Event = asyncio.Event()
        self.silent = False
        self.closed = False

    def pump(self) -> None:
        """There may be something to send."""
        self.outbox.set()

    async def room(self) -> None:
        """Wait while too much is to be sent: who asks and does not read the answers is not listened to."""
        while self.session.unsent > MAX_UNSENT and not self.silent:
            self.sent.clear()
            await self.sent.wait()


class Agents:
    """All connections."""

    outputs: Outputs

    def __init__(self, basedir: str) -> None:
        self._house: House | None = None
        self._connections: dict[str, Connection] = {}
        self._open: set[Connection] = set()
        self._transfers = Transfers(basedir)
        self._finishing: set[str] = set()
        self.closing = False

    @property
    def house(self) -> "House":
        assert self._house is not None
        return self._house

    async def attach(self, house: "House", progress: Mapping[str, CommandProgress]) -> None:
        """Begin. `progress`: what is stored of the output of each command that has not ended."""
        self._house = house
        self._doorkeeper = Doorkeeper(house)
        self.outputs = Outputs(house, self._transfers, self._acknowledge)
        house.loop.listeners.append(self._stored)
        await self.outputs.resume(progress)

    def _stored(self, facts: Sequence[Numbered]) -> None:
        """Facts are stored: what is known of a command is not needed after its end."""
        for numbered in facts:
            if isinstance(numbered.fact, CommandOver):
                self.outputs.forget(numbered.fact.command)

    # --- accepting

    async def serve(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one WebSocket, as an ASGI application does."""
        await receive()
        name, refusal = await self._doorkeeper.authenticate(scope)
        refusal = refusal or self._crowd(name)
        if refusal or self.closing:
            await self._doorkeeper.deny(name, scope, send, refusal or "the server is stopping")
            return
        offered = scope.get("subprotocols") or []
        chosen = SUBPROTOCOL if SUBPROTOCOL in offered else (offered[0] if offered else None)
        try:
            session = open_session(chosen, name)
        except ProtocolError as exc:
            await self._doorkeeper.deny(name, scope, send, str(exc))
            return
        peer = ":".join(str(part) for part in (scope.get("client") or ("somewhere",))[:2])
        connection = Connection(session, peer)
        self._open.add(connection)
        sender = asyncio.create_task(self._sender(connection, send))
        try:
            await send({"type": "websocket.accept", "subprotocol": chosen})
            connection.pump()
            await self._receiver(connection, receive)
        except ProtocolError as exc:
            log.warning("worker %s: %s; its connection is closed", name, exc)
        finally:
            self._open.discard(connection)
            connection.closed = True
            connection.pump()
            self._lost(connection)
            await asyncio.wait([sender], timeout=2)
            sender.cancel()

    def _crowd(self, name: str) -> str:
        """Why a worker may not come once more: it has come often and not said who it is. Empty: it may."""
        taken = self._connections.get(name)
        waiting = sum(each.session.name == name and not each.closed for each in self._open if each is not taken)
        if waiting < MAX_NEWCOMERS:
            return ""
        return f"{waiting} connections of worker '{name}' have not said yet who they are"

    # --- one connection

    async def _sender(self, connection: Connection, send: Send) -> None:
        try:
            while not (connection.session.closing or connection.closed):
                await connection.outbox.wait()
                connection.outbox.clear()
                while frames := connection.session.outgoing():
                    for frame in frames:
                        await send({"type": "websocket.send", "bytes": frame})
                    connection.sent.set()
            await send({"type": "websocket.close", "code": 1000})
        except Exception as exc:
            log.debug("worker %s: cannot send: %s", connection.session.name, exc)
        finally:
            connection.silent = True
            connection.sent.set()

    async def _receiver(self, connection: Connection, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                raise ProtocolError("agent", "it sent text; messages are binary")
            connection.heard = clock.monotonic()
            for event in connection.session.receive(data, connection.heard):
                self._take(connection, event)
            connection.pump()
            await connection.room()

    def _take(self, connection: Connection, event: Event) -> None:
        if connection.closed:
            return  # another one may have taken its place, where all that is not stored comes again
        match event:
            case Attached():
                self._attached(connection)
            case Leaving():
                self._leaving(connection)
            case Output():
                if not self.outputs.take(event):
                    connection.session.ack(event.command, event.offset + len(event.data))
            case Ended():
                self._ended(connection, event)
            case FileRead():
                self.house.spawn(self._file_read(connection, event))
            case Absent(command, never_arrived):
                connection.unresolved.discard(command)
                if not never_arrived:
                    connection.gone.add(command)
                self._announce(connection)
            case Cleared():
                self._announce(connection)

    def _commands(self, worker: str) -> list[Command]:
        return [command for command in self.house.loop.state.commands.values() if command.worker == worker]

    def _attached(self, connection: Connection) -> None:
        """The worker has said who it is: take it, or refuse a second one of its name."""
        session = connection.session
        hello = session.hello
        assert hello is not None
        other = self._connections.get(session.name)
        if other is not None:
            theirs = other.session.hello
            if theirs is None or theirs.home != hello.home or not hello.home:
                session.refuse(f"a worker '{session.name}' is connected already, from {other.peer}")
                log.warning("worker %s from %s refused: it is connected already", session.name, connection.peer)
                return
            self._drop(other)
        self._connections[session.name] = connection
        self.outputs.store_all(session.name)
        self.house.loop.after_commit(lambda: self._welcome(connection))

    def _welcome(self, connection: Connection) -> None:
        """Everything that its former connection said is stored: tell the agent from where to go on (HOUSE 2.7)."""
        session = connection.session
        if connection.closed:
            return
        stored = self.outputs.at(session.name)
        if not stored.keys() <= self.house.loop.state.commands.keys():
            # One has ended meanwhile, and that is not stored yet.
            self.house.loop.after_commit(lambda: self._welcome(connection))
            return
        assert session.hello is not None
        record = self.house.loop.state.workers.get(session.name)
        before = record.info if record is not None else {}
        events = session.welcome(stored, str(before.get("home", "")), str(before.get("boot", "")))
        connection.welcomed = True
        known = {command.command for command in session.hello.commands}
        connection.unresolved = {name for name in stored if name not in known}
        for event in events:
            self._take(connection, event)
        self._announce(connection)
        connection.pump()

    def _announce(self, connection: Connection) -> None:
        """Tell the core of a worker, once it is certain what runs there and what does not."""
        session = connection.session
        if connection.announced or connection.unresolved or session.unwanted or not connection.welcomed:
            return
        connection.announced = True
        self.house.spawn(self._tell_core(connection))

    async def _tell_core(self, connection: Connection) -> None:
        session = connection.session
        hello = session.hello
        assert hello is not None
        mine = {command.id for command in self._commands(session.name)}
        known = tuple(known.command for known in hello.commands if known.command in mine)
        event = e.WorkerConnected(
            worker=session.name,
            resumes=session.dialect == SUBPROTOCOL,
            lease=self._lease(session.name, hello.lease),
            known=known,
            gone=tuple(sorted(connection.gone)),
            info={
                **hello.info,
                "home": hello.home,
                "boot": hello.boot,
                "version": hello.version,
                "peer": connection.peer,
            },
        )
        try:
            connection.number = int(await self.house.loop.ask(event))
        except RefusedError as exc:
            session.refuse(str(exc))
            connection.pump()
            return
        for errand in connection.early:
            errand()
        if connection.closed:
            self._say_lost(connection)

    def _leaving(self, connection: Connection) -> None:
        """A worker is being stopped: nothing new is sent there, and it may go when nothing more is on its way."""
        if not connection.number:
            connection.early.append(lambda: self._leaving(connection))
            return
        name = connection.session.name
        log.info("worker %s is being stopped", name)
        self.house.loop.post(e.WorkerLeaving(worker=name, session=connection.number))
        self.house.loop.after_commit(lambda: self.shut_down(name, "nothing more is on its way"))

    def _lease(self, name: str, announced: float) -> float:
        """Seconds after which what ran on a lost worker has ended: announced by it, or assumed by a person (L61)."""
        worker = self.house.config.workers.get(name)
        assumed = worker.assumeDeadAfter if worker is not None else None
        return announced or float(assumed or 0.0)

    def _drop(self, connection: Connection) -> None:
        """Close a connection whose agent has made a new one."""
        connection.closed = True
        self._lost(connection)
        connection.pump()

    def _lost(self, connection: Connection) -> None:
        name = connection.session.name
        if self._connections.get(name) is connection:
            del self._connections[name]
            self._say_lost(connection)

    def _say_lost(self, connection: Connection) -> None:
        if connection.number:
            log.info("worker %s is not connected any more (session %s)", connection.session.name, connection.number)
            leased = connection.session.dialect == SUBPROTOCOL  # others say nothing while they have nothing to say
            silent = clock.monotonic() - connection.heard if leased else 0.0
            name, session = connection.session.name, connection.number
            self.house.loop.post(e.WorkerDisconnected(worker=name, session=session, silent=silent))

    def connected(self, worker: str) -> bool:
        """Whether a worker of that name has a connection."""
        return worker in self._connections

    def welcome(self, worker: str, session: int) -> None:
        """The core has taken a worker (an effect)."""
        log.info("worker %s is connected (session %s)", worker, session)

    # --- output and ends

    def _call(self, name: str) -> tuple[Command, c.RunCommand] | None:
        return call_of(self.house.loop.state, name)

    def _acknowledge(self, worker: str, command: str, offset: int, ended: bool = False) -> None:
        """So much is stored: tell the agent, on the connection that it has now."""
        connection = self._connections.get(worker)
        if connection is None or not connection.welcomed or connection.closed:
            return
        try:
            connection.session.ack(command, offset, ended)
        except ProtocolError as exc:
            # It has not said so yet on this connection. When it does, nobody waits for it any more.
            log.debug("worker %s: %s", worker, exc)
        connection.pump()

    def _ended(self, connection: Connection, end: Ended) -> None:
        worker = connection.session.name
        found = self._call(end.command)
        if end.command in self._finishing:
            return  # an agent with a new connection says it again; the first time is being worked on
        if found is None:
            self._forget(worker, end)
        elif self._transfers.expects(found[1]):
            self._finishing.add(end.command)
            self.house.spawn(self._finish_transfer(worker, end, found[1]))
        else:
            self._say_ended(worker, end, found[1], {}, "")

    async def _finish_transfer(self, worker: str, end: Ended, call: c.RunCommand) -> None:
        try:
            times = end.results.get("utime")
            results, problem = await self._transfers.finish(end.command, call, end.rc, times)
        finally:
            self._finishing.discard(end.command)
        self._say_ended(worker, end, call, results, problem)

    def _say_ended(self, worker: str, end: Ended, call: c.RunCommand, results: dict[str, Any], problem: str) -> None:
        masks = self.outputs.masks(end.command)
        result = c.CommandResult(
            rc=1 if problem and end.rc == 0 else end.rc,
            failure=masks.hide_in(problem or end.detail or end.reason),
            elapsed=end.elapsed,
            results=masks.hide_in({**end.results, **results}),
            lost=end.reason in ("lost", "lease", "shutdown"),
            timed_out=end.reason in ("timeout", "timeout_without_output"),
            lines=self.outputs.end(end.command, call, masks.hide_in(problem)),
        )
        self.house.loop.post(e.CommandEnded(command=end.command, result=result))
        self._forget(worker, end)

    def _forget(self, worker: str, end: Ended) -> None:
        """The end is in the store with the next commit: then the agent may forget the command."""
        self.house.loop.after_commit(lambda: self._acknowledge(worker, end.command, end.produced, ended=True))

    async def _file_read(self, connection: Connection, request: FileRead) -> None:
        found = self._call(request.command)
        if found is None:
            connection.session.file_failed(request.command, "nobody waits for this file any more")
        else:
            try:
                data = await self._transfers.read(request.command, found[1], request.offset, request.length)
                connection.session.file_chunk(request.command, request.offset, data)
            except Exception as exc:
                why = (exc.strerror if isinstance(exc, OSError) else "") or f"{type(exc).__name__}: {exc}"
                connection.session.file_failed(request.command, f"{why}: {found[1].mastersrc}")
        connection.pump()

    # --- what the core wants

    def send_command(self, worker: str, name: str) -> None:
        """Have a command run there. If the worker is away, the core asks again when it is back."""
        connection = self._connections.get(worker)
        if connection is None or (found := self._call(name)) is None:
            return
        if not connection.number:
            connection.early.append(lambda: self.send_command(worker, name))
            return
        secrets = names_in(found[1].args)
        if secrets:
            connection.sending[name] = ""
            self.house.spawn(self._send_later(connection, name, found[1], secrets))
        else:
            self._send(connection, name, found[1], {})

    async def _send_later(self, connection: Connection, name: str, call: c.RunCommand, secrets: set[str]) -> None:
        """Look up what a command must not be without, then send it."""
        try:
            values = await look_up(self.house.config, secrets)
        except RAISED as exc:
            self._failed(name, call, why_missing(exc))
            return
        finally:
            interrupted = connection.sending.pop(name, "")
        if self._call(name) is None or (connection.closed and not connection.session.leaving):
            return  # if it is still wanted, the core asks again when the worker is back
        self._send(connection, name, call, values)
        if interrupted:
            connection.session.interrupt(name, interrupted)
            connection.pump()

    def _send(self, connection: Connection, name: str, call: c.RunCommand, values: Mapping[str, str]) -> None:
        if connection.session.leaving:
            self._failed(name, call, "the worker is being stopped", lost=True)
            return
        masks = Masks(values)
        try:
            connection.session.start(name, call.kind, substitute(call.args, values.__getitem__))
        except ProtocolError as exc:
            self._failed(name, call, masks.hide_in(str(exc)))
            return
        self.outputs.begin(
            name, connection.session.name, call, masks, decoded=connection.session.dialect != SUBPROTOCOL
        )
        connection.pump()

    def _failed(self, name: str, call: c.RunCommand, why: str, lost: bool = False) -> None:
        """A command cannot even be sent."""
        lines = self.outputs.end(name, call, why)
        result = c.CommandResult(rc=-1, failure=why, lost=lost, lines=lines)
        self.house.loop.post(e.CommandEnded(command=name, result=result))

    def interrupt(self, worker: str, name: str, reason: str) -> None:
        """Have a command ended."""
        connection = self._connections.get(worker)
        if connection is not None and not connection.number:
            connection.early.append(lambda: self.interrupt(worker, name, reason))
        elif connection is not None and name in connection.sending:
            connection.sending[name] = reason or "interrupted"
        elif connection is not None:
            connection.session.interrupt(name, reason)
            connection.pump()

    # --- the rest

    def shut_down(self, worker: str, why: str) -> None:
        """Have a worker end itself."""
        connection = self._connections.get(worker)
        if connection is not None and connection.welcomed:
            connection.session.shutdown(why)
            connection.pump()

    async def ask_for_life(self) -> None:
        """Ask all workers for a sign of life, for ever."""
        while True:
            await asyncio.sleep(ASK_PERIOD)
            for connection in list(self._connections.values()):
                if connection.number:
                    connection.session.ask()
                    connection.pump()

    async def close(self) -> None:
        """Close all connections; the workers' commands run on."""
        self.closing = True
        for connection in list(self._connections.values()):
            connection.closed = True
            connection.pump()
        await asyncio.sleep(0)
