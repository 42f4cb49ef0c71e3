"""Every wait for ever that a set-up could lead to: builds that wait while they, or those who wait for them, hold locks.

Here are the waits that could be, and the greatest set of them in which each is kept waiting by others of the set. What
follows from it (parts, cycles) is in `deadlock.py`. Nothing here looks at what is going on; LOCKS.md section 7.

It may find a wait that can never be, but none that could be is missed, but for what is known only at run time and for
builders that wait for builds of their own name, which are looked at one deep. It is told apart: two builds on one
worker with one build directory; two that hold what nobody can hold at once; who runs on another worker; what a waiting
build lends. It is not told apart: three or more builds that cannot all be there at once although each two of them can;
how many builds the slots of workers admit.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from msgspec import Struct

from lockstep.core.deadlock_pools import Views
from lockstep.core.limits import MAX_DEADLOCK_WAITS
from lockstep.core.nouns import UNLIMITED, Access, Alternative, LockKey
from lockstep.core.values import BuilderSetup, Setup, Stage

WHOLE: Final = 1 << 50
"""So many units an exclusive access takes."""

Held = dict[LockKey, int]


class TooManyError(Exception):
    """There are more waits to look at than the limit."""


class Member:
    """One build of a chain: of a builder, on a worker, at a stage (None: it has not started), with what it holds.

    `directory` is what only one build at a time can have: its directory on its worker. None if it needs none.
    """

    __slots__ = ("builder", "directory", "held", "stage", "worker")

    def __init__(self, builder: BuilderSetup, worker: str, stage: Stage | None, held: Held) -> None:
        self.builder = builder
        self.worker = worker
        self.stage = stage
        self.held = held
        self.directory = next((lock for lock in held if lock.kind == "builddir"), None)

    def same(self, other: "Member") -> bool:
        """Whether this may be the same build at the same step."""
        return (self.builder is other.builder and self.worker == other.worker) and self.stage is other.stage


class Ask(Struct, frozen=True, cache_hash=True):
    """What a wait lacks. It is refused if others hold the lock so that more than `room` units are taken.

    `base`: only builds that share the first `base` members of the chain can refuse it; they lend the lock.
    """

    lock: LockKey
    units: int
    room: int
    base: int


class Wait:
    """A chain of builds, each of which waits for the next; the last waits for one of the alternatives."""

    __slots__ = ("_holds", "alternatives", "chain")

    def __init__(self, chain: tuple[Member, ...], alternatives: tuple[tuple[Ask, ...], ...]) -> None:
        self.chain = chain
        self.alternatives = alternatives
        self._holds: list[Held | None] = [None] * (len(chain) + 1)

    def holds(self, start: int) -> Held:
        """What the members hold from that one on. What one borrows from another counts once."""
        known = self._holds[start]
        if known is None:
            known = self._holds[start] = {}
            for member in self.chain[start:]:
                for lock, units in member.held.items():
                    known[lock] = max(units, known.get(lock, 0))
        return known

    def holder(self) -> tuple[object, ...]:
        """The same for all waits that hold the same things as the same builds."""
        return (*((id(m.builder), m.worker, id(m.stage)) for m in self.chain[:-1]), id(self.chain[-1].held))


class Waits:
    """Computes the waits for ever of a set-up. `alive` are those, in the order of the set-up."""

    def __init__(self, setup: Setup) -> None:
        """Look at a set-up. Raises TooManyError."""
        self.views = Views(setup)
        self.limits = limits_of(setup, self.views)
        self.builders = {builder.name: builder for builder in setup.builders}
        self.rough = _Rough(setup, self.limits, self.views)
        self.alive: list[Wait] = []
        self._beside: dict[str, set[str]] = {}
        for builder in setup.builders:
            if builder.name in self.rough.stuck:
                room = MAX_DEADLOCK_WAITS - len(self.alive) + 1
                self.alive.extend(islice(self._running(builder, ()), room))
                if len(self.alive) > MAX_DEADLOCK_WAITS:
                    raise TooManyError
        self.holders: dict[LockKey, list[Wait]] = {}
        self._known: dict[tuple[int, Ask], bool] = {}
        self._narrow()

    # --- the waits that could be

    def _running(self, builder: BuilderSetup, above: tuple[Member, ...]) -> Iterator[Wait]:
        """Every wait of builds of a builder that have started."""
        for alternative in builder.planned.alternatives:
            own = units_of(alternative.accesses)
            for stage in builder.stages:
                key = id(stage)
                had = own | units_of(stage.held_on(alternative.worker)) if stage.held is not None else own
                if key in self.rough.asking:
                    yield from self._at(builder, alternative, stage, had, above)
                if key in self.rough.waiting:
                    held = had | units_of(stage.on(alternative.worker))
                    yield from self._children((*above, Member(builder, alternative.worker, stage, held)))

    def _at(
        self, builder: BuilderSetup, on: Alternative, stage: Stage, own: Held, above: tuple[Member, ...]
    ) -> Iterator[Wait]:
        asks = self._asks(stage.on(on.worker), above)
        if asks:
            yield Wait((*above, Member(builder, on.worker, stage, own)), (asks,))

    def _children(self, above: tuple[Member, ...]) -> Iterator[Wait]:
        """Every wait of builds that the last of these waits for."""
        stage = above[-1].stage
        for name in dict.fromkeys(stage.children) if stage is not None else ():
            child = self.builders.get(name)
            if child is None:
                continue
            if name in self.rough.starting and not any(self._fits_beside(child, member) for member in above):
                asks = self._start(child, above)
                if asks:
                    yield Wait((*above, Member(child, "", None, {})), asks)
            if name in self.rough.stuck and all(member.builder is not child for member in above):
                yield from self._running(child, above)

    def _fits_beside(self, child: BuilderSetup, parent: Member) -> bool:
        """Whether it is plain that a build can start in its parent's slot (L53); most can."""
        if child.name not in self._beside:
            self._beside[child.name] = {
                each.worker
                for each in child.planned.alternatives
                if not any(a.lock in self.rough.held for a in each.accesses if a.lock.kind != "slot" or a.count > 1)
            }
        return parent.worker in self._beside[child.name] and not self._siblings(parent)

    def _start(self, child: BuilderSetup, above: tuple[Member, ...]) -> tuple[tuple[Ask, ...], ...]:
        """What a build lacks in each of its alternatives; nothing if it is certain that there is one to take."""
        found = []
        for alternative in child.planned.alternatives:
            asks = self._asks(alternative.accesses, above)
            if asks is not None:
                if not any(ask.lock in self.rough.held for ask in asks):
                    return ()
                found.append(asks)
        return tuple(found)

    def _asks(self, accesses: Iterable[Access], above: tuple[Member, ...]) -> tuple[Ask, ...] | None:
        """What others may refuse of these; None if they can never be served (L5)."""
        found = []
        for access in accesses:
            limit = self.limits.get(access.lock, UNLIMITED)
            units = WHOLE if access.mode == "exclusive" else access.count
            if (units if units < WHOLE else 1) > limit:
                return None
            if limit >= UNLIMITED and units < WHOLE:
                continue
            lenders = [n for n, member in enumerate(above, start=1) if access.lock in member.held]
            lent = max((above[n - 1].held[access.lock] for n in lenders), default=0)
            if lent >= units and self._siblings(above[lenders[0] - 1]):
                room = (limit if lent == WHOLE else lent) - units
                found.append(Ask(access.lock, units, room, lenders[0]))
            elif lent < units:
                found.append(Ask(access.lock, units, limit - max(lent, units), 0))
        return tuple(found)

    def _siblings(self, lender: Member) -> bool:
        """Whether builds that this one waits for may hold what it lends while they wait for ever."""
        return lender.stage is not None and not self.rough.stuck.isdisjoint(lender.stage.children)

    # --- those that others of them keep waiting

    def _narrow(self) -> None:
        """Take out, again and again, who has an alternative that nobody left can refuse."""
        while True:
            self.holders, self._known = {}, {}
            for wait in {wait.holder(): wait for wait in self.alive}.values():
                for lock in {near: None for held in wait.holds(0) for near in self.views.near(held)}:
                    self.holders.setdefault(lock, []).append(wait)
            left = [wait for wait in self.alive if all(map(any, self._refusals(wait)))]
            if len(left) == len(self.alive):
                return
            self.alive = left

    def _refusals(self, wait: Wait) -> Iterator[Iterator[bool]]:
        return ((self.refused(wait, ask) for ask in asks) for asks in wait.alternatives)

    def refused(self, wait: Wait, ask: Ask) -> bool:
        """Whether other waits may refuse this."""
        key = (id(wait), ask)
        if key not in self._known:
            self._known[key] = self._refused(wait, ask)
        return self._known[key]

    def _refused(self, wait: Wait, ask: Ask) -> bool:
        taken: dict[LockKey, int] = {}
        for other, common in self.refusing(wait, ask):
            if ask.units == WHOLE:
                return True
            for member in other.chain[common:]:
                units = self.views.taken(member.held, ask.lock)
                place = member.directory
                if units == WHOLE or (units and place is None):
                    return True
                if place is not None and units > taken.get(place, 0):
                    taken[place] = units
            if sum(taken.values()) > ask.room:
                return True
        return False

    def refusing(self, wait: Wait, ask: Ask) -> Iterator[tuple[Wait, int]]:
        """Other waits that hold something of what this one asks for, and may be there at the same time.

        Of those that hold the same one is enough. With each the number of builds that both have in common.
        """
        for other in self.holders.get(ask.lock, ()):
            for common in meetings(wait, other):
                holds = common >= ask.base and self.views.taken(other.holds(common), ask.lock)
                if holds and self.together(wait, other, common):
                    yield other, common
                    break

    def together(self, a: Wait, b: Wait, common: int) -> bool:
        """Whether two waits that have so many builds in common may be there at once, as far as limits tell."""
        if common and _same_child(a, b, common):
            return False
        theirs = b.holds(common)
        lent = a.chain[:common]
        for lock, units in a.holds(common).items():
            other = theirs.get(lock)
            if other is None or any(lock in member.held for member in lent):
                continue
            if WHOLE in (units, other) or units + other > self.limits.get(lock, UNLIMITED):
                return False
        return True


