"""Worlds in which projects have locks and workers by weight; and what must hold there (L93).

What must hold is said from facts alone: whose project has its share is not granted before somebody who has less and
could be granted. Where somebody waits for children, or has something kept free, it is not looked at.
"""

from fractions import Fraction
from random import Random

from msgspec import structs

from lockstep.core import facts as f
from lockstep.core.nouns import Access, LockKey, LockKind, Need
from lockstep.core.values import Setup, ShareRule
from lockstep.sim.faults import demand
from lockstep.sim.scenario import Scenario

PROJECTS = ("", "apps", "docs", "tools")

Had = list[tuple[int, Access]]
"""Owners and what they hold."""

Others = list[tuple[int, Need]]
"""Tickets and what is needed."""


class SharesWatch:
    """What is shared, of which project each request is, and who is a barrier."""

    def __init__(self) -> None:
        self.setup = Setup()
        self.builders: dict[int, str] = {}
        self.barriers: set[int] = set()

    def see(self, fact: f.Fact) -> None:
        """A fact."""
        match fact:
            case f.SetupChanged(setup=setup):
                self.setup = setup
            case f.RequestAdded(ticket=ticket, builder=builder):
                self.builders[ticket] = builder
            case f.ClaimPinned(ticket=ticket, alternative=alternative):
                (self.barriers.add if alternative >= 0 else self.barriers.discard)(ticket)
            case f.ClaimGranted(ticket=ticket) | f.ClaimDropped(ticket=ticket):
                self.barriers.discard(ticket)

    def concerned(self, need: Need) -> list[ShareRule]:
        """The shares of which something is needed."""
        locks = {access.lock for each in need.alternatives for access in each.accesses}
        return [rule for rule in self.setup.shares if any(map(rule.names, locks))]

    def party(self, rule: ShareRule, owner: int) -> str:
        """Who somebody is at a share."""
        builder = self.builders.get(owner, "")
        project = next((each.project for each in self.setup.builders if each.name == builder), "")
        return project if project in dict(rule.weights) else "*"

    def has_its_share(self, rule: ShareRule, ticket: int, limits: dict[LockKey, int], had: Had) -> bool:
        """Whether a request's party has its share; if it is a barrier, by what builds have that are older."""
        party, weights = self.party(rule, ticket), dict(rule.weights)
        units = 0
        for owner, access in had:
            counts = owner < ticket or ticket not in self.barriers
            if rule.names(access.lock) and counts and self.party(rule, owner) == party:
                units += access.count if access.mode == "counting" else max(1, limits.get(access.lock, 0))
        most = sum(limit for lock, limit in limits.items() if rule.names(lock))
        return most > 0 and not units < Fraction(weights[party] * most, sum(weights.values()))

    def granted(self, ticket: int, need: Need, others: Others, limits: dict[LockKey, int], had: Had) -> None:
        """A request that begins is granted; `others` that begin could be, too, and need what they need."""
        full = [rule for rule in self.concerned(need) if self.has_its_share(rule, ticket, limits, had)]
        if self.barriers - {ticket} or not full:
            return
        for other, wanted in others:
            rules = self.concerned(wanted)
            has = any(self.has_its_share(rule, other, limits, had) for rule in rules)
            told = f"claim {ticket} has its share, and is granted before claim {other}, which fits and has less (L93)"
            demand(has or not any(rule in full for rule in rules), told)


def with_sharing(scenario: Scenario) -> Scenario:
    """The world with projects and shares. They are drawn apart: all else is as without them."""
    r = Random(f"sharing {scenario.seed}")
    builders = tuple(
        structs.replace(builder, setup=structs.replace(builder.setup, project=r.choice(PROJECTS)))
        for builder in scenario.builders
    )
    locks: list[tuple[LockKind, str]] = sorted(
        {(k.key.kind, k.key.name) for k in scenario.locks if k.key.kind in ("master", "worker")}
    )
    workers = [machine.setup.name for machine in scenario.machines]
    shares = []
    for number in range(r.choice((1, 1, 2))):
        mine = tuple(r.sample(locks, min(len(locks), r.choice((1, 1, 2)))))
        locks = [lock for lock in locks if lock not in mine]
        slots = tuple(r.sample(workers, min(len(workers), r.choice((0, 0, 1, 2)))))
        workers = [name for name in workers if name not in slots]
        weights = {project: r.choice((1, 1, 2, 5)) for project in PROJECTS if r.random() < 0.7} | {"*": 1}
        shares.append(ShareRule(f"s{number}", tuple(sorted(weights.items())), mine, slots))
    return structs.replace(scenario, builders=builders, shares=tuple(shares))
