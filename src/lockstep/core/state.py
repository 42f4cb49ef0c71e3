"""The state: what all facts add up to, for everything that has not ended.

Here are the container and the questions that may be asked of it. `apply.py` is the only writer.
"""

from collections.abc import Iterator
from typing import Any

from lockstep.core.allocation import Allocator
from lockstep.core.calls import StartBuilds
from lockstep.core.deadlock import plans_of
from lockstep.core.lock_rules import LockRules
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, PRIORITIES, UNLIMITED, Alternative, Claim, LockKey, Need
from lockstep.core.records import Booking, Build, Buildset, Command, Counters, Quarantine, Request, Stamp, Step, Worker
from lockstep.core.values import BuilderSetup, LockSetup, PoolSetup, Rank, Setup, SourceStamp
from lockstep.core.waiting import Ruled, terms_of

NO_NEED = Need(())
"""The need of a request whose builder is not configured any more: it can never be served, and says so."""

PLAIN = Rank()
"""The rank of a builder that no hook speaks of."""

ClaimRef = tuple[str, int, int, int]
"""Whose claim a ticket is: ("request", brid, 0, 0), ("step", buildid, step, 0), ("call", buildid, step, call) or
("booking", ticket, 0, 0).
"""


def locks_of(need: Need) -> Iterator[LockKey]:
    """Every lock that a need names."""
    return (access.lock for each in need.alternatives for access in each.accesses)


def _level(priority: int) -> int:
    """A priority as a level: between those of what hooks say (L24a)."""
    most = PRIORITIES // 2 - 1
    return max(-most, min(priority, most))


def _waited(step: Step) -> bool:
    """Whether a step has waited for the builds that it triggers, or ended without."""
    calls = (record for record in step.calls.values() if isinstance(record.call, StartBuilds) and record.call.wait)
    return step.state == "ended" or any(record.state == "ended" for record in calls)


def slot_key(worker: str) -> LockKey:
    """The lock that a worker's `max_builds` is (L23)."""
    return LockKey("slot", "", worker)


