"""What the allocator says and keeps, as values: decisions, holds, snapshots; and what an access is (L3, L4, L12).

Only frozen records and pure helpers live here; nothing here knows a queue. `allocation.py` decides.
"""

from collections.abc import Iterable
from math import inf
from typing import Any, Final

from msgspec import Struct

from lockstep.core.limits import MAX_UNITS
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, Access, Alternative, Claim, LockKey, Patience
from lockstep.core.values import BuilderSetup, ShareRule, UnitSetup

UNRATED: Final = 1 << 60
"""As many grants as a lock without a start rate allows."""

Memory = tuple[tuple[int, tuple[int, ...]], ...]
"""What a lock remembers of its grants: for each priority level the K latest tickets (L45), in no order."""


Units = tuple[tuple[str, tuple[str, ...]], ...]
"""For each pool that a claim has units of: the pool's name, and the names of the units."""


def units_in(units: Units, keys: Iterable[LockKey]) -> Units:
    """Of these units those of the pools that the keys name."""
    pools = {key.name for key in keys if key.kind == "pool"}
    return tuple(each for each in units if each[0] in pools)


def together(one: Units, other: Units) -> Units:
    """All these units."""
    found = {name: set(units) for name, units in one}
    for name, units in other:
        found.setdefault(name, set()).update(units)
    return tuple((name, tuple(sorted(units))) for name, units in found.items())


class Hold(Struct, frozen=True, gc=False):
    """A granted claim. `fences` follow the order of `alternative.accesses`; `level` is the claim's priority.

    `units` are the names of what it has of pools.
    """

    id: int
    ticket: int
    owner: int
    index: int
    alternative: Alternative
    fences: tuple[int, ...]
    level: int = 0
    retryable: bool = True
    units: Units = ()


class Granted(Struct, frozen=True, gc=False, tag=True):
    """A claim got one of its alternatives.

    `barrier`, `level` and `clock` say how the grant counts as overtaking, so that L45's memory follows from facts.
    `lent` are the locks of which nothing is taken anew: their fences are those of the lenders (L53).
    """

    ticket: int
    hold: int
    index: int
    alternative: Alternative
    fences: tuple[int, ...]
    owner: int
    level: int
    barrier: bool
    clock: int
    lent: tuple[LockKey, ...] = ()
    units: Units = ()


class BecameBarrier(Struct, frozen=True, tag=True):
    """A claim was overtaken too often at these locks of the alternative that it is pinned to next (L42)."""

    ticket: int
    locks: tuple[LockKey, ...]


class Pinned(Struct, frozen=True, tag=True):
    """A barrier reserves on this alternative (L42b)."""

    ticket: int
    index: int
    alternative: Alternative


class Unpinned(Struct, frozen=True, tag=True):
    """A claim that goes on waiting has lost its pin: it cannot be served there, or is not first of its class."""

    ticket: int


class RingLink(Struct, frozen=True):
    """One member of a ring: an owner, the locks that it lacks and others of the ring hold, its children in the ring."""

    owner: int
    locks: tuple[LockKey, ...]
    children: tuple[int, ...] = ()


class Sentenced(Struct, frozen=True, tag=True):
    """A true ring closed; this build's waiting claims have ended and it must give up its holds (L52).

    `regained` are children of the ring that were put back before, and stand where their eldest does again.
    """

    ticket: int
    claims: tuple[int, ...]
    ring: tuple[RingLink, ...]
    regained: tuple[int, ...] = ()


Decision = Granted | BecameBarrier | Pinned | Unpinned | Sentenced


class Reservation(Struct, frozen=True):
    """What a barrier keeps free at a lock now. `units` is 0 where it reserves the whole lock."""

    ticket: int
    units: int
    exclusive: bool


class Impossible(Struct, frozen=True):
    """Why one alternative can never be served as things are (L5)."""

    index: int
    lock: LockKey
    count: int
    limit: int


class Obstacle(Struct, frozen=True):
    """Why one alternative of a waiting claim does not fit now: the first lock that refuses, and who has or reserves it.

    `kind` is "limit" (L5), "rate", "held", "reserved" or "withheld" (L51); `who` are hold ids (held) or barriers'
    tickets (reserved).
    """

    index: int
    lock: LockKey
    kind: str
    who: tuple[int, ...] = ()


class Part(Struct, frozen=True):
    """What a party has of what is shared: all `used` units and the `due` ones by its weight; and of one lock of it."""

    party: str
    weight: int
    used: int
    due: float
    here: int = 0
    due_here: float = 0.0


class LockState(Struct, frozen=True):
    """A lock in a snapshot: `limit` as declared, `removed` as `forget_lock` says, `fence` the last one given.

    `left` are the grants that its start rate allows still; far more than there will be where it has none.
    """

    key: LockKey
    limit: int
    max_overtakes: int = DEFAULT_MAX_OVERTAKES
    removed: bool = False
    fence: int = 0
    memory: Memory = ()
    left: int = UNRATED


