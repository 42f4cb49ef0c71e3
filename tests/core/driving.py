"""A small hand that drives `decide`: for tests of single decisions. Worlds with faults are in `lockstep.sim`.

No assertion lives here; the tests say what must hold.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide import Outcome, decide
from lockstep.core.nouns import Access, Alternative, LockKey, Mode, Need, Result
from lockstep.core.records import Build, Request, Step
from lockstep.core.state import State, slot_key
from lockstep.core.values import (
    BuilderSetup,
    LockSetup,
    RequestWish,
    Setup,
    SourceStamp,
    StepPlan,
    Submission,
    WorkerSetup,
)

FactT = TypeVar("FactT", bound=f.Fact)


def lock(name: str) -> LockKey:
    """A master lock."""
    return LockKey("master", name)


def use(name: str, mode: Mode = "counting", count: int = 1) -> Access:
    """An access of a master lock."""
    return Access(lock(name), mode, count)


def whole(name: str) -> Access:
    """The whole of a master lock."""
    return use(name, "exclusive")


def builder(name: str, *accesses: Access, workers: tuple[str, ...] = ("w1",), collapse: bool = False) -> BuilderSetup:
    """A builder that needs a slot of a worker, its build directory, and these."""
    alternatives = tuple(
        Alternative(
            worker, (*accesses, Access(slot_key(worker)), Access(LockKey("builddir", name, worker), "exclusive"))
        )
        for worker in workers
    )
    return BuilderSetup(name=name, workers=workers, need=Need(alternatives), collapse=collapse)


def setup(
    *builders: BuilderSetup,
    limits: dict[str, int] | None = None,
    workers: Iterable[str | WorkerSetup] = ("w1",),
) -> Setup:
    """A set-up of master locks by name and limit, workers and builders; build directories are added."""
    locks = [LockSetup(lock(name), limit) for name, limit in (limits or {}).items()]
    dirs = {a.lock for b in builders for alt in b.planned.alternatives for a in alt.accesses}
    locks += [LockSetup(key, 1) for key in sorted(dirs) if key.kind == "builddir"]
    made = tuple(WorkerSetup(name=w) if isinstance(w, str) else w for w in workers)
    return Setup(workers=made, builders=builders, locks=tuple(locks))


def plan(name: str = "step", **flags: Any) -> StepPlan:
    """A step."""
    return StepPlan(name=name, **flags)


def submission(*builders: str) -> Submission:
    """A wish for one build of each."""
    return Submission(requests=tuple(RequestWish(builder=name) for name in builders), collapse=False)


class Hand:
    """A state, everything that came of it, and short words for events."""

    def __init__(
        self, first: Setup | None = None, connect: Iterable[str] = ("w1",), state: State | None = None
    ) -> None:
        self.state = state or State("test")
        self.facts: list[f.Numbered] = []
        self.effects: list[x.Effect] = []
        self.last: Outcome = Outcome((), ())
        self.now = 1000.0
        if first is not None:
            self.put(e.Configured(setup=first))
            for name in connect:
                self.connect(name)

    def put(self, event: e.Event) -> Outcome:
        """Let the core decide about an event. The clock moves a second."""
        self.now += 1.0
        self.last = decide(self.state, event, self.now)
        self.facts += self.last.facts
        self.effects += self.last.effects
        return self.last

    # --- events

    def connect(self, name: str = "w1", **more: Any) -> Outcome:
        """A worker comes."""
        return self.put(e.WorkerConnected(worker=name, **{"lease": 60.0, **more}))

    def lose(self, name: str = "w1") -> Outcome:
        """A worker's connection ends."""
        return self.put(e.WorkerDisconnected(worker=name, session=self.state.workers[name].session))

    def force(self, name: str = "b", priority: int = 0, **more: Any) -> int:
        """Ask for a build. Returns the request's id."""
        wish = RequestWish(builder=name, priority=priority)
        outcome = self.put(e.Submitted(submission=Submission(requests=(wish,), **{"collapse": False, **more}), token=1))
        (reply,) = [effect for effect in outcome.effects if isinstance(effect, x.Reply)]
        assert not reply.error, reply.error
        return int(reply.value[1][name])

    def change(self, name: str, branch: str = "main", revision: str = "1") -> int:
        """A change asks for a build that may be merged with others."""
        stamp = SourceStamp(branch=branch, revision=revision, changes=(int(revision),))
        return self.force(name, sourcestamps=(stamp,), collapse=True)

    def planned(self, buildid: int, *plans: StepPlan) -> Outcome:
        """A build's steps are known."""
        return self.put(e.BuildPlanned(buildid=buildid, plans=plans or (plan(),), properties={}))

    def prepared(self, buildid: int, number: int = 1, *accesses: Access, **more: Any) -> Outcome:
        """A step's locks are known."""
        return self.put(
            e.StepPrepared(buildid=buildid, number=number, name=f"step {number}", accesses=accesses, **more)
        )

    def call(self, buildid: int, call: c.Call, number: int = 1, step: int | None = None) -> Outcome:
        """The current step makes a call."""
        at = self.state.builds[buildid].current if step is None else step
        return self.put(e.CallMade(buildid=buildid, step=at, number=number, call=call, fingerprint=repr(call)))

    def command(self, buildid: int, number: int = 1) -> str:
        """The current step runs a command. Returns its id."""
        outcome = self.call(buildid, c.RunCommand(kind="shell", args={}), number)
        (sent,) = [effect for effect in outcome.effects if isinstance(effect, x.SendCommand)]
        return sent.command

    def over(self, command: str, rc: int = 0, **more: Any) -> Outcome:
        """A command has ended."""
        return self.put(e.CommandEnded(command=command, result=c.CommandResult(rc=rc, **more)))

    def finished(self, buildid: int, number: int = 1, result: Result = Result.SUCCESS) -> Outcome:
        """A step's code has returned."""
        return self.put(e.StepFinished(buildid=buildid, number=number, result=result))

    def started(self, name: str = "b", *plans: StepPlan, **more: Any) -> int:
        """Force a build that starts at once, with these steps. Returns its id."""
        brid = self.force(name, **more)
        buildid = self.state.requests[brid].buildid
        assert buildid, "the request waits"
        self.planned(buildid, *plans)
        return buildid

    # --- what came of it

    def new(self, kind: type[FactT]) -> list[FactT]:
        """The facts of one kind of the last decision."""
        return [each.fact for each in self.last.facts if isinstance(each.fact, kind)]

    def all(self, kind: type[FactT]) -> list[FactT]:
        """The facts of one kind of all decisions."""
        return [each.fact for each in self.facts if isinstance(each.fact, kind)]

    def errands(self, kind: type[x.Effect]) -> list[Any]:
        """The effects of one kind of the last decision."""
        return [effect for effect in self.last.effects if isinstance(effect, kind)]

    def result(self, buildid: int) -> Result:
        """How a build ended."""
        (end,) = [fact for fact in self.all(f.BuildEnded) if fact.buildid == buildid]
        return end.result

    def build(self, buildid: int) -> Build:
        """A running build."""
        return self.state.builds[buildid]

    def request(self, brid: int) -> Request:
        """A request that has not ended."""
        return self.state.requests[brid]

    def step(self, buildid: int, number: int = 1) -> Step:
        """A step of a running build."""
        return self.state.builds[buildid].steps[number - 1]

    def used(self, name: str) -> int:
        """How many units of a master lock are held."""
        return self.state.allocator.reasons.used(lock(name))
