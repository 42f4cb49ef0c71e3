"""When waiting claims will be granted, if builds take as long as is supposed: the same allocation, run forward (L70).

Pure: a possible future comes in as how long each build's phases take (`Future`), and goes out as seconds from now at
which each claim was granted in it. Whoever asks makes several futures, of what builds took before, and compares; no
chance is here. Builds that will be asked for later are not foreseen.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct, field
from msgspec.structs import replace

from lockstep.core.alloc_facts import UNRATED, AllocatorSnapshot, Granted, Sentenced, normalize
from lockstep.core.alloc_items import WHOLE
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Claim, LockKey, Need

OWN_WORKER = "*"
"""The worker of a lock of a phase: whichever its build runs on."""


class Phase(Struct, frozen=True):
    """A part of a build, most often a step: how long it takes, and the locks that it claims first."""

    seconds: float
    accesses: tuple[Access, ...] = ()


Course = tuple[Phase, ...]
"""How a build goes, from some moment to its end."""


class Going(Struct, frozen=True):
    """A build (or booking) that has its locks: what remains of it, the first phase being under way.

    `waits` is the ticket of the claim that this phase waits for, or 0; `phase_holds` end with it. `course` None:
    nobody knows when it ends.
    """

    owner: int
    hold: int
    worker: str = ""
    course: Course | None = None
    waits: int = 0
    phase_holds: tuple[int, ...] = ()


class Future(Struct, frozen=True):
    """What is supposed: how builds go on, and how those that wait will go (None, or not named: nobody knows).

    A grant of a lock with a start rate counts for the seconds in `rates`; those of before stop counting in `returns`,
    seconds from now.
    """

    going: tuple[Going, ...]
    waiting: Mapping[int, Course | None]
    rates: Mapping[LockKey, float] = {}
    returns: tuple[tuple[float, LockKey], ...] = ()


class _Build(Struct):
    """A build in a run: its place in its course."""

    owner: int
    hold: int
    worker: str
    course: Course | None
    place: int = 0
    holds: list[int] = field(default_factory=list)


def first_claims(snapshot: AllocatorSnapshot, most: int) -> AllocatorSnapshot:
    """The snapshot with the first so many waiting claims: those of steps, then by priority, then by ticket.

    Where projects have shares, each has as many of them: who has less comes before others that rank before it.
    """
    if len(snapshot.waiting) <= most:
        return snapshot
    ranked = sorted(snapshot.waiting, key=lambda claim: (-claim.level, claim.ticket))
    if snapshot.shares:
        projects, of = dict(snapshot.projects), Counter[str]()
        places = {}
        for claim in ranked:
            project = projects.get(claim.owner, "")
            places[claim.ticket] = of[project]
            of[project] += 1
        ranked.sort(key=lambda claim: places[claim.ticket])
    kept = ranked[:most]
    tickets = {claim.ticket for claim in kept}
    return replace(snapshot, waiting=tuple(kept), pins=tuple(pin for pin in snapshot.pins if pin[0] in tickets))


def grants_in(
    snapshot: AllocatorSnapshot, future: Future, horizon: float, most: int, wanted: Iterable[int] | None = None
) -> dict[int, float]:
    """In how many seconds each waiting claim is granted in this future; those that are not within it are left out.

    Args:
        snapshot: of the allocator, after a decision.
        future: what is supposed.
        horizon: seconds that are looked ahead.
        most: moments at which something ends that are looked at.
        wanted: tickets; when all of them are granted the run ends. None: all that wait.
    """
    return _Run(snapshot, future).go(horizon, most, wanted)


class _Run:
    """One run forward."""

    def __init__(self, snapshot: AllocatorSnapshot, future: Future) -> None:
        self._allocator = Allocator.restore(snapshot)
        self._waiting = future.waiting
        self._rates = future.rates
        self._clock = self._asked = snapshot.clock
        self._order = count()
        self._agenda: list[tuple[float, int, _Build | LockKey]] = []
        self._builds: dict[int, _Build] = {}
        self._claims: dict[int, _Build] = {}
        self._now = 0.0
        self.granted: dict[int, float] = {}
        for seconds, key in future.returns:
            heappush(self._agenda, (seconds, next(self._order), key))
        for going in future.going:
            build = _Build(going.owner, going.hold, going.worker, going.course, holds=list(going.phase_holds))
            self._builds[going.owner] = build
            if going.waits in self._allocator.waiting:
                self._claims[going.waits] = build
            else:
                self._run_phase(build)

    def go(self, horizon: float, most: int, wanted: Iterable[int] | None) -> dict[int, float]:
        missing = set(self._allocator.waiting if wanted is None else wanted)
        self._decide(missing)
        while missing and self._agenda and most:
            self._now = self._agenda[0][0]
            if self._now > horizon:
                break
            while self._agenda and self._agenda[0][0] <= self._now:
                what = heappop(self._agenda)[2]
                if isinstance(what, LockKey):
                    left = self._allocator.reasons.starts_left(what)
                    self._allocator.set_starts(what, min(UNRATED, left + 1))
                else:
                    self._next_phase(what)
            self._decide(missing)
            most -= 1
        return self.granted

    def _decide(self, missing: set[int]) -> None:
        while decisions := self._allocator.decide():
            for decision in decisions:
                if isinstance(decision, Granted):
                    if decision.ticket <= self._asked:
                        self.granted[decision.ticket] = self._now
                    missing.discard(decision.ticket)
                    self._count(decision)
                    self._has(decision)
                elif isinstance(decision, Sentenced):
                    self._give_up(decision.ticket)

    def _count(self, grant: Granted) -> None:
        """Of a lock with a start rate: a start that comes back after its time."""
        for access in grant.alternative.accesses if self._rates else ():
            if access.lock in self._rates and access.lock not in grant.lent:
                heappush(self._agenda, (self._now + self._rates[access.lock], next(self._order), access.lock))

    def _has(self, grant: Granted) -> None:
        build = self._claims.pop(grant.ticket, None)
        if build is not None:
            build.holds.append(grant.hold)
        else:
            course = self._waiting.get(grant.ticket)
            build = _Build(grant.owner, grant.hold, grant.alternative.worker, course)
            self._builds[grant.owner] = build
            if course and course[0].accesses:
                self._claim(build, course[0].accesses)
                return
        self._run_phase(build)

    def _run_phase(self, build: _Build) -> None:
        """The phase has what it needs: it ends after its time. Of one that nobody knows about, never."""
        if build.course is not None:
            seconds = build.course[build.place].seconds if build.course else 0.0
            heappush(self._agenda, (self._now + seconds, next(self._order), build))

    def _next_phase(self, build: _Build) -> None:
        if self._builds.get(build.owner) is not build:
            return  # a ring has ended it
        for hold in build.holds:
            self._allocator.release(hold)
        build.holds.clear()
        build.place += 1
        course = build.course or ()
        if build.place >= len(course):
            del self._builds[build.owner]
            self._allocator.release(build.hold)
        elif course[build.place].accesses:
            self._claim(build, course[build.place].accesses)
        else:
            self._run_phase(build)

    def _claim(self, build: _Build, accesses: Sequence[Access]) -> None:
        """A phase claims its locks, as a step does. Of those of which nobody could have so much it claims nothing."""
        there = tuple(
            each for each in (on_worker(access, build.worker) for access in accesses) if self._can_be_had(each)
        )
        if not there:
            self._run_phase(build)
            return
        self._clock += 1
        need = Need((Alternative("", normalize(there)),))
        self._claims[self._clock] = build
        self._allocator.submit(Claim(self._clock, need, build.owner, level=STEP_LEVEL, since=self._clock))

    def _can_be_had(self, access: Access) -> bool:
        """Whether there is so much of such a lock, or of such units of a pool: there may have been once."""
        board, key = self._allocator.board, access.lock
        if key not in board.locks and not (key.kind == "pool" and key.name in board.pools):
            return False
        return board.lock(key).could_admit(WHOLE if access.mode == "exclusive" else access.count)

    def _give_up(self, owner: int) -> None:
        """A ring ended a build: what it holds is free. That it comes back is not foreseen."""
        self._builds.pop(owner, None)
        for hold in [hold.id for hold in self._allocator.holds.values() if hold.owner == owner]:
            self._allocator.release(hold)


def on_worker(access: Access, worker: str) -> Access:
    """The access as it is on that worker, if it is of whichever its build runs on."""
    key = access.lock
    return access if key.worker != OWN_WORKER else replace(access, lock=LockKey(key.kind, key.name, worker))


def remaining(course: Course, place: int, elapsed: float) -> Course:
    """What remains of a course whose phase at `place` has run for so long; that phase needs no locks any more."""
    first = Phase(max(0.0, course[place].seconds - elapsed))
    return (first, *course[place + 1 :])


def likely(courses: Sequence[Course], place: int, elapsed: float) -> list[Course]:
    """What remained of each of these courses, of those whose phase at `place` lasted longer than it has by now.

    If none did, it is supposed to take a tenth more of its time.
    """
    fitting = [course for course in courses if len(course) > place]
    longer = [remaining(course, place, elapsed) for course in fitting if course[place].seconds > elapsed]
    if longer:
        return longer
    return [(Phase(elapsed / 10), *course[place + 1 :]) for course in fitting] or [(Phase(elapsed / 10),)]
