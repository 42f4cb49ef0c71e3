"""Units in quarantine are looked at again: how the simulated master does it, and what must hold meanwhile.

A unit that nobody has, and that no other look disturbs, is looked at; and again, not much later than its pool says.
That only its own look lifts a quarantine is said in `pools.py`, from facts alone.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from msgspec import structs

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.sim.faults import demand
from lockstep.sim.pools import UNFIT, is_ill, to_look_at
from lockstep.sim.scenario import Act, Scenario

if TYPE_CHECKING:
    from lockstep.sim.master import Master

Unit = tuple[str, str]
"""A pool, and a unit of it."""

LONGEST: Final = 20.0
"""Seconds that a look may take."""

LATE: Final = 150.0
"""Seconds that a turn may come late, as timers, disks and other looks may."""


class Looks:
    """Those of one process."""

    def __init__(self, master: "Master") -> None:
        self.master = master
        self.world = master.world
        self.running: dict[Unit, float] = {}
        """Units that are looked at now, and since when each is in quarantine."""
        self.told: list[e.UnitFit] = []
        self.waiting: dict[tuple[Unit, float], float] = {}
        """Units that wait for their turn, with since when they are in quarantine; and since when they wait."""

    def again(self, effect: x.LookAgain) -> None:
        """It is a unit's turn. One that is looked at already, or is in quarantine no more, has none."""
        unit = (effect.pool, effect.unit)
        known = self.master.state.quarantines.get(unit)
        if not self.master.alive or known is None or known.since != effect.since:
            return
        if unit in self.running:
            if self.running[unit] != effect.since:
                self.master.timeline.after(1.0, lambda: self.again(effect))
            return
        self._begin(unit, effect.since)

    def _begin(self, unit: Unit, since: float) -> None:
        demand(unit not in self.running, f"{unit} is looked at twice at once")
        demand(not self.world.watch.pools.is_held(*unit), f"{unit} is looked at, and somebody has it")
        self.running[unit] = since
        self.waiting.pop((unit, since), None)
        began, well = self.master.wall(), not is_ill(self.world, *unit)
        self.master.timeline.after(self.master.random.uniform(0, LONGEST), lambda: self._end(unit, since, began, well))

    def _end(self, unit: Unit, since: float, began: float, well: bool) -> None:
        if not self.master.alive:
            return
        del self.running[unit]
        if well:
            self.world.ledger.passed[unit] = began
            self.told.append(e.UnitFit(pool=unit[0], unit=unit[1], since=since))
            self.master.tell(self.told[-1])

    def late(self, act: Act) -> None:
        """What was said before is heard late: that units are fit, or (odd) that this one failed its check."""
        pool, _, unit = act.who.partition("/")
        failed = e.UnitsFailed(buildid=987654, step=0, hold=0, units=((pool, unit, UNFIT),))
        for event in (failed,) if act.number % 2 else tuple(self.told):
            self.master.tell(event)

    def waits(self, hold: int, again: Callable[[], object]) -> bool:
        """Whether a unit that is to be looked at for a build is still looked at; then there is another try later."""
        if not any(unit in self.running for unit in to_look_at(self.master.state, hold)):
            return False
        self.master.timeline.after(1.0, lambda: self.master.alive and again())
        return True

    def check(self) -> None:
        """After each decision: no unit waits for its turn for much longer than its pool says."""
        pools, now = self.world.watch.pools, self.master.wall()
        waiting = {
            (unit, sick.since): self.waiting.get((unit, sick.since), now)
            for unit, sick in pools.sick.items()
            if pools.heals(*unit) and unit not in self.running and not pools.is_held(*unit)
        }
        self.waiting = waiting
        for (unit, _), since in waiting.items():
            late = now - since - pools.pools[unit[0]].retry
            demand(late <= LATE, f"{unit} should have been looked at {late:.0f} s ago")


# --- drawing


def with_retries(scenario: Scenario, anew: bool) -> Scenario:
    """The world with pools whose units are looked at again. Drawn apart: all else is as without them.

    `anew`: they fall ill more often, people say more of those that are, and more is heard late.
    """
    looks = 0.4 if anew else scenario.looks
    if not looks:
        return scenario
    r = Random(f"retries {scenario.seed}")
    pools = tuple(structs.replace(pool, retry=r.choice((0.0, 5.0, 20.0, 90.0))) for pool in scenario.pools)
    acts = list(scenario.acts)
    for pool in pools:
        if r.random() < 0.3:
            at = r.uniform(1, scenario.heal * r.choice((0.1, 0.8)))
            acts += [Act(at, "reload", pool.name), Act(at + r.uniform(5, 200), "reload", f"{pool.name}/")]
        for _ in range(r.randint(1, 12) if anew else 0):
            at = r.uniform(1, scenario.heal * r.choice((0.1, 0.8)))
            acts.append(Act(at, r.choice(("quarantine", "lift")), f"{pool.name}/"))
        for _ in range(r.randint(4, 20) if anew else 0):
            at = r.uniform(1, scenario.heal * r.choice((0.1, 0.8)))
            acts.append(Act(at, "late", f"{pool.name}/{r.choice(pool.units).name}", r.randint(0, 9)))
    acts.sort(key=lambda act: act.at)
    return structs.replace(scenario, looks=looks, pools=pools, acts=tuple(acts))
