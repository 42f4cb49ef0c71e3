"""What each fact does to the state. The only place that changes it; illegal moves raise (tables.py).

Builds, steps and commands are in `apply_builds.py`, bookings in `apply_bookings.py`. Nothing is decided here and
nothing is looked up outside the state.
"""

from collections.abc import Callable
from typing import Any

from lockstep.core import apply_bookings as bookings
from lockstep.core import apply_builds as builds
from lockstep.core import apply_pools as pools
from lockstep.core import facts as f
from lockstep.core.nouns import FENCED, worse
from lockstep.core.records import Buildset, Request, Stamp, Worker
from lockstep.core.state import State, slot_key
from lockstep.core.tables import move
from lockstep.core.values import LockSetup


def setup_changed(state: State, fact: f.SetupChanged, _at: float) -> None:
    """Take the new builders and workers; waiting claims of builders take their new alternatives (L24)."""
    before = {name: builder.need for name, builder in state.builders.items()}
    reordered = state.setup.orders != fact.setup.orders
    state.setup = fact.setup
    state.rule_locks()
    state.builders = {builder.name: builder for builder in fact.setup.builders}
    state.builder_ids = dict(fact.builder_ids)
    state.worker_ids = dict(fact.worker_ids)
    state.counters.builderid = max(fact.builder_ids.values(), default=0)
    state.counters.workerid = max(fact.worker_ids.values(), default=0)
    _configure_workers(state)
    for request in state.requests.values():
        builder = state.builders.get(request.builder)
        after = builder.need if builder else None
        other = request.need is None and before.get(request.builder) != after
        if request.state == "waiting" and (other or reordered):
            state.claim_other(request)
    state.rule_anew()
    state.share_out()
    state.plan()


def _configure_workers(state: State) -> None:
    configured = {worker.name: worker for worker in state.setup.workers}
    for name, setup in configured.items():
        worker = state.workers.get(name)
        if worker is None:
            worker = state.workers[name] = Worker(name=name, workerid=state.worker_ids[name])
        worker.configured = True
        worker.max_builds = setup.max_builds
        _sync_slot(state, worker)
    for name, worker in list(state.workers.items()):
        if name not in configured:
            worker.configured = False
            _sync_slot(state, worker)
            forget_worker(state, name)


def forget_worker(state: State, name: str) -> None:
    """Drop a worker that is neither configured nor connected nor in use."""
    worker = state.workers[name]
    if not worker.configured and worker.state == "absent" and not state.builds_on.get(name):
        del state.workers[name]
        state.allocator.forget_lock(slot_key(name))


def _sync_slot(state: State, worker: Worker) -> None:
    state.allocator.set_lock(slot_key(worker.name), state.slot_limit(worker), state.slot_overtakes(worker.name))


def limit_changed(state: State, fact: f.LimitChanged, _at: float) -> None:
    if fact.removed:
        state.locks.pop(fact.key, None)
        state.removed_locks[fact.key] = LockSetup(fact.key, fact.limit, fact.max_overtakes)
        state.allocator.forget_lock(fact.key)
    else:
        state.removed_locks.pop(fact.key, None)
        state.locks[fact.key] = LockSetup(fact.key, fact.limit, fact.max_overtakes)
        state.allocator.set_lock(fact.key, fact.limit, fact.max_overtakes)
        state.allow_starts(fact.key)


def memory_kept(state: State, fact: f.MemoryKept, _at: float) -> None:
    memory, cursor = state.memories.get(fact.owner, (None, 0))
    memory = fact.memory if fact.memory is not None else memory
    state.memories[fact.owner] = (memory, cursor if fact.cursor is None else fact.cursor)


def change_added(state: State, fact: f.ChangeAdded, _at: float) -> None:
    state.counters.changeid = fact.change.changeid


def stamp_added(state: State, fact: f.StampAdded, _at: float) -> None:
    state.counters.ssid = fact.ssid
    state.stamps[fact.ssid] = Stamp(ssid=fact.ssid, stamp=fact.stamp)
    state.stamp_ids[fact.stamp] = fact.ssid


