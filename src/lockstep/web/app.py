"""The web application: routes, errors, the guard before them; made when the first request comes.

Litestar is loaded then, in a thread, so that the server is up sooner and the event loop never waits for it.
"""

import asyncio
from urllib.parse import unquote

from lockstep.web.door import Door
from lockstep.web.guard import Guard, Receive, Rights, Scope, Send
from lockstep.web.live import Hub
from lockstep.web.metrics import Metrics


class WebApp:
    """The ASGI application of one server."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._hub = Hub(door)
        self._metrics = Metrics(door)
        self._guard: Guard | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._guard is None:
            await self.load()
        assert self._guard is not None
        await self._guard(with_whole_names(scope), receive, send)

    async def load(self) -> None:
        """Load everything that serving needs."""
        async with self._making:
            if self._guard is None:
                self._guard = await asyncio.to_thread(_make, self._door, self._hub, self._metrics)

    def close(self) -> None:
        """The server stops: end all event streams."""
        self._hub.close()


def with_whole_names(scope: Scope) -> Scope:
    """The scope with a path in which a name's own slashes stay one segment: `%2F`, and `%25` for its percent signs.

    Whoever reads a name out of a path decodes it (`api.params_of`).
    """
    raw = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower() and b"%25" not in raw:
        return scope
    segments = raw.partition(b"?")[0].decode("latin-1").split("/")
    path = "/".join(unquote(segment).replace("%", "%25").replace("/", "%2F") for segment in segments)
    return {**scope, "path": path}


def _make(door: Door, hub: Hub, metrics: Metrics) -> Guard:
    from lockstep.web.site import make_site

    rights = Rights(door)
    return Guard(door, rights, make_site(door, hub, rights, metrics))


def create_app(door: Door) -> WebApp:
    """The web application of a server, as ASGI."""
    return WebApp(door)
