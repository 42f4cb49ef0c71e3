"""A random farm: the real core fed with random events, so that its facts are legal by construction.

The world here is careless on purpose (it answers twice, too late, or not at all); what it must never do is invent
facts of its own. `remembered` says what the store should give back of a state.
"""

import random
from typing import Any

from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide import decide
from lockstep.core.facts import Numbered
from lockstep.core.nouns import Access, Alternative, LockKey, Need, Result
from lockstep.core.records import Build, Step
from lockstep.core.state import State, slot_key
from lockstep.core.values import (
    BookingWish,
    BuilderSetup,
    Change,
    LockSetup,
    Patch,
    PoolSetup,
    RequestWish,
    SchedulerSetup,
    Setup,
    SourceStamp,
    StepPlan,
    Submission,
    WorkerSetup,
)
from lockstep.storage.batch import Batch, CommandProgress, LogPart

DATABASE = LockKey("master", "database")
CPU = LockKey("worker", "cpu", "w0")
RESULTS = (Result.SUCCESS, Result.SUCCESS, Result.SUCCESS, Result.WARNINGS, Result.FAILURE, Result.EXCEPTION)


def one_step(pool: PoolSetup, access: Access) -> list[e.Event]:
    """What happens until the one step of the first build has units of a pool."""
    need = Need((Alternative("w0", (Access(slot_key("w0")),)),))
    builder = BuilderSetup(name="b0", workers=("w0",), need=need)
    return [
        e.Configured(setup=Setup(workers=(WorkerSetup(name="w0"),), builders=(builder,), pools=(pool,))),
        e.WorkerConnected(worker="w0", lease=60.0),
        e.Submitted(submission=Submission(requests=(RequestWish(builder="b0"),))),
        e.BuildPlanned(buildid=1, plans=(StepPlan(name="flash"),), properties={}),
        e.StepPrepared(buildid=1, number=1, name="flash", accesses=(access,)),
    ]


