"""The dumb one beside `alloc_shares.py`: who comes when, where projects have locks by weight (decision 0032).

Everything is counted anew each time, from the holds; only whose turn it is, is kept.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lockstep.core.alloc_facts import Granted
from lockstep.core.nouns import Claim, LockKey
from lockstep.core.values import ShareRule

from .oracle_names import needed

if TYPE_CHECKING:
    from .oracle import Oracle

TURN = 720_720


class Weights:
    """The shares, the projects, and the turns."""

    def __init__(self, oracle: "Oracle") -> None:
        self.oracle = oracle
        self.known_over: dict[tuple[str, int, int], bool] = {}
        self.rules: tuple[ShareRule, ...] = ()
        self.projects: dict[int, str] = {}
        self.turns: dict[str, dict[str, int]] = {}
        self.latest: dict[str, int] = {}

    def set_shares(self, rules: Iterable[ShareRule]) -> None:
        self.rules = tuple(rules)
        for rule in self.rules:
            self.turns.setdefault(rule.name, {})
            self.latest.setdefault(rule.name, 0)
        if not self.rules:
            self.projects.clear()

    def set_project(self, owner: int, project: str) -> None:
        self.projects[owner] = project

    def rule(self, key: LockKey) -> ShareRule | None:
        """The share that a lock is in."""
        return next((rule for rule in self.rules if rule.names(key)), None)

    def party(self, rule: ShareRule, owner: int) -> str:
        project = self.projects.get(self.oracle.eldest(owner), "")
        return project if project in dict(rule.weights) else "*"

    def concerned(self, claim: Claim) -> list[ShareRule]:
        """The shares of which the claim wants something."""
        keys = {access.lock for way in claim.need.alternatives for access in way.accesses}
        return [rule for rule in self.rules if any(self.rule(key) == rule for key in keys)]

    def project(self, claim: Claim) -> str:
        """What tells equal claims apart: the project, where there are shares."""
        return self.projects.get(claim.owner, "") if self.concerned(claim) else ""

    def used_by(self, key: LockKey) -> dict[int, int]:
        """What families have of a lock, by the build for which all others were begun."""
        oracle = self.oracle
        if key.kind == "pool":
            had: dict[int, set[str]] = {}
            for holder, units in oracle.units.had(key):
                had.setdefault(oracle.eldest(holder), set()).update(units)
            return {top: len(units) for top, units in had.items()}
        users = list(oracle.users(key))
        tops = {oracle.eldest(user) for user, _ in users}
        return {top: min(oracle.family(0, top, users), max(1, oracle.limit(key))) for top in tops}

    def known(self) -> set[LockKey]:
        """Every lock that there is."""
        return {*self.oracle.limits, *needed(self.oracle), *self.oracle.units.views}

    def begins(self, claim: Claim) -> bool:
        """Whether who has less comes before it: not so with steps, awaited builds, and who is next for sure."""
        return claim.since >= 0 and self.oracle.eldest(claim.owner) == claim.ticket

    def over(self, claim: Claim) -> list[str]:
        """The shares of which the claim's project has its part; a barrier's by what is older."""
        if not self.begins(claim):
            return []
        before = claim.ticket if claim.ticket in self.oracle.pins else 1 << 60
        return [rule.name for rule in self.concerned(claim) if self.is_over(rule, claim, before)]

    def is_over(self, rule: ShareRule, claim: Claim, before: int) -> bool:
        """Whether the claim's party has its part of a share by builds older than that."""
        known = self.known_over.get((rule.name, claim.ticket, before))
        if known is None:
            party = self.party(rule, claim.owner)
            members = [key for key in self.known() if rule.names(key) and not key.where]
            tops = [(top, units) for key in members for top, units in self.used_by(key).items()]
            mine = sum(units for top, units in tops if top < before and self.party(rule, top) == party)
            most, weights = sum(self.oracle.limit(key) for key in members), dict(rule.weights)
            known = most > 0 and mine >= Fraction(weights[party], sum(weights.values())) * most
            self.known_over[rule.name, claim.ticket, before] = known
        return known

    def turn(self, claim: Claim) -> tuple[bool, int]:
        """When the claim's turn comes among claims of its level."""
        turn, over = 0, False
        for rule in self.concerned(claim):
            party = self.party(rule, claim.owner)
            turns = {
                each: max(self.latest[rule.name], self.turns[rule.name].get(each, 0)) for each in dict(rule.weights)
            }
            turn = max(turn, sorted(set(turns.values())).index(turns[party]))
            over = over or self.is_over(rule, claim, 1 << 60)
        return (False, 0) if claim.since < 0 else (over and not self.begins(claim), turn)

    def beats(self, claim: Claim, other: Claim) -> bool:
        """Whether a claim comes before another because of what their projects have, or had last."""
        names = {rule.name for rule in self.concerned(claim)}
        mine, its = self.over(claim), self.over(other)
        if its and not mine:
            return bool(names & set(its))
        barriers = {claim.ticket, other.ticket} & set(self.oracle.pins)
        if barriers or claim.level != other.level or bool(its) != bool(mine):
            return False
        common = (rule for rule in self.concerned(other) if rule.name in names)
        if all(self.party(rule, claim.owner) == self.party(rule, other.owner) for rule in common):
            return False
        return self.turn(claim) < self.turn(other)

    def first(self, found: list[tuple[Claim, Any]]) -> tuple[Claim, Any]:
        """Of those that may be granted: the first, or the first that beats it and gives way to nobody."""
        if not self.rules:
            return found[0]
        after = {x.ticket: {y.ticket for y, _ in found if self.beats(y, x)} for x, _ in found}
        stay: set[int] = set()
        go: set[int] = set()
        while len(stay) + len(go) < len(found):
            stay |= {ticket for ticket, betters in after.items() if betters <= go}
            go |= {ticket for ticket, betters in after.items() if betters & stay}
        before = [each for each in found if each[0].ticket in stay & after[found[0][0].ticket]]
        return before[0] if before else found[0]

    def exempt(self, barrier: Claim, claim: Claim) -> bool:
        """Whether a reservation does not concern a claim, whose project has less of what is shared."""
        if not self.rules:
            return False
        names = {rule.name for rule in self.concerned(claim)} - set(self.over(claim))
        return bool(names & set(self.over(barrier)))

    def granted(self, grant: Granted, anew: dict[LockKey, int]) -> None:
        """Each unit that is taken anew makes the party's next turn later."""
        for key, units in anew.items():
            rule = self.rule(key)
            if rule is not None and units:
                party = self.party(rule, grant.owner)
                turns = self.turns[rule.name]
                self.latest[rule.name] = max(self.latest[rule.name], turns.get(party, 0))
                counted = min(units, max(1, self.oracle.limit(key)))
                turns[party] = self.latest[rule.name] + counted * TURN // dict(rule.weights)[party]
