"""From one integer to a world: which machines, locks, builders, steps and faults exist is a matter of chance (swarm).

Locks, workers and builders fall into two families, parents and others. In some worlds the others also need what the
builds that wait for them may hold, and run where those do (L53); else only steps that trigger nobody use locks of both.
"""

from random import Random
from typing import Final

from msgspec import structs

from lockstep.core.nouns import Access, Alternative, LockKey, Need
from lockstep.core.state import slot_key
from lockstep.core.values import BuilderSetup, LockSetup, Stage, StepPlan, WorkerSetup
from lockstep.sim.groups import with_groups
from lockstep.sim.impatience import with_impatience
from lockstep.sim.looks import with_retries
from lockstep.sim.ordering import with_ordering
from lockstep.sim.people import with_keeping, with_people
from lockstep.sim.pools import with_pools
from lockstep.sim.scenario import (
    Act,
    Builder,
    Call,
    Command,
    Ending,
    Faults,
    Give,
    Machine,
    More,
    Nap,
    Note,
    Op,
    Scenario,
    Script,
    Take,
)
from lockstep.sim.sharing import with_sharing

HEAL: Final = 1200.0
RETRIES: Final = (7, 12)
"""Worlds (seeds modulo 23) whose units fall ill often, and are looked at again. None is one that other tests name."""
_ENDINGS: Final[tuple[Ending, ...]] = ("failure", "warnings", "exception", "skip", "retry once")


