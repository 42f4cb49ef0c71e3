"""What happens, as it is stored: one ear at the door, and everybody who listens behind it.

`Hub` gives facts to event streams of the API and a beat to live pages; `sse` writes server-sent events. Which page is
drawn is not known here.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec

from lockstep.core import facts as f
from lockstep.core.errors import RefusedError
from lockstep.core.facts import Fact, Numbered
from lockstep.storage.filters import QueryError
from lockstep.web.door import Door
from lockstep.web.limits import LOG_BACKLOG, MAX_STREAMS, PAGE_BREATH, PAGE_PAUSE, STREAM_BACKLOG

PUBLIC: Final[tuple[type[Fact], ...]] = (
    f.LimitChanged,
    f.PoolChanged,
    f.UnitQuarantined,
    f.QuarantineLifted,
    f.UnitTried,
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
    f.BookingAdded,
    f.BookingExtended,
    f.BookingLeaving,
    f.HoldPassed,
    f.NotKept,
    f.HoldStolen,
    f.BookingEnded,
    f.BuildStarted,
    f.BuildStopping,
    f.BuildEnded,
    f.StepsAdded,
    f.StepStarted,
    f.StepPutBack,
    f.StepEnded,
    f.PropertySet,
    f.LogOpened,
    f.LogClosed,
    f.UrlAdded,
    f.WorkerUp,
    f.WorkerLeaving,
    f.WorkerDown,
    f.WorkerGivenUp,
    f.WorkerPaused,
)
"""The facts that `/api/v2/events` tells: not what steps call, not what schedulers remember."""

_NAMES: Final = {kind.__name__: kind for kind in PUBLIC}
_HIDDEN: Final = ("rendered", "memories", "pools", "fact")
_HIDDEN_OF_WISHES: Final = ("key", "once", "notify")


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

    def put_last(self, item: Any) -> None:
        """Add something that says all there is to say: what waits is of no use any more."""
        self._items.clear()
        self.put(item)

    def __len__(self) -> int:
        return len(self._items)

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


class Pulse:
    """Says that something has happened that a page may show; `logs` are those whose lines it shows."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.logs: Collection[int] = ()


class Hub:
    """Everybody who listens to one server."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._facts_to: set[Queue] = set()
        self._lines_to: dict[int, set[Queue]] = {}
        self._pulses: set[Pulse] = set()
        self._open: set[Queue] = set()
        self._ends: list[Callable[[], None]] = []
        self.closed = False

    def room(self) -> None:
        """Raises RefusedError if there can be no more streams."""
        if self.closed:
            raise RefusedError("The server is stopping.")
        if len(self._open) >= MAX_STREAMS:
            raise RefusedError(f"There are {MAX_STREAMS} event streams already. Close some, or come back later.")

    def close(self) -> None:
        """The server stops: all streams end, so that nothing waits for them."""
        self.closed = True
        for end in self._ends:
            end()
        for queue in self._open:
            queue.end()
        for pulse in self._pulses:
            pulse.event.set()

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """A queue for one stream; it ends when the server stops."""
        if not self._ends and not self.closed:
            self._ends = [self._door.listen(self._facts), self._door.listen_logs(self._lines)]
        queue = Queue()
        queue.ended = self.closed
        self._open.add(queue)
        try:
            yield queue
        finally:
            self._open.discard(queue)

    def _facts(self, facts: Sequence[Numbered]) -> None:
        for pulse in self._pulses:
            pulse.event.set()
        for queue in self._facts_to:
            for numbered in facts:
                queue.put(numbered)
        if self._lines_to and any(isinstance(n.fact, f.LogClosed | f.StepEnded | f.BuildEnded) for n in facts):
            for queues in self._lines_to.values():
                for queue in queues:
                    queue.put(None)

    def _lines(self, logid: int, first: int, text: str) -> None:
        for queue in self._lines_to.get(logid, ()):
            if len(queue) < LOG_BACKLOG:
                queue.put((first, text))
            else:
                queue.put_last(None)
        for pulse in self._pulses:
            if logid in pulse.logs:
                pulse.event.set()

    @contextmanager
    def facts(self) -> Iterator[Queue]:
        """All facts from now on."""
        with self.queue() as queue:
            self._facts_to.add(queue)
            try:
                yield queue
            finally:
                self._facts_to.discard(queue)

    @contextmanager
    def log(self, logid: int) -> Iterator[Queue]:
        """The stored lines of a log from now on, as (first line, text); None: look into the store.

        So it is when the log may have ended, and when more has come than is kept here.
        """
        with self.queue() as queue:
            queues = self._lines_to.setdefault(logid, set())
            queues.add(queue)
            try:
                yield queue
            finally:
                queues.discard(queue)
                if not queues and self._lines_to.get(logid) is queues:
                    del self._lines_to[logid]

    @contextmanager
    def pulse(self) -> Iterator[Pulse]:
        """Is set when something has happened."""
        pulse = Pulse()
        self._pulses.add(pulse)
        try:
            yield pulse
        finally:
            self._pulses.discard(pulse)


async def next_beat(pulse: Pulse) -> None:
    """Wait until something has happened, not too shortly; and now and then although nothing has."""
    await asyncio.sleep(PAGE_PAUSE)
    with suppress(TimeoutError):
        async with asyncio.timeout(PAGE_BREATH):
            await pulse.event.wait()
    pulse.event.clear()


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
    if "wish" in told:
        told["wish"] = {name: value for name, value in told["wish"].items() if name not in _HIDDEN_OF_WISHES}
    kind = type(numbered.fact).__name__
    data = {"number": numbered.number, "at": numbered.at, "event": kind, "fact": told}
    return sse(msgspec.json.encode(data).decode(), kind, str(numbered.number))


async def fact_stream(hub: Hub, door: Door, kinds: tuple[type[Fact], ...], after: int | None) -> AsyncIterator[str]:
    """Facts as server-sent events: stored ones after number `after` first, then those that come."""
    with hub.facts() as queue:
        yield ": facts follow\n\n"
        last = 0 if after is None else after
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
