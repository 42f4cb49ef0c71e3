"""From what the store gave back to a state that serves, and the errands that follow from it (L60).

Pure, so that the simulation proves the code that serves. Recovery is finished before the first grant.
"""

from collections.abc import Iterator

from lockstep.core import decide_bookings, decide_health, decide_rates, decide_waits, grants
from lockstep.core import effects as x
from lockstep.core import facts as f
from lockstep.core.alloc_facts import AllocatorSnapshot, Hold, LockState, PoolMemory, PoolState
from lockstep.core.allocation import Allocator
from lockstep.core.apply_builds import step_claim
from lockstep.core.calls import Acquire, Sleep
from lockstep.core.decide import Outcome
from lockstep.core.decide_builds import break_build, current_step, go_on
from lockstep.core.decide_workers import watch_lease
from lockstep.core.draft import Draft
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, STEP_LEVEL, Claim, LockKey, Result
from lockstep.core.records import Build
from lockstep.core.saved import Saved, SavedLock
from lockstep.core.state import State, locks_of, slot_key
from lockstep.core.values import LockSetup, UnitSetup


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
    state.ranks = saved.ranks
    state.buildsets = {buildset.bsid: buildset for buildset in saved.buildsets}
    state.stamps = {stamp.ssid: stamp for stamp in saved.stamps}
    state.stamp_ids = {stamp.stamp: stamp.ssid for stamp in saved.stamps}
    state.requests = {request.brid: request for request in saved.requests}
    state.builds = {build.buildid: build for build in saved.builds}
    state.commands = {command.id: command for command in saved.commands}
    state.workers = {worker.name: worker for worker in saved.workers}
    state.memories = saved.memories
    state.bookings = {booking.ticket: booking for booking in saved.bookings}
    state.locks = {
        lock.key: LockSetup(lock.key, lock.limit, lock.max_overtakes)
        for lock in saved.locks
        if not lock.removed and lock.key.kind != "slot"
    }
    state.removed_locks = {
        lock.key: LockSetup(lock.key, lock.limit, lock.max_overtakes)
        for lock in saved.locks
        if lock.removed and lock.key.kind != "slot"
    }
    state.pools = {pool.setup.name: pool.setup for pool in saved.pools if not pool.removed}
    state.quarantines = {(row.pool, row.unit): row.quarantine for row in saved.units if row.quarantine is not None}
    state.failed_with = {(row.pool, row.unit): row.failed for row in saved.units if row.failed}
    state.lock_rules.recent = {lock.key: lock.starts for lock in saved.locks if lock.starts}
    state.rule_locks()
    _index(state, {claim.ticket for claim in saved.claims if claim.hold})
    state.allocator = Allocator.restore(_snapshot(state, saved))
    state.plan()
    state.rule_anew()
    return state


def _index(state: State, held: set[int]) -> None:
    """What is looked up by something else than its id. `held` are the tickets that were granted and not given back."""
    for request in sorted(state.requests.values(), key=lambda r: r.brid):
        state.claims[request.ticket] = ("request", request.brid, 0, 0)
        mergeable = request.state in ("rendering", "waiting") and not request.put_back
        if request.collapse_key is not None and mergeable:
            state.collapsible[request.collapse_key] = request.brid
    for ticket in state.bookings:
        state.claims[ticket] = ("booking", ticket, 0, 0)
    for buildset in state.buildsets.values():
        for ssid in buildset.ssids:
            if ssid in state.stamps and buildset.state == "pending":
                state.stamps[ssid].users.add(buildset.bsid)
        if buildset.parent_call is not None and buildset.waited_for:
            state.children.setdefault(buildset.parent_call[0], set()).add(buildset.bsid)
    for build in state.builds.values():
        state.builds_on.setdefault(build.worker, set()).add(build.buildid)
        for step in build.steps:
            if step.ticket and (step.state != "ended" or step.ticket in held):
                state.claims[step.ticket] = ("step", build.buildid, step.number, 0)
            for record in step.calls.values():
                if record.ticket and step.state != "ended":
                    state.claims[record.ticket] = ("call", build.buildid, step.number, record.number)
    for command in state.commands.values():
        state.commands_of.setdefault(command.buildid, set()).add(command.id)


