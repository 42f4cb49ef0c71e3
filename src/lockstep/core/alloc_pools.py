"""Pools: locks whose units have names, and of which an access takes some that its `where` admits.

Each `where` that is used is a *view* of the pool: a `Lock` of its own on the board, whose limit and use are counted
from the units, so that whatever holds of locks holds of views. Views overlap: what is taken of one is taken of others,
so here is also what only the units themselves can tell: whether an access leaves to barriers what they could have, and
which units it gets (decision 0029). Units are bits of numbers. Who is granted is decided elsewhere.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

from lockstep.core.alloc_facts import PoolState, Units
from lockstep.core.alloc_items import WHOLE, Lock, Series
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, LockKey
from lockstep.core.values import UnitSetup
from lockstep.core.where import parse

Demand = tuple[int, int]
"""Units that would do, as bits, and how many of them are wanted."""

NOTHING_GONE: Final[Set[int]] = frozenset()

VIEWS_START: Final = 64
"""A pool is cleared of views that nobody needs when it has more than this many, and then when they have doubled."""


class Pool:
    """A pool as it is now.

    `absent` are units that a reload removed, `sick` those in quarantine: nobody gets them, but who has them keeps them.
    While it is `closed` nobody gets any: a lock had its name before, and is not free yet (L6).
    `held` is owner, units and fence of each hold, `taken` all units that are held. A unit may be held twice: by a build
    and by one that it lent it to (L53). `wear` counts how often each was handed over, loans aside; `start` is how worn
    the others were when it was new. `fresh` ones are new still: nothing was handed over since they came.
    """

    def __init__(self, name: str, series: Series) -> None:
        self.name = name
        self.series = series
        self.k = DEFAULT_MAX_OVERTAKES
        self.fence = 0
        self.names: list[str] = []
        self.labels: list[frozenset[str]] = []
        self.wear: list[int] = []
        self.start: list[int] = []
        self.fresh = 0
        self.absent = 0
        self.sick = 0
        self.closed = False
        self.usable = 0
        self.taken = 0
        self.held: dict[int, tuple[int, int, int]] = {}
        self.views: dict[LockKey, Lock] = {}
        self.views_limit = VIEWS_START

    # --- units

    def configure(self, units: Iterable[UnitSetup]) -> None:
        """These are the units from now on. One that is missing is given to nobody any more (L6)."""
        self.absent = (1 << len(self.names)) - 1
        for unit in units:
            if unit.name not in self.names:
                self.names.append(unit.name)
                self.labels.append(frozenset())
                self.wear.append(0)
                self.start.append(0)
                self.fresh |= 1 << len(self.names) - 1
            at = self.names.index(unit.name)
            self.labels[at] = frozenset((*unit.labels, unit.name))
            self.absent &= ~(1 << at)
        self.refresh()

    def quarantine(self, unit: str, out: bool) -> bool:
        """Nobody gets this unit, or it may be had again. False if that is so already."""
        bit = self.bits((unit,))
        if not bit or bool(self.sick & bit) is out:
            return False
        self.sick ^= bit
        self.refresh()
        return True

    def in_service(self) -> int:
        """The units that there are, but for those in quarantine."""
        return ((1 << len(self.names)) - 1) & ~self.absent & ~self.sick

    def bits(self, names: Iterable[str]) -> int:
        """Units by name, as bits; those that never were are none."""
        return sum(1 << self.names.index(name) for name in set(names) if name in self.names)

    def names_of(self, bits: int) -> tuple[str, ...]:
        """Units by their names, sorted."""
        return tuple(sorted(self.names[at] for at in _each(bits)))

    # --- views

    def view(self, key: LockKey) -> Lock:
        """The view of this key; a new one if need be."""
        known = self.views.get(key)
        if known is None:
            known = self._add_view(key)
            self.refresh()
        return known

    def _add_view(self, key: LockKey) -> Lock:
        view = self.views[key] = Lock(key, 0, self.k, self.series)
        view.pool = self
        return view

    def seen(self, key: LockKey) -> Lock:
        """The view of this key, for whoever only looks: nothing is counted for one that nobody has asked for."""
        return self.views.get(key) or self._counted(Lock(key, 0, self.k, self.series))

    def keep_views(self, needed: Set[Lock]) -> list[Lock]:
        """Let go of views that are not needed, and return them. That of all units stays: they are counted by it."""
        gone = [view for key, view in self.views.items() if key.where and view not in needed]
        for view in gone:
            del self.views[view.key]
        self.views_limit = max(VIEWS_START, 2 * len(self.views))
        return gone

    def refresh(self) -> None:
        """Count everything anew: units, their labels or their state have changed."""
        self.usable = self.in_service()
        if self.closed:  # what is held may be lent still: it was taken before (L6)
            self.usable &= self.taken
        for view in self.views.values():
            self._counted(view)

    def _counted(self, view: Lock) -> Lock:
        where = parse(view.key.where)
        view.mask = sum(1 << at for at, labels in enumerate(self.labels) if where.admits(labels))
        view.wanted = view.capacity = view.limit = (view.mask & self.usable).bit_count()
        view.used = self.used(view)
        view.holds = {}
        for hold, (_, units, _) in self.held.items():
            if count := (view.mask & self.usable & units).bit_count():
                view.holds[hold] = count
        return view

    def having(self, key: LockKey) -> list[int]:
        """The holds that have a unit which `where` admits, in use or not, in the order of the grants."""
        mask = self.seen(key).mask
        return sorted(hold for hold, (_, units, _) in self.held.items() if units & mask)

    def used(self, view: Lock) -> int:
        """How many of a view's units are held."""
        return (view.mask & self.usable & self.taken).bit_count()

    def touched(self, units: int) -> list[Lock]:
        """The views that one of these units is in."""
        return [view for view in self.views.values() if view.mask & units]

    # --- holds

    def put(self, hold: int, owner: int, units: int, fence: int) -> None:
        """A hold begins, with these units."""
        self.held[hold] = (owner, units, fence)
        self.taken |= units
        for view in self.views.values():
            if count := (view.mask & self.usable & units).bit_count():
                view.holds[hold] = count
                view.used = self.used(view)

    def drop(self, hold: int) -> None:
        """A hold ends. What somebody else has of it goes on being held."""
        del self.held[hold]
        self.taken = 0
        for _, units, _ in self.held.values():
            self.taken |= units
        for view in self.views.values():
            if view.holds.pop(hold, 0):
                view.used = self.used(view)
        if self.closed:
            self.refresh()

    def pass_on(self, hold: int, new: int, owner: int, fence: int) -> None:
        """The units of a hold go over to another one."""
        units = self.held[hold][1]
        self.drop(hold)
        self.fence = self.series.last = fence
        self.put(new, owner, units, fence)

    def wear_out(self, units: int) -> None:
        """These units were handed over. What is new in the pool begins then."""
        if new := self.fresh & ~self.absent:
            for at, worn in [(at, self._like_others(at)) for at in _each(new)]:
                self.start[at] = worn
            self.fresh &= ~new
        for at in _each(units):
            self.wear[at] += 1

    def has_alone(self, hold: int) -> bool:
        """Whether no unit of this hold is lent, in either direction."""
        mine = self.held[hold][1]
        return not any(units & mine for each, (_, units, _) in self.held.items() if each != hold)

    # --- what fits

    def open_to(self, view: Lock, kin: Set[int], gone: Set[int] = NOTHING_GONE, opened: bool = False) -> int:
        """The usable units of a view that nobody holds but these kin (who lend them), and those thought to be gone."""
        usable = self.in_service() if opened else self.usable
        if not kin and not gone:
            return view.mask & usable & ~self.taken
        strange = 0
        for owner, units, _ in self.held.values():
            if owner not in kin and owner not in gone:
                strange |= units
        return view.mask & usable & ~strange

    def has_room(
        self, view: Lock, units: int, kin: Set[int], gone: Set[int] = NOTHING_GONE, opened: bool = False
    ) -> bool:
        """Whether so many units fit beside what is held (L1, L2, L53). `opened`: as if it were not closed (L6)."""
        found = self.open_to(view, kin, gone, opened)
        if units == WHOLE:
            return bool(found) and found == view.mask & self.in_service()
        return found.bit_count() >= units

    def anew(self, view: Lock, units: int, kin: Set[int], gone: Set[int] = NOTHING_GONE) -> int:
        """How many of these units could not be lent by kin, and must be taken anew."""
        lent = 0
        for owner, mask, _ in self.held.values():
            if owner in kin and owner not in gone:
                lent |= mask
        wanted = view.limit if units == WHOLE else units
        return max(0, wanted - (self.open_to(view, kin, gone) & lent).bit_count())

    def leaves_enough(self, view: Lock, anew: int, demands: Sequence[Demand]) -> bool:
        """Whether barriers with these demands could still have as many of the free units, were so many taken (L41)."""
        free = self.usable & ~self.taken
        return most([*demands, (view.mask, anew)], free) == most(demands, free) + anew

    def chosen(
        self, view: Lock, units: int, kin: Set[int], demands: Sequence[Demand], gone: Set[int] = NOTHING_GONE
    ) -> int:
        """The units that an access gets which fits: lent ones first, then the least worn that barriers can spare."""
        wanted = view.limit if units == WHOLE else units
        found = self.open_to(view, kin, gone)
        taken = 0
        for bit in self._least_worn(found & self.taken):
            taken |= bit if taken.bit_count() < wanted else 0
        free = self.usable & ~self.taken
        kept = most(demands, free)
        for bit in self._least_worn(found & free):
            if taken.bit_count() >= wanted:
                break
            if not demands or most(demands, free & ~bit) == kept:
                taken |= bit
                free &= ~bit
        assert taken.bit_count() == wanted, view.key
        return taken

    def _least_worn(self, units: int) -> list[int]:
        """These units one by one, the least worn first, then by name."""

        def worn(at: int) -> tuple[int, str]:
            new = self.fresh >> at & 1
            return self._like_others(at) if new else self.start[at] + self.wear[at], self.names[at]

        return [1 << at for at in sorted(_each(units), key=worn)]

    def _like_others(self, at: int) -> int:
        """How worn a new unit is thought to be, lest it get all grants: as the least worn of those with its labels.

        If there are none, of all; one in quarantine counts only if there are no others.
        """
        known = list(_each(~self.fresh & ~self.absent & (1 << len(self.names)) - 1))
        mine = self.labels[at] - {self.names[at]}
        alike = [each for each in known if self.labels[each] - {self.names[each]} == mine] or known
        fit = [each for each in alike if not self.sick >> each & 1] or alike
        return min((self.start[each] + self.wear[each] for each in fit), default=0)

    # --- as values

    def state(self) -> PoolState:
        """The pool as values, but for who holds its units."""
        units = tuple(
            UnitSetup(name, tuple(sorted(labels - {name})))
            for name, labels in zip(self.names, self.labels, strict=True)
        )
        views = tuple(view.state() for view in self.views.values())
        absent, sick = self.names_of(self.absent), self.names_of(self.sick)
        return PoolState(
            self.name,
            self.k,
            self.fence,
            units,
            absent,
            sick,
            wear=tuple(self.wear),
            start=tuple(self.start),
            fresh=self.names_of(self.fresh),
            views=views,
            removed=self.views[LockKey("pool", self.name)].removed,
        )

    @classmethod
    def from_state(cls, state: PoolState, series: Series) -> "Pool":
        """The pool of these values."""
        pool = cls(state.name, series)
        pool.k = state.max_overtakes
        pool.fence = state.fence
        series.reached(state.fence)
        pool.configure(state.units)
        pool.wear, pool.start, pool.fresh = list(state.wear), list(state.start), pool.bits(state.fresh)
        pool.absent, pool.sick = pool.bits(state.absent), pool.bits(state.sick)
        whole = pool._add_view(LockKey("pool", pool.name))  # it is there whatever is asked for: all are counted by it
        whole.removed = state.removed
        for each in state.views:
            (pool.views.get(each.key) or pool._add_view(each.key)).remember(each)
        pool.refresh()
        return pool


