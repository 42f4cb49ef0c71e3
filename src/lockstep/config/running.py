"""Which step runs here and now, for locks that are taken in the midst of one (`Lock.get()` of 2004).

`steps/base.py` sets `CURRENT` around a step's `run`; what a lock may ask of the step is the protocol below.
"""

from contextvars import ContextVar
from typing import Protocol

from lockstep.core.nouns import Access


class RunningStep(Protocol):
    """What a lock asks of the step that runs."""

    @property
    def worker_name(self) -> str:
        """The worker of the step's build."""

    async def acquire(self, accesses: tuple[Access, ...]) -> int:
        """Make an `Acquire` call and wait until it is granted. Returns the number of that call."""

    async def release(self, number: int) -> None:
        """Make a `Release` call for what the call `number` acquired."""


CURRENT: ContextVar[RunningStep | None] = ContextVar("lockstep_running_step", default=None)


def running_step(wanted_by: str) -> RunningStep:
    """The step that runs here. Raises RuntimeError with a sentence that names `wanted_by` if there is none."""
    step = CURRENT.get()
    if step is None:
        raise RuntimeError(f"{wanted_by} works only inside a step's run(): only a running step can own a lock")
    return step
