"""Why something waits, and who holds what: answers for people, in one sentence and as data (L70).

Pure, and computed when asked: nothing here is remembered or changes anything. The allocator's own answers, in tickets
and holds, are in `alloc_reasons.py`; here they get names, times and words. Forecasts do not live here.
"""

from collections.abc import Iterable, Sequence

import msgspec

from lockstep.core import pool_reasons, share_reasons, worker_reasons
from lockstep.core.alloc_facts import Hold, Obstacle
from lockstep.core.answers import (
    SHOWN,
    Holder,
    Kept,
    LockView,
    Party,
    Shortage,
    Waiter,
    Why,
    WorkerReason,
    all_reasons,
    booking_party,
    listed,
    span,
    times,
)
from lockstep.core.calls import Acquire, Sleep, StartBuilds
from lockstep.core.nouns import UNLIMITED, Access, Alternative, Claim, LockKey, told_lock
from lockstep.core.parties import build_party, request_party, step_party
from lockstep.core.records import Build, Request, Step
from lockstep.core.state import ClaimRef, State


class Reasons:
    """Questions about a state at one moment. Make a new one for each answer: queues and holders are looked up once.

    Args:
        state: after a decision.
        now: the wall time, Unix seconds.
    """

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.answers = state.allocator.reasons
        self._places: dict[LockKey, dict[int, int]] = {}
        self._held: dict[LockKey, tuple[Holder, ...]] = {}

    # --- who

    def party(self, ticket: int) -> Party:
        """Whose claim this ticket is."""
        ref = self.state.claims.get(ticket)
        return self._party(ref) if ref is not None else Party(kind="unknown", text=f"claim {ticket}")

    def _party(self, ref: ClaimRef) -> Party:
        kind, subject, number, _call = ref
        if kind == "booking":
            wish = self.state.bookings[subject].wish
            return booking_party(subject, wish.who, wish.reason)
        if kind == "request":
            request = self.state.requests.get(subject)
            if request is None:
                return Party(kind="request", text=f"request {subject}", requestid=subject)
            build = self.state.builds.get(request.buildid)
            return build_party(build) if build is not None else request_party(request)
        build = self.state.builds.get(subject)
        step = self.state.step(subject, number)
        if build is None or step is None:
            return Party(kind="unknown", text=f"a step of build {subject}", buildid=subject)
        return step_party(build, step)

    def since(self, ticket: int) -> float | None:
        """When this claim began to wait, Unix time."""
        kind, subject, number, call = self.state.claims.get(ticket, ("", 0, 0, 0))
        if kind == "request":
            request = self.state.requests.get(subject)
            return request.waiting_since if request is not None else None
        if kind == "booking":
            return self.state.bookings[subject].asked_at
        step = self.state.step(subject, number)
        record = step.calls.get(call) if step is not None else None
        since = record.started_at if record is not None else step.started_at if step is not None else 0.0
        return since or None

    def held_since(self, hold: Hold) -> float | None:
        """When this hold was granted, Unix time."""
        kind, subject, number, call = self.state.claims.get(hold.ticket, ("", 0, 0, 0))
        if kind == "request":
            request = self.state.requests.get(subject)
            build = self.state.builds.get(request.buildid) if request is not None else None
            return build.started_at if build is not None else None
        if kind == "booking":
            return self.state.bookings[subject].granted_at
        step = self.state.step(subject, number)
        record = step.calls.get(call) if step is not None else None
        since = record.acquired_at if record is not None else step.locks_acquired_at if step is not None else 0.0
        return since or None

    # --- locks

    def holders(self, key: LockKey) -> tuple[Holder, ...]:
        """Who holds a lock, in the order of the grants."""
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = tuple(self._holder(key, hold) for hold in self.answers.holders(key))
        return found

    def _holder(self, key: LockKey, hold: Hold) -> Holder:
        booking = self.state.bookings.get(hold.ticket)
        whole = key.whole
        position, access = next((i, a) for i, a in enumerate(hold.alternative.accesses) if a.lock.whole == whole)
        names = dict(hold.units).get(key.name, ()) if key.kind == "pool" else ()
        lender = self.answers.lender(hold, access.lock)
        return Holder(
            by=self.party(hold.ticket),
            hold=hold.id,
            units=len(names) or access.count,
            exclusive=access.mode == "exclusive" and not names,
            names=names,
            fence=hold.fences[position],
            since=self.held_since(hold),
            until=(booking.ends_at or None) if booking is not None else None,
            leased=booking is not None and bool(booking.wish.lease),
            lent_by=self.party(lender.ticket) if lender is not None else None,
        )

    def lock(self, key: LockKey, shown: int | None = None) -> LockView:
        """A lock as it is now, with the first `shown` of its waiters (None: all)."""
        queue = self.answers.queue(key)
        setup, limit = self.state.locks.get(key), self.answers.limit(key)
        rule = self.state.ruled.rules.get((key.kind, key.name))
        worker = self.state.workers.get(key.worker) if key.kind == "slot" else None  # its slot is configured with it
        pool = self.state.pools.get(key.name) if key.kind == "pool" else None
        return LockView(
            lock=str(key),
            kind=key.kind,
            name=key.name,
            worker=key.worker,
            limit=limit if limit != UNLIMITED else None,
            used=self.answers.used(key),
            max_overtakes=self.answers.max_overtakes(key),
            max_waiting=rule.most if rule is not None else None,
            order=self.state.lock_rules.order_of(key),
            rate=self.state.lock_rules.rate_of((key.kind, key.name)),
            when_full=("cancelNewest" if rule.newest else "cancelOldest") if rule is not None else None,
            removed=setup is None and pool is None and (worker is None or not worker.configured),
            holders=self.holders(key),
            waiting=len(queue),
            waiters=tuple(self._waiter(key, place, ticket) for place, ticket in enumerate(queue[:shown], 1)),
            units=pool_reasons.units_of(self.state, key) if key.kind == "pool" else (),
            quarantine_after=pool.quarantine_after or None if pool is not None else None,
            shared=share_reasons.shared(self.state, key),
        )

    def _waiter(self, key: LockKey, place: int, ticket: int) -> Waiter:
        claim = self.state.allocator.waiting[ticket]
        access = _access(claim, key)
        return Waiter(
            place=place,
            by=self.party(ticket),
            ticket=ticket,
            units=access.count,
            exclusive=access.mode == "exclusive",
            since=self.since(ticket),
            passed=self.answers.overtaken(ticket, access.lock),
            where=access.lock.where,
            barrier=self.answers.pin(ticket) >= 0,
            reason=self.claim(ticket).sentence,
        )

    def _ahead(self, key: LockKey, ticket: int) -> int:
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = {each: place for place, each in enumerate(self.answers.queue(key))}
        return places.get(ticket, 0)

    # --- claims

    def claim(self, ticket: int) -> Why:
        """Why a waiting claim has not been granted."""
        claim = self.state.allocator.waiting.get(ticket)
        if claim is None:
            return Why(kind="preparing", sentence="It is being prepared.", since=self.since(ticket), ticket=ticket)
        kept, why, until = self._kept(claim), self._why(claim), self.state.gives_up_at(ticket)
        if until is not None:
            left = f" It gives up in {span(until - self.now)}." if until - self.now >= 1 else ""
            why = msgspec.structs.replace(why, sentence=why.sentence + left, gives_up_at=until)
        return msgspec.structs.replace(
            why,
            can_start=self.answers.servable(ticket),
            barrier=self.answers.pin(ticket) >= 0,
            kept=kept,
            reserves=listed([each.lock for each in kept]) if kept else "",
        )

    def _why(self, claim: Claim) -> Why:
        ticket, since = claim.ticket, self.since(claim.ticket)
        if not claim.need.alternatives:
            return self._nowhere(claim)
        by_index: dict[int, list[Obstacle]] = {}
        for obstacle in self.answers.obstacles(ticket):
            by_index.setdefault(obstacle.index, []).append(obstacle)
        others = self.answers.withheld_for(ticket)
        if others and len(by_index) < len(claim.need.alternatives):
            return self._withheld(claim, others)
        usable = {i: found for i, found in by_index.items() if all(o.kind != "limit" for o in found)}
        if by_index and not usable:
            return self._never(claim, by_index)
        locks = self._common(claim, usable)
        if locks:
            return self._short(claim, locks)
        reasons = self._workers(claim, by_index)
        if not reasons:
            return Why(kind="turn", sentence="It is next.", since=since, ticket=ticket)
        sentence = f"Waits for a worker: {all_reasons(reasons)}."
        sentence += self._standing(claim, [o for found in usable.values() for o in found])
        return Why(
            kind="worker",
            sentence=sentence,
            since=since,
            ticket=ticket,
            locks=self._shortages(claim, (o for found in usable.values() for o in found)),
            workers=reasons,
        )

    def _withheld(self, claim: Claim, others: tuple[int, ...]) -> Why:
        """What it wants is free, but builds could then wait for each other for ever (L51)."""
        names = listed([self.party(each).text for each in others], "more builds")
        sentence = f"Is withheld, though what it needs is free: it and {names} could wait for each other for ever."
        return Why(kind="withheld", sentence=sentence, since=self.since(claim.ticket), ticket=claim.ticket)

    def _nowhere(self, claim: Claim) -> Why:
        """A request without a worker that it could have: a hook says so (L24a), or the configuration has none."""
        kind, brid, _, _ = self.state.claims[claim.ticket]
        request = self.state.requests.get(brid) if kind == "request" else None
        since = self.since(claim.ticket)
        held = ""
        if request is not None and request.builder in self.state.builders:
            rank = self.state.rank(request.builder)
            held = rank.told if rank.held else "canStartBuild allows no worker now" if request.need is not None else ""
        if held:
            sentence = f"Is held back by the configuration: {held}."
            return Why(kind="hook", sentence=sentence, since=since, ticket=claim.ticket)
        sentence = "It cannot start: its builder is not configured any more, or has no worker."
        return Why(kind="never", sentence=sentence, since=since, ticket=claim.ticket)

    def _common(self, claim: Claim, usable: dict[int, list[Obstacle]]) -> list[Obstacle]:
        """The locks that are in the way whichever worker it would be; the slots and directories of one worker not."""
        if not usable:
            return []
        groups = list(usable.values())
        everywhere = set.intersection(*({o.lock for o in found} for found in groups))
        single = len(claim.need.alternatives) == 1
        anywhere = not claim.need.alternatives[0].worker  # it needs no worker, but may want to have one to itself
        own = [o for o in groups[0] if single and (anywhere or _is_lock(o.lock))]
        return own or [o for o in groups[0] if o.lock in everywhere and not o.lock.worker]

    def _short(self, claim: Claim, obstacles: list[Obstacle]) -> Why:
        shortages = self._shortages(claim, obstacles)
        told = self.lacking(claim, obstacles)
        held = any(each.why == "held" for each in shortages)
        return Why(
            kind="lock" if held else "rate" if any(each.why == "rate" for each in shortages) else "reserved",
            sentence=f"Waits for {told}.{self._standing(claim, obstacles)}",
            since=self.since(claim.ticket),
            ticket=claim.ticket,
            locks=shortages,
        )

    def lacking(self, claim: Claim, obstacles: Sequence[Obstacle]) -> str:
        """What these obstacles keep from a claim, and who has it."""
        return listed([self._lacks(each) for each in self._shortages(claim, obstacles)], "more locks")

    def _lacks(self, short: Shortage) -> str:
        """`lock 'db', held by tests #3 for 2 min`."""
        what = told_lock(short.kind, short.lock)
        if not short.exclusive and (short.units > 1 or short.limit > 1):
            what = f"{short.units} of {short.limit} units of {what}"
        elif short.exclusive and short.limit > 1:
            what = f"the whole of {what}"
        if short.why == "reserved":
            names = [party.text for party in short.reserved_for]
            return f"{what}, which is kept free for {listed(names)}" if names else what
        if short.why == "withheld":
            return f"{what}, which is withheld: builds could wait for each other for ever"
        if short.why == "rate":
            rate = self.state.lock_rules.rate_of((short.kind, short.name))
            return f"{what}, which begins at most {rate}; the next may in {span((short.starts_at or 0.0) - self.now)}"
        more = [""] * (len(short.holders) - SHOWN)  # they are only counted
        names = [self._holding(holder, short.limit) for holder in short.holders[:SHOWN]] + more
        told = f"{what}, held by {listed(names)}" if names else what
        return f"{told}; in quarantine: {listed(short.out)}" if short.out else told

    def _holding(self, holder: Holder, limit: int) -> str:
        text = holder.by.text
        if limit > 1 or holder.names:
            text += " (all of it)" if holder.exclusive else f" ({listed(holder.names) or holder.units})"
        if holder.since is not None:
            text += f" for {span(self.now - holder.since)}"
        build = self.state.builds.get(holder.by.buildid or 0)
        worker = self.state.workers.get(build.worker) if build is not None else None
        if worker is not None and worker.state == "unreachable":
            text += f" (its worker {worker.name} is out of reach)"
        return text

    def _standing(self, claim: Claim, obstacles: Sequence[Obstacle]) -> str:
        """How many are ahead, and how often it was passed."""
        keys = list(dict.fromkeys(o.lock for o in obstacles))
        ahead = min((self._ahead(key, claim.ticket) for key in keys), default=0)
        placed = len(keys) == 1 or claim.need.alternatives[0].worker
        told = (f" {ahead} ahead of it." if ahead else " It is next.") if placed else ""
        counted = ((self.answers.overtaken(claim.ticket, key), self.answers.max_overtakes(key)) for key in keys)
        passed, most = max(counted, default=(0, 0))
        if (pin := self.answers.pin(claim.ticket)) >= 0:
            told += self._first(claim, claim.need.alternatives[pin], keys, ahead if placed else 0)
        elif passed:
            told += f" It was passed {times(passed) if claim.newest else f'{passed} of at most {most} times'}"
            told += ": the newest comes first." if claim.newest else "."
        return told + share_reasons.in_full(self.answers.shares.full(claim.ticket))

    def _first(self, claim: Claim, pinned: Alternative, told: Sequence[LockKey], ahead: int) -> str:
        """Why a barrier is one (which may be because of a lock that is not told of yet), and what that gives it."""
        locks = sorted((access.lock for access in pinned.accesses), key=lambda lock: lock not in told)
        where = max(locks, key=lambda lock: self.answers.overtaken(claim.ticket, lock))
        passed, at = self.answers.overtaken(claim.ticket, where), "" if where in told else f" at {where.told}"
        first = "it comes right after them" if ahead else "it comes first"
        kept = "what it needs is kept free for it" if self._kept(claim) else first
        return f" It was passed {times(passed)}{at}, so {kept}." if passed else f" Nobody may pass it: {kept}."

    def _kept(self, claim: Claim) -> tuple[Kept, ...]:
        """What a barrier has reserved."""
        pin = self.answers.pin(claim.ticket)
        return tuple(
            Kept(lock=str(access.lock), units=each.units, exclusive=each.exclusive)
            for access in (claim.need.alternatives[pin].accesses if pin >= 0 else ())
            for each in self.answers.reservations(access.lock)
            if each.ticket == claim.ticket
        )

    def _shortages(self, claim: Claim, obstacles: Iterable[Obstacle]) -> tuple[Shortage, ...]:
        seen: dict[LockKey, Obstacle] = {}
        for obstacle in obstacles:
            seen.setdefault(obstacle.lock, obstacle)
        return tuple(self._shortage(claim, obstacle) for obstacle in seen.values())

    def _shortage(self, claim: Claim, obstacle: Obstacle) -> Shortage:
        key = obstacle.lock
        access = _access(claim, key)
        passed, most = self.answers.overtaken(claim.ticket, key), self.answers.max_overtakes(key)
        ahead, who = self._ahead(key, claim.ticket), set(obstacle.who)
        return Shortage(
            lock=str(key),
            kind=key.kind,
            name=key.name,
            worker=key.worker,
            why=obstacle.kind,
            units=access.count,
            exclusive=access.mode == "exclusive",
            limit=self.answers.limit(key),
            used=self.answers.used(key),
            ahead=ahead,
            behind=len(self._places[key]) - ahead - 1,
            passed=passed,
            may_pass=max(0, most - passed) if not claim.newest else None,
            max_overtakes=most,
            holders=tuple(h for h in self.holders(key) if h.hold in who) if obstacle.kind == "held" else (),
            reserved_for=tuple(self.party(t) for t in obstacle.who) if obstacle.kind == "reserved" else (),
            starts_at=self.state.lock_rules.next_at(key) if obstacle.kind == "rate" else None,
            where=key.where,
            out=pool_reasons.out(self.state, key, self.now),
            before=pool_reasons.before(self.state, key, self.holders) if obstacle.kind == "limit" else "",
        )

    # --- workers

    def _never(self, claim: Claim, by_index: dict[int, list[Obstacle]]) -> Why:
        """No alternative can be served as things are (L5): a limit is too low, or no worker is there."""
        refused = [o for found in by_index.values() for o in found if o.kind == "limit"]
        impossible = {o.lock for o in refused if not o.lock.worker}
        since = self.since(claim.ticket)
        shortages = self._shortages(claim, refused)
        slots = [o.lock.worker for o in refused if o.lock.kind == "slot"]
        if slots and not claim.need.alternatives[0].worker:
            why = worker_reasons.away(self.state, slots[0]) or "takes no builds"
            sentence = f"Cannot start now: worker '{slots[0]}' {why}."
            return Why(kind="worker", sentence=sentence, since=since, ticket=claim.ticket, locks=shortages)
        if impossible or all(_is_lock(o.lock) for o in refused):
            kind, sentence = pool_reasons.never(self.state, [each for each in shortages if each.kind != "slot"])
            return Why(kind=kind, sentence=sentence, since=since, ticket=claim.ticket, locks=shortages)
        reasons = self._workers(claim, by_index)
        sentence = f"No worker: {all_reasons(reasons)}."
        return Why(kind="worker", sentence=sentence, since=since, ticket=claim.ticket, workers=reasons)

    def _workers(self, claim: Claim, by_index: dict[int, list[Obstacle]]) -> tuple[WorkerReason, ...]:
        return tuple(
            WorkerReason(worker=alternative.worker, reason=self._worker_reason(claim, alternative, by_index[index]))
            for index, alternative in enumerate(claim.need.alternatives)
            if by_index.get(index)
        )

    def _worker_reason(self, claim: Claim, alternative: Alternative, found: list[Obstacle]) -> str:
        away = worker_reasons.away(self.state, alternative.worker)
        if away:
            return away
        obstacle = min(found, key=lambda o: ("limit", "rate", "held", "reserved").index(o.kind))
        if _is_lock(obstacle.lock):
            short = self._shortage(claim, obstacle)
            if obstacle.kind == "limit":
                return pool_reasons.has_only(short)
            return f"lacks {self._lacks(short)}"
        if obstacle.kind == "reserved":
            return f"is kept free for {listed([self.party(ticket).text for ticket in obstacle.who])}"
        names = [holder.by.text for holder in self.holders(obstacle.lock)]
        if obstacle.lock.kind == "builddir":
            return f"builds {listed(names)} in the same directory"
        return f"is busy with {listed(names)}" if names else "takes no builds"

    # --- requests and builds

    def request(self, request: Request) -> Why:
        """Why a request has not started, or what its build does."""
        if request.state == "building":
            return self.build(self.state.builds[request.buildid])
        if request.state == "rendering":
            sentence = "Its locks are being worked out, and hooks of the configuration asked."
            return Why(kind="preparing", sentence=sentence, since=request.submitted_at, ticket=request.ticket)
        why, rank = self.claim(request.ticket), self.state.rank(request.builder)
        if rank.told and not rank.held:
            sentence = f"{why.sentence} ({rank.told}; requests start by priority, then in the order of their coming.)"
            return msgspec.structs.replace(why, sentence=sentence)
        return why

    def build(self, build: Build) -> Why:
        """What a running build waits for, or does."""
        worker = self.state.workers.get(build.worker)
        if worker is not None and worker.state == "unreachable":
            sentence = f"Worker '{build.worker}' is out of reach; the build goes on when it is back."
            return Why(kind="worker", sentence=sentence, since=build.started_at, ticket=build.ticket)
        step = self.state.step(build.buildid, build.current)
        if step is None or step.state in ("planned", "ended"):
            looks = not build.steps and build.state == "starting"
            if looks and (why := pool_reasons.looking(self.state, build.hold, build.started_at, self.now)):
                return why
            sentence = "The build is ending." if build.state == "stopping" else "Its next step is being prepared."
            return Why(kind="preparing", sentence=sentence, since=build.started_at, ticket=build.ticket)
        if step.state == "waiting":
            return self.claim(step.ticket)
        looks = bool(step.ticket) and not step.calls
        if looks and (why := pool_reasons.looking(self.state, step.hold, step.locks_acquired_at, self.now)):
            return why
        return self._running_step(build, step)

    def _running_step(self, build: Build, step: Step) -> Why:
        for record in step.calls.values():
            if record.state != "started":
                continue
            if isinstance(record.call, Acquire) and record.ticket in self.state.allocator.waiting:
                return self.claim(record.ticket)
            if isinstance(record.call, StartBuilds) and record.call.wait:
                return self._children(build, step, record.number)
            if isinstance(record.call, Sleep) and record.due:
                sentence = f"Step '{step.name}' sleeps for another {span(record.due - self.now)}."
                return Why(kind="sleep", sentence=sentence, since=step.started_at)
        sentence = f"Runs step '{step.name}' for {span(self.now - step.locks_acquired_at)}."
        return Why(kind="running", sentence=sentence, since=step.locks_acquired_at or step.started_at)

    def _children(self, build: Build, step: Step, call: int) -> Why:
        """A build that waits for builds that it triggered."""
        buildsets = self.state.waited_buildsets((build.buildid, step.number, call))
        told = [self.party(request.ticket).text for each in buildsets for request in self.state.requests_of(each.bsid)]
        names = listed(told) if told else "builds"
        sentence = f"Waits for what it triggered: {names}."
        return Why(kind="builds", sentence=sentence, since=step.locks_acquired_at or step.started_at)


def _is_lock(key: LockKey) -> bool:
    """Whether this is a lock that somebody configured; slots and build directories are not."""
    return key.kind not in ("slot", "builddir")


def _access(claim: Claim, key: LockKey) -> Access:
    """What a claim wants of a lock, or of its pool, in the first alternative that names it."""
    for alternative in claim.need.alternatives:
        for access in alternative.accesses:
            if access.lock == key or (key.kind == "pool" and access.lock.whole == key.whole):
                return access
    return Access(key, "counting", 0)
