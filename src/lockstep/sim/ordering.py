"""Worlds in which some locks serve in another order or not more often than so; and what must hold there.

What must hold is said from facts alone: in no span of time are there more grants than a rate allows.
"""

from random import Random

from msgspec import structs

from lockstep.core import facts as f
from lockstep.core.facts import Numbered
from lockstep.core.nouns import LockKey, Need
from lockstep.core.values import QueueOrder, Setup, StartRate
from lockstep.sim.faults import demand
from lockstep.sim.scenario import Scenario

LATE = 240.0
"""A server may be down, and a timer late, for so many seconds."""

EARLY = 0.002
"""A grant may come so many seconds before an earlier one counts no longer: clocks of timers are not exact."""


class OrderingWatch:
    """When each lock with a start rate was granted, and which orders there are."""

    def __init__(self) -> None:
        self.setup = Setup()
        self.granted: dict[LockKey, list[float]] = {}

    def see(self, one: Numbered) -> None:
        """A fact."""
        match one.fact:
            case f.SetupChanged(setup=setup):
                self.setup = setup
            case f.ClaimGranted(alternative=alternative, lent=lent):
                for access in alternative.accesses:
                    if access.lock not in lent:
                        self._grant(access.lock, one.at)

    def rate(self, key: LockKey) -> StartRate | None:
        """The rate of a lock, or None."""
        return next((rate for rate in self.setup.rates if (rate.kind, rate.name) == (key.kind, key.name)), None)

    def _grant(self, key: LockKey, at: float) -> None:
        times = self.granted.setdefault(key, [])
        times.append(at)
        rate = self.rate(key)
        if rate is not None:
            within = [time for time in times if time > at - rate.seconds + EARLY]
            demand(len(within) <= rate.starts, f"{key} is granted {len(within)} times in {rate.seconds} s")

    def used_up(self, key: LockKey, now: float) -> bool:
        """Whether a start rate may forbid a grant now, if timers may be late."""
        rate = self.rate(key)
        since = now - rate.seconds - LATE if rate is not None else 0.0
        return rate is not None and len([t for t in self.granted.get(key, ()) if t > since]) >= rate.starts

    def order(self, need: Need) -> str:
        """In which order a claim waits."""
        keys = {(access.lock.kind, access.lock.name) for each in need.alternatives for access in each.accesses}
        said = [rule.order for rule in self.setup.orders if (rule.kind, rule.name) in keys]
        return "newest" if "newest" in said else "fifo" if said else "priority"


def with_ordering(scenario: Scenario) -> Scenario:
    """The world with orders and rates. They are drawn apart: all else is as without them."""
    r = Random(f"ordering {scenario.seed}")
    sorts = sorted({(k.key.kind, k.key.name) for k in scenario.locks if k.key.kind in ("master", "worker")})
    orders = tuple(
        QueueOrder(kind, name, r.choice(("fifo", "newest", "newest"))) for kind, name in sorts if r.random() < 0.5
    )
    rates = tuple(
        StartRate(kind, name, r.choice((1, 2, 3)), r.choice((5.0, 30.0, 60.0)))
        for kind, name in sorts
        if r.random() < 0.5
    )
    return structs.replace(scenario, orders=orders, rates=rates)
