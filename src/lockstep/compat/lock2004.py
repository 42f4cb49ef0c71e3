"""`buildbot.process.lock.Lock`, the lock that was wished for in 2004.

It has a name and builders that subscribe to it: their builds hold it from beginning to end. Inside a step's `run`,
`await lock.get()` waits for it and `await lock.release()` gives it back; the step owns it, and its end releases it.
"""

from typing import Any
from weakref import WeakKeyDictionary

from lockstep.config.errors import mistake
from lockstep.config.locks import MasterLock
from lockstep.config.running import RunningStep, running_step

_HELD: "WeakKeyDictionary[Any, dict[str, list[int]]]" = WeakKeyDictionary()
"""For each running step, by lock, the numbers of the calls that acquired it."""


class Lock(MasterLock):
    """A lock for the whole installation. `builders` names the builders that subscribe to it."""

    _keywords = ("name", "builders", "maxCount", "maxOvertakes")

    def __init__(self, name: str, builders: Any = (), maxCount: int = 1, **more: Any) -> None:
        """Make the lock; one builder's name may stand for a list of one."""
        super().__init__(name, maxCount, **more)
        names: list[Any] = [builders] if isinstance(builders, str) else list(builders)
        if not all(isinstance(one, str) for one in names):
            mistake(f'Lock "{self.name}": builders must be a list of names, not {builders!r}', place=self.place)
            names = []
        self.subscribers: list[str] = names

    def subscribe(self, *builders: str) -> None:
        """Have more builders hold this lock while they build."""
        self.subscribers.extend(builders)

    async def get(self) -> "Lock":
        """Wait until the running step has the lock. Raises RuntimeError outside of a step's `run`."""
        step = running_step(f'get() of lock "{self.name}"')
        number = await step.acquire((self.access("counting").on(step.worker_name),))
        _held(step).setdefault(self.name, []).append(number)
        return self

    async def release(self) -> None:
        """Give the lock back; the next one that waits gets it. Raises RuntimeError if the running step has it not."""
        step = running_step(f'release() of lock "{self.name}"')
        numbers = _held(step).get(self.name)
        if not numbers:
            raise RuntimeError(f'release() of lock "{self.name}": this step has not got it')
        await step.release(numbers.pop())

    async def __aenter__(self) -> "Lock":
        """`async with lock:` gets it..."""
        return await self.get()

    async def __aexit__(self, *exc: object) -> None:
        """...and releases it, whatever happens inside."""
        await self.release()


def _held(step: RunningStep) -> dict[str, list[int]]:
    """What a step got, and has not released."""
    return _HELD.setdefault(step, {})
