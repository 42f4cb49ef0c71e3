"""Facts about claims and holds (L60, L72). `facts.py` names them all. Values only."""

from typing import Any

from lockstep.core.alloc_facts import PoolMemory, ShareMemory, Units
from lockstep.core.fact import Fact
from lockstep.core.nouns import Alternative, LockKey


class ClaimGranted(Fact, frozen=True):
    """A claim got one of its alternatives. `fences` follow the order of its accesses (L62).

    Of `lent` locks it took nothing anew: their fences are those of the builds that wait for it (L53). `memories` (same
    order) are what the allocator keeps of each lock's grants, to be stored with the lock's row; so are the `starts` of
    each lock with a start rate: when it was granted of late, this time included. `units` are the names of what it got
    of pools, `pools` what is kept of those, `shares` of those in which its locks are.
    """

    ticket: int
    owner: int
    hold: int
    alternative: Alternative
    fences: tuple[int, ...]
    lent: tuple[LockKey, ...] = ()
    memories: tuple[Any, ...] = ()
    starts: tuple[tuple[LockKey, tuple[float, ...]], ...] = ()
    units: Units = ()
    pools: tuple[PoolMemory, ...] = ()
    shares: tuple[ShareMemory, ...] = ()


class StartsReturned(Fact, frozen=True):
    """Some of a lock's grants are so long ago that its start rate counts only these."""

    key: LockKey
    starts: tuple[float, ...]


class ClaimPinned(Fact, frozen=True):
    """A barrier with alternatives reserves on this one (L42b). `alternative` is its index, -1: no longer pinned."""

    ticket: int
    alternative: int


class BarrierRaised(Fact, frozen=True):
    """A claim was overtaken too often at these locks and is a barrier there (L42)."""

    ticket: int
    locks: tuple[LockKey, ...]


class ClaimDropped(Fact, frozen=True):
    """A waiting claim has ended without a grant (L33). `reason`: why; of a request's, that is told when it ends."""

    ticket: int
    reason: str = ""


class HoldEnded(Fact, frozen=True):
    """A hold's owner has ended (L30)."""

    hold: int
    ticket: int


class LocksReturned(Fact, frozen=True):
    """A step gives some of its locks back before its hold ends. `alternative`, `fences` and `units` are what it keeps
    (L30)."""

    buildid: int
    step: int
    hold: int
    ticket: int
    owner: int
    locks: tuple[LockKey, ...]
    alternative: Alternative
    fences: tuple[int, ...]
    units: Units = ()


class RingBroken(Fact, frozen=True):
    """A true ring closed; its youngest build is put back (L52). `text` names builds and locks."""

    ticket: int
    ring: tuple[int, ...]
    text: str
