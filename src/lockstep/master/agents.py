"""The connections of workers: what they say becomes events and stored output, what the core wants becomes messages.

`protocol.session` has the rules of the conversation, whatever dialect a worker speaks; here are the sockets, the
passwords and the bookkeeping of offsets. A bad message closes one connection and changes nothing else.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from lockstep.config.secrets import names_in, substitute
from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core.errors import RefusedError
from lockstep.core.records import Command
from lockstep.master import clock
from lockstep.master.logs import LogFile, stream_of
from lockstep.master.transfers import Transfers
from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import SUBPROTOCOL
from lockstep.protocol.messages import FILE, LOG_PREFIX, Ended, FileRead, Output
from lockstep.protocol.session import Absent, Attached, Cleared, Event, Session, open_session
from lockstep.storage.batch import CommandProgress

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

ASK_PERIOD = 10.0
"""Seconds between two questions for a sign of life, where a worker gives none by itself."""


class Connection:
    """One accepted WebSocket. `number` is the core's session number, 0 before its welcome; `early` waits for that."""

    def __init__(self, session: Session, peer: str) -> None:
        self.session = session
        self.peer = peer
        self.number = 0
        self.unresolved: set[str] = set()
        self.gone: set[str] = set()
        self.announced = False
        self.early: list[Callable[[], None]] = []
        self.outbox: asyncio.Event = asyncio.Event()
        self.closed = False

    def pump(self) -> None:
        """There may be something to send."""
        self.outbox.set()


