"""The checkers that look at every decision: they know only the facts, and hold them against LOCKS.md.

They keep a model of their own, simpler and slower than the allocator's. What is checked of a single grant is in
`grants_watch.py`; what needs the state or the disk is in `checks.py`.
"""

from collections.abc import Iterable

from lockstep.core import facts as f
from lockstep.core.calls import Acquire
from lockstep.core.nouns import PRIORITIES, STEP_LEVEL, Access, Alternative, LockKey, Need, Result
from lockstep.core.state import NO_NEED, State, slot_key
from lockstep.core.values import Rank
from lockstep.sim.faults import Ledger, demand
from lockstep.sim.fold_bookings import BookingWatch
from lockstep.sim.fold_builds import rule_for
from lockstep.sim.grants_watch import Held, Wait
from lockstep.sim.groups import GroupsWatch
from lockstep.sim.impatience import ImpatienceWatch
from lockstep.sim.pools import is_pool

Where = tuple[str, int, int, int]


class Watch(BookingWatch):
    """What the facts so far add up to, as far as locks are concerned."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.pools.passed = ledger.passed
        self.impatience = ImpatienceWatch(self)
        self.groups = GroupsWatch()
        self.needs: dict[str, Need | None] = {}
        self.configured: set[str] = set()
        self.slots: dict[str, tuple[bool, bool, int]] = {}
        self.leaving: set[str] = set()
        """Workers that get nothing new, but are here until their commands have ended."""
        self.requests: dict[int, int] = {}
        self.builders: dict[int, str] = {}
        self.ranks: dict[str, Rank] = {}
        self.own_need: dict[int, Need | None] = {}
        self.bsets: dict[int, tuple[int, int, int]] = {}
        self.bset_of: dict[int, int] = {}
        self.builds: dict[int, int] = {}
        self.brids: dict[int, int] = {}
        self.steps: dict[int, tuple[int, bool]] = {}
        self.broken: set[int] = set()
        self.calls: set[tuple[int, int, int]] = set()
        self.ended_requests: set[int] = set()
        self.stopped: set[int] = set()
        """Requests that end with the build that they have: it is being cancelled, or cannot go on."""
        self.commands: dict[str, int] = {}
        self.command_of: dict[tuple[int, int, int], str] = {}
        self._lenders: dict[int, set[int]] = {}

    def see(self, facts: Iterable[f.Numbered], state: State | None, now: float = 0.0) -> None:
        """A decision's facts, and (if given) the state after them, at that time."""
        for one in facts:
            self.now = one.at
            if isinstance(one.fact, f.SetupChanged):
                self.ordering.see(one)
            rule = getattr(self, rule_for(one.fact), None)
            if rule is not None:
                self._lenders.clear()
                rule(one.fact)
            self.pools.see(one)
            self.shares.see(one.fact)
            if isinstance(one.fact, f.ClaimGranted):
                self.ordering.see(one)
            self.impatience.see(one)
            self.groups.see(one.fact)
        self._lenders.clear()
        self._owners_live()
        if state is not None:
            self.now = now
            self.impatience.check(now)
            self._agrees(state)
            self.nothing_idle(state)

    # --- after each decision

    def _lends(self, owner: int) -> bool:
        """Whether somebody who was begun by this owner has not ended: what it was lent stays (L53)."""
        others = {hold.owner for hold in self.holds.values()} | {wait.owner for wait in self.waiting.values()}
        return any(owner in self.lenders(each) for each in others)

    def _owners_live(self) -> None:
        """Every hold's and every waiting claim's owner is alive (L30)."""
        tickets = {ticket: buildid for buildid, ticket in self.builds.items()}
        tickets |= dict.fromkeys(self.bookings, 0)
        for hold in self.holds.values():
            demand(hold.owner in tickets, f"hold {hold.id} of {hold.owner} lives on after its build")
            if hold.ticket != hold.owner:
                kind, buildid, step, _ = self.where[hold.ticket]
                stays = self.groups.stays(buildid, hold.ticket, self.steps.get(buildid, (0, False)))
                lends = hold.ticket in self.groups.shared and self._lends(hold.owner)
                alive = self.steps.get(buildid) == (step, True) or stays or lends
                demand(alive, f"hold {hold.id} of a {kind} lives on after its step")
        for wait in self.waiting.values():
            if wait.level == STEP_LEVEL:
                demand(wait.owner in tickets, f"claim {wait.ticket} waits on after its build")
            elif wait.ticket not in self.bookings:
                brid = self.where[wait.ticket][1]
                demand(brid in self.requests, f"claim {wait.ticket} waits on after its request")

    def _agrees(self, state: State) -> None:
        """The allocator knows what the facts say: no ghost waits, no unit is lost, none appears."""
        waiting, holds = set(state.allocator.waiting), set(state.allocator.holds)
        demand(waiting == set(self.waiting), f"claims {waiting ^ set(self.waiting)} wait for nobody or are forgotten")
        demand(holds == set(self.holds), f"holds {holds ^ set(self.holds)} are nobody's or are forgotten")
        self.pools.agrees(state)
        held = {access.lock for hold in self.holds.values() for access in hold.accesses if not is_pool(access)}
        for key in held | set(state.locks):
            used = self.most_at_once(self._users(key, {}))
            known = state.allocator.reasons.used(key)
            demand(known == used or self.is_whole(key), f"{known} units of {key} are used, the holds have {used}")
        for buildid in state.builds:
            demand(buildid in self.builds, f"build {buildid} has ended")

    # --- the configuration

    def on_setup_changed(self, fact: f.SetupChanged) -> None:
        self.needs = {builder.name: builder.need for builder in fact.setup.builders}
        sizes = {worker.name: worker.max_builds for worker in fact.setup.workers}
        for name in {*sizes, *self.slots}:
            connected, paused, _ = self.slots.get(name, (False, False, 0))
            size = sizes.get(name, 0)
            self._slot(name, connected, paused, 1 << 40 if size is None else size)
        self.configured = set(sizes)
        self._forget_workers()
        for ticket in list(self.waiting):
            kind, brid, _, _ = self.where[ticket]
            if kind == "request":
                self._waits(brid)

    def on_limit_changed(self, fact: f.LimitChanged) -> None:
        self.limits[fact.key] = fact.limit
        self.overtakes[fact.key] = fact.max_overtakes
        self.removed.discard(fact.key)
        if fact.removed:
            self.removed.add(fact.key)

    def _forget_workers(self) -> None:
        """A worker that is not configured, not here and not in use is forgotten, and that it was paused."""
        for name, (connected, _, _) in list(self.slots.items()):
            used = any(a.lock == slot_key(name) for hold in self.holds.values() for a in hold.accesses)
            if name not in self.configured and not connected and not used and name not in self.leaving:
                del self.slots[name]
                self.limits[slot_key(name)] = 0

    def _slot(self, name: str, connected: bool, paused: bool, size: int) -> None:
        self.slots[name] = (connected, paused, size)
        self.limits[slot_key(name)] = size if connected and not paused else 0

    def on_worker_up(self, fact: f.WorkerUp) -> None:
        _, paused, size = self.slots[fact.worker]
        self.leaving.discard(fact.worker)
        self._slot(fact.worker, True, paused, size)

    def on_worker_leaving(self, fact: f.WorkerLeaving) -> None:
        _, paused, size = self.slots[fact.worker]
        self.leaving.add(fact.worker)
        self._slot(fact.worker, False, paused, size)

    def on_worker_down(self, fact: f.WorkerDown) -> None:
        _, paused, size = self.slots[fact.worker]
        self.leaving.discard(fact.worker)
        self._slot(fact.worker, False, paused, size)
        self._forget_workers()

    def on_worker_given_up(self, _fact: f.WorkerGivenUp) -> None:
        self._forget_workers()

    def on_worker_paused(self, fact: f.WorkerPaused) -> None:
        connected, _, size = self.slots[fact.worker]
        self._slot(fact.worker, connected, fact.paused, size)

    # --- requests

    def on_buildset_added(self, fact: f.BuildsetAdded) -> None:
        if fact.parent_call is not None and fact.waited_for:
            self.bsets[fact.bsid] = fact.parent_call

    def on_request_added(self, fact: f.RequestAdded) -> None:
        self.see_number(fact.ticket)
        self.requests[fact.brid] = fact.ticket
        self.builders[fact.brid] = fact.builder
        self.bset_of[fact.brid] = fact.bsid
        self.own_need[fact.brid] = None
        self.levels[fact.ticket] = fact.priority
        self.where[fact.ticket] = ("request", fact.brid, 0, 0)
        self.put_back.discard(fact.ticket)
        self.since[fact.ticket] = fact.ticket
        if not fact.render:
            self._waits(fact.brid)

    def _waits(self, brid: int) -> None:
        ticket = self.requests[brid]
        rank = self.ranks.get(self.builders[brid], Rank())
        need = self.own_need[brid] or self.needs.get(self.builders[brid]) or NO_NEED
        level = (2 * rank.order + (rank.chosen == brid)) * PRIORITIES + self.levels[ticket]
        if self.ordering.order(need) == "fifo":
            level = 0
        self.wait(Wait(ticket, ticket, level, NO_NEED if rank.held else need, brid in self.parents()))

    def parents(self) -> dict[int, int]:
        """Requests that a build waits for, and the builds that wait: until one has ended, or the build breaks off."""
        found = {}
        for brid, bsid in self.bset_of.items():
            call = self.bsets.get(bsid)
            alive = call is not None and call[0] in self.builds and call[0] not in self.broken
            if call is not None and alive and brid in self.requests:
                found[brid] = call[0]
        return found

    def lenders(self, owner: int) -> set[int]:
        """The builds that wait for this owner, directly or through others."""
        if not self._lenders:
            above = {self.requests[brid]: self.builds[b] for brid, b in self.parents().items() if b in self.builds}
            self._lenders[0] = set()
            for child in above:
                found, each = set(), child
                while each in above:
                    each = above[each]
                    found.add(each)
                self._lenders[child] = found
        return self._lenders.get(owner, set())

    def on_need_set(self, fact: f.NeedSet) -> None:
        self.own_need[fact.brid] = fact.need
        self._waits(fact.brid)

    def on_priority_set(self, fact: f.PrioritySet) -> None:
        ticket = self.requests[fact.brid]
        self.levels[ticket] = fact.priority
        if ticket in self.waiting:
            self._waits(fact.brid)

    def on_place_taken(self, fact: f.PlaceTaken) -> None:
        before = self.requests[fact.brid]
        demand(fact.ticket < before, f"request {fact.brid} gets a later place: {fact.ticket} after {before}")
        demand(fact.ticket not in self.requests.values(), f"request {fact.brid} takes a place that another has")
        self.requests[fact.brid] = fact.ticket
        self.levels[fact.ticket] = fact.priority
        self.where[fact.ticket] = self.where.pop(before)
        self.since[fact.ticket] = fact.ticket

    def on_builder_ranked(self, fact: f.BuilderRanked) -> None:
        self.ranks[fact.builder] = fact.rank
        for ticket in list(self.waiting):
            kind, brid, _, _ = self.where[ticket]
            if kind == "request" and self.builders[brid] == fact.builder:
                self._waits(brid)

    def on_request_put_back(self, fact: f.RequestPutBack) -> None:
        self.see_number(fact.since)
        ticket = self.requests[fact.brid]
        demand(fact.brid not in self.stopped, f"request {fact.brid} goes back to the queue, and was to end")
        self.put_back.add(ticket)
        self.since[ticket] = fact.since
        self._waits(fact.brid)

    def on_request_ended(self, fact: f.RequestEnded) -> None:
        demand(fact.brid not in self.ended_requests, f"request {fact.brid} ends twice")
        self.ended_requests.add(fact.brid)
        ticket = self.requests.pop(fact.brid)
        demand(ticket not in self.waiting, f"request {fact.brid} has ended and claim {ticket} still waits")

    # --- builds and steps

    def on_build_started(self, fact: f.BuildStarted) -> None:
        demand(fact.hold in self.holds, f"build {fact.buildid} has no hold")
        demand(self.requests.get(fact.brid) == fact.ticket, f"build {fact.buildid} has another ticket than its request")
        self.builds[fact.buildid] = fact.ticket
        self.brids[fact.buildid] = fact.brid

    def on_build_stopping(self, fact: f.BuildStopping) -> None:
        self.ending[self.builds[fact.buildid]] = fact.result
        if fact.broken:
            self.broken.add(fact.buildid)
        if fact.result is Result.CANCELLED or (fact.broken and fact.result is not Result.RETRY):
            self.stopped.add(self.brids[fact.buildid])

    def on_build_ended(self, fact: f.BuildEnded) -> None:
        left = self.ledger.of_step(fact.buildid, 0) if fact.buildid in self.builds else []
        demand(not left, f"build {fact.buildid} ends and its commands {left} still run")
        self.robbed_ends(self.builds[fact.buildid], fact)
        own = [hold.id for hold in self.holds.values() if hold.owner == self.builds[fact.buildid]]
        demand(len(own) == 1, f"build {fact.buildid} ends and holds {own}")
        del self.builds[fact.buildid]
        self.steps.pop(fact.buildid, None)

    def on_step_started(self, fact: f.StepStarted) -> None:
        before = self.steps.get(fact.buildid)
        demand(before is None or not before[1], f"build {fact.buildid} starts a step beside another")
        self.steps[fact.buildid] = (fact.number, True)
        if fact.ticket:
            self._claims(fact.ticket, fact.buildid, fact.number, 0, fact.accesses)

    def on_step_put_back(self, fact: f.StepPutBack) -> None:
        demand(self.steps[fact.buildid] == (fact.number, True), f"step {fact.number} is put back and did not run")
        need = Need((Alternative("", fact.accesses),))
        self.wait(Wait(fact.ticket, self.builds[fact.buildid], STEP_LEVEL, need, True))

    def _claims(self, ticket: int, buildid: int, step: int, call: int, accesses: tuple[Access, ...]) -> None:
        self.see_number(ticket)
        self.where[ticket] = ("call" if call else "step", buildid, step, call)
        self.since[ticket] = ticket
        need = Need((Alternative("", accesses),))
        self.wait(Wait(ticket, self.builds[buildid], STEP_LEVEL, need, True))

    def on_step_ended(self, fact: f.StepEnded) -> None:
        left = self.ledger.of_step(fact.buildid, fact.number)
        demand(not left, f"step {fact.number} of build {fact.buildid} ends and its commands {left} still run")
        demand(self.steps[fact.buildid] == (fact.number, True), f"step {fact.number} ends and did not run")
        waits = [t for t in self.waiting if self.where[t][1:3] == (fact.buildid, fact.number) and t in self.where]
        waits = [ticket for ticket in waits if self.where[ticket][0] != "request"]
        demand(not waits, f"step {fact.number} of build {fact.buildid} ends and its claims {waits} wait")
        self.steps[fact.buildid] = (fact.number, False)
        for brid in self.requests:
            orphan = self.bsets.get(self.bset_of[brid], (0, 0, 0))[:2] == (fact.buildid, fact.number)
            demand(not orphan or brid in self.stopped, f"request {brid} goes on, and nobody waits for it any more")

    def on_call_started(self, fact: f.CallStarted) -> None:
        where = (fact.buildid, fact.step, fact.number)
        demand(where not in self.calls, f"call {where} is made twice")
        self.calls.add(where)
        if fact.command:
            demand(fact.command not in self.commands, f"command {fact.command} has the id of another")
            self.commands[fact.command] = fact.buildid
            self.command_of[where] = fact.command
        if fact.ticket and isinstance(fact.call, Acquire):
            self._claims(fact.ticket, *where, fact.call.accesses)

    def on_call_ended(self, fact: f.CallEnded) -> None:
        where = (fact.buildid, fact.step, fact.number)
        command = self.command_of.get(where)
        if command is not None and fact.result.rc >= 0:
            code = self.ledger.codes.get(command)
            demand(code == fact.result.rc, f"command {command} is said to have ended with {fact.result.rc}, not {code}")

    # --- rings (L52)

    def on_ring_broken(self, fact: f.RingBroken) -> None:
        """Let every owner finish that can: those left are rings, and the doomed one is in one of them."""
        left = set(self.builds.values())
        children = {(self.builds[p], self.requests[b]) for b, p in self.parents().items() if p in self.builds}
        free: dict[int, Held] = {}
        left |= {child for _, child in children}
        moved = True
        while moved:
            moved = False
            for owner in sorted(left):
                if any(child in left for parent, child in children if parent == owner):
                    continue
                if any(self.is_stuck(wait, free) for wait in self.waiting.values() if wait.owner == owner):
                    continue
                left.discard(owner)
                free |= {hold.id: hold for hold in self.holds.values() if hold.owner == owner}
                moved = True
        demand(fact.ticket in left, f"build {fact.ticket} is put back without a true ring: {fact.text}")
        own = {hold.id: hold for hold in self.holds.values() if hold.owner == fact.ticket}
        lacking = [w for w in self.waiting.values() if w.owner in left and self.is_stuck(w, free)]
        wanted = {a.lock.whole for w in lacking for each in w.need.alternatives for a in each.accesses}
        held = {a.lock.whole for hold in own.values() for a in hold.accesses}
        demand(bool(held & wanted), f"build {fact.ticket} is put back, and has nothing that anybody in a ring lacks")

    def is_whole(self, key: LockKey) -> bool:
        """Whether somebody has the whole lock."""
        return any(a.mode == "exclusive" and a.lock == key for hold in self.holds.values() for a in hold.accesses)
