"""Which grants could lead to a deadlock, where a set-up has cycles (L51): they are withheld.

A build of a cyclic part has a *course*: its builder, the step at which it is, and whether that has waited for its
children already. What it may still claim follows from
the builder's stages. A grant is safe if afterwards all builds that have a course and hold something can be brought to
their end one after another, each getting, one at a time, whatever it may still claim. Who has no course ends by itself.
Nothing changes here but for a moment; who is looked at is decided in `alloc_search.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Set

from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_facts import Hold
from lockstep.core.alloc_families import NOBODY
from lockstep.core.alloc_items import WHOLE, Lock
from lockstep.core.alloc_waits import Waits
from lockstep.core.nouns import Access, Alternative, LockKey, Need
from lockstep.core.values import BuilderSetup, Stage

_SUPPOSED = -1
"""The id of a hold that is only supposed, and the ticket of a child that is."""


def _each_once(names: list[str]) -> Iterator[str]:
    """Each name once, also those that are added meanwhile."""
    seen = set[str]()
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name


class Safety:
    """Answers whether a grant must be withheld."""

    def __init__(self, board: Board, waits: Waits) -> None:
        self.board = board
        self.waits = waits
        self.families = waits.families
        self.plans: Mapping[str, BuilderSetup] = {}
        self.before: set[int] | None = None
        """Who is stuck as things are, once that was asked; to be forgotten with every change."""

    def planned_views(self) -> Iterator[LockKey]:
        """The views of pools that builds with a course may still claim."""
        for plan in self.plans.values():
            for need in (plan.planned, *(stage.need for stage in plan.stages if stage.need)):
                for access in (access for each in need.alternatives for access in each.accesses):
                    if access.lock.kind == "pool":
                        yield access.lock

    def withholds(self, c: ClaimClass, index: int, picked: Mapping[Lock, int]) -> bool:
        """Whether the class's first claim must not have this alternative yet, though it fits (with these units).

        If builds could block each other for ever already (a claim that nobody knew of, another configuration), only
        what makes more of them do so is withheld.
        """
        after = self._stuck_with(c, index, NOBODY, picked)
        if after and self.before is None:
            self.before = self.stuck()
        return bool(after) and not after <= (self.before or set())

    def because_of(self, c: ClaimClass, index: int, picked: Mapping[Lock, int]) -> set[int]:
        """If this alternative is withheld: the builds that the claim could block, and that could block it, for ever."""
        after = self._stuck_with(c, index, NOBODY, picked) - {c.owner}
        return after - self.stuck() or after

    def _stuck_with(self, c: ClaimClass, index: int, gone: Set[int], picked: Mapping[Lock, int]) -> set[int]:
        self._suppose(c, index, picked)
        after = self.stuck(c.owner, gone)
        self._unsuppose(c, index)
        return after

    def stuck(self, wanted: int = 0, gone: Set[int] = NOBODY) -> set[int]:
        """The builds that could not be brought to their end one after another, were some gone.

        None, as soon as the `wanted` one could: it was granted something just now, and without it there were fewer.
        """
        ended = {owner for owner in self.board.holds_of if owner not in self.board.courses} | gone
        left = [owner for owner in self.board.courses if owner in self.board.holds_of and owner not in gone]
        if wanted:
            left.remove(wanted)
            left.append(wanted)
        while True:
            still = []
            for owner in reversed(left):
                if not self._can_end(owner, ended):
                    still.append(owner)
                elif owner == wanted:
                    return set()
                else:
                    ended.add(owner)
            if len(still) == len(left):
                return set(left)
            left = still[::-1]

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
        return all(parent in board.courses for parent in board.children_of) and not self.stuck()

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
            by = [self._refused_by(c, index, gone) for index in range(len(c.alts)) if c.servable_in_time(index)]
            if by and None not in by:
                waits = True
                kept.update(*(each for each in by if each))
        return kept if waits and owner not in board.sentenced else None

    def _refused_by(self, c: ClaimClass, index: int, gone: Set[int]) -> set[int] | None:
        families, owner = self.families, c.owner
        lacked = [lock for lock, units, _ in c.alts[index] if not families.has_room(owner, lock, units, gone)]
        if lacked:
            return {holder for lock in lacked for holder in families.strangers(owner, lock, gone)}
        if owner not in self.board.courses:
            return None
        kin = families.kin(owner)
        picked = {
            view: view.pool.chosen(view, units, kin, (), gone)
            for view, units, _ in c.alts[index]
            if view.pool is not None
        }
        after = self._stuck_with(c, index, gone, picked)
        if not after or after <= self.stuck(0, gone):
            return None
        return set(self.waits.course_edges(owner)) - gone

    # --- as if it were granted

    def _suppose(self, c: ClaimClass, index: int, picked: Mapping[Lock, int]) -> None:
        """From now on it is as if the claim had been granted."""
        board = self.board
        claim = board.waiting[c.ticket]
        alternative = claim.need.alternatives[index]
        board.holds[_SUPPOSED] = Hold(_SUPPOSED, c.ticket, c.owner, index, alternative, ())
        mine = board.holds_of.setdefault(c.owner, {})
        mine[_SUPPOSED] = None
        for lock, units in c.shape.alternatives[index]:
            if lock.pool is not None:
                lock.pool.put(_SUPPOSED, c.owner, picked[lock], 0)
            else:
                lock.holds[_SUPPOSED] = units
        del board.claims_of[c.owner][c.ticket]

    def _unsuppose(self, c: ClaimClass, index: int) -> None:
        board = self.board
        board.claims_of[c.owner][c.ticket] = None
        for lock, _ in c.shape.alternatives[index]:
            if lock.pool is not None:
                lock.pool.drop(_SUPPOSED)
            else:
                del lock.holds[_SUPPOSED]
        mine = board.holds_of[c.owner]
        del mine[_SUPPOSED], board.holds[_SUPPOSED]
        if not mine:
            del board.holds_of[c.owner]

    # --- whether a build could end

    def _can_end(self, owner: int, ended: set[int]) -> bool:
        """Whether a build gets all that it may still claim, one at a time, beside those who have not ended."""
        ended.add(owner)
        done = self._gets_all(owner, ended)
        ended.discard(owner)
        return done

    def _gets_all(self, owner: int, ended: set[int]) -> bool:
        """The same, with the build among those whose holds do not count: its steps end one by one."""
        board = self.board
        builder, number, waited = board.courses[owner]
        children = tuple(board.children_of.get(owner, ()))
        if any(child in board.holds_of and child not in ended for child in children):
            return False
        for each in (owner, *(child for child in children if child not in board.holds_of and child not in ended)):
            for need in self._needs(each, each != owner):
                if not self._some_fits(each, need.alternatives, ended, self._course_of(each)):
                    return False
        stages = self.plans[builder].stages if builder in self.plans else ()
        left = [stage for stage in stages if stage.number > number]
        worker = self._worker(owner)
        if not all(self._all_fit(owner, stage.on(worker), ended) for stage in left):
            return False
        if not (waited or children):
            left += [stage for stage in stages if stage.number == number]
        return self._children_fit(owner, left, ended)

    def _needs(self, owner: int, child: bool) -> list[Need]:
        """What it waits for; of a child whose locks are not known yet, what its builder says."""
        needs = [self.board.waiting[ticket].need for ticket in self.board.claims_of.get(owner, ())]
        plan = self._course_of(owner) if child and not any(need.alternatives for need in needs) else None
        return [plan.planned] if plan is not None else needs

    def _course_of(self, owner: int) -> BuilderSetup | None:
        """What a build that has not started will do; None for one that runs: its own course is looked at."""
        known = self.board.courses.get(owner)
        return self.plans.get(known[0]) if known is not None and owner not in self.board.holds_of else None

    def _worker(self, owner: int) -> str:
        for hold in self.board.holds_of.get(owner, ()):
            if worker := self.board.holds[hold].alternative.worker:
                return worker
        return ""

    def _some_fits(self, owner: int, ways: tuple[Alternative, ...], ended: set[int], plan: BuilderSetup | None) -> bool:
        """Whether one of the alternatives fits, with all that a build there may claim; or none can be served at all."""
        servable = self._servable(ways)
        stages = plan.stages if plan is not None else ()
        return not servable or (
            any(self._fits_on(owner, way, stages, ended) for way in servable)
            and self._children_fit(owner, stages, ended)
        )

    def _children_fit(self, owner: int, stages: Iterable[Stage], ended: set[int]) -> bool:
        """Whether each build that these stages wait for could run to its end, one at a time, with what it is lent.

        And each that those wait for, and so on. Who waits in between is thought to hold nothing: so each builder is
        looked at once, as if the owner itself waited for it.
        """
        names = [name for stage in stages for name in stage.children]
        if not names:
            return True
        board = self.board
        board.parent_of[_SUPPOSED] = owner
        board.children_of.setdefault(owner, {})[_SUPPOSED] = None
        try:
            return all(self._runs_through(name, names, ended) for name in _each_once(names))
        finally:
            del board.parent_of[_SUPPOSED], board.children_of[owner][_SUPPOSED]
            if not board.children_of[owner]:
                del board.children_of[owner]

    def _runs_through(self, name: str, names: list[str], ended: set[int]) -> bool:
        """The same for the supposed child, of this builder. Those that it may wait for are added to the names."""
        plan = self.plans.get(name)
        servable = self._servable(plan.planned.alternatives) if plan is not None else []
        if plan is None or not servable:
            return True
        names += [child for stage in plan.stages for child in stage.children]
        return any(self._fits_on(_SUPPOSED, way, plan.stages, ended) for way in servable)

    def _servable(self, ways: tuple[Alternative, ...]) -> list[Alternative]:
        return [way for way in ways if all(map(self._admitted, way.accesses))]

    def _fits_on(self, owner: int, way: Alternative, stages: Iterable[Stage], ended: set[int]) -> bool:
        """Whether an alternative fits, and what a build there claims itself afterwards."""
        return self._all_fit(owner, way.accesses, ended) and all(
            self._all_fit(owner, stage.on(way.worker), ended) for stage in stages
        )

    def _all_fit(self, owner: int, accesses: tuple[Access, ...], ended: set[int]) -> bool:
        board = self.board
        for access in accesses:
            lock = board.locks.get(access.lock)
            units = WHOLE if access.mode == "exclusive" else access.count
            if lock is None or not lock.could_admit(units):
                continue
            if lock.has_room(units) and _SUPPOSED not in lock.holds:
                continue
            if not self.families.has_room(owner, lock, units, ended):
                return False
        return True

    def _admitted(self, access: Access) -> bool:
        lock = self.board.locks.get(access.lock)
        return lock is not None and lock.could_admit(WHOLE if access.mode == "exclusive" else access.count)
