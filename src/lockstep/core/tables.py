"""The state machines, as tables: which event moves what from where to where (HOUSE law 3).

Only tables and `move`, which refuses what no table allows. The pictures in the documentation are drawn from here.
"""

from typing import Final

Table = dict[tuple[str, str], str]

BUILDSET: Final[Table] = {("pending", "all requests ended"): "complete"}

REQUEST: Final[Table] = {
    ("rendering", "rendered"): "waiting",
    ("rendering", "ended"): "complete",
    ("waiting", "rendered"): "waiting",
    ("waiting", "granted"): "building",
    ("waiting", "ended"): "complete",
    ("building", "put back"): "waiting",
    ("building", "ended"): "complete",
}

BUILD: Final[Table] = {
    ("starting", "planned"): "running",
    ("starting", "stop"): "stopping",
    ("running", "stop"): "stopping",
    ("stopping", "planned"): "stopping",
    ("stopping", "stop"): "stopping",
    ("starting", "ended"): "ended",
    ("running", "ended"): "ended",
    ("stopping", "ended"): "ended",
}

STEP: Final[Table] = {
    ("planned", "claims"): "waiting",
    ("planned", "runs"): "running",
    ("waiting", "runs"): "running",
    ("running", "put back"): "waiting",
    ("planned", "ended"): "ended",
    ("waiting", "ended"): "ended",
    ("running", "ended"): "ended",
}

CALL: Final[Table] = {("started", "ended"): "ended"}

COMMAND: Final[Table] = {
    ("asked", "known"): "known",
    ("known", "known"): "known",
    ("asked", "ended"): "ended",
    ("known", "ended"): "ended",
}

WORKER: Final[Table] = {
    ("absent", "connected"): "connected",
    ("unreachable", "connected"): "connected",
    ("connected", "connected"): "connected",
    ("connected", "leaves"): "leaving",
    ("leaving", "connected"): "connected",
    ("connected", "disconnected, idle"): "absent",
    ("connected", "disconnected, busy"): "unreachable",
    ("leaving", "disconnected, idle"): "absent",
    ("leaving", "disconnected, busy"): "unreachable",
    ("unreachable", "given up"): "absent",
}

BOOKING: Final[Table] = {
    ("waiting", "granted"): "held",
    ("waiting", "renewed"): "waiting",
    ("waiting", "ended"): "ended",
    ("held", "renewed"): "held",
    ("held", "extended"): "held",
    ("held", "must leave"): "leaving",
    ("held", "ended"): "ended",
    ("leaving", "ended"): "ended",
}

TABLES: Final[dict[str, Table]] = {
    "build set": BUILDSET,
    "request": REQUEST,
    "build": BUILD,
    "step": STEP,
    "call": CALL,
    "command": COMMAND,
    "worker": WORKER,
    "booking": BOOKING,
}


class IllegalMoveError(Exception):
    """A fault of Lockstep itself: something happened to a thing in a state where it cannot happen."""

    def __init__(self, subject: str, state: str, event: str) -> None:
        super().__init__(f"{subject} in state '{state}' cannot take '{event}'")
        self.subject = subject
        self.state = state
        self.event = event


def move(kind: str, subject: object, state: str, event: str) -> str:
    """The state that follows. Raises IllegalMoveError naming `kind`, `subject`, state and event."""
    target = TABLES[kind].get((state, event))
    if target is None:
        raise IllegalMoveError(f"{kind} {subject}", state, event)
    return target
