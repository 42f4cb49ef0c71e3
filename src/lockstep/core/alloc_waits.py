"""Who waits for whom: what L46 spares, and the rings of L52.

Nothing here changes anything; sentences are carried out by `allocation.py`. The edges are those of L46. A ring is one
of holders: who is withheld (L51) is in none, and is let go if he is withheld in vain (`alloc_safety.py`).
"""

from collections.abc import Iterator, Set

from lockstep.core.alloc_board import Board
from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_facts import RingLink
from lockstep.core.alloc_families import NOBODY, Families
from lockstep.core.alloc_items import Lock
from lockstep.core.nouns import LockKey


class Waits:
    """The graph of owners. What a reservation spares is remembered until something changes."""

    def __init__(self, board: Board, families: Families) -> None:
        self.board = board
        self.families = families
        self._reached: dict[int, set[int]] = {}

    def forget(self) -> None:
        """Something changed: holds, waits, pins, children."""
        if self._reached:
            self._reached.clear()

    # --- what a barrier waits for (L46)

    def reaches(self, start: int, owner: int) -> bool:
        """Whether `start` waits for `owner`, directly or through others."""
        reached = self._reached.get(start)
        if reached is None:
            reached = self._reached[start] = self._closure(start)
        return owner in reached

    def _closure(self, start: int) -> set[int]:
        seen: set[int] = set()
        left = {start}
        while left:
            found = self.edges(left.pop()) - seen
            seen |= found
            left |= found
            for known in found & self._reached.keys():
                seen |= self._reached[known]
                left -= self._reached[known] | {known}
        return seen

    def edges(self, owner: int) -> set[int]:
        """Everybody whom this owner waits for."""
        board = self.board
        found = set(self.child_edges(owner))
        tickets = board.claims_of.get(owner, ())
        for ticket in tickets:
            c = board.class_of[ticket]
            barrier = c.pin >= 0 and c.ticket == ticket
            for accesses in [c.pinned] if barrier else c.alts:
                for lock, units, _ in accesses:
                    found.update(self.held_edges(owner, lock, units))
                    found.update(self.barrier_edges(c, c.place if barrier else c.plain, lock))
        return found | self.course_edges(owner) if tickets else found

    def course_edges(self, owner: int) -> Set[int]:
        """A waits for B if a grant to A may be withheld because of B (L51)."""
        board = self.board
        return (board.courses.keys() & board.holds_of.keys()) - {owner} if owner in board.courses else NOBODY

    def held_edges(self, owner: int, lock: Lock, units: int) -> Iterator[int]:
        """A waits for B if A lacks units that B holds, and does not lend to A (L53)."""
        if not self.families.has_room(owner, lock, units):
            yield from self.families.in_the_way(owner, lock)

    def barrier_edges(self, c: ClaimClass, before: int, lock: Lock) -> Iterator[int]:
        """A waits for B if B is a barrier before A at a lock that A needs."""
        for each in (lock,) if lock.pool is None else lock.pool.views.values():
            for place, b, lane in each.pins:
                if place > before:
                    break
                if b is not c and b.since < lane.threshold and not (b.full and b.exempts(c)):
                    yield b.owner

    def child_edges(self, owner: int) -> Iterator[int]:
        """A waits for B if A is a build that waits for its child B."""
        yield from self.board.children_of.get(owner, ())

    # --- rings (L52)

    def find_ring(self, suspects: list[int]) -> tuple[RingLink, ...]:
        """A true ring that one of these owners closed and that can be broken: the oldest, or nothing.

        Who is stuck in one that cannot be broken is remembered: when it gets smaller, another may come to light.
        """
        rings: list[tuple[RingLink, ...]] = []
        for suspect in suspects:
            concerned = self._ring_closure(suspect)
            if suspect not in concerned:
                continue
            stuck, gone = self._stuck(concerned)
            ring = self._core(stuck, gone)
            if ring:
                rings.append(ring)
            elif suspect in stuck:
                self.board.unbroken[suspect] = None
        return min(rings, key=lambda ring: ring[0].owner, default=())

    def youngest(self, ring: tuple[RingLink, ...]) -> int:
        """The youngest build of the ring that may be retried, or 0.

        One that is in the ring only because its parent waits for it holds nothing that anybody lacks: its end would
        not open the ring.
        """
        owners = {link.owner for link in ring}
        holders = {
            holder
            for link in ring
            for key in link.locks
            for holder in self.families.in_the_way(link.owner, self.board.locks[key])
        }
        return max((owner for owner in owners & holders if self.may_retry(owner)), default=0)

    def may_retry(self, owner: int) -> bool:
        """Whether this owner holds something and may be put back."""
        holds = self.board.holds_of.get(owner)
        return bool(holds) and all(self.board.holds[hold].retryable for hold in holds or ())

    def _lacking(self, owner: int, gone: Set[int]) -> Iterator[list[Lock]]:
        """For each claim that this owner waits with and that could be served: the locks it lacks. None if nothing."""
        board = self.board
        for ticket in board.claims_of.get(owner, ()):
            c = board.class_of[ticket]
            missing: list[Lock] = []
            servable = False
            for index, accesses in enumerate(c.alts):
                if not c.servable_once_open(index):
                    continue
                servable = True
                lacked = [lock for lock, units, _ in accesses if not self.families.has_room(owner, lock, units, gone)]
                if not lacked:
                    break
                missing += lacked
            else:
                if servable:
                    yield missing

    def lacked_from(self, owner: int) -> Iterator[int]:
        """Who holds what this owner's claims lack."""
        for missing in self._lacking(owner, NOBODY):
            yield from self._holders(owner, missing)

    def _holders(self, owner: int, locks: list[Lock]) -> set[int]:
        return {holder for lock in locks for holder in self.families.in_the_way(owner, lock)}

    def _ring_closure(self, start: int) -> set[int]:
        seen: set[int] = set()
        stack = [start]
        while stack:
            owner = stack.pop()
            found = {*self.child_edges(owner), *self.lacked_from(owner)}
            stack += found - seen
            seen |= found
        return seen

    def _stuck(self, owners: set[int]) -> tuple[set[int], set[int]]:
        """Let every owner finish that can. Those left, and the others."""
        board = self.board
        gone: set[int] = set()
        left = set(owners)
        moved = True
        while moved:
            moved = False
            for owner in sorted(left):
                waits = any(child in left for child in board.children_of.get(owner, ()))
                waits = waits or any(True for _ in self._lacking(owner, gone))
                if waits and owner not in board.sentenced:
                    continue
                left.discard(owner)
                gone.add(owner)
                moved = True
        return left, gone

    def _core(self, stuck: set[int], gone: set[int]) -> tuple[RingLink, ...]:
        """Of the stuck, the first set whose members wait only for one another and one of whom may be put back."""
        board = self.board
        lacks: dict[int, list[Lock]] = {}
        after: dict[int, set[int]] = {}
        for owner in stuck:
            lacks[owner] = [lock for missing in self._lacking(owner, gone) for lock in missing]
            after[owner] = (self._holders(owner, lacks[owner]) | set(board.children_of.get(owner, ()))) & stuck
        reach = {owner: self.reach_in(owner, after) for owner in stuck}
        for owner in sorted(stuck):
            ring = reach[owner]
            if owner not in ring or any(owner not in reach[other] for other in ring):
                continue
            links = tuple(self._link(member, ring, lacks[member]) for member in sorted(ring))
            if self.youngest(links):
                return links
        return ()

    def reach_in(self, start: int, after: dict[int, set[int]]) -> set[int]:
        """Who can be reached from there by one edge or more."""
        seen: set[int] = set()
        stack = [start]
        while stack:
            found = after[stack.pop()] - seen
            seen |= found
            stack += found
        return seen

    def _link(self, owner: int, ring: set[int], lacks: list[Lock]) -> RingLink:
        locks: dict[LockKey, None] = {}
        for lock in lacks:
            if self._holders(owner, [lock]) & ring:
                locks[lock.key] = None
        children = tuple(sorted(ring & set(self.board.children_of.get(owner, ()))))
        return RingLink(owner, tuple(sorted(locks)), children)
