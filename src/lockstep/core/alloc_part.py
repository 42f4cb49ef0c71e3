"""Giving back a part of a hold: the rest goes on, and whoever waits for the part is served (L30, L31).

The whole of a hold is given back by `Allocator.release`.
"""

from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from lockstep.core.alloc_facts import units_in
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import LockKey


def give_back(allocator: Allocator, hold: int, keys: AbstractSet[LockKey]) -> None:
    """These locks of a hold are free again. A hold that is not current changes nothing (L32)."""
    board = allocator.board
    held = board.holds.get(hold)
    if held is None:
        return
    pairs = zip(held.alternative.accesses, held.fences, strict=True)
    kept = tuple((access, fence) for access, fence in pairs if access.lock not in keys)
    rest = replace(held.alternative, accesses=tuple(access for access, _ in kept))
    units = units_in(held.units, (access.lock for access, _ in kept))
    board.holds[hold] = replace(held, alternative=rest, fences=tuple(fence for _, fence in kept), units=units)
    given = tuple(pair for pair in board.hold_locks[hold] if pair[0].key in keys)
    allocator.families.give_back(hold, held.owner, given)
    board.hold_locks[hold] = tuple(pair for pair in board.hold_locks[hold] if pair[0].key not in keys)
    for lock, _ in given:
        board.dirty[lock] = None
    if board.leaving:
        allocator.limits.moved(given)
    board.safer = True
    allocator.barriers.stir()
