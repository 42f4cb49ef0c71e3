"""Which views of pools have units in common, for the search of builds that could wait for each other for ever (L50).

Who holds units of one view may keep them from whoever asks for units of another. All units are looked at, those in
quarantine, too: they come back.
"""

from collections.abc import Iterator, Mapping

from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import BuilderSetup, Setup
from lockstep.core.where import parse


class Views:
    """The views of a set-up's pools. Any other lock is its own only view, and costs one look."""

    def __init__(self, setup: Setup) -> None:
        pools = {pool.name: pool for pool in setup.pools}
        keys = {a.lock for b in setup.builders for a in _accesses(b) if a.lock.kind == "pool"} if pools else set()
        self.units: dict[LockKey, frozenset[str]] = {}
        for key in sorted(keys):
            where, units = parse(key.where), pools[key.name].units if key.name in pools else ()
            self.units[key] = frozenset(each.name for each in units if where.admits({each.name, *each.labels}))
        self._near = {key: tuple(other for other in self.units if self._shared(key, other)) for key in self.units}
        self._node: dict[LockKey, LockKey] = {}
        for key in self.units:
            if key not in self._node:
                together = self._reached(key)
                self._node |= dict.fromkeys(together, _together(together))

    def near(self, lock: LockKey) -> tuple[LockKey, ...]:
        """The views that have units in common with this one."""
        return self._near.get(lock, (lock,))

    def node(self, lock: LockKey) -> LockKey:
        """One lock for all views that have units in common, directly or through others."""
        return self._node.get(lock, lock)

    def taken(self, held: Mapping[LockKey, int], lock: LockKey) -> int:
        """How many units of a lock are gone at most to who holds this."""
        if lock not in self._near:
            return held.get(lock, 0)
        return sum(min(held[view], self._shared(view, lock)) for view in self._near[lock] if view in held)

    def _shared(self, one: LockKey, other: LockKey) -> int:
        return len(self.units[one] & self.units[other]) if one.name == other.name else 0

    def _reached(self, start: LockKey) -> list[LockKey]:
        found = [start]
        for each in found:
            found += [view for view in self.near(each) if view not in found]
        return sorted(found)


def _together(views: list[LockKey]) -> LockKey:
    """Views as one: by its own name, or by all their words."""
    wheres = [view.where for view in views]
    if "" in wheres:
        return views[0].whole
    joined = wheres[0] if len(wheres) == 1 else " or ".join(f"({each})" if " " in each else each for each in wheres)
    return LockKey("pool", views[0].name, where=joined)


def _accesses(builder: BuilderSetup) -> Iterator[Access]:
    needs = [builder.planned, *(need for stage in builder.stages for need in (stage.need, stage.held))]
    for need in needs:
        for each in need.alternatives if need is not None else ():
            yield from each.accesses
