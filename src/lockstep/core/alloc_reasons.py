"""Answers about the allocator for people and pages (L5, L70). Everything is computed when asked; nothing changes.

What the words of an answer are is not decided here: these are the data that `why` makes sentences of.
"""

from bisect import bisect_right

from lockstep.core.alloc_barriers import BARRED, FITS, Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_facts import UNRATED, Hold, Impossible, Memory, Obstacle, Part, PoolMemory, Reservation
from lockstep.core.alloc_items import WHOLE, Lock
from lockstep.core.alloc_limits import Limits
from lockstep.core.alloc_safety import Safety
from lockstep.core.alloc_shares import Shares
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, STEP_LEVEL, Access, LockKey
from lockstep.core.values import ShareRule


class Reasons:
    """Questions that may be asked after a decision."""

    def __init__(self, board: Board, barriers: Barriers, safety: Safety, shares: Shares, limits: Limits) -> None:
        self.board = board
        self.shares = shares
        self.limits = limits
        self.barriers = barriers
        self.safety = safety

    def memory(self, key: LockKey) -> Memory:
        """What is to be stored with the lock: the K latest tickets of each level (L45)."""
        lock = self.board.locks.get(key)
        return lock.memory() if lock else ()

    def pool_memory(self, name: str) -> PoolMemory:
        """The same of a pool. Views that remember nothing yet are named, too: from now on they do."""
        pool = self.board.pools[name]
        views = tuple((key.where, view.memory()) for key, view in pool.views.items())
        known = [at for at in range(len(pool.names)) if not pool.fresh >> at & 1]
        start = {pool.names[at]: pool.start[at] for at in known if pool.start[at]}
        return PoolMemory(name, {pool.names[at]: pool.wear[at] for at in known}, views, start)

    def _seen(self, key: LockKey) -> Lock | None:
        """The lock, if there is one; of a pool any view."""
        if key.kind == "pool":
            pool = self.board.pools.get(key.name)
            return pool.seen(key) if pool is not None else None
        return self.board.locks.get(key)

    def _locks(self, key: LockKey) -> list[Lock]:
        """Where whoever competes for this waits: at the lock, or at each view of its pool that has units of it."""
        if key.kind != "pool":
            lock = self.board.locks.get(key)
            return [lock] if lock else []
        pool = self.board.pools.get(key.name)
        return pool.touched(pool.seen(key).mask) if pool is not None else []

    def shared(self, key: LockKey) -> tuple[ShareRule, tuple[Part, ...]] | None:
        """With what else a lock is shared, and what each party has; None if it is not."""
        lock = self._seen(key)
        parts = self.shares.parts(lock) if lock is not None else ()
        return (lock.share.rule, parts) if lock is not None and lock.share is not None else None

    def worn(self, name: str) -> dict[str, int]:
        """How often each unit of a pool was handed over."""
        pool = self.board.pools.get(name)
        return dict(zip(pool.names, pool.wear, strict=True)) if pool is not None else {}

    def limit(self, key: LockKey) -> int:
        """The limit in force: 0 for a lock that is not there."""
        lock = self._seen(key)
        return lock.capacity if lock else 0

    def in_the_way(self, key: LockKey) -> LockKey | None:
        """What had the name of this lock or pool before, as another kind, and must be free first (L6)."""
        lock = self.board.locks.get(key.whole)
        other = self.limits.in_the_way(lock) if lock is not None and self.board.leaving else None
        return other.key if other is not None else None

    def max_overtakes(self, key: LockKey) -> int:
        """How often a claim may be overtaken at the lock: its K (L42)."""
        lock = self._seen(key)
        return lock.k if lock else DEFAULT_MAX_OVERTAKES

    def starts_left(self, key: LockKey) -> int:
        """How many more grants the lock's start rate allows now; `UNRATED` if it has none."""
        lock = self.board.locks.get(key)
        return lock.left if lock else UNRATED

    def fence(self, key: LockKey) -> int:
        """The last fence that was given for this lock (L62)."""
        if key.kind == "pool":
            return self.board.pools[key.name].fence if key.name in self.board.pools else 0
        lock = self.board.locks.get(key)
        gone = self.board.gone.get(key)
        return lock.fence if lock else gone.fence if gone else 0

    def next_fence(self, key: LockKey) -> int:
        """The fence of the next grant of this lock, which is there: of all that had its name it is the greatest."""
        return self.board.locks[key].series.last + 1

    def next_hold(self) -> int:
        """The id of the next hold."""
        return self.board.next_hold

    def used(self, key: LockKey) -> int:
        """Units held, the limit if it is held exclusively."""
        lock = self._seen(key)
        return min(lock.used, max(lock.capacity, 1)) if lock and lock.used >= WHOLE else lock.used if lock else 0

    def has_room(self, owner: int, access: Access) -> bool:
        """Whether the access fits for this owner beside what is held."""
        lock = self.board.locks.get(access.lock)
        units = WHOLE if access.mode == "exclusive" else access.count
        return lock is not None and self.barriers.families.has_room(owner, lock, units)

    def stands_alone(self, hold: Hold, key: LockKey) -> bool:
        """Whether what a hold has of a lock is neither lent by another nor used by one to whom it was lent (L53)."""
        return self.barriers.families.stands_alone(hold.id, self.board.locks[key])

    def lender(self, hold: Hold, key: LockKey) -> Hold | None:
        """The hold of the nearest that waits for this one's owner and has something of the lock."""
        lock = self._seen(key)
        found = self.barriers.families.lender(hold.owner, lock) if lock is not None else 0
        return self.board.holds[found] if found else None

    def holders(self, key: LockKey) -> list[Hold]:
        """Who holds the lock, or units that are meant, in the order of the grants."""
        if key.kind == "pool":
            pool = self.board.pools.get(key.name)
            return [self.board.holds[hold] for hold in pool.having(key)] if pool is not None else []
        lock = self.board.locks.get(key)
        return [self.board.holds[hold] for hold in sorted(lock.holds)] if lock else []

    def queue(self, key: LockKey) -> list[int]:
        """The tickets that wait for the lock (in some alternative), in the order of L40, L93 and L94."""
        ranked = {
            (*self._order(c, ticket, lock), ticket)
            for lock in self._locks(key)
            for c in self.board.lock_classes(lock)
            for ticket in c.queue
            if self.board.class_of.get(ticket) is c
        }
        return [each[-1] for each in sorted(ranked)]

    def _order(self, c: ClaimClass, ticket: int, lock: Lock) -> tuple[bool, int, int, int]:
        """When a claim comes among those that wait at a lock."""
        barrier = ticket == c.ticket and c.pin >= 0
        rank = c.rank if barrier else self.barriers.plain_rank(c, ticket)
        if c.standing is None or lock.share is None:
            return False, 0, 0, rank
        full = c.full if barrier else c.standing.over if c.standing.begins else ()
        by_turn = (0, 0) if barrier else (STEP_LEVEL + 1 - c.level, c.standing.turn)
        return lock.share in full, *by_turn, rank

    def reservations(self, key: LockKey) -> list[Reservation]:
        """What barriers keep free at the lock now, in their order."""
        return [
            Reservation(c.ticket, 0 if units >= WHOLE else units, units >= WHOLE)
            for lock in self._locks(key)
            for _, units, c in lock.bars
        ]

    def overtaken(self, ticket: int, key: LockKey) -> int:
        """How often this waiting claim was overtaken at the lock; no more than K are remembered (L41)."""
        c = self.board.class_of.get(ticket)
        lock = self.board.locks.get(key)
        if c is None or lock is None or c.counted_level not in lock.lanes:
            return 0
        if self.board.waiting[ticket].since < 0:
            return 0  # it is a barrier from the start, and not because of this
        late = sorted(lock.lanes[c.counted_level].late)
        return len(late) - bisect_right(late, self.board.waiting[ticket].since or ticket)

    def pins(self) -> dict[int, int]:
        """The barriers: ticket and index of the alternative that each reserves on."""
        return {c.ticket: c.pin for c in self.board.classes if c.pin >= 0}

    def pin(self, ticket: int) -> int:
        """The index of the alternative that this claim reserves on, or -1."""
        c = self.board.class_of.get(ticket)
        return c.pin if c is not None and c.ticket == ticket else -1

    def impossible(self, ticket: int) -> tuple[Impossible, ...]:
        """Why a waiting claim can never be served as the limits are (L5): all its alternatives, or nothing."""
        c = self.board.class_of.get(ticket)
        if c is None:
            return ()
        found = []
        for index, accesses in enumerate(c.alts):
            refused = [(lock, units) for lock, units, _ in accesses if not lock.could_admit(units)]
            if not refused:
                return ()
            lock, units = refused[0]
            found.append(Impossible(index, lock.key, 1 if units == WHOLE else units, lock.capacity))
        return tuple(found)

    def servable(self, ticket: int) -> bool:
        """Whether some alternative of this waiting claim could be served as the limits are (L5)."""
        c = self.board.class_of.get(ticket)
        return c is not None and any(c.servable_in_time(index) for index in range(len(c.alts)))

    def withheld_for(self, ticket: int) -> tuple[int, ...]:
        """If a claim fits and is withheld (L51): the builds that it could block, and that could block it, for ever."""
        c = self.board.class_of.get(ticket)
        if c is None or c not in self.board.withheld:
            return ()
        for index in sorted(c.open):
            if all(self.barriers.refusal(c, lock, units) == FITS for lock, units, _ in c.alts[index]):
                return tuple(sorted(self.safety.because_of(c, index, self.barriers.pick(c, index))))
        return ()

    def obstacles(self, ticket: int) -> tuple[Obstacle, ...]:
        """For each alternative of a waiting claim, everything that refuses it now."""
        c = self.board.class_of.get(ticket)
        if c is None:
            return ()
        return tuple(
            obstacle
            for index, accesses in enumerate(c.alts)
            for lock, units, _ in accesses
            if (obstacle := self._obstacle(c, index, lock, units))
        )

    def _obstacle(self, c: ClaimClass, index: int, lock: Lock, units: int) -> Obstacle | None:
        if not lock.could_admit(units):
            return Obstacle(index, lock.key, "limit")
        refusal = self.barriers.refusal(c, lock, units)
        if refusal == FITS:
            return None
        if refusal == BARRED and self.barriers.has_room(c, lock, units):
            earlier = (b for place, _, b in lock.bars if b is not c and place < c.rank)
            before = (b.ticket for b in earlier if not (b.full and b.exempts(c)))
            return Obstacle(index, lock.key, "reserved", tuple(before))
        if lock.left <= 0 and self.barriers.families.has_room(c.owner, lock, units):
            return Obstacle(index, lock.key, "rate")
        kin = set(self.barriers.families.ancestors(c.owner))
        if self.barriers.families.raises(c.owner, lock, units):
            kin.add(c.owner)
        strangers = (hold for hold in lock.holds if self.board.holds[hold].owner not in kin)
        return Obstacle(index, lock.key, "held", tuple(sorted(strangers)))
