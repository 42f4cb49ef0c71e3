"""A real master for the agent's tests, on a real WebSocket, and real agent processes.

The master runs an event loop in a thread; tests talk to it from outside and wait for conditions, never for
time. It speaks both dialects through `protocol.session`, as the server does.
"""

import asyncio
import base64
import http
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ports import KeptPort
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import MAX_FRAME, SUBPROTOCOL
from lockstep.protocol.messages import Ended, FileRead, Hello, Output
from lockstep.protocol.session import Absent, Attached, Cleared, Event, Leaving, Session, open_session

DEADLINE = 180.0
"""Seconds after which a condition is given up: no measure of speed, for machines may be slow and stand still."""


class Told:
    """What a worker has told of one command."""

    def __init__(self) -> None:
        self.pieces: list[Output] = []
        self.offset = 0
        self.end: Ended | None = None
        self.ends = 0

    def text(self, stream: str) -> bytes:
        """All output of one stream."""
        return b"".join(piece.data for piece in self.pieces if piece.stream == stream)


class Master:
    """A small master: one listening port, which can be closed and opened again; what it stores is in
    memory.
    """

    def __init__(self) -> None:
        self._kept = KeptPort()
        self.port = self._kept.number
        self.passwords = {"bot": "secret"}
        self.told: dict[str, Told] = {}
        self.wanted: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.hellos: list[Hello] = []
        self.absent: list[Absent] = []
        self.cleared: list[str] = []
        self.leaving = False
        self.too_late: tuple[str, ...] = ()
        self.errors: list[str] = []
        self.refusal = ""
        self.acking = True
        self.session: Session | None = None
        self.last: tuple[str, str] = ("", "")
        self.received_bytes = 0
        self.unheard = 0
        self._websocket: ServerConnection | None = None
        self._server: Server | None = None
        self._silent = False
        self._unread: ServerConnection | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.open()

    # ---- called by tests

    def call(self, function: Callable[[], Any]) -> Any:
        """Call something in the master's thread, and then send what is to be sent."""

        async def inside() -> Any:
            result = function()
            await self._flush()
            return result

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(DEADLINE)

    def open(self) -> None:
        """Listen, always on the same port."""

        async def inside() -> None:
            self._server = await serve(
                self._handle,
                "127.0.0.1",
                self.port,
                subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
                select_subprotocol=lambda _, offered: SUBPROTOCOL if SUBPROTOCOL in offered else None,
                process_request=self._check,
                compression=None,
                max_size=MAX_FRAME,
                ping_interval=None,
            )

        asyncio.run_coroutine_threadsafe(inside(), self._loop).result(DEADLINE)

    def cut(self) -> None:
        """Break the connection without a word, and listen no more."""

        async def inside() -> None:
            assert self._server is not None
            self._server.close(close_connections=False)
            if self._websocket is not None:
                self._websocket.transport.abort()
            self.session = self._websocket = None

        asyncio.run_coroutine_threadsafe(inside(), self._loop).result(DEADLINE)

    def stop_reading(self) -> None:
        """Keep the connection, but from the next message on let the other side's bytes pile up."""
        assert self._websocket is not None
        self._unread = self._websocket

    def fall_silent(self) -> None:
        """Keep the connection, but answer nothing and take in nothing."""
        self._silent = True

    def speak_again(self) -> None:
        """After a cut: listen, and be as before."""
        self._silent = False
        self.open()

    def prepare(self, command: str) -> None:
        """Expect news of a command."""
        self.wanted.add(command)
        self.told[command] = Told()

    def start(self, command: str, kind: str = "shell", /, **args: Any) -> None:
        """Have a command run."""
        self.prepare(command)
        self.call(lambda: self._session().start(command, kind, args))

    def run(self, command: str, kind: str = "shell", /, **args: Any) -> Told:
        """Have a command run, and wait for its end."""
        self.start(command, kind, **args)
        return self.ended(command)

    def ended(self, command: str) -> Told:
        """Wait for the end of a command."""
        self.wait(lambda: self.told[command].end is not None, f"the end of {command}")
        return self.told[command]

    def interrupt(self, command: str, reason: str = "enough") -> None:
        """Have a command ended."""
        self.call(lambda: self._session().interrupt(command, reason))

    def ack_all(self) -> None:
        """Acknowledge everything from now on, and what has been held back."""

        def inside() -> None:
            self.acking = True
            for name, told in self.told.items():
                self._session().ack(name, told.offset, ended=told.end is not None)

        self.call(inside)

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until something has become true."""
        with self._changed:
            if not self._changed.wait_for(condition, DEADLINE):
                pytest.fail(f"waited in vain for {what}; errors: {self.errors}")

    def attached(self) -> None:
        """Wait until a worker is welcomed."""
        self.wait(lambda: self.session is not None and self.hellos, "a worker")

    def close(self) -> None:
        """The end."""
        self.cut()

        async def end_tasks() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end_tasks(), self._loop).result(DEADLINE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._kept.give_back()

    # ---- in the master's thread

    def _session(self) -> Session:
        assert self.session is not None
        return self.session

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        """HTTP Basic."""
        kind, _, word = request.headers.get("Authorization", "").partition(" ")
        name, _, password = base64.b64decode(word).decode().partition(":")
        if kind == "Basic" and self.passwords.get(name) == password:
            connection.username = name
            return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, f"unknown worker {name!r} or wrong password\n")

    async def _handle(self, websocket: ServerConnection) -> None:
        """One connection."""
        session = open_session(websocket.subprotocol, websocket.username or "")
        self._websocket = websocket
        try:
            await self._send(websocket, session)
            async for data in websocket:
                if websocket is not self._websocket:  # what had come before it was cut
                    return
                if websocket is self._unread:
                    websocket.transport.pause_reading()
                    await asyncio.Future()
                if self._silent:
                    with self._changed:
                        self.unheard += 1
                        self._changed.notify_all()
                    continue
                assert isinstance(data, bytes)
                self.received_bytes += len(data)
                with self._changed:
                    for event in session.receive(data, time.monotonic()):
                        self._take(session, event)
                    self._changed.notify_all()
                await self._send(websocket, session)
                if session.closing:
                    return
        except ConnectionClosed:
            pass
        except ProtocolError as error:
            self.errors.append(str(error))

    def _take(self, session: Session, event: Event) -> None:
        """One event of a session."""
        if isinstance(event, Attached):
            self._take_hello(session, event.hello)
        elif isinstance(event, Output):
            told = self.told[event.command]
            assert event.offset == told.offset, "doubled or lost"
            told.pieces.append(event)
            told.offset += len(event.data)
            if self.acking:
                session.ack(event.command, told.offset)
        elif isinstance(event, Ended):
            told = self.told[event.command]
            told.end, told.ends = event, told.ends + 1
            self.wanted.discard(event.command)
            if self.acking:
                session.ack(event.command, told.offset, ended=True)
        elif isinstance(event, FileRead):
            content = self.files.get(event.command)
            if content is None:
                session.file_failed(event.command, "no such file at the master")
            else:
                piece = content[event.offset : event.offset + event.length]
                session.file_chunk(event.command, event.offset, piece)
        elif isinstance(event, Absent):
            self.absent.append(event)
        elif isinstance(event, Cleared):
            self.cleared.append(event.command)
        elif isinstance(event, Leaving):
            self.leaving = True
            for command in self.too_late:
                self.prepare(command)
                session.start(command, "shell", {"command": "true"})
            session.shutdown("go")

    def _take_hello(self, session: Session, hello: Hello) -> None:
        """Welcome a worker, with what is stored."""
        if self.refusal:
            session.refuse(self.refusal)
            return
        unended = {name for name, told in self.told.items() if told.end is not None and not self.acking}
        stored = {name: self.told.setdefault(name, Told()).offset for name in self.wanted | unended}
        for event in session.welcome(stored, *self.last):
            self._take(session, event)
        self.last = (hello.home, hello.boot)
        self.hellos.append(hello)
        self.session = session

    async def _flush(self) -> None:
        if self._websocket is not None and self.session is not None:
            await self._send(self._websocket, self.session)

    async def _send(self, websocket: ServerConnection, session: Session) -> None:
        for data in session.outgoing():
            await websocket.send(data)


class AgentProcess:
    """A real agent in a process of its own."""

    def __init__(self, master: Master, basedir: Path, *options: str, password: str = "secret") -> None:
        self.basedir = basedir
        basedir.mkdir(parents=True, exist_ok=True)
        self.log = basedir.with_name(f"{basedir.name}.log")
        url = f"ws://127.0.0.1:{master.port}/"
        words = [sys.executable, "-m", "lockstep.worker", "--url", url, "--name", "bot"]
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [*words, "--basedir", str(basedir), *options],
                env={**os.environ, "LOCKSTEP_WORKER_PASSWORD": password, "AGENT_WORD": "agent's own"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self) -> int:
        """The agent's own process id (not its guardian's)."""
        return int((self.basedir / ".lockstep" / "lock").read_text())

    def spooled(self) -> list[str]:
        """The files of the spool."""
        return sorted(os.listdir(self.basedir / ".lockstep" / "commands"))

    def stop(self) -> int:
        """End it in order, and return its exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        return self.popen.wait(DEADLINE)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until something in the world outside has become true, and return it."""
    deadline = time.monotonic() + DEADLINE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.01)


def alive(word: str) -> list[int]:
    """The ids of the living processes that have `word` in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                line = Path("/proc", name, "cmdline").read_bytes()
                state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if word.encode() in line and state not in "ZX":
                found.append(int(name))
    return found


class World:
    """What tests of this folder use: a master, agents, and helpers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.master = Master()
        self.agents: list[AgentProcess] = []
        self.until = staticmethod(until)
        self.alive = staticmethod(alive)

    def agent(self, *options: str, wait: bool = True, name: str = "bot", password: str = "secret") -> AgentProcess:
        """Start an agent, and wait until it is welcomed."""
        before = len(self.master.hellos)
        agent = AgentProcess(self.master, self.folder / name, *options, password=password)
        self.agents.append(agent)
        if wait:
            self.master.wait(lambda: len(self.master.hellos) > before, "the agent")
        return agent


@pytest.fixture
def word() -> str:
    """A word that no other process has in its command line."""
    return f"w{uuid.uuid4().hex}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A master without agents; everything ends with the test."""
    made = World(tmp_path)
    try:
        yield made
    finally:
        for agent in made.agents:
            agent.stop()
        made.master.close()
    assert made.master.errors == []