def names_of(picked: Mapping[Lock, int]) -> Units:
    """What was picked of each view's pool, by names."""
    return tuple((view.key.name, view.pool.names_of(units)) for view, units in picked.items() if view.pool is not None)


def touched(accesses: Iterable[tuple[Lock, int]], picked: Mapping[Lock, int]) -> tuple[tuple[Lock, int], ...]:
    """The accesses, but of pools all views that something is in that was picked."""
    views = ((view.pool.touched(units), units) for view, units in picked.items() if view.pool is not None)
    plain = tuple(pair for pair in accesses if pair[0].pool is None)
    return plain + tuple((view, units) for found, units in views for view in found)


def most(demands: Sequence[Demand], free: int) -> int:
    """How many units these demands could have together of the free ones: each unit is had once.

    Demand after demand takes what it can; where its units are had by others who could take another one, they do.
    """
    given = [0] * len(demands)
    for at, (_, wanted) in enumerate(demands):
        while given[at].bit_count() < wanted and (bit := _find(demands, given, free, at)):
            given[at] |= bit
    return sum(units.bit_count() for units in given)


def _find(demands: Sequence[Demand], given: list[int], free: int, at: int) -> int:
    """A unit for this demand: a free one, or one that another gives up for a free one, directly or through others."""
    left = free & ~sum(given)
    came: dict[int, tuple[int, int]] = {at: (at, 0)}
    todo = [at]
    for each in todo:
        if bit := _lowest(demands[each][0] & left):
            last = each
            while last != at:
                before, moved = came[last]
                given[last] ^= moved | bit
                last, bit = before, moved
            return bit
        for other, mask in enumerate(given):
            if other not in came and (moved := _lowest(demands[each][0] & mask)):
                came[other] = (each, moved)
                todo.append(other)
    return 0


def _lowest(bits: int) -> int:
    return bits & -bits


def _each(bits: int) -> Iterator[int]:
    while bits:
        yield _lowest(bits).bit_length() - 1
        bits &= bits - 1
