"""Planted faults: each one line of thinking wrong, put into the core or the simulated master for a while.

Only the faults are here; that the checkers catch each of them is said in `test_mutants.py`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from lockstep.core import (
    alloc_reasons,
    apply,
    decide,
    decide_bookings,
    decide_builds,
    decide_calls,
    decide_groups,
    decide_requests,
    decide_waits,
    decide_workers,
    effects,
    recovery,
    state,
)
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.calls import CommandResult
from lockstep.core.nouns import Result
from lockstep.sim import master

Mutant = Callable[[], Any]


def _handler(kind: type[e.Event], make: Callable[[Any], Any]) -> Any:
    return patch.dict(decide.HANDLERS, {kind: make(decide.HANDLERS[kind])})


def _rule(kind: type[f.Fact], make: Callable[[Any], Any]) -> Any:
    return patch.dict(apply.APPLY, {kind: make(apply.APPLY[kind])})


def ghost_waiter_on_cancel() -> Any:
    """A cancelled claim goes on waiting (fault 2 of LOCKS.md section 11)."""
    return _rule(f.ClaimDropped, lambda _old: apply.nothing)


def leak_one_in_ten() -> Any:
    """Every tenth hold is not given back."""
    return _rule(f.HoldEnded, lambda old: lambda s, fact, at: old(s, fact, at) if fact.hold % 10 else None)


def effect_before_store() -> Any:
    """A command is sent before its fact is stored."""
    return patch.object(effects.SendCommand, "inner", True)


def old_command_id_accepted() -> Any:
    """The end of a command that is over already ends another one."""

    def make(old: Any) -> Any:
        def command_ended(draft: Any, event: e.CommandEnded) -> None:
            commands = draft.state.commands
            name = event.command if event.command in commands else next(iter(sorted(commands)), "")
            old(draft, e.CommandEnded(command=name, result=event.result))

        return command_ended

    return _handler(e.CommandEnded, make)


def ticket_lost_on_retry() -> Any:
    """Who is put back queues up at the end."""

    def make(old: Any) -> Any:
        def request_put_back(s: Any, fact: f.RequestPutBack, at: float) -> None:
            request = s.requests[fact.brid]
            s.claims[fact.since] = s.claims.pop(request.ticket)
            request.ticket = fact.since
            old(s, fact, at)

        return request_put_back

    return _rule(f.RequestPutBack, make)


def hold_released_on_disconnect() -> Any:
    """A lost connection is taken for a stopped machine: no lease (L61)."""

    def make(old: Any) -> Any:
        def disconnected(draft: Any, event: e.WorkerDisconnected) -> None:
            old(draft, event)
            worker = draft.state.workers.get(event.worker)
            if worker is not None and worker.state == "unreachable":
                decide_workers._give_up(draft, worker, "gone")

        return disconnected

    return _handler(e.WorkerDisconnected, make)


def reload_revokes_holds() -> Any:
    """A reload that lowers a limit takes holds away (L6)."""

    def make(old: Any) -> Any:
        def configured(draft: Any, event: e.Configured) -> None:
            old(draft, event)
            allocator = draft.state.allocator
            for lock in event.setup.locks:
                if lock.key.kind == "master" and allocator.reasons.used(lock.key) > lock.limit:
                    hold = allocator.reasons.holders(lock.key)[-1]
                    draft.emit(f.HoldEnded(hold=hold.id, ticket=hold.ticket))

        return configured

    return _handler(e.Configured, make)


def crash_forgets_holds() -> Any:
    """What is held is not read back."""
    return patch.object(recovery, "_holds", lambda _state, _saved: [])


def release_twice() -> Any:
    """A call's locks are given back by `Release`, and once more when its step ends (L32)."""

    def end_calls(draft: Any, build: Any, step: Any) -> None:
        old(draft, build, step)
        for record in step.calls.values():
            if record.ticket and record.hold:
                draft.emit(f.HoldEnded(hold=record.hold, ticket=record.ticket))

    old = decide_builds._end_calls
    return patch.object(decide_builds, "_end_calls", end_calls)


