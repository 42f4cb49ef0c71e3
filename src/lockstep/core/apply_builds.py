"""What the facts about builds, steps, calls and commands do to the state. See `apply.py`."""

from lockstep.core import facts as f
from lockstep.core.alloc_facts import normalize
from lockstep.core.alloc_part import give_back
from lockstep.core.calls import RunCommand
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Claim, Need
from lockstep.core.records import Build, Buildset, CallRecord, Command, Step
from lockstep.core.state import State
from lockstep.core.tables import move


def step_claim(build: Build, ticket: int, accesses: tuple[Access, ...]) -> Claim:
    """The claim of a step of a running build: its build owns it (L20), and it comes before all requests (L40)."""
    need = Need((Alternative("", normalize(accesses)),))
    return Claim(ticket=ticket, need=need, owner=build.ticket, level=STEP_LEVEL, since=ticket)


def forget_children(state: State, buildid: int) -> None:
    """A step that waited for builds has ended: nobody asks for the results of those that have ended.

    For the others its build waits as long as they take, and lends to them (L53).
    """
    for bsid in sorted(state.children.get(buildid, ())):
        child = state.buildsets[bsid]
        if child.state == "complete":
            drop_buildset(state, child)


def orphan_children(state: State, buildid: int) -> None:
    """A build breaks off: it waits for none of its children any more."""
    for bsid in sorted(state.children.get(buildid, ())):
        for brid in sorted(state.buildsets[bsid].open_requests):
            state.allocator.forget_parent(state.requests[brid].ticket)


def drop_buildset(state: State, buildset: Buildset) -> None:
    """Forget a complete build set that no call waits for."""
    del state.buildsets[buildset.bsid]
    if buildset.parent_call is not None:
        children = state.children.get(buildset.parent_call[0])
        if children is not None:
            children.discard(buildset.bsid)
            if not children:
                del state.children[buildset.parent_call[0]]


