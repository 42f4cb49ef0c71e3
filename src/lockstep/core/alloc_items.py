"""The things on the allocator's board: locks, and what lies at them. `alloc_classes.py` has those who wait.

Only data lives here, with what keeps one thing consistent with itself; what concerns several is in `alloc_board.py`.
ALLOCATION.md section 3 gives the idea, LOCKS.md the rules.

Terms: a *lane* is one lock at one priority level, a *band* the lanes of many workers, a *shape* a need with its keys
resolved to lock objects (once for all who share the need), a *class* the queue of equal claims (L45), a *crowd* the
classes that wait for a slot of any of the same workers. An exclusive access is `WHOLE` units everywhere.
"""

from bisect import bisect
from heapq import heapify, heappush
from typing import TYPE_CHECKING, Final

from lockstep.core.alloc_facts import LockState, Memory, ShareMemory
from lockstep.core.nouns import STEP_LEVEL, LockKey
from lockstep.core.values import ShareRule

if TYPE_CHECKING:
    from lockstep.core.alloc_classes import ClaimClass, Shape
    from lockstep.core.alloc_pools import Pool

WHOLE: Final = 1 << 60
"""The units of an exclusive access: more than any limit, so that sums say "held whole" by themselves."""

FOREVER: Final = 1 << 127
"""Later than every ticket: at a lock with `max_overtakes` 0 everybody is due at once (strict order)."""

HEAP_START: Final = 256
"""A lazy heap is cleared of stale entries when it has this many, and then when it has doubled."""

BELOW_STEPS: Final = STEP_LEVEL - 1
"""A lane that no claim is in: what a new lane begins with, where the steps' own lane counts otherwise (`entry`)."""

NO_BARRIER: Final = 1 << 64
"""Ranks of barriers are less than this, others are not."""

OVER: Final = 1 << 16
"""Added to the turn of who comes by turns only, and whose project has its share: the last ones."""

TURN_OF_WEIGHT_1: Final = 720_720
"""How much later the next turn of a party comes with each unit, by its weight: many weights divide it."""


def place_of(eldest: int, ticket: int) -> int:
    """Where a barrier stands among barriers: by a build's ticket, then by its own (tickets are below 2 ** 32).

    That is the build that the step is of, or the eldest that waits for it. A step's or a child's claim is younger than
    requests that this build came before. Ranked by its own ticket, it would stand behind requests that a ring put back,
    for ever where everybody is a barrier at once (decision 0012).
    """
    return eldest << 32 | ticket


BAND_SIZE: Final = 8
"""A class watches the lanes of more alternatives than this together, as a band."""

IDLE_CLASSES: Final = 4096
"""So many classes without a waiting claim are kept for the next arrival of their kind."""

MAX_CROWDS: Final = 4
"""So many crowds may wait for one slot; the classes of others are parked at each slot."""

MAX_ASIDE: Final = 8
"""So many classes of a crowd are put aside when a slot is free, because they wait for something else there."""

CROWDED: Final = -1
"""The stamp of an alternative that waits for its slot in the crowd of its class."""

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

    def enter(self, c: "ClaimClass", index: int, stamp: int) -> None:
        """Let a class wait here."""
        heappush(self, (c.rank, c, index, stamp))
        if c.pin >= 0:
            heappush(self, (c.plain, c, index, stamp))
        if len(self) > self.limit:
            self.clear_stale()

    def enter_barrier(self, c: "ClaimClass", index: int) -> None:
        """Let a class that waits here already wait as a barrier too."""
        heappush(self, (c.rank, c, index, c.stamps[index]))
        if len(self) > self.limit:
            self.clear_stale()

    def clear_stale(self) -> None:
        """Drop what is not parked here any more."""
        self[:] = [
            (rank, c, index, stamp)
            for rank, c, index, stamp in self
            if c.stamps[index] == stamp and (rank >= NO_BARRIER or rank == c.rank)
        ]
        heapify(self)
        self.limit = max(HEAP_START, 2 * len(self))