class _Draw:
    """One world being drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.r = Random(seed)
        self.machines: list[Machine] = []
        self.locks: list[LockSetup] = []
        self.scripts: dict[str, Script] = {}
        self.builders: list[Builder] = []
        self.triggers = self.r.random() < 0.35
        self.takes = self.r.random() < 0.4
        self.step_locks = self.r.random() < 0.6
        # Few locks, each build has one and its steps want another: rings close here.
        self.tangled = self.step_locks and self.r.random() < 0.4
        self.rendered = self.r.random() < 0.25
        self.collapse = self.r.random() < 0.3

    def scenario(self) -> Scenario:
        families = ("p", "c") if self.triggers else ("c",)
        for family in families:
            self._machines(family)
            self._locks(family)
        for family in reversed(families):
            for index in range(self.r.randint(1, 3)):
                self._builder(family, f"{family}-build{index}")
        return Scenario(
            seed=self.seed,
            machines=tuple(self.machines),
            locks=tuple(self.locks),
            builders=tuple(self.builders),
            scripts=self.scripts,
            acts=tuple(sorted(self._acts(), key=lambda act: act.at)),
            faults=self._faults(),
            heal=HEAL,
        )

    # --- what there is

    def _machines(self, family: str) -> None:
        for index in range(self.r.randint(1, 3)):
            lease = 0.0 if self.r.random() < 0.25 else self.r.choice((30.0, 60.0))
            setup = WorkerSetup(
                name=f"{family}-bot{index}", max_builds=self.r.choice((None, 3) if self.tangled else (None, 1, 2, 3))
            )
            self.machines.append(Machine(setup, lease))

    def _locks(self, family: str) -> None:
        for index in range(2 if self.tangled else self.r.randint(1, 3)):
            overtakes = self.r.choice((0, 1, 2, 8))
            limit = self.r.choice((1, 1, 1, 2, 3, 4))
            if self.r.random() < 0.3 and not self.tangled:
                for machine in self._of(family):
                    key = LockKey("worker", f"{family}-cpu{index}", machine)
                    self.locks.append(LockSetup(key, limit, overtakes))
            else:
                self.locks.append(LockSetup(LockKey("master", f"{family}-lock{index}"), limit, overtakes))

    def _of(self, family: str) -> list[str]:
        return [m.setup.name for m in self.machines if m.setup.name.startswith(family)]

    def _accesses(self, family: str, most: int, worker: str = "", names: list[str] | None = None) -> list[Access]:
        """Some accesses of the family's locks: on this worker, or (empty) master locks only."""
        found = [k for k in self.locks if k.key.name.startswith(family) and k.key.kind != "builddir"]
        if names is None:
            names = sorted({k.key.name for k in found if worker or k.key.kind == "master"})
            names = self.r.sample(names, min(len(names), 1 if self.tangled else self.r.randint(0, most)))
        result = []
        for lock in found:
            if lock.key.name in names and lock.key.worker in ("", worker):
                if self.r.random() < 0.4:
                    result.append(Access(lock.key, "exclusive"))
                else:
                    result.append(Access(lock.key, "counting", self.r.randint(1, lock.limit)))
        return result

    # --- builders and steps

    def _builder(self, family: str, name: str) -> None:
        workers = self._of(family)
        workers = self.r.sample(workers, self.r.randint(1, len(workers)))
        own = self._accesses(family, 2, workers[0])
        names = [access.lock.name for access in own]
        alternatives = []
        for worker in workers:
            place = LockKey("builddir", name, worker)
            self.locks.append(LockSetup(place, 1))
            accesses = self._accesses(family, 0, worker, names)
            accesses += [Access(slot_key(worker)), Access(place, "exclusive")]
            alternatives.append(Alternative(worker, tuple(accesses)))
        need = Need(tuple(alternatives))
        rendered = self.rendered and self.r.random() < 0.6
        setup = BuilderSetup(name=name, workers=tuple(workers), need=None if rendered else need, collapse=self.collapse)
        steps = tuple(self._script(family, f"{name}.{index}", names) for index in range(self.r.randint(1, 3)))
        self.builders.append(Builder(setup, steps, need, rendered))

    def _script(self, family: str, name: str, held: list[str], added: bool = False) -> str:
        calls = family == "p" and not added and self.r.random() < 0.5
        accesses: list[Access] = []
        takes: list[Access] = []
        if not calls:
            other = self.r.choice(("p", "c")) if self.triggers and family == "p" else family
            if self.step_locks and self.r.random() < 0.6:
                accesses = [a for a in self._accesses(other, 2) if a.lock.name not in held]
            if self.takes and self.r.random() < 0.5:
                used = {*held, *(a.lock.name for a in accesses)}
                takes = [a for a in self._accesses(other, 1) if a.lock.name not in used]
        ops = [self._call()] if calls else self._ops(family, name, held, takes, added)
        chance = self.r.random
        plan = StepPlan(
            name=name,
            haltOnFailure=chance() < 0.3,
            flunkOnFailure=chance() < 0.8,
            warnOnFailure=chance() < 0.2,
            alwaysRun=chance() < 0.25,
            replayable=chance() < 0.92,
            step_class=name,
        )
        ending: Ending = "success" if chance() < 0.75 else self.r.choice(_ENDINGS)
        self.scripts[name] = Script(plan, tuple(accesses), tuple(ops), ending)
        return name

    def _call(self) -> Op:
        others = [b.setup.name for b in self.builders if b.setup.name.startswith("c")]
        names = self.r.sample(others, self.r.randint(1, min(2, len(others))))
        return Call(tuple(names), self.r.random() < 0.75)

    def _ops(self, family: str, name: str, held: list[str], takes: list[Access], added: bool) -> list[Op]:
        ops: list[Op] = [self._command() for _ in range(self.r.randint(0, 2))]
        if self.r.random() < 0.3:
            ops.append(Note())
        if self.r.random() < 0.2:
            ops.append(Nap(self.r.uniform(1, 60)))
        if takes:
            ops += [Take(tuple(takes)), self._command()]
            if self.r.random() < 0.5:
                ops += [Give(), self._command()]
        if not added and self.r.random() < 0.15:
            where = self.r.choice(("after-current", "after-last"))
            more = self._script(family, f"{name}+", held, added=True)
            ops.append(More(more, "after-current" if where == "after-current" else "after-last"))
        return ops

    def _command(self) -> Command:
        count = 2 if self.r.random() < 0.15 else 1
        seconds = tuple(round(self.r.uniform(1, 60), 1) for _ in range(count))
        return Command(seconds, 1 if self.r.random() < 0.15 else 0)

    # --- what happens

    def _acts(self) -> list[Act]:
        r = self.r
        acts = []
        builders = [b.setup.name for b in self.builders]
        calm = r.random() < 0.15
        until = 0.08 if self.tangled else r.choice((0.08, 0.8))  # a crowd, or one after another
        for _ in range(r.randint(3, 25)):
            acts += [Act(self._when(until), "force", r.choice(builders), r.choice((0, 0, 0, 5, 9)))]
        wishes = [what for what in ("cancel", "stop", "priority", "pause", "limit", "reload") if r.random() < 0.5]
        for what in wishes if not calm else ():
            for _ in range(r.randint(1, 4)):
                acts += self._wish(what)
        faults = [what for what in ("crash", "cut", "restart", "die", "false", "break") if r.random() < 0.5]
        for what in faults if not calm else ():
            for _ in range(r.randint(1, 4)):
                acts.append(Act(self._when(0.95), what, r.choice(self.machines).setup.name, r.randint(0, 99)))
        return acts

    def _wish(self, what: str) -> list[Act]:
        r, at = self.r, self._when(0.9)
        if what == "pause":
            bot = r.choice(self.machines).setup.name
            return [Act(at, "pause", bot), Act(at + r.uniform(5, 200), "unpause", bot)]
        if what == "limit":
            lock = r.choice([k for k in self.locks if k.key.kind != "builddir"])
            return [Act(at, "limit", lock.key.name, r.randint(0, lock.limit + 1))]
        if what == "reload":
            names = [m.setup.name for m in self.machines] + [b.setup.name for b in self.builders]
            names += [k.key.name for k in self.locks if k.key.kind != "builddir"]
            return [Act(at, "reload", r.choice(names)), Act(at + r.uniform(5, 200), "reload")]
        return [Act(at, what, "", r.randint(0, 99))]

    def _when(self, until: float) -> float:
        return round(self.r.uniform(1, HEAL * until), 1)

    def _faults(self) -> Faults:
        r = self.r

        def some() -> float:
            return r.choice((0.0, 0.0, 0.05, 0.3))

        return Faults(doubled=some(), late=some(), again=some(), slow_disk=some(), slow_render=some())


