"""Shares: locks that projects have by weight. What one leaves free others may borrow, and who has less than its share
comes before who has as much or more (lock-rules section 10, decision 0032).

Here is what each has, and what follows for those who wait. Who is granted is decided elsewhere.
"""

from collections.abc import Collection, Iterable, Mapping

from lockstep.core.alloc_barriers import Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass, Shape
from lockstep.core.alloc_facts import Part, ShareMemory
from lockstep.core.alloc_items import Lock, Share, Standing
from lockstep.core.nouns import Claim, LockKey
from lockstep.core.values import ShareRule


class Shares:
    """Keeps the order of projects at the locks that they share."""

    def __init__(self, board: Board, barriers: Barriers) -> None:
        self.board = board
        self.barriers = barriers
        self.families = barriers.families
        self.remembered: dict[str, ShareMemory] = {}

    # --- what is configured

    def set_rules(self, rules: tuple[ShareRule, ...]) -> None:
        """These are the shares from now on, while nobody waits; whose turn it is stays known."""
        self.put_back(rules, self.memories())
        if not rules:
            self.board.project_of.clear()
        self.barriers.stir()

    def put_back(self, rules: Iterable[ShareRule], memories: Iterable[ShareMemory]) -> None:
        """These are the shares, and what they remember; so do some that are no more."""
        board = self.board
        self.remembered = {memory.name: memory for memory in memories}
        none = ShareMemory("")
        board.shares = {rule.name: Share(rule, self.remembered.get(rule.name, none)) for rule in rules}
        board.standings.clear()
        for lock in board.locks.values():
            lock.apart.clear()
            board.join_share(lock)
        for shape in board.shapes.values():
            shape.find_shares()

    def memories(self) -> tuple[ShareMemory, ...]:
        """What all shares remember, and those that are no more."""
        now = {name: memory for name, share in self.board.shares.items() if (memory := share.memory()).turns}
        return tuple((self.remembered | now).values())

    def memories_of(self, keys: Iterable[LockKey]) -> tuple[ShareMemory, ...]:
        """What is to be stored of the shares in which these locks are."""
        locks = (self.board.locks[key] for key in keys)
        return tuple({lock.share.rule.name: lock.share.memory() for lock in locks if lock.share is not None}.values())

    # --- what happens

    def granted(self, owner: int, anew: Mapping[Lock, int]) -> None:
        """So much was granted anew: the project's next turn comes the later, the less its weight is."""
        for lock, units in anew.items():
            self.board.count_again(lock)
            if lock.share is not None and units:
                project = self.board.project_of.get(self.families.eldest(owner), "")
                lock.share.take_turn(lock.share.party(project), min(units, max(1, lock.capacity)))

    def settle(self) -> None:
        """What is held of some locks, or may be, has changed: note who has what, and what follows."""
        board = self.board
        for lock in board.uncounted:
            if lock.share is not None:
                lock.share.count(lock, self._had(lock, lock.share))
        board.uncounted.clear()
        for share in board.shares.values():
            share.settle()
        moved = [standing for standing in board.standings.values() if standing.settle()]
        if moved:
            self._look_again([c for c in board.pinned_apart if c.full])
        changed = []
        for c in board.pinned_apart:
            full = c.standing.over_for(c.ticket) if c.standing is not None else ()
            if full != c.full:
                changed.append(c)
                c.full = full
                board.reopen(c)
        if changed:
            self._look_again(changed)
            board.to_weigh.update(board.pinned_apart)

    def _look_again(self, barriers: Iterable[ClaimClass]) -> None:
        """What these barriers reserve may concern others than before."""
        for c in barriers:
            for lock, _, _ in c.pinned:
                self.barriers.suspended(lock)
        self.barriers.stir()

    def _had(self, lock: Lock, share: Share) -> list[tuple[str, int, int]]:
        """What builds have of a lock, with those that they wait for counted as one: party, ticket, and units."""
        board, families = self.board, self.families
        units_of: dict[int, int] = {}
        if lock.pool is not None:
            masks: dict[int, int] = {}
            for owner, units, _ in lock.pool.held.values():
                top = families.eldest(owner)
                masks[top] = masks.get(top, 0) | (units & lock.pool.usable)
            units_of = {top: bits.bit_count() for top, bits in masks.items()}
        else:
            most = max(1, lock.capacity)
            for top in {families.eldest(board.holds[hold].owner) for hold in lock.holds}:
                units_of[top] = min(families.footprint(top, lock), most)
        return [(share.party(board.project_of.get(top, "")), top, units) for top, units in units_of.items()]

    # --- the order

    def standing(self, claim: Claim, shape: Shape) -> Standing:
        """Where a claim stands that needs something shared."""
        board = self.board
        eldest = self.families.eldest(claim.owner)
        first = claim.since < 0
        key = (shape.shares, board.project_of.get(eldest, ""), eldest == claim.ticket and not first, first)
        known = board.standings.get(key)
        if known is None:
            known = board.standings[key] = Standing(*key)
        return known

    def first_before(self, c: ClaimClass, fitting: Collection[ClaimClass]) -> ClaimClass:
        """Who is to be granted something instead of this one: the first that beats it and gives way to nobody.

        Who is beaten only by those who give way themselves gives way to nobody. Of those that are to be looked at in
        this decision only the `fitting` are known to fit: one who is none of them is to be tried, and then it is to be
        asked again. It is the class itself if nobody comes before it.
        """
        if c.standing is None or not (c.standing.turn or c.over()):
            return c
        offered = self.board.candidates
        ready = sorted(each for each in offered if each[1].offered and each[1].ticket and each[0] == each[1].rank)
        known: dict[object, bool] = {}
        for _, other in ready:
            answer = self._gives_way(other, ready, fitting, known) if other.beats(c) else True
            if answer is not True:
                return answer or other
        return c

    def _gives_way(
        self,
        c: ClaimClass,
        ready: list[tuple[int, ClaimClass]],
        fitting: Collection[ClaimClass],
        known: dict[object, bool],
    ) -> bool | ClaimClass:
        """Whether one that fits and gives way to nobody beats this one; or who must be tried before that is known."""
        kind = c.standing, c.level, c.pin >= 0, c.over()
        for _, other in ready if kind not in known else ():
            answer = self._gives_way(other, ready, fitting, known) if other.beats(c) else True
            if answer is False and other in fitting:
                known[kind] = True
                break
            if answer is not True:
                return answer or other
        return known.setdefault(kind, False)

    def parts(self, lock: Lock) -> tuple[Part, ...]:
        """What each party has of what is shared together with this lock; nothing if it is not shared."""
        share = lock.share
        whole = lock if lock.pool is None else lock.pool.views.get(lock.key.whole)
        if share is None or whole is None:
            return ()
        here = dict.fromkeys(share.weights, 0)
        for party, _, units in share.had.get(whole, ()):
            here[party] += units
        return tuple(_part(share, party, here[party], share.sizes.get(whole, 0)) for party in share.weights)

    def full(self, ticket: int) -> Part | None:
        """If a waiting claim comes later because its project has its share: what the project has."""
        c = self.board.class_of.get(ticket)
        if c is None or c.standing is None:
            return None
        over = c.full if c.pin >= 0 and c.ticket == ticket else c.standing.over
        for share, party in c.standing.parties.items():
            if share in over:
                return _part(share, party)
        return None


def _part(share: Share, party: str, here: int = 0, size: int = 0) -> Part:
    weight = share.weights[party]
    due, due_here = (weight * units / share.total for units in (share.size, size))
    return Part(party, weight, share.used[party], due, here, due_here)
