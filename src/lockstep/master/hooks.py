"""What must be asked of the configuration for each request: rendered locks (L24) and hooks (L24a).

They are asked here, outside of every decision. `canStartBuild` and `nextWorker` give the request's alternatives,
filtered and in an order; a function as `collapseRequests` what it takes in; `prioritizeBuilders` and `nextBuild` ranks
(`ranking.py`). Hooks are asked when a claim is made, and again when workers come and go, builds start and end, and from
time to time, since what they look at may have changed then.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lockstep.config.config import Config
from lockstep.config.needs import NeedError
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide_requests import may_merge
from lockstep.core.errors import RAISED
from lockstep.core.nouns import Alternative, Need
from lockstep.core.records import Request
from lockstep.master import clock
from lockstep.master.hook_views import HookBuilder, HookError, HookMaster, HookRequest, HookWorker, ask
from lockstep.master.limits import HOOK_PAUSE, HOOK_PERIOD, HOOK_ROUND
from lockstep.master.ranking import Ranking

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

_PERHAPS: tuple[type[f.Fact], ...] = (
    f.WorkerUp,
    f.WorkerLeaving,
    f.WorkerDown,
    f.WorkerPaused,
    f.BuildStarted,
    f.BuildEnded,
    f.RequestEnded,
    f.PrioritySet,
)
"""After these facts a hook may answer otherwise."""


class Hooks:
    """Asks the hooks of the configuration in force."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._ranking = Ranking(house)
        self._asking: set[int] = set()
        self._repeat: set[int] = set()
        self._ready: dict[int, list[e.Event]] = {}
        """What is to be told of requests as soon as hooks have given them a place."""
        self._ranks_again = False
        self._is_ranking = False
        self._next: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._others: list[int] = []
        """Requests that this pass has not come to yet."""
        self._new_pass = False
        house.loop.listeners.append(self._told)

    # --- one request

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
                events = await self._asked(config, brid)
                # What an old configuration says, after a reload, must not take the place of what the new one says.
                if config is self._house.config and brid not in self._repeat:
                    break
        finally:
            self._asking.discard(brid)
        request = self._house.loop.state.requests.get(brid)
        known = request is not None and request.builder in config.builders
        if request is not None and known and request.state == "rendering" and config.orders(request.builder):
            self._ready[brid] = events
            self.rank()
        else:
            self._post(events)

    def _post(self, events: list[e.Event]) -> None:
        for event in events:
            self._house.loop.post(event)

    async def _asked(self, config: Config, brid: int) -> list[e.Event]:
        """What the hooks say of one request. What they raise ends it (L24)."""
        request = self._house.loop.state.requests.get(brid)
        if request is None or request.builder not in config.builders:
            return []
        try:
            seen, need = await self._need(config, request)
            merge = await self._merge(config, request) if request.state == "rendering" else ()
        except RAISED as exc:
            what = str(exc) if isinstance(exc, NeedError | HookError) else f"{type(exc).__name__}: {exc}"
            error = f"What builder '{request.builder}' needs cannot be found out: {what}"
            log.warning("request %s: %s", brid, error)
            return [e.NeedRendered(brid=brid, error=error)]
        return [*seen, e.NeedRendered(brid=brid, need=need, merge=merge)]

    async def _need(self, config: Config, request: Request) -> tuple[list[e.Event], Need | None]:
        """The request's alternatives; None: as configured."""
        state = self._house.loop.state
        builder = state.builders.get(request.builder)
        if builder is not None and builder.need is not None:
            return [], None
        buildset = state.buildsets[request.bsid]
        stamps = tuple(state.stamps[ssid].stamp for ssid in buildset.ssids)
        own = {**buildset.properties, **request.properties}
        view = HookRequest(state, request)
        rendered = await config.need_for(request.builder, own, None, stamps)
        need = await self._choose(config, view, rendered.need)
        return [e.LocksSeen(locks=rendered.unknown)] if rendered.unknown else [], need

    async def _choose(self, config: Config, request: HookRequest, need: Need) -> Need:
        """The alternatives that the hooks allow now, in their order."""
        settings = config.builders[request.buildername]
        can, next_worker = settings.canStartBuild, config.next_worker(request.buildername)
        if can is None and next_worker is None:
            return need
        builder = HookBuilder(self._house, settings)
        kept: list[tuple[Alternative, HookWorker]] = []
        for alternative in need.alternatives:
            worker = self._worker(config, alternative.worker)
            if can is None or await ask("canStartBuild", can, builder, worker, request):
                kept.append((alternative, worker))
        if next_worker is not None:
            here = [worker for _, worker in kept if self._connected(worker.name)]
            chosen = await ask("nextWorker", next_worker, builder, here, request) if here else None
            kept.sort(key=lambda pair: pair[1] is not chosen)
        return Need(tuple(alternative for alternative, _ in kept))

    def _worker(self, config: Config, name: str) -> HookWorker:
        record = self._house.loop.state.workers.get(name)
        return HookWorker(name, config.workers.get(name), record.info if record is not None else {})

    def _connected(self, name: str) -> bool:
        record = self._house.loop.state.workers.get(name)
        return record is not None and record.state == "connected" and not record.paused

    async def _merge(self, config: Config, request: Request) -> tuple[int, ...]:
        """The waiting requests that `collapseRequests`, a function, lets a new one take in."""
        hook = config.collapse(request.builder)
        if not callable(hook) or request.collapse_key is None:
            return ()
        await self._house.loop.settle()  # the hook may read what is stored of both
        others = [other.brid for other in self._house.loop.state.requests.values() if may_merge(request, other)]
        data = HookMaster(self._house).data
        builderid = self._house.loop.state.builder_ids[request.builder]
        builder, new = await data.get(("builders", builderid)), await data.get(("buildrequests", request.brid))
        merged = []
        for brid in others:
            old = await data.get(("buildrequests", brid))
            if await ask("collapseRequests", hook, HookMaster(self._house), builder, new, old):
                merged.append(brid)
        return tuple(merged)

    # --- the order of requests

    def rank(self) -> None:
        """Ask the hooks that order builders and requests; asked meanwhile, it is done once more."""
        if self._is_ranking:
            self._ranks_again = True
        else:
            self._is_ranking = True
            self._house.spawn(self._rank())

    async def _rank(self) -> None:
        try:
            while True:
                self._ranks_again = False
                ready, self._ready = self._ready, {}
                config = self._house.config
                ranks = await self._ranking.ranks(config, ready)
                if config is not self._house.config:
                    self._ready = {**ready, **self._ready}
                    continue
                if ranks:
                    self._house.loop.post(e.RanksFound(ranks=ranks))
                for events in ready.values():
                    self._post(events)
                if not self._ranks_again:
                    return
        finally:
            self._is_ranking = False

    # --- again

    async def keep_asking(self) -> None:
        """Ask again from time to time: hooks may look at the time, or outside."""
        while True:
            await asyncio.sleep(HOOK_PERIOD)
            self.ask_again()

    def ask_again(self) -> None:
        """All that hooks have said may be otherwise now. Rounds follow each other with a pause."""
        self._new_pass = True
        self._next_round()

    def _told(self, facts: Sequence[f.Numbered]) -> None:
        if any(isinstance(numbered.fact, _PERHAPS) for numbered in facts):
            self.ask_again()

    def _next_round(self) -> None:
        if self._next is None:
            pause = max(0.0, self._last + HOOK_PAUSE - clock.monotonic())
            self._next = asyncio.get_running_loop().call_later(pause, self._round)

    def _round(self) -> None:
        """Ask about those at the front of the queue, and about some of the others in turn."""
        self._next = None
        self._last = clock.monotonic()
        self.rank()
        hooked = self._hooked()
        if self._new_pass and not self._others:
            self._new_pass = False
            self._others = hooked[HOOK_ROUND:]
        now, self._others = self._others[:HOOK_ROUND], self._others[HOOK_ROUND:]
        for brid in dict.fromkeys((*hooked[:HOOK_ROUND], *now)):
            self.render(brid)
        if self._new_pass or self._others:
            self._next_round()

    def _hooked(self) -> list[int]:
        """The waiting requests whose workers are chosen by hooks, in the order of the queue."""
        state, config = self._house.loop.state, self._house.config
        builders = {
            name
            for name, settings in config.builders.items()
            if settings.canStartBuild is not None or config.next_worker(name) is not None
        }
        if not builders:
            return []
        found = [r for r in state.requests.values() if r.builder in builders and r.state == "waiting"]
        found.sort(key=lambda request: (-state.level(request), request.ticket))
        return [request.brid for request in found]