class Stored:
    """How far the output of one command has come. `dirty`: more than the store has been told of."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self.dirty = False


class Agents:
    """All connections, and the offsets of all commands that run."""

    def __init__(self, basedir: str) -> None:
        self._house: House | None = None
        self._connections: dict[str, Connection] = {}
        self._outputs: dict[str, Stored] = {}
        self._flushing = False
        self._transfers = Transfers(basedir)
        self._tasks: set[asyncio.Task[None]] = set()
        self.closing = False

    @property
    def house(self) -> "House":
        assert self._house is not None
        return self._house

    def attach(self, house: "House", progress: Mapping[str, CommandProgress]) -> None:
        """Begin. `progress`: what is stored of the output of each command that has not ended."""
        self._house = house
        for name, stored in progress.items():
            self._outputs[name] = Stored(stored.offset)
            for key, rest in stored.tails.items():
                if key == FILE:
                    self._transfers.resume(name, int(rest))
                    continue
                logid, _, stream = key.partition(".")
                file = house.logs.get(int(logid))
                if file is not None:
                    file.partial[stream] = rest  # type: ignore[index]

    # --- accepting

    async def serve(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one WebSocket, as an ASGI application does."""
        await receive()
        name, reason = self._authenticate(scope)
        if reason:
            await _deny(scope, send, reason)
            return
        offered = scope.get("subprotocols") or []
        chosen = SUBPROTOCOL if SUBPROTOCOL in offered else (offered[0] if offered else None)
        try:
            session = open_session(chosen, name)
        except ProtocolError as exc:
            await _deny(scope, send, str(exc))
            return
        await send({"type": "websocket.accept", "subprotocol": chosen})
        peer = ":".join(str(part) for part in (scope.get("client") or ("somewhere",))[:2])
        connection = Connection(session, peer)
        sender = asyncio.create_task(self._sender(connection, send))
        try:
            connection.pump()
            await self._receiver(connection, receive)
        except ProtocolError as exc:
            log.warning("worker %s: %s; its connection is closed", name, exc)
        finally:
            connection.closed = True
            connection.pump()
            self._lost(connection)
            await asyncio.wait([sender], timeout=2)
            sender.cancel()

    def _authenticate(self, scope: Mapping[str, Any]) -> tuple[str, str]:
        """The worker's name, and why it is refused (empty: it is not)."""
        if self.closing:
            return "", "the server is stopping"
        headers = {key.lower(): value for key, value in scope.get("headers", [])}
        kind, _, encoded = headers.get(b"authorization", b"").partition(b" ")
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = password = ""
        if kind.lower() != b"basic" or not name:
            return "", "a worker must send its name and password (HTTP Basic authentication)"
        worker = self.house.config.workers.get(name)
        if worker is None:
            return name, f"there is no worker '{name}' in the configuration, or its password is wrong"
        if not self.house.local_password(name, password) and not worker.check_password(password, self.house.secret):
            return name, f"there is no worker '{name}' in the configuration, or its password is wrong"
        return name, ""

    # --- one connection

    async def _sender(self, connection: Connection, send: Send) -> None:
        while True:
            await connection.outbox.wait()
            connection.outbox.clear()
            try:
                for frame in connection.session.outgoing():
                    await send({"type": "websocket.send", "bytes": frame})
                if connection.session.closing or connection.closed:
                    await send({"type": "websocket.close", "code": 1000})
                    return
            except Exception as exc:
                log.debug("worker %s: cannot send: %s", connection.session.name, exc)
                return

    async def _receiver(self, connection: Connection, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                raise ProtocolError("agent", "it sent text; messages are binary")
            for event in connection.session.receive(data, clock.monotonic()):
                self._take(connection, event)
            connection.pump()

    def _take(self, connection: Connection, event: Event) -> None:
        match event:
            case Attached():
                self._attached(connection)
            case Output():
                self._output(event)
            case Ended():
                self._ended(connection, event)
            case FileRead():
                self._spawn(self._file_read(connection, event))
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
        record = self.house.loop.state.workers.get(session.name)
        before = record.info if record is not None else {}
        stored = {command.id: self._of(command.id).offset for command in self._commands(session.name)}
        events = session.welcome(stored, str(before.get("home", "")), str(before.get("boot", "")))
        known = {command.command for command in hello.commands}
        connection.unresolved = {name for name in stored if name not in known}
        for event in events:
            self._take(connection, event)
        self._announce(connection)

    def _announce(self, connection: Connection) -> None:
        """Tell the core of a worker, once it is certain what runs there and what does not."""
        session = connection.session
        if connection.announced or connection.unresolved or session.unwanted or session.hello is None:
            return
        connection.announced = True
        self._spawn(self._tell_core(connection))

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
            self.house.loop.post(e.WorkerDisconnected(worker=connection.session.name, session=connection.number))

    def connected(self, worker: str) -> bool:
        """Whether a worker of that name has a connection."""
        return worker in self._connections

    def welcome(self, worker: str, session: int) -> None:
        """The core has taken a worker (an effect)."""
        log.info("worker %s is connected (session %s)", worker, session)

    # --- output

    def _of(self, command: str) -> Stored:
        return self._outputs.setdefault(command, Stored())

    def _call(self, name: str) -> tuple[Command, c.RunCommand] | None:
        command = self.house.loop.state.commands.get(name)
        if command is None:
            return None
        step = self.house.loop.state.step(command.buildid, command.step)
        record = step.calls.get(command.call) if step is not None else None
        if record is None or not isinstance(record.call, c.RunCommand):
            return None
        return command, record.call

    def _output(self, piece: Output) -> None:
        found = self._call(piece.command)
        output = self._of(piece.command)
        output.offset = piece.offset + len(piece.data)
        if not output.dirty:
            output.dirty = True
            if not self._flushing:
                self._flushing = True
                asyncio.get_running_loop().call_soon(self._flush)
        if found is None:
            return
        _command, call = found
        if piece.stream == FILE:
            self._transfers.receive(piece.command, call, piece.data)
            return
        file = self._log(call, piece.stream)
        if file is not None:
            part = file.feed(stream_of(piece.stream), piece.data)
            if part is not None:
                self.house.loop.write(part)

    def _log(self, call: c.RunCommand, stream: str) -> LogFile | None:
        followed = stream.startswith(LOG_PREFIX)
        return self.house.logs.get(call.logs.get(stream.removeprefix(LOG_PREFIX), 0) if followed else call.stdio)

    def _flush(self) -> None:
        """Store how far each command is, once a turn, and acknowledge it after the commit."""
        self._flushing = False
        for name, output in self._outputs.items():
            if output.dirty:
                output.dirty = False
                self._store_progress(name, output.offset)

    def _store_progress(self, name: str, offset: int) -> None:
        found = self._call(name)
        if found is None:
            return
        command, call = found
        tails: dict[str, bytes] = {}
        for logid in {call.stdio, *call.logs.values()} - {0}:
            file = self.house.logs.get(logid)
            for stream, rest in file.partial.items() if file is not None else ():
                tails[f"{logid}.{stream}"] = rest
        received = self._transfers.received(name)
        if received is not None:
            tails[FILE] = str(received).encode()
        worker = command.worker

        def acknowledge() -> None:
            connection = self._connections.get(worker)
            if connection is not None and connection.session.hello is not None and not connection.closed:
                connection.session.ack(name, offset)
                connection.pump()

        self.house.loop.progress(CommandProgress(name, offset, tails), acknowledge)

    def _ended(self, connection: Connection, end: Ended) -> None:
        found = self._call(end.command)
        if found is None:
            self._forget(connection, end)
            return
        _command, call = found
        if self._transfers.expects(end.command, call):
            self._spawn(self._finish_transfer(connection, end, call))
        else:
            self._say_ended(connection, end, call, {}, "")

    async def _finish_transfer(self, connection: Connection, end: Ended, call: c.RunCommand) -> None:
        results, problem = await self._transfers.finish(end.command, call, end.rc)
        self._say_ended(connection, end, call, results, problem)

    def _say_ended(
        self, connection: Connection, end: Ended, call: c.RunCommand, results: dict[str, Any], problem: str
    ) -> None:
        lines: dict[int, int] = {}
        for logid in {call.stdio, *call.logs.values()} - {0}:
            file = self.house.logs.get(logid)
            if file is not None:
                for part in file.finish():
                    self.house.loop.write(part)
                lines[logid] = file.lines
        result = c.CommandResult(
            rc=1 if problem and end.rc == 0 else end.rc,
            failure=problem or end.detail or end.reason,
            elapsed=end.elapsed,
            results={**end.results, **results},
            lost=end.reason in ("lost", "lease"),
            lines=lines,
        )
        self.house.loop.post(e.CommandEnded(command=end.command, result=result))
        self._forget(connection, end)

    def _forget(self, connection: Connection, end: Ended) -> None:
        """The end is in the store with the next commit: then the agent may forget the command."""
        self._outputs.pop(end.command, None)

        def acknowledge() -> None:
            if not connection.closed:
                connection.session.ack(end.command, end.produced, ended=True)
                connection.pump()

        self.house.loop.after_commit(acknowledge)

    async def _file_read(self, connection: Connection, request: FileRead) -> None:
        found = self._call(request.command)
        if found is None:
            connection.session.file_failed(request.command, "nobody waits for this file any more")
        else:
            try:
                data = await self._transfers.read(found[1], request.offset, request.length)
                connection.session.file_chunk(request.command, request.offset, data)
            except OSError as exc:
                connection.session.file_failed(request.command, f"{exc.strerror}: {found[1].mastersrc}")
        connection.pump()

    # --- what the core wants

    def send_command(self, worker: str, name: str) -> None:
        """Have a command run there. If the worker is away, the core asks again when it is back."""
        connection = self._connections.get(worker)
        found = self._call(name)
        if connection is None or found is None:
            return
        if not connection.number:
            connection.early.append(lambda: self.send_command(worker, name))
            return
        _command, call = found
        self._of(name)
        try:
            args = substitute(call.args, self.house.secret)
            self._mask(call)
            connection.session.start(name, call.kind, args)
        except (ProtocolError, KeyError) as exc:
            missing = f"there is no secret {exc}" if isinstance(exc, KeyError) else str(exc)
            result = c.CommandResult(rc=-1, failure=missing)
            self.house.loop.post(e.CommandEnded(command=name, result=result))
            return
        connection.pump()

    def _mask(self, call: c.RunCommand) -> None:
        """Secrets that the command is given never reach its logs."""
        masks = []
        for name in sorted(names_in(call.args)):
            value = self.house.secret(name)
            if value:
                masks.append((value.encode(), f"<{name}>".encode()))
        if masks:
            for logid in {call.stdio, *call.logs.values()} - {0}:
                file = self.house.logs.get(logid)
                if file is not None:
                    file.masks = tuple(sorted(set(file.masks) | set(masks), key=lambda pair: -len(pair[0])))

    def interrupt(self, worker: str, name: str, reason: str) -> None:
        """Have a command ended."""
        connection = self._connections.get(worker)
        if connection is not None and not connection.number:
            connection.early.append(lambda: self.interrupt(worker, name, reason))
        elif connection is not None:
            connection.session.interrupt(name, reason)
            connection.pump()

    # --- the rest

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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


async def _deny(scope: Mapping[str, Any], send: Send, reason: str) -> None:
    """Refuse the handshake with 401 and the reason as text, where the server can."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"www-authenticate", b'Basic realm="lockstep"')]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": reason.encode()})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
