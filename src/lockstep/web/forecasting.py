"""Forecasts for pages and API: when waiting claims are expected to be granted (L70). Worked out when asked, and kept.

The state is asked in the event loop; the store is read and the futures are run in a thread, for a limited time. What
builds took comes from their builders' last builds; a future takes one of those for each build, the same ones each time
that the same is asked. `core/forecast.py` runs them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

from msgspec import Struct

from lockstep.core.alloc_facts import AllocatorSnapshot
from lockstep.core.alloc_waits import Waits
from lockstep.core.allocation import Allocator
from lockstep.core.answers import Expected, listed, span
from lockstep.core.forecast import Course, Future, Going, Phase, first_claims, grants_in, likely
from lockstep.core.nouns import Claim, LockKey
from lockstep.core.records import Build
from lockstep.core.state import State
from lockstep.storage.queries import Queries
from lockstep.web.limits import (
    FORECAST_BUILDS,
    FORECAST_CHEAP,
    FORECAST_CLAIMS,
    FORECAST_ENDS,
    FORECAST_HORIZON,
    FORECAST_KEPT,
    FORECAST_PATIENCE,
    FORECAST_RUNS,
    FORECAST_SECONDS,
    FORECAST_SHARE,
    FORECAST_SOON,
)


class Place(Struct, frozen=True):
    """Where a running build is: the index of its step, and how long that has run (0 while it waits)."""

    builder: str
    index: int
    elapsed: float
    going: Going


class Question(Struct, frozen=True):
    """What is asked of the state at one moment, taken in the event loop."""

    at: float
    snapshot: AllocatorSnapshot
    running: tuple[Place, ...]
    bookings: tuple[Going, ...]
    waiting: Mapping[int, str]
    """Tickets of waiting requests to their builders."""
    booked: Mapping[int, Course | None]
    builder_ids: Mapping[str, int]
    workers: Mapping[int, str]
    rates: Mapping[LockKey, float] = {}
    returns: tuple[tuple[float, LockKey], ...] = ()
    """Of locks with a start rate: for how many seconds a grant counts, and in how many the last ones stop to."""


def question(state: State, now: float) -> Question:
    """What there is to be known of the state."""
    waiting: dict[int, str] = {}
    booked: dict[int, Course | None] = {}
    rules = state.lock_rules
    snapshot = first_claims(state.allocator.snapshot(), FORECAST_CLAIMS)
    for claim in snapshot.waiting:
        kind, subject, _, _ = state.claims[claim.ticket]
        if kind == "request":
            waiting[claim.ticket] = state.requests[subject].builder
        elif kind == "booking":
            seconds = state.bookings[subject].wish.seconds
            booked[claim.ticket] = (Phase(seconds),) if seconds else None
    bookings = tuple(
        Going(each.ticket, each.hold, course=(Phase(max(0.0, each.ends_at - now)),) if each.ends_at else None)
        for each in state.bookings.values()
        if each.hold
    )
    return Question(
        at=now,
        snapshot=snapshot,
        running=tuple(_place(state, build, now) for build in state.builds.values()),
        bookings=bookings,
        waiting=waiting,
        booked=booked,
        builder_ids=dict(state.builder_ids),
        workers={number: name for name, number in state.worker_ids.items()},
        rates={lock.key: rate.seconds for lock in snapshot.locks if (rate := rules.rate(lock.key)) is not None},
        returns=tuple(
            (max(0.0, start + rate.seconds - now), key)
            for key, starts in rules.recent.items()
            if (rate := rules.rate(key)) is not None
            for start in starts
        ),
    )


def _place(state: State, build: Build, now: float) -> Place:
    """Where a build is, and what its step holds or waits for."""
    step = state.step(build.buildid, build.current)
    going = Going(build.ticket, build.hold, build.worker)
    if step is None or step.state not in ("waiting", "running"):
        since = max((each.started_at for each in build.steps), default=build.started_at)
        return Place(build.builder, build.current, max(0.0, now - since) if not build.current else 0.0, going)
    allocator = state.allocator
    calls = step.calls.values()
    waits = [t for t in (step.ticket, *(call.ticket for call in calls)) if t in allocator.waiting]
    holds = tuple(h for h in (step.hold, *(call.hold for call in calls)) if h in allocator.holds)
    going = Going(build.ticket, build.hold, build.worker, waits=waits[0] if waits else 0, phase_holds=holds)
    elapsed = max(0.0, now - step.locks_acquired_at) if step.state == "running" else 0.0
    return Place(build.builder, build.current - 1, elapsed, going)


Known = Mapping[str, Sequence[Course]]
"""Builder to the courses of its last builds."""


def futures(asked: Question, known: Known, runs: int) -> list[Future]:
    """Possible futures: each takes one of its builder's last builds for each build. The same for the same question."""
    rests = [
        (place.going, likely(known[place.builder], place.index, place.elapsed) if known.get(place.builder) else None)
        for place in asked.running
    ]
    made = []
    for run in range(runs):
        pick = Random(run).choice
        going = [_with(going, pick(rest) if rest is not None else None) for going, rest in rests]
        waiting = {
            ticket: pick(known[builder]) if known.get(builder) else None for ticket, builder in asked.waiting.items()
        }
        made.append(Future((*going, *asked.bookings), {**waiting, **asked.booked}, asked.rates, asked.returns))
    return made