class _Rough:
    """A first look without workers and loans: who could ever be stuck. Most set-ups are done with after it.

    `stuck` are builders whose builds could wait for ever, `asking` and `waiting` their stages (by id) that claim
    locks and wait for builds, `starting` builders whose builds could wait for ever before they start, `held`
    what such builds hold meanwhile.
    """

    def __init__(self, setup: Setup, limits: dict[LockKey, int], views: Views) -> None:
        nested = any(stage.children for builder in setup.builders for stage in builder.stages)
        self.limits = limits
        self.views = views
        self.builders = [builder for builder in setup.builders if builder.stages]
        every = {builder.name: builder for builder in setup.builders}
        self.children = {
            name: every[name]
            for builder in self.builders
            for stage in builder.stages
            for name in stage.children
            if name in every
        }
        self.stuck = {builder.name for builder in self.builders}
        self.asking = {id(s) for b in self.builders for s in b.stages if s.need is not None}
        self.waiting = {id(s) for b in self.builders for s in b.stages if s.children}
        self.starting = set(self.children)
        self.own = {b.name: self._locks(b.planned.alternatives, nested) for b in self.builders}
        self.held: set[LockKey] = set()
        size = -1
        while self.stuck and size != (size := self._size()):
            self._narrow()

    def _size(self) -> int:
        return len(self.stuck) + len(self.asking) + len(self.waiting) + len(self.starting)

    def _locks(self, alternatives: Iterable[Alternative], nested: bool) -> set[LockKey]:
        """What may be held of these. Slots and directories are asked for only by builds that others wait for."""
        kinds = ("master", "worker", "pool", "slot", "builddir") if nested else ("master", "worker", "pool")
        return {access.lock for each in alternatives for access in each.accesses if access.lock.kind in kinds}

    def _narrow(self) -> None:
        held: set[LockKey] = set()
        for builder in self.builders:
            if builder.name in self.stuck:
                held |= self.own[builder.name]
                for stage in builder.stages:
                    if stage.need is not None and id(stage) in self.waiting:
                        held |= self._locks(stage.need.alternatives, True)
                    if stage.held is not None and id(stage) in self.asking | self.waiting:
                        held |= self._locks(stage.held.alternatives, True)
        held = {lock for lock in held if self.limits.get(lock, UNLIMITED) < UNLIMITED}
        self.held = {near for lock in held for near in self.views.near(lock)}
        self.asking &= {id(s) for b in self.builders if b.name in self.stuck for s in b.stages}
        self.starting = {name for name in self.starting if self._no_way(self.children[name])}
        stuck = set()
        for builder in self.builders:
            for stage in builder.stages:
                key = id(stage)
                if key in self.asking and not self._touches(stage):
                    self.asking.discard(key)
                if key in self.waiting and not any(c in self.starting or c in self.stuck for c in stage.children):
                    self.waiting.discard(key)
                if key in self.asking or key in self.waiting:
                    stuck.add(builder.name)
        self.stuck &= stuck

    def _touches(self, stage: Stage) -> bool:
        alternatives = stage.need.alternatives if stage.need is not None else ()
        return any(access.lock in self.held for each in alternatives for access in each.accesses)

    def _no_way(self, child: BuilderSetup) -> bool:
        each = child.planned.alternatives
        return bool(each) and all(any(access.lock in self.held for access in one.accesses) for one in each)


