"""Looks at units of pools before a build or step does anything with them: their pool's `healthCheck`, run here.

What follows from it the core says (`decide_health.py`).
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from lockstep.config.health import HealthCheck
from lockstep.core import told_units
from lockstep.core.alloc_facts import Hold
from lockstep.core.values import UnitSetup
from lockstep.master.limits import HEALTH_AT_ONCE, HEALTH_SECONDS
from lockstep.sources.base import PollError
from lockstep.sources.programs import NotStartedError, run_program

if TYPE_CHECKING:
    from lockstep.master.house import House


_THREADS: Final = ThreadPoolExecutor(HEALTH_AT_ONCE, "health checks")
"""Those that wait for checks, of the whole server: checks that hang keep only other checks waiting."""

_KEPT: Final = 4096
"""Bytes of a check's output that are kept, whatever it says."""

Look = tuple[str, UnitSetup, HealthCheck]
"""A pool's name, a unit of it, and what is to be run."""


async def unfit(house: "House", wanted: Sequence[Look]) -> tuple[tuple[str, str, str], ...]:
    """Those units that fail the check of their pool, and why.

    Raises:
        NotStartedError: there is no such program: that says nothing of a unit.
    """

    async def look(pool: str, unit: UnitSetup, check: HealthCheck) -> str:
        told = told_units.properties(((pool, (unit.name,)),), house.loop.state.pools)
        return await _problem(check.of(unit), house.path(""), told_units.environment(told))

    looks = [asyncio.ensure_future(look(*one)) for one in wanted]
    try:
        problems = await asyncio.gather(*looks)
    finally:
        for one in looks:
            one.cancel()
    return tuple((pool, unit.name, why) for (pool, unit, _), why in zip(wanted, problems, strict=True) if why)


def to_look_at(house: "House", hold: int) -> list[Look]:
    """The units of a hold that are to be looked at. What was lent was looked at by the lender."""
    state = house.loop.state
    others = [other for other in state.allocator.holds.values() if other.id != hold]
    had = {each for other in others for each in _units(other)}
    found = []
    for name, unit in _units(state.allocator.holds[hold]) if hold in state.allocator.holds else ():
        pool = house.config.table.pools.get(name)
        setup = next((each for each in pool.setup.units if each.name == unit), None) if pool is not None else None
        if pool is not None and pool.healthCheck is not None and setup is not None and (name, unit) not in had:
            found.append((name, setup, pool.healthCheck))
    return found


def _units(hold: Hold) -> Iterator[tuple[str, str]]:
    """The units of a hold, one by one: pool and name."""
    return ((name, unit) for name, units in hold.units for unit in units)


async def _problem(words: list[str], folder: str, env: dict[str, str]) -> str:
    """What is wrong, or nothing."""
    try:
        await run_program(words, folder, env=env, seconds=HEALTH_SECONDS, threads=_THREADS, keep=_KEPT)
    except NotStartedError:
        raise
    except PollError as exc:
        return f"health check: {exc}"
    return ""
