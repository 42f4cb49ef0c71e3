"""The loop: the only writer. Events in, facts to the store, effects out after the commit (HOUSE section 1).

It decides nothing and does nothing itself: `core.decide` decides, the performer that it is given does. Everything here
runs in the event loop's thread, but for `stored`, which the writer's thread calls.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from lockstep.core import events as e
from lockstep.core.decide import Outcome, decide
from lockstep.core.effects import Effect, Reply
from lockstep.core.errors import AwayError, RefusedError
from lockstep.core.facts import Numbered
from lockstep.core.saved import Saved
from lockstep.core.state import State
from lockstep.master import clock
from lockstep.master.limits import COMMIT_DELAY, COMMIT_TURNS, MAX_INBOX
from lockstep.storage.batch import Batch, CommandProgress, LogEnd, LogPart
from lockstep.storage.errors import StoreError
from lockstep.storage.writer import Writer

log = logging.getLogger(__name__)

STOPPING = "The server is stopping."


class Performer(Protocol):
    """Does what effects ask for."""

    def perform(self, effect: Effect) -> None:
        """Do one errand. Must not block and not raise."""


class Recorder(Protocol):
    """Writes down all that is decided. It must not raise."""

    def began(self, saved: Saved, at: float) -> None:
        """The process starts from what its store gave back; the facts of its recovery follow."""

    def event(self, event: e.Event, at: float) -> None:
        """An event is about to be decided; its facts follow, or `failed`."""

    def facts(self, facts: Sequence[Numbered]) -> None:
        """What followed."""

    def failed(self, error: Exception) -> None:
        """The decision has failed."""

    def close(self) -> None:
        """The process ends."""


Listener = Callable[[Sequence[Numbered]], None]
PartListener = Callable[[LogPart], None]


class Loop:
    """Feeds events to the core, one at a time, in the order of their arrival.

    Args:
        state: of the core; nobody else changes it.
        writer: commits batches, and calls `stored` after each commit.
        fatal: called with a sentence when a commit has failed: the process must end (HOUSE section 1).
        recorder: is told of everything that is decided.
    """

    def __init__(
        self, state: State, writer: Writer, fatal: Callable[[str], None], recorder: Recorder | None = None
    ) -> None:
        self.state = state
        self._writer = writer
        self._fatal = fatal
        self._recorder = recorder
        self._performer: Performer | None = None
        self._inbox: deque[e.Event] = deque()
        self._busy = False
        self._batch = Batch()
        self._effects: list[Effect] = []
        self._after: list[Callable[[], None]] = []
        self._flights: deque[tuple[Batch, list[Effect], list[Callable[[], None]]]] = deque()
        self._flush: asyncio.TimerHandle | asyncio.Handle | None = None
        self._flush_soon = False
        self._size = 0
        self._turns = 0
        self._tokens = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._settling: set[asyncio.Future[None]] = set()
        self.before_commit: list[Callable[[], None]] = []
        """Called before a batch is taken: what belongs to it in the same transaction is added then."""
        self.listeners: list[Listener] = []
        self.part_listeners: list[PartListener] = []
        self._loop = asyncio.get_running_loop()
        self.closed = False

    def start(self, performer: Performer, first: Outcome) -> None:
        """Begin with the outcome of the recovery."""
        self._performer = performer
        if self._recorder is not None:
            self._recorder.facts(first.facts)
        self._take(first)

    def load(self) -> tuple[int, int]:
        """How many events wait to be decided, and how many batches are being stored."""
        return len(self._inbox), len(self._flights)

    # --- events

    def post(self, event: e.Event) -> None:
        """Handle an event, after those that came before it."""
        if self.closed:
            return
        if len(self._inbox) >= MAX_INBOX:
            raise AwayError("The server is overloaded: too many events wait. Try again later.")
        self._inbox.append(event)
        if not self._busy:
            self._drain()

    def _drain(self) -> None:
        self._busy = True
        try:
            while self._inbox:
                event, at, recorder = self._inbox.popleft(), clock.wall(), self._recorder
                if recorder is None:
                    self._take(decide(self.state, event, at))
                else:
                    self._take(self._recorded(recorder, event, at))
        except Exception as exc:
            # The state may be half changed: nothing of it may be stored or told any more. A new process starts from
            # the store, which is whole.
            self._give_up(f"Lockstep itself is at fault: {type(exc).__name__}: {exc}")
            raise
        finally:
            self._busy = False

    def _recorded(self, recorder: Recorder, event: e.Event, at: float) -> Outcome:
        """Decide, and have it written down: the event before, in case that it cannot be decided."""
        recorder.event(event, at)
        try:
            outcome = decide(self.state, event, at)
        except Exception as exc:
            recorder.failed(exc)
            raise
        recorder.facts(outcome.facts)
        return outcome

    def _give_up(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._inbox.clear()
            for future in [*self._replies.values(), *self._settling]:
                if not future.done():
                    future.set_exception(AwayError(f"{STOPPING} {reason}"))
            self._fatal(reason)

    def _take(self, outcome: Outcome) -> None:
        self._batch.facts.extend(outcome.facts)
        performer = self._performer
        assert performer is not None
        for effect in outcome.effects:
            if effect.inner:
                performer.perform(effect)
            else:
                self._effects.append(effect)
        self._schedule(soon=bool(self._effects))

    async def ask(self, event: e.Event) -> Any:
        """Handle an event that answers, and wait until its facts are stored.

        Raises:
            RefusedError: with the reason, as a sentence.
        """
        if self.closed:
            raise AwayError(STOPPING)
        token = next(self._tokens)
        future = self._loop.create_future()
        self._replies[token] = future
        try:
            self.post(msgspec.structs.replace(event, token=token))
            return await future
        finally:
            self._replies.pop(token, None)

    # --- output of commands and steps

    def write(self, parts: Iterable[LogPart | LogEnd]) -> None:
        """Store lines of a log with the next commit."""
        for part in parts:
            if isinstance(part, LogPart):
                self._batch.parts.append(part)
            else:
                self._batch.ends.append(part)
        self._schedule(soon=False)

    def progress(self, progress: CommandProgress, then: Callable[[], None], first: Callable[[], None] | None) -> None:
        """Store how far a command's output is, and call `then` after the commit.

        `first` is called before it, in the writer's thread; it must not raise.
        """
        self._batch.progress.append(progress)
        if first is not None:
            self._batch.first.append(first)
        self._after.append(then)
        self._schedule(soon=False)

    def after_commit(self, then: Callable[[], None]) -> None:
        """Call `then` when everything so far is stored."""
        self._after.append(then)
        self._schedule(soon=True)

    def wanted(self) -> None:
        """A hook of `before_commit` has something: have a commit a little later."""
        if self._flush is None:
            self._flush_soon = False
            self._turns = COMMIT_TURNS
            self._flush = self._loop.call_later(COMMIT_DELAY, self._commit)

    # --- commits

    def _schedule(self, soon: bool) -> None:
        """See that the batch is committed: at the end of this turn if somebody waits for it, else a little later."""
        if self._flush is not None:
            if not soon or self._flush_soon:
                return
            self._flush.cancel()
        if not (self._batch or self._effects or self._after):
            return
        self._flush_soon = soon
        self._turns = COMMIT_TURNS
        self._flush = self._loop.call_soon(self._commit) if soon else self._loop.call_later(COMMIT_DELAY, self._commit)

    def _commit(self) -> None:
        """Hand the batch to the writer, unless this turn has added to it: then the next one may as well."""
        size = len(self._batch.facts)
        if size > self._size and self._turns:
            self._size = size
            self._turns -= 1
            self._flush_soon = True
            self._flush = self._loop.call_soon(self._commit)
            return
        self._size = 0
        for hook in self.before_commit:
            self._guarded(hook)
        self._flush = None
        batch, effects, after = self._batch, self._effects, self._after
        self._batch, self._effects, self._after = Batch(), [], []
        if not batch and not self._flights:
            self._done(batch, effects, after)
            return
        if self.closed:
            return
        self._flights.append((batch, effects, after))
        try:
            self._writer.put(batch, self._stored)
        except StoreError as exc:
            self._give_up(str(exc))

    def _stored(self, error: str) -> None:
        """Called by the writer's thread after the commit of the oldest batch, or with the reason of its failure."""
        self._loop.call_soon_threadsafe(self._landed, error)

    def _landed(self, error: str) -> None:
        if error:
            self._give_up(error)
            return
        self._done(*self._flights.popleft())

    def _done(self, batch: Batch, effects: list[Effect], after: list[Callable[[], None]]) -> None:
        """The batch is stored: tell everybody. What one of them raises must not cost the others theirs."""
        for part in batch.parts:
            for part_listener in self.part_listeners:
                self._guarded(part_listener, part)
        for callback in after:
            self._guarded(callback)
        for effect in effects:
            if isinstance(effect, Reply):
                self._reply(effect)
            elif self._performer is not None:
                self._guarded(self._performer.perform, effect)
        if batch.facts:
            for listener in self.listeners:
                self._guarded(listener, batch.facts)

    def _guarded(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except Exception:
            log.exception("after a commit")

    def _reply(self, effect: Reply) -> None:
        future = self._replies.pop(effect.token, None)
        if future is not None and not future.done():
            if effect.error:
                future.set_exception(RefusedError(effect.error))
            else:
                future.set_result(effect.value)

    async def settle(self) -> None:
        """Wait until everything that was handed in so far is stored. Raises RefusedError if it never will be."""
        if self.closed:
            raise AwayError(STOPPING)
        stored: asyncio.Future[None] = self._loop.create_future()
        self._settling.add(stored)
        stored.add_done_callback(self._settling.discard)
        self.after_commit(lambda: None if stored.done() else stored.set_result(None))
        await stored
