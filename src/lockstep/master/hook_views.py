"""What hooks of the configuration are given: the server, builders, workers and requests with Buildbot's names.

Views only: they read the state and the store, and change nothing. Who asks which hook, and when, is in `hooks.py`.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lockstep.config.builders import BuilderConfig
from lockstep.config.rendering import Properties as ConfigProperties
from lockstep.config.rendering import resolve
from lockstep.core.errors import RAISED
from lockstep.core.records import Build, Request
from lockstep.core.state import State
from lockstep.core.values import Properties, SourceStamp
from lockstep.master.limits import HOOK_TIMEOUT
from lockstep.storage.filters import Filter
from lockstep.storage.queries import Queries

if TYPE_CHECKING:
    from lockstep.master.house import House


class HookError(Exception):
    """A hook raised, took too long, or answered what it must not. The text names it and says what is wrong."""


async def ask(name: str, hook: Callable[..., Any], *args: Any) -> Any:
    """What a hook answers, waited for. Raises HookError with the hook's name."""
    try:
        async with asyncio.timeout(HOOK_TIMEOUT):
            return await resolve(hook(*args))
    except TimeoutError:
        raise HookError(f"{name} has not answered for {HOOK_TIMEOUT:g} seconds") from None
    except RAISED as exc:
        raise HookError(f"{name}: {type(exc).__name__}: {exc}") from exc


def waiting(state: State, coming: frozenset[int] = frozenset()) -> dict[str, list[Request]]:
    """By builder the waiting requests and those of `coming`, in the order in which they start without hooks.

    The builder whose first request would start first without hooks comes first.
    """
    found: dict[str, list[Request]] = {}
    requests = (each for each in state.requests.values() if each.state == "waiting" or each.brid in coming)
    for request in sorted(requests, key=lambda request: (-request.priority, request.ticket)):
        found.setdefault(request.builder, []).append(request)
    return found


class HookWorker:
    """A worker for a builder, as hooks see it: `.worker.workername` and `.workername`."""

    def __init__(self, name: str, config: Any, info: dict[str, Any]) -> None:
        self.workername = name
        self.name = name
        self.properties = getattr(config, "properties", {})
        self.info = info

    @property
    def worker(self) -> "HookWorker":
        """Itself (Buildbot has two objects here)."""
        return self


class HookBuilder:
    """A builder, as hooks see it. `building` are its running builds; `old_building` is there for old hooks, empty."""

    def __init__(self, house: "House", config: BuilderConfig, coming: frozenset[int] = frozenset()) -> None:
        self._house = house
        self._coming = coming
        self.name = config.name
        self.config = config
        self.old_building: list[Build] = []

    @property
    def building(self) -> list[Build]:
        """Its builds that run now."""
        return [build for build in self._house.loop.state.builds.values() if build.builder == self.name]

    def _waiting(self) -> list[Request]:
        return waiting(self._house.loop.state, self._coming).get(self.name, [])

    async def getOldestRequestTime(self) -> datetime | None:
        """When the oldest of its waiting requests came."""
        times = [request.submitted_at for request in self._waiting()]
        return datetime.fromtimestamp(min(times), UTC) if times else None

    async def getHighestPriority(self) -> int | None:
        """The highest priority of its waiting requests."""
        requests = self._waiting()
        return requests[0].priority if requests else None

    async def getNewestCompleteTime(self) -> datetime | None:
        """When its last build ended that has ended."""
        builderid = self._house.loop.state.builder_ids[self.name]
        filters = [Filter("builderid", "eq", (builderid,)), Filter("complete", "eq", (True,))]
        page = await asyncio.to_thread(self._house.reads.page, "builds", filters, ["-complete_at"], 1)
        return datetime.fromtimestamp(page.items[0]["complete_at"], UTC) if page.items else None


class HookRequest:
    """A request, as hooks see it. `sources` are its source stamps by codebase."""

    def __init__(self, state: State, request: Request) -> None:
        buildset = state.buildsets[request.bsid]
        self._own: Properties = {**buildset.properties, **request.properties}
        self.id = request.brid
        self.bsid = request.bsid
        self.buildername = request.builder
        self.builderid = state.builder_ids[request.builder]
        self.priority = request.priority
        self.submittedAt = request.submitted_at
        self.reason = buildset.reason
        self.waitedFor = request.parent != 0
        stamps: list[SourceStamp] = [state.stamps[ssid].stamp for ssid in buildset.ssids]
        self.sources: dict[str, SourceStamp] = {stamp.codebase: stamp for stamp in stamps}
        self.source = stamps[0] if stamps else SourceStamp()

    @cached_property
    def properties(self) -> ConfigProperties:
        """Its own properties and those of its build set."""
        return ConfigProperties.of(self._own)


class HookData:
    """The server's data, by paths as in the API: `await master.data.get(("buildsets", 3))`."""

    def __init__(self, reads: Queries) -> None:
        self._reads = reads

    async def get(self, path: Any) -> Any:
        """A list of all things of a kind, or the one with that id (None: there is none)."""
        words = [str(word) for word in (path.strip("/").split("/") if isinstance(path, str) else path)]
        if len(words) == 1:
            return (await asyncio.to_thread(self._reads.page, words[0])).items
        if len(words) == 2 and words[1].isdecimal():
            more = ["*"] if words[0] in ("builds", "buildrequests") else []
            return await asyncio.to_thread(self._reads.get, words[0], int(words[1]), more)
        raise KeyError(f"data.get takes a kind, or a kind and an id, not {'/'.join(words)}")


class HookMaster:
    """The server, as hooks see it."""

    def __init__(self, house: "House") -> None:
        self.data = HookData(house.reads)
        self.config = house.config
        self.basedir = house.config.basedir
