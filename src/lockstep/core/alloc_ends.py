"""Whether builds could be brought to their end one after another (L51).

Those that have a course and hold something; each gets, one at a time, whatever it may still claim, then what it holds
is free. Who has no course ends by itself. The more have ended, the more can: so it is all the same in which order they
are looked at, and one that cannot end is looked at again only when somebody has ended who holds what it lacks.
Nothing changes here but for a moment.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Final

from lockstep.core.alloc_families import NOBODY, Families
from lockstep.core.alloc_items import WHOLE, Lock
from lockstep.core.alloc_pools import Pool
from lockstep.core.nouns import Access, Alternative
from lockstep.core.values import BuilderSetup, Stage

SUPPOSED: Final = -1
"""The id of a hold that is only supposed, and the ticket of a child that is."""


def _each_once(names: list[str]) -> Iterator[str]:
    """Each name once, also those that are added meanwhile."""
    seen = set[str]()
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name


class Ends:
    """One look at who could end, as things are on the board now, were some gone.

    `ended` are those that have no course, that are gone, or that were found to end. `lacks` is what kept the build from
    its end that was looked at last: locks, and its children by their numbers. `behind` are those that wait for somebody
    to end who holds something of that lock, or pool, or for that child.
    """

    def __init__(self, families: Families, plans: Mapping[str, BuilderSetup], gone: Set[int] = NOBODY) -> None:
        self.board = families.board
        self.families = families
        self.plans = plans
        courses = self.board.courses
        self.ended = {owner for owner in self.board.holds_of if owner not in courses} | gone
        self.lacks: list[Lock | int] = []
        self.behind: dict[Lock | Pool | int, dict[int, None]] = {}

    def stuck(self) -> set[int]:
        """Who cannot be brought to an end."""
        board = self.board
        left = [owner for owner in board.courses if owner in board.holds_of and owner not in self.ended]
        todo = dict.fromkeys(left)
        while todo:
            owner, _ = todo.popitem()
            if self._ends(owner):
                todo.update(self._freed_by(owner))
            else:
                self._note(owner)
        return set(left) - self.ended

    def can_end(self, wanted: int) -> bool:
        """Whether this one can. Only those are looked at that hold what it lacks, or what those lack, and so on."""
        todo: dict[int, None] = {wanted: None}
        seen = {wanted}
        while todo:
            owner, _ = todo.popitem()
            if not self._ends(owner):
                for holder in self._note(owner):
                    if holder not in seen:
                        seen.add(holder)
                        todo[holder] = None
            elif owner == wanted:
                return True
            else:
                todo.update(self._freed_by(owner))
        return False

    # --- who is looked at

    def _ends(self, owner: int) -> bool:
        """Look at this build, with itself among those whose holds do not count: its steps end one by one."""
        self.lacks.clear()
        self.ended.add(owner)
        if self._gets_all(owner):
            return True
        self.ended.discard(owner)
        return False

    def _note(self, owner: int) -> set[int]:
        """Look at this build again when something that it lacks becomes free. Returns who holds that."""
        holds = self.board.holds
        found = set[int]()
        for each in self.lacks:
            if isinstance(each, int):
                self.behind.setdefault(each, {})[owner] = None
                found.add(each)
            else:
                self.behind.setdefault(each.pool or each, {})[owner] = None
                found.update(holds[hold].owner for hold in each.holds)
        return found - self.ended

    def _freed_by(self, owner: int) -> dict[int, None]:
        """This build has ended: who waited for that."""
        board, behind = self.board, self.behind
        found = behind.pop(owner, {})
        for hold in board.holds_of[owner]:
            for lock, _ in board.hold_locks[hold]:
                found |= behind.pop(lock.pool or lock, {})
        return found

    # --- what it needs

    def _gets_all(self, owner: int) -> bool:
        """Whether a build gets all that it may still claim, one at a time, beside those who have not ended."""
        board = self.board
        builder, number, waited = board.courses[owner]
        children = tuple(board.children_of.get(owner, ()))
        self.lacks += [child for child in children if child in board.holds_of and child not in self.ended]
        if self.lacks:
            return False
        for ticket in board.claims_of.get(owner, ()):
            if not self._some_fits(owner, board.waiting[ticket].need.alternatives, ()):
                return False
        if not all(child in self.ended or self._gets_on(child) for child in children):
            return False
        stages = self.plans[builder].stages if builder in self.plans else ()
        left = [stage for stage in stages if stage.number > number]
        worker = self._worker(owner)
        if not all(self._all_fit(owner, stage.on(worker)) for stage in left):
            return False
        if not (waited or children):
            left += [stage for stage in stages if stage.number == number]
        return self._children_fit(owner, left)

    def _gets_on(self, child: int) -> bool:
        """Whether one that has not started gets what it waits for, and what it will claim.

        Of one whose locks are not known yet, what its builder says.
        """
        board = self.board
        needs = [board.waiting[ticket].need for ticket in board.claims_of.get(child, ())]
        known = board.courses.get(child)
        plan = self.plans.get(known[0]) if known is not None else None
        if plan is not None and not any(need.alternatives for need in needs):
            needs = [plan.planned]
        stages = plan.stages if plan is not None else ()
        return all(self._some_fits(child, need.alternatives, stages) for need in needs)

    def _worker(self, owner: int) -> str:
        for hold in self.board.holds_of.get(owner, ()):
            if worker := self.board.holds[hold].alternative.worker:
                return worker
        return ""

    def _some_fits(self, owner: int, ways: tuple[Alternative, ...], stages: Iterable[Stage]) -> bool:
        """Whether one of the alternatives fits, with all that a build there may claim; or none can be served at all."""
        servable = self._servable(ways)
        return not servable or (
            any(self._fits_on(owner, way, stages) for way in servable) and self._children_fit(owner, stages)
        )

    def _children_fit(self, owner: int, stages: Iterable[Stage]) -> bool:
        """Whether each build that these stages wait for could run to its end, one at a time, with what it is lent.

        And each that those wait for, and so on. Who waits in between is thought to hold nothing: so each builder is
        looked at once, as if the owner itself waited for it.
        """
        names = [name for stage in stages for name in stage.children]
        if not names:
            return True
        board = self.board
        board.parent_of[SUPPOSED] = owner
        board.children_of.setdefault(owner, {})[SUPPOSED] = None
        try:
            return all(self._runs_through(name, names) for name in _each_once(names))
        finally:
            del board.parent_of[SUPPOSED], board.children_of[owner][SUPPOSED]
            if not board.children_of[owner]:
                del board.children_of[owner]

    def _runs_through(self, name: str, names: list[str]) -> bool:
        """The same for the supposed child, of this builder. Those that it may wait for are added to the names."""
        plan = self.plans.get(name)
        servable = self._servable(plan.planned.alternatives) if plan is not None else []
        if plan is None or not servable:
            return True
        names += [child for stage in plan.stages for child in stage.children]
        return any(self._fits_on(SUPPOSED, way, plan.stages) for way in servable)

    # --- what fits

    def _servable(self, ways: tuple[Alternative, ...]) -> list[Alternative]:
        return [way for way in ways if all(map(self._admitted, way.accesses))]

    def _admitted(self, access: Access) -> bool:
        lock = self.board.locks.get(access.lock)
        return lock is not None and lock.could_admit(WHOLE if access.mode == "exclusive" else access.count)

    def _fits_on(self, owner: int, way: Alternative, stages: Iterable[Stage]) -> bool:
        """Whether an alternative fits, and what a build there claims itself afterwards."""
        return self._all_fit(owner, way.accesses) and all(
            self._all_fit(owner, stage.on(way.worker)) for stage in stages
        )

    def _all_fit(self, owner: int, accesses: tuple[Access, ...]) -> bool:
        board = self.board
        for access in accesses:
            lock = board.locks.get(access.lock)
            units = WHOLE if access.mode == "exclusive" else access.count
            if lock is None or not lock.could_admit(units):
                continue
            if lock.has_room(units) and SUPPOSED not in lock.holds:
                continue
            if not self.families.has_room(owner, lock, units, self.ended):
                self.lacks.append(lock)
                return False
        return True
