"""The queues of claims that need the same (L45): who is first in each, and what follows when that changes.

Who is granted is not decided here.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

from lockstep.core.alloc_barriers import Barriers
from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_items import FOREVER, IDLE_CLASSES, place_of
from lockstep.core.alloc_shares import Shares
from lockstep.core.nouns import Claim
from lockstep.core.values import ShareRule


class Queues:
    """Puts claims into the queues of their classes and takes them out."""

    def __init__(self, board: Board, barriers: Barriers) -> None:
        self.board = board
        self.barriers = barriers
        self.shares = Shares(board, barriers)

    def is_special(self, claim: Claim) -> bool:
        """L45: claims of owners that hold something, children, and what was put back are classes of their own."""
        return (
            claim.owner != claim.ticket or claim.parent != 0 or claim.put_back or claim.since not in (0, claim.ticket)
        )

    def enqueue(self, claim: Claim) -> None:
        board = self.board
        shape = board.shape(claim.need)
        special = self.is_special(claim)
        standing = self.shares.standing(claim, shape) if shape.shares else None
        newest = claim.newest and claim.owner not in board.parent_of  # who keeps a build waiting must get on (L85)
        c = None if special or newest else shape.classes.get((claim.level, claim.plan, standing))
        if c is None:
            child = special and claim.owner in board.parent_of
            c = board.add_class(shape, claim.level, special, child, newest, claim.plan, standing)
        ticket = claim.ticket
        board.waiting[ticket] = claim
        board.class_of[ticket] = c
        board.claims_of.setdefault(claim.owner, {})[ticket] = None
        if c.live == 0:
            board.idle -= 1
        c.live += 1
        heappush(c.queue, ticket)
        if special or board.leaving:  # who waits for what a reload removed keeps others from what has its name (L6)
            self.note_arrival(claim)
        if not c.ticket or ticket < c.ticket:
            if c.pin >= 0:
                self.barriers.carry(c)
            self._lead(c, ticket)

    def note_arrival(self, claim: Claim) -> None:
        """A wait that may close a ring, or spare others (L46)."""
        self.board.suspects[claim.owner] = None
        self.barriers.stir()

    def enter_again(self, owner: int) -> None:
        """Somebody waits for this owner, or does not any more: so for all that it and its descendants wait for."""
        for each in (owner, *self.barriers.families.descendants(owner)):
            for ticket in tuple(self.board.claims_of.get(each, ())):
                claim = self.board.waiting[ticket]
                self.requeue(claim, claim)

    def offer_family(self, owner: int) -> None:
        """This owner has more to raise or to lend: what it and its descendants wait for is looked at anew (L53).

        They may be parked behind others who have, or are lent, nothing.
        """
        for each in (owner, *self.barriers.families.descendants(owner)):
            for ticket in self.board.claims_of.get(each, ()):
                self.board.reopen(self.board.class_of[ticket])

    def dequeue(self, claim: Claim) -> None:
        """Take a claim out of its queue, because it ends or moves."""
        board = self.board
        ticket = claim.ticket
        c = board.class_of.pop(ticket)
        del board.waiting[ticket]
        board.drop_owner(claim)
        c.live -= 1
        if c.live == 0:
            board.idle += 1
        if c.special or board.shares:
            self.barriers.stir()
        if c.ticket == ticket:
            if c.pin >= 0:
                self.barriers.drop_pin(c)
            if c.sources:  # it was about to be looked at, for locks that have room: now whoever waits behind it is
                board.dirty.update(dict.fromkeys(c.sources))
                c.sources = []
            self._next(c)
        elif len(c.queue) > 2 * c.live + 64:
            c.queue = sorted(each for each in c.queue if board.class_of.get(each) is c)

    def set_shares(self, rules: Iterable[ShareRule]) -> None:
        """Projects have these locks by weight from now on: who waits comes into other queues."""
        board = self.board
        wanted = tuple(rules)
        if wanted == tuple(share.rule for share in board.shares.values()):
            return
        claims = tuple(board.waiting.values())
        for claim in claims:
            self._carry(claim)
            self.dequeue(claim)
        board.sweep()
        self.shares.set_rules(wanted)
        for claim in claims:
            self.enqueue(claim)
            self.note_arrival(claim)
        board.safer = True

    def requeue(self, old: Claim, new: Claim) -> None:
        self._carry(old)
        self.dequeue(old)
        self.enqueue(new)
        self.board.safer = True
        self.note_arrival(new)

    def _carry(self, claim: Claim) -> None:
        """Who is a barrier may stay one in another queue."""
        c = self.board.class_of[claim.ticket]
        if c.ticket == claim.ticket and c.pin >= 0:
            self.board.carried.setdefault(claim.ticket, claim.need.alternatives[c.pin])

    def _next(self, c: ClaimClass) -> None:
        """The first claim of a class has gone: the next one that still waits here leads it."""
        queue = c.queue
        class_of = self.board.class_of
        while queue and class_of.get(queue[0]) is not c:
            heappop(queue)
        if queue:
            self._lead(c, queue[0])
            return
        c.ticket = 0
        board = self.board
        if c.alone:
            board.forget_class(c)
        elif board.idle > IDLE_CLASSES and 2 * board.idle > len(board.classes):
            board.sweep()

    def _lead(self, c: ClaimClass, ticket: int) -> None:
        """A class has another first claim. What is closed stays closed, unless this claim is an earlier one."""
        claim = self.board.waiting[ticket]
        board = self.board
        owner = eldest = claim.owner
        since = FOREVER if c.newest else claim.since or ticket
        earlier = since < c.since
        c.ticket = ticket
        c.since = since
        c.owner = owner
        if owner in board.parent_of and not claim.put_back:  # else it could close the same ring again
            eldest = self.barriers.families.eldest(owner)
        c.place = place_of(eldest, ticket)
        rank = self.barriers.plain_rank(c, ticket)
        better = rank < c.plain
        c.plain = rank
        board.set_rank(c, rank)
        if c.taken or earlier:
            self.barriers.watch(c, earlier)
        board.wake(c)
        if better:
            board.reopen(c)
        elif c.open:
            board.offer(c)
