"""A rehearsal: a supposed load meets a configuration, in virtual time, and the same core decides as in a server.

Goes in: a set-up, and what is asked for when (`Ask`). Comes out: what became of each request and how locks were used
(`Played`). Workers are all there and no step fails. No chance is here: whoever makes the load brings it. What the
outcome means is told in `figures.py`, loads are made in `load.py`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, Final

from msgspec import Struct, field

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.calls import StartBuilds
from lockstep.core.decide import decide
from lockstep.core.forecast import Phase, on_worker
from lockstep.core.nouns import Alternative, LockKey, Result
from lockstep.core.reasons import Reasons
from lockstep.core.state import State
from lockstep.core.values import RequestWish, Setup, SourceStamp, StepPlan, Submission


class Work(Struct, frozen=True):
    """A step of a supposed build: its time and locks, and the builds that it starts and (`waits`) waits for."""

    phase: Phase
    starts: tuple["Ask", ...] = ()
    waits: bool = True


class Ask(Struct, frozen=True):
    """A supposed request and its build. Those of one builder that are `alike` may be merged while they wait."""

    builder: str
    work: tuple[Work, ...]
    priority: int = 0
    alike: str = ""


Load = Iterable[tuple[float, Ask]]
"""What is asked for, and when: seconds from the beginning, in order."""


class Story(Struct):
    """What became of a request. Times are seconds from the beginning; -1: that has not happened."""

    ask: Ask
    at: float
    started: float = -1.0
    ended: float = -1.0
    worker: str = ""
    step_waits: float = 0.0
    put_back: int = 0
    merged: bool = False
    child: bool = False

    @property
    def gave_up(self) -> bool:
        """Whether it ended without a build: its rules do not let it wait (so long), or let so many wait."""
        return self.ended >= 0 > self.started and not self.merged

    @property
    def waited(self) -> float:
        """Until its build began: for the last time, if it was put back."""
        return self.started - self.at


class Use(Struct):
    """How a lock was used. `levels` maps units in use to the seconds for which so many were."""

    limit: int
    units: int = 0
    since: float = 0.0
    levels: dict[int, float] = field(default_factory=dict)

    def become(self, now: float, units: int) -> None:
        """So many units are in use from now on."""
        if now > self.since:
            self.levels[self.units] = self.levels.get(self.units, 0.0) + now - self.since
            self.since = now
        self.units = units


class Played(Struct):
    """What came of a rehearsal. `span` is the time in which requests came: locks were watched for as long.

    `backlog` are the requests that waited at its end. `stuck` are those that never ended, each builder once, with why.
    """

    stories: list[Story]
    uses: dict[LockKey, Use]
    span: float
    backlog: int
    stuck: dict[str, tuple[int, str]]
    rings: list[str]


_COUNTED: Final = ("master", "worker", "slot")


class Rehearsal:
    """One run. `span` is how long requests come."""

    def __init__(self, setup: Setup, span: float) -> None:
        self.state = State("rehearsal")
        self.setup = setup
        self.span = span
        self.now = 0.0
        self.stories: dict[int, Story] = {}
        self.rings: list[str] = []
        self.backlog = 0
        self.uses = {lock.key: Use(lock.limit) for lock in setup.locks if lock.key.kind in _COUNTED}
        self.uses |= {LockKey("pool", pool.name): Use(len(pool.units)) for pool in setup.pools}
        self._asking: deque[Ask] = deque()
        self._soon: deque[e.Event] = deque()
        self._agenda: list[tuple[float, int, e.Event]] = []
        self._timers: dict[str, int] = {}
        self._order = 0
        self._builds: dict[int, Story] = {}
        self._claims: dict[int, tuple[Story, float]] = {}
        """Tickets of claims of steps: whose they are, and since when."""
        self._holds: dict[int, Alternative] = {}
        self._plans: dict[int, tuple[StepPlan, ...]] = {}
        self._watch: dict[type, Callable[[Any], None]] = {
            f.RequestAdded: self._asked,
            f.RequestEnded: self._ended,
            f.RequestPutBack: self._put_back,
            f.BuildStarted: self._started,
            f.StepStarted: self._step_started,
            f.ClaimGranted: self._granted,
            f.HoldEnded: self._freed,
            f.RingBroken: lambda fact: self.rings.append(fact.text),
        }
        self._errands: dict[type, Callable[[Any], object]] = {
            x.RenderNeed: self._render,
            x.BeginBuild: self._begin,
            x.PrepareStep: self._prepare,
            x.RunStep: self._run,
            x.CallDone: self._children_done,
            x.InterruptStep: self._interrupt,
            x.ArmTimer: self._arm,
            x.DisarmTimer: lambda effect: self._timers.pop(effect.timer, None),
        }

    def play(self, load: Load) -> Played:
        """Play a load to its end."""
        self._decide(e.Configured(setup=self.setup))
        for worker in self.setup.workers:
            self._decide(e.WorkerConnected(worker=worker.name, lease=worker.lease))
        for at, ask in load:
            self._until(at)
            self.now = at
            self._asking.append(ask)
            self._decide(e.Submitted(submission=_submission(ask)))
        self._until(self.span)
        self.backlog = sum(story.started < 0 and story.ended < 0 for story in self.stories.values())
        self._close()
        self._until(float("inf"))
        stories = list(self.stories.values())
        return Played(stories, self.uses, self.span, self.backlog, self._stuck(), self.rings)

    def _until(self, at: float) -> None:
        agenda = self._agenda
        while agenda and agenda[0][0] <= at:
            self.now, order, event = heappop(agenda)
            if not isinstance(event, e.TimerFired) or self._timers.get(event.timer) == order:
                self._decide(event)

    def _close(self) -> None:
        """The time is over in which locks are watched."""
        for use in self.uses.values():
            use.become(self.span, 0)
        self._watch[f.ClaimGranted] = self._granted_late
        del self._watch[f.HoldEnded]

    def _decide(self, event: e.Event) -> None:
        """An event, and all that follows at once."""
        soon = self._soon
        soon.append(event)
        while soon:
            outcome = decide(self.state, soon.popleft(), self.now)
            for numbered in outcome.facts:
                watch = self._watch.get(type(numbered.fact))
                if watch is not None:
                    watch(numbered.fact)
            for effect in outcome.effects:
                errand = self._errands.get(type(effect))
                if errand is not None:
                    errand(effect)

    def _stuck(self) -> dict[str, tuple[int, str]]:
        """Who never got what it needs: how many of each builder, and why the first of them waits."""
        reasons = Reasons(self.state, self.now)
        stuck: dict[str, tuple[int, str]] = {}
        for request in self.state.requests.values():
            count, why = stuck.get(request.builder, (0, ""))
            build = self.state.builds.get(request.buildid)
            why = why or (reasons.build(build) if build is not None else reasons.request(request)).sentence
            stuck[request.builder] = (count + 1, why)
        return stuck

    # --- what holds from now on

    def _asked(self, fact: f.RequestAdded) -> None:
        self.stories[fact.brid] = Story(self._asking.popleft(), self.now, child=bool(fact.parent))

    def _ended(self, fact: f.RequestEnded) -> None:
        story = self.stories[fact.brid]
        story.ended, story.merged = self.now, bool(fact.into)

    def _put_back(self, fact: f.RequestPutBack) -> None:
        story = self.stories[fact.brid]
        story.put_back += 1
        story.started = -1.0

    def _started(self, fact: f.BuildStarted) -> None:
        story = self._builds[fact.buildid] = self.stories[fact.brid]
        story.started, story.worker = self.now, fact.worker

    def _step_started(self, fact: f.StepStarted) -> None:
        if fact.ticket:
            self._claims[fact.ticket] = (self._builds[fact.buildid], self.now)

    def _granted(self, fact: f.ClaimGranted) -> None:
        self._granted_late(fact)
        self._holds[fact.hold] = fact.alternative
        self._count(fact.alternative)

    def _granted_late(self, fact: f.ClaimGranted) -> None:
        claim = self._claims.pop(fact.ticket, None)
        if claim is not None:
            claim[0].step_waits += self.now - claim[1]

    def _freed(self, fact: f.HoldEnded) -> None:
        self._count(self._holds.pop(fact.hold))

    def _count(self, alternative: Alternative) -> None:
        """What is in use now, says the allocator: holds may be lent (L53)."""
        for access in alternative.accesses:
            use = self.uses.get(access.lock.whole)
            if use is not None:
                use.become(self.now, self.state.allocator.reasons.used(access.lock.whole))

    # --- errands

    def _render(self, effect: x.RenderNeed) -> None:
        builder = self.state.builders[self.state.requests[effect.brid].builder]
        self._soon.append(e.NeedRendered(brid=effect.brid, need=None if builder.need else builder.planned))

    def _begin(self, effect: x.BeginBuild) -> None:
        steps = len(self._work(effect.buildid))
        if steps not in self._plans:
            self._plans[steps] = tuple(StepPlan(name=f"step {number}") for number in range(1, steps + 1))
        self._soon.append(e.BuildPlanned(buildid=effect.buildid, plans=self._plans[steps], properties={}))

    def _work(self, buildid: int) -> tuple[Work, ...]:
        return self._builds[buildid].ask.work

    def _prepare(self, effect: x.PrepareStep) -> None:
        buildid, number = effect.buildid, effect.number
        worker = self._builds[buildid].worker
        wanted = self._work(buildid)[number - 1].phase.accesses
        accesses = tuple(on_worker(access, worker) for access in wanted)
        self._soon.append(e.StepPrepared(buildid=buildid, number=number, name=f"step {number}", accesses=accesses))

    def _run(self, effect: x.RunStep) -> None:
        work = self._work(effect.buildid)[effect.number - 1]
        if not work.starts:
            self._finish_later(effect.buildid, effect.number, work)
            return
        self._asking.extend(work.starts)
        call = StartBuilds(submissions=tuple(map(_submission, work.starts)), wait=work.waits)
        self._soon.append(e.CallMade(buildid=effect.buildid, step=effect.number, number=1, call=call, fingerprint=""))

    def _children_done(self, effect: x.CallDone) -> None:
        self._finish_later(effect.buildid, effect.step, self._work(effect.buildid)[effect.step - 1])

    def _finish_later(self, buildid: int, number: int, work: Work) -> None:
        self._later(work.phase.seconds, e.StepFinished(buildid=buildid, number=number, result=Result.SUCCESS))

    def _later(self, seconds: float, event: e.Event) -> None:
        self._order += 1
        heappush(self._agenda, (self.now + seconds, self._order, event))

    def _arm(self, effect: x.ArmTimer) -> None:
        self._later(effect.seconds, e.TimerFired(timer=effect.timer))
        self._timers[effect.timer] = self._order

    def _interrupt(self, effect: x.InterruptStep) -> None:
        self._soon.append(e.StepFinished(buildid=effect.buildid, number=effect.number, result=Result.CANCELLED))


def _submission(ask: Ask) -> Submission:
    return Submission(
        requests=(RequestWish(builder=ask.builder, priority=ask.priority),),
        sourcestamps=(SourceStamp(branch=ask.alike or None),),
        collapse=bool(ask.alike),
    )
