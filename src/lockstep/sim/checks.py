"""The checkers that need the state or the disk: store equals state, replay from zero, a second look, the end.

They are written differently from what they check: rows against state, facts against rows, one process against the next.
"""

import copy
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import BecameBarrier, Decision, Granted, Pinned, PoolState, Sentenced, Unpinned
from lockstep.core.apply import apply
from lockstep.core.calls import CommandResult
from lockstep.core.decide import decide
from lockstep.core.recovery import state_of
from lockstep.core.state import State
from lockstep.sim.disk import Group
from lockstep.sim.faults import Violation, demand

if TYPE_CHECKING:
    from lockstep.sim.master import Master
    from lockstep.sim.world import World

A_RESULT: Final = CommandResult(rc=0)

_FIELDS: Final = (
    "last_fact",
    "counters",
    "setup",
    "builders",
    "builder_ids",
    "worker_ids",
    "build_numbers",
    "ranks",
    "buildsets",
    "stamps",
    "stamp_ids",
    "requests",
    "builds",
    "commands",
    "workers",
    "memories",
    "bookings",
    "locks",
    "removed_locks",
    "pools",
    "quarantines",
    "failed_with",
    "claims",
    "collapsible",
    "children",
    "builds_on",
    "commands_of",
)


def allocated(state: State) -> dict[str, Any]:
    """What the allocator knows, in one order, without what only memory holds."""
    snapshot = state.allocator.snapshot()
    locks = {}
    for lock in snapshot.locks:
        memory = {level: sorted(tickets) for level, tickets in lock.memory if tickets}
        locks[lock.key] = (lock.limit, lock.max_overtakes, lock.removed, lock.fence, lock.left, memory)
    claims = {
        c.ticket: (c.need, c.owner, c.level, c.since or c.ticket, c.parent, c.put_back, c.newest, c.retryable)
        for c in snapshot.waiting
    }
    return {
        "locks": locks,
        "holds": {h.id: (h.ticket, h.owner, h.alternative, h.fences, h.units, h.retryable) for h in snapshot.holds},
        "waiting": claims,
        "pins": dict(snapshot.pins),
        "parents": dict(snapshot.parents),
        "courses": {owner: tuple(course) for owner, *course in snapshot.courses},
        "next hold": snapshot.next_hold,
        "clock": snapshot.clock,
        "starts": state.lock_rules.recent,
        "passed": {
            (c.ticket, a.lock): state.allocator.reasons.overtaken(c.ticket, a.lock)
            for c in snapshot.waiting
            for each in c.need.alternatives
            for a in each.accesses
            if a.lock.kind == "pool"
        },
        "pools": {pool.name: _pool(pool) for pool in snapshot.pools},
        "shares": (set(snapshot.shares), set(snapshot.turns), set(snapshot.projects)),
    }


def _pool(pool: PoolState) -> tuple[Any, ...]:
    """What is known of a pool, in one order. Of a unit that is none any more and was never had nothing need be.

    What a view remembers matters to whoever waits there ("passed"): where nobody does, it may be forgotten with it.
    """
    wear = {unit.name: worn for unit, worn in zip(pool.units, pool.wear, strict=True) if worn}
    start = {unit.name: worn for unit, worn in zip(pool.units, pool.start, strict=True) if worn}
    fresh = set(pool.fresh) - set(pool.absent)
    return pool.max_overtakes, pool.fence, set(pool.absent) & {*wear, *pool.sick}, set(pool.sick), wear, start, fresh


