"""Who is looked at next, and granted or parked (L10, L13, L40; ALLOCATION.md section 3).

How it is quick: a class (L45) is *parked* at one lock that refuses it, for each alternative or once for what all of
them share, and is looked at again only when that lock has room for its need. The invariant: an alternative that is not
open has a valid parking at a lock that refuses it, or behind a claim there that comes before it and will be looked at
first. What fits is decided in `alloc_barriers.py`.
"""

from collections.abc import Mapping
from heapq import heappop, heappush, heapreplace
from math import inf
from types import MappingProxyType
from typing import Final

from lockstep.core.alloc_barriers import BARRED, FITS
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_facts import Decision, Granted, Hold, Units
from lockstep.core.alloc_items import BELOW_STEPS, CROWDED, MAX_ASIDE, NO_BARRIER, WHOLE, Lock, Parked, ParkEntry
from lockstep.core.alloc_limits import Limits
from lockstep.core.alloc_pools import names_of, touched
from lockstep.core.alloc_queues import Queues
from lockstep.core.alloc_safety import Safety
from lockstep.core.nouns import LockKey

NO_UNITS: Final[Mapping[Lock, int]] = MappingProxyType({})
"""What a claim gets of pools that names none."""


class Search:
    """Finds the first claim that may be granted, and grants it."""

    def __init__(self, board: Board, limits: Limits, queues: Queues, safety: Safety) -> None:
        self.board = board
        self.limits = limits
        self.safety = safety
        self.barriers = limits.barriers
        self.queues = queues

    def grant_first(self, out: list[Decision]) -> bool:
        """Grant the first claim that may be granted; false if there is none."""
        self.settle(out)
        while (c := self.best()) is not None:
            if self.look(c, out):
                return True
            if self.board.dirty:
                self.open_dirty()
        return False

    def let_go(self, out: list[Decision]) -> bool:
        """Nobody else can be granted anything: grant the first claim that is withheld in vain (L51); false if none."""
        board = self.board
        doubtful = sorted((c.rank, c) for c in board.withheld)
        for _, c in () if not doubtful or self.safety.everybody_can_end() else doubtful:
            fitting = (index for index in sorted(c.open) if self._fits_now(c, index))
            index = next(fitting, -1)
            if index >= 0 and self.safety.in_vain(c.owner):
                del board.withheld[c]
                self._grant(c, index, out)
                return True
        board.doubted = False
        return False

    def _fits_now(self, c: ClaimClass, index: int) -> bool:
        return all(self.barriers.refusal(c, lock, units) == FITS for lock, units in c.shape.alternatives[index])

    def settle(self, out: list[Decision]) -> None:
        """Bring pins, reservations and the list of candidates up to date after a change."""
        board = self.board
        if board.uncounted:
            self.queues.shares.settle()
        if board.to_pin or board.carried or board.limits_moved:
            self.barriers.settle_pins(out)
        if board.to_weigh or board.moved or (board.stirred and self.barriers.weighed_always):
            self.barriers.refresh()
        if board.dirty:
            self.open_dirty()
        if board.safer:
            board.safer = False
            for c in board.withheld:
                board.offer(c)
        if board.stirred:
            board.stirred = False
            if board.barred:
                self.offer_barred()

    def open_dirty(self) -> None:
        """Offer who may find room at a lock that was given back, or in place of one who was looked at."""
        board = self.board
        dirty, board.dirty = board.dirty, {}
        for lock in dirty:
            if (lock.used < lock.limit or not lock.used) and (lock.parked or lock.crowds or lock.apart):
                self._open(lock)

    def _open(self, lock: Lock) -> None:
        """Offer those who come first at a lock that has more room than when they were parked.

        Most often one of them takes that room. So where one comes before those who wait here for another number of
        units, these are left until it was looked at.
        """
        room = lock.limit - lock.used if lock.used else WHOLE
        for crowd in lock.crowds:
            if crowd.units <= room:
                self._pull(lock, crowd.units, crowd)
        for apart in lock.apart.values() if lock.apart else ():
            for key, heap in apart.items():
                if heap and -room <= key <= room:
                    self._pull(lock, abs(key), heap)
        ready = []
        for key, heap in lock.parked.items():
            if heap and -room <= key <= room:
                ready.append((heap[0][0], key, heap))
        if len(ready) == 1:
            self._pull(lock, abs(ready[0][1]), ready[0][2])
            return
        ready.sort()
        first = inf
        for rank, key, heap in ready:
            if rank > first:
                self.board.dirty[lock] = None
                break
            c = self._pull(lock, abs(key), heap)
            if c is not None and c.rank < first:
                first = c.rank

    def offer_barred(self) -> None:
        """Steps and children that only a bar stops: any change may spare them (L46)."""
        for c in self.board.barred:
            self.board.offer(c)

    def best(self) -> ClaimClass | None:
        """The candidate that comes first by L40."""
        candidates = self.board.candidates
        while candidates:
            rank, c = heappop(candidates)
            if not c.offered:
                continue
            if not c.ticket:
                c.offered = False
            elif rank == c.rank:
                c.offered = False
                return c
        return None

    def _pull(self, lock: Lock, units: int, heap: Parked) -> ClaimClass | None:
        """Offer the first class that waits at this lock for so many units, if they fit. Returns which it was.

        If holds refuse it, or only bars and it is neither step nor child, they refuse all that come after it here.
        A class of a crowd may be offered with this slot already, or wait for something else on that worker: then it is
        put aside.
        """
        aside: list[ParkEntry] = []
        offered: ClaimClass | None = None
        while heap:
            rank, c, index, stamp = heap[0]
            if c.stamps[index] != stamp:
                heappop(heap)
            elif rank != c.rank and rank < c.plain:
                if rank < NO_BARRIER:
                    heappop(heap)
                elif c.ticket:
                    heapreplace(heap, (c.plain, c, index, stamp))
                else:
                    self._doze(c, index, heap)
            elif not c.ticket:
                self._doze(c, index, heap)
            elif index == -2 and (place := c.stamps[c.shape.slots[lock]]) != CROWDED:
                if not place and c.offered:
                    c.sources.append(lock)
                    offered = c
                    break
                if len(aside) >= MAX_ASIDE:
                    self.board.disperse(c)
                else:
                    aside.append(heappop(heap))
            else:
                refusal = self.barriers.refusal(c, lock, units)
                if refusal == FITS or (refusal == BARRED and c.special):
                    self._take_out(c, index, lock, heap)
                    c.sources.append(lock)
                    self.board.offer(c)
                    offered = c
                break
        for entry in aside:
            heappush(heap, entry)
        return offered

    def _take_out(self, c: ClaimClass, index: int, lock: Lock, heap: Parked) -> None:
        """The alternative that waited here is to be looked at. In a crowd the class goes on waiting with the others."""
        if index == -2:
            index = c.shape.slots[lock]
        else:
            heappop(heap)
        c.stamps[index] = 0
        if index >= 0:
            c.open.add(index)
            if c.shape.shared:
                self.open_beside(c, lock)
        else:
            self.board.join(c)

    def open_beside(self, c: ClaimClass, lock: Lock) -> None:
        """Others of its alternatives may wait for the same lock: behind this one, or in the heap of another need.

        If one of them is the first that fits (L26), it must be looked at now, not when its entry comes up.
        """
        for other in c.shape.shared.get(lock, ()):
            if c.stamps[other] > 0 and c.where[other][0] is lock:
                c.stamps[other] = 0
                c.open.add(other)

    def _doze(self, c: ClaimClass, index: int, heap: Parked) -> None:
        """Nobody waits in this class: its parking goes on when somebody does."""
        heappop(heap)
        c.stamps[index] = 0
        if index != -2:
            c.dormant.append(index)

    def _park(self, c: ClaimClass, index: int, lock: Lock, units: int, refusal: int) -> None:
        """Let the class wait at the lock that refuses it. If only a bar does, a special one waits for any change."""
        board = self.board
        if refusal == BARRED and c.special:
            board.barred[c] = None
            return
        c.where[index] = (lock, units)
        if index >= 0:
            c.open.discard(index)
            if c.crowd is not None and c.shape.slots.get(lock) == index:
                c.stamps[index] = CROWDED
                return
        else:
            c.stamps[-2] = 0
        board.stamp += 1
        c.stamps[index] = board.stamp
        lock.park(c, index, units, board.stamp)

    def look(self, c: ClaimClass, out: list[Decision], only_try: bool = False) -> bool:
        """Grant the first open alternative that fits, or park; then those come who wait for what it was offered for.

        Where projects have shares, somebody else may come before it, and is granted something in its stead. With
        `only_try` nothing is granted: it is offered again if something fits.
        """
        sources, c.sources = c.sources, []
        board = self.board
        if board.barred:
            board.barred.pop(c, None)
        if board.withheld:
            board.withheld.pop(c, None)
        granted = False
        if not c.stamps[-1] and (not c.common or self._fits_all(c, -1, c.common)):
            own = c.own
            for index in sorted(c.open) if len(c.open) > 1 else tuple(c.open):
                if self._fits_all(c, index, own[index]):
                    if c.owner in board.courses and self._withholds(c, index):
                        board.withheld[c] = None
                        board.doubted = True
                        continue
                    if c.standing is not None and (only_try or (first := self._first_before(c)) is not c):
                        c.sources += sources
                        board.offer(c)
                        return only_try or self.look(first, out)
                    self._grant(c, index, out)
                    granted = True
                    break
        for lock in sources:
            board.dirty[lock] = None
        return granted

    def _first_before(self, c: ClaimClass) -> ClaimClass:
        """Who is to be granted something in this one's stead, by what projects have (L93, L94); itself if nobody is."""
        fitting = {c: None}
        while (first := self.queues.shares.first_before(c, fitting)) not in fitting:
            first.offered = False
            if self.look(first, [], only_try=True):
                fitting[first] = None
            self.open_dirty()
        first.offered = False
        return first

    def _fits_all(self, c: ClaimClass, index: int, accesses: tuple[tuple[Lock, int], ...]) -> bool:
        for lock, units in accesses:
            refusal = self.barriers.refusal(c, lock, units)
            if refusal:
                self._park(c, index, lock, units, refusal)
                return False
        return True

    def _withholds(self, c: ClaimClass, index: int) -> bool:
        return self.safety.withholds(c, index, self.barriers.pick(c, index) if c.shape.pooled else NO_UNITS)

    def _grant(self, c: ClaimClass, index: int, out: list[Decision]) -> None:
        """The first claim of the class gets this alternative: all of it, in this moment (L10, L13)."""
        board = self.board
        barriers, families = self.barriers, self.barriers.families
        ticket, level, barrier = c.ticket, c.level, c.pin >= 0
        claim = board.waiting[ticket]
        owner, since, alternative = claim.owner, claim.since or ticket, claim.need.alternatives[index]
        accesses = counted = c.shape.alternatives[index]
        hold = board.next_hold
        board.next_hold = hold + 1
        board.hold_locks[hold] = accesses
        board.holds_of.setdefault(owner, {})[hold] = None
        lent: tuple[LockKey, ...] = ()
        units: Units = ()
        anew = NO_UNITS
        if c.shape.pooled or owner in board.parent_of or owner in board.children_of:
            picked = barriers.pick(c, index)
            board.holds[hold] = Hold(hold, ticket, owner, index, alternative, ())
            marks, anew = families.take_units(hold, owner, accesses, picked)
            lent = tuple(lock.key for lock, taken in anew.items() if not taken)
            units = names_of(picked)
            counted = touched(accesses, picked)
            for lock, _ in counted:
                lock.lane(level)
        else:
            marks = board.take(hold, accesses)
            if barrier or board.rated or board.shares:
                anew = dict(accesses)
        if barrier:  # in a family what is taken may be no more than what others of it have: then it is room for others
            barriers.drop_pin(c, NO_UNITS if owner in board.parent_of or owner in board.children_of else anew)
            for lock, _ in counted if since != ticket else ():
                lock.lane(BELOW_STEPS)  # from now on steps count otherwise than new lanes must
        board.holds[hold] = Hold(hold, ticket, owner, index, alternative, marks, level, claim.retryable, units)
        out.append(Granted(ticket, hold, index, alternative, marks, owner, level, barrier, board.clock, lent, units))
        self.queues.dequeue(claim)
        barriers.count(counted, *barriers.entries(ticket, since, level, barrier))
        if owner in board.children_of or owner in board.claims_of:
            board.suspects[owner] = None
            self.queues.offer_family(owner)
        if board.rated:
            self.limits.started(anew)
        if board.leaving:
            self.limits.moved(board.hold_locks[hold])
        if board.shares:
            self.queues.shares.granted(owner, anew)
        barriers.stir()
