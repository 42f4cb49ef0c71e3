"""A server in this process, and agents that a test plays itself: frames in the order that it likes."""

import asyncio
import base64
import sqlite3
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from lockstep.core import events as e
from lockstep.core.values import RequestWish, Submission
from lockstep.master.server import Server
from lockstep.protocol.agent_session import AgentSession
from lockstep.protocol.limits import SUBPROTOCOL
from lockstep.protocol.messages import AgentMessage, Hello, Known, MasterMessage, Start, Welcome

Told = TypeVar("Told", bound=MasterMessage)

DEADLINE = 60.0
"""Seconds after which a condition is given up; generous, because machines may be slow."""
PRELUDE = """\
from lockstep.plugins import *
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker('w1', 'secret')]
def build(name, *parts):
    return util.BuilderConfig(name=name, workernames=['w1'], factory=util.BuildFactory(list(parts)))
"""


@asynccontextmanager
async def serving(folder: Path, config: str) -> AsyncIterator[Server]:
    """A running server in this process; its local workers, which outlive a server, end with it."""
    (folder / "master.cfg").write_text(PRELUDE + textwrap.dedent(config))
    base = folder / "base"
    base.mkdir(exist_ok=True)
    server = Server(str(folder / "master.cfg"), str(base), port=0)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await asyncio.to_thread(server.local.stop)
        for client in Client.clients:
            await client.close()
        Client.clients.clear()


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition is true, and return what it returned."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.01)
    return found


@contextmanager
def no_commits(folder: Path) -> Iterator[None]:
    """Nothing can be stored meanwhile: somebody else writes to the store."""
    other = sqlite3.connect(folder / "base" / "lockstep.sqlite", isolation_level=None, timeout=DEADLINE)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def force(server: Server, builder: str) -> None:
    """Ask for a build."""
    await server.loop.ask(e.Submitted(submission=Submission(requests=(RequestWish(builder=builder),))))


class Client:
    """One connection of an agent, as the server's ASGI application sees it: the test decides what arrives, and when.

    `closed`: the server has closed it; what the test says is delivered all the same, as a network does.
    """

    clients: ClassVar[list["Client"]] = []

    def __init__(self, server: Server, name: str = "w1", password: str = "secret", address: str = "10.0.0.1") -> None:
        pair = base64.b64encode(f"{name}:{password}".encode())
        scope = {
            "subprotocols": [SUBPROTOCOL],
            "headers": [(b"authorization", b"Basic " + pair)],
            "client": (address, 1),
            "peer": (address, 1),
        }
        self.session = AgentSession(60.0)
        self.heard: list[MasterMessage] = []
        self.closed = False
        self.refusal = ""
        self._queue: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._queue.put_nowait({"type": "websocket.connect"})
        self.clients.append(self)
        self.task = asyncio.ensure_future(server.agents.serve(scope, self._queue.get, self._hear))

    async def _hear(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.send":
            self.heard += self.session.receive(message["bytes"], time.monotonic())
        elif message["type"] == "websocket.close":
            self.closed = True
            self.refusal = str(message.get("reason", ""))

    def _deliver(self, frame: bytes) -> None:
        self._queue.put_nowait({"type": "websocket.receive", "bytes": frame})

    def hello(self, *commands: Known) -> None:
        """Say who it is: always the same agent."""
        hello = Hello(version="test", lease=60.0, home="home", boot="boot", life="life", commands=commands)
        self._deliver(self.session.open(hello, time.monotonic()))

    def say(self, *messages: AgentMessage) -> None:
        """Send one frame."""
        self._deliver(self.session.frame(messages, time.monotonic()))

    def told(self, kind: type[Told]) -> list[Told]:
        """What the server has said of that kind."""
        return [message for message in self.heard if isinstance(message, kind)]

    async def welcomed(self) -> Welcome:
        """Wait for the server's welcome."""
        found: list[Welcome] = await until(lambda: self.told(Welcome), "a welcome")
        return found[0]

    async def started(self) -> Start:
        """Wait for a command to run."""
        found: list[Start] = await until(lambda: self.told(Start), "a command")
        return found[-1]

    async def close(self) -> None:
        """Hang up."""
        self._queue.put_nowait({"type": "websocket.disconnect"})
        await self.task


async def at_work(server: Server, builder: str) -> tuple[Client, str]:
    """An agent with the first command of a build: its connection, and the command's id."""
    client = Client(server)
    client.hello()
    await client.welcomed()
    await force(server, builder)
    return client, (await client.started()).command