def _waiting(state: State) -> list[Claim]:
    """Every claim that waits, in no order: tickets order them."""
    claims = [state.request_claim(r) for r in state.requests.values() if r.state == "waiting"]
    claims += [state.booking_claim(b) for b in state.bookings.values() if b.state == "waiting"]
    for build in state.builds.values():
        for step in build.steps if not build.broken else ():
            if step.state == "waiting":
                claims.append(step_claim(build, step.ticket, step.accesses))
            elif step.state == "running" and not step.interrupted:
                claims += [
                    step_claim(build, record.ticket, record.call.accesses)
                    for record in step.calls.values()
                    if isinstance(record.call, Acquire) and record.state == "started" and record.ticket
                ]
    return claims


def _snapshot(state: State, saved: Saved) -> AllocatorSnapshot:
    holds = _holds(state, saved)
    waiting = tuple(_waiting(state))
    used = {access.lock for hold in holds for access in hold.alternative.accesses}
    used |= {key for claim in waiting for key in locks_of(claim.need)}
    saved_locks = {lock.key: lock for lock in saved.locks}
    for worker in state.workers:
        saved_locks.setdefault(
            slot_key(worker), SavedLock(key=slot_key(worker), limit=0, max_overtakes=DEFAULT_MAX_OVERTAKES)
        )
    locks, gone = [], []
    for lock in saved_locks.values():
        here = _lock_state(state, lock)
        if here.removed and here.key not in used:
            gone.append(here)
        else:
            locks.append(here)
    live = {claim.ticket for claim in waiting}
    return AllocatorSnapshot(
        locks=tuple(locks),
        holds=tuple(holds),
        waiting=waiting,
        pins=tuple((c.ticket, c.pin) for c in saved.claims if c.pin >= 0 and c.ticket in live),
        parents=tuple(_parents(state)),
        gone=tuple(gone),
        pools=_pools(saved, holds),
        shares=state.setup.shares,
        turns=tuple(saved.turns),
        projects=tuple(_projects(state)) if state.setup.shares else (),
        next_hold=saved.last_hold + 1,
        clock=state.counters.clock,
    )


def _projects(state: State) -> Iterator[tuple[int, str]]:
    """Of which projects builds and waiting requests are."""
    builders = [(build.ticket, build.builder) for build in state.builds.values()]
    builders += [(r.ticket, r.builder) for r in state.requests.values() if r.state == "waiting"]
    for ticket, name in sorted(builders):
        builder = state.builders.get(name)
        if builder is not None and builder.project:
            yield ticket, builder.project


def _pools(saved: Saved, holds: list[Hold]) -> tuple[PoolState, ...]:
    """Pools as the allocator knows them: with units that are none any more, for their wear, who has them, and why
    nobody gets them when they come back."""
    found = []
    for row in saved.pools:
        setup, memory = row.setup, row.memory or PoolMemory(row.setup.name, {})
        now = {unit.name: unit for unit in setup.units}
        had = {name for hold in holds for name in dict(hold.units).get(setup.name, ())}
        sick = tuple(each.unit for each in saved.units if each.pool == setup.name and each.quarantine is not None)
        absent = tuple(sorted({*memory.wear, *had, *sick} - set(now)))
        units = (*setup.units, *map(UnitSetup, absent))
        views = ((LockKey("pool", setup.name, where=where), past) for where, past in memory.views)
        state = PoolState(
            name=setup.name,
            max_overtakes=setup.max_overtakes,
            fence=row.fence,
            units=units,
            absent=absent,
            sick=sick,
            wear=tuple(memory.wear.get(unit.name, 0) for unit in units),
            start=tuple(memory.start.get(unit.name, 0) for unit in units),
            fresh=tuple(unit.name for unit in units if unit.name not in memory.wear),
            views=tuple(LockState(key, 0, setup.max_overtakes, memory=past) for key, past in views),
            removed=row.removed,
        )
        found.append(state)
    return tuple(found)