class Crowd(Parked):
    """Classes that wait for a slot of any of the same workers: one entry for all those alternatives of a class."""

    __slots__ = ("locks", "standing", "units", "users")

    def __init__(self, locks: "frozenset[Lock]", units: int, standing: "Standing | None") -> None:
        super().__init__()
        self.locks = locks
        self.units = units
        self.standing = standing
        self.users = 0


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


def _level(lane: Lane) -> int:
    return lane.level


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


class Series:
    """The fences of one name: they grow from grant to grant, whatever kind of lock it is the name of (L62).

    `last` is the last one given, on whichever worker.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def reached(self, fence: int) -> None:
        """This one was given."""
        self.last = max(self.last, fence)


class Lock:
    """A lock as it is now. `wanted` is its declared limit, `capacity` the one in force, `limit` what may be had now.

    `capacity` is 0 while it is `closed`: a removed lock of its name and another kind lives (L6); `limit` also while
    nobody may begin because of a start rate: `left` are the grants that it allows still. Time alone ends that, so
    whoever asks who waits for whom asks for the capacity. `used` is the sum of `holds` (L1); `barred` the sum of
    `bars`, the reservations that count now, by place. `pins` are the barriers with this lock in their pin, by place,
    reserving or not; `hanging` those of them that reserve a worker's own locks only while this one and others are free
    (L42c), `free_hanging` those for which all are now. `pool` is None, but for a view of one: then `mask` are the units
    that its `where` admits (`alloc_pools.py`). `parked` are those who wait here, by their need. `share`: projects have
    the lock by weight; then those who wait are `apart` by their standing. `fence` is the last one of this lock,
    `series` counts those of its name. `lane_list` are its `lanes` by level; `lanes_limit` are so many that some are to
    be forgotten before there is one more.
    """

    __slots__ = (
        "apart",
        "barred",
        "bars",
        "capacity",
        "closed",
        "crowds",
        "fence",
        "free_hanging",
        "hanging",
        "holds",
        "k",
        "key",
        "lane_list",
        "lanes",
        "lanes_limit",
        "left",
        "limit",
        "mask",
        "parked",
        "per_worker",
        "pins",
        "pool",
        "removed",
        "series",
        "shapes",
        "share",
        "used",
        "wanted",
    )

    def __init__(self, key: LockKey, limit: int, k: int, series: Series) -> None:
        self.key = key
        self.wanted = self.capacity = self.limit = limit
        self.left = WHOLE
        self.closed = False
        self.k = k
        self.removed = False
        self.per_worker = key.worker != ""
        self.fence = 0
        self.series = series
        self.pool: Pool | None = None
        self.share: Share | None = None
        self.mask = 0
        self.used = 0
        self.holds: dict[int, int] = {}
        self.lanes: dict[int, Lane] = {}
        self.lane_list: list[Lane] = []
        self.lanes_limit = MAX_LANES
        self.parked: dict[int, Parked] = {}
        self.apart: dict[Standing, dict[int, Parked]] = {}
        self.crowds: list[Crowd] = []
        self.bars: list[tuple[int, int, ClaimClass]] = []
        self.barred = 0
        self.pins: list[tuple[int, ClaimClass, Lane]] = []
        self.hanging: list[tuple[int, ClaimClass]] = []
        self.free_hanging: dict[ClaimClass, None] = {}
        self.shapes: dict[Shape, None] = {}
        self.lane(STEP_LEVEL)

    def lane(self, level: int) -> Lane:
        """The lane of this level. A new one remembers what the next higher one does: nobody was granted in between."""
        known = self.lanes.get(level)
        if known is not None:
            return known
        place = bisect(self.lane_list, level, key=_level)
        late = list(self.lane_list[place].late) if place < len(self.lane_list) else []
        if len(self.lanes) >= self.lanes_limit:
            self._forget_lanes()
            place = bisect(self.lane_list, level, key=_level)
        lane = self.lanes[level] = Lane(self, level, self.k, late)
        self.lane_list.insert(place, lane)
        return lane

    def memory(self) -> Memory:
        """What it remembers of its grants (L45). A level that is left out remembers what the next higher one does."""
        told: list[tuple[int, tuple[int, ...]]] = []
        before: list[int] = []
        for lane in reversed(self.lane_list):
            late = sorted(lane.late)
            if late != before:
                told.append((lane.level, tuple(late)))
                before = late
        return tuple(reversed(told))

    def state(self) -> LockState:
        """The lock as values, but for who holds it."""
        return LockState(self.key, self.wanted, self.k, self.removed, self.fence, self.memory(), self.left)

    def remember(self, state: LockState) -> None:
        """Take over the fence and the memory of an earlier lock of this name."""
        self.fence = max(self.fence, state.fence)
        self.series.reached(self.fence)
        for level, late in sorted(state.memory, reverse=True):
            lane = self.lane(level)
            lane.late = list(late)
            lane.set_k(self.k)

    def _forget_lanes(self) -> None:
        self.lane_list = [lane for lane in self.lane_list if lane.users or lane.level >= BELOW_STEPS]
        self.lanes = {lane.level: lane for lane in self.lane_list}
        self.lanes_limit = max(MAX_LANES, 2 * len(self.lanes))

    def has_room(self, units: int) -> bool:
        """Whether so many units fit beside what is held (L1, L2)."""
        if units < WHOLE:
            return self.used + units <= self.limit
        return self.used == 0 and self.limit > 0

    def admits(self, units: int) -> bool:
        """Whether so many units could be served now, were nothing held (L5)."""
        return units <= self.limit or (units == WHOLE and self.limit > 0)

    def could_admit(self, units: int) -> bool:
        """The same, were its start rate not used up: time alone will do."""
        return units <= self.capacity or (units == WHOLE and self.capacity > 0)

    def is_closed(self) -> bool:
        """Whether what else has its name must be free first (L6)."""
        return self.closed if self.pool is None else self.pool.closed

    def will_admit(self, units: int) -> bool:
        """The same when it is closed no more."""
        size = self.wanted if self.pool is None else (self.mask & self.pool.in_service()).bit_count()
        return units <= size or (units == WHOLE and size > 0)

    def park(self, c: "ClaimClass", index: int, units: int, stamp: int) -> None:
        """Let a class wait here with one of its alternatives."""
        parked = self.parked if c.standing is None else self.apart.setdefault(c.standing, {})
        key = -units if c.special else units
        heap = parked.get(key)
        if heap is None:
            heap = parked[key] = Parked()
        heap.enter(c, index, stamp)

    def parked_with(self, c: "ClaimClass", units: int) -> Parked:
        """Where this class waits already for so many units, with others who come in the same order."""
        parked = self.parked if c.standing is None else self.apart[c.standing]
        return parked[-units if c.special else units]


class Share:
    """Locks that parties have by weight: projects by name, and all others together as `*`.

    `had` says for each lock what builds have of it: their party, the ticket of the build for which all others of its
    family were begun, and its units; `used` is the sum of each party. `sizes` are the units that there are of each
    lock, `size` is their sum. `filled` remembers `filled_by`. `turns` are how much later than now each party's turn
    comes; `order` are the parties' places by that, from 0.
    """

    __slots__ = (
        "filled",
        "had",
        "order",
        "rule",
        "size",
        "sizes",
        "total",
        "turns",
        "used",
        "weights",
    )

    def __init__(self, rule: ShareRule, memory: ShareMemory) -> None:
        self.rule = rule
        self.weights = dict(rule.weights)
        self.total = sum(self.weights.values())
        self.turns = dict(memory.turns)
        self.had: dict[Lock, list[tuple[str, int, int]]] = {}
        self.used: dict[str, int] = dict.fromkeys(self.weights, 0)
        self.filled: dict[str, int] = {}
        self.size = 0
        self.sizes: dict[Lock, int] = {}
        self.order: dict[str, int] = {}
        self.settle()

    def party(self, project: str) -> str:
        """Who this project is here."""
        return project if project in self.weights else "*"

    def count(self, lock: Lock, had: list[tuple[str, int, int]]) -> None:
        """This is what parties have of one of the locks now, and how much there is of it."""
        grown = lock.capacity - self.sizes.get(lock, 0)
        self.sizes[lock] = lock.capacity
        if grown:
            self.size += grown
            self.filled.clear()
        for party, _, units in self.had.pop(lock, ()):
            self.used[party] -= units
            self.filled.pop(party, None)
        if had:
            self.had[lock] = had
        for party, _, units in had:
            self.used[party] += units
            self.filled.pop(party, None)

    def forget(self, lock: Lock) -> None:
        """One of the locks is no more."""
        self.count(lock, [])
        self.size -= self.sizes.pop(lock, 0)
        self.filled.clear()

    def is_below(self, party: str, units: int) -> bool:
        """Whether with so many units a party has less than its share of all that there are; where none are, it has."""
        return not self.size or units * self.total < self.weights[party] * self.size

    def filled_by(self, party: str) -> int:
        """The ticket of the build with which a party came to its share, its builds taken by age; 0 if it has less."""
        known = self.filled.get(party)
        if known is None:
            had = sorted((top, units) for had in self.had.values() for each, top, units in had if each == party)
            known = sum_of = 0
            for top, units in had:
                sum_of += units
                if not self.is_below(party, sum_of):
                    known = top
                    break
            self.filled[party] = known
        return known

    def take_turn(self, party: str, units: int) -> None:
        """The party was granted so many units. Who was away comes as if it had been there until now."""
        now = self.turns.get(party, 0)
        self.turns = {each: turn - now for each, turn in self.turns.items() if turn > now}  # they grow for ever else
        self.turns[party] = units * TURN_OF_WEIGHT_1 // self.weights[party]

    def settle(self) -> None:
        """Whose turn comes first, second and so on; some come at the same time."""
        turns = {party: self.turns.get(party, 0) for party in self.weights}
        places = {turn: place for place, turn in enumerate(sorted(set(turns.values())))}
        self.order = {party: places[turn] for party, turn in turns.items()}

    def memory(self) -> ShareMemory:
        """Whose turn it is, as values. Who is none of its parties any more may be one again."""
        return ShareMemory(self.rule.name, tuple(sorted(self.turns.items())))


class Standing:
    """Where the claims of one project stand that need something of the same shares.

    `over` are the shares of which the project has its part. `begins`: they are requests, and who has less comes before
    them. Others hold something already, keep somebody waiting who does, or are to be the next for sure (`first`, L80):
    they must get on, and are ordered by `turn` alone, which is the place of the project's next turn.
    """

    __slots__ = ("begins", "first", "over", "parties", "project", "shares", "turn")

    def __init__(self, shares: tuple[Share, ...], project: str, begins: bool, first: bool) -> None:
        self.shares = shares
        self.project = project
        self.begins = begins
        self.first = first
        self.parties = {share: share.party(project) for share in shares}
        self.over: tuple[Share, ...] = ()
        self.turn = 0
        self.settle()

    def settle(self) -> bool:
        """Note anew what the project has, and when its turn comes. Whether that changes who comes after others."""
        if self.first:
            return False
        over = tuple(share for share, party in self.parties.items() if not share.is_below(party, share.used[party]))
        self.turn = max(share.order[party] for share, party in self.parties.items())
        if not self.begins and over:
            self.turn += OVER
        changed = over != self.over
        self.over = over
        return changed

    def over_for(self, ticket: int) -> tuple[Share, ...]:
        """The shares whose part the project has by builds from before this ticket, if it is to come after others."""
        if not self.begins or not self.over:
            return ()
        return tuple(share for share, party in self.parties.items() if 0 < share.filled_by(party) < ticket)
