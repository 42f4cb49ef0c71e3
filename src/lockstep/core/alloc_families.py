"""What a build that waits for a child lends it (L53): how many units of a lock a family takes.

A *family* is a build with the builds that it waits for, theirs, and so on. Nothing about loans is kept: at each lock
an owner accounts for what it holds, or for what its children account for together, if that is more. So children take
their ancestors' units first, the rest anew; and a lent unit is free when lender and borrowers have ended (decision
0022). Nobody is granted anything here, and nothing changes but `Lock.used`, which is the sum over all families (L1).
"""

from collections.abc import Iterator, Mapping, Set
from typing import Final

from lockstep.core.alloc_board import Board
from lockstep.core.alloc_items import WHOLE, Lock
from lockstep.core.alloc_pools import Pool

NOBODY: Final[Set[int]] = frozenset()


class Families:
    """Counts what owners take of a lock, with their waiting ancestors and for their children."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def ancestors(self, owner: int) -> Iterator[int]:
        """The builds that wait for this one, directly or through others; the nearest first."""
        parent_of = self.board.parent_of
        while owner in parent_of:
            owner = parent_of[owner]
            yield owner

    def descendants(self, owner: int) -> Iterator[int]:
        """The builds and requests that this one waits for, directly or through others."""
        for child in self.board.children_of.get(owner, ()):
            yield child
            yield from self.descendants(child)

    def lender(self, owner: int, lock: Lock) -> int:
        """A hold of the nearest of those who wait for this owner and hold something of the lock, or 0."""
        for ancestor in self.ancestors(owner):
            for hold in self.board.holds_of.get(ancestor, ()):
                if hold in lock.holds:
                    return hold
        return 0

    def kin(self, owner: int) -> Set[int]:
        """Those who lend to this owner."""
        return set(self.ancestors(owner)) if owner in self.board.parent_of else NOBODY

    def has_some(self, owner: int, lock: Lock, units: int) -> bool:
        """Whether what this owner has already, or is lent, counts for an access."""
        if owner in self.board.parent_of and self.lender(owner, lock):
            return True
        return units == WHOLE and lock.pool is None and self.own_units(owner, lock) > 0

    # --- what is taken

    def own_units(self, owner: int, lock: Lock) -> int:
        """What the owner itself holds of the lock."""
        return sum(lock.holds.get(hold, 0) for hold in self.board.holds_of.get(owner, ()))

    def footprint(self, owner: int, lock: Lock, gone: Set[int] = NOBODY) -> int:
        """What the owner and its descendants take together, but for owners that are thought to be gone."""
        own = self.own_units(owner, lock) if owner not in gone else 0
        return max(own, self._lent(owner, lock, gone))

    def _lent(self, owner: int, lock: Lock, gone: Set[int]) -> int:
        children = self.board.children_of.get(owner)
        if not children:
            return 0
        if len(children) > len(lock.holds):
            children = self._holding_below(owner, lock)
        return sum(self.footprint(child, lock, gone) for child in children)

    def _holding_below(self, owner: int, lock: Lock) -> dict[int, None]:
        """The children of an owner that hold something of the lock, or whose descendants do: of many only these take
        any."""
        holds, parent_of = self.board.holds, self.board.parent_of
        found: dict[int, None] = {}
        for hold in lock.holds:
            each = holds[hold].owner
            while (parent := parent_of.get(each, 0)) and parent != owner:
                each = parent
            if parent:
                found[each] = None
        return found

    def taken(self, lock: Lock, gone: Set[int] = NOBODY) -> int:
        """The units that are taken of the lock, by all families: counted anew if some are thought to be gone."""
        return lock.used if gone is NOBODY else self.recount(lock, gone)

    def recount(self, lock: Lock, gone: Set[int] = NOBODY) -> int:
        """The same, from the holds alone."""
        if lock.pool is not None:
            return lock.pool.used(lock)
        if not self.board.parent_of:
            holds = self.board.holds
            return sum(units for hold, units in lock.holds.items() if holds[hold].owner not in gone)
        tops = {self.eldest(self.board.holds[hold].owner) for hold in lock.holds}
        return sum(self.footprint(top, lock, gone) for top in tops)

    def eldest(self, owner: int) -> int:
        """The last of those who wait for this owner, directly or through others; itself if nobody does."""
        for each in self.ancestors(owner):
            owner = each
        return owner

    def stands_alone(self, hold: int, lock: Lock) -> bool:
        """Whether this hold's part of the lock could be somebody's who has no family: nothing more is taken then."""
        if lock.pool is not None:
            return lock.pool.has_alone(hold)
        top = self.eldest(self.board.holds[hold].owner)
        together, units = self.footprint(top, lock), lock.holds[hold]
        lock.holds[hold] = 0
        others = lock.used - together + self.footprint(top, lock)
        lock.holds[hold] = units
        return others + units <= lock.used and (not others or others + units <= lock.limit)

    # --- what would be taken

    def strangers(self, owner: int, lock: Lock, gone: Set[int] = NOBODY) -> Iterator[int]:
        """Who holds the lock and does not lend to this owner."""
        kin = self.kin(owner)
        for hold in lock.holds:
            holder = self.board.holds[hold].owner
            if holder not in kin and holder not in gone:
                yield holder

    def in_the_way(self, owner: int, lock: Lock, gone: Set[int] = NOBODY) -> Set[int]:
        """Who has to end before this owner gets of the lock what it lacks: strangers, and who keeps it closed (L6)."""
        found = set(self.strangers(owner, lock, gone))
        return found | (self.board.closers(lock) - gone - {owner}) if lock.is_closed() else found

    def raises(self, owner: int, lock: Lock, units: int) -> bool:
        """Whether the owner shares the lock already and now wants it for itself: what it has is not in its way."""
        return units == WHOLE and lock.pool is None and 0 < self.own_units(owner, lock) < WHOLE

    def anew(self, owner: int, lock: Lock, units: int, gone: Set[int] = NOBODY) -> int:
        """How many of these units the owner could not take from its ancestors, and must take anew.

        `WHOLE` if it may not have them at all: it wants the lock for itself and somebody else holds of it, an ancestor
        has it whole and lends too much of it already, or somebody has it whole who was lent it by a child of an
        ancestor that has ended since.
        """
        borrows = owner in self.board.parent_of and self.lender(owner, lock)
        raised = self.raises(owner, lock, units)
        if not borrows and not raised:
            return units
        if units == WHOLE:
            if any(not raised or stranger != owner for stranger in self.strangers(owner, lock, gone)):
                return WHOLE
            return max(0, WHOLE - self.taken(lock, gone))
        if lock.used > WHOLE and any(self.own_units(each, lock) >= WHOLE for each in self.strangers(owner, lock, gone)):
            return WHOLE
        more = units
        for ancestor in self.ancestors(owner):
            own = self.own_units(ancestor, lock) if ancestor not in gone else 0
            lent = self._lent(ancestor, lock, gone)
            if own >= WHOLE and lent + more > lock.wanted:
                return WHOLE
            more = max(own, lent + more) - max(own, lent)
            if not more:
                break
        return more

    def has_room(self, owner: int, lock: Lock, units: int, gone: Set[int] = NOBODY) -> bool:
        """Whether the access fits for this owner beside what is held (L1, L2, L53), if it may begin at all."""
        if not lock.will_admit(units):
            return False
        opened = lock.is_closed() and not self.board.closers(lock) - gone
        if lock.pool is not None:
            return lock.pool.has_room(lock, units, self.kin(owner), gone, opened)
        anew = self.anew(owner, lock, units, gone)
        if lock.closed and anew and not opened:  # what is lent was taken before (L6)
            return False
        taken = self.taken(lock, gone)
        if anew < WHOLE or not taken:
            return not anew or units == WHOLE or taken + anew <= lock.wanted
        return False

    def lent_fence(self, owner: int, lock: Lock) -> int:
        """The lender's fence, for a grant that takes nothing anew."""
        board = self.board
        hold = self.lender(owner, lock)
        place = [each for each, _ in board.hold_locks[hold]].index(lock)
        return board.holds[hold].fences[place]

    # --- changes

    def take(
        self, hold: int, owner: int, accesses: tuple[tuple[Lock, int], ...]
    ) -> tuple[tuple[int, ...], dict[Lock, int]]:
        """Put a new hold to its locks. Returns a fence for each, and what the owner had to take anew of each.

        The hold must be among those of its owner already. A loan has the lender's fence.
        """
        top = self.eldest(owner)
        fences: list[int] = []
        taken: dict[Lock, int] = {}
        for lock, units in accesses:
            taken[lock] = anew = self.anew(owner, lock, units)
            if anew:
                lock.fence = lock.series.last = lock.series.last + 1
            fences.append(lock.fence if anew else self.lent_fence(owner, lock))
            lock.used -= self.footprint(top, lock)
            lock.holds[hold] = units
            lock.used += self.footprint(top, lock)
            if lock.hanging:
                self.board.moved[lock] = None
        return tuple(fences), taken

    def take_units(
        self, hold: int, owner: int, accesses: tuple[tuple[Lock, int], ...], picked: Mapping[Lock, int]
    ) -> tuple[tuple[int, ...], dict[Lock, int]]:
        """The same for a hold that has units of pools, too: those that were picked."""
        plain = tuple(pair for pair in accesses if pair[0].pool is None)
        fences, taken = self.take(hold, owner, plain)
        marks = dict(zip((lock for lock, _ in plain), fences, strict=True))
        for view, units in picked.items():
            pool = view.pool
            assert pool is not None
            new = units & ~pool.taken
            if new:
                pool.fence = pool.series.last = pool.series.last + 1
                pool.wear_out(new)
            taken[view] = new.bit_count()
            marks[view] = pool.fence if new else self._lent_fence_of(pool, owner, units)
            pool.put(hold, owner, units, marks[view])
            self.board.pool_moved(pool)
            if len(pool.views) > pool.views_limit:
                self.board.crowded[pool] = None
        return tuple(marks[lock] for lock, _ in accesses), {lock: taken[lock] for lock, _ in accesses}

    def _lent_fence_of(self, pool: Pool, owner: int, units: int) -> int:
        """The fence of the nearest lender of some of these units."""
        holds = (hold for each in self.ancestors(owner) for hold in self.board.holds_of.get(each, ()))
        return next(pool.held[hold][2] for hold in holds if hold in pool.held and pool.held[hold][1] & units)

    def give_back(self, hold: int, owner: int, accesses: tuple[tuple[Lock, int], ...]) -> None:
        """Take a hold off its locks; what its owner's children have of them goes on being taken."""
        board = self.board
        if board.shares:
            for lock, _ in accesses:
                board.count_again(lock)
        if board.pools:
            for pool in [lock.pool for lock, _ in accesses if lock.pool is not None]:
                pool.drop(hold)
                board.pool_moved(pool)
            accesses = tuple(pair for pair in accesses if pair[0].pool is None)
        if owner not in board.parent_of and owner not in board.children_of:
            for lock, units in accesses:
                del lock.holds[hold]
                lock.used -= units
                if lock.hanging:
                    board.moved[lock] = None
            return
        top = self.eldest(owner)
        for lock, _ in accesses:
            before = self.footprint(top, lock)
            del lock.holds[hold]
            lock.used -= before - self.footprint(top, lock)
            if lock.hanging:
                board.moved[lock] = None

    def link(self, child: int, parent: int) -> None:
        """The parent waits for the child from now on: what the child has may be counted as lent."""
        board = self.board
        locks = self._held_below(child)
        self.count_again(child)
        before = {lock: self.footprint(child, lock) + self.footprint(self.eldest(parent), lock) for lock in locks}
        board.parent_of[child] = parent
        board.children_of.setdefault(parent, {})[child] = None
        for lock, taken in before.items():
            self._take_up(lock, self.footprint(self.eldest(parent), lock) - taken)

    def unlink(self, child: int, parent: int) -> None:
        """The parent waits for the child no more: each accounts for itself."""
        board = self.board
        top = self.eldest(parent)
        locks = self._held_below(child)
        self.count_again(child)
        before = {lock: self.footprint(top, lock) for lock in locks}
        del board.parent_of[child]
        children = board.children_of[parent]
        del children[child]
        if not children:
            del board.children_of[parent]
        for lock, taken in before.items():
            self._take_up(lock, self.footprint(child, lock) + self.footprint(top, lock) - taken)

    def count_again(self, owner: int) -> None:
        """Whose party has what this owner and its descendants hold may be another now."""
        board = self.board
        if board.shares:
            for each in (owner, *self.descendants(owner)):
                for hold in board.holds_of.get(each, ()):
                    for lock, _ in board.hold_locks[hold]:
                        board.count_again(lock)

    def _held_below(self, owner: int) -> dict[Lock, None]:
        board = self.board
        holds = [hold for each in (owner, *self.descendants(owner)) for hold in board.holds_of.get(each, ())]
        return {lock: None for hold in holds for lock, _ in board.hold_locks[hold] if lock.pool is None}

    def _take_up(self, lock: Lock, units: int) -> None:
        lock.used += units
        if units < 0:
            self.board.dirty[lock] = None
        if lock.hanging:
            self.board.moved[lock] = None
