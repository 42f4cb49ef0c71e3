"""`prioritizeBuilders` and `nextBuild`: from what these hooks say to the builders' ranks (L24a).

They give an order: what comes first is granted first (L40), and how often a claim may be overtaken is bounded as for
priorities (L44). A builder that is left out, or that has no next build, is held back. What a hook raises holds nobody
back: then the order is the one without it, and the rank tells why.
"""

import logging
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from lockstep.config.config import Config
from lockstep.core.values import Rank
from lockstep.master.hook_views import HookBuilder, HookError, HookMaster, HookRequest, ask, waiting

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)


class Ranking:
    """Asks the hooks that order requests."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._told: dict[str, str] = {}

    async def ranks(self, config: Config, coming: Iterable[int]) -> dict[str, Rank]:
        """The ranks that differ from those in force. `coming` are requests that wait as soon as this is known."""
        state = self._house.loop.state
        names = [name for name in config.builders if config.orders(name) or name in state.ranks]
        if not names:
            return {}
        new = frozenset(coming)
        queues = waiting(state, new)
        views = {name: HookBuilder(self._house, config.builders[name], new) for name in queues if name in names}
        orders, left_out, told = await self._orders(config, views)
        found = {}
        for name in names:
            if name not in views:
                # Nothing of it waits: it keeps its place, so that what comes next has it at once.
                keeps = config.orders(name)
                found[name] = Rank(order=state.rank(name).order if keeps else 0)
            elif name in left_out:
                found[name] = Rank(order=state.rank(name).order, held=True, told="prioritizeBuilders left it out")
            else:
                # Hooks that were waited for may have taken long: who waits is looked up anew.
                requests = [HookRequest(state, request) for request in waiting(state, new).get(name, ())]
                found[name] = await self._chosen(config, views[name], requests, orders.get(name, 0), told)
        return {name: rank for name, rank in found.items() if rank != state.rank(name)}

    async def _orders(self, config: Config, views: dict[str, HookBuilder]) -> tuple[dict[str, int], set[str], str]:
        """The order of each builder, those that are left out, and what went wrong.

        The hook is asked twice, with the builders in one order and in the other: those that it leaves in the order in
        which they were given are alike to it, and their requests start in the order of their coming.
        """
        hook = config.prioritizeBuilders
        if hook is None or not views:
            return {}, set(), ""
        try:
            one = await self._sorted(hook, list(views.values()))
            other = await self._sorted(hook, list(views.values())[::-1]) if len(views) > 1 else one
        except HookError as error:
            return {}, set(), self._tell("", str(error))
        self._tell("", "")
        place = {name: index for index, name in enumerate(other)}
        groups: list[list[str]] = []
        for name in one:
            if groups and place.get(name, 0) < place.get(groups[-1][-1], 0):
                groups[-1].append(name)
            else:
                groups.append([name])
        return self._numbered(groups), views.keys() - set(one), ""

    async def _sorted(self, hook: object, builders: list[HookBuilder]) -> list[str]:
        answer = await ask("prioritizeBuilders", hook, HookMaster(self._house), builders)  # type: ignore[arg-type]
        if not isinstance(answer, list | tuple) or not all(isinstance(each, HookBuilder) for each in answer):
            raise HookError(f"prioritizeBuilders must return a list of the builders that it was given, not {answer!r}")
        return [each.name for each in answer]

    def _numbered(self, groups: list[list[str]]) -> dict[str, int]:
        """A number for each group, greater for earlier ones; the numbers in force if they say the same."""
        known = [{self._house.loop.state.rank(name).order for name in group} for group in groups]
        falling = all(min(before) > max(after) for before, after in pairwise(known))
        if falling and all(len(numbers) == 1 for numbers in known):
            return {name: min(known[at]) for at, group in enumerate(groups) for name in group}
        return {name: len(groups) - at for at, group in enumerate(groups) for name in group}

    async def _chosen(
        self, config: Config, view: HookBuilder, requests: list[HookRequest], order: int, told: str
    ) -> Rank:
        hook = config.builders[view.name].nextBuild
        if hook is None or not requests:
            return Rank(order=order, told=told)
        try:
            answer = await ask(f"nextBuild of builder '{view.name}'", hook, view, list(requests))
            if answer is not None and all(answer is not request for request in requests):
                text = f"nextBuild of builder '{view.name}' must return one of the requests that it was given or None"
                raise HookError(f"{text}, not {answer!r}")
        except HookError as error:
            return Rank(order=order, told=self._tell(view.name, str(error)))
        self._tell(view.name, "")
        if answer is None:
            return Rank(order=order, held=True, told="nextBuild chose none of its requests")
        return Rank(order=order, chosen=answer.id if answer is not requests[0] else 0, told=told)

    def _tell(self, builder: str, text: str) -> str:
        """Log what a hook raised, once until it answers again or says something else."""
        if text and self._told.get(builder) != text:
            log.warning("%s; requests start by priority, then in the order of their coming", text)
        self._told[builder] = text
        return text