def stopped_claim_stays() -> Any:
    """The claim of a stopped build's step goes on waiting."""
    return patch.object(decide_builds, "drop_waits", lambda _draft, _step: None)


def child_not_cancelled() -> Any:
    """Builds that nobody waits for any more go on."""
    return patch.object(decide_builds, "_cancel_children", lambda *_: None)


def fence_repeated_after_restart() -> Any:
    """The last fence of a lock is not read back (L62)."""

    def lock_state(s: Any, lock: Any) -> Any:
        lock.fence = 0
        return old(s, lock)

    old = recovery._lock_state
    return patch.object(recovery, "_lock_state", lock_state)


def granted_while_paused() -> Any:
    """A paused worker gets builds."""

    def slot_limit(self: Any, worker: Any) -> int:
        worker_paused, worker.paused = worker.paused, False
        limit = old(self, worker)
        worker.paused = worker_paused
        return int(limit)

    old = state.State.slot_limit
    return patch.object(state.State, "slot_limit", slot_limit)


def recovery_believes_in_connections() -> Any:
    """After a restart, workers that were connected are taken for connected: grants come before recovery is over."""

    def resume(s: Any, at: float) -> Any:
        away = {name: worker for name, worker in s.workers.items() if worker.state == "connected"}
        for name in away:
            del s.workers[name]
        outcome = old(s, at)
        s.workers.update(away)
        return outcome

    old = master.resume
    return patch.object(master, "resume", resume)


def lease_without_margin() -> Any:
    """An unreachable worker is given up long before its lease is over."""
    return patch.object(decide_workers, "LEASE_MARGIN", -50.0)


def broken_build_ends_before_its_commands() -> Any:
    """A build that is put back gives its locks away while its commands still run."""

    def end_if_broken(draft: Any, build: Any, gone: str = "") -> bool:
        if build.buildid in draft.state.builds and build.broken:
            for name in sorted(draft.state.commands_of.get(build.buildid, ())):
                draft.emit(f.CommandOver(command=name))
            decide_builds.end_build(draft, build, gone)
            return True
        return False

    return patch.object(decide_builds, "end_if_broken", end_if_broken)


def cancelled_build_is_retried() -> Any:
    """A build that somebody stopped, and that loses its worker, goes back to the queue."""

    def break_build(draft: Any, build: Any, result: Result, *rest: Any) -> None:
        if build.stop_result is Result.CANCELLED and not build.broken:
            build.stop_result = None
        old(draft, build, result, *rest)

    old = decide_builds.break_build
    return patch.object(decide_builds, "break_build", break_build)


def step_keeps_its_locks() -> Any:
    """A step's hold does not end with the step (L30)."""

    def end_step(draft: Any, build: Any, step: Any, *rest: Any, **more: Any) -> None:
        hold, step.hold = step.hold, 0
        old(draft, build, step, *rest, **more)
        step.hold = hold

    old = decide_builds.end_step
    return patch.object(decide_builds, "end_step", end_step)


def overtaking_forgotten_after_restart() -> Any:
    """What a lock remembers of its grants is not read back (L45)."""

    def lock_state(s: Any, lock: Any) -> Any:
        lock.memory = None
        return old(s, lock)

    old = recovery._lock_state
    return patch.object(recovery, "_lock_state", lock_state)


def doubled_call_acts_twice() -> Any:
    """A call that is known already is made again."""

    def make(old: Any) -> Any:
        def call_made(draft: Any, event: e.CallMade) -> None:
            step = draft.state.step(event.buildid, event.step)
            if step is not None:
                step.calls.pop(event.number, None)
            old(draft, event)

        return call_made

    return _handler(e.CallMade, make)


