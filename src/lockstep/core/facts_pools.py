"""Facts about pools: locks whose units have names. `facts.py` names them all.

Values only. Which units a claim got is told with its grant.
"""

from lockstep.core.fact import Fact
from lockstep.core.values import UnitSetup


class PoolChanged(Fact, frozen=True):
    """A pool is new, or has other units or labels (L6, L72). `removed`: no configuration names it any more."""

    name: str
    units: tuple[UnitSetup, ...]
    max_overtakes: int
    removed: bool = False


class UnitQuarantined(Fact, frozen=True):
    """Nobody gets this unit from now on, because of what `reason` says; who has it keeps it."""

    pool: str
    unit: str
    who: str
    reason: str


class QuarantineLifted(Fact, frozen=True):
    """A unit may be had again."""

    pool: str
    unit: str
    who: str
