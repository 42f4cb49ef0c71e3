"""`.get()` and `.release()` of the lock of 2004: the running step owns what it gets."""

import asyncio
from typing import Any

import pytest

from lockstep.compat.lock2004 import Lock
from lockstep.config.running import CURRENT
from lockstep.core.nouns import Access, LockKey


class Step:
    """Stands for a running step: numbers its calls."""

    worker_name = "w"

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def acquire(self, accesses: tuple[Access, ...]) -> int:
        self.calls.append(accesses)
        return len(self.calls)

    async def release(self, number: int) -> None:
        self.calls.append(number)


def test_get_and_release_are_the_steps_calls() -> None:
    async def scene() -> list[Any]:
        step, lock = Step(), Lock("host", builders=["a"])
        CURRENT.set(step)
        await lock.get()
        await lock.release()
        async with lock:
            pass
        with pytest.raises(RuntimeError, match="this step has not got it"):
            await lock.release()
        return step.calls

    access = (Access(LockKey("master", "host")),)
    assert asyncio.run(scene()) == [access, 1, access, 3]


def test_outside_of_a_step_it_says_so() -> None:
    with pytest.raises(RuntimeError, match=r'get\(\) of lock "host" works only inside a step'):
        asyncio.run(Lock("host").get())