class Farm:
    """One random world. `step` lets something happen and returns the batch that follows from it."""

    def __init__(self, seed: int, state: State | None = None) -> None:
        self.random = random.Random(seed)
        self.state = state or State("test")
        self.at = 1_700_000_000.0
        self.lines: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.offsets: dict[str, int] = {}
        self.facts: list[Numbered] = []

    def happen(self, event: e.Event) -> Batch:
        """Feed one event to the core."""
        self.at += self.random.random()
        outcome = decide(self.state, event, self.at)
        self.facts += outcome.facts
        return Batch(facts=list(outcome.facts))

    def step(self) -> Batch:
        """Something happens; what cannot happen now happens not at all."""
        choices = [name for name in dir(self) if name.startswith("do_")]
        weights = [self.WEIGHTS.get(name, 1) for name in choices]
        return getattr(self, self.random.choices(choices, weights)[0])() or Batch()

    WEIGHTS = {  # noqa: RUF012
        "do_configure": 0.3,
        "do_submit": 4,
        "do_prepare": 8,
        "do_plan": 8,
        "do_call": 14,
        "do_finish_step": 5,
        "do_end_command": 8,
        "do_write": 6,
        "do_connect": 4,
        "do_disconnect": 0.6,
        "do_give_up": 0.5,
        "do_stop": 0.4,
        "do_cancel": 0.5,
        "do_render": 5,
        "do_book": 0.3,
        "do_use": 3,
        "do_take": 0.1,
    }

    # --- configuration

    def do_configure(self) -> Batch:
        return self.happen(e.Configured(setup=self.setup()))

    def setup(self) -> Setup:
        some = self.random.random
        workers = tuple(WorkerSetup(name=f"w{n}", max_builds=2 - n % 2) for n in range(3) if n == 0 or some() < 0.8)
        locks = [LockSetup(DATABASE, self.random.choice((1, 2, 3))), LockSetup(CPU, 2, 1)]
        builders = []
        for n in range(4):
            name = f"b{n}"
            ways = []
            for worker in workers:
                folder = LockKey("builddir", name, worker.name)
                locks.append(LockSetup(folder, 1))
                accesses = [Access(LockKey("slot", "", worker.name)), Access(folder, "exclusive")]
                if n == 1:
                    accesses.append(Access(DATABASE, "exclusive", 1, 5.0))
                if n == 2:
                    accesses.append(Access(DATABASE))
                ways.append(Alternative(worker.name, tuple(accesses)))
            builders.append(
                BuilderSetup(
                    name=name,
                    workers=tuple(worker.name for worker in workers),
                    need=None if n == 3 else Need(tuple(ways)),
                    description=None if n else "first",
                    tags=("a", "b")[:n],
                    project="p" if n == 2 else "",
                    collapse=n == 0,
                )
            )
        scheduler = SchedulerSetup(name="nightly", kind="Nightly", builders=("b0",))
        return Setup(
            workers=workers, builders=tuple(builders), locks=tuple(locks), schedulers=(scheduler,), sources=("poller",)
        )

    def do_change(self) -> Batch:
        change = Change(author="Zoë", comments="mend\n", files=("a.c", "b.c"), branch=None, revision="7", when=self.at)
        return self.happen(e.ChangesFound(source="poller", changes=(change, change), memory={"last": self.at}))

    def do_remember(self) -> Batch:
        cursor = self.random.choice((None, self.state.last_fact))
        return self.happen(e.Remembered(owner="nightly", memory=self.random.choice((None, [1, "x"])), cursor=cursor))

    # --- bookings

    def do_book(self) -> Batch:
        wish = BookingWish(
            accesses=(Access(self.random.choice((DATABASE, CPU)), "exclusive"),),
            who="Zoë",
            reason="because",
            after_current=self.random.random() < 0.3,
            seconds=self.random.choice((0.0, 1.0, 50.0)),
            lease=self.random.choice((0.0, 5.0)),
            key=f"key {self.at}",
        )
        return self.happen(e.BookingAsked(wish=wish))

    def do_use(self) -> Batch | None:
        if not self.state.bookings:
            return None
        booking = self.random.choice(list(self.state.bookings.values()))
        events: list[e.Event] = [
            e.BookingRenewAsked(ticket=booking.ticket, key=booking.wish.key),
            e.BookingExtendAsked(ticket=booking.ticket, seconds=5.0),
            e.BookingReleaseAsked(ticket=booking.ticket, key=booking.wish.key, who="Zoë"),
            e.TimerFired(timer=f"booking:lease.{booking.ticket}.{booking.renewals}"),
            e.TimerFired(timer=f"booking:end.{booking.ticket}"),
        ]
        return self.happen(self.random.choice(events))

    def do_take(self) -> Batch:
        return self.happen(e.StealAsked(lock=DATABASE, everybody=True, who="bob", reason="now"))

    # --- requests

    def submission(self) -> Submission:
        wishes = tuple(
            RequestWish(builder=f"b{n}", priority=self.random.choice((0, 0, 5)))
            for n in self.random.sample(range(4), self.random.choice((1, 1, 2)))
        )
        patch = Patch(body=b"\x00\xff") if self.random.random() < 0.2 else None
        stamps = tuple(
            SourceStamp(codebase=name, revision=self.random.choice((None, "1", "2")), patch=patch, changes=(1, 2))
            for name in ("", "lib")[: self.random.choice((1, 2))]
        )
        properties = {"n": (self.random.randrange(3), "test"), "deep": ({"a": [1, None, "ü"]}, "test")}
        return Submission(requests=wishes, reason="because", sourcestamps=stamps, properties=properties)

    def do_submit(self) -> Batch | None:
        if not self.state.builders:
            return self.do_configure()
        return self.happen(e.Submitted(submission=self.submission()))

    def _request(self, *states: str) -> Any:
        some = [request for request in self.state.requests.values() if request.state in states]
        return self.random.choice(some) if some else None

    def do_render(self) -> Batch | None:
        request = self._request("rendering", "waiting")
        if request is None or self.state.builders[request.builder].need is not None:
            return None
        if self.random.random() < 0.1:
            return self.happen(e.NeedRendered(brid=request.brid, error="no such lock"))
        accesses = (Access(LockKey("slot", "", "w0")), Access(CPU))[: self.random.choice((1, 2))]
        return self.happen(e.NeedRendered(brid=request.brid, need=Need((Alternative("w0", accesses),))))

    def do_priority(self) -> Batch | None:
        request = self._request("waiting")
        return request and self.happen(e.PriorityAsked(brid=request.brid, priority=self.random.randrange(9)))

    def do_cancel(self) -> Batch | None:
        request = self._request("rendering", "waiting", "building")
        return request and self.happen(e.CancelAsked(brid=request.brid, reason="not wanted", who="me"))

    # --- workers

    def do_connect(self) -> Batch | None:
        away = [worker for worker in self.state.workers.values() if worker.state != "connected"]
        if not away:
            return None
        worker = self.random.choice(away)
        mine = [command.id for command in self.state.commands.values() if command.worker == worker.name]
        known = tuple(name for name in mine if self.random.random() < 0.8)
        info = {"system": "linux", "n": [1, 2]}
        return self.happen(e.WorkerConnected(worker=worker.name, lease=60.0, known=known, info=info))

    def do_disconnect(self) -> Batch | None:
        here = [worker for worker in self.state.workers.values() if worker.state == "connected"]
        if not here:
            return None
        worker = self.random.choice(here)
        return self.happen(e.WorkerDisconnected(worker=worker.name, session=worker.session))

    def do_give_up(self) -> Batch | None:
        lost = [worker for worker in self.state.workers.values() if worker.state == "unreachable"]
        return self.happen(e.TimerFired(timer=f"lease:{self.random.choice(lost).name}")) if lost else None

    def do_pause(self) -> Batch | None:
        workers = list(self.state.workers.values())
        if not workers:
            return None
        paused = self.random.random() < 0.3
        return self.happen(e.WorkerPauseAsked(worker=self.random.choice(workers).name, paused=paused, reason="why"))

    # --- builds

    def _build(self) -> Build | None:
        return self.random.choice(list(self.state.builds.values())) if self.state.builds else None

    def _running(self) -> tuple[Build, Step] | None:
        build = self._build()
        if build is None or not build.current:
            return None
        step = build.steps[build.current - 1]
        return (build, step) if step.state == "running" else None

    def do_plan(self) -> Batch | None:
        build = self._build()
        if build is None or build.steps:
            return None
        plans = tuple(
            StepPlan(name=f"s{n}", haltOnFailure=n == 1, alwaysRun=n == 2, step_class="x.Y")
            for n in range(self.random.randrange(4))
        )
        return self.happen(e.BuildPlanned(buildid=build.buildid, plans=plans, properties={"p": ([1], "Build")}))

    def do_stop(self) -> Batch | None:
        build = self._build()
        if build is None:
            return None
        if self.random.random() < 0.3:
            return self.happen(e.BuildBroken(buildid=build.buildid, result=Result.RETRY, reason="replay differs"))
        return self.happen(e.StopAsked(buildid=build.buildid, reason="stop", who="me"))

    def do_prepare(self) -> Batch | None:
        build = self._build()
        step = self.state.next_step(build) if build is not None else None
        if build is None or step is None or build.state == "starting":
            return None
        lock = self.random.choice(((), (), (Access(CPU),), (Access(DATABASE), Access(CPU))))
        result = Result.SKIPPED if self.random.random() < 0.1 else None
        return self.happen(
            e.StepPrepared(
                buildid=build.buildid,
                number=step.number,
                name=f"{step.plan.name}!",
                accesses=lock,
                rendered=b"\x01args",
                result=result,
                hidden=result is not None,
            )
        )

    def do_finish_step(self) -> Batch | None:
        found = self._running()
        if found is None:
            return None
        build, step = found
        lines = {logid: self.lines.get(logid, 0) for logid in step.logs}
        result = self.random.choice(RESULTS)
        return self.happen(
            e.StepFinished(buildid=build.buildid, number=step.number, result=result, summary="so", lines=lines)
        )

    def _call(self, step: Step) -> c.Call:
        log = self.random.choice([0, *step.logs])
        acquired = [record.number for record in step.calls.values() if isinstance(record.call, c.Acquire)]
        children = tuple(self.submission() for _ in range(2))
        return self.random.choice(
            (
                c.RunCommand(kind="shell", args={"command": ["make", "all"]}, stdio=log, logs={"t.log": log}),
                c.RunCommand(kind="shell", args={"command": "true"}, stdio=log),
                c.SetProperty("got", self.random.choice(("r1", ["x"], None)), "step"),
                c.OpenLog("stdio", "s"),
                c.OpenLog("häh", "t"),
                c.WriteLog(log, "o", "digest", 4),
                c.CloseLog(log),
                c.AddUrl("docs", "http://localhost/"),
                c.AddSteps((StepPlan(name="more"),), self.random.choice(("after-current", "after-last"))),  # type: ignore[arg-type]
                c.StartBuilds(children, wait=self.random.random() < 0.5),
                c.Acquire((Access(DATABASE),)),
                c.Release(self.random.choice([1, *acquired])),
                c.Sleep(3.0),
                c.Now(),
            )
        )

    def do_call(self) -> Batch | None:
        found = self._running()
        if found is None:
            return None
        build, step = found
        number = max(step.calls, default=0) + 1
        call = self._call(step)
        event = e.CallMade(
            buildid=build.buildid, step=step.number, number=number, call=call, fingerprint=type(call).__name__
        )
        return self.happen(event)

    def do_sleep_over(self) -> Batch | None:
        found = self._running()
        if found is None:
            return None
        build, step = found
        for record in step.calls.values():
            if isinstance(record.call, c.Sleep) and record.state == "started":
                return self.happen(e.TimerFired(timer=f"sleep:{build.buildid}.{step.number}.{record.number}"))
        return None

    def do_end_command(self) -> Batch | None:
        if not self.state.commands:
            return None
        command = self.random.choice(list(self.state.commands))
        lost = self.random.random() < 0.05
        result = c.CommandResult(rc=self.random.randrange(3), elapsed=1.5, results={"files": ["a"]}, lost=lost)
        return self.happen(e.CommandEnded(command=command, result=result))

    # --- output

    def do_write(self) -> Batch | None:
        logs = [log for build in self.state.builds.values() for step in build.steps for log in step.open_logs]
        batch = Batch()
        for logid in logs:
            count = self.random.randrange(3)
            text = "".join(f"o{self.random.randrange(10**9)} ü\r x\n" for _ in range(count))
            if count:
                batch.parts.append(LogPart(logid, self.lines.get(logid, 0), count, text))
                self.lines[logid] = self.lines.get(logid, 0) + count
                self.texts[logid] = self.texts.get(logid, "") + text
        for command in self.state.commands:
            self.offsets[command] = self.offsets.get(command, 0) + self.random.randrange(50)
            batch.progress.append(CommandProgress(command, self.offsets[command], {"1:o": b"half \xff"}))
        return batch


