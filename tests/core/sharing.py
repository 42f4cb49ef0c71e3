"""Random worlds in which projects have locks, pools and workers by weight.

A subclass draws after the plain world has drawn, so that the plain worlds of a seed stay what they are.
"""

from lockstep.core.nouns import Claim, LockKind
from lockstep.core.values import ShareRule

from .planned import PlannedWorld
from .pooled import PooledWorld
from .worlds import Event, World

PROJECTS = ("", "apps", "docs", "firmware")


class SharedWorld(World):
    """A world whose claims are of projects, and some of whose locks are shared by weight."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.rules = self.some_rules()

    def some_rules(self) -> tuple[ShareRule, ...]:
        draw = self.random
        names: list[tuple[LockKind, str]] = [
            *((key.kind, key.name) for key in self.locks),
            *(("pool", pool) for pool in getattr(self, "pools", ())),
            ("worker", "disk"),
        ]
        workers = list(self.workers)
        rules = []
        for number in range(draw.choice((1, 1, 2, 3))):
            taken = draw.sample(names, min(len(names), draw.choice((1, 1, 1, 2))))
            names = [each for each in names if each not in taken]
            mine = tuple(draw.sample(workers, min(len(workers), draw.choice((0, 0, 1, 2)))))
            workers = [each for each in workers if each not in mine]
            weights = {project: draw.choice((1, 1, 2, 3, 7)) for project in PROJECTS if draw.random() < 0.6}
            weights["*"] = draw.choice((1, 2))
            rules.append(ShareRule(f"s{number}", tuple(sorted(weights.items())), tuple(taken), mine))
        return tuple(rules)

    def begin(self) -> list[Event]:
        return [*super().begin(), ("set_shares", (self.rules,))]

    def submitted(self, claim: Claim) -> list[Event]:
        events = super().submitted(claim)
        if claim.owner == claim.ticket:
            events = [("set_project", (claim.owner, self.random.choice(PROJECTS))), *events]
        return events

    def next(self) -> list[Event]:
        events = super().next()
        if self.random.random() < 0.03:
            events.append(("set_shares", (self.random.choice((self.some_rules(), self.rules)),)))
        if self.random.random() < 0.05:
            owners = [*self.builds, *(ticket for ticket, claim in self.waiting.items() if claim.owner == ticket)]
            if owners:
                events.append(("set_project", (self.random.choice(owners), self.random.choice(PROJECTS))))
        return events


class SharedPoolWorld(SharedWorld, PooledWorld):
    """The same with pools."""


class SharedPlannedWorld(SharedWorld, PlannedWorld):
    """The same where grants are withheld (L51)."""
