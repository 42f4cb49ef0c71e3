"""Facts, one after another, folded into the rows that have not ended: a second opinion on what `core/apply.py` does.

It knows no allocator and decides nothing. Builds and steps are in `fold_builds.py`.
"""

import copy
from typing import Any

from lockstep.core import facts as f
from lockstep.core.alloc_facts import ShareMemory
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, LockKey, worse
from lockstep.core.records import Buildset, Counters, Quarantine, Request, Stamp, Worker
from lockstep.core.saved import Saved, SavedClaim, SavedLock, SavedPool, SavedUnit
from lockstep.core.values import Rank, Setup
from lockstep.sim.fold_bookings import BookingFold
from lockstep.sim.fold_builds import BuildFold, rule_for


class Fold(BuildFold, BookingFold):
    """The rows, as a store would have them after the facts that were put in."""

    def __init__(self, installation: str) -> None:
        BuildFold.__init__(self)
        BookingFold.__init__(self)
        self.installation = installation
        self.last_fact = 0
        self.setup: Setup | None = None
        self.ids: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self.stamps: dict[int, Stamp] = {}
        self.workers: dict[str, Worker] = {}
        self.locks: dict[LockKey, SavedLock] = {}
        self.units: dict[tuple[str, str], SavedUnit] = {}
        self.ranks: dict[str, Rank] = {}
        self.turns: dict[str, ShareMemory] = {}
        self.memories: dict[str, tuple[Any, int]] = {}

    def put(self, one: f.Numbered) -> None:
        """One more fact. Facts come without gaps."""
        assert one.number == self.last_fact + 1, f"fact {one.number} after {self.last_fact}"
        self.last_fact = one.number
        rule = getattr(self, rule_for(one.fact), None)
        if rule is not None:
            rule(one.fact, one.at)

    def saved(self) -> Saved:
        """What a process that starts now gets to see: copies, nobody changes the rows through them."""
        live = [b for b in self.buildsets.values() if b.state == "pending" or self.is_awaited(b)]
        pending = [b for b in live if b.state == "pending"]
        stamps = []
        for ssid in sorted({ssid for b in pending for ssid in b.ssids}):
            users = {b.bsid for b in pending if ssid in b.ssids}
            stamps.append(Stamp(ssid=ssid, stamp=self.stamps[ssid].stamp, users=users))
        saved = Saved(
            installation=self.installation,
            last_fact=self.last_fact,
            last_hold=self.last_hold,
            counters=Counters(**self.counts),
            setup=self.setup,
            builder_ids=self.ids[0],
            worker_ids=self.ids[1],
            build_numbers=self.build_numbers,
            ranks=self.ranks,
            buildsets=live,
            stamps=stamps,
            requests=list(self.requests.values()),
            builds=list(self.builds.values()),
            commands=list(self.commands.values()),
            workers=list(self.workers.values()),
            locks=list(self.locks.values()),
            pools=list(self.pools.values()),
            units=[row for _, row in sorted(self.units.items()) if row.quarantine is not None or row.failed],
            claims=[claim for claim in self.claims.values() if claim.hold or claim.pin >= 0],
            memories=self.memories,
            bookings=list(self.bookings.values()),
            turns=list(self.turns.values()),
        )
        return copy.deepcopy(saved)

    # --- configuration

    def on_setup_changed(self, fact: f.SetupChanged, _at: float) -> None:
        self.setup = fact.setup
        self.ids = (fact.builder_ids, fact.worker_ids)
        self.seen("builderid", *fact.builder_ids.values())
        self.seen("workerid", *fact.worker_ids.values())
        wanted = {worker.name: worker for worker in fact.setup.workers}
        for name, worker in wanted.items():
            row = self.workers.setdefault(name, Worker(name=name, workerid=fact.worker_ids[name]))
            row.configured, row.max_builds = True, worker.max_builds
        for name, row in self.workers.items():
            row.configured = name in wanted
        self._forget_workers()

    def _forget_workers(self) -> None:
        used = {build.worker for build in self.builds.values()}
        for name, row in list(self.workers.items()):
            if not row.configured and row.state == "absent" and name not in used:
                del self.workers[name]

    def on_limit_changed(self, fact: f.LimitChanged, _at: float) -> None:
        row = self._lock(fact.key)
        row.limit, row.max_overtakes, row.removed = fact.limit, fact.max_overtakes, fact.removed

    def on_pool_changed(self, fact: f.PoolChanged, _at: float) -> None:
        row = self.pools.setdefault(fact.name, SavedPool(setup=fact.setup))
        row.setup, row.removed = fact.setup, fact.removed

    def on_unit_quarantined(self, fact: f.UnitQuarantined, at: float) -> None:
        row = self._unit(fact.pool, fact.unit)
        row.quarantine = Quarantine(who=fact.who, reason=fact.reason, since=at, unfit=fact.unfit)

    def on_quarantine_lifted(self, fact: f.QuarantineLifted, _at: float) -> None:
        row = self._unit(fact.pool, fact.unit)
        row.quarantine, row.failed = None, ()

    def on_unit_tried(self, fact: f.UnitTried, _at: float) -> None:
        self._unit(fact.pool, fact.unit).failed = fact.failed

    def _unit(self, pool: str, unit: str) -> SavedUnit:
        return self.units.setdefault((pool, unit), SavedUnit(pool=pool, unit=unit))

    def on_starts_returned(self, fact: f.StartsReturned, _at: float) -> None:
        self._lock(fact.key).starts = fact.starts

    def _lock(self, key: LockKey) -> SavedLock:
        fresh = SavedLock(key=key, limit=-1, max_overtakes=DEFAULT_MAX_OVERTAKES)
        return self.locks.setdefault(key, fresh)

    def on_memory_kept(self, fact: f.MemoryKept, _at: float) -> None:
        memory, cursor = self.memories.get(fact.owner, (None, 0))
        self.memories[fact.owner] = (
            memory if fact.memory is None else fact.memory,
            cursor if fact.cursor is None else fact.cursor,
        )

    def on_change_added(self, fact: f.ChangeAdded, _at: float) -> None:
        self.seen("changeid", fact.change.changeid)

    def on_stamp_added(self, fact: f.StampAdded, _at: float) -> None:
        self.seen("ssid", fact.ssid)
        self.stamps[fact.ssid] = Stamp(ssid=fact.ssid, stamp=fact.stamp)

    # --- requests

    def on_buildset_added(self, fact: f.BuildsetAdded, at: float) -> None:
        self.seen("bsid", fact.bsid)
        asked = fact.submission
        self.buildsets[fact.bsid] = Buildset(
            bsid=fact.bsid,
            reason=asked.reason,
            scheduler=asked.scheduler,
            ssids=fact.ssids,
            properties=asked.properties,
            submitted_at=at,
            external_id=asked.external_id,
            rebuilt_buildid=asked.rebuilt_buildid,
            parent_call=fact.parent_call,
            waited_for=fact.waited_for,
        )

    def on_request_added(self, fact: f.RequestAdded, at: float) -> None:
        self.seen("brid", fact.brid)
        self.seen("clock", fact.ticket)
        self.buildsets[fact.bsid].open_requests.add(fact.brid)
        self.requests[fact.brid] = Request(
            brid=fact.brid,
            bsid=fact.bsid,
            builder=fact.builder,
            priority=fact.priority,
            ticket=fact.ticket,
            since=fact.ticket,
            submitted_at=at,
            waiting_since=at,
            properties=fact.properties,
            collapse_key=fact.collapse_key,
            parent=fact.parent,
            state="rendering" if fact.render else "waiting",
        )

    def on_need_set(self, fact: f.NeedSet, _at: float) -> None:
        row = self.requests[fact.brid]
        row.need, row.state = fact.need, "waiting"

    def on_priority_set(self, fact: f.PrioritySet, _at: float) -> None:
        self.requests[fact.brid].priority = fact.priority

    def on_place_taken(self, fact: f.PlaceTaken, _at: float) -> None:
        row = self.requests[fact.brid]
        row.ticket, row.since, row.priority = fact.ticket, fact.ticket, fact.priority

    def on_builder_ranked(self, fact: f.BuilderRanked, _at: float) -> None:
        self.ranks[fact.builder] = fact.rank

    def on_request_put_back(self, fact: f.RequestPutBack, at: float) -> None:
        self.seen("clock", fact.since)
        row = self.requests[fact.brid]
        row.state, row.since, row.put_back, row.buildid = "waiting", fact.since, True, 0
        row.waiting_since = at

    def on_place_regained(self, fact: f.PlaceRegained, _at: float) -> None:
        self.requests[fact.brid].put_back = False

    def on_request_ended(self, fact: f.RequestEnded, _at: float) -> None:
        row = self.requests.pop(fact.brid)
        buildset = self.buildsets[row.bsid]
        buildset.open_requests.remove(fact.brid)
        if not fact.into:
            buildset.result = worse(buildset.result, fact.result)

    def on_buildset_ended(self, fact: f.BuildsetEnded, _at: float) -> None:
        self.buildsets[fact.bsid].state = "complete"

    # --- claims

    def on_claim_granted(self, fact: f.ClaimGranted, at: float) -> None:
        self.last_hold = max(self.last_hold, fact.hold)
        self.claims[fact.ticket] = SavedClaim(
            ticket=fact.ticket,
            owner=fact.owner,
            hold=fact.hold,
            alternative=fact.alternative,
            fences=fact.fences,
            units=fact.units,
        )
        for memory in fact.pools:
            self.pools[memory.name].memory = memory
        self.turns.update((memory.name, memory) for memory in fact.shares)
        for position, access in enumerate(fact.alternative.accesses):
            if access.lock.kind == "pool":
                pool = self.pools[access.lock.name]
                pool.fence = max(pool.fence, fact.fences[position])
                continue
            row = self._lock(access.lock)
            row.fence, row.memory = max(row.fence, fact.fences[position]), fact.memories[position]
        for key, starts in fact.starts:
            self._lock(key).starts = starts
        self.step_granted(fact, at)
        self.booking_granted(fact.ticket, fact.hold, at)

    def on_claim_pinned(self, fact: f.ClaimPinned, _at: float) -> None:
        self.claims[fact.ticket] = SavedClaim(ticket=fact.ticket, pin=fact.alternative)

    def on_claim_dropped(self, fact: f.ClaimDropped, _at: float) -> None:
        row = self.claims.get(fact.ticket)
        if row is not None and not row.hold:
            del self.claims[fact.ticket]

    def on_hold_ended(self, fact: f.HoldEnded, _at: float) -> None:
        row = self.claims.get(fact.ticket)
        if row is not None and row.hold == fact.hold:
            del self.claims[fact.ticket]

    def on_locks_returned(self, fact: f.LocksReturned, _at: float) -> None:
        row = self.claims[fact.ticket]
        row.alternative, row.fences, row.units = fact.alternative, fact.fences, fact.units
        step = self.builds[fact.buildid].steps[fact.step - 1]
        gone = {str(key.whole) for key in fact.locks}
        step.fences = {name: fence for name, fence in step.fences.items() if name not in gone}

    # --- workers

    def on_worker_up(self, fact: f.WorkerUp, _at: float) -> None:
        self.seen("session", fact.session)
        row = self.workers[fact.worker]
        row.state, row.session, row.resumes, row.lease, row.info = (
            "connected",
            fact.session,
            fact.resumes,
            fact.lease,
            fact.info,
        )

    def on_worker_leaving(self, fact: f.WorkerLeaving, _at: float) -> None:
        self.workers[fact.worker].state = "leaving"

    def on_worker_down(self, fact: f.WorkerDown, _at: float) -> None:
        self.workers[fact.worker].state = "unreachable" if fact.busy else "absent"
        self._forget_workers()

    def on_worker_given_up(self, fact: f.WorkerGivenUp, _at: float) -> None:
        self.workers[fact.worker].state = "absent"
        self._forget_workers()

    def on_worker_paused(self, fact: f.WorkerPaused, _at: float) -> None:
        row = self.workers[fact.worker]
        row.paused, row.pause_reason = fact.paused, fact.reason
