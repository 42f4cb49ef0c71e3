"""Decisions about start rates: which grants count, and when a lock may be granted again because time has passed.

See `decide.py`. That nobody is granted a lock whose starts are used up is the allocator's doing.
"""

from typing import Final

from lockstep.core import effects as x
from lockstep.core import facts as f
from lockstep.core.alloc_facts import Granted
from lockstep.core.draft import Draft
from lockstep.core.lock_rules import Starts
from lockstep.core.nouns import LockKey

EARLY: Final = 0.001
"""A timer may fire so many seconds before its wall time: what is due then counts no longer."""


def starts_with(draft: Draft, grant: Granted) -> tuple[tuple[LockKey, Starts], ...]:
    """For each lock with a start rate that is granted anew: when it was granted of late, with this time."""
    rules = draft.state.lock_rules
    keys = (access.lock for access in grant.alternative.accesses if access.lock not in grant.lent)
    return tuple((key, (*rules.recent.get(key, ()), draft.at)) for key in keys if rules.rate(key) is not None)


def _timer(key: LockKey) -> str:
    return f"rate:{key.kind}:{key.worker}:{key.name}"


def watch(draft: Draft, key: LockKey) -> None:
    """Look at the lock again when the earliest of its grants of late counts no longer."""
    rules = draft.state.lock_rules
    rate = rules.rate(key)
    if rate is not None and rules.recent.get(key):
        draft.effect(
            x.ArmTimer(_timer(key), min(rate.seconds, max(0.0, rules.recent[key][0] + rate.seconds - draft.at)))
        )


def configured(draft: Draft) -> None:
    """A configuration is in force, or a process has begun: what was granted of late may count for another time."""
    for key in sorted(draft.state.lock_rules.recent):
        _look(draft, key)


def time_is_up(draft: Draft, timer: str) -> None:
    """Some grant of a lock may be so long ago that it counts no longer."""
    for key in sorted(draft.state.lock_rules.recent):
        if _timer(key) == timer:
            _look(draft, key)


def _look(draft: Draft, key: LockKey) -> None:
    rules = draft.state.lock_rules
    counted = rules.still_counted(key, draft.at + EARLY)
    if counted != rules.recent[key]:
        draft.emit(f.StartsReturned(key=key, starts=counted))
    watch(draft, key)
