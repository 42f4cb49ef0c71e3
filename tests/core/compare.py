"""Feeds the same random events to the quick allocator and to the dumb one, and says where they first differ."""

from typing import Any

import msgspec

from lockstep.core.alloc_facts import AllocatorSnapshot, Decision, Sentenced
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import LockKey

from .oracle import Oracle
from .worlds import Event, World, feed


def plain(decisions: list[Decision]) -> list[Decision]:
    """Decisions without the description of rings: the oracle gives none."""
    return [msgspec.structs.replace(each, ring=()) if isinstance(each, Sentenced) else each for each in decisions]


def over_the_wire(allocator: Allocator) -> Allocator:
    """The allocator after a restart: its snapshot as bytes, and back."""
    encoded = msgspec.msgpack.encode(allocator.snapshot())
    return Allocator.restore(msgspec.msgpack.decode(encoded, type=AllocatorSnapshot))


def related(one: int, other: int, parents: dict[int, set[int]]) -> bool:
    """Whether the one build waits, or waited, for the other, directly or through others; or is it."""
    above, todo = {other}, {other}
    while todo:
        todo = {parent for owner in todo for parent in parents.get(owner, ())} - above
        above |= todo
    return one in above


def check_capacity(allocator: Allocator, parents: dict[int, set[int]]) -> None:
    """No lock is used beyond its exclusiveness; what is used is what builds hold that lend to none of the others.

    `parents` are all that ever waited for a child: what was lent once may be had by both.
    """
    users: dict[LockKey, list[tuple[int, Any]]] = {}
    for hold in allocator.holds.values():
        for access in hold.alternative.accesses:
            if access.lock.kind != "pool":
                users.setdefault(access.lock, []).append((hold.owner, access))
    check_units(allocator, parents)
    for key, accesses in users.items():
        for one, access in accesses:
            strangers = [o for o, _ in accesses if not related(one, o, parents) and not related(o, one, parents)]
            assert access.mode != "exclusive" or not strangers, key
        if all(access.mode == "counting" for _, access in accesses):
            now = {child: {parent} for child, parent in allocator.board.parent_of.items()}
            assert allocator.board.locks[key].used == most_together(accesses, now), key


def check_units(allocator: Allocator, parents: dict[int, set[int]]) -> None:
    """No unit is had twice, but by builds of which one waits, or waited, for the other; each has what it asked for."""
    had: dict[tuple[str, str], list[int]] = {}
    for hold in allocator.holds.values():
        names = dict(hold.units)
        for access in hold.alternative.accesses:
            if access.lock.kind == "pool":
                assert access.mode == "exclusive" or len(set(names[access.lock.name])) == access.count
        for pool, units in names.items():
            for unit in units:
                for other in had.setdefault((pool, unit), []):
                    assert related(hold.owner, other, parents) or related(other, hold.owner, parents), (pool, unit)
                had[pool, unit].append(hold.owner)


def most_together(accesses: list[tuple[int, Any]], parents: dict[int, set[int]]) -> int:
    """The greatest sum of units of builds of which none waits for another."""
    if not accesses:
        return 0
    (owner, access), rest = accesses[0], accesses[1:]
    apart = [(o, a) for o, a in rest if o == owner or not (related(owner, o, parents) or related(o, owner, parents))]
    with_it: int = access.count + most_together(apart, parents)
    return with_it if len(apart) == len(rest) else max(with_it, most_together(rest, parents))


def check_nothing_idle(allocator: Allocator) -> None:
    """Where nobody holds anything, nobody waits who could be served."""
    reasons = allocator.reasons
    if not allocator.holds:
        idle = [ticket for ticket in allocator.waiting if reasons.servable(ticket)]
        assert all(any(each.kind == "rate" for each in reasons.obstacles(ticket)) for ticket in idle)


def differs(seed: int, *, events: int = 60, restart: bool = False, kind: type[World] = World) -> str:
    """Where the two differ in the world of this seed; empty if nowhere."""
    world, quick, dumb = kind(seed, events), Allocator(), Oracle()
    todo: list[Event] = world.begin()
    quick.board.band_size = 8 * (seed % 2)
    for turn in range(events + 1):
        feed(quick, todo)
        feed(dumb, todo)
        if restart and turn % 7 == seed % 7:
            quick = over_the_wire(quick)
        ours, theirs = quick.decide(), dumb.decide()
        if plain(ours) != theirs:
            return f"seed {seed}, turn {turn}: after {todo}\nquick {ours}\ndumb  {theirs}"
        # A full pass opens what was parked and hides what was forgotten: only some worlds have it early.
        if (turn == events or (seed % 3 == 0 and turn % 5 == 0)) and (again := quick.full_pass()):
            return f"seed {seed}, turn {turn}: the full pass decided {again}"
        check_capacity(quick, world.kin)
        check_nothing_idle(quick)
        if restart and turn % 7 == (seed + 3) % 7:
            quick = over_the_wire(quick)
            if again := quick.decide():
                return f"seed {seed}, turn {turn}: after the restart {again}"
        todo = [*world.note(theirs), *world.next()]
    return ""


def drained(seed: int, kind: type[World] = World) -> set[int]:
    """Who still waits, although everything ends that can: must be nobody who could be served."""
    world, quick = kind(seed, 40), Allocator()
    world.retryable = 1.0
    todo: list[Event] = world.begin()
    for _ in range(40):
        feed(quick, todo)
        todo = [*world.note(quick.decide()), *world.next()]
    world.has["retries"] = False
    todo += world.heal()
    for _ in range(2000):
        feed(quick, todo)
        ended = world.note(quick.decide())
        todo = [*ended, *world.finish()]
        if not todo and not world.running:
            break
    return {ticket for ticket in quick.waiting if quick.reasons.servable(ticket)}
