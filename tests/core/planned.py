"""Random worlds in which the allocator knows what each build may still claim (L51): builds nest locks and builds.

In a `PlannedWorld` no build claims what it did not say before: so no ring may ever close, and all that can end must
end. In a `ChangingWorld` not all is known, and what is known changes: rings close, and still all must end.
"""

from typing import Any

from msgspec.structs import replace

from lockstep.core.alloc_facts import Granted
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Claim, LockKey, Need
from lockstep.core.values import BuilderSetup, Stage

from .worlds import Event, World


class PlannedWorld(World):
    """A world of a few builders. `stage_of` is how far each running build is."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.has = dict.fromkeys(self.has, False) | {"triggers": self.random.random() < 0.5}
        self.has["retries"] = self.random.random() < 0.3
        self.locks = [LockKey("master", f"l{n}") for n in range(self.random.randint(2, 4))]
        self.workers = ["w0", "w1"][: self.random.randint(0, 2)]
        self.limits = {key: self.random.choice((1, 1, 2, 3)) for key in self.locks}
        self.plans: dict[str, BuilderSetup] = {}
        for index in range(self.random.randint(2, 4)):
            plan = self.plan(f"b{index}")
            self.plans[plan.name] = plan
        if self.random.random() < 0.3:  # two that need the same and go on otherwise (L45)
            one, *_, other = self.plans.values()
            stages = tuple(stage for stage in one.stages if self.random.random() < 0.5)
            self.plans[other.name] = replace(other, need=one.need, stages=stages)
        self.needs = [plan.planned for plan in self.plans.values()]
        self.builder_of: dict[int, str] = {}
        self.stage_of: dict[int, int] = {}
        self.locks_of: dict[int, list[LockKey]] = {}
        self.rendering: dict[int, str] = {}

    def some_of(self, keys: list[LockKey], least: int) -> tuple[Access, ...]:
        found = []
        for key in self.random.sample(keys, self.random.randint(min(least, len(keys)), min(2, len(keys)))):
            whole = self.random.random() < 0.5
            found.append(
                Access(key, "exclusive") if whole else Access(key, "counting", self.random.randint(1, self.limits[key]))
            )
        return tuple(found)

    def plan(self, name: str) -> BuilderSetup:
        own = self.some_of(self.locks, 0)
        left = [key for key in self.locks if key not in {access.lock for access in own}]
        ways = [Alternative(w, (*own, Access(LockKey("slot", "", w)))) for w in self.workers] or [Alternative("", own)]
        stages = []
        for number in range(1, self.random.randint(1, 3) + 1):
            known = list(self.plans)
            if self.has["triggers"] and known and self.random.random() < 0.4:
                children = tuple(self.random.choices(known, k=self.random.choice((1, 1, 2))))
                stages.append(Stage(number=number, name=f"{name}.{number}", children=children))
            elif left and self.random.random() < 0.8:
                claimed = Need((Alternative("", self.some_of(left, 1)),))
                stages.append(Stage(number=number, name=f"{name}.{number}", need=claimed))
        return BuilderSetup(name=name, workers=tuple(self.workers), need=Need(tuple(ways)), stages=tuple(stages))

    # --- events

    def begin(self) -> list[Event]:
        events: list[Event] = [("set_lock", (key, limit, self.max_overtakes)) for key, limit in self.limits.items()]
        events += [("set_lock", (LockKey("slot", "", w), self.random.randint(1, 2), 8)) for w in self.workers]
        return [*events, ("set_plans", (self.plans,))]

    def next(self) -> list[Event]:
        self.left -= 1
        events: list[Event] = []
        for _ in range(self.random.choice((1, 1, 2, 3))):
            makers = (self.arrive, self.finish, self.go_on, self.give_part, self.cancel)
            events += self.random.choices(makers, (5, 5, 6, 1, 0.5))[0]()
        return events

    def note(self, decisions: list[Any]) -> list[Event]:
        for each in decisions:
            if isinstance(each, Granted) and each.owner != each.ticket:
                self.locks_of[each.hold] = [access.lock for access in each.alternative.accesses]
        return super().note(decisions)

    def give_part(self) -> list[Event]:
        """A step gives one of its locks back early."""
        holds = [hold for hold in self.extra if self.locks_of[hold]]
        if not holds:
            return []
        hold = self.random.choice(holds)
        given = self.locks_of[hold].pop(self.random.randrange(len(self.locks_of[hold])))
        return [("give_back", (hold, {given}))]

    def request(self, name: str, **more: Any) -> list[Event]:
        ticket = self.number()
        self.builder_of[ticket] = name
        return self.claimed(ticket, **more)

    def claimed(self, ticket: int, **more: Any) -> list[Event]:
        name = self.builder_of[ticket]
        need = self.plans[name].need
        assert need is not None
        told = bool(self.course(ticket)) and self.random.random() < 0.5
        events = self.submitted(Claim(ticket, need, ticket, 0, ticket, plan=name if told else "", **more))
        return events if told else [*events, *self.course(ticket)]

    def course(self, owner: int, waited: bool = False) -> list[Event]:
        """How far a build is."""
        return [("set_course", (owner, self.builder_of[owner], self.stage_of.get(owner, 0), waited))]

    def arrive(self) -> list[Event]:
        return self.request(self.random.choice(list(self.plans))) if len(self.waiting) < 15 else self.finish()

    def announce(self, name: str, parent: int) -> list[Event]:
        """A child whose locks are to be rendered first."""
        ticket = self.number()
        self.rendering[ticket] = self.builder_of[ticket] = name
        return [("tick", (ticket,)), ("child_waits", (parent, ticket)), *self.course(ticket)]

    def render(self) -> list[Event]:
        """The locks of a child are known. If its parent has ended, nobody wants it any more."""
        ticket = self.random.choice(list(self.rendering))
        del self.rendering[ticket]
        return self.claimed(ticket, parent=self.children[ticket]) if ticket in self.children else []

    @property
    def running(self) -> bool:
        return super().running or bool(self.rendering)

    def go_on(self) -> list[Event]:
        """A build comes to its next step."""
        if self.rendering and self.random.random() < 0.4:
            return self.render()
        free = [owner for owner in self.builds if owner not in self.busy]
        if not free:
            return []
        owner = self.random.choice(free)
        name = self.builder_of[owner]
        number = self.stage_of[owner] = self.stage_of.get(owner, 0) + 1
        events = self.course(owner)
        for stage in self.plans[name].stages:
            if stage.number != number:
                continue
            self.busy.add(owner)
            if stage.need is not None:
                ticket = self.number()
                events += self.submitted(Claim(ticket, stage.need, owner, STEP_LEVEL, ticket))
            for child in stage.children:
                unknown = self.random.random() < 0.2
                events += self.announce(child, owner) if unknown else self.request(child, parent=owner)
                self.children[self.counter] = owner
                self.kin.setdefault(self.counter, set()).add(owner)
        return events

    def finish(self) -> list[Event]:
        """A step ends, or a build that is through; some end early."""
        free = [owner for owner in self.builds if owner not in self.busy]
        through = [owner for owner in free if self.stage_of.get(owner, 0) >= 3 or self.random.random() < 0.1]
        if through and (not self.extra or self.random.random() < 0.5):
            return self.end_build(self.random.choice(through))
        return super().finish() if self.extra and self.random.random() < 0.9 else self.go_on()

    def cancel(self) -> list[Event]:
        parents = set(self.children.values())
        return [*super().cancel(), *self.have_waited(parents)]

    def have_waited(self, parents: set[int]) -> list[Event]:
        """Those of these builds that wait for no child any more say so."""
        done = [parent for parent in sorted(parents - set(self.children.values())) if parent in self.builds]
        return [event for parent in done for event in self.course(parent, waited=True)]

    def end_build(self, owner: int) -> list[Event]:
        self.stage_of.pop(owner, None)
        parents = set(self.children.values())
        events = [*super().end_build(owner), *self.have_waited(parents)]
        if owner in self.waiting:
            events += self.course(owner)
        return events


class ChangingWorld(PlannedWorld):
    """One in which the allocator knows no, false or other stages of some builders, and then others again (reloads)."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.has["triggers"] = self.has["triggers"] or self.random.random() < 0.5
        self.known: dict[str, BuilderSetup] = {}
        self.learn()

    def learn(self) -> None:
        self.known = {}
        for name, plan in self.plans.items():
            kind = self.random.random()
            if kind < 0.6:
                self.known[name] = plan
            elif kind < 0.8:
                stages = tuple(stage for stage in plan.stages if self.random.random() < 0.5)
                self.known[name] = BuilderSetup(name=name, workers=plan.workers, need=plan.need, stages=stages)

    def begin(self) -> list[Event]:
        return [*super().begin()[:-1], ("set_plans", (self.known,))]

    def next(self) -> list[Event]:
        events = super().next()
        makers = {self.reload: 0.08, self.leave: 0.05, self.change_need: 0.08, self.change_limit: 0.05}
        return [
            *events,
            *(event for maker, often in makers.items() if self.random.random() < often for event in maker()),
        ]

    def leave(self) -> list[Event]:
        """A build waits for one of its children no more."""
        if not self.children:
            return []
        child = self.random.choice(list(self.children))
        parents = {self.children.pop(child)}
        self.rest(*parents)
        return [("forget_parent", (child,)), *self.have_waited(parents)]

    def reload(self) -> list[Event]:
        self.learn()
        events: list[Event] = [("set_plans", (self.known,))]
        owners = [*self.builds, *(ticket for ticket, claim in self.waiting.items() if claim.owner == ticket)]
        owners += [ticket for ticket in self.rendering if ticket in self.children]
        waited = {owner: owner not in self.children.values() for owner in owners}
        return [*events, *(event for owner in owners for event in self.course(owner, waited[owner]))]

    def course(self, owner: int, waited: bool = False) -> list[Event]:
        return super().course(owner, waited) if self.builder_of[owner] in self.known else []

    def go_on(self) -> list[Event]:
        events = super().go_on()
        free = [owner for owner in self.builds if owner not in self.busy]
        if free and self.random.random() < 0.2:  # a step with locks that nobody knew of
            owner = self.random.choice(free)
            self.busy.add(owner)
            ticket = self.number()
            claimed = Need((Alternative("", self.some_of(self.locks, 1)),))
            events += self.submitted(Claim(ticket, claimed, owner, STEP_LEVEL, ticket))
        return events