def ring_is_not_broken() -> Any:
    """The build of a ring that is sentenced does not end."""

    def break_build(draft: Any, build: Any, result: Result, reason: str, *rest: Any) -> None:
        if not reason.startswith("Deadlock"):
            old(draft, build, result, reason, *rest)

    old = decide_builds.break_build
    return patch.object(decide_builds, "break_build", break_build)


def result_lost_in_a_crash() -> Any:
    """A call that had ended before the crash is not answered again."""

    def make(old: Any) -> Any:
        def call_made(draft: Any, event: e.CallMade) -> None:
            step = draft.state.step(event.buildid, event.step)
            if step is None or event.number not in step.calls:
                old(draft, event)

        return call_made

    return _handler(e.CallMade, make)


def sleep_never_ends_after_a_crash() -> Any:
    """Timers are not armed again by the recovery."""

    def resume(s: Any, at: float) -> Any:
        outcome = old(s, at)
        effects_left = tuple(each for each in outcome.effects if not isinstance(each, effects.ArmTimer))
        return decide.Outcome(outcome.facts, effects_left)

    old = master.resume
    return patch.object(master, "resume", resume)


def lost_command_counts_as_success() -> Any:
    """A worker that came back without a command is believed to have run it."""

    def connected(draft: Any, event: e.WorkerConnected) -> None:
        for command in [c for c in draft.state.commands.values() if c.worker == event.worker]:
            if command.id not in event.known:
                decide_calls.command_ended(draft, e.CommandEnded(command=command.id, result=CommandResult(rc=0)))
        old(draft, event)

    old = decide.HANDLERS[e.WorkerConnected]
    return _handler(e.WorkerConnected, lambda _old: connected)


def rank_changes_nobody_who_waits() -> Any:
    """What hooks say of a builder holds only for requests that come later."""

    def builder_ranked(s: Any, fact: f.BuilderRanked, _at: float) -> None:
        s.ranks[fact.builder] = fact.rank

    return _rule(f.BuilderRanked, lambda _old: builder_ranked)


def ranks_forgotten_after_restart() -> Any:
    """A new process does not know what hooks have said."""
    old = recovery.state_of

    def state_of(saved: Any) -> Any:
        saved.ranks = {}
        return old(saved)

    return patch.object(master, "state_of", state_of)


def merged_without_its_place() -> Any:
    """A request that a hook merges others into goes to the end of the queue, and theirs stays taken."""

    def merge(draft: Any, request: Any, brids: tuple[int, ...]) -> None:
        for brid in brids:
            other = draft.state.requests.get(brid)
            if other is not None and decide_requests.may_merge(request, other):
                draft.emit(f.RequestEnded(brid=brid, result=Result.SKIPPED, into=request.brid))

    return patch.object(decide_requests, "_merge", merge)


def program_robbed_at_once() -> Any:
    """A lock is taken away from a program that still believes that it has it."""
    return patch.object(decide_bookings, "take_away", decide_bookings.end)


def late_lease_timer_believed() -> Any:
    """A timer of a lease that was renewed meanwhile, heard late, ends the booking."""

    right = decide_bookings.time_is_up

    def time_is_up(draft: Any, timer: str) -> None:
        what, _, rest = timer.partition(".")
        booking = draft.state.bookings.get(int(rest.partition(".")[0]))
        renewed = booking is not None and rest != f"{booking.ticket}.99999"  # that was never armed
        right(draft, f"lease.{booking.ticket}.{booking.renewals}" if what == "lease" and renewed else timer)

    return patch.object(decide_bookings, "time_is_up", time_is_up)


def booking_lease_too_short() -> Any:
    """A booking is lost before its owner must have noticed."""
    return patch.object(decide_bookings, "LEASE_MARGIN", -4.0)


def robbed_build_goes_on() -> Any:
    """A build whose lock was taken away is not stopped."""
    builds = _With(decide_builds, sentence_build=lambda *_: None)
    return patch.object(decide_bookings, "decide_builds", builds)


