"""What the core remembers of everything that has not ended: the records that make up the state.

Records only; they are changed by `apply.py` alone, and their `state` fields by the tables in `tables.py`. What has
ended is no longer here: it is in the store.
"""

from typing import Any, Literal

from msgspec import Struct, field

from lockstep.core.alloc_facts import Units
from lockstep.core.calls import Call
from lockstep.core.nouns import Access, LockKey, Need, Result
from lockstep.core.values import BookingEnding, BookingWish, Properties, SourceStamp, StepPlan

BuildsetState = Literal["pending", "complete"]
RequestState = Literal["rendering", "waiting", "building", "complete"]
BuildState = Literal["starting", "running", "stopping", "ended"]
StepState = Literal["planned", "waiting", "running", "ended"]
CallState = Literal["started", "ended"]
CommandState = Literal["asked", "known", "ended"]
WorkerState = Literal["absent", "connected", "leaving", "unreachable"]
BookingState = Literal["waiting", "held", "leaving", "ended"]


class Buildset(Struct, kw_only=True):
    """A build set whose requests have not all ended, or that a running call of a step waits for.

    `parent_call` is (build id, step number, call number) or None. `builds` are the ended ones of it: builder, build
    number, build id, result.
    """

    bsid: int
    reason: str
    scheduler: str
    ssids: tuple[int, ...]
    properties: Properties
    submitted_at: float
    external_id: str | None = None
    rebuilt_buildid: int | None = None
    parent_call: tuple[int, int, int] | None = None
    waited_for: bool = False
    open_requests: set[int] = field(default_factory=set)
    result: Result = Result.SUCCESS
    builds: list[tuple[str, int, int, int]] = field(default_factory=list)
    state: BuildsetState = "pending"


class Request(Struct, kw_only=True):
    """A build request. `ticket` is its claim's; `need` is None where it is the builder's own (as configured now).

    `waiting_since` is the time when it began to wait: its submission, or when it was put back.
    """

    brid: int
    bsid: int
    builder: str
    priority: int
    ticket: int
    since: int
    submitted_at: float
    waiting_since: float = 0.0
    properties: Properties = field(default_factory=dict)
    need: Need | None = None
    collapse_key: tuple[Any, ...] | None = None
    parent: int = 0
    put_back: bool = False
    buildid: int = 0
    state: RequestState = "rendering"


class CallRecord(Struct, kw_only=True):
    """One call of a step, and its result once it has ended. `acquired_at`: when it got the locks that it claims."""

    number: int
    call: Call
    fingerprint: str
    state: CallState = "started"
    result: Any = None
    order: int = 0
    ticket: int = 0
    hold: int = 0
    due: float = 0.0
    started_at: float = 0.0
    acquired_at: float = 0.0


class Step(Struct, kw_only=True):
    """A step of a running build. `rendered` is what `doStepIf` and the renderables gave, evaluated once (HOUSE 2.5).

    Of its accesses those of the locks `shared` were claimed for its whole group: its hold outlives it with them.
    """

    number: int
    plan: StepPlan
    stepid: int = 0
    name: str = ""
    state: StepState = "planned"
    result: Result | None = None
    started_at: float = 0.0
    locks_acquired_at: float = 0.0
    accesses: tuple[Access, ...] = ()
    shared: tuple[LockKey, ...] = ()
    ticket: int = 0
    hold: int = 0
    fences: dict[str, int] = field(default_factory=dict)
    rendered: bytes = b""
    summary: str = ""
    interrupted: bool = False
    calls: dict[int, CallRecord] = field(default_factory=dict)
    logs: dict[int, str] = field(default_factory=dict)
    open_logs: set[int] = field(default_factory=set)


class Build(Struct, kw_only=True):
    """A running build. `steps` is in the order of running; a step's `number` is its place there, from 1.

    `current` is the number of the last step that was started, 0 before the first. `broken`: no step starts any more,
    not even an `alwaysRun` one, nothing of it waits for a lock, and it ends with its last command. `units` are all
    that it and its steps have or had of pools.
    """

    buildid: int
    number: int
    builder: str
    brid: int
    worker: str
    ticket: int
    hold: int
    fences: dict[str, int]
    started_at: float
    properties: Properties = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    current: int = 0
    result: Result = Result.SUCCESS
    halted: bool = False
    stop_result: Result | None = None
    stop_reason: str = ""
    broken: bool = False
    locks_duration: float = 0.0
    state: BuildState = "starting"
    units: Units = ()

    @property
    def told(self) -> str:
        """The build as people name it: `full-test #4`."""
        return f"{self.builder} #{self.number}"


class Command(Struct, kw_only=True):
    """A command that was asked for and has not ended. `asked`: the worker has not yet said that it knows it."""

    id: str
    buildid: int
    step: int
    call: int
    worker: str
    state: CommandState = "asked"
    interrupted: bool = False


class Worker(Struct, kw_only=True):
    """A configured worker, or one that still runs something. `session` numbers its connections; 0: never seen.

    `resumes` says that its commands outlive a lost connection (our agent); `lease` is in seconds, 0: none (L61).
    """

    name: str
    workerid: int
    configured: bool = True
    max_builds: int | None = None
    state: WorkerState = "absent"
    session: int = 0
    resumes: bool = False
    lease: float = 0.0
    paused: bool = False
    pause_reason: str = ""
    graceful: bool = False
    info: dict[str, Any] = field(default_factory=dict)


class Booking(Struct, kw_only=True):
    """Locks that are held for somebody who is no build, or that somebody waits for. `ticket` is its id.

    `since` is -1 for a barrier from the start. `ends_at` is Unix time, 0: it has no end. `renewals` counts them: a
    timer of a lease that was renewed, heard late, says nothing about this one. One that is `leaving` keeps its locks
    until its program has stopped or its lease is over; `ending` and what follows say why it must.
    """

    ticket: int
    wish: BookingWish
    since: int
    asked_at: float
    hold: int = 0
    granted_at: float = 0.0
    ends_at: float = 0.0
    renewals: int = 0
    state: BookingState = "waiting"
    ending: BookingEnding | None = None
    ended_by: str = ""
    ended_why: str = ""


class Quarantine(Struct, kw_only=True):
    """Why nobody gets a unit of a pool, and since when (Unix time). `who` is empty if the server did it by itself.

    `unfit`: it failed the check of its pool. Of quarantines that are older than this field nobody knows: they stay.
    """

    who: str = ""
    reason: str = ""
    since: float = 0.0
    unfit: bool = False


class Counters(Struct, kw_only=True):
    """The last number given of each kind. `clock` counts tickets and renewed waits: one order for all claims."""

    bsid: int = 0
    brid: int = 0
    buildid: int = 0
    stepid: int = 0
    logid: int = 0
    changeid: int = 0
    ssid: int = 0
    builderid: int = 0
    workerid: int = 0
    clock: int = 0
    session: int = 0


class Stamp(Struct, kw_only=True):
    """A stored source stamp and the build sets that use it and have not ended."""

    ssid: int
    stamp: SourceStamp
    users: set[int] = field(default_factory=set)
