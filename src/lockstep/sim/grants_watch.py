"""What is checked of each grant, from facts alone: capacity, exclusivity, all or nothing, fences, overtaking, idleness.

A model with plain dictionaries; everything is counted anew each time. See `watch.py`.
"""

from msgspec import Struct

from lockstep.core import facts as f
from lockstep.core.nouns import FENCED, STEP_LEVEL, Access, Alternative, LockKey, Need
from lockstep.core.state import State
from lockstep.sim.faults import demand
from lockstep.sim.ordering import OrderingWatch
from lockstep.sim.pools import PoolWatch, is_pool
from lockstep.sim.sharing import SharesWatch


class Held(Struct, frozen=True):
    """A hold that has not ended. A pool has one fence, whichever units are meant (`LockKey.whole`)."""

    id: int
    ticket: int
    owner: int
    accesses: tuple[Access, ...]
    fences: dict[LockKey, int]


class Wait(Struct, frozen=True):
    """A claim that waits. `special`: its owner holds something already, or somebody waits for it."""

    ticket: int
    owner: int
    level: int
    need: Need
    special: bool


def under(key: LockKey) -> str:
    """What outside guards see of a lock (L62): its name, whatever kind it is of; inner locks have none."""
    return key.name if key.kind in FENCED else f"{key.kind} {key}"


