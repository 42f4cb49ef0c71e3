"""The dumb one beside `alloc_pools.py`: sets of units, and every choice of them tried (decision 0029).

Holds say which units they have; nothing is counted.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import combinations

from msgspec.structs import replace

from lockstep.core.alloc_facts import Hold
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, Access, Alternative, LockKey, Need
from lockstep.core.values import UnitSetup

Names = frozenset[str]
Picked = dict[str, tuple[list[str], list[str]]]
"""For each pool what is lent and what is taken anew."""


class Units:
    """The units of all pools, and who has them. `views` are the ways to look at a pool that were ever used."""

    def __init__(self, holds: dict[int, Hold]) -> None:
        self.holds = holds
        self.labels: dict[str, dict[str, Names]] = {}
        self.overtakes: dict[str, int] = {}
        self.known: set[tuple[str, str]] = set()
        self.sick: set[tuple[str, str]] = set()
        self.wear: dict[tuple[str, str], int] = {}
        self.views: set[LockKey] = set()

    def set_pool(self, name: str, units: Iterable[UnitSetup], max_overtakes: int = DEFAULT_MAX_OVERTAKES) -> None:
        self.labels[name] = {unit.name: frozenset((unit.name, *unit.labels)) for unit in units}
        self.known |= {(name, unit.name) for unit in units}
        self.overtakes[name] = max_overtakes
        self.views.add(LockKey("pool", name))

    def quarantine(self, pool: str, unit: str, out: bool) -> None:
        if (pool, unit) in self.known:
            (self.sick.add if out else self.sick.discard)((pool, unit))

    def see(self, need: Need) -> None:
        self.views |= {a.lock for way in need.alternatives for a in way.accesses if a.lock.kind == "pool"}

    def k(self, key: LockKey, of_locks: dict[LockKey, int]) -> int:
        known = self.overtakes.get(key.name) if key.kind == "pool" else of_locks.get(key)
        return DEFAULT_MAX_OVERTAKES if known is None else known

    def left(self, hold: Hold) -> Hold:
        """A hold that has only the units of those pools that it still names."""
        named = {access.lock.name for access in hold.alternative.accesses if access.lock.kind == "pool"}
        return replace(hold, units=tuple(each for each in hold.units if each[0] in named))

    def usable(self, key: LockKey) -> Names:
        """The units that this view may have."""
        known = self.labels.get(key.name, {})
        return frozenset(
            unit for unit, labels in known.items() if (key.name, unit) not in self.sick and means(key.where, labels)
        )

    def had(self, key: LockKey) -> Iterator[tuple[int, Names]]:
        """Owners and what they have of this view."""
        usable = self.usable(key)
        for hold in self.holds.values():
            names = frozenset(dict(hold.units).get(key.name, ())) & usable
            if names:
                yield hold.owner, names

    def open_to(self, key: LockKey, kin: list[int], among: set[int] | None) -> Names:
        found = self.usable(key)
        for owner, names in self.had(key):
            if owner not in kin and (among is None or owner in among):
                found -= names
        return found

    def has_room(self, access: Access, kin: list[int], among: set[int] | None) -> bool:
        found, usable = self.open_to(access.lock, kin, among), self.usable(access.lock)
        return bool(usable) and found == usable if access.mode == "exclusive" else len(found) >= access.count

    def choice(
        self, access: Access, kin: list[int], bars: list[Access], among: set[int] | None = None
    ) -> tuple[list[str], list[str]] | None:
        """What is lent and what is taken anew; None if nothing does that leaves to barriers what they could have."""
        key = access.lock
        found = sorted(self.open_to(key, kin, among), key=lambda unit: (self.worn(key.name, unit), unit))
        wanted = len(self.usable(key)) if access.mode == "exclusive" else access.count
        taken = {unit for _, names in self.had(LockKey("pool", key.name)) for unit in names}
        lent = [unit for unit in found if unit in taken][:wanted]
        free = self.usable(LockKey("pool", key.name)) - taken
        for anew in combinations([unit for unit in found if unit in free], wanted - len(lent)):
            if self.most(bars, free - set(anew)) == self.most(bars, free):
                return lent, list(anew)
        return None

    def worn(self, pool: str, unit: str) -> int:
        """How worn a unit is; one that is new is so as the least worn of the others with its labels, or of all."""
        labels = self.labels[pool]
        known = {each for each in labels if (pool, each) in self.wear}
        alike = {each for each in known if labels[each] - {each} == labels[unit] - {unit}} or known
        fit = {each for each in alike if (pool, each) not in self.sick} or alike
        return self.wear.get((pool, unit), min((self.wear[pool, each] for each in fit), default=0))

    def wear_out(self, pool: str, units: list[str]) -> None:
        self.wear |= {(pool, unit): self.worn(pool, unit) for unit in self.labels[pool]}
        for unit in units:
            self.wear[pool, unit] += 1

    def most(self, bars: list[Access], free: Names) -> int:
        """How many of these free units barriers could have together."""
        if not bars or not free:
            return 0
        best = 0
        usable = self.usable(bars[0].lock)
        wanted = len(usable) if bars[0].mode == "exclusive" else bars[0].count
        for count in range(min(wanted, len(usable & free)) + 1):
            for some in combinations(sorted(usable & free), count):
                best = max(best, count + self.most(bars[1:], free - set(some)))
        return best

    def seen(self, name: str, units: Iterable[str]) -> list[LockKey]:
        """The views that one of these units is in."""
        labels = [self.labels[name][unit] for unit in units]
        return [view for view in self.views if view.name == name and any(means(view.where, each) for each in labels)]


def pick(way: Alternative, choose: Callable[[Access], tuple[list[str], list[str]] | None]) -> Picked:
    """What is chosen of each pool; something must be."""
    found: Picked = {}
    for access in way.accesses:
        if access.lock.kind == "pool":
            picked = choose(access)
            assert picked
            found[access.lock.name] = picked
    return found


def names(picked: Picked) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What was picked, as holds and grants say it."""
    return tuple((pool, tuple(sorted(lent + anew))) for pool, (lent, anew) in picked.items())


@cache
def means(where: str, labels: Names) -> bool:
    """Whether a unit with these labels is meant: the words become True and False."""
    told = re.sub(r"[\w-]+", lambda m: m[0] if m[0] in ("and", "or", "not") else str(m[0] in labels), where)
    return bool(eval(told)) if told else True
