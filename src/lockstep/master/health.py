"""Looks at units of pools before a build or step does anything with them: their pool's `healthCheck`, run here; and
again at those that were not fit, while they are in quarantine because of that. No unit is looked at twice at once.

What follows from it the core says (`decide_health.py`).
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from lockstep.config.health import HealthCheck
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import told_units
from lockstep.core.pool_reasons import looked_at
from lockstep.core.values import UnitSetup
from lockstep.master.limits import HEALTH_AT_ONCE, HEALTH_SECONDS
from lockstep.sources.base import PollError
from lockstep.sources.programs import NotStartedError, run_program

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

_THREADS: Final = ThreadPoolExecutor(HEALTH_AT_ONCE, "health checks")
"""Those that wait for checks, of the whole server: checks that hang keep only other checks waiting."""

_AGAIN: Final = ThreadPoolExecutor(HEALTH_AT_ONCE, "health checks again")
"""Those of units in quarantine, of which many may hang again and again: nobody waits for these."""

_KEPT: Final = 4096
"""Bytes of a check's output that are kept, whatever it says."""

Look = tuple[str, UnitSetup, HealthCheck]
"""A pool's name, a unit of it, and what is to be run."""


async def unfit(house: "House", wanted: Sequence[Look]) -> tuple[tuple[str, str, str], ...]:
    """Those units that fail the check of their pool, and why.

    Raises:
        NotStartedError: there is no such program: that says nothing of a unit.
    """

    looks = [asyncio.ensure_future(house.looks.problem(one, _THREADS)) for one in wanted]
    try:
        problems = await asyncio.gather(*looks)
    finally:
        for one in looks:
            one.cancel()
    return tuple((pool, unit.name, why) for (pool, unit, _), why in zip(wanted, problems, strict=True) if why)


def to_look_at(house: "House", hold: int) -> list[Look]:
    """The units of a hold that are to be looked at, and how."""
    found = (_look(house, *each) for each in looked_at(house.loop.state, hold))
    return [look for look in found if look is not None]


def _look(house: "House", name: str, unit: str) -> Look | None:
    """How to look at a unit; None if the configuration in force does not say."""
    pool = house.config.table.pools.get(name)
    setup = next((each for each in pool.setup.units if each.name == unit), None) if pool is not None else None
    if pool is None or pool.healthCheck is None or setup is None:
        return None
    return name, setup, pool.healthCheck


class Looks:
    """All looks of one running server."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._one_at_once: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._again: set[x.LookAgain] = set()

    async def problem(self, look: Look, threads: ThreadPoolExecutor) -> str:
        """What is wrong with a unit, or nothing, when whoever looks at it already has done so.

        Raises:
            NotStartedError: there is no such program.
        """
        pool, unit, check = look
        async with self._one_at_once[pool, unit.name]:
            return await self._run(pool, unit, check, threads)

    async def _run(self, pool: str, unit: UnitSetup, check: HealthCheck, threads: ThreadPoolExecutor) -> str:
        told = told_units.properties(((pool, (unit.name,)),), self._house.loop.state.pools)
        try:
            return await _problem(check.of(unit), self._house.path(""), told_units.environment(told), threads)
        except NotStartedError as exc:
            raise NotStartedError(f"healthCheck of pool '{pool}': {exc}") from None

    async def again(self, effect: x.LookAgain) -> None:
        """Look at a unit that is in quarantine, and say so if it is fit. Its next turn comes in any case."""
        if effect in self._again:
            return  # an errand may come twice, and a look may take longer than the time to the next one
        self._again.add(effect)
        try:
            await self._look_again(effect)
        finally:
            self._again.discard(effect)

    async def _look_again(self, effect: x.LookAgain) -> None:
        async with self._one_at_once[effect.pool, effect.unit]:
            known = self._house.loop.state.quarantines.get((effect.pool, effect.unit))
            look = _look(self._house, effect.pool, effect.unit)
            if known is None or known.since != effect.since or look is None:
                return
            try:
                why = await self._run(*look, _AGAIN)
            except NotStartedError as exc:
                why = str(exc)
        if why:
            log.info("unit %s of pool %s is still not fit: %s", effect.unit, effect.pool, why)
        else:
            self._house.loop.post(e.UnitFit(pool=effect.pool, unit=effect.unit, since=effect.since))


async def _problem(words: list[str], folder: str, env: dict[str, str], threads: ThreadPoolExecutor) -> str:
    """What is wrong, or nothing."""
    try:
        await run_program(words, folder, env=env, seconds=HEALTH_SECONDS, threads=threads, keep=_KEPT)
    except NotStartedError:
        raise
    except PollError as exc:
        return _readable(f"health check: {exc}")
    return ""


def _readable(text: str) -> str:
    """What a program said as one line, for logs and terminals: with what is no character to be seen in words."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))