def build_started(state: State, fact: f.BuildStarted, at: float) -> None:
    state.counters.buildid = fact.buildid
    state.build_numbers[fact.builder] = fact.number
    state.requests[fact.brid].buildid = fact.buildid
    state.builds[fact.buildid] = Build(
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
    state.builds_on.setdefault(fact.worker, set()).add(fact.buildid)


def build_plan_kept(state: State, fact: f.BuildPlanKept, _at: float) -> None:
    build = state.builds[fact.buildid]
    build.state = move("build", fact.buildid, build.state, "planned")  # type: ignore[assignment]
    build.properties = dict(fact.properties)
    build.steps = [Step(number=i, plan=plan, name=plan.name) for i, plan in enumerate(fact.plans, 1)]


def steps_added(state: State, fact: f.StepsAdded, _at: float) -> None:
    build = state.builds[fact.buildid]
    new = [Step(number=0, plan=plan, name=plan.name) for plan in fact.plans]
    build.steps[fact.at - 1 : fact.at - 1] = new
    for number, step in enumerate(build.steps, 1):
        step.number = number


def build_stopping(state: State, fact: f.BuildStopping, _at: float) -> None:
    build = state.builds[fact.buildid]
    build.state = move("build", fact.buildid, build.state, "stop")  # type: ignore[assignment]
    build.stop_result = fact.result
    build.stop_reason = fact.reason
    build.broken = build.broken or fact.broken
    if fact.step:
        build.steps[fact.step - 1].interrupted = True
    if fact.broken:
        orphan_children(state, fact.buildid)


def build_ended(state: State, fact: f.BuildEnded, _at: float) -> None:
    build = state.builds.pop(fact.buildid)
    move("build", fact.buildid, build.state, "ended")
    request = state.requests[build.brid]
    state.buildsets[request.bsid].builds.append((build.builder, build.number, build.buildid, int(fact.result)))
    on_worker = state.builds_on[build.worker]
    on_worker.discard(build.buildid)
    if not on_worker:
        del state.builds_on[build.worker]


def step_started(state: State, fact: f.StepStarted, at: float) -> None:
    build = state.builds[fact.buildid]
    step = build.steps[fact.number - 1]
    state.counters.stepid = fact.stepid
    build.current = fact.number
    if state.allocator.safety.plans:
        state.goes_on(build)
    step.stepid = fact.stepid
    step.name = fact.name
    step.started_at = at
    step.accesses = fact.accesses
    step.shared = fact.shared
    step.rendered = fact.rendered
    step.ticket = fact.ticket
    event = "claims" if fact.ticket else "runs"
    step.state = move("step", f"{fact.number} of build {fact.buildid}", step.state, event)  # type: ignore[assignment]
    if fact.ticket:
        state.counters.clock = fact.ticket
        state.claims[fact.ticket] = ("step", fact.buildid, fact.number, 0)
        state.claim(step_claim(build, step.ticket, step.accesses))
    else:
        step.locks_acquired_at = at


def step_put_back(state: State, fact: f.StepPutBack, _at: float) -> None:
    build = state.builds[fact.buildid]
    step = build.steps[fact.number - 1]
    step.state = move("step", fact.stepid, step.state, "put back")  # type: ignore[assignment]
    step.hold, step.fences, step.locks_acquired_at = 0, {}, 0.0
    state.claim(step_claim(build, step.ticket, step.accesses))


def locks_acquired(state: State, step: Step, at: float) -> None:
    """A waiting step got its locks."""
    step.state = move("step", step.stepid, step.state, "runs")  # type: ignore[assignment]
    step.locks_acquired_at = at


def locks_returned(state: State, fact: f.LocksReturned, _at: float) -> None:
    give_back(state.allocator, fact.hold, frozenset(fact.locks))
    step = state.builds[fact.buildid].steps[fact.step - 1]
    for key in fact.locks:
        step.fences.pop(str(key.whole), None)


def forget_ended(state: State, ticket: int) -> None:
    """A hold has ended: if it outlived the step that claimed it, nobody has that ticket any more."""
    kind, buildid, number, _ = state.claims.get(ticket, ("", 0, 0, 0))
    step = state.step(buildid, number) if kind == "step" else None
    if step is not None and step.state == "ended":
        del state.claims[ticket]


def step_ended(state: State, fact: f.StepEnded, at: float) -> None:
    build = state.builds[fact.buildid]
    step = build.steps[fact.number - 1]
    waited = step.locks_acquired_at if step.state == "running" else at
    build.locks_duration += max(0.0, waited - step.started_at)
    step.state = move("step", f"{fact.number} of build {fact.buildid}", step.state, "ended")  # type: ignore[assignment]
    step.result = fact.result
    step.summary = fact.summary
    step.open_logs.clear()
    build.result = fact.build_result
    build.halted = build.halted or fact.halted
    if not step.shared or step.hold not in state.allocator.holds:
        state.claims.pop(step.ticket, None)
    for record in step.calls.values():
        state.claims.pop(record.ticket, None)
    forget_children(state, fact.buildid)
    if state.allocator.safety.plans:
        state.goes_on(build)


def call_started(state: State, fact: f.CallStarted, at: float) -> None:
    build = state.builds[fact.buildid]
    step = build.steps[fact.step - 1]
    record = CallRecord(
        number=fact.number,
        call=fact.call,
        fingerprint=fact.fingerprint,
        ticket=fact.ticket,
        due=fact.due,
        started_at=at,
    )
    step.calls[fact.number] = record
    if isinstance(fact.call, RunCommand):
        command = Command(id=fact.command, buildid=fact.buildid, step=fact.step, call=fact.number, worker=build.worker)
        state.commands[fact.command] = command
        state.commands_of.setdefault(fact.buildid, set()).add(fact.command)
    if fact.ticket:
        state.counters.clock = fact.ticket
        state.claims[fact.ticket] = ("call", fact.buildid, fact.step, fact.number)
        state.claim(step_claim(build, fact.ticket, getattr(fact.call, "accesses", ())))


def call_ended(state: State, fact: f.CallEnded, _at: float) -> None:
    build = state.builds[fact.buildid]
    record = build.steps[fact.step - 1].calls[fact.number]
    what = f"{fact.number} of step {fact.step} of build {fact.buildid}"
    record.state = move("call", what, record.state, "ended")  # type: ignore[assignment]
    record.result = fact.result
    record.order = fact.order
    for buildset in state.waited_buildsets((fact.buildid, fact.step, fact.number)):
        if buildset.state == "complete":
            drop_buildset(state, buildset)
    if state.allocator.safety.plans:
        state.goes_on(build)


def property_set(state: State, fact: f.PropertySet, _at: float) -> None:
    state.builds[fact.buildid].properties[fact.name] = (fact.value, fact.source)


def log_opened(state: State, fact: f.LogOpened, _at: float) -> None:
    step = state.builds[fact.buildid].steps[fact.step - 1]
    state.counters.logid = fact.logid
    step.logs[fact.logid] = fact.slug
    step.open_logs.add(fact.logid)


def log_closed(state: State, fact: f.LogClosed, _at: float) -> None:
    state.builds[fact.buildid].steps[fact.step - 1].open_logs.discard(fact.logid)


def command_known(state: State, fact: f.CommandKnown, _at: float) -> None:
    command = state.commands[fact.command]
    command.state = move("command", fact.command, command.state, "known")  # type: ignore[assignment]


def command_interrupted(state: State, fact: f.CommandInterrupted, _at: float) -> None:
    state.commands[fact.command].interrupted = True


def command_over(state: State, fact: f.CommandOver, _at: float) -> None:
    command = state.commands.pop(fact.command)
    move("command", fact.command, command.state, "ended")
    of_build = state.commands_of[command.buildid]
    of_build.discard(fact.command)
    if not of_build:
        del state.commands_of[command.buildid]
