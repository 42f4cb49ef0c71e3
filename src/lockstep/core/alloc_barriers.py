"""What fits, who was overtaken too often, and what barriers reserve (LOCKS.md L1, L2, L41, L42, L44, L46).

Each rule is one small method, so that a test can plant the literal reading of it as a mutant. Who is looked at, and
when, is `allocation.py`; who waits for whom is `alloc_waits.py`.
"""

from bisect import insort
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from types import MappingProxyType
from typing import Final, cast

from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_facts import BecameBarrier, Decision, Pinned, Unpinned
from lockstep.core.alloc_families import NOBODY
from lockstep.core.alloc_items import BELOW_STEPS, WHOLE, Lane, Lock, Watch
from lockstep.core.alloc_pools import Demand, Pool
from lockstep.core.alloc_waits import Waits
from lockstep.core.nouns import STEP_LEVEL

FITS: Final = 0
HELD: Final = 1
BARRED: Final = 2


class Barriers:
    """Counts overtaking by thresholds, pins barriers, and keeps the reservations that count at each lock."""

    def __init__(self, board: Board, waits: Waits) -> None:
        self.board = board
        self.waits = waits
        self.families = waits.families
        self.weighed_always: dict[ClaimClass, None] = {}

    # --- what fits (L1, L2, L41)

    def refusal(self, c: ClaimClass, lock: Lock, units: int) -> int:
        """Whether the access fits for the class's first claim, or what refuses it: holds, or only reservations."""
        if not c.plainly:
            if lock.pool is not None:
                return self.refusal_of_units(c, lock, lock.pool, units)
            if c.special and self.families.has_some(c.owner, lock, units):
                return self.refusal_of_loan(c, lock, units)
        used = lock.used
        if units < WHOLE:
            if used + units > lock.limit:
                return HELD
            if used + lock.barred + units <= lock.limit:
                return FITS
        else:
            if used or lock.limit < 1:
                return HELD
            if not lock.barred:
                return FITS
        if c.pin < 0 and not c.special and c.standing is None:
            return BARRED
        return FITS if self.fits_beside(c, lock, units) else BARRED

    def refusal_of_loan(self, c: ClaimClass, lock: Lock, units: int) -> int:
        """The same for a child whose ancestors hold of the lock (L53), or whoever raises what it shares: any change
        may let it in, not only room.

        What it takes anew must fit beside reservations. What is lent was taken before: it passes nobody but its
        siblings, and those are not many.
        """
        if not self.families.has_room(c.owner, lock, units):
            return BARRED
        anew = self.families.anew(c.owner, lock, units)
        if not anew:
            return FITS
        may_begin = lock.limit == lock.capacity
        return FITS if may_begin and self.fits_beside(c, lock, WHOLE if units == WHOLE else anew) else BARRED

    def refusal_of_units(self, c: ClaimClass, view: Lock, pool: Pool, units: int) -> int:
        """The same for units of a pool: others' reservations at any view of it count."""
        kin = self.families.kin(c.owner) if c.special else NOBODY
        borrows = bool(kin) and self.families.lender(c.owner, view) > 0
        if not pool.has_room(view, units, kin):
            return BARRED if borrows else HELD
        demands = self.demands(c, pool)
        anew = pool.anew(view, units, kin)
        return FITS if not anew or not demands or pool.leaves_enough(view, anew, demands) else BARRED

    def demands(self, c: ClaimClass, pool: Pool) -> list[Demand]:
        """What those reservations want of a pool that concern the class's first claim."""
        found = []
        before = c.place if c.pin >= 0 else c.plain
        for view in pool.views.values():
            for place, reserved, b in view.bars:
                if place > before:
                    break
                if b is not c and not (c.special and self.spares(b, c)) and not (b.full and b.exempts(c)):
                    found.append((view.mask, min(reserved, view.limit)))
        return found

    def pick(self, c: ClaimClass, index: int) -> dict[Lock, int]:
        """The units of pools that the class's first claim gets with this alternative, which fits."""
        kin = self.families.kin(c.owner)
        return {
            view: view.pool.chosen(view, units, kin, self.demands(c, view.pool))
            for view, units in c.shape.alternatives[index]
            if view.pool is not None
        }

    def has_room(self, c: ClaimClass, lock: Lock, units: int) -> bool:
        """Whether the access fits for the class's first claim beside what is held."""
        return self.families.has_room(c.owner, lock, units) if c.special else lock.has_room(units)

    def fits_beside(self, c: ClaimClass, lock: Lock, units: int) -> bool:
        """Whether the access fits beside those reservations that concern a barrier, a step or a child."""
        room = lock.limit - lock.used - units
        before = c.place if c.pin >= 0 else c.plain
        for place, reserved, b in lock.bars:
            if b is c:
                continue
            if place > before:
                break
            if (c.special and self.spares(b, c)) or (b.full and b.exempts(c)):
                continue
            room -= reserved
            if room < 0 or units == WHOLE:
                return False
        return True

    def spares(self, barrier: ClaimClass, c: ClaimClass) -> bool:
        """L46: a reservation never stops a claim of an owner that the barrier waits for."""
        return self.waits.reaches(barrier.owner, c.owner)

    # --- overtaking (L41, L44, L45)

    def entries(self, ticket: int, since: int, level: int, barrier: bool) -> tuple[int, int, int]:
        """A level, and the numbers that a grant counts as up to that level and above it.

        Who began to wait before such a number was overtaken. It is the grant's ticket, if L40 puts it before that level
        (a barrier, or no lower level); else it overtakes everybody who waits. For steps it is when it began to wait:
        one that was put back must not pass them for ever (decision 0014).
        """
        if barrier or level == STEP_LEVEL:
            return BELOW_STEPS, ticket, max(since, 0)
        return level, ticket, self.board.clock + 1

    def count(self, accesses: tuple[tuple[Lock, int], ...], level: int, own: int, above: int) -> None:
        """Remember a grant at its locks, and find whom it was one too many for. The numbers are of `entries`."""
        for lock, _ in accesses:
            for lane in lock.lane_list:
                threshold = lane.threshold
                entry = own if lane.level <= level else above
                if threshold and entry <= threshold:
                    continue
                late = lane.late
                if threshold or len(late) == lane.k:
                    heapreplace(late, entry)
                else:
                    heappush(late, entry)
                    if len(late) < lane.k:
                        continue
                threshold = lane.threshold = late[0]
                if lane.ages and lane.ages[0][0] < threshold:
                    self.age(lane)
                for band in lane.bands:
                    if threshold > band.threshold:
                        band.threshold = threshold
                        if band.ages and band.ages[0][0] < threshold:
                            self.age(band)

    def age(self, watch: Watch) -> None:
        """Take out the classes whose first claim has become due in this lane or band."""
        ages = watch.ages
        while ages and ages[0][0] < watch.threshold:
            key, serial, c = ages[0]
            regular = watch in c.watches
            if c.gone or watch in c.taken or not (regular or watch in c.extra):
                heappop(ages)
            elif c.ticket and key < c.since and (regular or c.pin >= 0 or c.pending):
                heapreplace(ages, (c.since, serial, c))
            else:
                heappop(ages)
                if regular:
                    c.taken[watch] = None
                else:
                    c.extra.pop(cast(Lane, watch))
                if c.ticket and c.since < watch.threshold:
                    self.note_due(c)

    def note_due(self, c: ClaimClass) -> None:
        """The class's first claim is due at one more lock."""
        if c.pin < 0:
            self.board.to_pin[c] = None
        else:
            self.board.to_weigh[c] = None

    def watch(self, c: ClaimClass, earlier: bool) -> None:
        """A class has a new first claim: find the locks where it is due, now and later."""
        since = c.since
        c.pending = False
        taken: dict[Watch, None] = {}
        for watch in c.watches if earlier else c.taken:
            if since < watch.threshold:
                taken[watch] = None
            else:
                watch.add(c)
        c.taken = taken
        if earlier:  # in single lanes it is entered as of a later first claim, and would be found too late
            for lane in c.extra:
                lane.add(c)
        if taken:
            self.board.to_pin[c] = None

    def watch_closely(self, c: ClaimClass, lanes: Iterable[Lane]) -> None:
        """Find out when the first claim becomes due in one of these very lanes."""
        for lane in lanes:
            if lane not in c.watches and lane not in c.extra and c.since >= lane.threshold:
                c.extra[lane] = None
                lane.add(c)

    def settle_watches(self, lock: Lock) -> None:
        """The lock remembers another number of tickets: who is due must be found anew."""
        for lane in lock.lane_list:
            lane.set_k(lock.k)
            for band in lane.bands:
                band.settle()
        for c in self.board.lock_classes(lock, idle=True):
            self.watch(c, True)
            self.watch_closely(c, c.lanes() if c.pin < 0 else [lane for _, _, lane in c.pinned])

    # --- pins (L42)

    def may_reserve(self, c: ClaimClass, index: int) -> bool:
        """L42d: a claim that cannot be served reserves nothing."""
        return c.servable(index)

    def due(self, c: ClaimClass, index: int) -> bool:
        """Whether the class's first claim is due at a lock of this alternative."""
        since = c.since
        return any(since < lane.threshold for _, _, lane in c.alts[index])

    def choose(self, c: ClaimClass) -> int:
        """L42b: the alternative to reserve on, or -1."""
        best = -1
        least = (0, 0)
        pins_on = self.board.pins_on
        workers = c.shape.need.alternatives
        since = c.since
        everywhere = any(since < lane.threshold for lane in c.common_lanes)
        for index, accesses in enumerate(c.own_alts):
            if not everywhere:
                for _, _, lane in accesses:
                    if since < lane.threshold:
                        break
                else:
                    continue
            pins = pins_on.get(workers[index].worker, 0)
            if best >= 0 and pins > least[0]:
                continue
            taken = 0
            for lock, units, _ in accesses:
                taken += not (self.has_room(c, lock, units) if c.special else lock.has_room(units))
            if (best < 0 or (pins, taken) < least) and self.may_reserve(c, index):
                best, least = index, (pins, taken)
        return best

    def set_pin(self, c: ClaimClass, index: int) -> None:
        """The class's first claim is a barrier, with this alternative."""
        board = self.board
        c.pin = index
        c.pinned = c.alts[index]
        c.on = [False] * len(c.pinned)
        c.free = False
        c.needs_free = any(lock.per_worker for lock, _, _ in c.pinned)
        if c.standing is not None:
            c.full = c.standing.over_for(c.ticket)
            board.pinned_apart[c] = None
        for lock, _, lane in c.pinned:
            insort(lock.pins, (c.place, c, lane))
            if c.needs_free and not lock.per_worker:
                insort(lock.hanging, (c.place, c))
        worker = c.shape.need.alternatives[index].worker
        if worker:
            board.pins_on[worker] = board.pins_on.get(worker, 0) + 1
        if c.special and c.needs_free:
            self.weighed_always[c] = None
        board.set_rank(c, self.barrier_rank(c))
        board.rise(c)
        self.watch_closely(c, [lane for _, _, lane in c.pinned])
        board.to_weigh[c] = None
        self.stir()

    def drop_pin(self, c: ClaimClass, taken: Mapping[Lock, int] = MappingProxyType({})) -> None:
        """The class's first claim is no barrier any more. What it was granted anew is no new room for others."""
        board = self.board
        place = c.place
        for position, (lock, units, lane) in enumerate(c.pinned):
            if c.on[position]:
                self.switch_off(c, lock, units)
                if taken.get(lock, 0) < units:
                    self.suspended(lock)
            lock.pins.remove((place, c, lane))
            if c.needs_free and not lock.per_worker:
                lock.hanging.remove((place, c))
                lock.free_hanging.pop(c, None)
            if lock.hanging:
                board.moved[lock] = None
        worker = c.shape.need.alternatives[c.pin].worker
        if worker:
            board.pins_on[worker] -= 1
        c.pin = -1
        c.full = ()
        board.pinned_apart.pop(c, None)
        c.pinned = ()
        c.on = []
        self.weighed_always.pop(c, None)
        board.set_rank(c, c.plain)
        for lock in c.sources:  # it was about to be looked at: whoever waits there may come before it now
            board.dirty[lock] = None
        self.stir()

    def barrier_rank(self, c: ClaimClass) -> int:
        """L40: barriers come first, by place."""
        return c.place

    def plain_rank(self, c: ClaimClass, ticket: int) -> int:
        """L40: after barriers come steps of running builds, then others by priority; then by ticket.

        Where the newest comes first, it comes before all others of its level.
        """
        return c.base - ticket if c.newest else c.base + ticket

    def settle_pins(self, out: list[Decision]) -> None:
        """Before anything is granted: pins that events touched are kept or dropped, and who is due is pinned (L42b)."""
        board = self.board
        if board.limits_moved:
            self._recheck_limits()
        if board.carried:
            self._settle_carried(out)
        if board.to_pin:
            fresh = sorted((c.ticket, c) for c in board.to_pin if c.ticket and c.pin < 0)
            board.to_pin.clear()
            for ticket, c in fresh:
                index = self.choose(c)
                if index < 0:
                    if c.taken:
                        c.pending = True
                        self.watch_closely(c, c.lanes())
                    continue
                locks = tuple(lock.key for lock, _, lane in c.alts[index] if c.since < lane.threshold)
                self.set_pin(c, index)
                out.append(BecameBarrier(ticket, locks))
                out.append(Pinned(ticket, index, c.shape.need.alternatives[index]))

    def _recheck_limits(self) -> None:
        """A limit change must pin anew: drop pins that became impossible, try what may have become possible."""
        board = self.board
        for lock in board.limits_moved:
            for c in board.lock_classes(lock):
                if c.pin < 0:
                    board.to_pin[c] = None
                elif self.may_reserve(c, c.pin) and self.due(c, c.pin):
                    board.to_weigh[c] = None
                else:
                    self.carry(c)
        board.limits_moved.clear()

    def carry(self, c: ClaimClass) -> None:
        """The pinned first claim may have lost its right to the pin: `settle_pins` will see."""
        self.board.carried.setdefault(c.ticket, self.board.waiting[c.ticket].need.alternatives[c.pin])
        self.drop_pin(c)
        self.board.to_pin[c] = None

    def _settle_carried(self, out: list[Decision]) -> None:
        board = self.board
        for ticket, alternative in sorted(board.carried.items()):
            c = board.class_of.get(ticket)
            if c is None:
                continue
            alternatives = c.shape.need.alternatives
            index = alternatives.index(alternative) if alternative is not None and alternative in alternatives else -1
            if c.ticket == ticket and index >= 0 and self.may_reserve(c, index) and self.due(c, index):
                self.set_pin(c, index)
            else:
                out.append(Unpinned(ticket))
        board.carried.clear()

    # --- which reservations count (L42c)

    def reserved(self, units: int) -> int:
        """What a barrier reserves at a lock where it is due: the units that it needs."""
        return units

    def refresh(self) -> None:
        """Weigh the barriers at locks that moved, by place; what changes concerns only later ones."""
        board = self.board
        heap = [(c.place, c) for c in board.to_weigh]
        heap += [(c.place, c) for c in self.weighed_always]
        for lock in board.moved:
            self.find_concerned(lock, 0, heap)
        board.to_weigh.clear()
        board.moved.clear()
        heapify(heap)
        last: ClaimClass | None = None
        while heap:
            _, c = heappop(heap)
            if c is not last and c.pin >= 0:
                self._weigh(c, heap)
            last = c

    def find_concerned(self, lock: Lock, after: int, heap: list[tuple[int, ClaimClass]]) -> None:
        """Add the later barriers whose reservation of a worker's own locks hangs on this lock.

        Those that were not free can only be free if something is left beside the reservations before them.
        """
        if lock.pool is not None:
            for view in lock.pool.views.values():
                for place, c in view.hanging:
                    if place > after:
                        heappush(heap, (place, c))
            return
        if not lock.hanging:
            return
        for c in lock.free_hanging:
            if c.place > after:
                heappush(heap, (c.place, c))
        room = lock.limit - lock.used
        passed = 0
        for place, c in lock.hanging:
            while passed < len(lock.bars) and lock.bars[passed][0] < place:
                room -= lock.bars[passed][1]
                passed += 1
            if room <= 0 and not self.board.shares:  # where there are, not all of these reservations may concern it
                break
            if place > after and not c.free:
                heappush(heap, (place, c))

    def is_free(self, c: ClaimClass) -> bool:
        """L42c: whether all locks of the pin that are not a worker's own are free for the barrier."""
        return all(lock.per_worker or self.refusal(c, lock, units) == FITS for lock, units, _ in c.pinned)

    def _weigh(self, c: ClaimClass, heap: list[tuple[int, ClaimClass]]) -> None:
        since = c.since
        free = not c.needs_free or self.is_free(c)
        if free is not c.free:
            c.free = free
            self._note_free(c)
        for position, (lock, units, lane) in enumerate(c.pinned):
            on = since < lane.threshold and (c.free or not lock.per_worker)
            if on is c.on[position]:
                continue
            c.on[position] = on
            if on:
                insort(lock.bars, (c.place, self.reserved(units), c))
                lock.barred += self.reserved(units)
                if lock.pool is not None:
                    self.suspended(lock)
            else:
                self.switch_off(c, lock, units)
                self.suspended(lock)
            self.board.stirred = True
            self.find_concerned(lock, c.place, heap)

    def _note_free(self, c: ClaimClass) -> None:
        for lock, _, _ in c.pinned:
            if c.free and c.needs_free and not lock.per_worker:
                lock.free_hanging[c] = None
            else:
                lock.free_hanging.pop(c, None)

    def switch_off(self, c: ClaimClass, lock: Lock, units: int) -> None:
        """This reservation does not count any more."""
        lock.bars.remove((c.place, self.reserved(units), c))
        lock.barred -= self.reserved(units)

    def suspended(self, lock: Lock) -> None:
        """A reservation that ends or is suspended is a release: its lock must be looked at again."""
        if lock.pool is not None:
            self.board.open_pool(lock.pool)
        self.board.dirty[lock] = None

    def stir(self) -> None:
        """Who waits for whom may have changed: those whom only a bar stops are looked at again (L46)."""
        self.board.stirred = True
        self.waits.forget()
