"""The dumb allocator: "while some claim may be granted, grant the first". It looks at everything, every time.

Written from LOCKS.md, beside the quick one and not after it: it shares only the values that go in and come out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec.structs import replace

from lockstep.core.alloc_facts import BecameBarrier, Decision, Granted, Hold, Pinned, Sentenced, Unpinned
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, STEP_LEVEL, Access, Alternative, Claim, LockKey, Need
from lockstep.core.values import BuilderSetup

from .oracle_ahead import Foresight
from .oracle_names import closers, drop_locks, needed
from .oracle_pools import Picked, Units, names, pick
from .oracle_shares import Weights

Bars = list[tuple[Claim, Access]]
Users = Sequence[tuple[float, Access]]
WHOLE = 1 << 60


class Oracle:
    """The same events and decisions as `Allocator`."""

    def __init__(self) -> None:
        self.limits: dict[LockKey, int] = {}
        self.overtakes: dict[LockKey, int] = {}
        self.removed: set[LockKey] = set()
        self.left: dict[LockKey, int] = {}
        self.grants: dict[LockKey, list[tuple[Granted, int]]] = {}
        self.fences: dict[str, int] = {}
        self.holds: dict[int, Hold] = {}
        self.waiting: dict[int, Claim] = {}
        self.pins: dict[int, Alternative] = {}
        self.parents: dict[int, int] = {}
        self.plans: Mapping[str, BuilderSetup] = {}
        self.courses: dict[int, tuple[str, int, bool]] = {}
        self.sentenced: set[int] = set()
        self.foresight = Foresight(self)
        self.clock = 0
        self.next_hold = 1
        self.units = Units(self.holds)
        self.set_pool, self.quarantine = self.units.set_pool, self.units.quarantine
        self.weights = Weights(self)
        self.set_shares, self.set_project = self.weights.set_shares, self.weights.set_project

    # --- events

    def set_lock(self, key: LockKey, limit: int, max_overtakes: int = DEFAULT_MAX_OVERTAKES) -> None:
        self.limits[key], self.overtakes[key] = limit, max_overtakes
        self.removed.discard(key)

    def forget_lock(self, key: LockKey) -> None:
        if key in self.limits:
            self.removed.add(key)

    def set_starts(self, key: LockKey, left: int) -> None:
        if key in self.limits or key in needed(self):
            self.left[key] = left

    def tick(self, number: int) -> None:
        self.clock = max(self.clock, number)

    def submit(self, claim: Claim) -> None:
        self.clock = max(self.clock, claim.ticket, claim.since)
        self.waiting[claim.ticket] = claim
        self.units.see(claim.need)
        if claim.parent:
            self.parents[claim.owner] = claim.parent
        self.sentenced -= {claim.owner, *self.ancestors(claim.owner)}
        if claim.plan:
            self.courses[claim.owner] = (claim.plan, 0, False)

    def replace(self, ticket: int, need: Need, newest: bool = False) -> None:
        if ticket in self.waiting:
            self.waiting[ticket] = replace(self.waiting[ticket], need=need, newest=newest)
            self.units.see(need)

    def set_level(self, ticket: int, level: int) -> None:
        if ticket in self.waiting:
            self.waiting[ticket] = replace(self.waiting[ticket], level=level)

    def cancel(self, ticket: int) -> None:
        claim = self.waiting.pop(ticket, None)
        if claim:
            self.pins.pop(ticket, None)
            if claim.owner == ticket:
                self.parents.pop(ticket, None)
                self.courses.pop(ticket, None)
                self.weights.projects.pop(ticket, None)

    def release(self, hold: int) -> None:
        held = self.holds.pop(hold, None)
        if held and held.ticket == held.owner:
            self.parents.pop(held.owner, None)
            self.courses.pop(held.owner, None)
            self.weights.projects.pop(held.owner, None)
            self.sentenced.discard(held.owner)
            for child in [child for child, parent in self.parents.items() if parent == held.owner]:
                self.forget_parent(child)

    def give_back(self, hold: int, keys: set[LockKey]) -> None:
        held = self.holds[hold]
        pairs = zip(held.alternative.accesses, held.fences, strict=True)
        kept = [(access, fence) for access, fence in pairs if access.lock not in keys]
        rest = replace(held.alternative, accesses=tuple(access for access, _ in kept))
        self.holds[hold] = self.units.left(replace(held, alternative=rest, fences=tuple(fence for _, fence in kept)))

    def child_waits(self, parent: int, child: int) -> None:
        self.parents[child] = parent
        self.sentenced -= {parent, *self.ancestors(parent)}
        if child in self.waiting:
            self.waiting[child] = replace(self.waiting[child], parent=parent)

    def forget_parent(self, child: int) -> None:
        self.parents.pop(child, None)
        if child in self.waiting:
            self.waiting[child] = replace(self.waiting[child], parent=0)
        elif all(hold.owner != child for hold in self.holds.values()):
            self.courses.pop(child, None)

    def set_plans(self, plans: Mapping[str, BuilderSetup]) -> None:
        self.plans = plans
        for owner in [owner for owner, (builder, *_) in self.courses.items() if builder not in plans]:
            del self.courses[owner]
            self.sets_out(owner, "")
        for plan in plans.values():
            for need in (plan.planned, *(stage.need for stage in plan.stages if stage.need)):
                self.units.see(need)

    def set_course(self, owner: int, builder: str, number: int, waited: bool = False) -> None:
        self.courses[owner] = (builder, number, waited)
        self.sets_out(owner, builder)

    def sets_out(self, owner: int, builder: str) -> None:
        if owner in self.waiting:
            self.waiting[owner] = replace(self.waiting[owner], plan=builder)

    # --- the decision

    def decide(self) -> list[Decision]:
        out: list[Decision] = []
        while True:
            self.weights.known_over.clear()
            self.settle_pins(out)
            if not (self.sentence(out) or self.grant_first(out) or self.let_go(out) or drop_locks(self)):
                return out

    def grant_first(self, out: list[Decision]) -> bool:
        bars = self.reserved()
        heads = sorted(self.heads(), key=self.rank)
        grantable = ((claim, way) for claim in heads if (way := self.way(claim, bars)))
        found = list(grantable if self.weights.rules else islice(grantable, 1))
        if found:
            claim, way = self.weights.first(found)
            self.grant(claim, *way, out)
        return bool(found)

    def way(self, claim: Claim, bars: Bars) -> tuple[int, Alternative, Picked] | None:
        for index, alternative in enumerate(claim.need.alternatives):
            if all(self.fits(claim, access, bars) for access in alternative.accesses):
                picked = self.pick(claim, alternative, bars)
                if not self.foresight.withheld(claim, alternative, None, picked):
                    return index, alternative, picked
        return None

    def pick(self, claim: Claim, way: Alternative, bars: Bars) -> Picked:
        return pick(way, lambda access: self.choice(claim, access, bars))

    def grant(self, claim: Claim, index: int, alternative: Alternative, picked: Picked, out: list[Decision]) -> None:
        units = names(picked)
        fences = tuple(self.fence(claim.owner, access, dict(units)) for access in alternative.accesses)
        barrier = claim.ticket in self.pins
        taken = {access.lock: self.anew(claim.owner, access) for access in alternative.accesses}
        lent = tuple(lock for lock, units in taken.items() if not units)
        now = self.clock, lent, units
        fact = Granted(
            claim.ticket, self.next_hold, index, alternative, fences, claim.owner, claim.level, barrier, *now
        )
        for access in alternative.accesses:
            if access.lock in self.left and access.lock not in lent:
                self.left[access.lock] -= 1
            pool = access.lock.kind == "pool"
            for lock in self.units.seen(access.lock.name, dict(units)[access.lock.name]) if pool else [access.lock]:
                self.grants.setdefault(lock, []).append((fact, claim.since or claim.ticket))
        for name, (_, anew) in picked.items():
            if anew:
                self.units.wear_out(name, anew)
        more = claim.level, claim.retryable, units
        self.holds[self.next_hold] = Hold(self.next_hold, claim.ticket, claim.owner, index, alternative, fences, *more)
        self.next_hold += 1
        del self.waiting[claim.ticket]
        self.pins.pop(claim.ticket, None)
        self.weights.granted(fact, taken)
        out.append(fact)

    def fence(self, owner: int, access: Access, units: dict[str, tuple[str, ...]]) -> int:
        key = access.lock.whole
        mine = set(units.get(key.name, ()))
        if self.anew(owner, access):
            name = key.name if key.kind in ("master", "worker", "pool") else str(key)
            self.fences[name] = self.fences.get(name, 0) + 1
            return self.fences[name]
        lent = [
            (self.ancestors(owner).index(hold.owner), hold.id, fence)
            for hold in self.holds.values()
            for held, fence in zip(hold.alternative.accesses, hold.fences, strict=True)
            if hold.owner in self.ancestors(owner) and held.lock.whole == key
            if key.kind != "pool" or mine & set(dict(hold.units)[key.name])
        ]
        return min(lent)[2]

    def heads(self) -> Iterable[Claim]:
        first: dict[object, Claim] = {}
        for claim in sorted(self.waiting.values(), key=lambda claim: claim.ticket):
            alone = self.special(claim) or self.newest(claim)
            kind = (claim.need, claim.level, claim.plan, self.weights.project(claim), claim.ticket if alone else 0)
            first.setdefault(kind, claim)
        return first.values()

    def newest(self, claim: Claim) -> bool:
        return claim.newest and claim.owner not in self.parents

    def special(self, claim: Claim) -> bool:
        since = claim.since or claim.ticket
        return claim.owner != claim.ticket or bool(claim.parent) or claim.put_back or since != claim.ticket

    def rank(self, claim: Claim) -> tuple[int, ...]:
        after = -claim.ticket if self.newest(claim) else claim.ticket
        return (0, *self.place(claim)) if claim.ticket in self.pins else (1, -claim.level, after)

    def place(self, claim: Claim) -> tuple[int, int]:
        elders = [] if claim.put_back else self.ancestors(claim.owner)
        return ([claim.owner, *elders][-1], claim.ticket)

    def eldest(self, owner: int) -> int:
        return [owner, *self.ancestors(owner)][-1]

    # --- limits and arithmetic

    def limit(self, key: LockKey, opened: bool = False) -> int:
        if key.kind == "pool":
            return len(self.units.usable(key))
        if opened:
            return self.limits.get(key, 0)
        other = {"master": "worker", "worker": "master"}.get(key.kind)
        others = [each for each in self.limits if each.name == key.name and each.kind == other]
        if not others:
            return self.limits.get(key, 0)
        held = {each for each in others if any(True for _ in self.users(each))}
        elders = {each for each in others if each in self.removed and (each in held or self.limits[each])}
        return 0 if (held if key in self.removed else elders) else self.limits.get(key, 0)

    def users(self, key: LockKey) -> Iterator[tuple[int, Access]]:
        for hold in self.holds.values():
            for access in hold.alternative.accesses:
                if access.lock == key:
                    yield hold.owner, access

    def has_room(self, owner: int, access: Access, among: set[int] | None = None) -> bool:
        if access.lock.kind == "pool":
            return self.units.has_room(access, self.ancestors(owner), among)
        kin = self.ancestors(owner)  # what they lend was taken before, even if another kind has the name now
        opened = among is not None and not closers(self, access.lock) & among
        limit = self.limit(access.lock, opened or not self.anew(owner, access, among))
        users = [user for user in self.users(access.lock) if among is None or user[0] in among]
        if any(held.mode == "exclusive" and user not in kin and user != owner for user, held in users):
            return False
        if access.mode == "exclusive":
            others = [held for user, held in users if user not in kin and (user != owner or held.mode == "exclusive")]
            return limit >= 1 and not others
        if owner not in self.parents:
            return self.taken(owner, users) + access.count <= limit
        more = [*users, (owner + 0.5, access)]
        for lender in kin:
            whole = any(user == lender and held.mode == "exclusive" for user, held in users)
            lent = self.lent(owner, lender, more)
            if whole and lent > limit and lent > self.lent(owner, lender, users):
                return False
        total, before = self.taken(owner, more), self.taken(owner, users)
        return access.count <= limit and (total == before or total <= limit)

    # --- what families take (L53): a build with the builds that it waits for; `owner` has one more child, owner + 0.5

    def ancestors(self, owner: float) -> list[int]:
        above = self.parents.get(int(owner))
        return [above, *self.ancestors(above)] if above else []

    def taken(self, owner: int, users: Users) -> int:
        if all(int(user) not in self.parents for user, _ in users):
            return sum(WHOLE if held.mode == "exclusive" else held.count for _, held in users)
        owners = {each for user, _ in users for each in (user, *self.ancestors(user))}
        return sum(self.family(owner, each, users) for each in owners if not self.ancestors(each))

    def family(self, owner: int, top: float, users: Users) -> int:
        own = sum(WHOLE if held.mode == "exclusive" else held.count for user, held in users if user == top)
        if top not in self.parents.values():
            return own
        return max(own, self.lent(owner, top, users))

    def lent(self, owner: int, lender: float, users: Users) -> int:
        children: list[float] = [child for child, parent in self.parents.items() if parent == lender]
        if self.parents.get(owner) == lender:
            children.append(owner + 0.5)
        return sum(self.family(owner, child, users) for child in children)

    def anew(self, owner: int, access: Access, among: set[int] | None = None) -> int:
        if access.lock.kind == "pool":
            kin = self.ancestors(owner)
            lent = {unit for who, names in self.units.had(access.lock) if who in kin for unit in names}
            lent &= self.units.open_to(access.lock, kin, None)
            wanted = self.limit(access.lock) if access.mode == "exclusive" else access.count
            return max(0, wanted - len(lent))
        if owner not in self.parents:
            return WHOLE if access.mode == "exclusive" else access.count
        users = [user for user in self.users(access.lock) if among is None or user[0] in among]
        kept = [user for user in users if access.mode == "counting" or user[0] != owner]  # else it raises what it has
        return max(0, self.taken(owner, [*kept, (owner + 0.5, access)]) - self.taken(owner, users))

    def servable(self, alternative: Alternative) -> bool:
        return self.servable_in_time(alternative) and all(self.may_begin(access) for access in alternative.accesses)

    def servable_in_time(self, alternative: Alternative, opened: bool = False) -> bool:
        return all(access.count <= self.limit(access.lock, opened) for access in alternative.accesses)

    def may_begin(self, access: Access) -> bool:
        return self.left.get(access.lock, 1) > 0

    # --- fairness

    def fits(self, claim: Claim, access: Access, bars: Bars) -> bool:
        anew = self.anew(claim.owner, access)
        if not self.has_room(claim.owner, access) or (anew and not self.may_begin(access)):
            return False
        if access.lock.kind == "pool":
            return self.choice(claim, access, bars) is not None
        before = self.in_the_way(claim, access.lock, bars)
        in_the_way = [WHOLE if reserved.mode == "exclusive" else reserved.count for reserved in before]
        taken = self.taken(claim.owner, list(self.users(access.lock)))
        alone = access.mode == "exclusive" and not in_the_way
        return not anew or alone or taken + anew + sum(in_the_way) <= self.limit(access.lock)

    def choice(self, claim: Claim, access: Access, bars: Bars) -> tuple[list[str], list[str]] | None:
        before = self.in_the_way(claim, access.lock, bars)
        return self.units.choice(access, self.ancestors(claim.owner), before)

    def in_the_way(self, claim: Claim, key: LockKey, bars: Bars) -> list[Access]:
        found = []
        for barrier, reserved in bars:
            later = self.rank(barrier) > self.rank(claim) or self.weights.exempt(barrier, claim)
            if reserved.lock.whole != key.whole or barrier is claim or later:
                continue
            if not (self.special(claim) and claim.owner in self.waits_for(barrier.owner)):
                found.append(reserved)
        return found

    def overtaken(self, claim: Claim, key: LockKey) -> int:
        since = claim.since or claim.ticket
        level = STEP_LEVEL if claim.owner in self.parents else claim.level
        count = 0
        for grant, began in self.grants.get(key, []):
            before = grant.barrier or grant.level >= level
            later = began if level == STEP_LEVEL else grant.ticket
            count += later > since if before else grant.clock >= since
        return count

    def due(self, claim: Claim, key: LockKey) -> bool:
        if self.newest(claim):
            return False
        return claim.since < 0 or self.overtaken(claim, key) >= self.units.k(key, self.overtakes)

    def due_in(self, claim: Claim, alternative: Alternative) -> list[LockKey]:
        return [access.lock for access in alternative.accesses if self.due(claim, access.lock)]

    def settle_pins(self, out: list[Decision]) -> None:
        heads = {claim.ticket: claim for claim in self.heads()}
        for ticket, pin in sorted(self.pins.items()):
            claim = self.waiting[ticket]
            right = ticket in heads and pin in claim.need.alternatives and self.servable(pin)
            if not right or not self.due_in(claim, pin):
                del self.pins[ticket]
                out.append(Unpinned(ticket))
        for ticket, claim in sorted(heads.items()):
            if ticket not in self.pins:
                best = [
                    (self.pins_on(alternative.worker), self.not_free(claim.owner, alternative), index)
                    for index, alternative in enumerate(claim.need.alternatives)
                    if self.servable(alternative) and self.due_in(claim, alternative)
                ]
                if best:
                    index = min(best)[2]
                    pin = self.pins[ticket] = claim.need.alternatives[index]
                    out.append(BecameBarrier(ticket, tuple(self.due_in(claim, pin))))
                    out.append(Pinned(ticket, index, pin))

    def pins_on(self, worker: str) -> int:
        return sum(pin.worker == worker for pin in self.pins.values()) if worker else 0

    def not_free(self, owner: int, alternative: Alternative) -> int:
        return sum(not self.has_room(owner, access) for access in alternative.accesses)

    def reserved(self) -> Bars:
        bars: Bars = []
        for claim in sorted((self.waiting[ticket] for ticket in self.pins), key=self.rank):
            pin = self.pins[claim.ticket]
            free = all(self.fits(claim, access, bars) for access in pin.accesses if not access.lock.worker)
            for access in pin.accesses:
                if self.due(claim, access.lock) and (free or not access.lock.worker):
                    bars.append((claim, access))
        return bars

    # --- who waits for whom

    def waits_for(self, start: int) -> set[int]:
        found: set[int] = set()
        todo = [start]
        while todo:
            fresh = self.waits_directly(todo.pop()) - found
            found |= fresh
            todo += fresh
        return found

    def waits_directly(self, owner: int) -> set[int]:
        found = {child for child, parent in self.parents.items() if parent == owner}
        for claim in self.waiting.values():
            if claim.owner != owner:
                continue
            if owner in self.courses:
                found |= {hold.owner for hold in self.holds.values() if hold.owner in self.courses} - {owner}
            pin = self.pins.get(claim.ticket)
            for alternative in (pin,) if pin else claim.need.alternatives:
                for access in alternative.accesses:
                    if not self.has_room(owner, access):
                        found |= self.strangers(owner, access.lock)
                    for ticket in self.pins:
                        before = self.rank(self.waiting[ticket]) < self.rank(claim)
                        before = before and not self.weights.exempt(self.waiting[ticket], claim)
                        if ticket != claim.ticket and before and self.is_barrier_at(ticket, access.lock):
                            found.add(self.waiting[ticket].owner)
        return found

    def strangers(self, owner: int, key: LockKey) -> set[int]:
        users = self.units.had(key) if key.kind == "pool" else self.users(key)
        return ({holder for holder, _ in users} - set(self.ancestors(owner))) | (closers(self, key) - {owner})

    def is_barrier_at(self, ticket: int, key: LockKey) -> bool:
        named = (access.lock for access in self.pins[ticket].accesses if access.lock.whole == key.whole)
        return any(self.due(self.waiting[ticket], lock) for lock in named)

    # --- what could lead to a deadlock (L51)

    def let_go(self, out: list[Decision]) -> bool:
        bars = self.reserved()
        for claim in sorted(self.heads(), key=self.rank):
            for index, alternative in enumerate(claim.need.alternatives):
                fits = all(self.fits(claim, access, bars) for access in alternative.accesses)
                if fits and self.foresight.withheld_in_vain(claim.owner):
                    self.grant(claim, index, alternative, self.pick(claim, alternative, bars), out)
                    return True
        return False

    # --- rings

    def sentence(self, out: list[Decision]) -> bool:
        stuck = {hold.owner for hold in self.holds.values()} | {claim.owner for claim in self.waiting.values()}
        while finishing := {owner for owner in stuck if self.foresight.can_finish(owner, stuck)}:
            stuck -= finishing
        after = {owner: self.foresight.blockers(owner, stuck) for owner in stuck}
        for owner in sorted(stuck):
            ring = self.foresight.follow(owner, after)
            if owner in ring and all(owner in self.foresight.follow(other, after) for other in ring):
                held = {holder for member in ring for holder in self.foresight.lacked_from(member, stuck)}
                doomed = [member for member in ring & held if self.may_retry(member)]
                if doomed:
                    self.end(max(doomed), ring, out)
                    return True
        return False

    def may_retry(self, owner: int) -> bool:
        flags = [hold.retryable for hold in self.holds.values() if hold.owner == owner]
        return bool(flags) and all(flags)

    def end(self, doomed: int, ring: Iterable[int], out: list[Decision]) -> None:
        back = sorted(each for each in ring if self.ancestors(each) and each in self.waiting)
        back = [ticket for ticket in back if self.waiting[ticket].put_back]
        claims = tuple(sorted(claim.ticket for claim in self.waiting.values() if claim.owner == doomed))
        out.append(Sentenced(doomed, claims, (), tuple(back)))
        for ticket in claims:
            self.cancel(ticket)
        for ticket in back:
            self.waiting[ticket] = replace(self.waiting[ticket], put_back=False)
        self.sentenced.add(doomed)
