"""What the projection remembers between batches, so that no fact needs a row to be read.

Everything here is also in the store and is read back from there at a start (`seed`). Which rows follow from which
fact is in `project.py` and `project_builds.py`.
"""

from msgspec import Struct, field

from lockstep.core.calls import Acquire
from lockstep.core.records import Counters
from lockstep.core.saved import Saved
from lockstep.core.values import Properties, StepPlan
from lockstep.storage.rows import Changes

CallKey = tuple[int, int, int]
"""(build id, step number, call number)."""


class LiveBuild(Struct):
    """What later facts about a running build need to know of it. `calls` are the keys of its journal's rows."""

    worker: str
    properties: Properties = field(default_factory=dict)
    plans: list[StepPlan] = field(default_factory=list)
    calls: list[CallKey] = field(default_factory=list)
    open_logs: dict[int, list[int]] = field(default_factory=dict)
    """Step number to the ids of its open logs."""


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
    tickets: dict[int, CallKey] = field(default_factory=dict)
    """Waiting claims of steps (call number 0) and calls."""
    bookings: dict[int, float] = field(default_factory=dict)
    """Bookings that have not ended: how many seconds each lasts after its grant, 0: until it is released."""
    logs: dict[int, LiveLog] = field(default_factory=dict)
    named: dict[tuple[str, str], int] = field(default_factory=dict)
    """(kind, name) of schedulers, sources and projects to their ids."""
    closed: list[int] = field(default_factory=list)
    """Logs that were closed with many small chunks, to be merged when there is time."""

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
    for build in saved.builds:
        live = p.builds[build.buildid] = LiveBuild(build.worker, dict(build.properties), [s.plan for s in build.steps])
        for step in build.steps:
            if step.stepid:
                live.calls.append((build.buildid, step.number, 0))
            if step.open_logs:
                live.open_logs[step.number] = sorted(step.open_logs)
            if step.state == "waiting":
                p.tickets[step.ticket] = (build.buildid, step.number, 0)
            for call in step.calls.values():
                key = (build.buildid, step.number, call.number)
                live.calls.append(key)
                if isinstance(call.call, Acquire) and call.state == "started":
                    p.tickets[call.ticket] = key
    for command in saved.commands:
        p.commands[command.id] = (command.buildid, command.step, command.call)
    return p
