"""The simulated clock: it jumps from one thing that is due to the next. Only this file knows what time it is."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Timeline:
    """What is due, in order. `now` is in seconds from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._cancelled: set[int] = set()

    def after(self, seconds: float, action: Callable[[], object]) -> int:
        """Have something done after so many seconds. Returns a handle for `cancel`."""
        number = next(self._order)
        heappush(self._due, (self.now + max(0.0, seconds), number, action))
        return number

    def cancel(self, handle: int) -> None:
        """Have it not done, if it was not."""
        self._cancelled.add(handle)

    def step(self) -> bool:
        """Do what is due next. False if nothing is."""
        while self._due:
            at, number, action = heappop(self._due)
            if number in self._cancelled:
                self._cancelled.discard(number)
                continue
            self.now = at
            self.steps += 1
            action()
            return True
        return False