class GrantsWatch:
    """Holds, waiting claims and limits, as the facts have them."""

    def __init__(self) -> None:
        self.holds: dict[int, Held] = {}
        self.waiting: dict[int, Wait] = {}
        self.limits: dict[LockKey, int] = {}
        self.overtakes: dict[LockKey, int] = {}
        self.removed: set[LockKey] = set()
        self.levels: dict[int, int] = {}
        self.since: dict[int, int] = {}
        self.put_back: set[int] = set()
        self.fences: dict[str, int] = {}
        """The last one that was given under each name, whatever has it (L62)."""
        self.later: dict[LockKey, list[tuple[int, int]]] = {}
        self.last_hold = 0
        self.clock = 0
        self.now = 0.0
        self.ordering = OrderingWatch()
        self.pools = PoolWatch()
        self.shares = SharesWatch()

    def see_number(self, number: int) -> None:
        """A ticket, or the beginning of a new wait."""
        self.clock = max(self.clock, number)

    def wait(self, wait: Wait) -> None:
        """A claim begins to wait, or waits for something else."""
        self.waiting[wait.ticket] = wait
        self.pools.views |= {a.lock for each in wait.need.alternatives for a in each.accesses if is_pool(a)}

    def limit(self, key: LockKey) -> int:
        """How much of a lock may be held, 0 if it is not there."""
        return len(self.pools.usable(key)) if key.kind == "pool" else self.limits.get(key, 0)

    # --- facts

    def on_claim_granted(self, fact: f.ClaimGranted) -> None:
        wait = self.waiting.get(fact.ticket)
        demand(wait is not None, f"claim {fact.ticket} is granted and does not wait")
        assert wait is not None
        demand(fact.owner == wait.owner, f"claim {fact.ticket} has another owner")
        wanted = [set(each.accesses) for each in wait.need.alternatives if each.worker == fact.alternative.worker]
        demand(set(fact.alternative.accesses) in wanted, f"claim {fact.ticket} is granted what it did not ask for")
        for access in fact.alternative.accesses:
            beside = self._users(access.lock, {})
            demand(self.has_room(wait.owner, access, {}), f"claim {fact.ticket} is granted {access} beside {beside}")
        self._overtakes(wait, fact)
        self._shares(wait)
        demand(fact.hold > self.last_hold, f"hold {fact.hold} has an id that was given before")
        self.last_hold = fact.hold
        for access, fence in zip(fact.alternative.accesses, fact.fences, strict=True):
            key = access.lock.whole
            last = self.fences.get(under(key), 0)
            lent = {h.fences.get(key) for h in self.holds.values() if h.owner in self.lenders(wait.owner)}
            demand((fence in lent) == (access.lock in fact.lent), f"fence {fence} of {access.lock}: lent are {lent}")
            demand(fence > last or fence in lent, f"fence {fence} of {access.lock} comes after {last} (L62)")
            self.fences[under(key)] = max(fence, last)
        self.pools.granted(fact, self.lenders(wait.owner))
        del self.waiting[fact.ticket]
        fences = {a.lock.whole: fence for a, fence in zip(fact.alternative.accesses, fact.fences, strict=True)}
        self.holds[fact.hold] = Held(fact.hold, fact.ticket, fact.owner, fact.alternative.accesses, fences)

    def on_claim_dropped(self, fact: f.ClaimDropped) -> None:
        demand(fact.ticket in self.waiting, f"claim {fact.ticket} is dropped and does not wait")
        del self.waiting[fact.ticket]

    def on_hold_ended(self, fact: f.HoldEnded) -> None:
        hold = self.holds.pop(fact.hold, None)
        demand(hold is not None, f"hold {fact.hold} ends twice, or never was")
        assert hold is not None
        demand(hold.ticket == fact.ticket, f"hold {fact.hold} ends for another claim")

    def on_locks_returned(self, fact: f.LocksReturned) -> None:
        hold = self.holds.get(fact.hold)
        demand(hold is not None and hold.ticket == fact.ticket, f"{fact.locks} of hold {fact.hold} are given back")
        assert hold is not None
        had = {access.lock for access in hold.accesses}
        demand(set(fact.locks) <= had, f"hold {fact.hold} gives back {fact.locks}, and has {had}")
        rest = tuple(access for access in hold.accesses if access.lock not in fact.locks)
        demand(set(rest) == set(fact.alternative.accesses), f"hold {fact.hold} keeps {fact.alternative}, not {rest}")
        fences = {access.lock.whole: hold.fences[access.lock.whole] for access in rest}
        self.holds[fact.hold] = Held(hold.id, hold.ticket, hold.owner, rest, fences)

    # --- arithmetic (L1, L2, L53)

    def lenders(self, owner: int) -> set[int]:
        """The builds that wait for this owner, directly or through others."""
        raise NotImplementedError

    def _users(self, lock: LockKey, free: dict[int, Held]) -> list[tuple[int, Access]]:
        return [(h.owner, a) for h in self.holds.values() if h.id not in free for a in h.accesses if a.lock == lock]

    def has_room(self, owner: int, access: Access, free: dict[int, Held]) -> bool:
        """Whether an access fits for this owner beside what is held, but for the holds in `free`."""
        kin = self.lenders(owner)
        if is_pool(access):
            return self.pools.has_room(access, kin, free)
        users = self._users(access.lock, free)
        limit = self.limits.get(access.lock, 0)
        if access.mode == "exclusive":
            raised = {owner} if all(a.mode == "counting" for user, a in users if user == owner) else set()
            return limit >= 1 and all(user in kin | raised for user, _ in users)
        if access.count > limit or any(a.mode == "exclusive" and user not in kin for user, a in users):
            return False
        shared = [(user, a) for user, a in users if a.mode == "counting"]
        before = self.most_at_once(shared)
        return self.most_at_once([*shared, (-owner, access)]) <= max(limit, before)

    def most_at_once(self, users: list[tuple[int, Access]]) -> int:
        """The most units that builds have of which none lends to another; -n is a further child beside n."""
        if not users:
            return 0
        (owner, access), rest = users[0], users[1:]
        apart = [(o, a) for o, a in rest if o not in self.lenders(abs(owner)) and owner not in self.lenders(abs(o))]
        with_it = access.count + self.most_at_once(apart)
        return with_it if len(apart) == len(rest) else max(with_it, self.most_at_once(rest))

    def can_be_served(self, wait: Wait) -> bool:
        """Whether the limits allow it at all (L5)."""
        return any(
            all(self.limit(access.lock) >= access.count for access in each.accesses) for each in wait.need.alternatives
        )

    def is_stuck(self, wait: Wait, free: dict[int, Held]) -> bool:
        """Whether a claim that could be served lacks something in each alternative, but for the holds in `free`."""
        return self.can_be_served(wait) and not any(
            all(self.has_room(wait.owner, access, free) for access in each.accesses) for each in wait.need.alternatives
        )

    def _shares(self, wait: Wait) -> None:
        """L93, where nobody waits for children: a family counts as one there."""
        if not self.shares.setup.shares or wait.special or any(self.lenders(h.owner) for h in self.holds.values()):
            return
        ways = (
            (other, other.need.alternatives[0])
            for other in self.waiting.values()
            if not other.special and other.ticket != wait.ticket and len(other.need.alternatives) == 1
        )
        fitting = [
            (other.ticket, other.need)
            for other, way in ways
            if not self._waits_for_time(way) and all(self.has_room(other.owner, a, {}) for a in way.accesses)
        ]
        had = [(held.owner, access) for held in self.holds.values() for access in held.accesses]
        self.shares.granted(wait.ticket, wait.need, fitting, self.limits, had)

    # --- nothing idle that fits (L43)

    def nothing_idle(self, state: State) -> None:
        """No claim waits that fits beside what is held, where nobody has reserved anything."""
        reasons = state.allocator.reasons
        for wait in self.waiting.values():
            for each in wait.need.alternatives:
                fits = all(self.has_room(wait.owner, access, {}) for access in each.accesses)
                shut = [access.lock for access in each.accesses if reasons.starts_left(access.lock) <= 0]
                for lock in shut:
                    demand(self.ordering.used_up(lock, self.now), f"{lock} is granted to nobody, and has starts left")
                if shut or reasons.withheld_for(wait.ticket):
                    continue
                if fits and not any(access.lock in self.removed for access in each.accesses):
                    barred = any(reasons.reservations(key) for a in each.accesses for key in _overlapping(state, a))
                    demand(barred, f"claim {wait.ticket} waits, and {each} is free")

    def _waits_for_time(self, alternative: Alternative) -> bool:
        """Whether the start rate of one of these locks may be used up."""
        return any(self.ordering.used_up(access.lock, self.now) for access in alternative.accesses)

    # --- overtaking (L42)

    def _overtakes(self, wait: Wait, fact: f.ClaimGranted) -> None:
        """A plain claim never takes what an earlier, due and servable one then no longer fits beside.

        Looked at: claims with one alternative that are the first of those that need the same, and locks without a
        worker. Grants to steps, to children and to requests that were put back may be spared (L46): not looked at.
        """
        plain = not wait.special and wait.ticket not in self.put_back
        for access in fact.alternative.accesses:
            if plain and not access.lock.worker:
                for other in list(self.waiting.values()):
                    if other.ticket != wait.ticket:
                        self._passes(other, fact, access)
            for key in self.pools.touched(fact, access.lock.name) if is_pool(access) else (access.lock,):
                self.later.setdefault(key, []).append((fact.ticket, self.since[fact.ticket]))

    def _passes(self, other: Wait, fact: f.ClaimGranted, taken: Access) -> None:
        ticket = fact.ticket
        if len(other.need.alternatives) != 1 or ticket < other.ticket or not self.can_be_served(other):
            return
        if self.shares.concerned(other.need):
            return
        if self.ordering.order(other.need) == "newest" or self._waits_for_time(other.need.alternatives[0]):
            return
        near = self.pools.touched(fact, taken.lock.name) if is_pool(taken) else [taken.lock]
        wanted = [a for a in other.need.alternatives[0].accesses if a.lock in near]
        equal = [w.ticket for w in self.waiting.values() if (w.level, w.need) == (other.level, other.need)]
        if not wanted or min(equal) < other.ticket:
            return
        step = other.level == STEP_LEVEL or bool(self.lenders(other.owner))  # decision 0014
        turns = [since if step else ticket for ticket, since in self.later.get(wanted[0].lock, ())]
        passed = [each for each in turns if each > self.since[other.ticket]]
        key = wanted[0].lock
        most = self.pools.max_overtakes(key) if is_pool(taken) else self.overtakes.get(key, 8)
        if len(passed) < most:
            return
        told = f"claim {ticket} takes {taken} before claim {other.ticket}, passed {len(passed)} times (L42)"
        if is_pool(taken):
            demand(self.pools.leaves(fact, wanted[0]), told)
            return
        used = self.most_at_once(self._users(taken.lock, {})) + taken.count
        alone = wanted[0].mode == "counting" and taken.mode == "counting"
        fits = alone and used + wanted[0].count <= self.limits.get(taken.lock, 0)
        demand(fits, told)


def _overlapping(state: State, access: Access) -> list[LockKey]:
    """The locks where a reservation may keep this access from what it wants."""
    return list(state.allocator.board.pools[access.lock.name].views) if is_pool(access) else [access.lock]
