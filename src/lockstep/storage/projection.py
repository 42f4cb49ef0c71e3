"""What the projection remembers between batches, so that no fact needs a row to be read.

Everything here is also in the store and is read back from there at a start (`seed`). Which rows follow from which
fact is in `project.py` and `project_builds.py`.
"""

from msgspec import Struct, field

from lockstep.core.alloc_facts import Units
from lockstep.core.calls import Acquire
from lockstep.core.nouns import FENCED, Access, Alternative, Need
from lockstep.core.records import Build, Counters, Request, Step
from lockstep.core.saved import Saved
from lockstep.core.values import Properties, StepPlan
from lockstep.storage.rows import Changes

CallKey = tuple[int, int, int]
"""(build id, step number, call number)."""


Kept = dict[int, tuple[Alternative, tuple[int, ...], Units]]
"""Hold to what was granted, its fences, and its units of pools."""


class LiveBuild(Struct):
    """What later facts about a running build need to know of it. `calls` are the keys of its journal's rows."""

    worker: str
    properties: Properties = field(default_factory=dict)
    plans: list[StepPlan] = field(default_factory=list)
    calls: list[CallKey] = field(default_factory=list)
    open_logs: dict[int, list[int]] = field(default_factory=dict)
    """Step number to the ids of its open logs."""
    units: Units = ()


class LiveLog(Struct):
    """An open log: how many lines and chunks of it are stored, and how many bytes they take."""

    lines: int = 0
    chunks: int = 0
    bytes: int = 0


class LiveWorker(Struct):
    """What decides whether a worker's row is forgotten. `known`: the core has it."""

    configured: bool = False
    known: bool = False
    state: str = "absent"


class LiveWait(Struct):
    """A waiting claim: of a request (`brid`), a step or a call of one, or a booking. `at`: since when.

    `need` None is the builder's own. `pinned` is what it last reserved.
    """

    ticket: int
    at: float
    brid: int = 0
    buildid: int = 0
    step: int = 0
    call: int = 0
    builder: str = ""
    need: Need | None = None
    pinned: tuple[Access, ...] = ()


class LiveHold(Struct):
    """A hold of configured locks: the number of the fact that granted it, when, each access with its fence, and who.

    `units` are those that it has of pools.
    """

    number: int
    at: float
    kept: tuple[tuple[Access, int], ...]
    brid: int = 0
    buildid: int = 0
    step: int = 0
    call: int = 0
    units: Units = ()


class Projection(Struct):
    """The memory of the projection, and the changes of the batch that is being gathered."""

    changes: Changes = field(default_factory=Changes)
    counters: Counters = field(default_factory=Counters)
    last_fact: int = 0
    last_hold: int = 0
    builder_ids: dict[str, int] = field(default_factory=dict)
    worker_ids: dict[str, int] = field(default_factory=dict)
    workers: dict[str, LiveWorker] = field(default_factory=dict)
    builds: dict[int, LiveBuild] = field(default_factory=dict)
    commands: dict[str, CallKey] = field(default_factory=dict)
    waits: dict[int, LiveWait] = field(default_factory=dict)
    """Waiting claims by their tickets."""
    asked: dict[int, LiveWait] = field(default_factory=dict)
    """The waits of all requests that have not ended, by their ids: a request that is put back waits again."""
    holds: dict[int, LiveHold] = field(default_factory=dict)
    needs: dict[str, Need | None] = field(default_factory=dict)
    """What builders need as configured."""
    bookings: dict[int, float] = field(default_factory=dict)
    """Bookings that have not ended: how many seconds each lasts after its grant, 0: until it is released."""
    logs: dict[int, LiveLog] = field(default_factory=dict)
    named: dict[tuple[str, str], int] = field(default_factory=dict)
    """(kind, name) of schedulers, sources and projects to their ids."""
    closed: dict[int, int] = field(default_factory=dict)
    """Logs that were closed with many small chunks, to be merged when there is time: each with the line to go on at."""

    def told(self) -> dict[str, int]:
        """What only the facts tell: it is stored with the last fact of each batch."""
        return {"clock": self.counters.clock, "hold": self.last_hold, "session": self.counters.session}


