"""Facts about pools: locks whose units have names. `facts.py` names them all.

Values only. Which units a claim got is told with its grant.
"""

from lockstep.core.alloc_facts import Units
from lockstep.core.fact import Fact
from lockstep.core.nouns import Access
from lockstep.core.values import PoolSetup, UnitSetup


class PoolChanged(Fact, frozen=True):
    """A pool is new, or has other units or labels (L6, L72). `removed`: no configuration names it any more."""

    name: str
    units: tuple[UnitSetup, ...]
    max_overtakes: int
    removed: bool = False
    quarantine_after: int = 0
    checked: bool = False
    retry: float = 0.0

    @property
    def setup(self) -> PoolSetup:
        """The pool as it is now."""
        return PoolSetup(self.name, self.units, self.max_overtakes, self.quarantine_after, self.checked, self.retry)


class UnitsUsed(Fact, frozen=True):
    """A build begins to do something with these units, so its end will speak of them."""

    buildid: int
    units: Units


class UnitTried(Fact, frozen=True):
    """A build that had this unit has ended. `failed` names those in a row that failed; empty: this one did well."""

    pool: str
    unit: str
    failed: tuple[str, ...]


class UnitQuarantined(Fact, frozen=True):
    """Nobody gets this unit from now on, because of what `reason` says; who has it keeps it.

    `unfit`: it failed the check of its pool, and may be had again when it passes. If it was in quarantine so already,
    this is a person's word instead, which no check lifts.
    """

    pool: str
    unit: str
    who: str
    reason: str
    unfit: bool = False


class StepPutBack(Fact, frozen=True):
    """A step waits again, with its ticket: units that it was granted are not fit, and it has done nothing yet."""

    buildid: int
    number: int
    stepid: int
    ticket: int
    accesses: tuple[Access, ...]


class QuarantineLifted(Fact, frozen=True):
    """A unit may be had again. `who` is empty and `reason` says why if the server found that out by itself."""

    pool: str
    unit: str
    who: str
    reason: str = ""
