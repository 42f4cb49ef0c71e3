"""The allocator's board: all locks and classes, and what waits to be looked at.

Only data lives here, with the small moves that keep it consistent; who may be granted is decided in `alloc_barriers.py`
(what fits) and `alloc_search.py` (who is next). `alloc_items.py` has the things that are on the board.
"""

from heapq import heappush

from lockstep.core.alloc_classes import ClaimClass, Shape
from lockstep.core.alloc_facts import Hold, LockState
from lockstep.core.alloc_items import (
    BAND_SIZE,
    CROWDED,
    MAX_CROWDS,
    MAX_LANES,
    WHOLE,
    Band,
    Crowd,
    Lane,
    Lock,
    Series,
    Share,
    Standing,
)
from lockstep.core.alloc_pools import Pool
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, FENCED, Alternative, Claim, LockKey, Need


class Board:
    """Everything that the allocator's parts share. See the classes above for what each thing is.

    What is still to be looked at, between an event and the end of the decision: `dirty` locks have more room than
    when somebody was parked there; `moved` ones have other holds or bars, which may concern suspended reservations;
    `to_pin` became due; `to_weigh` are barriers whose reservations must be weighed again; `carried` lost their pin by
    an event and may keep it; `withheld` may be granted once the builds with `courses` have become `safer` (L51), and
    are `doubted` if they may be so in vain; `crowded` pools were granted of, and have many views;
    of the `uncounted` parties have something else now; `pinned_apart` are barriers that need something shared;
    `suspects` may have closed a ring, `unbroken` are stuck in one that nobody may leave, `sentenced` ones will end.
    """

    def __init__(self) -> None:
        self.clock = 0
        self.next_hold = 1
        self.band_size = BAND_SIZE
        self.serial = 0
        self.stamp = 0
        self.locks: dict[LockKey, Lock] = {}
        self.kinds_of: dict[str, dict[str, dict[Lock, None]]] = {}
        self.series: dict[str, Series] = {}
        self.pools: dict[str, Pool] = {}
        self.shares: dict[str, Share] = {}
        self.project_of: dict[int, str] = {}
        self.standings: dict[tuple[tuple[Share, ...], str, bool, bool], Standing] = {}
        self.uncounted: dict[Lock, None] = {}
        self.pinned_apart: dict[ClaimClass, None] = {}
        self.shapes: dict[Need, Shape] = {}
        self.classes: dict[ClaimClass, None] = {}
        self.bands: dict[frozenset[Lane], Band] = {}
        self.crowds: dict[tuple[frozenset[Lock], int, Standing | None], Crowd] = {}
        self.idle = 0
        self.holds: dict[int, Hold] = {}
        self.hold_locks: dict[int, tuple[tuple[Lock, int], ...]] = {}
        self.waiting: dict[int, Claim] = {}
        self.class_of: dict[int, ClaimClass] = {}
        self.claims_of: dict[int, dict[int, None]] = {}
        self.holds_of: dict[int, dict[int, None]] = {}
        self.courses: dict[int, tuple[str, int, bool]] = {}
        self.withheld: dict[ClaimClass, None] = {}
        self.safer = False
        self.doubted = False
        self.parent_of: dict[int, int] = {}
        self.children_of: dict[int, dict[int, None]] = {}
        self.gone: dict[LockKey, LockState] = {}
        self.pins_on: dict[str, int] = {}
        self.candidates: list[tuple[int, ClaimClass]] = []
        self.barred: dict[ClaimClass, None] = {}
        self.dirty: dict[Lock, None] = {}
        self.moved: dict[Lock, None] = {}
        self.to_pin: dict[ClaimClass, None] = {}
        self.to_weigh: dict[ClaimClass, None] = {}
        self.carried: dict[int, Alternative | None] = {}
        self.limits_moved: dict[Lock, None] = {}
        self.rated: dict[Lock, None] = {}
        self.leaving: dict[Lock, None] = {}
        self.crowded: dict[Pool, None] = {}
        self.suspects: dict[int, None] = {}
        self.unbroken: dict[int, None] = {}
        self.sentenced: dict[int, None] = {}
        self.stirred = False

    # --- finding and forgetting

    def lock(self, key: LockKey) -> Lock:
        """The lock of this key. One that nobody declared has limit 0 and is there while it is needed.

        A view of a pool stays until there are many (`Limits.forget_views`).
        """
        known = self.locks.get(key)
        if known is None and key.kind == "pool":
            known = self.locks[key] = self.pool(key.name).view(key)
            self.note_name(known)
            self.join_share(known)
        elif known is None:
            known = self.add_lock(key, 0, self.gone[key].max_overtakes if key in self.gone else DEFAULT_MAX_OVERTAKES)
            known.removed = True
            self.leaving[known] = None
        return known

    def pool(self, name: str) -> Pool:
        """The pool of this name; one that nobody declared has no units."""
        known = self.pools.get(name)
        if known is None:
            known = self.pools[name] = Pool(name, self.series_of(LockKey("pool", name)))
        return known

    def series_of(self, key: LockKey) -> Series:
        """What counts the fences of this lock and of all that have its name. It outlives the last of them."""
        return self.series.setdefault(key.name, Series()) if key.kind in FENCED else Series()

    def open_pool(self, pool: Pool) -> None:
        """More may fit somewhere in the pool: what is free for one view is wanted at others, too."""
        for view in pool.views.values():
            self.dirty[view] = None
        self.safer = True

    def pool_moved(self, pool: Pool) -> None:
        """Something is held or not held of the pool any more, or its units are others."""
        self.open_pool(pool)
        for view in pool.views.values():
            self.count_again(view)
            if view.hanging:
                self.moved[view] = None

    def add_lock(self, key: LockKey, limit: int, k: int) -> Lock:
        """A new lock. What an earlier one of its name knew of its grants goes on: fences, and who was overtaken."""
        lock = self.locks[key] = Lock(key, limit, k, self.series_of(key))
        self.note_name(lock)
        self.join_share(lock)
        earlier = self.gone.pop(key, None)
        if earlier is not None:
            lock.remember(earlier)
        return lock

    def drop_lock(self, lock: Lock) -> None:
        """The lock is no more."""
        del self.locks[lock.key]
        for looked_at in (self.dirty, self.moved, self.limits_moved, self.rated, self.uncounted):
            looked_at.pop(lock, None)
        kinds = self.kinds_of.get(lock.key.name, {})
        same = kinds.get(lock.key.kind, {})
        same.pop(lock, None)
        if not same:
            kinds.pop(lock.key.kind, None)
        if not kinds:
            self.kinds_of.pop(lock.key.name, None)

    def note_name(self, lock: Lock) -> None:
        """Let it be found by its name. Of a pool the whole is: its views come and go."""
        if lock.key.kind in FENCED and not lock.key.where:
            self.kinds_of.setdefault(lock.key.name, {}).setdefault(lock.key.kind, {})[lock] = None

    def namesakes(self, key: LockKey) -> list[Lock]:
        """The locks of this name and of other kinds."""
        kinds = self.kinds_of.get(key.name, {})
        return [lock for kind, locks in kinds.items() if kind != key.kind for lock in locks]

    def closers(self, lock: Lock) -> set[int]:
        """Who has to end before a closed lock admits anybody: who has, or waits for, what else has its name (L6)."""
        found: set[int] = set()
        lock = lock if lock.pool is None else lock.pool.views[lock.key.whole]
        for other in self.namesakes(lock.key) if lock.is_closed() else ():
            if lock.removed or other in self.leaving:
                found.update(
                    self.holds[hold].owner for hold in (other.holds if other.pool is None else other.pool.held)
                )
            if not lock.removed and other in self.leaving:
                for view in (other,) if other.pool is None else other.pool.views.values():
                    for c in self.lock_classes(view):
                        found.update(self.waiting[ticket].owner for ticket in c.queue if self.class_of.get(ticket) is c)
        return found

    def join_share(self, lock: Lock) -> None:
        """Find the share that this lock is in. Of a pool all views are; its units count once."""
        lock.share = next((share for share in self.shares.values() if share.rule.names(lock.key)), None)
        if not lock.key.where:
            self.count_again(lock)

    def count_again(self, lock: Lock) -> None:
        """What parties have of this lock, if it is in a share, may be something else now. Of a pool all units count."""
        if lock.share is None:
            return
        whole = lock if lock.pool is None else lock.pool.views.get(LockKey("pool", lock.key.name))
        if whole is not None:
            self.uncounted[whole] = None

    def shape(self, need: Need) -> Shape:
        """The need with its locks resolved; refuses what `normalize` would not have made (L12)."""
        known = self.shapes.get(need)
        if known is not None:
            return known
        alternatives = []
        for alternative in need.alternatives:
            keys = {access.lock for access in alternative.accesses}
            if len(keys) < len(alternative.accesses) or any(access.count < 1 for access in alternative.accesses):
                raise ValueError(f"an alternative on {alternative.worker!r} is not normalized (L12)")
            alternatives.append(
                tuple(
                    (self.lock(access.lock), WHOLE if access.mode == "exclusive" else access.count)
                    for access in alternative.accesses
                )
            )
        shape = self.shapes[need] = Shape(need, tuple(alternatives))
        for each in alternatives:
            for lock, _ in each:
                lock.shapes[shape] = None
        return shape

    def add_class(
        self,
        shape: Shape,
        level: int,
        special: bool,
        child: bool = False,
        newest: bool = False,
        plan: str = "",
        standing: Standing | None = None,
    ) -> ClaimClass:
        """A new class, without a claim so far."""
        shape.users += 1
        if self.idle > MAX_LANES and 2 * self.idle > len(self.classes) and self._has_too_many_levels(shape, level):
            self.sweep()
        self.serial += 1
        c = ClaimClass(self.serial, shape, level, special, child, newest, plan, standing)
        if not newest:
            self._add_watches(c)
        self._join_crowd(c)
        self.classes[c] = None
        self.idle += 1
        if c.alone:
            shape.specials[c] = None
        else:
            shape.classes[level, plan, standing] = c
        return c

    def _has_too_many_levels(self, shape: Shape, level: int) -> bool:
        """Whether a lock should forget levels for this one: idle classes keep them."""
        locks = (lock for each in shape.alternatives for lock, _ in each)
        return any(level not in lock.lanes and len(lock.lanes) >= MAX_LANES for lock in locks)

    def _add_watches(self, c: ClaimClass) -> None:
        kinds: dict[tuple[str, str], list[Lane]] = {}
        for lane in c.lanes():
            kinds.setdefault((lane.lock.key.kind, lane.lock.key.name), []).append(lane)
        for lanes in kinds.values():
            if len(lanes) > self.band_size:
                c.watches[self._band(frozenset(lanes))] = None
            else:
                c.watches.update(dict.fromkeys(lanes))
        c.taken = dict(c.watches)

    def _join_crowd(self, c: ClaimClass) -> None:
        locks = c.shape.slots
        if c.alone or len(locks) <= self.band_size:
            return
        key = (frozenset(locks), c.shape.slot_units, c.standing)
        crowd = self.crowds.get(key)
        if crowd is None:
            if any(sum(crowd.standing is c.standing for crowd in lock.crowds) >= MAX_CROWDS for lock in locks):
                return
            crowd = self.crowds[key] = Crowd(*key)
            for lock in locks:
                lock.crowds.append(crowd)
        crowd.users += 1
        c.crowd = crowd

    def _leave_crowd(self, crowd: Crowd) -> None:
        crowd.users -= 1
        if not crowd.users:
            del self.crowds[crowd.locks, crowd.units, crowd.standing]
            for lock in crowd.locks:
                lock.crowds = [each for each in lock.crowds if each is not crowd]

    def _band(self, lanes: frozenset[Lane]) -> Band:
        band = self.bands.get(lanes)
        if band is None:
            band = self.bands[lanes] = Band(lanes)
            for lane in lanes:
                lane.bands.append(band)
        band.users += 1
        return band

    def forget_class(self, c: ClaimClass) -> None:
        """Let go of a class without claims. Its entries in heaps become stale."""
        c.gone = True
        c.stamps = [0] * len(c.stamps)
        for lane in c.lanes():
            lane.users -= 1
        for watch in c.watches:
            if isinstance(watch, Band):
                watch.users -= 1
                if not watch.users:
                    del self.bands[watch.lanes]
                    for lane in watch.lanes:
                        lane.bands.remove(watch)
        if c.crowd is not None:
            self._leave_crowd(c.crowd)
        del self.classes[c]
        self.idle -= 1
        self.barred.pop(c, None)
        self.withheld.pop(c, None)
        shape = c.shape
        shape.users -= 1
        if c.alone:
            del shape.specials[c]
        else:
            del shape.classes[c.level, c.plan, c.standing]

    def forget_shape(self, shape: Shape) -> None:
        """Let go of a resolved need that no class has."""
        del self.shapes[shape.need]
        for each in shape.alternatives:
            for lock, _ in each:
                lock.shapes.pop(shape, None)

    def sweep(self) -> None:
        """Let go of idle classes and of the needs that only they had."""
        for c in [c for c in self.classes if c.live == 0]:
            self.forget_class(c)
        for shape in [shape for shape in self.shapes.values() if shape.users == 0]:
            self.forget_shape(shape)

    def lock_classes(self, lock: Lock, idle: bool = False) -> list[ClaimClass]:
        """The classes with a waiting claim that names this lock in some alternative; with `idle` also the others."""
        return [c for shape in lock.shapes for c in (*shape.classes.values(), *shape.specials) if c.live or idle]

    # --- what waits to be looked at

    def offer(self, c: ClaimClass) -> None:
        """Look at this class's first claim in this decision."""
        if not c.offered:
            c.offered = True
            heappush(self.candidates, (c.rank, c))

    def set_rank(self, c: ClaimClass, rank: int) -> None:
        """The place of a class's first claim in L40's order: the smaller, the earlier."""
        c.rank = rank
        if c.offered:
            heappush(self.candidates, (rank, c))

    def reopen(self, c: ClaimClass) -> None:
        """Look at all alternatives of this class again: its rank is better than when they were parked."""
        c.stamps = [0] * len(c.stamps)
        c.dormant = []
        c.open = set(range(len(c.alts)))
        self.wake(c)
        self.offer(c)

    def rise(self, c: ClaimClass) -> None:
        """The first claim of this class is a barrier now: park it by that rank too, and open what it may now pass."""
        self.wake(c)
        stamps = c.stamps
        last = len(c.alts)
        for index in range(last):
            stamp = stamps[index]
            if not stamp:
                continue
            lock, units = c.where[index]
            if lock.has_room(units):
                stamps[index] = 0
                c.open.add(index)
            elif stamp != CROWDED:
                lock.parked_with(c, units).enter_barrier(c, index)
        if c.crowd is not None and stamps[-2]:
            c.crowd.enter_barrier(c, -2)
        if stamps[-1]:
            lock, units = c.where[-1]
            if lock.has_room(units):
                stamps[-1] = 0
                self.join(c)
            else:
                lock.parked_with(c, units).enter_barrier(c, -1)
        self.offer(c)

    def wake(self, c: ClaimClass) -> None:
        """Somebody waits in this class again: what was parked is parked still, where it has not become free."""
        if c.dormant:
            dormant, c.dormant = c.dormant, []
            self.stamp += 1
            for index in dormant:
                lock, units = c.where[index]
                if not lock.has_room(units):
                    c.stamps[index] = self.stamp
                    lock.park(c, index, units, self.stamp)
                elif index >= 0:
                    c.open.add(index)
        if c.crowd is not None:
            self.join(c)

    def join(self, c: ClaimClass) -> None:
        """Wait with the crowd for slots, unless a lock that all alternatives share refuses the class anyway."""
        if c.crowd is None or c.stamps[-2] or c.stamps[-1]:
            return
        self.stamp += 1
        c.stamps[-2] = self.stamp
        c.crowd.enter(c, -2, self.stamp)
        for index in range(len(c.alts)):
            if c.stamps[index] == CROWDED and c.where[index][0].has_room(c.crowd.units):
                c.stamps[index] = 0
                c.open.add(index)

    def disperse(self, c: ClaimClass) -> None:
        """Too often this class was met in its crowd where it waits for something else: now it waits by itself."""
        assert c.crowd is not None
        self._leave_crowd(c.crowd)
        units, c.crowd = c.crowd.units, None
        self.stamp += 1
        c.stamps[-2] = 0
        for index, stamp in enumerate(c.stamps):
            if stamp == CROWDED:
                c.stamps[index] = self.stamp
                c.where[index][0].park(c, index, units, self.stamp)

    def take(self, hold: int, accesses: tuple[tuple[Lock, int], ...]) -> tuple[int, ...]:
        """Put the hold of one who has no family to its locks. Returns a fence for each."""
        fences = []
        for lock, units in accesses:
            lock.used += units
            lock.holds[hold] = units
            lock.fence = lock.series.last = lock.series.last + 1
            fences.append(lock.fence)
            if lock.hanging:
                self.moved[lock] = None
        return tuple(fences)

    def drop_owner(self, claim: Claim) -> None:
        """Note that this owner waits no more with this claim."""
        tickets = self.claims_of[claim.owner]
        del tickets[claim.ticket]
        if not tickets:
            del self.claims_of[claim.owner]
