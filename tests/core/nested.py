"""Random set-ups whose builds nest locks, LockedSteps and triggered builds, driven through the whole core.

Steps are skipped, fail, run because they always do, and builds are stopped. What a build may claim is known beforehand
(its stages), so no ring may close unless somebody stops a build; and whatever happens, all must end.
"""

import random
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import Access, Alternative, Need, Result
from lockstep.core.records import Build, Step
from lockstep.core.values import BuilderSetup, Setup, Stage, StepPlan, WorkerSetup

from .driving import Hand, builder, plan, setup, submission, use, whole

Move = Callable[[], object]


class Drawn(Struct):
    """A step: what it claims itself, what its group claims, whom it waits for, and whether it is never skipped."""

    plan: StepPlan
    own: tuple[Access, ...]
    shared: tuple[Access, ...]
    children: tuple[str, ...]
    sure: bool


class Nested:
    """One set-up, the hand that drives it, and what happens there by chance."""

    def __init__(self, seed: int, *, stops: bool = False) -> None:
        self.random = random.Random(seed)
        self.stops = stops
        self.triggers, self.cleans = self.random.choice((0, 0.3, 0.5)), self.random.random() < 0.5
        self.limits = {f"l{n}": self.random.choice((1, 1, 1, 2)) for n in range(self.random.randint(2, 4))}
        self.workers = [f"w{n}" for n in range(self.random.randint(1, 3))]
        self.steps: dict[str, list[Drawn]] = {}
        self.hand = Hand(self.setup(), connect=self.workers)
        self.requests = 0

    # --- the set-up

    def setup(self) -> Setup:
        builders = [self.builder(f"b{n}") for n in range(self.random.randint(2, 4))]
        workers = tuple(WorkerSetup(name=name, max_builds=self.random.choice((1, 2, 2))) for name in self.workers)
        return setup(*builders, limits=self.limits, workers=workers)

    def access(self, name: str) -> Access:
        return whole(name) if self.random.random() < 0.5 else use(name, count=self.random.randint(1, self.limits[name]))

    def some(self, names: list[str], most: int) -> tuple[Access, ...]:
        return tuple(self.access(name) for name in self.random.sample(names, min(most, len(names))))

    def builder(self, name: str) -> BuilderSetup:
        own = self.some(list(self.limits), self.random.choice((0, 1, 1)))
        left = [each for each in self.limits if each not in names(own)]
        group, more, shared = 0, 0, ()
        drawn: list[Drawn] = []
        for number in range(1, self.random.randint(1, 4) + 1):
            if not more and left and self.random.random() < 0.5:
                group, more, shared = group + 1, self.random.randint(1, 3), self.some(left, 1)
            drawn.append(self.step(number, left, group if more else 0, shared if more else ()))
            more = max(0, more - 1)
        made = builder(
            name, *own, workers=tuple(self.random.sample(self.workers, self.random.randint(1, len(self.workers))))
        )
        self.steps[name] = drawn
        return replace(made, stages=tuple(stages(drawn)))

    def step(self, number: int, left: list[str], group: int, shared: tuple[Access, ...]) -> Drawn:
        free = [each for each in left if each not in names(shared)]
        known = list(self.steps)
        waits = known and self.random.random() < self.triggers
        return Drawn(
            plan=plan(f"s{number}", group=group, alwaysRun=self.cleans and self.random.random() < 0.3),
            own=self.some(free, self.random.choice((0, 1, 1, 2))),
            shared=shared,
            children=tuple(self.random.choices(known, k=self.random.choice((1, 2)))) if waits else (),
            sure=self.random.random() < 0.7,
        )

    # --- what may happen next

    def moves(self) -> list[Move]:
        found = [self.move(build) for build in self.hand.state.builds.values()]
        return [move for move in found if move is not None]

    def move(self, build: Build) -> Move | None:
        hand, state = self.hand, self.hand.state
        if not build.steps and not build.broken:
            return lambda: hand.planned(build.buildid, *(drawn.plan for drawn in self.steps[build.builder]))
        if build.broken:
            return None
        step = build.steps[build.current - 1] if build.current else None
        if step is not None and step.state == "running":
            return self.act(build, step)
        following = state.next_step(build)
        waits = any(bsid in state.buildsets for bsid in state.children.get(build.buildid, ()))
        if (step is not None and step.state != "ended") or following is None or waits:
            return None
        return lambda: self.prepare(build, following)

    def act(self, build: Build, step: Step) -> Move | None:
        """What a running step does: trigger and wait, or end."""
        children = self.steps[build.builder][step.number - 1].children
        if children and not step.calls and not step.interrupted:
            call = c.StartBuilds(
                (submission(*children),) if len(set(children)) == len(children) else tuple(map(submission, children)),
                wait=True,
            )
            return lambda: self.hand.call(build.buildid, call)
        if not step.interrupted and any(record.state != "ended" for record in step.calls.values()):
            return None
        result = self.random.choice((Result.SUCCESS, Result.SUCCESS, Result.SUCCESS, Result.FAILURE))
        result = Result.CANCELLED if step.interrupted else result
        return lambda: self.hand.finished(build.buildid, step.number, result)

    def prepare(self, build: Build, step: Step) -> None:
        drawn = self.steps[build.builder][step.number - 1]
        if not drawn.sure and self.random.random() < 0.5:
            self.hand.prepared(build.buildid, step.number, result=Result.SKIPPED)
            return
        opener = self.hand.state.opener(build)
        shared = drawn.shared if opener is None or opener.plan.group != step.plan.group else ()
        keys = tuple(access.lock for access in shared)
        self.hand.prepared(build.buildid, step.number, *drawn.own, *shared, shared=keys)

    # --- a life

    def live(self) -> str:
        """Let it all happen until everything has ended. What went wrong, or nothing."""
        for _ in range(80):
            moves, chance = self.moves(), self.random.random()
            if chance < 0.25 and len(self.hand.state.requests) < 10:
                self.hand.force(self.random.choice(list(self.steps)))
            elif chance < 0.28 and self.stops and self.hand.state.builds:
                self.hand.put(e.StopAsked(buildid=self.random.choice(list(self.hand.state.builds))))
            elif moves:
                self.random.choice(moves)()
            if wrong := self.wrong():
                return wrong
        for _ in range(4000):
            moves = self.moves()
            if not moves:
                break
            self.random.choice(moves)()
            if wrong := self.wrong():
                return wrong
        return f"never end: {sorted(self.hand.state.requests)}" if self.hand.state.requests else ""

    def wrong(self) -> str:
        if not self.stops and (rings := self.hand.new(f.RingBroken)):
            return rings[0].text
        allocator = self.hand.state.allocator
        for key, lock in allocator.board.locks.items():
            if lock.used != allocator.families.recount(lock):
                return f"{key} is not used as often as it is held"
        if self.random.random() < 0.2 and (again := Allocator.restore(allocator.snapshot()).decide()):
            return f"a restart decides {again}"
        return ""


def names(accesses: tuple[Access, ...]) -> set[str]:
    return {access.lock.name for access in accesses}


def need(accesses: tuple[Access, ...]) -> Need | None:
    return Need((Alternative("", accesses),)) if accesses else None


def stages(drawn: list[Drawn]) -> list[Stage]:
    """What the configuration says of these steps: a group's locks are claimed by its first step that is not skipped."""
    found = []
    began: dict[int, bool] = {}
    for number, step in enumerate(drawn, 1):
        stage = Stage(number=number, name=step.plan.name, need=need(step.own), children=step.children)
        group = step.plan.group
        if group and not began.get(group):
            found.append(replace(stage, need=need(step.own + step.shared)))
        if (step.own or step.children) and (not group or group in began):
            found.append(replace(stage, held=need(step.shared)))
        if group:
            began[group] = began.get(group, False) or step.sure
    return found
