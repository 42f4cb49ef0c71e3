"""What must be asked of the configuration for each request: rendered locks (L24), `canStartBuild`, `nextWorker` (L24a).

They are asked here, outside of every decision, and give the request's alternatives, filtered and in an order. Hooks are
asked again when workers come and go and builds end, since what they look at may have changed then.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lockstep.config.builders import BuilderConfig
from lockstep.config.config import Config
from lockstep.config.needs import NeedError
from lockstep.config.rendering import Properties as ConfigProperties
from lockstep.config.rendering import resolve
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Alternative, Need
from lockstep.core.records import Request
from lockstep.core.values import Properties

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

_PERHAPS: tuple[type[f.Fact], ...] = (f.WorkerUp, f.WorkerDown, f.WorkerPaused, f.BuildStarted, f.BuildEnded)
"""After these facts a hook may answer otherwise."""

_PAUSE = 0.05
"""Seconds in which such facts are gathered."""


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
    """A builder, as hooks see it."""

    def __init__(self, config: BuilderConfig) -> None:
        self.name = config.name
        self.config = config


class HookRequest:
    """A request, as hooks see it."""

    def __init__(self, request: Request, properties: Properties, reason: str) -> None:
        self.id = request.brid
        self.bsid = request.bsid
        self.buildername = request.builder
        self.priority = request.priority
        self.submittedAt = request.submitted_at
        self.properties = ConfigProperties.of(properties)
        self.reason = reason


class Hooks:
    """Asks the hooks of the configuration in force."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._again: asyncio.TimerHandle | None = None
        self._asking: set[int] = set()
        self._repeat: set[int] = set()
        house.loop.listeners.append(self._told)

    def render(self, brid: int) -> None:
        """Find out a request's alternatives and tell the core; asked meanwhile, it is done once more."""
        if brid in self._asking:
            self._repeat.add(brid)
        else:
            self._asking.add(brid)
            self._house.spawn(self._ask(brid))

    async def _ask(self, brid: int) -> None:
        try:
            while True:
                self._repeat.discard(brid)
                config = self._house.config
                events = await self._rendered(config, brid)
                # What an old configuration says, after a reload, must not take the place of what the new one says.
                if config is self._house.config and brid not in self._repeat:
                    break
            for event in events:
                self._house.loop.post(event)
        finally:
            self._asking.discard(brid)

    async def _rendered(self, config: Config, brid: int) -> list[e.Event]:
        state = self._house.loop.state
        request = state.requests.get(brid)
        if request is None or request.builder not in config.builders:
            return []
        buildset = state.buildsets[request.bsid]
        stamps = tuple(state.stamps[ssid].stamp for ssid in buildset.ssids)
        own = {**buildset.properties, **request.properties}
        try:
            rendered = await config.need_for(request.builder, own, None, stamps)
            need = await self.choose(request, own, rendered.need)
        except Exception as exc:
            what = str(exc) if isinstance(exc, NeedError) else f"{type(exc).__name__}: {exc}"
            error = f"The locks and workers of builder '{request.builder}' cannot be found out: {what}"
            log.warning("request %s: %s", brid, error)
            return [e.NeedRendered(brid=brid, error=error)]
        seen: list[e.Event] = [e.LocksSeen(locks=rendered.unknown)] if rendered.unknown else []
        return [*seen, e.NeedRendered(brid=brid, need=need)]

    async def choose(self, request: Request, properties: Properties, need: Need) -> Need:
        """The alternatives that the hooks allow now, in their order. What a hook raises goes through."""
        config = self._house.config.builders[request.builder]
        next_worker = self._house.config.next_worker(request.builder)
        if config.canStartBuild is None and next_worker is None:
            return need
        builder, asked = HookBuilder(config), HookRequest(request, properties, self._reason(request))
        kept: list[tuple[Alternative, HookWorker]] = []
        for alternative in need.alternatives:
            worker = self._worker(alternative.worker)
            can = config.canStartBuild
            if can is None or await resolve(can(builder, worker, asked)):
                kept.append((alternative, worker))
        if next_worker is not None:
            here = [worker for _, worker in kept if self._connected(worker.name)]
            chosen = await resolve(next_worker(builder, here, asked)) if here else None
            kept.sort(key=lambda pair: pair[1] is not chosen)
        return Need(tuple(alternative for alternative, _ in kept))

    def _reason(self, request: Request) -> str:
        buildset = self._house.loop.state.buildsets.get(request.bsid)
        return buildset.reason if buildset is not None else ""

    def _worker(self, name: str) -> HookWorker:
        record = self._house.loop.state.workers.get(name)
        return HookWorker(name, self._house.config.workers.get(name), record.info if record is not None else {})

    def _connected(self, name: str) -> bool:
        record = self._house.loop.state.workers.get(name)
        return record is not None and record.state == "connected" and not record.paused

    def _told(self, facts: Sequence[f.Numbered]) -> None:
        if self._again is None and any(isinstance(numbered.fact, _PERHAPS) for numbered in facts):
            self._again = asyncio.get_running_loop().call_later(_PAUSE, self._ask_again)

    def _ask_again(self) -> None:
        self._again = None
        builders = self._house.config.builders
        for request in list(self._house.loop.state.requests.values()):
            config = builders.get(request.builder)
            if config is None or request.state != "waiting":
                continue
            if config.canStartBuild is not None or self._house.config.next_worker(request.builder) is not None:
                self.render(request.brid)
