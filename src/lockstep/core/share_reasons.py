"""What is said of shares: who comes later as its project has its part, and what each project has. See `reasons.py`."""

from lockstep.core.alloc_facts import Part
from lockstep.core.answers import PartOfShare, Shared
from lockstep.core.nouns import LockKey, capital, told_lock
from lockstep.core.state import State


def _who(party: str) -> str:
    return {"*": "everybody else", "": "who is of no project"}.get(party, f"project '{party}'")


def in_full(part: Part | None) -> str:
    """That somebody comes later because its project has its part of what is shared, if so."""
    if part is None:
        return ""
    told = f"{capital(_who(part.party))} has {part.used} of what is shared, and {part.due:.3g} by weight"
    return f" {told}: who has less comes first."


def shared(state: State, key: LockKey) -> Shared | None:
    """What projects have of a lock, and of all that is shared together with it; None if it is not shared."""
    found = state.allocator.reasons.shared(key)
    if found is None:
        return None
    rule, parts = found
    names = [told_lock(kind, name) for kind, name in rule.locks] + [f"worker {name}" for name in rule.workers]
    return Shared(together=tuple(names), parts=tuple(_part(each) for each in parts))


def _part(part: Part) -> PartOfShare:
    return PartOfShare(
        project=part.party,
        who=_who(part.party),
        weight=part.weight,
        used=part.used,
        due=part.due,
        borrowed=max(0.0, part.used - part.due),
        here=part.here,
    )
