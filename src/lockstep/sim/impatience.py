"""Worlds in which not everybody waits: few may, or not for long, or not at all; and what must hold there.

What must hold is said from facts alone: nobody waits who may not, and who has waited too long has gone.
"""

from random import Random
from typing import TYPE_CHECKING

from msgspec import structs

from lockstep.core import facts as f
from lockstep.core.facts import Numbered
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Need, Patience, Result
from lockstep.core.values import QueueRule
from lockstep.sim.faults import demand
from lockstep.sim.grants_watch import Wait
from lockstep.sim.scenario import Builder, Scenario

if TYPE_CHECKING:
    from lockstep.sim.watch import Watch

LATE = 240.0
"""A server may be down, and a timer late, for so many seconds."""


class ImpatienceWatch:
    """Since when each claim waits, and which rules there are."""

    def __init__(self, watch: "Watch") -> None:
        self.watch = watch
        self.rules: tuple[QueueRule, ...] = ()
        self.began: dict[tuple[str, int], float] = {}

    def see(self, one: Numbered) -> None:
        """A fact."""
        match one.fact:
            case f.SetupChanged(setup=setup):
                self.rules = setup.queues
                for key in self.began:
                    self.began[key] = one.at  # what it waits for may be another thing from now on
            case f.RequestAdded(brid=brid) | f.RequestPutBack(brid=brid) | f.NeedSet(brid=brid):
                self.began["request", brid] = one.at
            case f.BuilderRanked():
                for key in self.began:
                    self.began[key] = one.at
            case f.StepStarted(ticket=ticket) | f.StepPutBack(ticket=ticket):
                self.began["step", ticket] = one.at

    def check(self, now: float) -> None:
        """After a decision: nobody waits who may not."""
        waits = list(self.watch.waiting.values())
        for rule in self.rules:
            crowd = [wait.ticket for wait in waits if self._is_request(wait) and _names(wait.need, rule)]
            demand(len(crowd) <= rule.most, f"{crowd} wait for {rule.name}, and {rule.most} may")
        for wait in waits:
            demand(not self._unwilling(wait), f"claim {wait.ticket} waits for a lock that it does not wait for")
            began = self.began.get(self._key(wait))
            most = _longest(wait.need)
            if began is not None and most:
                demand(now - began < most + LATE, f"claim {wait.ticket} waits for {now - began} of at most {most} s")

    def _is_request(self, wait: Wait) -> bool:
        return self.watch.where[wait.ticket][0] == "request"

    def _key(self, wait: Wait) -> tuple[str, int]:
        kind, subject, _, _ = self.watch.where[wait.ticket]
        return (kind, wait.ticket if wait.level == STEP_LEVEL else subject)

    def _unwilling(self, wait: Wait) -> bool:
        """Whether each alternative whose worker is there lacks a lock that the claim does not wait for."""
        lacks = []
        for each in wait.need.alternatives:
            own = [access for access in each.accesses if access.patience is not None and access.patience.skip]
            others = [access for access in each.accesses if access not in own]
            if all(self.watch.limit(access.lock) >= access.count for access in others):
                lacks.append(any(not self.watch.has_room(wait.owner, access, {}) for access in own))
        return bool(lacks) and all(lacks)


def _names(need: Need, rule: QueueRule) -> bool:
    named = [
        any((a.lock.kind, a.lock.name) == (rule.kind, rule.name) for a in each.accesses) for each in need.alternatives
    ]
    return bool(named) and all(named)


def _longest(need: Need) -> float:
    """For how long a claim waits at most, 0: for ever."""
    ends = [
        min((a.patience.seconds for a in each.accesses if a.patience is not None and a.patience.seconds), default=0.0)
        for each in need.alternatives
    ]
    return max(ends) if ends and all(ends) else 0.0


# --- drawing


def with_impatience(scenario: Scenario) -> Scenario:
    """The world with rules for who waits. They are drawn apart: all else is as without them."""
    r = Random(f"impatience {scenario.seed}")
    sorts = sorted({(k.key.kind, k.key.name) for k in scenario.locks if k.key.kind in ("master", "worker")})
    chosen = {name: _patience(r) for _, name in sorts if r.random() < 0.6}
    queues = tuple(
        QueueRule(kind, name, r.choice((0, 1, 1, 2, 4)), r.random() < 0.4) for kind, name in sorts if r.random() < 0.5
    )

    def impatient(accesses: tuple[Access, ...]) -> tuple[Access, ...]:
        known = [structs.replace(a, patience=chosen.get(a.lock.name)) for a in accesses]
        return tuple(
            new if new.lock.kind in ("master", "worker") else old for old, new in zip(accesses, known, strict=True)
        )

    def needed(need: Need) -> Need:
        return Need(tuple(Alternative(each.worker, impatient(each.accesses)) for each in need.alternatives))

    builders: list[Builder] = []
    for builder in scenario.builders:
        setup = builder.setup
        if setup.need is not None:
            setup = structs.replace(setup, need=needed(setup.need))
        builders.append(structs.replace(builder, setup=setup, need=needed(builder.need)))
    scripts = {name: structs.replace(s, accesses=impatient(s.accesses)) for name, s in scenario.scripts.items()}
    return structs.replace(scenario, builders=tuple(builders), scripts=scripts, queues=queues)


def _patience(r: Random) -> Patience:
    if r.random() < 0.4:
        return Patience(Result.SKIPPED, skip=True)
    return Patience(r.choice((Result.FAILURE, Result.WARNINGS, Result.SKIPPED)), round(r.uniform(2, 120), 1))
