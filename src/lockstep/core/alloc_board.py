"""The allocator's board: locks, what was resolved of needs, classes of equal claims, and what waits to be looked at.

Only data lives here, with the small moves that keep it consistent; who may be granted is decided in `alloc_barriers.py`
(what fits) and `allocation.py` (who is next). ALLOCATION.md section 3 gives the idea, LOCKS.md the rules.

Terms: a *lane* is one lock at one priority level, a *shape* is a need with its keys resolved to lock objects (once for
all who share the need), a *class* is the queue of equal claims (L45). An exclusive access is `WHOLE` units everywhere.
"""

from heapq import heapify, heappush
from typing import Final

from lockstep.core.alloc_facts import Hold
from lockstep.core.nouns import STEP_LEVEL, Alternative, Claim, LockKey, Need

WHOLE: Final = 1 << 60
"""The units of an exclusive access: more than any limit, so that sums say "held whole" by themselves."""

FOREVER: Final = 1 << 127
"""Later than every ticket: at a lock with `max_overtakes` 0 everybody is due at once (strict order)."""

HEAP_START: Final = 256
"""A lazy heap is cleared of stale entries when it has this many, and then when it has doubled."""

NO_BARRIER: Final = 1 << 64
"""Ranks of barriers are less than this, others are not."""

BAND_SIZE: Final = 8
"""A class watches the lanes of more alternatives than this together, as a band."""

IDLE_CLASSES: Final = 4096
"""So many classes without a waiting claim are kept for the next arrival of their kind."""

MAX_LANES: Final = 64
"""So many priority levels a lock remembers before it forgets those that nobody uses."""

ParkEntry = tuple[int, "ClaimClass", int, int]
Access = tuple["Lock", int, "Lane"]


class Parked(list[ParkEntry]):
    """The classes that wait at a lock with one need: a heap by rank.

    Each class is in it with its rank as no barrier, and if it is one, with that rank too. It is lazy: entries with a
    stale stamp or of a former barrier are dropped where they are met, other ranks are mended (they only grow).
    """

    __slots__ = ("limit",)

    def __init__(self) -> None:
        super().__init__()
        self.limit = HEAP_START

    def clear_stale(self) -> None:
        """Drop what is not parked here any more."""
        self[:] = [
            (rank, c, index, stamp)
            for rank, c, index, stamp in self
            if c.stamps[index] == stamp and (rank >= NO_BARRIER or rank == c.rank)
        ]
        heapify(self)
        self.limit = max(HEAP_START, 2 * len(self))


class Watch:
    """Finds the classes whose first claim began to wait before `threshold`, when that grows.

    `ages` is lazy: an entry's key is never later than the `since` of its class's first claim, unless another entry is.
    """

    __slots__ = ("ages", "ages_limit", "threshold", "users")

    def __init__(self) -> None:
        self.threshold = 0
        self.ages: list[tuple[int, int, ClaimClass]] = []
        self.ages_limit = HEAP_START
        self.users = 0

    def add(self, c: "ClaimClass") -> None:
        """Let this class be found."""
        heappush(self.ages, (c.since, c.serial, c))
        if len(self.ages) > self.ages_limit:
            self.ages = [entry for entry in self.ages if not entry[2].gone]
            heapify(self.ages)
            self.ages_limit = max(HEAP_START, 2 * len(self.ages))


class Lane(Watch):
    """One lock at one level: the K latest granted tickets as that level counts them.

    A claim of this level is due at the lock if it began to wait before `threshold` (L42, L45).
    """

    __slots__ = ("bands", "k", "late", "level", "lock")

    def __init__(self, lock: "Lock", level: int, k: int, late: list[int]) -> None:
        super().__init__()
        self.lock = lock
        self.level = level
        self.late = late
        self.bands: list[Band] = []
        self.set_k(k)

    def set_k(self, k: int) -> None:
        """Remember the `k` latest tickets from now on; what an earlier, smaller `k` forgot stays forgotten."""
        self.k = k
        self.late = sorted(self.late)[max(0, len(self.late) - k) :]
        self.threshold = FOREVER if k == 0 else self.late[0] if len(self.late) == k else 0


