"""What the world tells the core. An event may be false, late or doubled; deciding what of it holds is the core's work.

Values only. `token` marks an event whose sender waits for a `Reply` effect; 0: nobody does.
"""

from typing import Any

from msgspec import Struct, field

from lockstep.core.calls import Call, CommandResult
from lockstep.core.nouns import Access, LockKey, Need, Result
from lockstep.core.values import BookingWish, Change, LockSetup, Properties, Rank, Setup, StepPlan, Submission


class Event(Struct, frozen=True, kw_only=True):
    """Base of all events."""

    token: int = 0


class Configured(Event, frozen=True):
    """A configuration was loaded: the first one, or a reload."""

    setup: Setup


class LocksSeen(Event, frozen=True):
    """Rendered `locks=` named locks that the configuration did not have when it was loaded (L24)."""

    locks: tuple[LockSetup, ...]


class Remembered(Event, frozen=True):
    """Something that a scheduler or a source keeps: its memory, and how far in the facts it has read."""

    owner: str
    memory: Any
    cursor: int | None = None


class ChangesFound(Event, frozen=True):
    """A source found changes. `memory` is what the source must remember together with them."""

    source: str
    changes: tuple[Change, ...]
    memory: Any = None


class Submitted(Event, frozen=True):
    """Somebody asks for builds."""

    submission: Submission


class SchedulerMoved(Event, frozen=True):
    """What a scheduler wants of what it has read up to the fact `cursor`: all of it is taken in one decision."""

    owner: str
    submissions: tuple[Submission, ...] = ()
    memory: Any = None
    cursor: int | None = None


class NeedRendered(Event, frozen=True):
    """The alternatives of a request were rendered, or a hook chose among them (L24, L24a). `error` ends the request.

    `need` None: as configured. `merge` are the waiting requests that a hook wants merged into a new one.
    """

    brid: int
    need: Need | None = None
    error: str = ""
    merge: tuple[int, ...] = ()


class RanksFound(Event, frozen=True):
    """Hooks were asked for the order of builders and requests (L24a). Builders that are not named keep their rank."""

    ranks: dict[str, Rank]


class CancelAsked(Event, frozen=True):
    """Somebody cancels a request; if it is building, its build is stopped."""

    brid: int
    reason: str = ""
    who: str = ""


class StopAsked(Event, frozen=True):
    """Somebody stops a build."""

    buildid: int
    reason: str = ""
    who: str = ""


class PriorityAsked(Event, frozen=True):
    """Somebody changes a waiting request's priority."""

    brid: int
    priority: int


class BookingAsked(Event, frozen=True):
    """Somebody wants to hold locks. Replies the booking's ticket; the same `key` again is the same booking."""

    wish: BookingWish


class BookingRenewAsked(Event, frozen=True):
    """Whoever asked for a booking still wants it."""

    ticket: int
    key: str = ""


class BookingExtendAsked(Event, frozen=True):
    """Somebody wants a booking to last longer by so many seconds. Replies when it ends now."""

    ticket: int
    seconds: float


class BookingReleaseAsked(Event, frozen=True):
    """Somebody gives a booking back, or gives it up while it waits."""

    ticket: int
    who: str = ""
    key: str = ""


class QuarantineAsked(Event, frozen=True):
    """Somebody takes a unit of a pool out of use, or (`lift`) lets it be had again; without a unit, all of the pool."""

    pool: str
    unit: str
    lift: bool = False
    who: str = ""
    reason: str = ""


class UnitsFailed(Event, frozen=True):
    """Units failed the check of their pool before they were handed over to a build (step 0) or step that has this hold.

    `units` are pool, unit, and what the check said.
    """

    buildid: int
    step: int
    hold: int
    units: tuple[tuple[str, str, str], ...]


class UnitFit(Event, frozen=True):
    """A unit has passed the check of its pool, which was begun while it was in quarantine since then (Unix time)."""

    pool: str
    unit: str
    since: float


class StealAsked(Event, frozen=True):
    """Somebody takes a lock away: from all its holders, from one hold of it, or (`ticket`) all locks of a booking.

    With a `wish` whoever takes it wants to hold something then: a barrier from the start. Replies its ticket, or 0.
    """

    lock: LockKey | None = None
    ticket: int = 0
    hold: int = 0
    everybody: bool = False
    wish: BookingWish | None = None
    who: str = ""
    reason: str = ""


class WorkerConnected(Event, frozen=True):
    """A worker has said what it runs. `known` are the commands it has (running or ended and not acknowledged), `gone`
    those it had and lost (its agent was restarted). `resumes` False: it has stopped all that it ran (buildbot-worker).
    """

    worker: str
    resumes: bool = True
    lease: float = 0.0
    known: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)


class WorkerDisconnected(Event, frozen=True):
    """A worker's connection ended. `session` is the one that `Welcome` gave.

    `silent`: seconds since the last message of a worker with a lease was received, which it counts from, too (L61).
    """

    worker: str
    session: int
    silent: float = 0.0


class WorkerLeaving(Event, frozen=True):
    """A worker says that it is being stopped: it ends its commands, tells their ends and goes. `session` as above."""

    worker: str
    session: int


class WorkerPauseAsked(Event, frozen=True):
    """Somebody pauses a worker (it gets no new builds) or lets it go on."""

    worker: str
    paused: bool
    reason: str = ""


class WorkerDeclaredDead(Event, frozen=True):
    """A person says that what ran on an unreachable worker has ended (L61)."""

    worker: str
    who: str = ""


class BuildPlanned(Event, frozen=True):
    """A build's properties at its start, and its steps."""

    buildid: int
    plans: tuple[StepPlan, ...]
    properties: Properties


class BuildBroken(Event, frozen=True):
    """A build cannot go on: its steps cannot be made, or a replay differs (HOUSE 2.3). Commands are stopped first."""

    buildid: int
    result: Result
    reason: str


class StepPrepared(Event, frozen=True):
    """A step's `doStepIf`, arguments and locks were evaluated, once. `result` ends it at once (SKIPPED, EXCEPTION).

    Of its accesses those of the locks `shared` are claimed for the other steps of its group, too (`LockedSteps`).
    """

    buildid: int
    number: int
    name: str
    accesses: tuple[Access, ...] = ()
    rendered: bytes = b""
    result: Result | None = None
    summary: str = ""
    hidden: bool = False
    shared: tuple[LockKey, ...] = ()


class CallMade(Event, frozen=True):
    """A running step makes its next call."""

    buildid: int
    step: int
    number: int
    call: Call
    fingerprint: str


class CommandInterruptAsked(Event, frozen=True):
    """A step wants one of its own running commands ended (the call of that number)."""

    buildid: int
    step: int
    call: int
    reason: str = ""


class CommandEnded(Event, frozen=True):
    """A worker says how a command ended. All of its output is in the store's queue before this."""

    command: str
    result: CommandResult


class StepFinished(Event, frozen=True):
    """A step's `run` has returned, and all of its commands have ended. `lines` counts its logs' lines."""

    buildid: int
    number: int
    result: Result
    summary: str = ""
    hidden: bool = False
    build_summary: str | None = None
    lines: dict[int, int] = field(default_factory=dict)


class TimerFired(Event, frozen=True):
    """A timer that `ArmTimer` named has run out."""

    timer: str


class FullPass(Event, frozen=True):
    """Look at everything again from scratch; it changes nothing if all is well (L31)."""