class PoolState(Struct, frozen=True):
    """A pool in a snapshot. `units` are all that ever were, `absent` those that are none any more, `sick` those in
    quarantine; `wear` says how often each was handed over, `start` how worn it is thought to have been before, but for
    `fresh` ones. `views` are its views, as locks. `removed`: no configuration
    names it any more."""

    name: str
    max_overtakes: int = DEFAULT_MAX_OVERTAKES
    fence: int = 0
    units: tuple[UnitSetup, ...] = ()
    absent: tuple[str, ...] = ()
    sick: tuple[str, ...] = ()
    wear: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    fresh: tuple[str, ...] = ()
    views: tuple[LockState, ...] = ()
    removed: bool = False


class PoolMemory(Struct, frozen=True):
    """What is to be stored of a pool with each grant of it: how often each unit was handed over, how worn it was
    thought to be when it was new (`start`; 0 if it is not there), and what each view remembers of its grants (L45), by
    its `where`."""

    name: str
    wear: dict[str, int]
    views: tuple[tuple[str, Memory], ...] = ()
    start: dict[str, int] = {}


class ShareMemory(Struct, frozen=True):
    """What is to be stored of a share with each grant of it: how much later than now each party's turn comes
    (`alloc_items.Share`). Who is not in it comes now."""

    name: str
    turns: tuple[tuple[str, int], ...] = ()


class AllocatorSnapshot(Struct, frozen=True):
    """Everything that the allocator knows. `parents` are (child's ticket, waiting owner).

    `pins` are (ticket, index); the index is -1 for a pin that the next decision will say to be lost.

    `plans` are the builders of cyclic parts, `courses` their builds (L51): owner, builder, number of its step, and
    whether that has waited for its children.

    `sentenced` are builds that rings sentenced, and that wait for nothing since but for their children.

    `projects` are those of owners, where `shares` ask for them; `turns` are of all shares that ever were.

    `gone` are locks that exist no more: when one comes back, its fences and what it remembers of its grants go on.
    """

    locks: tuple[LockState, ...] = ()
    holds: tuple[Hold, ...] = ()
    waiting: tuple[Claim, ...] = ()
    pins: tuple[tuple[int, int], ...] = ()
    parents: tuple[tuple[int, int], ...] = ()
    gone: tuple[LockState, ...] = ()
    plans: tuple[BuilderSetup, ...] = ()
    courses: tuple[tuple[int, str, int, bool], ...] = ()
    sentenced: tuple[int, ...] = ()
    pools: tuple[PoolState, ...] = ()
    shares: tuple[ShareRule, ...] = ()
    turns: tuple[ShareMemory, ...] = ()
    projects: tuple[tuple[int, str], ...] = ()
    next_hold: int = 1
    clock: int = 0


class AccessError(ValueError):
    """A `locks=` list that means nothing. `lock` is the lock's key."""

    def __init__(self, lock: LockKey, message: str) -> None:
        super().__init__(f"{message}: lock {lock}")
        self.lock = lock


class BadCountError(AccessError):
    """A count or mode that no lock has (L4)."""


class PoolTwiceError(AccessError):
    """Units of one pool twice in a claim, with different `where`: which units would do then is no plain count."""


class ExclusiveTwiceError(AccessError):
    """One lock twice in a claim, once of them exclusively (L12)."""


def check_access(access: Access) -> None:
    """Refuse what is not an access (L4). A bool is no count."""
    count: Any = access.count
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise BadCountError(access.lock, f"count must be an integer >= 0, not {count!r}")
    if count > MAX_UNITS:
        raise BadCountError(access.lock, f"count must be at most {MAX_UNITS}, not {count}")
    if access.mode not in ("counting", "exclusive"):
        raise BadCountError(access.lock, f"mode must be 'counting' or 'exclusive', not {access.mode!r}")
    if access.mode == "exclusive" and count != 1:
        raise BadCountError(access.lock, f"an exclusive access has count 1, not {count!r}")


def normalize(accesses: Iterable[Access]) -> tuple[Access, ...]:
    """One access for each lock: counts of 0 are dropped (L3), others of one lock are added (L12).

    The order is that of the first mention; it means nothing (L11).
    """
    merged: dict[LockKey, Access] = {}
    pools: dict[str, LockKey] = {}
    for access in accesses:
        check_access(access)
        if access.count == 0:
            continue
        if access.lock.kind == "pool" and pools.setdefault(access.lock.name, access.lock) != access.lock:
            how = "ask for it once, with a count and a where that admits all of them"
            raise PoolTwiceError(access.lock, f"units of one pool twice in one claim: {how}")
        known = merged.get(access.lock)
        if known is None:
            merged[access.lock] = access
        elif "exclusive" in (known.mode, access.mode):
            raise ExclusiveTwiceError(access.lock, "used twice in one claim, once exclusively")
        else:
            keep, patience = max(known.keep, access.keep), _least_patient(known.patience, access.patience)
            merged[access.lock] = Access(access.lock, "counting", known.count + access.count, keep, patience)
    return tuple(merged.values())


def _least_patient(one: Patience | None, other: Patience | None) -> Patience | None:
    """Who does not wait at all, or else gives up first."""
    said = [each for each in (one, other) if each is not None]
    return min(said, key=lambda each: (not each.skip, each.seconds or inf), default=None)


def admits(limit: int, access: Access) -> bool:
    """Whether a lock of this limit could ever serve this access (L2, L5)."""
    return limit >= access.count