# --- build sets and requests


def buildset_added(state: State, fact: f.BuildsetAdded, at: float) -> None:
    submission = fact.submission
    state.counters.bsid = fact.bsid
    state.buildsets[fact.bsid] = Buildset(
        bsid=fact.bsid,
        reason=submission.reason,
        scheduler=submission.scheduler,
        ssids=fact.ssids,
        properties=submission.properties,
        submitted_at=at,
        external_id=submission.external_id,
        rebuilt_buildid=submission.rebuilt_buildid,
        parent_call=fact.parent_call,
        waited_for=fact.waited_for,
    )
    for ssid in fact.ssids:
        state.stamps[ssid].users.add(fact.bsid)
    if fact.parent_call is not None and fact.waited_for:
        state.children.setdefault(fact.parent_call[0], set()).add(fact.bsid)


def request_added(state: State, fact: f.RequestAdded, at: float) -> None:
    state.counters.brid = fact.brid
    state.counters.clock = max(state.counters.clock, fact.ticket)
    request = Request(
        brid=fact.brid,
        bsid=fact.bsid,
        builder=fact.builder,
        priority=fact.priority,
        ticket=fact.ticket,
        since=fact.ticket,
        submitted_at=at,
        waiting_since=at,
        properties=fact.properties,
        collapse_key=fact.collapse_key,
        parent=fact.parent,
        state="rendering" if fact.render else "waiting",
    )
    state.requests[fact.brid] = request
    state.buildsets[fact.bsid].open_requests.add(fact.brid)
    state.claims[fact.ticket] = ("request", fact.brid, 0, 0)
    if fact.collapse_key is not None:
        state.collapsible[fact.collapse_key] = fact.brid
    if fact.render:
        state.allocator.tick(fact.ticket)
        if fact.parent:
            state.allocator.child_waits(fact.parent, fact.ticket)
            state.sets_out(request)
    else:
        state.claim(state.request_claim(request))


def need_set(state: State, fact: f.NeedSet, _at: float) -> None:
    request = state.requests[fact.brid]
    first = request.state == "rendering"
    request.state = move("request", fact.brid, request.state, "rendered")  # type: ignore[assignment]
    request.need = fact.need
    if first:
        state.claim(state.request_claim(request))
    else:
        state.claim_other(request)


def priority_set(state: State, fact: f.PrioritySet, _at: float) -> None:
    request = state.requests[fact.brid]
    request.priority = fact.priority
    if request.state == "waiting":
        state.allocator.set_level(request.ticket, state.level(request))


def place_taken(state: State, fact: f.PlaceTaken, _at: float) -> None:
    request = state.requests[fact.brid]
    state.claims[fact.ticket] = state.claims.pop(request.ticket)
    request.ticket = request.since = fact.ticket
    request.priority = fact.priority


def builder_ranked(state: State, fact: f.BuilderRanked, _at: float) -> None:
    """Waiting requests of the builder take their new places."""
    held = state.rank(fact.builder).held
    state.ranks[fact.builder] = fact.rank
    for request in state.requests.values():
        if request.builder == fact.builder and request.state == "waiting":
            state.allocator.set_level(request.ticket, state.level(request))
            if fact.rank.held != held:
                state.claim_other(request)


def request_put_back(state: State, fact: f.RequestPutBack, at: float) -> None:
    request = state.requests[fact.brid]
    request.state = move("request", fact.brid, request.state, "put back")  # type: ignore[assignment]
    request.buildid = 0
    request.since = fact.since
    request.waiting_since = at
    request.put_back = True
    state.counters.clock = max(state.counters.clock, fact.since)
    state.claim(state.request_claim(request))


def place_regained(state: State, fact: f.PlaceRegained, _at: float) -> None:
    state.requests[fact.brid].put_back = False


