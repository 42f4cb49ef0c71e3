"""Schedulers at work: facts and timers in, moves out. What a scheduler wants is its own affair (`schedulers/`).

Each reads the facts in their order: what it wants of a fact is stored together with how far it has read, so nothing is
asked for twice. What it only remembers is stored from time to time: the facts since then are read again at a start.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.errors import RAISED, RefusedError
from lockstep.core.nouns import Result
from lockstep.core.values import Patch, SourceStamp, Submission
from lockstep.master import clock
from lockstep.master.limits import SCHEDULER_KEEP, SCHEDULER_PAUSE
from lockstep.schedulers.base import BaseScheduler, EndedBuildset, Move

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

T = TypeVar("T")

_KINDS: tuple[type[f.Fact], ...] = (f.ChangeAdded, f.BuildsetEnded)
_PAGE = 500
_LONGEST_TIMER = 60.0
"""Seconds; the wall clock may be set, so it is looked at again, and the scheduler asked when it wants to be woken."""


class Scheduling:
    """Runs the configuration's schedulers."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._schedulers: dict[str, BaseScheduler] = {}
        self._queue: asyncio.Queue[Callable[[], Any]] = asyncio.Queue()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._memories: dict[str, Any] = {}
        self._read: dict[str, int] = {}
        self._last_change = house.loop.state.counters.changeid
        house.loop.listeners.append(self._told)

    async def start(self) -> list[str]:
        """Take the schedulers of the configuration in force: catch up with the facts, then follow them.

        One that fails does not keep the others from starting. Returns what went wrong, as sentences.
        """
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        wanted = self._house.config.schedulers
        known = self._house.loop.state.memories
        self._schedulers = {name: s for name, s in wanted.items() if isinstance(s, BaseScheduler)}
        problems = await self._each(lambda scheduler: self._begin(scheduler, known.get(_key(scheduler.name))))
        await self._catch_up()
        problems += await self._each(self._look_again)
        problems = list(dict.fromkeys(problems))
        for problem in problems:
            log.error("%s", problem)
        return problems

    async def _each(self, work: Callable[[BaseScheduler], Coroutine[Any, Any, None]]) -> list[str]:
        """Do something with each scheduler. Returns what went wrong, as sentences."""
        problems = []
        for name, scheduler in self._schedulers.items():
            try:
                await work(scheduler)
            except RefusedError as exc:
                problems.append(f"scheduler {name} was refused: {exc}")
            except RAISED as exc:
                problems.append(f"scheduler {name} could not be started: {type(exc).__name__}: {exc}")
                log.exception("scheduler %s", name)
        return problems

    async def _begin(self, scheduler: BaseScheduler, known: tuple[Any, int] | None) -> None:
        """Have what one scheduler remembers. `known`: what is stored of it, if it was there before.

        One that follows nothing has read nothing (0): if it follows something later, that begins then.
        """
        name, follows = scheduler.name, bool(_followed(scheduler))
        memory, cursor = known or (None, 0)
        memory, read = self._memories.setdefault(name, memory), self._read.get(name, cursor)
        last = self._house.loop.state.last_fact
        self._read[name] = (read or last) if follows else 0
        if known is None:
            move = scheduler.start(None, clock.wall())
            await self._take(scheduler, move, keep=follows or move.memory is not None)
        elif (cursor > 0) != follows:
            await self._store(name, memory)

    async def restart(self) -> list[str]:
        """Take a new configuration's schedulers, between two facts. Returns what went wrong, as sentences."""
        return await self._in_turn(self.start)

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something between two facts."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def turn() -> None:
            try:
                result = await work()
            except Exception as exc:
                if not done.done():
                    done.set_exception(exc)
            else:
                if not done.done():  # who asked has been told that the server stops
                    done.set_result(result)

        self._queue.put_nowait(turn)
        return await done

    async def run(self) -> None:
        """Follow the facts, for ever."""
        while True:
            work = await self._queue.get()
            try:
                await work()
            except RefusedError as exc:
                log.warning("a scheduler was refused: %s", exc)
            except RAISED:
                log.exception("a scheduler failed")

    async def _catch_up(self) -> None:
        """Hand over what happened while nobody looked, to all who follow that."""
        kinds = {kind for scheduler in self._schedulers.values() for kind in _followed(scheduler)}
        following = [name for name, scheduler in self._schedulers.items() if _followed(scheduler)]
        if not following:
            return
        read = min(self._read[name] for name in following)
        while True:
            page, read = await asyncio.to_thread(self._house.reads.follow, read, tuple(kinds), _PAGE)
            for numbered in page:
                await self._all(numbered)
            if len(page) < _PAGE:
                break
        for name in following:
            self._read[name] = max(self._read[name], read)

    def _told(self, facts: Sequence[f.Numbered]) -> None:
        for numbered in facts:
            if isinstance(numbered.fact, _KINDS):
                self._queue.put_nowait(functools.partial(self._all, numbered))

    async def _all(self, numbered: f.Numbered) -> None:
        if isinstance(numbered.fact, f.ChangeAdded):
            self._last_change = numbered.fact.change.changeid
        for scheduler in list(self._schedulers.values()):
            if isinstance(numbered.fact, _followed(scheduler)) and numbered.number > self._read[scheduler.name]:
                await self._hand_over(scheduler, numbered)

    async def _hand_over(self, scheduler: BaseScheduler, numbered: f.Numbered) -> None:
        """One fact for one scheduler."""
        memory, now = self._memories.get(scheduler.name), numbered.at
        self._read[scheduler.name] = numbered.number
        try:
            if isinstance(numbered.fact, f.ChangeAdded):
                move = scheduler.on_change(memory, numbered.fact.change, now)
            else:
                assert isinstance(numbered.fact, f.BuildsetEnded)
                move = scheduler.on_buildset_ended(memory, await self._ended(numbered.fact), now)
        except RAISED:
            log.exception(
                "scheduler %s: what it was configured with failed at fact %s", scheduler.name, numbered.number
            )
            return
        await self._take(scheduler, move)

    async def _ended(self, fact: f.BuildsetEnded) -> EndedBuildset:
        stamps = await asyncio.to_thread(self._stamps, fact.ssids)
        return EndedBuildset(
            bsid=fact.bsid,
            scheduler=fact.scheduler,
            result=Result(fact.result),
            sourcestamps=stamps or (SourceStamp(),),
        )

    def _stamps(self, ssids: Sequence[int]) -> tuple[SourceStamp, ...]:
        reads = self._house.reads
        rows = [row for ssid in ssids if (row := reads.get("sourcestamps", ssid)) is not None]
        return tuple(
            SourceStamp(
                codebase=row["codebase"],
                repository=row["repository"],
                project=row["project"],
                branch=row["branch"],
                revision=row["revision"],
                patch=_patch(row["patch"]),
                changes=tuple(c["changeid"] for c in reads.changes_of_sourcestamp(row["ssid"])),
            )
            for row in rows
        )

    async def _look_again(self, scheduler: BaseScheduler) -> None:
        await self._look(scheduler, scheduler.start(self._memories.get(scheduler.name), clock.wall()))

    async def _look(self, scheduler: BaseScheduler, move: Move) -> None:
        """Do what a scheduler wants because of the time: what it remembers of that stands in no fact."""
        await self._take(scheduler, move, keep=move.memory != self._memories.get(scheduler.name))

    async def _take(self, scheduler: BaseScheduler, move: Move, keep: bool = False) -> None:
        """Do what a scheduler wants: in one decision, with how far it has read.

        What it only remembers need not be stored now (`keep`): of a server that ends before, the next one hands over
        the same facts again.
        """
        name = scheduler.name
        cursor = self._house.loop.state.memories.get(_key(name), (None, 0))[1]
        if move.submissions or keep or self._read[name] - cursor > SCHEDULER_KEEP:
            await self._store(name, move.memory, move.submissions)
        self._memories[name] = move.memory
        self._arm(scheduler, move.wake)

    async def _store(self, name: str, memory: Any, submissions: tuple[Submission, ...] = ()) -> None:
        event = e.SchedulerMoved(owner=_key(name), submissions=submissions, memory=memory, cursor=self._read[name])
        for problem in await self._house.loop.ask(event):
            log.warning("scheduler %s: %s", name, problem)

    async def kept(self) -> int:
        """Store what all schedulers remember. Returns the last change of which that is so.

        Who deletes facts and changes does this first: nothing of them is handed over again then.
        """

        async def work() -> int:
            for name in self._read:
                if self._house.loop.state.memories.get(_key(name)) != (self._memories.get(name), self._read[name]):
                    await self._store(name, self._memories.get(name))
            return self._last_change

        return await self._in_turn(work)

    def _arm(self, scheduler: BaseScheduler, wake: float | None) -> None:
        handle = self._timers.pop(scheduler.name, None)
        if handle is not None:
            handle.cancel()
        if wake is not None:
            seconds = min(_LONGEST_TIMER, max(0.0, wake - clock.wall()))
            later = asyncio.get_running_loop().call_later
            self._timers[scheduler.name] = later(seconds, self._fire, scheduler, wake)

    def _fire(self, scheduler: BaseScheduler, wake: float) -> None:
        async def look() -> None:
            if self._schedulers.get(scheduler.name) is not scheduler:
                return  # another configuration came into force while this waited, and has its own timers
            memory, now = self._memories.get(scheduler.name), clock.wall()
            try:
                move = scheduler.on_timer(memory, now) if now >= wake else scheduler.start(memory, now)
            except RAISED:
                text = "scheduler %s: what it was configured with failed; it is asked again in %g seconds"
                log.exception(text, scheduler.name, SCHEDULER_PAUSE)
                self._arm(scheduler, clock.wall() + SCHEDULER_PAUSE)
                return
            await self._look(scheduler, move)

        self._queue.put_nowait(look)


def _followed(scheduler: BaseScheduler) -> tuple[type[f.Fact], ...]:
    """The kinds of facts that are handed to a scheduler."""
    changes = (f.ChangeAdded,) if scheduler.follows_changes() else ()
    return changes + ((f.BuildsetEnded,) if scheduler.follows_buildsets() else ())


def _patch(row: dict[str, Any] | None) -> Patch | None:
    if row is None:
        return None
    return Patch(
        body=row["body"].encode(),
        level=row["level"],
        subdir=row["subdir"],
        author=row["author"] or "",
        comment=row["comment"] or "",
    )


def _key(name: str) -> str:
    return f"scheduler:{name}"