class Band(Watch):
    """The lanes of one kind of lock on many workers: a claim is due at one of them if it is older than the greatest."""

    __slots__ = ("lanes",)

    def __init__(self, lanes: frozenset[Lane]) -> None:
        super().__init__()
        self.lanes = lanes
        self.settle()

    def settle(self) -> None:
        """The threshold anew, after its lanes have changed otherwise than by a grant."""
        self.threshold = max(lane.threshold for lane in self.lanes)


class Lock:
    """A lock as it is now. `wanted` is its declared limit, `limit` the one in force.

    `limit` is 0 while a removed lock of the same name and another kind lives (L6). `used` is the sum of `holds` (L1);
    `barred` the sum of `bars`, the reservations that count now, by ticket. `pins` are the barriers with this lock in
    their pin, by ticket, reserving or not.
    """

    __slots__ = (
        "barred",
        "bars",
        "fence",
        "holds",
        "k",
        "key",
        "lane_list",
        "lanes",
        "limit",
        "parked",
        "per_worker",
        "pins",
        "removed",
        "shapes",
        "used",
        "wanted",
    )

    def __init__(self, key: LockKey, limit: int, k: int, fence: int = 0) -> None:
        self.key = key
        self.wanted = self.limit = limit
        self.k = k
        self.removed = False
        self.per_worker = key.worker != ""
        self.fence = fence
        self.used = 0
        self.holds: dict[int, int] = {}
        self.lanes: dict[int, Lane] = {}
        self.lane_list: list[Lane] = []
        self.parked: dict[int, Parked] = {}
        self.bars: list[tuple[int, int, ClaimClass]] = []
        self.barred = 0
        self.pins: list[tuple[int, ClaimClass, Lane]] = []
        self.shapes: dict[Shape, None] = {}
        self.lane(STEP_LEVEL)

    def lane(self, level: int) -> Lane:
        """The lane of this level. A new one remembers what the next higher one does: nobody was granted in between."""
        known = self.lanes.get(level)
        if known is not None:
            return known
        if len(self.lanes) >= MAX_LANES:
            self._forget_lanes()
        above = [other for other in self.lane_list if other.level > level]
        late = list(min(above, key=lambda lane: lane.level).late) if above else []
        lane = self.lanes[level] = Lane(self, level, self.k, late)
        self.lane_list = [self.lanes[each] for each in sorted(self.lanes)]
        return lane

    def _forget_lanes(self) -> None:
        kept = {level: lane for level, lane in self.lanes.items() if lane.users or level == STEP_LEVEL}
        self.lanes = kept

    def has_room(self, units: int) -> bool:
        """Whether so many units fit beside what is held (L1, L2)."""
        if units < WHOLE:
            return self.used + units <= self.limit
        return self.used == 0 and self.limit > 0

    def admits(self, units: int) -> bool:
        """Whether so many units could ever be served (L5)."""
        return units <= self.limit or (units == WHOLE and self.limit > 0)

    def park(self, c: "ClaimClass", index: int, units: int, stamp: int) -> None:
        """Let a class wait here with one of its alternatives."""
        key = -units if c.special else units
        heap = self.parked.get(key)
        if heap is None:
            heap = self.parked[key] = Parked()
        heappush(heap, (c.rank, c, index, stamp))
        if c.pin >= 0:
            heappush(heap, (c.plain, c, index, stamp))
        if len(heap) > heap.limit:
            heap.clear_stale()


NOWHERE: Final = (Lock(LockKey("master", ""), 0, 0), 0)
"""Where an alternative is parked that never was."""