def remembered(state: State) -> dict[str, Any]:
    """Everything of a state that must survive, in a form that compares."""
    holds = {h.ticket: (h.id, h.owner, h.alternative, h.fences) for h in state.allocator.holds.values()}
    return {
        "last_fact": state.last_fact,
        "counters": state.counters,
        "setup": state.setup,
        "builder_ids": state.builder_ids,
        "worker_ids": state.worker_ids,
        "build_numbers": state.build_numbers,
        "buildsets": state.buildsets,
        "stamps": state.stamps,
        "requests": state.requests,
        "builds": state.builds,
        "commands": state.commands,
        "workers": state.workers,
        "memories": state.memories,
        "bookings": state.bookings,
        "locks": {key: lock for key, lock in state.locks.items() if key.kind != "slot"},
        "claims": state.claims,
        "children": state.children,
        "builds_on": state.builds_on,
        "collapsible": state.collapsible,
        "holds": holds,
    }


def last_grants(facts: list[Numbered]) -> dict[LockKey, tuple[int, Any]]:
    """Each lock's last fence, and what the allocator remembered of it with its last grant."""
    grants = {}
    for numbered in facts:
        fact = numbered.fact
        if isinstance(fact, f.ClaimGranted):
            for access, fence, memory in zip(fact.alternative.accesses, fact.fences, fact.memories, strict=True):
                grants[access.lock] = (fence, memory)
        elif isinstance(fact, f.HoldPassed):
            for access, fence in zip(fact.alternative.accesses, fact.fences, strict=True):
                grants[access.lock] = (fence, grants[access.lock][1])
    return grants
