"""Users' steps, simulated: a script becomes calls, results come back, and it is replayed after a restart.

It keeps the contract of the real doors (`steps/context.py`, HOUSE.md section 2): calls are numbered in program order,
a step ends only after its commands, and a replay that makes fewer calls than before says so. No decision is here.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core.nouns import LockKey, Result
from lockstep.core.state import State
from lockstep.core.values import RequestWish, Submission
from lockstep.sim.scenario import Call, Command, Give, More, Nap, Note, Return, Script, Take

if TYPE_CHECKING:
    from lockstep.sim.world import World

Code = Generator[list[c.Call], list[Any], Result]

_RESULTS = {
    "success": Result.SUCCESS,
    "failure": Result.FAILURE,
    "warnings": Result.WARNINGS,
    "exception": Result.EXCEPTION,
    "skip": Result.SKIPPED,
}


class StepRun:
    """One running step. `post` takes its events."""

    def __init__(
        self, world: "World", state: State, buildid: int, number: int, post: Callable[[e.Event], None]
    ) -> None:
        self.world = world
        self.scenario = scenario = world.scenario
        self.state = state
        self.buildid = buildid
        self.number = number
        self.post = post
        build = state.builds[buildid]
        self.script: Script = scenario.scripts[build.steps[number - 1].plan.step_class]
        request = state.requests[build.brid]
        self.again = request.since != request.ticket
        self.made = 0
        self.waiting: dict[int, bool] = {}
        self.results: dict[int, Any] = {}
        self.interrupted = False
        self.over = False
        self.taken: list[tuple[int, Take]] = []
        self.returned: set[LockKey] = set()
        self.locked = scenario.builder(build.builder).locked if self.script.plan.group else ()
        self._code: Code = self._run()

    def start(self) -> None:
        """Run until something must be waited for."""
        self._advance(None)

    def done(self, number: int, result: Any) -> None:
        """A call has its stored result."""
        if number in self.waiting and not self.over:
            del self.waiting[number]
            self.results[number] = result
            if not self.waiting:
                self._advance([self.results[each] for each in sorted(self.results)])

    def interrupt(self) -> None:
        """The build is being stopped: what is no command is not waited for any more."""
        if self.over or self.interrupted:
            return
        self.interrupted = True
        self.waiting = {number: True for number, command in self.waiting.items() if command}
        if not self.waiting:
            self._finish(Result.CANCELLED)

    def _advance(self, results: list[Any] | None) -> None:
        if self.buildid not in self.state.builds:
            self.over = True  # it is about to be dropped
            return
        if self.interrupted:
            self._finish(Result.CANCELLED)
            return
        try:
            calls = next(self._code) if results is None else self._code.send(results)
        except StopIteration as stop:
            self._finish(stop.value)
            return
        self.results = {}
        numbers = range(self.made + 1, self.made + len(calls) + 1)
        self.made += len(calls)
        self.waiting = {n: isinstance(call, c.RunCommand) for n, call in zip(numbers, calls, strict=True)}
        for number, call in zip(numbers, calls, strict=True):
            made = e.CallMade(
                buildid=self.buildid, step=self.number, number=number, call=call, fingerprint=type(call).__name__
            )
            self.post(made)

    def _finish(self, result: Result) -> None:
        self.over = True
        step = self.state.step(self.buildid, self.number)
        if step is not None and any(number > self.made for number in step.calls):
            reason = f"step {self.number} makes fewer calls than before"
            self.post(e.BuildBroken(buildid=self.buildid, result=Result.RETRY, reason=reason))
            return
        self.post(e.StepFinished(buildid=self.buildid, number=self.number, result=result))

    # --- the code

    def _run(self) -> Code:
        for op in self.script.ops:
            if isinstance(op, Command):
                results = yield [self._command(seconds, op.rc) for seconds in op.seconds]
                if any(result.rc for result in results):
                    return Result.FAILURE
            elif isinstance(op, Note):
                (log,) = yield [c.OpenLog("note")]
                yield [c.SetProperty(f"p{self.number}", 1, "step"), c.CloseLog(log), c.Now(), c.AddUrl("here", "x")]
            elif isinstance(op, Nap):
                yield [c.Sleep(op.seconds)]
            elif isinstance(op, Take):
                self.taken.append((self.made + 1, op))
                self.world.make_known(self.post, self.state, op.accesses)
                yield [c.Acquire(op.accesses)]
            elif isinstance(op, Give):
                yield [c.Release(self.taken.pop()[0])]
            elif isinstance(op, Return):
                self.returned.add(op.lock)
                yield [c.Release(0, op.lock)]
            elif isinstance(op, More):
                yield [c.AddSteps((self.scenario.scripts[op.script].plan,), op.where)]
            elif isinstance(op, Call):
                yield [self._trigger(op)]
        if self.script.ending == "retry once":
            return Result.SUCCESS if self.again else Result.RETRY
        return _RESULTS[self.script.ending]

    def _command(self, seconds: float, rc: int) -> c.RunCommand:
        return c.RunCommand(kind="shell", args={"seconds": seconds, "rc": rc, "locks": self._promised()})

    def _promised(self) -> list[list[Any]]:
        """What this command may rely on: the locks of its build, its step, its step's group and its calls."""
        build = self.state.builds[self.buildid]
        hold = self.state.allocator.holds[build.hold]
        own = [access for access in self.script.accesses if access.lock not in self.returned]
        accesses = [*hold.alternative.accesses, *own, *self.locked]
        accesses += [access for _, take in self.taken for access in take.accesses]
        mine = [each for each in self.state.allocator.holds.values() if each.owner == build.ticket]
        units = {f"{pool}/{unit}" for each in mine for pool, names in each.units for unit in names}
        plain = [[str(a.lock), a.mode, a.count] for a in accesses if a.lock.kind not in ("slot", "pool")]
        return plain + [[unit, "exclusive", 1] for unit in sorted(units)]

    def _trigger(self, op: Call) -> c.StartBuilds:
        wishes = tuple(RequestWish(builder=name) for name in op.builders)
        return c.StartBuilds((Submission(requests=wishes, reason="triggered", collapse=False),), op.wait)
