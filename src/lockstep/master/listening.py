"""The ports: pages, API and agents on each of them, through uvicorn.

WebSockets go to the agents' adapter, everything else to the web application, which is loaded when it is first needed.
"""

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from lockstep.master import clock
from lockstep.master.limits import ACCEPTED_AT_ONCE, MAX_CONNECTIONS, SPARE_FILES

if TYPE_CHECKING:
    from lockstep.master.server import Server

log = logging.getLogger(__name__)

GRACE = 2
"""Seconds that open requests get when the server stops."""


class _AgentSocket(WebSocketsSansIOProtocol):
    """A WebSocket that acknowledges what it receives at once.

    `buildbot-worker` leaves Nagle's algorithm on: with delayed acknowledgements each of its small messages waits 40 ms.
    Linux forgets the option, so it is set anew at every receipt.
    """

    def data_received(self, data: bytes) -> None:
        """Take what came, as always."""
        super().data_received(data)
        sock = self.transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _Visit(H11Protocol):
    """A connection that asks over HTTP.

    Whoever reaches the port may open as many as he likes and say nothing. If there are too many, the one goes that has
    waited longest for a request: the files that a process may have open are also for the store, workers and programs.
    """

    since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One more; make room for it."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.since = clock.monotonic()
        if len(self.connections) > most_connections():
            visits = [one for one in self.connections if isinstance(one, _Visit) and one.waits()]
            min(visits, key=lambda one: one.since).leave()

    def waits(self) -> bool:
        """Whether nothing is being answered here: no request has come yet, or its end has not."""
        unfinished = self.conn.their_state is h11.SEND_BODY
        return unfinished or self.cycle is None or self.cycle.response_complete

    def leave(self) -> None:
        """End at once."""
        self.connections.discard(self)
        self.transport.abort()


def most_connections() -> int:
    """How many connections there may be at once."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, files - min(SPARE_FILES, files // 2))


class Listening:
    """Everything that listens. `addresses` are the hosts and ports that are open, in the order in which they were asked
    for."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._uvicorn: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.addresses: list[tuple[str, int]] = []

    async def start(self, addresses: list[tuple[str, int]]) -> None:
        """Open all addresses. Raises OSError, with the address in its message."""
        asked = list(dict.fromkeys(addresses))
        sockets = [_open(host, port) for host, port in asked]
        self.addresses = [(host, each.getsockname()[1]) for (host, _), each in zip(asked, sockets, strict=True)]
        web = self._server.web_app()

        async def app(scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
            if scope["type"] == "websocket":
                await self._server.agents.serve(scope, receive, send)
            else:
                await web(scope, receive, send)

        passed_on: Any = ProxyHeadersMiddleware(app)

        async def seen(scope: Any, receive: Any, send: Any) -> None:
            """`client` becomes what a proxy on this machine says of whom it serves; `peer` is who is connected."""
            await passed_on({**scope, "peer": scope["client"]}, receive, send)

        config = uvicorn.Config(
            seen,
            proxy_headers=False,
            ws=_AgentSocket,
            ws_per_message_deflate=False,
            http=_Visit,
            backlog=ACCEPTED_AT_ONCE,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
        )
        server = self._uvicorn = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=sockets)
        for each in sockets:
            each.listen(socket.SOMAXCONN)  # those beyond what is accepted at once wait, and are not sent away
        self._task = asyncio.create_task(server.main_loop())

    async def stop(self) -> None:
        """Close all ports."""
        if self._uvicorn is not None and self._task is not None:
            self._uvicorn.should_exit = True
            await self._task
            await self._uvicorn.shutdown()


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio does not switch Nagle's algorithm off: that costs 40 ms a step.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as exc:
        sock.close()
        raise OSError(exc.errno, f"cannot listen on {host}:{port}: {exc.strerror}") from exc
    sock.set_inheritable(False)
    return sock