def limits_of(setup: Setup, views: Views) -> dict[LockKey, int]:
    """The limit of every lock, slots of workers and views of pools included."""
    limits = {lock.key: lock.limit for lock in setup.locks}
    limits |= {view: len(units) for view, units in views.units.items()}
    for worker in setup.workers:
        limits[LockKey("slot", "", worker.name)] = UNLIMITED if worker.max_builds is None else worker.max_builds
    return limits


def units_of(accesses: Iterable[Access]) -> Held:
    """Accesses as units by lock."""
    return {access.lock: WHOLE if access.mode == "exclusive" else access.count for access in accesses}


def meetings(a: Wait, b: Wait) -> Iterator[int]:
    """How many builds at the beginning of two chains may be the same ones."""
    common = 0
    for one, other in zip(a.chain[:-1], b.chain[:-1], strict=False):
        if not one.same(other):
            break
        common += 1
    if a is not b:
        yield common
    if (common or a is b) and a.chain[0].directory is None:
        yield 0


def _same_child(a: Wait, b: Wait, common: int) -> bool:
    """Whether, after the builds that two chains have in common, both go on with what can be one build only."""
    stage, child = a.chain[common - 1].stage, a.chain[common].builder
    return b.chain[common].builder is child and stage is not None and stage.children.count(child.name) < 2
