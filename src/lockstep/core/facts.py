"""What holds from now on: numbered, stored, never changed. The state is what all facts add up to (HOUSE section 1).

Values only. `apply.py` says what each does to the state, `storage/` which rows follow from it. Times are in the
envelope that numbers a fact, not in its body, but where a row needs another time. No secret is in any fact.
"""

from typing import Any

from msgspec import field

from lockstep.core.calls import Call, LogType
from lockstep.core.fact import Fact, Numbered
from lockstep.core.facts_bookings import (
    BookingAdded,
    BookingEnded,
    BookingExtended,
    BookingLeaving,
    BookingRenewed,
    HoldPassed,
    HoldStolen,
    NotKept,
)
from lockstep.core.facts_claims import (
    BarrierRaised,
    ClaimDropped,
    ClaimGranted,
    ClaimPinned,
    HoldEnded,
    LocksReturned,
    RingBroken,
    StartsReturned,
)
from lockstep.core.facts_pools import PoolChanged, QuarantineLifted, StepPutBack, UnitQuarantined, UnitsUsed, UnitTried
from lockstep.core.nouns import Access, LockKey, Need, Result
from lockstep.core.values import Change, Properties, Rank, Setup, SourceStamp, StepPlan, Submission

__all__ = [
    "BarrierRaised",
    "BookingAdded",
    "BookingEnded",
    "BookingExtended",
    "BookingLeaving",
    "BookingRenewed",
    "ClaimDropped",
    "ClaimGranted",
    "ClaimPinned",
    "Fact",
    "HoldEnded",
    "HoldPassed",
    "HoldStolen",
    "LocksReturned",
    "NotKept",
    "Numbered",
    "PoolChanged",
    "QuarantineLifted",
    "RingBroken",
    "StartsReturned",
    "StepPutBack",
    "UnitQuarantined",
    "UnitTried",
    "UnitsUsed",
]  # those of other files; the rest is below

# --- configuration, memory, changes


class SetupChanged(Fact, frozen=True):
    """A configuration is in force. `builder_ids` and `worker_ids` name every id that was ever given."""

    setup: Setup
    builder_ids: dict[str, int]
    worker_ids: dict[str, int]


class LimitChanged(Fact, frozen=True):
    """A lock is new or has a new limit (L6, L72). `removed`: it stays until its last hold and waiter have ended."""

    key: LockKey
    limit: int
    max_overtakes: int
    removed: bool = False


class MemoryKept(Fact, frozen=True):
    """What a scheduler or source keeps, and how far in the facts it has read (None: unchanged)."""

    owner: str
    memory: Any = None
    cursor: int | None = None


class ChangeAdded(Fact, frozen=True):
    """A change was noticed."""

    change: Change


class StampAdded(Fact, frozen=True):
    """A source stamp that no stored one equals."""

    ssid: int
    stamp: SourceStamp


# --- build sets and requests


class BuildsetAdded(Fact, frozen=True):
    """A build set was submitted. Its requests follow as facts of their own."""

    bsid: int
    submission: Submission
    ssids: tuple[int, ...]
    parent_call: tuple[int, int, int] | None = None
    waited_for: bool = False


class RequestAdded(Fact, frozen=True):
    """A request, and its claim's ticket. `render`: its need must be rendered first (L24)."""

    brid: int
    bsid: int
    builder: str
    priority: int
    ticket: int
    properties: Properties = field(default_factory=dict)
    render: bool = False
    parent: int = 0
    collapse_key: tuple[Any, ...] | None = None


class NeedSet(Fact, frozen=True):
    """A request's alternatives were rendered, or a reload changed its builder's (`need` None: as configured)."""

    brid: int
    need: Need | None


class PrioritySet(Fact, frozen=True):
    """A waiting request has another priority."""

    brid: int
    priority: int


class PlaceTaken(Fact, frozen=True):
    """A new request has the place of those that were merged into it: the oldest ticket, the highest priority."""

    brid: int
    ticket: int
    priority: int


class BuilderRanked(Fact, frozen=True):
    """Hooks give a builder's requests another place in the queue, or none for now (L24a)."""

    builder: str
    rank: Rank


class RequestPutBack(Fact, frozen=True):
    """A request waits again with its old ticket; its overtaking is counted from `since` (L40)."""

    brid: int
    since: int
    reason: str


class PlaceRegained(Fact, frozen=True):
    """A child that was put back, and that a broken ring kept waiting, stands where its eldest does again (L52)."""

    brid: int


class RequestEnded(Fact, frozen=True):
    """A request is complete. `into` is the request that it was merged into, or 0."""

    brid: int
    result: Result
    reason: str = ""
    into: int = 0


class BuildsetEnded(Fact, frozen=True):
    """All requests of a build set are complete. `scheduler` and `ssids` are the build set's, for whoever follows it."""

    bsid: int
    result: Result
    scheduler: str = ""
    ssids: tuple[int, ...] = ()


# --- builds


class BuildStarted(Fact, frozen=True):
    """A request was granted its worker and locks: the build exists."""

    buildid: int
    number: int
    brid: int
    builder: str
    worker: str
    ticket: int
    hold: int
    fences: dict[str, int]


class BuildPlanKept(Fact, frozen=True):
    """A build's properties at its start and its steps."""

    buildid: int
    plans: tuple[StepPlan, ...]
    properties: Properties


