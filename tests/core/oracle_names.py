"""What the dumb allocator knows of names: locks that a reload removed, and those that have their names now (L6).

Who is granted is in `oracle.py`. Pools that become locks are not in random worlds; `test_pools.py` has them.
"""

from typing import TYPE_CHECKING

from lockstep.core.nouns import LockKey

if TYPE_CHECKING:
    from .oracle import Oracle


def closers(oracle: "Oracle", key: LockKey) -> set[int]:
    """Who has, or waits for, what has this name and another kind, while that is in the way."""
    if key.kind not in ("master", "worker") or oracle.limit(key) == oracle.limit(key, opened=True):
        return set()
    others = {each for each in oracle.limits if each.name == key.name and each.kind != key.kind}
    others = {each for each in others if key in oracle.removed or each in oracle.removed}
    found = {user for each in others for user, _ in oracle.users(each)}
    for claim in oracle.waiting.values() if key not in oracle.removed else ():
        named = {access.lock for way in claim.need.alternatives for access in way.accesses}
        found |= {claim.owner} if named & others & oracle.removed else set()
    return found


def drop_locks(oracle: "Oracle") -> bool:
    """Forget removed locks that nobody holds or waits for."""
    gone = oracle.removed - needed(oracle)
    for key in gone:
        del oracle.limits[key]
        oracle.removed.discard(key)
    oracle.left = {key: left for key, left in oracle.left.items() if key in oracle.limits or key in needed(oracle)}
    return bool(gone)


def needed(oracle: "Oracle") -> set[LockKey]:
    """The locks that somebody holds or waits for."""
    found = {access.lock for hold in oracle.holds.values() for access in hold.alternative.accesses}
    for claim in oracle.waiting.values():
        found |= {access.lock for alternative in claim.need.alternatives for access in alternative.accesses}
    return found
