"""The allocator: who may have which worker slots and locks, in one decision (LOCKS.md sections 2, 3, 5 to 7).

It is pure: events go in by methods, `decide()` looks until nothing moves and returns what it decided. This file has
the events. The other files: `alloc_search.py` who is looked at next and granted (L40, ALLOCATION.md section 3),
`alloc_safety.py` and `alloc_ends.py` which grants are withheld, `alloc_barriers.py` what fits and who reserves,
`alloc_families.py` what parents lend, `alloc_limits.py` limits in force, `alloc_waits.py` who waits for whom,
`alloc_queues.py` the classes' queues, `alloc_board.py` the data, `alloc_reasons.py` answers for people,
`alloc_facts.py` the values that go out.

Tickets come from the caller, out of one growing counter of the installation; so do `since` values: a fresh number from
the same counter when a request is put back, the ticket itself (or 0) otherwise. The clock is the greatest number seen.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace as changed

from lockstep.core.alloc_barriers import Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_facts import AllocatorSnapshot, Decision, Hold, Sentenced, units_in
from lockstep.core.alloc_families import Families
from lockstep.core.alloc_limits import Limits
from lockstep.core.alloc_queues import Queues
from lockstep.core.alloc_reasons import Reasons
from lockstep.core.alloc_safety import Safety
from lockstep.core.alloc_search import Search
from lockstep.core.alloc_snapshot import put_back_together, take_apart
from lockstep.core.alloc_waits import Waits
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, Alternative, Claim, LockKey, Need
from lockstep.core.values import BuilderSetup, ShareRule, UnitSetup


class Allocator:
    """Decides who is granted what. `holds` and `waiting` are for reading; `reasons` answers questions about them."""

    def __init__(self) -> None:
        self.board = Board()
        self.families = Families(self.board)
        self.waits = Waits(self.board, self.families)
        self.barriers = Barriers(self.board, self.waits)
        self.limits = Limits(self.board, self.barriers)
        self.queues = Queues(self.board, self.barriers)
        self.safety = Safety(self.board, self.waits)
        self.search = Search(self.board, self.limits, self.queues, self.safety)
        self.reasons = Reasons(self.board, self.barriers, self.safety, self.queues.shares, self.limits)
        self.holds: dict[int, Hold] = self.board.holds
        self.waiting: dict[int, Claim] = self.board.waiting

    # --- locks (L6)

    def set_lock(self, key: LockKey, limit: int, max_overtakes: int = DEFAULT_MAX_OVERTAKES) -> None:
        """A lock is new, or has another limit. Lowering revokes nothing, raising serves waiters at once (L6)."""
        self.limits.set_lock(key, limit, max_overtakes)

    def forget_lock(self, key: LockKey) -> None:
        """A reload removed the lock: it stays with its last limit until its last hold and waiter have ended (L6)."""
        self.limits.forget_lock(key)

    def set_pool(self, name: str, units: Iterable[UnitSetup], max_overtakes: int = DEFAULT_MAX_OVERTAKES) -> None:
        """A pool is new, or has other units or labels. Nobody loses a unit that it has (L6)."""
        self.limits.set_pool(name, units, max_overtakes)

    def forget_pool(self, name: str) -> None:
        """A reload removed the pool: it stays until its last hold and waiter have ended (L6)."""
        self.limits.forget_pool(name)

    def quarantine(self, pool: str, unit: str, out: bool) -> None:
        """Nobody gets this unit from now on, or it may be had again."""
        self.limits.quarantine(pool, unit, out)

    def set_shares(self, rules: Iterable[ShareRule]) -> None:
        """Projects have these locks by weight from now on. Whose turn it is stays known (lock-rules section 10)."""
        self.queues.set_shares(rules)

    def set_project(self, owner: int, project: str) -> None:
        """This build, or request, is of that project: to be said before its claim, where there are shares."""
        known = self.board.project_of
        if known.get(owner, "") != project:
            known[owner] = project
            if not project:
                del known[owner]
            self.families.count_again(owner)
            self.queues.enter_again(owner)
            self.barriers.stir()

    def set_starts(self, key: LockKey, left: int) -> None:
        """So many more grants a lock's start rate allows from now on; `UNRATED` if it has none."""
        self.limits.set_starts(key, left)

    # --- claims

    def tick(self, number: int) -> None:
        """A number of the ticket counter was used for something else."""
        self.board.clock = max(self.board.clock, number)

    def submit(self, claim: Claim) -> None:
        """A claim begins to wait. It is not normalized twice: see `normalize` (L12)."""
        board = self.board
        if claim.ticket in self.waiting:
            raise ValueError(f"ticket {claim.ticket} waits already")
        if claim.parent:
            self._add_parent(claim.owner, claim.parent)
        if board.sentenced:
            self._is_reprieved(claim.owner)
        board.clock = max(board.clock, claim.ticket, claim.since)
        self.queues.enqueue(claim)
        if board.pools and board.class_of[claim.ticket].shape.pooled:
            self.limits.bring_back(claim.need)
        if claim.plan:
            self.set_course(claim.owner, claim.plan, 0)

    def replace(self, ticket: int, need: Need, newest: bool = False) -> None:
        """A waiting claim's alternatives were rendered again or put in another order: ticket and since stay (L24)."""
        claim = self.waiting.get(ticket)
        if claim is not None and (claim.need, claim.newest) != (need, newest):
            self.queues.requeue(claim, changed(claim, need=need, newest=newest))
            if self.board.class_of[ticket].shape.pooled:
                self.limits.bring_back(need)

    def set_level(self, ticket: int, level: int) -> None:
        """A waiting claim's priority changed (L44)."""
        claim = self.waiting.get(ticket)
        if claim is not None and claim.level != level:
            self.queues.requeue(claim, changed(claim, level=level))

    def cancel(self, ticket: int) -> None:
        """A waiting claim ends. Nobody else's place changes; whom only it blocked is served at once (L33)."""
        claim = self.waiting.get(ticket)
        if claim is None:
            return
        self.queues.dequeue(claim)
        self.board.carried.pop(ticket, None)
        self.board.safer = True
        if claim.owner == ticket:
            self._drop_parent(ticket)
            self.board.courses.pop(ticket, None)
            self.board.project_of.pop(ticket, None)

    def release(self, hold: int) -> None:
        """A hold has ended (L30). One that is not current changes nothing (L32)."""
        board = self.board
        held = board.holds.get(hold)
        if held is None:
            return
        owner, accesses = held.owner, board.hold_locks[hold]
        self.families.give_back(hold, owner, accesses)
        del board.holds[hold], board.hold_locks[hold]
        for lock, _ in accesses:
            board.dirty[lock] = None
        if board.leaving:
            self.limits.moved(accesses)
        holds = board.holds_of[owner]
        del holds[hold]
        if not holds:
            del board.holds_of[owner]
        board.safer = True
        if held.ticket == owner:
            if owner in board.parent_of:
                self._drop_parent(owner)
            if owner in board.children_of:
                for child in tuple(board.children_of[owner]):
                    self.forget_parent(child)
            if board.courses:
                board.courses.pop(owner, None)
            if board.project_of:
                board.project_of.pop(owner, None)
            if board.sentenced:
                board.sentenced.pop(owner, None)
        self.barriers.stir()

    def pass_on(self, hold: int, claim: Claim, new: int, fences: tuple[int, ...]) -> None:
        """What this claim needs goes over to it from a hold that has it, with a hold of its own: no unit gets free.

        It is no grant that overtakes anybody: who waits for the lock would have waited for that hold as well.
        """
        board = self.board
        old = board.holds[hold]
        (alternative,) = claim.need.alternatives
        names = {access.lock for access in alternative.accesses}
        kept = tuple(access for access in old.alternative.accesses if access.lock not in names)
        marks = tuple(f for a, f in zip(old.alternative.accesses, old.fences, strict=True) if a.lock not in names)
        rest = units_in(old.units, (access.lock for access in kept))
        board.holds[hold] = changed(old, alternative=changed(old.alternative, accesses=kept), fences=marks, units=rest)
        moved = {lock.key: (lock, units) for lock, units in board.hold_locks[hold] if lock.key in names}
        board.hold_locks[hold] = tuple(pair for pair in board.hold_locks[hold] if pair[0].key not in names)
        board.hold_locks[new] = tuple(moved[access.lock] for access in alternative.accesses)
        for (lock, units), fence in zip(board.hold_locks[new], fences, strict=True):
            if lock.pool is not None:
                lock.pool.pass_on(hold, new, claim.owner, fence)
                board.pool_moved(lock.pool)
                continue
            del lock.holds[hold]
            lock.holds[new] = units
            lock.fence = lock.series.last = fence
        made = Hold(new, claim.ticket, claim.owner, 0, alternative, fences, claim.level, claim.retryable)
        board.holds[new] = changed(made, units=units_in(old.units, names))
        board.holds_of.setdefault(claim.owner, {})[new] = None
        for lock, _ in board.hold_locks[new]:
            lock.used = self.families.recount(lock)
            board.count_again(lock)
        board.next_hold = new + 1
        board.safer = True
        self.barriers.stir()

    def reword(self, hold: int, alternative: Alternative) -> None:
        """What becomes of a hold's locks after a failure is another; what is held is not."""
        self.board.holds[hold] = changed(self.board.holds[hold], alternative=alternative)

    # --- courses (L51)

    def set_plans(self, plans: Mapping[str, BuilderSetup]) -> None:
        """The builders of which some builds could wait for each other for ever, and those of their children.

        Builds of others have no course any more.
        """
        self.safety.plans = plans
        for owner in [owner for owner, course in self.board.courses.items() if course[0] not in plans]:
            del self.board.courses[owner]
            self._sets_out(owner, "")
        for key in self.safety.planned_views():
            self.board.lock(key)
        self.board.safer = True

    def set_course(self, owner: int, builder: str, number: int, waited: bool = False) -> None:
        """This build is of that builder, and is at that step (0: before the first).

        It waits or holds something, or a build waits for it. `waited`: that step waits for no more builds.
        """
        self._sets_out(owner, builder)
        self.board.courses[owner] = (builder, number, waited)
        self.board.safer = True
        self.barriers.stir()

    def _sets_out(self, owner: int, builder: str) -> None:
        claim = self.waiting.get(owner)
        if claim is not None and claim.plan != builder:
            self.queues.requeue(claim, changed(claim, plan=builder))

    # --- parents (L46, L52)

    def child_waits(self, parent: int, child: int) -> None:
        """The build `parent` (an owner) waits until the build of the claim `child` has ended."""
        self._add_parent(child, parent)
        claim = self.waiting.get(child)
        if claim is not None and claim.parent != parent:
            self.queues.requeue(claim, changed(claim, parent=parent))

    def forget_parent(self, child: int) -> None:
        """Nobody waits for this child any more. If it or its parent has ended, releasing the hold said so already."""
        self._drop_parent(child)
        claim = self.waiting.get(child)
        if claim is not None and claim.parent:
            self.queues.requeue(claim, changed(claim, parent=0))
        elif claim is None and child not in self.board.holds_of:
            self.board.courses.pop(child, None)

    def _add_parent(self, child: int, parent: int) -> None:
        self._drop_parent(child)
        self.families.link(child, parent)
        self.board.safer = True
        if self.board.sentenced:
            self._is_reprieved(parent)
        self.board.suspects[parent] = None
        self.queues.enter_again(child)
        self.barriers.stir()

    def _is_reprieved(self, owner: int) -> None:
        """An owner waits for more: it and who waits for it do not end by themselves, even if they were sentenced."""
        for each in (owner, *self.families.ancestors(owner)):
            self.board.sentenced.pop(each, None)

    def _drop_parent(self, child: int) -> None:
        parent = self.board.parent_of.get(child)
        if parent is None:
            return
        self.families.unlink(child, parent)
        self.board.safer = True
        self.queues.enter_again(child)
        self.barriers.stir()

    # --- deciding (L13, L43)

    def decide(self) -> list[Decision]:
        """Grant and reserve until nothing moves. A second call decides nothing (L31, L43)."""
        out: list[Decision] = []
        board = self.board
        if board.unbroken:
            board.suspects.update(board.unbroken)
            board.unbroken.clear()
        while True:
            # Rings before grants: no grant opens a ring, but one who waits in it may spare whom it should not (L46).
            if board.suspects:
                self.search.settle(out)
                if self._break_ring(out):
                    continue
            if self.search.grant_first(out) or (board.doubted and self.search.let_go(out)):
                continue
            if board.leaving and self.limits.clear_leaving():
                continue
            if board.crowded:
                self.limits.forget_views(self.safety.planned_views())
            return out

    def full_pass(self) -> list[Decision]:
        """Look at everything from scratch; returns nothing if all is well (L31)."""
        board = self.board
        for lock in board.locks.values():
            assert lock.used == self.families.recount(lock), lock.key
            assert lock.barred == sum(units for _, units, _ in lock.bars), lock.key
            board.dirty[lock] = None
            board.moved[lock] = None
            board.limits_moved[lock] = None
        for c in board.classes:
            if c.live:
                board.reopen(c)
        for owner in board.claims_of:
            board.suspects[owner] = None
        for share in board.shares.values():
            board.uncounted.update(dict.fromkeys(share.sizes))
        board.safer = True
        self.barriers.stir()
        return self.decide()

    def _break_ring(self, out: list[Decision]) -> bool:
        """L52: sentence a ring's youngest build. Its claims end here, its holds when the build has ended.

        Until then it lends to its children as before: they end too, and may have to clean up.
        """
        board = self.board
        suspects = sorted(board.suspects)
        ring = self.waits.find_ring(suspects)
        if not ring:
            board.suspects.clear()
            board.doubted = True
            return False
        doomed = self.waits.youngest(ring)
        claims = tuple(sorted(board.claims_of.get(doomed, ())))
        regained = tuple(sorted(link.owner for link in ring if self._stands_back(link.owner)))
        out.append(Sentenced(doomed, claims, ring, regained))
        for ticket in claims:
            self.cancel(ticket)
        for ticket in regained:
            self.queues.requeue(self.waiting[ticket], changed(self.waiting[ticket], put_back=False))
        board.sentenced[doomed] = None
        return True

    def _stands_back(self, owner: int) -> bool:
        """Whether this is a child that was put back and stands where its own ticket does, behind its eldest's place.

        It lets those pass whom its ring kept waiting. When it was kept waiting by a ring itself, they have: else two of
        them could come and go for ever, each put back in turn (decision 0037).
        """
        claim = self.waiting.get(owner)
        return claim is not None and claim.put_back and owner in self.board.parent_of

    # --- snapshots

    def snapshot(self) -> AllocatorSnapshot:
        """Everything that the future hangs on, as values. Take it after `decide`."""
        return take_apart(self.board, tuple(self.safety.plans.values()), self.queues.shares.memories())

    @classmethod
    def restore(cls, snapshot: AllocatorSnapshot) -> "Allocator":
        """An allocator that decides as the one that was taken apart would have."""
        allocator = cls()
        put_back_together(allocator.board, snapshot)
        allocator.queues.shares.put_back(snapshot.shares, snapshot.turns)
        allocator.board.project_of.update(snapshot.projects)
        allocator.barriers.stir()
        allocator.set_plans({plan.name: plan for plan in snapshot.plans})
        allocator.limits.put_back()
        for claim in snapshot.waiting:
            allocator.submit(claim)
        for ticket, index in snapshot.pins:
            alternatives = allocator.waiting[ticket].need.alternatives
            allocator.board.carried[ticket] = alternatives[index] if 0 <= index < len(alternatives) else None
        for child, parent in snapshot.parents:
            allocator._add_parent(child, parent)
        for course in snapshot.courses:
            allocator.set_course(*course)
        allocator.board.sentenced.update(dict.fromkeys(snapshot.sentenced))
        return allocator