def _lock_state(state: State, lock: SavedLock) -> LockState:
    """A lock's row as the allocator knows it. A slot's limit follows from its worker (L23)."""
    limit, k, removed = lock.limit, lock.max_overtakes, lock.removed
    if lock.key.kind == "slot":
        worker = state.workers.get(lock.key.worker)
        limit = state.slot_limit(worker) if worker is not None else 0
        k, removed = state.slot_overtakes(lock.key.worker), worker is None
    left = state.lock_rules.left(lock.key)
    return LockState(lock.key, limit, k, removed, lock.fence, lock.memory or (), left)


def _parents(state: State) -> Iterator[tuple[int, int]]:
    """The builds that wait for builds: (the child's ticket, the waiting build's)."""
    for request in state.requests.values():
        if state.is_awaited(request):
            yield request.ticket, request.parent


def _holds(state: State, saved: Saved) -> list[Hold]:
    holds = []
    for claim in saved.claims:
        if claim.hold and claim.alternative is not None:
            level, retryable = _level(state, claim.ticket), state.claims[claim.ticket][0] != "booking"
            fixed = (claim.hold, claim.ticket, claim.owner, 0, claim.alternative, claim.fences)
            holds.append(Hold(*fixed, level, retryable, claim.units))
    return holds


def _level(state: State, ticket: int) -> int:
    kind, subject, _, _ = state.claims[ticket]
    if kind == "booking":
        return state.booking_level(state.bookings[subject])
    return state.level(state.requests[subject]) if kind == "request" else STEP_LEVEL


def resume(state: State, at: float) -> Outcome:
    """What a new process must do and say first: workers are away until they are back, builds go on, timers run.

    Args:
        state: of `state_of`; changed in place.
        at: the wall time, Unix seconds.
    """
    draft = Draft(state, at)
    for worker in list(state.workers.values()):
        busy = bool(state.builds_on.get(worker.name))
        if worker.state in ("connected", "leaving"):
            draft.emit(f.WorkerDown(worker=worker.name, busy=busy))
        if worker.name in state.workers and worker.state == "unreachable":
            watch_lease(draft, worker)
    for request in state.requests.values():
        builder = state.builders.get(request.builder)
        rendered = request.state == "waiting" and request.need is None and builder is not None and builder.need is None
        if request.state == "rendering" or rendered:
            draft.effect(x.RenderNeed(request.brid))
    for booking in state.bookings.values():
        decide_bookings.resume(draft, booking)
    decide_rates.configured(draft)
    decide_health.configured(draft)
    for ticket in sorted(state.allocator.waiting):
        decide_waits.watch(draft, ticket)
    for build in list(state.builds.values()):
        if build.buildid in state.builds:
            _resume_build(draft, build)
    grants.settle(draft)
    return Outcome(tuple(draft.facts), tuple(draft.effects))


def _resume_build(draft: Draft, build: Build) -> None:
    buildid, step = build.buildid, current_step(build)
    if build.broken:
        return  # it only waits for its commands to end
    if not build.steps:
        draft.effect(x.BeginBuild(buildid))
        return
    if step is not None and step.state == "running" and not step.plan.replayable:
        reason = f"step '{step.name}' cannot be replayed, and the server was restarted while it ran"
        break_build(draft, build, Result.RETRY, reason)
        return
    draft.effect(x.ResumeBuild(buildid))
    if step is not None and step.state == "running":
        draft.effect(x.RunStep(buildid, step.number))
        if step.interrupted:
            draft.effect(x.InterruptStep(buildid, step.number, build.stop_reason))
        for record in step.calls.values():
            if isinstance(record.call, Sleep) and record.state == "started":
                timer = f"sleep:{buildid}.{step.number}.{record.number}"
                draft.effect(x.ArmTimer(timer, max(0.0, record.due - draft.at)))
    elif step is None:
        go_on(draft, build)