def request_ended(state: State, fact: f.RequestEnded, _at: float) -> None:
    request = state.requests.pop(fact.brid)
    move("request", fact.brid, request.state, "ended")
    state.claims.pop(request.ticket, None)
    if request.parent:  # one that never had a claim, its locks not being known yet, is waited for as well
        state.allocator.forget_parent(request.ticket)
    _not_collapsible(state, request)
    buildset = state.buildsets[request.bsid]
    buildset.open_requests.discard(fact.brid)
    if not fact.into:
        buildset.result = worse(buildset.result, fact.result)


def _not_collapsible(state: State, request: Request) -> None:
    if request.collapse_key is not None and state.collapsible.get(request.collapse_key) == request.brid:
        del state.collapsible[request.collapse_key]


def buildset_ended(state: State, fact: f.BuildsetEnded, _at: float) -> None:
    buildset = state.buildsets[fact.bsid]
    buildset.state = move("build set", fact.bsid, buildset.state, "all requests ended")  # type: ignore[assignment]
    for ssid in buildset.ssids:
        stamp = state.stamps.get(ssid)
        if stamp is not None:
            stamp.users.discard(fact.bsid)
            if not stamp.users:
                del state.stamps[ssid]
                state.stamp_ids.pop(stamp.stamp, None)
    parent = buildset.parent_call
    if not (buildset.waited_for and parent is not None and state.call_waits(parent)):
        builds.drop_buildset(state, buildset)


# --- claims and holds: the allocator has changed its own state already when it decided


def claim_granted(state: State, fact: f.ClaimGranted, at: float) -> None:
    state.lock_rules.recent.update(fact.starts)
    if state.ruled.used:
        state.ruled.leaves(fact.ticket)
    kind, subject, number, call = state.claims[fact.ticket]
    if kind == "request":
        request = state.requests[subject]
        request.state = move("request", subject, request.state, "granted")  # type: ignore[assignment]
        _not_collapsible(state, request)
        return
    if kind == "booking":
        bookings.granted(state.bookings[subject], fact.hold, at)
        return
    build = state.builds[subject]
    step = build.steps[number - 1]
    if kind == "call":
        step.calls[call].hold = fact.hold
        step.calls[call].acquired_at = at
        return
    step.hold = fact.hold
    step.fences = fences_of(fact)
    builds.locks_acquired(state, step, at)


def starts_returned(state: State, fact: f.StartsReturned, _at: float) -> None:
    if fact.starts:
        state.lock_rules.recent[fact.key] = fact.starts
    else:
        state.lock_rules.recent.pop(fact.key, None)
    state.allow_starts(fact.key)


def fences_of(fact: f.ClaimGranted) -> dict[str, int]:
    """The fences of a grant by lock as text, as builds are told (L62)."""
    pairs = zip(fact.alternative.accesses, fact.fences, strict=True)
    return {str(access.lock.whole): fence for access, fence in pairs if access.lock.kind in FENCED}


def hold_ended(state: State, fact: f.HoldEnded, _at: float) -> None:
    state.allocator.release(fact.hold)
    builds.forget_ended(state, fact.ticket)


def claim_dropped(state: State, fact: f.ClaimDropped, _at: float) -> None:
    state.allocator.cancel(fact.ticket)
    if state.ruled.used:
        state.ruled.leaves(fact.ticket)


def nothing(_state: State, _fact: f.Fact, _at: float) -> None:
    """For facts that only tell; what they tell of has its own facts."""


# --- workers


def worker_up(state: State, fact: f.WorkerUp, _at: float) -> None:
    worker = state.workers[fact.worker]
    worker.state = move("worker", fact.worker, worker.state, "connected")  # type: ignore[assignment]
    worker.session = fact.session
    worker.resumes = fact.resumes
    worker.lease = fact.lease
    worker.info = fact.info
    state.counters.session = fact.session
    _sync_slot(state, worker)


def worker_leaving(state: State, fact: f.WorkerLeaving, _at: float) -> None:
    worker = state.workers[fact.worker]
    worker.state = move("worker", fact.worker, worker.state, "leaves")  # type: ignore[assignment]
    _sync_slot(state, worker)


