"""Shares: locks that projects have by weight. What one leaves free others may borrow, and who has less than its share
comes before who has as much or more (lock-rules section 10; decision 0032 says where that falls short).

Here is what each has, and what follows for the order of those who wait. Who is granted is decided elsewhere.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from lockstep.core.alloc_barriers import Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_facts import ShareMemory
from lockstep.core.alloc_items import ABOVE, Lock, Share
from lockstep.core.nouns import LockKey
from lockstep.core.values import ShareRule

OVER: Final = 1 << 16
"""Added to the turn of who has no more to wait for than its order, and whose project has its share: the last ones."""


class Shares:
    """Keeps the order of projects at the locks that they share."""

    def __init__(self, board: Board, barriers: Barriers) -> None:
        self.board = board
        self.barriers = barriers
        self.families = barriers.families
        self.remembered: dict[str, ShareMemory] = {}

    # --- what is configured

    def set_rules(self, rules: Iterable[ShareRule]) -> bool:
        """These are the shares from now on; whose turn it is stays known. False if nothing is new.

        Who waits must be put into other queues then.
        """
        board = self.board
        wanted = tuple(rules)
        if wanted == tuple(share.rule for share in board.shares.values()):
            return False
        self.put_back(wanted, self.memories())
        if not wanted:
            board.project_of.clear()
        self.barriers.stir()
        return True

    def put_back(self, rules: Iterable[ShareRule], memories: Iterable[ShareMemory]) -> None:
        """These are the shares, and what they remember; so do some that are no more."""
        board = self.board
        self.remembered = {memory.name: memory for memory in memories}
        none = ShareMemory("")
        board.shares = {rule.name: Share(rule, self.remembered.get(rule.name, none)) for rule in rules}
        for lock in board.locks.values():
            board.join_share(lock)
        for shape in board.shapes.values():
            shape.find_shares()
        for c in board.classes:
            c.stand(False, 0)

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
            if lock.share is not None and units:
                project = self.board.project_of.get(self.families.eldest(owner), "")
                lock.share.take_turn(lock.share.party(project), min(units, max(1, lock.capacity)))

    def settle(self) -> None:
        """Holds, limits or turns have changed: count anew who has what, and put those who wait into their order."""
        board = self.board
        for share in board.shares.values():
            share.used = self._used(share)
            share.settle_order()
        for c in [c for c in board.classes if c.ticket and c.shape.shares]:
            if self.standing(c) != (c.above, c.turn):
                self._place_again(c)

    def _used(self, share: Share) -> dict[str, list[tuple[int, int]]]:
        """For each party the builds that have some, with those that wait for them counted as one; and how much."""
        board, families = self.board, self.families
        units_of: dict[int, int] = {}
        for lock in share.members:
            if lock.pool is not None:
                masks: dict[int, int] = {}
                for owner, units, _ in lock.pool.held.values():
                    top = families.eldest(owner)
                    masks[top] = masks.get(top, 0) | (units & lock.pool.usable)
                for top, bits in masks.items():
                    units_of[top] = units_of.get(top, 0) + bits.bit_count()
                continue
            most = max(1, lock.capacity)
            for top in {families.eldest(board.holds[hold].owner) for hold in lock.holds}:
                units_of[top] = units_of.get(top, 0) + min(families.footprint(top, lock), most)
        used: dict[str, list[tuple[int, int]]] = {}
        for top, units in sorted(units_of.items()):
            used.setdefault(share.party(board.project_of.get(top, "")), []).append((top, units))
        return used

    def _place_again(self, c: ClaimClass) -> None:
        """The class's first claim comes earlier or later from now on."""
        board, barriers = self.board, self.barriers
        if c.pin >= 0:
            barriers.carry(c)
        if c.sources:  # it was about to be looked at, for locks that have room: now whoever waits behind it is
            board.dirty.update(dict.fromkeys(lock for lock, _, _ in c.sources))
            c.sources = []
        self.place(c)
        c.place = c.above * ABOVE + c.place % ABOVE
        c.plain = barriers.plain_rank(c, c.ticket)
        board.set_rank(c, c.plain)
        board.reopen(c)
        barriers.stir()

    # --- the order

    def place(self, c: ClaimClass) -> None:
        """Note where the class's first claim stands by its project."""
        c.stand(*self.standing(c))

    def standing(self, c: ClaimClass) -> tuple[bool, int]:
        """Whether the class's first claim comes after all who have less than their share, and its turn among equals.

        What its project got later than it does not count, or those could keep it waiting for ever. Who holds something
        already, or keeps somebody waiting who does, must get on: its project's share changes only its turn.
        """
        board = self.board
        if c.since < 0:
            return False, 0  # it is to be the next for sure (L80)
        mine = self.families.eldest(c.owner)
        begins = mine == c.ticket
        project = board.project_of.get(mine, "")
        above, turn = False, 0
        for share in c.shape.shares:
            party = share.party(project)
            used = share.used.get(party, ())
            others = sum(units for top, units in used if top != mine and (top < c.ticket or not begins))
            above = above or not share.is_below(party, others)
            turn = max(turn, share.order[party])
        return (above, turn) if begins else (False, turn + above * OVER)

    def full(self, ticket: int) -> tuple[str, int, float] | None:
        """If a waiting claim comes later because its project has its share: the party, its units, and the share."""
        c = self.board.class_of.get(ticket)
        if c is None or not (c.above or c.turn >= OVER):
            return None
        project = self.board.project_of.get(self.families.eldest(c.owner), "")
        for share in c.shape.shares:
            party = share.party(project)
            used = sum(units for _, units in share.used.get(party, ()))
            if not share.is_below(party, used):
                return party, used, share.weights[party] * share.capacity() / share.total
        return None
