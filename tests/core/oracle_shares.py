"""The dumb one beside `alloc_shares.py`: who comes when, where projects have locks by weight (decision 0032).

Everything is counted anew each time, from the holds; only whose turn it is, is kept.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

from lockstep.core.alloc_facts import Granted
from lockstep.core.nouns import Claim, LockKey
from lockstep.core.values import ShareRule

if TYPE_CHECKING:
    from .oracle import Oracle

TURN = 720_720


class Weights:
    """The shares, the projects, and the turns."""

    def __init__(self, oracle: "Oracle") -> None:
        self.oracle = oracle
        self.standings: dict[int, tuple[bool, int, int]] = {}
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
        return {*self.oracle.limits, *self.oracle.needed(), *self.oracle.units.views}

    def standing(self, claim: Claim) -> tuple[bool, int, int]:
        """Whether the claim comes after those below their share; the same as a matter of order only; and its turn.

        It is the same until the next grant.
        """
        known = self.standings.get(claim.ticket)
        if known is None:
            known = self.standings[claim.ticket] = self.standing_now(claim)
        return known

    def standing_now(self, claim: Claim) -> tuple[bool, int, int]:
        """The same, counted anew."""
        if claim.since < 0:
            return False, 0, 0
        mine = self.oracle.eldest(claim.owner)
        over, turn = False, 0
        for rule in self.concerned(claim):
            party = self.party(rule, mine)
            members = [key for key in self.known() if rule.names(key) and not key.where]
            units = 0
            for key in members:
                for top, count in self.used_by(key).items():
                    older = top < claim.ticket or mine != claim.ticket
                    if top != mine and older and self.party(rule, top) == party:
                        units += count
            weights = dict(rule.weights)
            most = sum(self.oracle.limit(key) for key in members)
            over = over or not (units < Fraction(weights[party], sum(weights.values())) * most or not most)
            turns = {each: max(self.latest[rule.name], self.turns[rule.name].get(each, 0)) for each in weights}
            turn = max(turn, sorted(set(turns.values())).index(turns[party]))
        return (over, 0, turn) if mine == claim.ticket else (False, int(over), turn)

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
