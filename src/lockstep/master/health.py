"""Looks at units of pools before a build or step does anything with them: their pool's `healthCheck`, run here.

What follows from it the core says (`decide_health.py`).
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from lockstep.config.health import HealthCheck
from lockstep.core import told_units
from lockstep.core.pool_reasons import looked_at
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
        try:
            return await _problem(check.of(unit), house.path(""), told_units.environment(told))
        except NotStartedError as exc:
            raise NotStartedError(f"healthCheck of pool '{pool}': {exc}") from None

    looks = [asyncio.ensure_future(look(*one)) for one in wanted]
    try:
        problems = await asyncio.gather(*looks)
    finally:
        for one in looks:
            one.cancel()
    return tuple((pool, unit.name, why) for (pool, unit, _), why in zip(wanted, problems, strict=True) if why)


def to_look_at(house: "House", hold: int) -> list[Look]:
    """The units of a hold that are to be looked at, and how."""
    found = []
    for name, unit in looked_at(house.loop.state, hold):
        pool = house.config.table.pools.get(name)
        setup = next((each for each in pool.setup.units if each.name == unit), None) if pool is not None else None
        if pool is not None and pool.healthCheck is not None and setup is not None:
            found.append((name, setup, pool.healthCheck))
    return found


async def _problem(words: list[str], folder: str, env: dict[str, str]) -> str:
    """What is wrong, or nothing."""
    try:
        await run_program(words, folder, env=env, seconds=HEALTH_SECONDS, threads=_THREADS, keep=_KEPT)
    except NotStartedError:
        raise
    except PollError as exc:
        return _readable(f"health check: {exc}")
    return ""


def _readable(text: str) -> str:
    """What a program said as one line, for logs and terminals: with what is no character to be seen in words."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))