def _with(going: Going, course: Course | None) -> Going:
    return Going(going.owner, going.hold, going.worker, course, going.waits, going.phase_holds)


def forecast(asked: Question, known: Known, now: Callable[[], float]) -> dict[int, Expected]:
    """When each waiting claim is expected to be granted. Runs futures for a limited time, three at least."""
    until = now() + FORECAST_SECONDS
    found: list[dict[int, float]] = []
    for future in futures(asked, known, FORECAST_RUNS):
        found.append(grants_in(asked.snapshot, future, FORECAST_HORIZON, FORECAST_ENDS))
        if now() > until and len(found) >= 3:
            break
    blamed = _Blamed(asked, known)
    return {claim.ticket: _expected(asked, claim, found, blamed) for claim in asked.snapshot.waiting}


class _Blamed:
    """Because of whom nobody can say when something starts: builders without a history, bookings without an end."""

    def __init__(self, asked: Question, known: Known) -> None:
        self._asked = asked
        builders = {place.going.owner: place.builder for place in asked.running}
        builders |= {c.owner: asked.waiting[c.ticket] for c in asked.snapshot.waiting if c.ticket in asked.waiting}
        self._unknown = {owner: name for owner, name in builders.items() if not known.get(name)}
        self._endless = {going.owner for going in asked.bookings if going.course is None}
        self._waits: Waits | None = None

    def sentence(self, claim: Claim) -> str:
        """For a claim that is granted in too few futures. Named is whom it waits for; else all who may be ahead."""
        if self._waits is None:
            self._waits = Allocator.restore(self._asked.snapshot).waits
        others = {owner: name for owner, name in self._unknown.items() if owner != claim.owner}
        before = {name for owner, name in others.items() if self._waits.reaches(claim.owner, owner)}
        if not before and any(self._waits.reaches(claim.owner, owner) for owner in self._endless):
            return "Nobody can say when it starts: what it waits for is held without an end."
        names = sorted(before or set(others.values()))
        if names:
            return f"Nobody can say when it starts: no build of {listed(names)} has ended yet."
        return f"Nobody can say when it starts: not within {span(FORECAST_HORIZON)}, as things are."


def _expected(asked: Question, claim: Claim, found: Sequence[Mapping[int, float]], blamed: _Blamed) -> Expected:
    ticket = claim.ticket
    times = sorted(run.get(ticket, FORECAST_HORIZON) for run in found)
    # The middle 90 % of the futures: of real waits about 80 % end there (bench/forecast.py), for futures know less.
    low, middle, high = times[len(times) // 20], times[len(times) // 2], times[-1 - len(times) // 20]
    if middle < FORECAST_HORIZON:
        until = f"{span(high)}" if high < FORECAST_HORIZON else "much later"
        sentence = f"Expected to start in about {span(middle)} ({span(low)} to {until})."
        if high < FORECAST_SOON:
            sentence = "Expected to start at any moment."
        last = asked.at + high if high < FORECAST_HORIZON else None
        return Expected(sentence=sentence, at=asked.at + middle, earliest=asked.at + low, latest=last)
    return Expected(sentence=blamed.sentence(claim))


class Seen(Protocol):
    """What forecasts need of a server: a part of its door."""

    def now(self) -> float:
        """The wall time."""

    @property
    def state(self) -> State:
        """The core's state."""

    @property
    def reads(self) -> Queries:
        """The store."""


class Forecasts:
    """The forecasts of one server. What was worked out is kept for a moment, longer where it was costly."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._found: dict[int, Expected] = {}
        self._rests_until = 0.0
        self._kept_until = 0.0
        self._known: dict[str, tuple[float, list[Course]]] = {}
        self._working: asyncio.Task[None] | None = None

    async def expected(self) -> Mapping[int, Expected]:
        """When each waiting claim is expected to be granted, by ticket. What takes too long to work out is not waited
        for: then it is what was found before.
        """
        waiting = self._seen.state.allocator.waiting
        for _ in range(2):  # what is being worked out may be of a moment when somebody did not wait yet
            now = self._seen.now()
            old = not self._kept_until - 3600 < now < self._kept_until or not waiting.keys() <= self._found.keys()
            if not waiting or not old or self._rests_until - 3600 < now < self._rests_until:
                break
            if self._working is None:
                self._working = asyncio.create_task(self._work())
            await asyncio.wait([self._working], timeout=FORECAST_PATIENCE)
        return self._found

    async def _work(self) -> None:
        try:
            asked = question(self._seen.state, self._seen.now())
            self._found = await asyncio.to_thread(self._answer, asked)
            now = self._seen.now()
            took = now - asked.at
            self._rests_until = now + took / FORECAST_SHARE if took > FORECAST_CHEAP else 0.0
            self._kept_until = now + FORECAST_KEPT
        finally:
            self._working = None

    def _answer(self, asked: Question) -> dict[int, Expected]:
        """In a thread."""
        names = {place.builder for place in asked.running} | set(asked.waiting.values())
        known = {name: self._courses(name, asked) for name in names}
        return forecast(asked, known, self._seen.now)

    def _courses(self, name: str, asked: Question) -> list[Course]:
        """How the builder's last builds went; looked up anew after a while."""
        at, found = self._known.get(name, (0.0, []))
        if not found or not 0 <= asked.at - at < 60:
            found = self._seen.reads.courses(asked.builder_ids.get(name, 0), asked.workers, FORECAST_BUILDS)
            self._known[name] = (asked.at, found)
        return found