def with_hooks(scenario: Scenario) -> Scenario:
    """The world with hooks that order and merge requests (L24a). They are drawn apart: all else is as without them."""
    r = Random(f"hooks {scenario.seed}")
    builders = []
    for builder in scenario.builders:
        setup = structs.replace(builder.setup, asked=r.random() < 0.5, collapse_asked=r.random() < 0.3)
        builders.append(structs.replace(builder, setup=setup))
    acts = list(scenario.acts)
    for _ in range(r.randint(2, 12)):
        at = round(r.uniform(1, HEAL * 0.9), 1)
        acts.append(Act(at, "rank", r.choice(builders).setup.name, r.randint(0, 99)))
    return structs.replace(scenario, builders=tuple(builders), acts=tuple(acts))


def with_leaving(scenario: Scenario) -> Scenario:
    """The world with agents that are stopped politely (decision 0034). Drawn apart, too."""
    r = Random(f"leaving {scenario.seed}")
    machines = [each.setup.name for each in scenario.machines if each.lease]
    acts = [
        Act(round(r.uniform(1, HEAL * 0.95), 1), "leave", r.choice(machines))
        for _ in range(r.randint(2, 8) if machines else 0)
    ]
    return structs.replace(scenario, acts=tuple(sorted((*scenario.acts, *acts), key=lambda act: act.at)))


def with_lending(scenario: Scenario) -> Scenario:
    """The world, if it has triggers, with children that need what their parents have. Drawn apart, too."""
    r = Random(f"lending {scenario.seed}")
    lent = [each for each in scenario.locks if each.key.kind == "master" and each.key.name.startswith("p-")]
    machines = [each.setup.name for each in scenario.machines if each.setup.name.startswith("p-")]
    locks, builders = list(scenario.locks), []
    for builder in scenario.builders:
        name = builder.setup.name
        if not machines or not name.startswith("c-"):
            builders.append(builder)
            continue
        modes = {each: r.random() < 0.4 for each in r.sample(lent, r.randint(0, min(2, len(lent))))}
        more = tuple(
            Access(each.key, "exclusive") if whole else Access(each.key, "counting", r.randint(1, each.limit))
            for each, whole in modes.items()
        )
        ways = [structs.replace(way, accesses=(*more, *way.accesses)) for way in builder.need.alternatives]
        for machine in r.sample(machines, r.randint(0, len(machines))):
            place = LockKey("builddir", name, machine)
            locks.append(LockSetup(place, 1))
            shared = (*more, Access(slot_key(machine)), Access(place, "exclusive"))
            ways.insert(r.randint(0, len(ways)), Alternative(machine, shared))
        need, workers = Need(tuple(ways)), tuple(way.worker for way in ways)
        setup = structs.replace(builder.setup, workers=workers, need=builder.setup.need and need)
        builders.append(structs.replace(builder, setup=setup, need=need))
    return structs.replace(scenario, locks=tuple(locks), builders=tuple(builders))


def with_plans(scenario: Scenario) -> Scenario:
    """The world with a configuration that knows what steps claim and trigger, but for what they take as they run."""
    builders = []
    for builder in scenario.builders:
        stages = []
        for number, name in enumerate(builder.steps, 1):
            script = scenario.scripts[name]
            children = tuple(child for op in script.ops if isinstance(op, Call) and op.wait for child in op.builders)
            need = Need((Alternative("", script.accesses),)) if script.accesses else None
            if need is not None or children:
                stages.append(Stage(number=number, name=name, need=need, children=children))
        setup = structs.replace(builder.setup, stages=tuple(stages), known=builder.need if builder.rendered else None)
        builders.append(structs.replace(builder, setup=setup))
    return structs.replace(scenario, builders=tuple(builders))


def draw(seed: int) -> Scenario:
    """The world of this seed: always the same."""
    scenario = _Draw(seed).scenario()
    if seed % 2:
        scenario = with_lending(scenario)
    if seed % 17 == 2 or seed % 23 in RETRIES:
        scenario = with_retries(with_pools(scenario), anew=seed % 23 in RETRIES)
    if seed % 3 == 0:
        scenario = with_plans(scenario)
    if seed % 4 == 0:
        scenario = with_hooks(scenario)
    if seed % 19 in (2, 16, 18):  # none of these is a world that a test names
        scenario = with_leaving(scenario)
    if seed % 6 == 2:
        scenario = with_groups(scenario)
    if seed % 10 == 7:
        scenario = with_keeping(scenario)
    if seed % 7 == 3:
        scenario = with_impatience(scenario)
    if seed % 8 == 5:
        scenario = with_ordering(scenario)
    if seed % 13 == 6:
        scenario = with_sharing(scenario)
    return with_people(scenario, HEAL) if seed % 5 == 1 else scenario
