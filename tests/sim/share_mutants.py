"""Planted faults about what projects have by weight, as `mutants.py` has them about all else."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from lockstep.core import recovery
from lockstep.core.alloc_shares import Shares
from lockstep.sim import master


def share_does_not_matter() -> Any:
    """Whose project has its share does not come after the others."""
    right = Shares.standing

    def standing(self: Any, c: Any) -> tuple[bool, int]:
        return False, right(self, c)[1]

    return patch.object(Shares, "standing", standing)


def turns_forgotten_after_restart() -> Any:
    """A new process does not know whose turn it is."""
    right = recovery.state_of

    def state_of(saved: Any) -> Any:
        saved.turns = []
        return right(saved)

    return patch.object(master, "state_of", state_of)


MUTANTS: tuple[Callable[[], Any], ...] = (share_does_not_matter, turns_forgotten_after_restart)
