"""The decision: what holds from now on because of an event. Pure: same state and event, same facts and effects.

Here is the way in (`decide`), the draft that handlers write into, and the settling of claims to a fixed point. The
handlers are in the `decide_*.py` files; they change nothing but through `Draft.emit`.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from lockstep.core import (
    decide_bookings,
    decide_builds,
    decide_calls,
    decide_health,
    decide_pools,
    decide_requests,
    decide_setup,
    decide_workers,
    grants,
)
from lockstep.core import events as e
from lockstep.core.draft import Draft
from lockstep.core.effects import Effect
from lockstep.core.facts import Numbered
from lockstep.core.state import State


class Outcome(Struct, frozen=True):
    """What an event led to, in order."""

    facts: tuple[Numbered, ...]
    effects: tuple[Effect, ...]


def _full_pass(draft: Draft, _event: e.FullPass) -> None:
    grants.record(draft, draft.state.allocator.full_pass())


HANDLERS: dict[type[e.Event], Callable[[Draft, Any], None]] = {
    e.Configured: decide_setup.configured,
    e.LocksSeen: decide_setup.locks_seen,
    e.Remembered: decide_setup.remembered,
    e.ChangesFound: decide_setup.changes_found,
    e.Submitted: decide_requests.submitted,
    e.SchedulerMoved: decide_requests.scheduler_moved,
    e.NeedRendered: decide_requests.need_rendered,
    e.CancelAsked: decide_requests.cancel_asked,
    e.PriorityAsked: decide_requests.priority_asked,
    e.RanksFound: decide_requests.ranks_found,
    e.BookingAsked: decide_bookings.asked,
    e.BookingRenewAsked: decide_bookings.renew_asked,
    e.BookingExtendAsked: decide_bookings.extend_asked,
    e.BookingReleaseAsked: decide_bookings.release_asked,
    e.QuarantineAsked: decide_pools.quarantine_asked,
    e.UnitsFailed: decide_health.units_failed,
    e.UnitFit: decide_health.unit_fit,
    e.StealAsked: decide_bookings.steal_asked,
    e.StopAsked: decide_builds.stop_asked,
    e.BuildPlanned: decide_builds.build_planned,
    e.BuildBroken: decide_builds.build_broken,
    e.StepPrepared: decide_builds.step_prepared,
    e.StepFinished: decide_builds.step_finished,
    e.CallMade: decide_calls.call_made,
    e.CommandInterruptAsked: decide_calls.interrupt_asked,
    e.CommandEnded: decide_calls.command_ended,
    e.TimerFired: decide_workers.timer_fired,
    e.WorkerConnected: decide_workers.connected,
    e.WorkerDisconnected: decide_workers.disconnected,
    e.WorkerLeaving: decide_workers.leaving,
    e.WorkerPauseAsked: decide_workers.pause_asked,
    e.WorkerDeclaredDead: decide_workers.declared_dead,
    e.FullPass: _full_pass,
}


def decide(state: State, event: e.Event, at: float) -> Outcome:
    """Handle an event and every grant that follows from it (L13, L31).

    Args:
        state: changed in place: the facts returned hold in it already.
        event: what the world says.
        at: the wall time, Unix seconds.

    Raises:
        IllegalMoveError: a fault of Lockstep itself.
    """
    draft = Draft(state, at)
    HANDLERS[type(event)](draft, event)
    grants.settle(draft)
    return Outcome(tuple(draft.facts), tuple(draft.effects))