def _same_lock(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return bool(one is other)
    alike = all(_remembered(one[-1], level) == _remembered(other[-1], level) for level in {*one[-1], *other[-1]})
    return bool(one[:-1] == other[:-1] and alike)


def _remembered(memory: dict[int, list[int]], level: int) -> list[int]:
    """What a lock remembers for a level: where it has nothing of its own, what it has for the next higher one."""
    above = [each for each in memory if each >= level]
    return memory[min(above)] if above else []


_OF_A_LOCK: Final = ("limit", "max_overtakes", "removed", "fence", "starts left", "memory")
"""What `allocated` has of a lock."""


def same(a: State, b: State, what: str, form: Callable[[Any], Any] = lambda value: value) -> None:
    """Two states say the same, in a form. Raises Violation naming what differs."""
    for name in _FIELDS:
        left, right = form(getattr(a, name)), form(getattr(b, name))
        if left != right:
            raise Violation(f"{what}: {difference(left, right, name)}")
    ours, theirs = allocated(a), allocated(b)
    for key in {**ours["locks"], **theirs["locks"]}:
        one, other = ours["locks"].pop(key, None), theirs["locks"].pop(key, None)
        if not _same_lock(one, other):
            pairs = zip(_OF_A_LOCK, one or (None,) * 6, other or (None,) * 6, strict=True)
            told = "; ".join(f"{name} is {a!r} and {b!r}" for name, a, b in pairs if a != b)
            raise Violation(f"{what}: lock {key}: {told}")
    for name in ours:
        left, right = form(ours[name]), form(theirs[name])
        if left != right:
            raise Violation(f"{what}: {difference(left, right, f'the allocator: {name}')}")


def as_text(value: Any) -> Any:
    """The form in which a value is the same before and after it was a line of text."""
    if isinstance(value, Struct):
        return {name: as_text(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: as_text(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(as_text, value))
    return b64encode(value).decode() if isinstance(value, bytes) else value


def difference(left: Any, right: Any, path: str) -> str:
    """Where two things differ first, and how."""
    if isinstance(left, Struct) and type(left) is type(right):
        pairs = [(name, getattr(left, name), getattr(right, name)) for name in left.__struct_fields__]
    elif isinstance(left, dict) and isinstance(right, dict):
        pairs = [(repr(key), left.get(key), right.get(key)) for key in {**left, **right}]
    elif isinstance(left, list | tuple) and type(left) is type(right) and len(left) == len(right):
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(left, right, strict=True))]
    else:
        return f"{path} is {left!r} and {right!r}"
    for name, one, other in pairs:
        if one != other:
            return difference(one, other, f"{path}.{name}")
    return f"{path} differs"


# --- facts replayed from zero


class _Replayed:
    """A state built from facts alone: what the allocator decides must be what the facts say it decided."""

    def __init__(self, installation: str) -> None:
        self.state = State(installation)
        self.decisions: deque[Decision] = deque()

    def see(self, group: Group) -> None:
        """One decision's facts."""
        for one in group:
            if isinstance(one.fact, f.ClaimGranted | f.ClaimPinned | f.BarrierRaised | f.RingBroken):
                if not self.decisions:
                    self.decisions.extend(self.state.allocator.decide())
                demand(bool(self.decisions), f"fact {one.number} {one.fact} does not follow from those before")
                decision = self.decisions.popleft()
                demand(_is_of(one.fact, decision), f"{one.fact} was decided, its replay decides {decision}")
            apply(self.state, one.fact, one.at)
        self.decisions.extend(self.state.allocator.decide())
        demand(not self.decisions, f"a replay decides more: {self.decisions}")


def _is_of(fact: f.Fact, decision: Decision) -> bool:
    match decision:
        case Granted():
            return isinstance(fact, f.ClaimGranted) and (
                fact.ticket,
                fact.hold,
                fact.alternative,
                fact.fences,
                fact.units,
            ) == (decision.ticket, decision.hold, decision.alternative, decision.fences, decision.units)
        case Pinned():
            return isinstance(fact, f.ClaimPinned) and (fact.ticket, fact.alternative) == (
                decision.ticket,
                decision.index,
            )
        case Unpinned():
            return isinstance(fact, f.ClaimPinned) and (fact.ticket, fact.alternative) == (decision.ticket, -1)
        case BecameBarrier():
            return isinstance(fact, f.BarrierRaised) and fact.ticket == decision.ticket
        case Sentenced():
            return isinstance(fact, f.RingBroken) and fact.ticket == decision.ticket


def replayed(world: "World") -> State:
    """The state that the stored facts add up to, from the first to the last."""
    replay = _Replayed(world.disk.installation)
    for group in world.disk.groups:
        replay.see(group)
    return replay.state


# --- when they are called


def after_a_start(world: "World") -> None:
    """What a new process reads is what the stored facts add up to (L60)."""
    assert world.master is not None
    same(world.master.state, replayed(world), "the state that was read, and the stored facts replayed")


def same_after_restart(world: "World", master: "Master") -> None:
    """Were the process to end now, with everything stored, the next one would know the same."""
    if world.disk.last_fact + sum(len(group) for group in master.groups) != master.state.last_fact:
        return  # a commit is on its way
    rows = getattr(world.disk, "rows", None)
    if rows is None or master.groups:
        return
    same(state_of(rows.saved()), master.state, "what would be read now, and the state")


def second_look(master: "Master") -> None:
    """Looking at everything again decides nothing (L31, L43)."""
    outcome = decide(master.state, e.FullPass(), master.wall())
    demand(not outcome.facts, f"a second look decides: {[one.fact for one in outcome.facts]}")
    demand(not outcome.effects, f"a second look has effects: {outcome.effects}")


def at_the_end(world: "World") -> None:
    """Every request has ended, nothing is held, and the store says the same."""
    master = world.master
    assert master is not None
    state = master.state
    second_look(master)
    left = {
        "requests": state.requests,
        "builds": state.builds,
        "build sets": state.buildsets,
        "commands": state.commands,
        "holds": state.allocator.holds,
        "waiting claims": state.allocator.waiting,
        "claims": state.claims,
        "bookings": state.bookings,
        "children": state.children,
        "source stamps": state.stamps,
        "collapsible": state.collapsible,
    }
    for name, things in left.items():
        demand(not things, f"at the end there are {name}: {things}")
    read = state_of(copy.deepcopy(world.disk.load()))
    same(read, state, "at the end, what is stored and the state")
    same(replayed(world), state, "at the end, the facts replayed and the state")