class Shape:
    """A need with its locks resolved. `own` is what an alternative does not share with all others (`common`)."""

    __slots__ = ("alternatives", "classes", "common", "need", "own", "specials", "users")

    def __init__(self, need: Need, alternatives: tuple[tuple[tuple[Lock, int], ...], ...]) -> None:
        self.need = need
        self.alternatives = alternatives
        shared: set[tuple[int, int]] = set()
        if len(alternatives) > 1:
            shared = set.intersection(*({(id(lock), units) for lock, units in each} for each in alternatives))
        self.common = tuple(pair for pair in (alternatives or ((),))[0] if (id(pair[0]), pair[1]) in shared)
        self.own = tuple(tuple(pair for pair in each if (id(pair[0]), pair[1]) not in shared) for each in alternatives)
        self.classes: dict[int, ClaimClass] = {}
        self.specials: dict[ClaimClass, None] = {}
        self.users = 0


class ClaimClass:
    """Claims that need the same at the same level, in one queue (L45). Only the first is looked at.

    `plain` is the rank of the first claim as if it were no barrier.
    `ticket`, `since`, `owner` and `rank` are those of the first claim (`ticket` 0: nobody waits). `open` are the
    alternatives that are not parked; `stamps` tell valid parkings from stale ones (0: not parked; the last one is for
    the common accesses), `where` is the lock and need of each, `dormant` are parkings that were met while nobody
    waited. `pin` is an index, or -1; `on` says for each access of the pin whether it reserves now. `watches` find out
    when the first claim becomes due, but those `taken` where it is; `extra` are single lanes watched besides, for a pin
    or (`pending`) because no alternative could be pinned.
    """

    __slots__ = (
        "alts",
        "common",
        "dormant",
        "extra",
        "free",
        "gone",
        "level",
        "live",
        "needs_free",
        "offered",
        "on",
        "open",
        "own",
        "owner",
        "pending",
        "pin",
        "pinned",
        "plain",
        "queue",
        "rank",
        "serial",
        "shape",
        "since",
        "sources",
        "special",
        "stamps",
        "taken",
        "ticket",
        "watches",
        "where",
    )

    def __init__(self, serial: int, shape: Shape, level: int, special: bool) -> None:
        self.serial = serial
        self.shape = shape
        self.level = level
        self.special = special
        self.queue: list[int] = []
        self.live = 0
        self.ticket = self.since = self.owner = self.rank = self.plain = 0
        self.alts: list[tuple[Access, ...]] = [
            tuple((lock, units, lock.lane(level)) for lock, units in each) for each in shape.alternatives
        ]
        self.own = shape.own
        self.common = shape.common
        self.open = set(range(len(self.alts)))
        self.stamps = [0] * (len(self.alts) + 1)
        self.dormant: list[int] = []
        self.sources: list[tuple[Lock, int]] = []
        self.offered = False
        self.gone = False
        self.pin = -1
        self.pinned: tuple[Access, ...] = ()
        self.on: list[bool] = []
        self.free = False
        self.needs_free = False
        self.where: list[tuple[Lock, int]] = [NOWHERE] * len(self.stamps)
        self.watches: dict[Watch, None] = {}
        self.taken: dict[Watch, None] = {}
        self.extra: dict[Lane, None] = {}
        self.pending = False
        for lane in self.lanes():
            lane.users += 1

    def __lt__(self, other: "ClaimClass") -> bool:
        return self.serial < other.serial

    def lanes(self) -> dict[Lane, None]:
        """All lanes of all alternatives."""
        return {lane: None for each in self.alts for _, _, lane in each}

    def servable(self, index: int) -> bool:
        """Whether this alternative could be served as the limits are (L5)."""
        return all(lock.admits(units) for lock, units, _ in self.alts[index])


