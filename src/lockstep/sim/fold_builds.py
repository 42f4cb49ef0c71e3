"""Facts about builds, steps, calls and commands, folded into rows. See `fold.py`."""

from lockstep.core import facts as f
from lockstep.core.alloc_facts import together
from lockstep.core.calls import RunCommand
from lockstep.core.records import Build, Buildset, CallRecord, Command, Counters, Request, Step
from lockstep.core.saved import SavedClaim


def rule_for(fact: f.Fact) -> str:
    """The name of the method for a fact: `on_build_started` for `BuildStarted`."""
    return "on" + "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(fact).__name__)


class BuildFold:
    """Rows of requests, build sets, builds and commands."""

    claims: dict[int, SavedClaim]

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(Counters.__struct_fields__, 0)
        self.build_numbers: dict[str, int] = {}
        self.buildsets: dict[int, Buildset] = {}
        self.requests: dict[int, Request] = {}
        self.builds: dict[int, Build] = {}
        self.commands: dict[str, Command] = {}

    def seen(self, counter: str, *numbers: int) -> None:
        """A number was given."""
        self.counts[counter] = max(self.counts[counter], *numbers, 0)

    def is_awaited(self, buildset: Buildset) -> bool:
        """Whether a call that has not ended, of a step that runs, waits for the build set."""
        if buildset.parent_call is None or not buildset.waited_for:
            return False
        buildid, number, call = buildset.parent_call
        build = self.builds.get(buildid)
        if build is None:
            return False
        step = build.steps[number - 1]
        return step.state == "running" and step.calls[call].state == "started"

    def _step(self, buildid: int, number: int) -> Step:
        return self.builds[buildid].steps[number - 1]

    # --- builds

    def on_build_started(self, fact: f.BuildStarted, at: float) -> None:
        self.seen("buildid", fact.buildid)
        self.build_numbers[fact.builder] = fact.number
        request = self.requests[fact.brid]
        request.state, request.buildid = "building", fact.buildid
        self.builds[fact.buildid] = Build(
            buildid=fact.buildid,
            number=fact.number,
            builder=fact.builder,
            brid=fact.brid,
            worker=fact.worker,
            ticket=fact.ticket,
            hold=fact.hold,
            fences=fact.fences,
            started_at=at,
        )

    def on_build_plan_kept(self, fact: f.BuildPlanKept, _at: float) -> None:
        build = self.builds[fact.buildid]
        if build.state == "starting":
            build.state = "running"
        build.properties = dict(fact.properties)
        build.steps = [Step(number=n + 1, plan=p, name=p.name) for n, p in enumerate(fact.plans)]

    def on_steps_added(self, fact: f.StepsAdded, _at: float) -> None:
        build = self.builds[fact.buildid]
        before, after = build.steps[: fact.at - 1], build.steps[fact.at - 1 :]
        build.steps = [*before, *(Step(number=0, plan=p, name=p.name) for p in fact.plans), *after]
        for number, step in enumerate(build.steps):
            step.number = number + 1

    def on_build_stopping(self, fact: f.BuildStopping, _at: float) -> None:
        build = self.builds[fact.buildid]
        build.state, build.stop_result, build.stop_reason = "stopping", fact.result, fact.reason
        if fact.broken:
            build.broken = True
        if fact.step:
            self._step(fact.buildid, fact.step).interrupted = True

    def on_build_ended(self, fact: f.BuildEnded, _at: float) -> None:
        build = self.builds.pop(fact.buildid)
        buildset = self.buildsets[self.requests[build.brid].bsid]
        buildset.builds.append((build.builder, build.number, build.buildid, int(fact.result)))

    # --- steps

    def on_step_started(self, fact: f.StepStarted, at: float) -> None:
        self.seen("stepid", fact.stepid)
        self.seen("clock", fact.ticket)
        self.builds[fact.buildid].current = fact.number
        step = self._step(fact.buildid, fact.number)
        step.stepid, step.name, step.started_at = fact.stepid, fact.name, at
        step.accesses, step.rendered, step.ticket = fact.accesses, fact.rendered, fact.ticket
        step.shared = fact.shared
        if fact.ticket:
            step.state = "waiting"
        else:
            step.state, step.locks_acquired_at = "running", at

    def on_step_put_back(self, fact: f.StepPutBack, _at: float) -> None:
        step = self._step(fact.buildid, fact.number)
        step.state, step.hold, step.fences, step.locks_acquired_at = "waiting", 0, {}, 0.0

    def on_units_used(self, fact: f.UnitsUsed, _at: float) -> None:
        build = self.builds[fact.buildid]
        build.units = together(build.units, fact.units)

    def step_granted(self, fact: f.ClaimGranted, at: float) -> None:
        """The claim was a step's, or a call's, or neither."""
        for build in self.builds.values():
            for step in build.steps:
                if step.ticket == fact.ticket and step.state == "waiting":
                    step.state, step.hold, step.locks_acquired_at = "running", fact.hold, at
                    for access, fence in zip(fact.alternative.accesses, fact.fences, strict=True):
                        step.fences[str(access.lock.whole)] = fence
                for record in step.calls.values():
                    if record.ticket == fact.ticket:
                        record.hold, record.acquired_at = fact.hold, at

    def on_step_ended(self, fact: f.StepEnded, at: float) -> None:
        build = self.builds[fact.buildid]
        step = self._step(fact.buildid, fact.number)
        build.locks_duration += (step.locks_acquired_at if step.state == "running" else at) - step.started_at
        step.state, step.result, step.summary = "ended", fact.result, fact.summary
        step.open_logs = set()
        build.result = fact.build_result
        if fact.halted:
            build.halted = True

    # --- calls

    def on_call_started(self, fact: f.CallStarted, at: float) -> None:
        self.seen("clock", fact.ticket)
        build = self.builds[fact.buildid]
        self._step(fact.buildid, fact.step).calls[fact.number] = CallRecord(
            number=fact.number,
            call=fact.call,
            fingerprint=fact.fingerprint,
            ticket=fact.ticket,
            due=fact.due,
            started_at=at,
        )
        if isinstance(fact.call, RunCommand):
            self.commands[fact.command] = Command(
                id=fact.command, buildid=fact.buildid, step=fact.step, call=fact.number, worker=build.worker
            )

    def on_call_ended(self, fact: f.CallEnded, _at: float) -> None:
        record = self._step(fact.buildid, fact.step).calls[fact.number]
        record.state, record.result, record.order = "ended", fact.result, fact.order

    def on_property_set(self, fact: f.PropertySet, _at: float) -> None:
        self.builds[fact.buildid].properties[fact.name] = (fact.value, fact.source)

    def on_log_opened(self, fact: f.LogOpened, _at: float) -> None:
        self.seen("logid", fact.logid)
        step = self._step(fact.buildid, fact.step)
        step.logs[fact.logid] = fact.slug
        step.open_logs.add(fact.logid)

    def on_log_closed(self, fact: f.LogClosed, _at: float) -> None:
        self._step(fact.buildid, fact.step).open_logs.discard(fact.logid)

    def on_command_known(self, fact: f.CommandKnown, _at: float) -> None:
        self.commands[fact.command].state = "known"

    def on_command_interrupted(self, fact: f.CommandInterrupted, _at: float) -> None:
        self.commands[fact.command].interrupted = True

    def on_command_over(self, fact: f.CommandOver, _at: float) -> None:
        del self.commands[fact.command]