def seed(
    saved: Saved,
    logs: dict[int, LiveLog],
    workers: dict[str, LiveWorker],
    named: dict[tuple[str, str], int],
) -> Projection:
    """The memory as the stored rows have it."""
    p = Projection(
        counters=Counters(clock=saved.counters.clock, session=saved.counters.session),
        last_fact=saved.last_fact,
        last_hold=saved.last_hold,
        builder_ids=dict(saved.builder_ids),
        worker_ids=dict(saved.worker_ids),
        workers=workers,
        bookings={booking.ticket: booking.wish.seconds for booking in saved.bookings},
        logs=logs,
        named=named,
    )
    if saved.setup is not None:
        p.needs = {builder.name: builder.need for builder in saved.setup.builders}
    kept = {c.hold: (c.alternative, c.fences, c.units) for c in saved.claims if c.alternative is not None}
    for request in saved.requests:
        _seed_request(p, request)
    for booking in saved.bookings:
        if booking.state == "waiting":
            p.waits[booking.ticket] = booking_wait(booking.ticket, booking.asked_at, booking.wish.accesses)
        _seed_hold(p, kept, booking.hold, booking.granted_at, LiveHold(0, 0.0, ()))
    for build in saved.builds:
        _seed_build(p, build)
        _seed_hold(p, kept, build.hold, build.started_at, LiveHold(0, 0.0, (), build.brid, build.buildid))
        for step in build.steps:
            _seed_step(p, build, step, kept)
    for command in saved.commands:
        p.commands[command.id] = (command.buildid, command.step, command.call)
    return p


def _seed_request(p: Projection, request: Request) -> None:
    wait = LiveWait(request.ticket, request.waiting_since, request.brid, builder=request.builder, need=request.need)
    p.asked[request.brid] = wait
    if request.state != "building":
        p.waits[request.ticket] = wait


def _seed_build(p: Projection, build: Build) -> None:
    live = p.builds[build.buildid] = LiveBuild(build.worker, dict(build.properties), [s.plan for s in build.steps])
    live.units = build.units
    for step in build.steps:
        if step.stepid:
            live.calls.append((build.buildid, step.number, 0))
        live.calls += [(build.buildid, step.number, call) for call in step.calls]
        if step.open_logs:
            live.open_logs[step.number] = sorted(step.open_logs)


def _seed_step(p: Projection, build: Build, step: Step, kept: Kept) -> None:
    """What a step and its calls wait for or hold."""
    if step.state == "waiting":
        p.waits[step.ticket] = step_wait(step.ticket, step.started_at, (build.buildid, step.number, 0), step.accesses)
    who = LiveHold(0, 0.0, (), build.brid, build.buildid, step.number)
    _seed_hold(p, kept, step.hold, step.locks_acquired_at, who)
    for call in step.calls.values():
        if isinstance(call.call, Acquire) and call.state == "started":
            key = (build.buildid, step.number, call.number)
            p.waits[call.ticket] = step_wait(call.ticket, call.started_at, key, call.call.accesses)
        who = LiveHold(0, 0.0, (), build.brid, build.buildid, step.number, call.number)
        _seed_hold(p, kept, call.hold, call.acquired_at, who)


def _seed_hold(p: Projection, kept: Kept, hold: int, at: float, held: LiveHold) -> None:
    if hold in kept:
        alternative, fences, held.units = kept[hold]
        pairs = zip(alternative.accesses, fences, strict=True)
        held.at, held.kept = at, tuple((a, fence) for a, fence in pairs if a.lock.kind in FENCED)
        if held.kept:
            p.holds[hold] = held


def booking_wait(ticket: int, at: float, accesses: tuple[Access, ...]) -> LiveWait:
    """The wait of a booking."""
    return LiveWait(ticket, at, need=Need((Alternative("", accesses),)))


def step_wait(ticket: int, at: float, key: CallKey, accesses: tuple[Access, ...]) -> LiveWait:
    """The wait of a step (call number 0), or of a call."""
    buildid, step, call = key
    return LiveWait(ticket, at, 0, buildid, step, call, need=Need((Alternative("", accesses),)))