def kept_lock_has_an_old_fence() -> Any:
    """What is kept after a failure has the fence of the build that failed."""
    return patch.object(
        decide_bookings, "f", _With(decide_bookings.f, HoldPassed=lambda **kw: f.HoldPassed(**kw | _less(kw)))
    )


def lent_lock_is_kept() -> Any:
    """What is only lent is kept after a failure, beside its lender."""
    return patch.object(alloc_reasons.Reasons, "stands_alone", lambda *_: True)


def _less(fields: dict[str, Any]) -> dict[str, Any]:
    return {"fences": tuple(fence - 1 for fence in fields["fences"])}


class _With:
    """A module with something else in it."""

    def __init__(self, module: Any, **other: Any) -> None:
        self.__dict__ = {**vars(module), **other}


def booking_forgotten_after_restart() -> Any:
    """A new process does not know who has booked."""
    return patch.object(recovery.decide_bookings, "resume", lambda *_: None)


def too_many_wait() -> Any:
    """Whoever is too many waits on."""
    return patch.object(decide_waits, "_thin_out", lambda *_: False)


def skips_only_where_it_is_asked() -> Any:
    """Who does not want to wait for a lock waits, if it was free when it asked."""
    return patch.object(decide_waits, "_may_be_busier", lambda _, new: any(map(_asks, new)))


def _asks(one: f.Numbered) -> bool:
    return isinstance(one.fact, f.RequestAdded | f.StepStarted)


def patience_begins_anew_with_each_process() -> Any:
    """A new process does not know who gives up when."""
    return patch.object(recovery, "decide_waits", _With(decide_waits, watch=lambda *_: None))


def wait_timer_believed() -> Any:
    """A claim never gives up."""
    return patch.object(decide_waits, "time_is_up", lambda *_: None)


def group_ends_with_its_first_step() -> Any:
    """What steps hold together is given back by the first of them."""
    return patch.object(decide_groups, "_goes_on", lambda *_: False)


def group_never_ends() -> Any:
    """What steps hold together is given back with their build."""
    return patch.object(decide_groups, "end_if_over", lambda *_: None)


def group_forgotten_after_restart() -> Any:
    """A new process does not know that a hold outlives its step."""
    return patch.object(recovery, "_index", lambda state, _, right=recovery._index: right(state, set()))


def returned_lock_stays_held() -> Any:
    """A lock that a step gives back is free only when its hold ends."""
    return _rule(f.LocksReturned, lambda _: lambda *_: None)


MUTANTS: tuple[Mutant, ...] = (
    group_ends_with_its_first_step,
    group_never_ends,
    group_forgotten_after_restart,
    returned_lock_stays_held,
    too_many_wait,
    skips_only_where_it_is_asked,
    patience_begins_anew_with_each_process,
    wait_timer_believed,
    rank_changes_nobody_who_waits,
    ranks_forgotten_after_restart,
    merged_without_its_place,
    ghost_waiter_on_cancel,
    leak_one_in_ten,
    effect_before_store,
    old_command_id_accepted,
    ticket_lost_on_retry,
    hold_released_on_disconnect,
    reload_revokes_holds,
    crash_forgets_holds,
    release_twice,
    stopped_claim_stays,
    child_not_cancelled,
    fence_repeated_after_restart,
    granted_while_paused,
    recovery_believes_in_connections,
    lease_without_margin,
    broken_build_ends_before_its_commands,
    cancelled_build_is_retried,
    step_keeps_its_locks,
    overtaking_forgotten_after_restart,
    doubled_call_acts_twice,
    ring_is_not_broken,
    result_lost_in_a_crash,
    sleep_never_ends_after_a_crash,
    lost_command_counts_as_success,
    program_robbed_at_once,
    late_lease_timer_believed,
    booking_lease_too_short,
    robbed_build_goes_on,
    kept_lock_has_an_old_fence,
    lent_lock_is_kept,
    booking_forgotten_after_restart,
)


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Have the fault in the core for a while."""
    with mutant():
        yield
