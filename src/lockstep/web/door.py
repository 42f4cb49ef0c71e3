"""What pages and API may ask of a running server: the contract that `master/` fulfils.

Only protocols and values live here. The web reads the state and the store, and writes by events; nothing else.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from lockstep.core.events import Event
from lockstep.core.facts import Numbered
from lockstep.core.state import State
from lockstep.core.values import Submission
from lockstep.storage.queries import Queries
from lockstep.web.forecasting import Forecasts


class Site(Struct, frozen=True, kw_only=True):
    """What the configuration says about the pages. `token` is asked of whoever changes something from elsewhere."""

    title: str
    title_url: str
    url: str
    version: str
    token: str
    basedir: Path


class ForceForm(Protocol):
    """A ForceScheduler, as pages and the API use it."""

    name: str

    def spec(self) -> Mapping[str, Any]:
        """Its description in Buildbot's shape: name, label, button_name, builder_names, all_fields."""

    def submission(self, values: Mapping[str, Any], builder: str, who: str) -> Submission:
        """What a filled-in form asks for. Raises RefusedError with a sentence that names each wrong field."""


class Door(Protocol):
    """A running server, seen from the web."""

    @property
    def site(self) -> Site:
        """What the configuration in force says about the pages."""

    def now(self) -> float:
        """The wall time, Unix seconds."""

    @property
    def state(self) -> State:
        """The core's state. Read only, and only in the event loop's thread."""

    @property
    def reads(self) -> Queries:
        """Questions about what is stored; call them in a thread (`asyncio.to_thread`)."""

    @property
    def forecasts(self) -> Forecasts:
        """When what waits is expected to start."""

    def load(self) -> Sequence[tuple[str, str, float, str]]:
        """How busy the server is, for metrics: name, what it says, value, `gauge` or `counter`."""

    async def ask(self, event: Event) -> Any:
        """Put an event into the inbox and wait until what follows is stored. Raises `RefusedError`."""

    @property
    def stopped(self) -> asyncio.Event:
        """Set when the server stops: whoever waits for something must not hold it up."""

    def listen(self, facts: Callable[[Sequence[Numbered]], None]) -> Callable[[], None]:
        """Be told of facts as they are stored (in the event loop). Returns what ends it."""

    def listen_logs(self, lines: Callable[[int, int, str], None]) -> Callable[[], None]:
        """Be told of stored lines: log id, number of the first, text. Returns what ends it."""

    def force_forms(self) -> Sequence[ForceForm]:
        """The configuration's force schedulers."""

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
        """What `lockstep force` asks for, with or without a force scheduler. Raises `RefusedError`."""

    def step_summary(self, buildid: int, number: int) -> str:
        """What a running step says of itself, or nothing."""

    def growing(self, logid: int) -> str:
        """The lines of a log that have not ended, as they stand now (progress bars); none of them is stored so."""

    async def reload(self) -> Sequence[str]:
        """Read the configuration again. Returns warnings. Raises RefusedError with all mistakes, one a line."""
