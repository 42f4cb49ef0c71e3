"""What happens, as it is stored: one ear at the door, and everybody who listens behind it.

`Hub` gives facts to event streams of the API and a signal to live pages; `sse` writes server-sent events. Which page is
drawn is not known here.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec

from lockstep.core import facts as f
from lockstep.core.errors import RefusedError
from lockstep.core.facts import Fact, Numbered
from lockstep.storage.filters import QueryError
from lockstep.web.door import Door
from lockstep.web.limits import MAX_STREAMS, PAGE_BREATH, PAGE_PAUSE, STREAM_BACKLOG

PUBLIC: Final[tuple[type[Fact], ...]] = (
    f.LimitChanged,
    f.ChangeAdded,
    f.BuildsetAdded,
    f.RequestAdded,
    f.PrioritySet,
    f.RequestPutBack,
    f.RequestEnded,
    f.BuildsetEnded,
    f.ClaimGranted,
    f.ClaimPinned,
    f.BarrierRaised,
    f.ClaimDropped,
    f.HoldEnded,
    f.RingBroken,
    f.BuildStarted,
    f.BuildStopping,
    f.BuildEnded,
    f.StepsAdded,
    f.StepStarted,
    f.StepEnded,
    f.PropertySet,
    f.LogOpened,
    f.LogClosed,
    f.UrlAdded,
    f.WorkerUp,
    f.WorkerDown,
    f.WorkerGivenUp,
    f.WorkerPaused,
)
"""The facts that `/api/v2/events` tells: not what steps call, not what schedulers remember."""

_NAMES: Final = {kind.__name__: kind for kind in PUBLIC}
_HIDDEN: Final = ("rendered", "memories", "fact")


def sse(data: str, event: str = "", id_: str = "") -> str:
    """One server-sent event."""
    head = (f"id: {id_}\n" if id_ else "") + (f"event: {event}\n" if event else "")
    return head + "".join(f"data: {line}\n" for line in data.replace("\r", "").split("\n")) + "\n"


class Queue:
    """What one listener has not taken yet. `ended` is set when it is too slow; then its stream ends."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._wake = asyncio.Event()
        self.ended = False

    def put(self, item: Any) -> None:
        """Add something, or give the listener up."""
        if len(self._items) >= STREAM_BACKLOG:
            self.ended = True
        else:
            self._items.append(item)
        self._wake.set()

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True
        self._wake.set()

    async def take(self, seconds: float) -> list[Any]:
        """All that has come; waits for it at most so many seconds."""
        if not self._items and not self.ended:
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return []
        self._wake.clear()
        items = list(self._items)
        self._items.clear()
        return items


class Hub:
    """Everybody who listens to one server."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._queues: set[Queue] = set()
        self._log_queues: dict[int, set[Queue]] = {}
        self._pulses: set[asyncio.Event] = set()
        self._ends: list[Callable[[], None]] = []
        self.streams = 0
        self.closed = False

    def _begin(self) -> None:
        if not self._ends:
            self._ends = [self._door.listen(self._facts), self._door.listen_logs(self._lines)]

    def _facts(self, facts: Sequence[Numbered]) -> None:
        for pulse in self._pulses:
            pulse.set()
        for queue in self._queues:
            for numbered in facts:
                queue.put(numbered)
        if self._log_queues and any(isinstance(n.fact, f.LogClosed | f.StepEnded | f.BuildEnded) for n in facts):
            for queues in self._log_queues.values():
                for queue in queues:
                    queue.put(None)

    def _lines(self, logid: int, first: int, text: str) -> None:
        for queue in self._log_queues.get(logid, ()):
            queue.put((first, text))

    def enter(self) -> None:
        """One more stream. Raises RefusedError if there are too many; `leave` must follow otherwise."""
        if self.streams >= MAX_STREAMS:
            raise RefusedError(f"There are {MAX_STREAMS} event streams already. Close some, or come back later.")
        self._begin()
        self.streams += 1

    def leave(self) -> None:
        """One stream less."""
        self.streams -= 1

    # --- facts

    def facts(self) -> tuple[Queue, Callable[[], None]]:
        """All facts from now on, and what ends it."""
        queue = Queue()
        self._queues.add(queue)
        return queue, lambda: self._queues.discard(queue)

    def log(self, logid: int) -> tuple[Queue, Callable[[], None]]:
        """The stored lines of a log from now on, as (first line, text); None when it may have ended."""
        queue = Queue()
        self._log_queues.setdefault(logid, set()).add(queue)

        def end() -> None:
            queues = self._log_queues.get(logid, set())
            queues.discard(queue)
            if not queues:
                self._log_queues.pop(logid, None)

        return queue, end

    async def changes(self) -> AsyncIterator[None]:
        """Yields when something has happened, not too often; and now and then although nothing has."""
        pulse = asyncio.Event()
        self._pulses.add(pulse)
        try:
            while True:
                yield
                await asyncio.sleep(PAGE_PAUSE)
                try:
                    async with asyncio.timeout(PAGE_BREATH):
                        await pulse.wait()
                except TimeoutError:
                    pass
                pulse.clear()
        finally:
            self._pulses.discard(pulse)


def kinds_of(text: str) -> tuple[type[Fact], ...]:
    """The facts that a comma-separated list names; all public ones if it is empty.

    Raises:
        QueryError: there is no such fact.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in _NAMES:
            raise QueryError(f"there is no event '{name[:60]}'; there are {', '.join(_NAMES)}")
    return tuple(_NAMES[name] for name in names) or PUBLIC


def fact_event(numbered: Numbered) -> str:
    """A fact as a server-sent event: its kind, its number, and its fields."""
    body = msgspec.to_builtins(numbered.fact)
    told = {name: value for name, value in body.items() if name not in _HIDDEN}
    kind = type(numbered.fact).__name__
    data = {"number": numbered.number, "at": numbered.at, "event": kind, "fact": told}
    return sse(msgspec.json.encode(data).decode(), kind, str(numbered.number))


async def fact_stream(hub: Hub, door: Door, kinds: tuple[type[Fact], ...], after: int | None) -> AsyncIterator[str]:
    """Facts as server-sent events: stored ones after number `after` first, then those that come."""
    hub.enter()
    queue, end = hub.facts()
    try:
        yield ": facts follow\n\n"
        last = door.state.last_fact if after is None else after
        while after is not None:
            stored = await asyncio.to_thread(door.reads.facts_after, last, kinds)
            for numbered in stored:
                yield fact_event(numbered)
                last = numbered.number
            if not stored:
                break
        wanted = set(kinds)
        while not queue.ended:
            items = await queue.take(PAGE_BREATH)
            if not items:
                yield ": still here\n\n"
            for numbered in items:
                if numbered.number > last and type(numbered.fact) in wanted:
                    yield fact_event(numbered)
                    last = numbered.number
    finally:
        end()
        hub.leave()
