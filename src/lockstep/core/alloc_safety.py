"""Which grants could lead to a deadlock, where a set-up has cycles (L51): they are withheld.

A build of a cyclic part has a *course*: its builder, the step at which it is, and whether that has waited for its
children already. What it may still claim follows from the builder's stages. A grant is safe if afterwards all builds
that have a course and hold something can be brought to their end one after another (`alloc_ends.py`). Nothing changes
here but for a moment; who is looked at is decided in `alloc_search.py`.
"""

from collections.abc import Iterator, Mapping, Set

from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_ends import SUPPOSED, Ends
from lockstep.core.alloc_facts import Hold
from lockstep.core.alloc_families import NOBODY
from lockstep.core.alloc_items import Lock
from lockstep.core.alloc_waits import Waits
from lockstep.core.nouns import LockKey
from lockstep.core.values import BuilderSetup


class Safety:
    """Answers whether a grant must be withheld."""

    def __init__(self, board: Board, waits: Waits) -> None:
        self.board = board
        self.waits = waits
        self.families = waits.families
        self.plans: Mapping[str, BuilderSetup] = {}

    def planned_views(self) -> Iterator[LockKey]:
        """The views of pools that builds with a course may still claim."""
        for plan in self.plans.values():
            for need in (plan.planned, *(stage.need for stage in plan.stages if stage.need)):
                for access in (access for each in need.alternatives for access in each.accesses):
                    if access.lock.kind == "pool":
                        yield access.lock

    def withholds(self, c: ClaimClass, index: int, picked: Mapping[Lock, int]) -> bool:
        """Whether the class's first claim must not have this alternative yet, though it fits (with these units)."""
        return self._makes_stuck(c, index, NOBODY, picked)

    def because_of(self, c: ClaimClass, index: int, picked: Mapping[Lock, int]) -> set[int]:
        """If this alternative is withheld: the builds that the claim could block, and that could block it, for ever."""
        after = self._stuck_with(c, index, NOBODY, picked)
        if c.owner not in after:
            return set()
        others = after - {c.owner}
        return others - self._ends().stuck() or others

    def _ends(self, gone: Set[int] = NOBODY) -> Ends:
        return Ends(self.families, self.plans, gone)

    def _makes_stuck(self, c: ClaimClass, index: int, gone: Set[int], picked: Mapping[Lock, int]) -> bool:
        """Whether more builds would be stuck with this grant than without it, were some gone.

        If its own build could end then, it gives back what it was granted, and nobody is worse off. If that is stuck
        already (by a claim that nobody knew of, or another configuration), only what makes more of them stuck counts.
        """
        self._suppose(c, index, picked)
        ends = self._ends(gone).can_end(c.owner)
        self._unsuppose(c, index)
        if ends or c.owner not in self.board.holds_of or self._ends(gone).can_end(c.owner):
            return not ends
        return not self._stuck_with(c, index, gone, picked) <= self._ends(gone).stuck()

    def _stuck_with(self, c: ClaimClass, index: int, gone: Set[int], picked: Mapping[Lock, int]) -> set[int]:
        self._suppose(c, index, picked)
        after = self._ends(gone).stuck()
        self._unsuppose(c, index)
        return after

    # --- who is withheld in vain

    def everybody_can_end(self) -> bool:
        """Whether all builds can be brought to their end, and what waits can be weighed by that.

        Then the first of those who can end is never withheld, so whoever is has not waited in vain. Not so where
        somebody waits whose course is not known, or who has of what it waits for: to end, what it has does not count.
        """
        board = self.board
        for owner in board.claims_of:
            if owner in board.holds_of and (owner not in board.courses or self._wants_more(owner)):
                return False
        return all(parent in board.courses for parent in board.children_of) and not self._ends().stuck()

    def _wants_more(self, owner: int) -> bool:
        """Whether it waits for a lock, or a pool, of which it has some."""
        board = self.board
        mine = {lock.key.whole for hold in board.holds_of[owner] for lock, _ in board.hold_locks[hold]}
        shapes = (board.class_of[ticket].shape for ticket in board.claims_of[owner])
        return any(lock.key.whole in mine for shape in shapes for way in shape.alternatives for lock, _ in way)

    def in_vain(self, start: int) -> bool:
        """Whether those because of whom this owner's claim is withheld wait for this owner, and cannot get on else.

        Then it helps nobody: what closes is a ring, with whoever knew it beforehand, and L52 finds it.
        """
        board = self.board
        if start not in board.holds_of and start not in board.parent_of:
            return False
        left, gone = self._concerned(start), set[int]()
        after: dict[int, set[int]] = {}
        while start in left:
            after = {owner: kept for owner in left if (kept := self._kept_by(owner, gone)) is not None}
            if len(after) == len(left):
                return start in self.waits.reach_in(start, after)
            gone |= left - set(after)
            left = set(after)
        return False

    def _concerned(self, start: int) -> set[int]:
        """Everybody whom this owner may have to wait for, and itself."""
        waits, seen, stack = self.waits, {start}, [start]
        while stack:
            owner = stack.pop()
            found = {*waits.lacked_from(owner), *waits.child_edges(owner), *waits.course_edges(owner)} - seen
            seen |= found
            stack += found
        return seen

    def _kept_by(self, owner: int, gone: Set[int]) -> set[int] | None:
        """Who keeps this owner waiting, were some gone: as children, by what they hold (L1), or by what they may yet
        claim (L51). None if nobody does, and it can finish."""
        board = self.board
        kept = {child for child in self.waits.child_edges(owner) if child not in gone}
        waits = bool(kept)
        for ticket in tuple(board.claims_of.get(owner, ())):
            c = board.class_of[ticket]
            by = [self._refused_by(c, index, gone) for index in range(len(c.alts)) if c.servable_once_open(index)]
            if by and None not in by:
                waits = True
                kept.update(*(each for each in by if each))
        return kept if waits and owner not in board.sentenced else None

    def _refused_by(self, c: ClaimClass, index: int, gone: Set[int]) -> set[int] | None:
        families, owner = self.families, c.owner
        lacked = [lock for lock, units, _ in c.alts[index] if not families.has_room(owner, lock, units, gone)]
        if lacked:
            return {holder for lock in lacked for holder in families.in_the_way(owner, lock, gone)}
        # Units of a closed pool cannot be picked now; what they would do to others is seen when it opens.
        closed = any(lock.pool is not None and lock.pool.closed for lock, _, _ in c.alts[index])
        if owner not in self.board.courses or closed:
            return None
        kin = families.kin(owner)
        picked = {
            view: view.pool.chosen(view, units, kin, (), gone)
            for view, units, _ in c.alts[index]
            if view.pool is not None
        }
        if not self._makes_stuck(c, index, gone, picked):
            return None
        return set(self.waits.course_edges(owner) - gone)

    # --- as if it were granted

    def _suppose(self, c: ClaimClass, index: int, picked: Mapping[Lock, int]) -> None:
        """From now on it is as if the claim had been granted."""
        board = self.board
        claim = board.waiting[c.ticket]
        alternative = claim.need.alternatives[index]
        board.holds[SUPPOSED] = Hold(SUPPOSED, c.ticket, c.owner, index, alternative, ())
        board.hold_locks[SUPPOSED] = c.shape.alternatives[index]
        mine = board.holds_of.setdefault(c.owner, {})
        mine[SUPPOSED] = None
        for lock, units in c.shape.alternatives[index]:
            if lock.pool is not None:
                lock.pool.put(SUPPOSED, c.owner, picked[lock], 0)
            else:
                lock.holds[SUPPOSED] = units
        del board.claims_of[c.owner][c.ticket]

    def _unsuppose(self, c: ClaimClass, index: int) -> None:
        board = self.board
        board.claims_of[c.owner][c.ticket] = None
        for lock, _ in c.shape.alternatives[index]:
            if lock.pool is not None:
                lock.pool.drop(SUPPOSED)
            else:
                del lock.holds[SUPPOSED]
        mine = board.holds_of[c.owner]
        del mine[SUPPOSED], board.holds[SUPPOSED], board.hold_locks[SUPPOSED]
        if not mine:
            del board.holds_of[c.owner]
