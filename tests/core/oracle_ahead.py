"""What the dumb allocator foresees: who could finish (L52), and who could wait for ever with all that builds may claim
(L51).

See `oracle.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lockstep.core.alloc_facts import Hold
from lockstep.core.nouns import Access, Alternative, Claim, Need
from lockstep.core.values import BuilderSetup

from .oracle_pools import Picked, names, pick

if TYPE_CHECKING:
    from .oracle import Oracle


class Foresight:
    """Looks ahead for an oracle."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def withheld(
        self, claim: Claim, alternative: Alternative, among: set[int] | None = None, picked: Picked | None = None
    ) -> bool:
        if claim.owner not in self.oracle.courses:
            return False
        if picked is None:
            picked = self.some_units(claim.owner, alternative, among)
        before = self.never_end(among)
        waiting = self.oracle.waiting
        self.oracle.holds[-1] = Hold(-1, claim.ticket, claim.owner, 0, alternative, (), units=names(picked))
        self.oracle.waiting = {ticket: other for ticket, other in waiting.items() if ticket != claim.ticket}
        after = self.never_end(among)
        del self.oracle.holds[-1]
        self.oracle.waiting = waiting
        return not after <= before

    def some_units(self, owner: int, way: Alternative, among: set[int] | None) -> Picked:
        """Units that would do, whatever barriers want."""
        kin = self.oracle.ancestors(owner)
        return pick(way, lambda access: self.oracle.units.choice(access, kin, [], among))

    def never_end(self, among: set[int] | None) -> set[int]:
        left = {hold.owner for hold in self.oracle.holds.values()} & set(self.oracle.courses)
        if among is not None:
            left &= among
        while ending := {owner for owner in left if self.gets_all(owner, left - {owner}, among)}:
            left -= ending
        return left

    def gets_all(self, owner: int, others: set[int], among: set[int] | None) -> bool:
        holders = {hold.owner for hold in self.oracle.holds.values()}
        children = [child for child, parent in self.oracle.parents.items() if parent == owner]
        if any(child in others for child in children):
            return False
        claims = self.oracle.waiting.values()
        todo: list[tuple[int, Need, BuilderSetup | None]] = [(owner, c.need, None) for c in claims if c.owner == owner]
        for child in children:
            if child not in holders and (among is None or child in among):
                plan = self.oracle.plans.get(self.oracle.courses.get(child, ("", 0, False))[0])
                known = [claim.need for claim in self.oracle.waiting.values() if claim.owner == child]
                if plan and not any(need.alternatives for need in known):
                    known = [plan.planned]
                todo += [(child, need, plan) for need in known]
        builder, number, waited = self.oracle.courses[owner]
        workers = [hold.alternative.worker for hold in self.oracle.holds.values() if hold.owner == owner]
        for stage in self.oracle.plans[builder].stages if builder in self.oracle.plans else ():
            if stage.number > number and not self.one_at_a_time(owner, stage.on(max(workers)), others):
                return False
            if stage.number > number or (stage.number == number and not children and not waited):
                kids = [self.oracle.plans[child] for child in stage.children if child in self.oracle.plans]
                todo += [(owner + 10**6, kid.planned, kid) for kid in kids]
        return all(self.gets_one(who, need, plan, others, owner) for who, need, plan in todo)

    def gets_one(self, who: int, need: Need, plan: BuilderSetup | None, others: set[int], parent: int) -> bool:
        ways = [way for way in need.alternatives if self.oracle.servable_in_time(way)]
        supposed = who not in self.oracle.parents and who != parent
        if supposed:
            self.oracle.parents[who] = parent
        found = not ways
        for way in ways:
            fits = self.one_at_a_time(who, way.accesses, others)
            for stage in plan.stages if plan else ():
                fits = fits and self.one_at_a_time(who, stage.on(way.worker), others)
                for child in stage.children:
                    if child in self.oracle.plans:
                        kid = self.oracle.plans[child]
                        fits = fits and self.gets_one(who + 10**6, kid.planned, kid, others, who)
            found = found or fits
        if supposed:
            del self.oracle.parents[who]
        return found

    def one_at_a_time(self, owner: int, accesses: Iterable[Access], others: set[int]) -> bool:
        wanted = [access for access in accesses if access.count <= self.oracle.limit(access.lock)]
        return all(self.oracle.has_room(owner, access, others) for access in wanted)

    def withheld_in_vain(self, owner: int) -> bool:
        if owner not in self.oracle.parents and all(hold.owner != owner for hold in self.oracle.holds.values()):
            return False  # nobody waits for it
        everybody = (*self.oracle.holds.values(), *self.oracle.waiting.values())
        left = {each.owner for each in everybody}
        while finishing := {each for each in left if self.can_finish(each, left, minding=True)}:
            left -= finishing
        after = {each: self.blockers(each, left, minding=True) | self.withheld_for(each, left) for each in left}
        return owner in left and owner in self.follow(owner, after)

    def withheld_for(self, owner: int, left: set[int]) -> set[int]:
        ways = [
            (claim, way)
            for claim in self.oracle.waiting.values()
            if claim.owner == owner and not self.could_be_served(claim, left, minding=True)
            for way in filter(self.oracle.servable_in_time, claim.need.alternatives)
        ]
        if any(self.has_rooms(owner, way, left) and self.withheld(claim, way, left) for claim, way in ways):
            return {hold.owner for hold in self.oracle.holds.values()} & set(self.oracle.courses) & left - {owner}
        return set()

    # --- who could finish

    def can_finish(self, owner: int, stuck: set[int], minding: bool = False) -> bool:
        if owner in self.oracle.sentenced:
            return True
        if any(parent == owner and child in stuck for child, parent in self.oracle.parents.items()):
            return False
        claims = [claim for claim in self.oracle.waiting.values() if claim.owner == owner]
        return all(self.could_be_served(claim, stuck, minding) for claim in claims)

    def could_be_served(self, claim: Claim, stuck: set[int], minding: bool = False) -> bool:
        ways = [way for way in claim.need.alternatives if self.oracle.servable_in_time(way, opened=True)]
        return not ways or any(
            self.has_rooms(claim.owner, way, stuck) and not (minding and self.withheld(claim, way, stuck))
            for way in ways
        )

    def has_rooms(self, owner: int, way: Alternative, stuck: set[int]) -> bool:
        return all(self.oracle.has_room(owner, access, stuck) for access in way.accesses)

    def blockers(self, owner: int, stuck: set[int], minding: bool = False) -> set[int]:
        children = {child for child, parent in self.oracle.parents.items() if parent == owner and child in stuck}
        return children | self.lacked_from(owner, stuck, minding)

    def lacked_from(self, owner: int, stuck: set[int], minding: bool = False) -> set[int]:
        found: set[int] = set()
        for claim in self.oracle.waiting.values():
            if claim.owner == owner and not self.could_be_served(claim, stuck, minding):
                ways = (way for way in claim.need.alternatives if self.oracle.servable_in_time(way, opened=True))
                for way in ways:
                    for access in way.accesses:
                        if not self.oracle.has_room(owner, access, stuck):
                            found |= self.oracle.strangers(owner, access.lock) & stuck
        return found

    def follow(self, start: int, after: dict[int, set[int]]) -> set[int]:
        found: set[int] = set()
        todo = [start]
        while todo:
            fresh = after[todo.pop()] - found
            found |= fresh
            todo += fresh
        return found
