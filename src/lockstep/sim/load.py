"""Loads for a rehearsal: one that was recorded by a server, or one that is assumed. All chance is in a seed.

What is recorded is read elsewhere (`storage/past.py`); what a load does is played in `rehearsal.py`.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from msgspec import Struct, field, structs

from lockstep.core.forecast import OWN_WORKER, Phase
from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import Setup, Stage
from lockstep.sim.limits import DEEPEST_CHILDREN
from lockstep.sim.rehearsal import Ask, Work
from lockstep.storage.past import PastBuild, PastRequest, PastStep

SPREAD = 0.5
"""How assumed times vary (log-normal: about one in six is half as long again as the mean, one in six half of it)."""

Steps = Mapping[str, Sequence[str]]
"""Builder to the names of its steps that run (empty: only known while it runs)."""


class Made(Struct):
    """A load: what is asked for when, for how long requests come, and what must be told of how it was made."""

    asks: list[tuple[float, Ask]]
    span: float
    notes: list[str] = field(default_factory=list)
    waited: float | None = None
    """Seconds that recorded requests waited on average until their builds began: what is played should be near."""


class _Known:
    """What a configuration says of steps."""

    def __init__(self, setup: Setup, steps: Steps) -> None:
        self.builders = {builder.name: builder for builder in setup.builders}
        self.steps = steps
        self.locks = {lock.key for lock in setup.locks}
        self.names = {(key.kind, key.name) for key in self.locks} | {("pool", pool.name) for pool in setup.pools}

    def stage(self, builder: str, number: int) -> Stage | None:
        return next((stage for stage in self.builders[builder].stages if stage.number == number), None)

    def accesses(self, builder: str, step: PastStep) -> tuple[Access, ...]:
        """What a recorded step claims now: as configured; as it did then where that is known only at run time."""
        stage = next((stage for stage in self.builders[builder].stages if stage.name == step.name), None)
        if stage is not None and not stage.open:
            return claimed(stage)
        if stage is None and step.name in self.steps.get(builder, ()):
            return ()
        return tuple(a for a in step.accesses if (a.lock.kind, a.lock.name) in self.names)


def claimed(stage: Stage | None) -> tuple[Access, ...]:
    """What a stage claims on whichever worker its build runs."""
    if stage is None or stage.need is None or not stage.need.alternatives:
        return ()
    accesses = stage.need.alternatives[0].accesses
    return tuple(
        structs.replace(a, lock=LockKey(a.lock.kind, a.lock.name, OWN_WORKER)) if a.lock.worker else a for a in accesses
    )


def brief(work: Sequence[Work]) -> tuple[Work, ...]:
    """The same in fewer steps: what follows each other without locks or builds is one."""
    found: list[Work] = []
    for one in work:
        last = found[-1] if found else None
        if last is not None and not one.phase.accesses and not one.starts and not last.phase.accesses:
            found[-1] = Work(Phase(last.phase.seconds + one.phase.seconds), last.starts, last.waits)
        else:
            found.append(one)
    return tuple(found) or (Work(Phase(0.0)),)


# --- recorded


def recorded(setup: Setup, steps: Steps, requests: Sequence[PastRequest], seconds: float, seed: int) -> Made:
    """The load that a server had. `seconds`: what a build takes whose builder has none that ran to its end."""
    return _Recorded(setup, steps, requests, seconds, seed).make()


class _Recorded:
    """What was recorded, by what is looked up."""

    def __init__(self, setup: Setup, steps: Steps, requests: Sequence[PastRequest], seconds: float, seed: int) -> None:
        self.known = _Known(setup, steps)
        self.requests = requests
        self.seconds = seconds
        self.chance = Random(seed)
        self.children: dict[tuple[int, int], list[PastRequest]] = defaultdict(list)
        builds = {request.build.buildid for request in requests if request.build is not None}
        self.first: list[PastRequest] = []
        for request in requests:
            if request.parent is None:
                self.first.append(request)
            elif request.parent[0] in builds:
                self.children[request.parent].append(request)
        self.works: dict[int, tuple[Work, ...]] = {}
        self.examples: dict[str, list[PastBuild]] = defaultdict(list)
        for request in requests:
            if request.build is not None:
                self.examples[request.builder].append(request.build)
        self.guessed: set[str] = set()
        self.gone: dict[str, int] = {}

    def make(self) -> Made:
        begin = self.first[0].at if self.first else 0.0
        asks = []
        for request in self.first:
            ask = self._ask(request)
            if ask is not None:
                asks.append((max(0.0, request.at - begin), ask))
        asks.sort(key=lambda one: one[0])
        notes = []
        if self.gone:
            told = ", ".join(f"'{name}' ({count})" for name, count in sorted(self.gone.items()))
            notes.append(f"Left out, for these builders are not in the configuration: {told}.")
        if self.guessed:
            names = ", ".join(f"'{name}'" for name in sorted(self.guessed))
            notes.append(f"No build of {names} ran to its end: {self.seconds:g} s are assumed for each.")
        span = max((at + sum(work.phase.seconds for work in ask.work) for at, ask in asks), default=0.0)
        waits = [
            request.build.started - request.at
            for request in self.requests
            if request.build is not None and request.builder in self.known.builders
        ]
        return Made(asks, span, notes, sum(waits) / len(waits) if waits else None)

    def _ask(self, request: PastRequest, depth: int = 0) -> Ask | None:
        if request.builder not in self.known.builders:
            self.gone[request.builder] = self.gone.get(request.builder, 0) + 1
            return None
        build = request.build
        if build is None and self.examples[request.builder]:
            build = self.chance.choice(self.examples[request.builder])
        if build is None:
            self.guessed.add(request.builder)
            return Ask(request.builder, (Work(Phase(self.seconds)),), request.priority, request.alike)
        return Ask(request.builder, self._work(request.builder, build, depth), request.priority, request.alike)

    def _work(self, builder: str, build: PastBuild, depth: int) -> tuple[Work, ...]:
        if build.buildid not in self.works:
            work = [self._step(builder, build.buildid, step, depth) for step in build.steps]
            self.works[build.buildid] = brief([*work, Work(Phase(build.rest))])
        return self.works[build.buildid]

    def _step(self, builder: str, buildid: int, step: PastStep, depth: int) -> Work:
        started = self.children.get((buildid, step.number), []) if depth < DEEPEST_CHILDREN else []
        asks = [ask for child in started if (ask := self._ask(child, depth + 1)) is not None]
        waits = any(child.awaited for child in started)
        return Work(Phase(step.seconds, self.known.accesses(builder, step)), tuple(asks), waits)


# --- assumed


def assumed(
    setup: Setup, steps: Steps, rates: Mapping[str, float], seconds: Mapping[str, float], span: float, seed: int
) -> Made:
    """Requests that come at random, so many an hour for each builder (`rates`), with builds of about `seconds`.

    A build's time is shared evenly by its steps. Builders that others start come with those.
    """
    known = _Known(setup, steps)
    asks: list[tuple[float, Ask]] = []
    for builder in setup.builders:
        chance = Random(f"{seed} {builder.name}")
        moments = _moments(chance, rates.get(builder.name, 0.0), span)
        asks.extend((at, _assume(known, builder.name, seconds, chance, ())) for at in moments)
    asks.sort(key=lambda one: one[0])
    return Made(asks, span)


def started_by_others(setup: Setup) -> set[str]:
    """Builders that a step of another builder starts and waits for."""
    return {child for builder in setup.builders for stage in builder.stages for child in stage.children}


def _moments(chance: Random, rate: float, span: float) -> Iterator[float]:
    at = chance.expovariate(rate / 3600) if rate else math.inf
    while at < span:
        yield at
        at += chance.expovariate(rate / 3600)


def _assume(known: _Known, name: str, seconds: Mapping[str, float], chance: Random, above: tuple[str, ...]) -> Ask:
    """A build as assumed. No builder is started by its own builds, however far away."""
    numbers = range(1, max(1, len(known.steps.get(name, ()))) + 1)
    each = seconds[name] * chance.lognormvariate(-(SPREAD**2) / 2, SPREAD) / len(numbers)
    work = []
    for number in numbers:
        stage = known.stage(name, number)
        children = stage.children if stage is not None and len(above) < DEEPEST_CHILDREN else ()
        asks = tuple(
            _assume(known, child, seconds, chance, (*above, name))
            for child in children
            if child in known.builders and child != name and child not in above
        )
        work.append(Work(Phase(each, claimed(stage)), asks))
    return Ask(name, brief(work))
