"""From what the store gave back to a state that serves, and the errands that follow from it (L60).

Pure, so that the simulation proves the code that serves. Recovery is finished before the first grant.
"""

from lockstep.core import effects as x
from lockstep.core import facts as f
from lockstep.core.alloc_facts import AllocatorSnapshot, Hold, LockState
from lockstep.core.allocation import Allocator
from lockstep.core.apply_builds import step_claim
from lockstep.core.calls import Acquire, Sleep
from lockstep.core.decide import Outcome
from lockstep.core.decide_workers import watch_lease
from lockstep.core.draft import Draft
from lockstep.core.nouns import STEP_LEVEL, Claim
from lockstep.core.saved import Saved
from lockstep.core.state import State
from lockstep.core.values import LockSetup


def state_of(saved: Saved) -> State:
    """The state that the rows stand for. Nothing is decided and nothing is granted."""
    state = State(saved.installation)
    state.last_fact = saved.last_fact
    state.counters = saved.counters
    if saved.setup is not None:
        state.setup = saved.setup
        state.builders = {builder.name: builder for builder in saved.setup.builders}
    state.builder_ids = saved.builder_ids
    state.worker_ids = saved.worker_ids
    state.build_numbers = saved.build_numbers
    state.buildsets = {buildset.bsid: buildset for buildset in saved.buildsets}
    state.stamps = {stamp.ssid: stamp for stamp in saved.stamps}
    state.stamp_ids = {stamp.stamp: stamp.ssid for stamp in saved.stamps}
    state.requests = {request.brid: request for request in saved.requests}
    state.builds = {build.buildid: build for build in saved.builds}
    state.commands = {command.id: command for command in saved.commands}
    state.workers = {worker.name: worker for worker in saved.workers}
    state.memories = saved.memories
    state.locks = {
        lock.key: LockSetup(lock.key, lock.limit, lock.max_overtakes)
        for lock in saved.locks
        if not lock.removed and lock.key.kind != "slot"
    }
    _index(state)
    state.allocator = Allocator.restore(_snapshot(state, saved))
    return state


def _index(state: State) -> None:
    """What is looked up by something else than its id."""
    for request in sorted(state.requests.values(), key=lambda r: r.brid):
        state.claims[request.ticket] = ("request", request.brid, 0, 0)
        if request.collapse_key is not None and request.state in ("rendering", "waiting"):
            state.collapsible[request.collapse_key] = request.brid
    for buildset in state.buildsets.values():
        for ssid in buildset.ssids:
            if ssid in state.stamps and buildset.state == "pending":
                state.stamps[ssid].users.add(buildset.bsid)
        if buildset.parent_call is not None and buildset.waited_for:
            state.children.setdefault(buildset.parent_call[0], set()).add(buildset.bsid)
    for build in state.builds.values():
        state.builds_on.setdefault(build.worker, set()).add(build.buildid)
        for step in build.steps:
            if step.ticket and step.state != "ended":
                state.claims[step.ticket] = ("step", build.buildid, step.number, 0)
            for record in step.calls.values():
                if record.ticket and step.state != "ended":
                    state.claims[record.ticket] = ("call", build.buildid, step.number, record.number)
    for command in state.commands.values():
        state.commands_of.setdefault(command.buildid, set()).add(command.id)


def _waiting(state: State) -> list[Claim]:
    """Every claim that waits, in no order: tickets order them."""
    claims = [state.request_claim(r) for r in state.requests.values() if r.state == "waiting"]
    for build in state.builds.values():
        for step in build.steps:
            if step.state == "waiting":
                claims.append(step_claim(build, step.ticket, step.accesses))
            elif step.state == "running":
                claims += [
                    step_claim(build, record.ticket, record.call.accesses)
                    for record in step.calls.values()
                    if isinstance(record.call, Acquire) and record.state == "started"
                ]
    return claims


def _snapshot(state: State, saved: Saved) -> AllocatorSnapshot:
    slots = {worker.name: state.slot_limit(worker) for worker in state.workers.values()}
    locks = tuple(
        LockState(
            lock.key,
            slots.get(lock.key.worker, 0) if lock.key.kind == "slot" else lock.limit,
            lock.max_overtakes,
            lock.removed,
            lock.fence,
            lock.memory or (),
        )
        for lock in saved.locks
    )
    waiting = tuple(_waiting(state))
    parents = tuple(
        (request.ticket, request.parent)
        for request in state.requests.values()
        if request.parent and any(build.ticket == request.parent for build in state.builds.values())
    )
    live = {claim.ticket for claim in waiting}
    return AllocatorSnapshot(
        locks=locks,
        holds=tuple(_holds(state, saved)),
        waiting=waiting,
        pins=tuple((c.ticket, c.pin) for c in saved.claims if c.pin >= 0 and c.ticket in live),
        parents=parents,
        next_hold=saved.last_hold + 1,
        clock=state.counters.clock,
    )


def _holds(state: State, saved: Saved) -> list[Hold]:
    holds = []
    for claim in saved.claims:
        if claim.hold and claim.alternative is not None:
            kind, subject, _, _ = state.claims[claim.ticket]
            level = state.requests[subject].priority if kind == "request" else STEP_LEVEL
            holds.append(Hold(claim.hold, claim.ticket, claim.owner, 0, claim.alternative, claim.fences, level))
    return holds


def resume(state: State, at: float) -> Outcome:
    """What a new process must do and say first: workers are away until they are back, builds go on, timers run.

    Args:
        state: of `state_of`; changed in place.
        at: the wall time, Unix seconds.
    """
    draft = Draft(state, at)
    for worker in list(state.workers.values()):
        busy = bool(state.builds_on.get(worker.name))
        if worker.state == "connected":
            draft.emit(f.WorkerDown(worker=worker.name, busy=busy))
        if worker.name in state.workers and worker.state == "unreachable":
            watch_lease(draft, worker)
    for request in state.requests.values():
        if request.state == "rendering":
            draft.effect(x.RenderNeed(request.brid))
    for build in list(state.builds.values()):
        _resume_build(draft, build.buildid)
    return Outcome(tuple(draft.facts), tuple(draft.effects))


def _resume_build(draft: Draft, buildid: int) -> None:
    state = draft.state
    build = state.builds[buildid]
    if build.state == "starting" or not build.steps:
        draft.effect(x.BeginBuild(buildid))
        return
    draft.effect(x.ResumeBuild(buildid))
    step = build.steps[build.current - 1] if build.current else None
    if step is not None and step.state == "running":
        draft.effect(x.RunStep(buildid, step.number))
        if step.interrupted:
            draft.effect(x.InterruptStep(buildid, step.number, build.stop_reason))
        for record in step.calls.values():
            if isinstance(record.call, Sleep) and record.state == "started":
                timer = f"sleep:{buildid}.{step.number}.{record.number}"
                draft.effect(x.ArmTimer(timer, max(0.0, record.due - draft.at)))
    elif step is None or step.state == "ended":
        following = state.next_step(build)
        if following is not None:
            draft.effect(x.PrepareStep(buildid, following.number))