class StepsAdded(Fact, frozen=True):
    """A step added others; the first of them gets the number `at`."""

    buildid: int
    at: int
    plans: tuple[StepPlan, ...]


class BuildStopping(Fact, frozen=True):
    """A build is being stopped and will end with this result. `step` is the one that is interrupted, or 0.

    Only `alwaysRun` steps start from now on; if it is `broken`, none does, and it ends with its commands.
    """

    buildid: int
    result: Result
    reason: str
    step: int = 0
    broken: bool = False


class BuildEnded(Fact, frozen=True):
    """A build has ended."""

    buildid: int
    result: Result
    summary: str
    locks_duration: float


# --- steps and calls


class StepStarted(Fact, frozen=True):
    """A step began: it waits for the claim with this ticket, or (0) it runs, or ends at once if it is skipped.

    The locks `shared` are held until the last step of its group has ended.
    """

    buildid: int
    number: int
    stepid: int
    name: str
    accesses: tuple[Access, ...] = ()
    ticket: int = 0
    rendered: bytes = b""
    shared: tuple[LockKey, ...] = ()


class StepEnded(Fact, frozen=True):
    """A step has ended. `lines` are the final line counts of its logs.

    `build_result` is its build's result so far; `halted`: only `alwaysRun` steps start from now on.
    """

    buildid: int
    number: int
    stepid: int
    result: Result
    build_result: Result
    summary: str = ""
    hidden: bool = False
    halted: bool = False
    lines: dict[int, int] = field(default_factory=dict)


class CallStarted(Fact, frozen=True):
    """A call is about to act. `ticket` is its claim's (Acquire), `command` its command's id, `due` its end (Sleep)."""

    buildid: int
    step: int
    stepid: int
    number: int
    call: Call
    fingerprint: str
    ticket: int = 0
    command: str = ""
    due: float = 0.0


class CallEnded(Fact, frozen=True):
    """A call has its result. `order` grows with every fact: a replay ends the calls of a step in this order."""

    buildid: int
    step: int
    stepid: int
    number: int
    result: Any = None
    order: int = 0


class PropertySet(Fact, frozen=True):
    """A running build has a new property, or a new value of one."""

    buildid: int
    name: str
    value: Any
    source: str


class LogOpened(Fact, frozen=True):
    """A step has a new log. `slug` is unique within the step."""

    buildid: int
    step: int
    stepid: int
    logid: int
    name: str
    slug: str
    type: LogType


class LogClosed(Fact, frozen=True):
    """A log is complete."""

    buildid: int
    step: int
    logid: int
    lines: int | None = None


class UrlAdded(Fact, frozen=True):
    """A link is shown with a step."""

    buildid: int
    step: int
    stepid: int
    name: str
    url: str


# --- commands and workers


class CommandKnown(Fact, frozen=True):
    """A worker says that it has this command."""

    command: str


class CommandInterrupted(Fact, frozen=True):
    """A command should no longer run."""

    command: str
    reason: str


class CommandOver(Fact, frozen=True):
    """A command has ended, or nobody waits for it any more."""

    command: str


class WorkerUp(Fact, frozen=True):
    """A worker is connected. `lease` in seconds, 0: it announces none (L61)."""

    worker: str
    session: int
    resumes: bool
    lease: float
    info: dict[str, Any]


class WorkerLeaving(Fact, frozen=True):
    """A worker is being stopped: it gets nothing new, and when it is gone, nothing runs there that it was told of."""

    worker: str


class WorkerDown(Fact, frozen=True):
    """A worker's connection has ended. `busy`: what it runs is kept until it is back or its lease is over (L61)."""

    worker: str
    busy: bool


class WorkerGivenUp(Fact, frozen=True):
    """An unreachable worker has certainly stopped its commands, or a person says so (L61)."""

    worker: str
    reason: str


class WorkerPaused(Fact, frozen=True):
    """A worker gets no new builds, or gets them again."""

    worker: str
    paused: bool
    reason: str = ""


AnyFact = (
    SetupChanged
    | LimitChanged
    | PoolChanged
    | UnitQuarantined
    | UnitTried
    | UnitsUsed
    | QuarantineLifted
    | MemoryKept
    | ChangeAdded
    | StampAdded
    | BuildsetAdded
    | RequestAdded
    | NeedSet
    | PrioritySet
    | PlaceRegained
    | PlaceTaken
    | BuilderRanked
    | RequestPutBack
    | RequestEnded
    | BuildsetEnded
    | ClaimGranted
    | StartsReturned
    | ClaimPinned
    | BarrierRaised
    | ClaimDropped
    | HoldEnded
    | LocksReturned
    | RingBroken
    | BookingAdded
    | BookingRenewed
    | BookingExtended
    | BookingLeaving
    | HoldPassed
    | NotKept
    | HoldStolen
    | BookingEnded
    | BuildStarted
    | BuildPlanKept
    | StepsAdded
    | BuildStopping
    | BuildEnded
    | StepPutBack
    | StepStarted
    | StepEnded
    | CallStarted
    | CallEnded
    | PropertySet
    | LogOpened
    | LogClosed
    | UrlAdded
    | CommandKnown
    | CommandInterrupted
    | CommandOver
    | WorkerUp
    | WorkerLeaving
    | WorkerDown
    | WorkerGivenUp
    | WorkerPaused
)
"""Every fact; the store decodes bodies with it."""
