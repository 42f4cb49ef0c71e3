"""Random worlds with pools: overlapping `where`s, quarantines, labels that change, beside everything else.

A subclass draws after the plain world has drawn, so that the plain worlds of a seed stay what they are.
"""

from msgspec.structs import replace

from lockstep.core.nouns import Access, Alternative, LockKey, Need
from lockstep.core.values import BuilderSetup, UnitSetup

from .planned import PlannedWorld
from .worlds import Event, World

LABELS = ("a", "b", "c")
WHERES = ("", "", "a", "b", "not a", "a and b", "a or c", "c and not b", "u0", "u1 or c")


class PooledWorld(World):
    """A world of which most needs want units, too."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.pools = {f"p{n}": self.random.randint(1, 5) for n in range(self.random.choice((1, 1, 2)))}
        if self.random.random() < 0.5:
            self.locks = self.locks[:1]
        self.wheres = self.random.sample(WHERES, self.random.randint(1, 5))
        self.needs = [self.with_units(need, 0.8) for need in self.needs for _ in range(2)]
        self.step_needs = [self.with_units(need, 0.5) for need in self.step_needs]

    def with_units(self, need: Need, chance: float) -> Need:
        ways = []
        wanted = [pool for pool in self.pools if self.random.random() < chance]
        for way in need.alternatives:
            units = tuple(self.units(pool) for pool in wanted)
            kept = tuple(access for access in way.accesses if access.lock.worker or self.random.random() < 0.4)
            ways.append(Alternative(way.worker, (*kept, *units)))
        if self.random.random() < 0.5:  # the same units in all alternatives, as a configuration has them
            units = tuple(self.units(pool) for pool in wanted)
            ways = [Alternative(w.worker, (*(a for a in w.accesses if a.lock.kind != "pool"), *units)) for w in ways]
        return Need(tuple(way if way.accesses else need.alternatives[at] for at, way in enumerate(ways)))

    def units(self, pool: str) -> Access:
        key = LockKey("pool", pool, where=self.random.choice(self.wheres))
        if self.random.random() < 0.15:
            return Access(key, "exclusive")
        return Access(key, "counting", 1 if key.where == "u0" else self.random.choice((1, 1, 1, 2, 3)))

    def some_units(self, pool: str) -> Event:
        names = [f"u{n}" for n in range(self.pools[pool]) if self.random.random() < 0.9]
        units = [UnitSetup(name, tuple(each for each in LABELS if self.random.random() < 0.5)) for name in names]
        return ("set_pool", (pool, tuple(units), self.max_overtakes))

    # --- events

    def begin(self) -> list[Event]:
        return [*super().begin(), *(self.some_units(pool) for pool in self.pools)]

    def heal(self) -> list[Event]:
        kinds = (*[LABELS] * 3, *[()] * 3, *[("c",)] * 3)  # for each `where` there are as many as anybody wants
        every = tuple(UnitSetup(f"u{n}", labels) for n, labels in enumerate(kinds))
        lifted: list[Event] = [("quarantine", (pool, f"u{n}", False)) for pool in self.pools for n in range(9)]
        return [
            *super().heal(),
            *(("set_pool", (pool, every, self.max_overtakes)) for pool in self.pools),
            *lifted,
        ]

    def change_limit(self) -> list[Event]:
        pool = self.random.choice(list(self.pools))
        chance = self.random.random()
        if chance < 0.2:
            return super().change_limit()
        if chance < 0.4:
            return [self.some_units(pool)]
        unit = f"u{self.random.randrange(self.pools[pool])}"
        return [("quarantine", (pool, unit, self.random.random() < 0.5))]


class PlannedPoolWorld(PlannedWorld):
    """A world in which it is known what each build may still claim (L51), and some of its locks are pools."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.pools = {key.name: limit for key, limit in self.limits.items() if self.random.random() < 0.7}
        self.units_of = {
            name: [UnitSetup(f"u{n}", tuple(each for each in "ab" if self.random.random() < 0.6)) for n in range(limit)]
            for name, limit in self.pools.items()
        }
        self.plans = {name: self.in_units(plan) for name, plan in self.plans.items()}

    def in_units(self, plan: BuilderSetup) -> BuilderSetup:
        stages = tuple(replace(each, need=self.need_in_units(each.need)) for each in plan.stages)
        return replace(plan, need=self.need_in_units(plan.need), stages=stages)

    def need_in_units(self, need: Need | None) -> Need | None:
        if need is None:
            return None
        return Need(tuple(replace(w, accesses=tuple(map(self.of_units, w.accesses))) for w in need.alternatives))

    def of_units(self, access: Access) -> Access:
        units = self.units_of.get(access.lock.name)
        if units is None:
            return access
        wheres = [("", len(units))]
        wheres += [(label, sum(label in unit.labels for unit in units)) for label in "ab"]
        where, most = self.random.choice([each for each in wheres if each[1]])
        key = LockKey("pool", access.lock.name, where=where)
        return replace(access, lock=key, count=min(access.count, most))

    def begin(self) -> list[Event]:
        pools: list[Event] = [("set_pool", (name, self.units_of[name], self.max_overtakes)) for name in self.pools]
        locks = {LockKey("master", name) for name in self.pools}
        return [*pools, *(each for each in super().begin() if each[0] != "set_lock" or each[1][0] not in locks)]