def worker_down(state: State, fact: f.WorkerDown, _at: float) -> None:
    worker = state.workers[fact.worker]
    event = "disconnected, busy" if fact.busy else "disconnected, idle"
    worker.state = move("worker", fact.worker, worker.state, event)  # type: ignore[assignment]
    _sync_slot(state, worker)
    forget_worker(state, fact.worker)


def worker_given_up(state: State, fact: f.WorkerGivenUp, _at: float) -> None:
    worker = state.workers[fact.worker]
    worker.state = move("worker", fact.worker, worker.state, "given up")  # type: ignore[assignment]
    forget_worker(state, fact.worker)


def worker_paused(state: State, fact: f.WorkerPaused, _at: float) -> None:
    worker = state.workers[fact.worker]
    worker.paused = fact.paused
    worker.pause_reason = fact.reason
    _sync_slot(state, worker)


APPLY: dict[type[f.Fact], Callable[[State, Any, float], None]] = {
    f.SetupChanged: setup_changed,
    f.LimitChanged: limit_changed,
    f.PoolChanged: pools.pool_changed,
    f.UnitQuarantined: pools.unit_quarantined,
    f.UnitTried: pools.unit_tried,
    f.UnitsUsed: pools.units_used,
    f.QuarantineLifted: pools.quarantine_lifted,
    f.MemoryKept: memory_kept,
    f.ChangeAdded: change_added,
    f.StampAdded: stamp_added,
    f.BuildsetAdded: buildset_added,
    f.RequestAdded: request_added,
    f.NeedSet: need_set,
    f.PrioritySet: priority_set,
    f.PlaceTaken: place_taken,
    f.BuilderRanked: builder_ranked,
    f.RequestPutBack: request_put_back,
    f.PlaceRegained: place_regained,
    f.RequestEnded: request_ended,
    f.BuildsetEnded: buildset_ended,
    f.ClaimGranted: claim_granted,
    f.StartsReturned: starts_returned,
    f.ClaimPinned: nothing,
    f.BarrierRaised: nothing,
    f.ClaimDropped: claim_dropped,
    f.HoldEnded: hold_ended,
    f.LocksReturned: builds.locks_returned,
    f.RingBroken: nothing,
    f.BookingAdded: bookings.booking_added,
    f.BookingRenewed: bookings.booking_renewed,
    f.BookingExtended: bookings.booking_extended,
    f.BookingLeaving: bookings.booking_leaving,
    f.HoldPassed: bookings.hold_passed,
    f.NotKept: bookings.not_kept,
    f.HoldStolen: nothing,
    f.BookingEnded: bookings.booking_ended,
    f.BuildStarted: builds.build_started,
    f.BuildPlanKept: builds.build_plan_kept,
    f.StepsAdded: builds.steps_added,
    f.BuildStopping: builds.build_stopping,
    f.BuildEnded: builds.build_ended,
    f.StepStarted: builds.step_started,
    f.StepPutBack: builds.step_put_back,
    f.StepEnded: builds.step_ended,
    f.CallStarted: builds.call_started,
    f.CallEnded: builds.call_ended,
    f.PropertySet: builds.property_set,
    f.LogOpened: builds.log_opened,
    f.LogClosed: builds.log_closed,
    f.UrlAdded: nothing,
    f.CommandKnown: builds.command_known,
    f.CommandInterrupted: builds.command_interrupted,
    f.CommandOver: builds.command_over,
    f.WorkerUp: worker_up,
    f.WorkerLeaving: worker_leaving,
    f.WorkerDown: worker_down,
    f.WorkerGivenUp: worker_given_up,
    f.WorkerPaused: worker_paused,
}


def apply(state: State, fact: f.Fact, at: float) -> None:
    """Let a fact hold. `at` is its wall time. Raises IllegalMoveError where it cannot follow from the state."""
    APPLY[type(fact)](state, fact, at)
    state.last_fact += 1