class Board:
    """Everything that the allocator's parts share. See the classes above for what each thing is.

    What is still to be looked at, between an event and the end of the decision: `dirty` locks have more room than
    when somebody was parked there; `moved` ones have other holds or bars, which may concern suspended reservations;
    `to_pin` became due; `to_weigh` are barriers whose reservations must be weighed again; `carried` lost their pin by
    an event and may keep it; `suspects` may have closed a ring, `unbroken` are stuck in one that nobody may leave.
    """

    def __init__(self) -> None:
        self.clock = 0
        self.next_hold = 1
        self.band_size = BAND_SIZE
        self.serial = 0
        self.stamp = 0
        self.locks: dict[LockKey, Lock] = {}
        self.shapes: dict[Need, Shape] = {}
        self.classes: dict[ClaimClass, None] = {}
        self.bands: dict[frozenset[Lane], Band] = {}
        self.idle = 0
        self.holds: dict[int, Hold] = {}
        self.hold_locks: dict[int, tuple[tuple[Lock, int], ...]] = {}
        self.waiting: dict[int, Claim] = {}
        self.class_of: dict[int, ClaimClass] = {}
        self.claims_of: dict[int, dict[int, None]] = {}
        self.holds_of: dict[int, dict[int, None]] = {}
        self.parent_of: dict[int, int] = {}
        self.children_of: dict[int, dict[int, None]] = {}
        self.gone_fences: dict[LockKey, int] = {}
        self.pins_on: dict[str, int] = {}
        self.candidates: list[tuple[int, ClaimClass]] = []
        self.barred: dict[ClaimClass, None] = {}
        self.dirty: dict[Lock, None] = {}
        self.moved: dict[Lock, None] = {}
        self.to_pin: dict[ClaimClass, None] = {}
        self.to_weigh: dict[ClaimClass, None] = {}
        self.carried: dict[int, Alternative | None] = {}
        self.limits_moved: dict[Lock, None] = {}
        self.leaving: dict[Lock, None] = {}
        self.suspects: dict[int, None] = {}
        self.unbroken: dict[int, None] = {}
        self.stirred = False

    # --- finding and forgetting

    def lock(self, key: LockKey) -> Lock:
        """The lock of this key. One that nobody declared has limit 0 and is there while it is needed."""
        known = self.locks.get(key)
        if known is None:
            known = self.add_lock(key, 0, 8)
            known.removed = True
            self.leaving[known] = None
        return known

    def add_lock(self, key: LockKey, limit: int, k: int) -> Lock:
        """A new lock, whose fences go on where those of an earlier one of its name ended."""
        lock = self.locks[key] = Lock(key, limit, k, self.gone_fences.pop(key, 0))
        return lock

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

    def add_class(self, shape: Shape, level: int, special: bool) -> ClaimClass:
        """A new class, without a claim so far."""
        self.serial += 1
        c = ClaimClass(self.serial, shape, level, special)
        self._add_watches(c)
        self.classes[c] = None
        self.idle += 1
        shape.users += 1
        if special:
            shape.specials[c] = None
        else:
            shape.classes[level] = c
        return c

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
        del self.classes[c]
        self.idle -= 1
        self.barred.pop(c, None)
        shape = c.shape
        shape.users -= 1
        if c.special:
            del shape.specials[c]
        else:
            del shape.classes[c.level]

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

    def lock_classes(self, lock: Lock) -> list[ClaimClass]:
        """The classes with a waiting claim that names this lock in some alternative."""
        return [c for shape in lock.shapes for c in (*shape.classes.values(), *shape.specials) if c.live]

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
        self.offer(c)

    def rise(self, c: ClaimClass) -> None:
        """This class's rank is better than when it was parked: park it by that, and open what it may now pass."""
        self.wake(c)
        rank, stamps, where = c.rank, c.stamps, c.where
        last = len(c.alts)
        for index, stamp in enumerate(stamps):
            if not stamp:
                continue
            lock, units = where[index]
            if not lock.has_room(units):
                heap = lock.parked[-units if c.special else units]
                heappush(heap, (rank, c, index if index < last else -1, stamp))
                if len(heap) > heap.limit:
                    heap.clear_stale()
                continue
            stamps[index] = 0
            if index < last:
                c.open.add(index)
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

    def add_owner(self, claim: Claim) -> None:
        """Note that this owner waits."""
        self.claims_of.setdefault(claim.owner, {})[claim.ticket] = None

    def drop_owner(self, claim: Claim) -> None:
        """Note that this owner waits no more with this claim."""
        tickets = self.claims_of[claim.owner]
        del tickets[claim.ticket]
        if not tickets:
            del self.claims_of[claim.owner]
