"""Worlds in which steps hold locks together, and give some back before their end; and how long such a hold may live."""

from random import Random

from msgspec import structs

from lockstep.core import facts as f
from lockstep.core.nouns import Access
from lockstep.core.values import StepPlan
from lockstep.sim.faults import demand
from lockstep.sim.scenario import Builder, Command, Return, Scenario, Script


class GroupsWatch:
    """The plans of running builds, and the claims that are made for several steps."""

    def __init__(self) -> None:
        self.plans: dict[int, list[StepPlan]] = {}
        self.halted: set[int] = set()
        self.broken: set[int] = set()
        self.shared: dict[int, tuple[int, int]] = {}
        self.current: dict[int, int] = {}
        self.early: tuple[int, tuple[int, int], str] | None = None

    def see(self, fact: f.Fact) -> None:
        """A fact. A hold that ends too early must be that of a step that is put back, which is told next."""
        if self.early is not None:
            ticket, self.shared[ticket], text = self.early
            self.early = None
            demand(isinstance(fact, f.StepPutBack) and fact.ticket == ticket, text)
        match fact:
            case f.BuildPlanKept():
                self.plans[fact.buildid] = list(fact.plans)
            case f.StepsAdded():
                self.plans[fact.buildid][fact.at - 1 : fact.at - 1] = fact.plans
            case f.StepStarted():
                self.current[fact.buildid] = fact.number
                if fact.shared:
                    self.shared[fact.ticket] = (fact.buildid, self.plans[fact.buildid][fact.number - 1].group)
            case f.HoldEnded() if fact.ticket in self.shared:
                buildid, group = self.shared.pop(fact.ticket)
                goes_on = self._goes_on(buildid, group, self.current[buildid]) and buildid not in self.broken
                text = f"hold {fact.hold} of group {group} of build {buildid} ends before its last step"
                self.early = (fact.ticket, (buildid, group), text) if goes_on else None
            case f.StepEnded() if fact.halted:
                self.halted.add(fact.buildid)
            case f.BuildStopping():
                self.halted.add(fact.buildid)
                if fact.broken:
                    self.broken.add(fact.buildid)

    def stays(self, buildid: int, ticket: int, at: tuple[int, bool]) -> bool:
        """Whether what was claimed with this ticket may be held still; `at`: the step that runs, or ran last."""
        _, group = self.shared.get(ticket, (0, 0))
        if not group:
            return False
        number, running = at
        inside = self.plans[buildid][number - 1].group == group or buildid in self.halted
        return self._goes_on(buildid, group, number) or (running and inside) or buildid in self.broken

    def _goes_on(self, buildid: int, group: int, number: int) -> bool:
        left = [plan for plan in self.plans[buildid][number:] if plan.alwaysRun or buildid not in self.halted]
        return any(plan.group == group for plan in left)


# --- drawing


def with_groups(scenario: Scenario) -> Scenario:
    """The world with steps that hold locks together. They are drawn apart: all else is as without them."""
    r = Random(f"groups {scenario.seed}")
    scripts = dict(scenario.scripts)
    builders = [_grouped(r, scenario, builder, scripts) for builder in scenario.builders]
    for name, script in scripts.items():
        if len(script.accesses) > 1 and r.random() < 0.5:
            some = r.choice(script.accesses).lock
            ops = (*script.ops, Return(some), Command((round(r.uniform(1, 30), 1),)))
            scripts[name] = structs.replace(script, ops=ops)
    return structs.replace(scenario, builders=tuple(builders), scripts=scripts)


def _grouped(r: Random, scenario: Scenario, builder: Builder, scripts: dict[str, Script]) -> Builder:
    """Some of a builder's steps get a lock together that neither it nor they have."""
    family = builder.setup.name[0]
    held = {access.lock.name for each in builder.need.alternatives for access in each.accesses}
    locks = [k for k in scenario.locks if k.key.kind == "master" and k.key.name[0] == family and k.key.name not in held]
    if not locks or r.random() < 0.2:
        return builder
    lock = r.choice(locks)
    access = Access(lock.key, "exclusive") if r.random() < 0.5 else Access(lock.key, "counting", lock.limit)
    first = r.randrange(len(builder.steps))
    for name in builder.steps[first : first + r.randint(1, 3)]:
        script = scripts[name]
        own = tuple(a for a in script.accesses if a.lock != lock.key)
        plan = structs.replace(script.plan, group=first + 1)
        scripts[name] = structs.replace(script, plan=plan, accesses=own)
    return structs.replace(builder, locked=(access,))
