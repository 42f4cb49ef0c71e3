"""Rules of single locks that the allocator keeps: in which order it serves those who wait, and how often (start rates).

Here is what they say of a claim and of a lock. Rules that end a wait are in `waiting.py`.
"""

from lockstep.core.alloc_facts import UNRATED
from lockstep.core.answers import exactly
from lockstep.core.nouns import LockKey, Need
from lockstep.core.values import QueueOrder, Setup, StartRate
from lockstep.core.waiting import Sort

Starts = tuple[float, ...]
"""When a lock was granted of late, Unix seconds, the earliest first: as far back as its rate looks."""


class LockRules:
    """What is configured, and when locks with a start rate were granted of late."""

    def __init__(self) -> None:
        self.orders: dict[Sort, QueueOrder] = {}
        self.rates: dict[Sort, StartRate] = {}
        self.recent: dict[LockKey, Starts] = {}
        self._found: dict[Need, str] = {}

    def configure(self, setup: Setup) -> None:
        """Another configuration. What was granted of late stays known."""
        self.orders = {(rule.kind, rule.name): rule for rule in setup.orders}
        self.rates = {(rule.kind, rule.name): rule for rule in setup.rates}
        self._found = {}

    def order(self, need: Need) -> str:
        """In which order a claim for this waits: `newest` or `fifo` if one of its locks says so, else `priority`."""
        known = self._found.get(need)
        if known is None:
            if len(self._found) > len(self.orders) + 4096:
                self._found.clear()
            accesses = (access for each in need.alternatives for access in each.accesses)
            rules = {self.orders.get((access.lock.kind, access.lock.name)) for access in accesses}
            said = {rule.order for rule in rules if rule is not None}
            known = self._found[need] = min(said, key=("newest", "fifo").index, default="priority")
        return known

    def rate(self, key: LockKey) -> StartRate | None:
        """The start rate of a lock, or None."""
        return self.rates.get((key.kind, key.name)) if self.rates else None

    def order_of(self, key: LockKey) -> str:
        """In which order those who wait for a lock are served, if no other of their locks says more."""
        rule = self.orders.get((key.kind, key.name))
        return rule.order if rule is not None else "priority"

    def rate_of(self, sort: Sort) -> str:
        """The start rate as people say it: `6 times in 1 h`; empty: there is none."""
        rate = self.rates.get(sort)
        return "" if rate is None else f"{rate.starts} time{'s' * (rate.starts != 1)} in {exactly(rate.seconds)}"

    def left(self, key: LockKey) -> int:
        """How many more grants its rate allows; `UNRATED` if it has none."""
        rate = self.rate(key)
        return UNRATED if rate is None else max(0, rate.starts - len(self.recent.get(key, ())))

    def still_counted(self, key: LockKey, at: float) -> Starts:
        """Its grants of late that count at that time. One from a clock that was ahead counts no longer than others."""
        rate = self.rate(key)
        recent = self.recent.get(key, ())
        return tuple(min(start, at) for start in recent if start > at - rate.seconds) if rate is not None else ()

    def next_at(self, key: LockKey) -> float:
        """When the next start comes back, Unix seconds: when the earliest that counts does so no longer."""
        rate, recent = self.rate(key), self.recent.get(key, ())
        if rate is None or not recent:
            return 0.0
        return recent[max(0, len(recent) - rate.starts)] + rate.seconds
