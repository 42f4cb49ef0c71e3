"""What the web may ask of this server: `web.door.Door`, over the server's parts."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep import __version__
from lockstep.config.errors import ConfigErrors
from lockstep.core.errors import RefusedError
from lockstep.core.events import Event
from lockstep.core.facts import Numbered
from lockstep.core.state import State
from lockstep.core.values import Submission
from lockstep.master import clock
from lockstep.schedulers.force import ForceScheduler, plain_submission
from lockstep.storage.batch import LogPart
from lockstep.storage.queries import Queries
from lockstep.web.door import ForceForm, Site
from lockstep.web.forecasting import Forecasts

if TYPE_CHECKING:
    from lockstep.master.server import Server
    from lockstep.web.app import WebApp


class ServerDoor:
    """A server's side of the door."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.forecasts = Forecasts(self)

    @property
    def site(self) -> Site:
        config = self._server.house.config
        return Site(
            title=config.title,
            title_url=config.titleURL,
            url=config.buildbotURL,
            version=__version__,
            token=self._server.token,
            basedir=Path(self._server.basedir),
        )

    def now(self) -> float:
        return clock.wall()

    @property
    def state(self) -> State:
        return self._server.loop.state

    @property
    def reads(self) -> Queries:
        return self._server.reads

    def load(self) -> Sequence[tuple[str, str, float, str]]:
        waiting, flying = self._server.loop.load()
        commits = self._server.writer.commits
        return (
            ("inbox_events", "Events that wait to be decided.", waiting, "gauge"),
            ("batches_flying", "Batches of facts that are being stored.", flying, "gauge"),
            ("commits", "Transactions of the store.", commits, "counter"),
        )

    async def ask(self, event: Event) -> Any:
        return await self._server.loop.ask(event)

    @property
    def stopped(self) -> asyncio.Event:
        return self._server.stopped

    def listen(self, facts: Callable[[Sequence[Numbered]], None]) -> Callable[[], None]:
        listeners = self._server.loop.listeners
        listeners.append(facts)
        return lambda: listeners.remove(facts) if facts in listeners else None

    def listen_logs(self, lines: Callable[[int, int, str], None]) -> Callable[[], None]:
        def told(part: LogPart) -> None:
            lines(part.logid, part.first_line, part.text)

        listeners = self._server.loop.part_listeners
        listeners.append(told)
        return lambda: listeners.remove(told) if told in listeners else None

    def force_forms(self) -> Sequence[ForceForm]:
        return [s for s in self._server.house.config.schedulers.values() if isinstance(s, ForceScheduler)]

    def plain_submission(
        self,
        builder: str,
        *,
        branch: str | None,
        revision: str | None,
        properties: Mapping[str, Any],
        reason: str,
        who: str,
        count: int,
    ) -> Submission:
        if builder not in self.state.builders:
            raise RefusedError(f"There is no builder '{builder}'.")
        return plain_submission(
            builder, branch=branch, revision=revision, properties=properties, reason=reason, who=who, count=count
        )

    def step_summary(self, buildid: int, number: int) -> str:
        return self._server.house.summaries.get((buildid, number), "")

    def growing(self, logid: int) -> str:
        file = self._server.house.logs.get(logid)
        return file.growing() if file is not None else ""

    async def reload(self) -> Sequence[str]:
        try:
            return await self._server.reload()
        except ConfigErrors as exc:
            raise RefusedError(str(exc)) from exc


def make_app(server: "Server") -> Any:
    """The web application of a server."""
    from lockstep.web.app import create_app

    app = create_app(ServerDoor(server))
    server.house.spawn(_close(server, app))
    return app


async def _close(server: "Server", app: "WebApp") -> None:
    """Event streams end before the ports do, or every open page would hold the server up."""
    await server.stopped.wait()
    app.close()
