"""Errands that follow from the state. Each may be repeated without harm: what it names has an id.

Values only. An *inner* effect is work for the master's own house (run a user's step, render its arguments) that tells
nobody anything: it may be done before the facts are stored. All others wait for the commit (HOUSE law 2).
"""

from typing import Any, ClassVar

from msgspec import Struct


class Effect(Struct, frozen=True):
    """Base of all effects."""

    inner: ClassVar[bool] = False


class Reply(Effect, frozen=True):
    """Answer whoever sent the event with this token. `error` is a sentence for a person, empty if all is well."""

    token: int
    value: Any = None
    error: str = ""


class RenderNeed(Effect, frozen=True):
    """Render the locks of a request for each candidate worker and ask the hooks (L24, L24a)."""

    brid: int
    inner: ClassVar[bool] = True


class BeginBuild(Effect, frozen=True):
    """A build exists: make its steps and properties."""

    buildid: int
    inner: ClassVar[bool] = True


class ResumeBuild(Effect, frozen=True):
    """A build ran when the master ended: make its steps again and replay the current one."""

    buildid: int
    inner: ClassVar[bool] = True


class PrepareStep(Effect, frozen=True):
    """Evaluate `doStepIf`, the arguments and the locks of a step."""

    buildid: int
    number: int
    inner: ClassVar[bool] = True


class RunStep(Effect, frozen=True):
    """A step has its locks: run it. A step that cannot be replayed is run only after the commit."""

    buildid: int
    number: int
    inner: ClassVar[bool] = True


class CallDone(Effect, frozen=True):
    """A call that a step waits for has its stored result."""

    buildid: int
    step: int
    number: int
    result: Any = None


class InterruptStep(Effect, frozen=True):
    """Tell a running step that its build is being stopped."""

    buildid: int
    number: int
    reason: str


class DropBuild(Effect, frozen=True):
    """A build has ended: forget its steps, end what still runs of them in this process."""

    buildid: int


class SendCommand(Effect, frozen=True):
    """This command should be running on that worker. Sending it twice runs it once: its id is known."""

    worker: str
    command: str


class InterruptCommand(Effect, frozen=True):
    """This command should not be running on that worker. `forget`: nobody waits for its result."""

    worker: str
    command: str
    reason: str
    forget: bool = False


class Welcome(Effect, frozen=True):
    """A worker's connection is accepted; `session` names it."""

    worker: str
    session: int


class LookAgain(Effect, frozen=True):
    """Run the check of its pool for a unit that is in quarantine since then (Unix time); if it passes, say so.

    While it is being looked at already, or if that quarantine is over, there is nothing to do.
    """

    pool: str
    unit: str
    since: float


class ArmTimer(Effect, frozen=True):
    """Send `TimerFired(timer)` after so many seconds, unless it is armed again or disarmed before."""

    timer: str
    seconds: float


class DisarmTimer(Effect, frozen=True):
    """Nobody waits for that timer any more."""

    timer: str