class State:
    """Everything that has not ended. `installation` keeps command ids unique for ever."""

    def __init__(self, installation: str) -> None:
        self.installation = installation
        self.last_fact = 0
        self.counters = Counters()
        self.setup = Setup()
        self.builders: dict[str, BuilderSetup] = {}
        self.builder_ids: dict[str, int] = {}
        self.worker_ids: dict[str, int] = {}
        self.build_numbers: dict[str, int] = {}
        self.buildsets: dict[int, Buildset] = {}
        self.stamps: dict[int, Stamp] = {}
        self.stamp_ids: dict[SourceStamp, int] = {}
        self.requests: dict[int, Request] = {}
        self.builds: dict[int, Build] = {}
        self.commands: dict[str, Command] = {}
        self.workers: dict[str, Worker] = {}
        self.awaited: dict[str, dict[str, float]] = {}
        """The timers that wait for each worker out of reach, and for how long; of this process only, as timers are."""
        self.bookings: dict[int, Booking] = {}
        self.memories: dict[str, tuple[Any, int]] = {}
        self.ranks: dict[str, Rank] = {}
        self.locks: dict[LockKey, LockSetup] = {}
        self.pools: dict[str, PoolSetup] = {}
        self.quarantines: dict[tuple[str, str], Quarantine] = {}
        self.failed_with: dict[tuple[str, str], tuple[str, ...]] = {}
        """Units of pools to the builds in a row that had them and failed."""
        self.looked: dict[tuple[str, str], float] = {}
        """When it was last the turn of units in quarantine to be looked at; of this process only, as timers are."""
        self.removed_locks: dict[LockKey, LockSetup] = {}
        """What a reload has removed, with its last limit: who still claims it gets it (L6)."""
        self.claims: dict[int, ClaimRef] = {}
        self.collapsible: dict[tuple[Any, ...], int] = {}
        self.children: dict[int, set[int]] = {}
        self.builds_on: dict[str, set[int]] = {}
        self.commands_of: dict[int, set[str]] = {}
        self.allocator = Allocator()
        self.ruled = Ruled()
        self.lock_rules = LockRules()

    # --- questions

    def step(self, buildid: int, number: int) -> Step | None:
        """The step of a running build, or None."""
        build = self.builds.get(buildid)
        if build is None or not 1 <= number <= len(build.steps):
            return None
        return build.steps[number - 1]

    def next_step(self, build: Build) -> Step | None:
        """The step that a build starts next (BUILDBOT.md section 1: flags), or None if it has none left."""
        if build.broken:
            return None
        only_always = build.halted or build.stop_result is not None
        for step in build.steps[build.current :]:
            if step.plan.alwaysRun or not only_always:
                return step
        return None

    def opener(self, build: Build) -> Step | None:
        """The step of a build that claimed the locks which its group still holds, or None."""
        for step in reversed(build.steps[: build.current]):
            if step.shared and step.hold in self.allocator.holds:
                return step
        return None

    def rank(self, builder: str) -> Rank:
        """What hooks say of a builder's place in the queue."""
        return self.ranks.get(builder, PLAIN)

    def level(self, request: Request) -> int:
        """A request's level for L40: the order of its builder, whether it is the chosen one, its priority.

        Where a lock serves by time alone, nothing of this counts.
        """
        if self.lock_rules.orders and self.lock_rules.order(self.need_of(request)) == "fifo":
            return 0
        rank = self.rank(request.builder)
        place = 2 * rank.order + (rank.chosen == request.brid)
        return place * PRIORITIES + _level(request.priority)

    def request_claim(self, request: Request) -> Claim:
        """The claim that a waiting request stands for."""
        need = self.need_of(request)
        return Claim(
            ticket=request.ticket,
            need=need,
            owner=request.ticket,
            level=self.level(request),
            since=request.since,
            parent=request.parent if request.parent and self.is_awaited(request) else 0,
            put_back=request.put_back,
            plan=request.builder if request.builder in self.allocator.safety.plans else "",
            newest=bool(self.lock_rules.orders) and self.lock_rules.order(need) == "newest",
        )

    def need_of(self, request: Request) -> Need:
        """What a request needs now."""
        if self.rank(request.builder).held:
            return NO_NEED
        builder = self.builders.get(request.builder)
        return request.need or (builder.need if builder else None) or NO_NEED

    def booking_claim(self, booking: Booking) -> Claim:
        """The claim that a waiting booking stands for: it is its own owner, and no ring puts it back."""
        need = Need((Alternative("", booking.wish.accesses),))
        ticket = booking.ticket
        return Claim(
            ticket=ticket,
            need=need,
            owner=ticket,
            level=self.booking_level(booking),
            since=booking.since,
            retryable=False,
        )

    def booking_level(self, booking: Booking) -> int:
        """A booking's level for L40: like a request of a builder that no hook speaks of."""
        return _level(booking.wish.priority)

    def is_awaited(self, request: Request) -> bool:
        """Whether a build waits for this child: also after its step has ended, unless it breaks off (L53)."""
        call = self.buildsets[request.bsid].parent_call
        parent = self.builds.get(call[0]) if request.parent and call is not None else None
        return parent is not None and not parent.broken

    def call_waits(self, call: tuple[int, int, int]) -> bool:
        """Whether the call (build id, step number, call number) of a running step has not ended."""
        step = self.step(call[0], call[1])
        record = step.calls.get(call[2]) if step is not None and step.state == "running" else None
        return record is not None and record.state == "started"

    def claim(self, claim: Claim) -> None:
        """A claim begins to wait. Locks that a reload has removed are there for it, with their last limit (L6)."""
        back = self._bring_back(claim.need) if self.removed_locks else ()
        if self.setup.shares:
            self._belongs(claim.ticket)
        self.allocator.submit(claim)
        terms = terms_of(claim.need)
        if self.ruled.used or terms.seconds or terms.skips:
            self._rule(claim.ticket, claim.need)
        for key in back:
            self.allocator.forget_lock(key)

    def plan(self) -> None:
        """Another configuration: find whose builds could wait for each other for ever, and how far these are (L51)."""
        self.allocator.set_plans(plans_of(self.setup))
        for request in self.requests.values():
            if request.state == "waiting" or (request.state == "rendering" and self.is_awaited(request)):
                self.sets_out(request)
        for build in self.builds.values():
            self.goes_on(build)

    def sets_out(self, request: Request) -> None:
        """A request waits, or a build waits for it: it is known what its build will claim."""
        if request.builder in self.allocator.safety.plans:
            self.allocator.set_course(request.ticket, request.builder, 0)

    def goes_on(self, build: Build) -> None:
        """A build is at another step, or its step waits for no builds any more."""
        if build.builder in self.allocator.safety.plans:
            step = build.steps[build.current - 1] if build.current else None
            self.allocator.set_course(build.ticket, build.builder, build.current, step is not None and _waited(step))

    def claim_other(self, request: Request) -> None:
        """A waiting request has other alternatives."""
        claim = self.request_claim(request)
        back = self._bring_back(claim.need) if self.removed_locks else ()
        self.allocator.replace(claim.ticket, claim.need, claim.newest)
        self.allocator.set_level(claim.ticket, claim.level)
        self._rule(claim.ticket, claim.need)
        for key in back:
            self.allocator.forget_lock(key)

    def _rule(self, ticket: int, need: Need) -> None:
        self.ruled.waits(ticket, need, counted=self.claims[ticket][0] == "request")

    def share_out(self) -> None:
        """What projects have by weight is another, or builders are of other projects."""
        self.allocator.set_shares(self.setup.shares)
        if self.setup.shares:
            for ticket in (build.ticket for build in self.builds.values()):
                self._belongs(ticket)
            for request in self.requests.values():
                if request.state == "waiting":
                    self._belongs(request.ticket)

    def _belongs(self, ticket: int) -> None:
        """Tell of which project a request is, or the build that it became. Steps and people are of none."""
        kind, brid, _, _ = self.claims[ticket]
        builder = self.builders.get(self.requests[brid].builder) if kind == "request" else None
        if kind == "request":
            self.allocator.set_project(ticket, builder.project if builder is not None else "")

    def rule_locks(self) -> None:
        """The orders and start rates of locks are others."""
        self.lock_rules.configure(self.setup)
        for key in self.locks:
            self.allow_starts(key)

    def rule_anew(self) -> None:
        """The rules of locks' queues are others, or all of the state is new: find out whom they speak of."""
        self.ruled.configure(self.setup.queues)
        for claim in self.allocator.waiting.values():
            self._rule(claim.ticket, claim.need)

    def gives_up_at(self, ticket: int) -> float | None:
        """When a waiting claim gives up (`waitTimeout`), Unix time; None if it waits as long as it takes."""
        claim = self.allocator.waiting.get(ticket)
        seconds = terms_of(claim.need).seconds if claim is not None else 0.0
        if not seconds:
            return None
        kind, subject, number, _ = self.claims[ticket]
        step = self.step(subject, number) if kind == "step" else None
        if step is not None:
            return step.started_at + seconds
        return self.requests[subject].waiting_since + seconds if kind == "request" else None

    def looks_again_at(self, pool: str, unit: str) -> float | None:
        """When a unit that was not fit is looked at again (L95), Unix time; None if it is not."""
        quarantine, setup = self.quarantines.get((pool, unit)), self.pools.get(pool)
        if quarantine is None or not quarantine.unfit or setup is None or not setup.retry:
            return None
        if all(each.name != unit for each in setup.units):
            return None
        return self.looked.get((pool, unit), quarantine.since) + setup.retry

    def _bring_back(self, need: Need) -> list[LockKey]:
        back = [key for key in locks_of(need) if key in self.removed_locks]
        for key in back:
            lock = self.removed_locks[key]
            self.allocator.set_lock(key, lock.limit, lock.max_overtakes)
            self.allow_starts(key)
        return back

    def allow_starts(self, key: LockKey) -> None:
        """Tell the allocator how many more grants a lock's start rate allows."""
        self.allocator.set_starts(key, self.lock_rules.left(key))

    def waited_buildsets(self, call: tuple[int, int, int]) -> list[Buildset]:
        """The build sets that a call of a running step waits for."""
        sets = (self.buildsets[bsid] for bsid in sorted(self.children.get(call[0], ())))
        return [buildset for buildset in sets if buildset.parent_call == call]

    def requests_of(self, bsid: int) -> Iterator[Request]:
        """The requests of a build set that have not ended."""
        for brid in sorted(self.buildsets[bsid].open_requests):
            yield self.requests[brid]

    def slot_overtakes(self, name: str) -> int:
        """How often who waits for this worker may be passed there (L42)."""
        return next((each.max_overtakes for each in self.setup.workers if each.name == name), DEFAULT_MAX_OVERTAKES)

    def slot_limit(self, worker: Worker) -> int:
        """How many builds a worker may have now: 0 while it is away, paused or removed (L5, L23)."""
        if worker.state != "connected" or worker.paused or not worker.configured:
            return 0
        return UNLIMITED if worker.max_builds is None else worker.max_builds
