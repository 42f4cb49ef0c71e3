"""Planted faults about what projects have by weight, as `mutants.py` has them about all else."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from lockstep.core import recovery
from lockstep.core.alloc_classes import ClaimClass
from lockstep.sim import master


def share_does_not_matter() -> Any:
    """Whose project has its share does not come after the others."""
    return patch.object(ClaimClass, "beats", lambda self, other: False)


def turns_forgotten_after_restart() -> Any:
    """A new process does not know whose turn it is."""
    right = recovery.state_of

    def state_of(saved: Any) -> Any:
        saved.turns = []
        return right(saved)

    return patch.object(master, "state_of", state_of)


MUTANTS: tuple[Callable[[], Any], ...] = (share_does_not_matter, turns_forgotten_after_restart)
