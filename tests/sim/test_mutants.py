"""Each planted fault is caught by the checkers within 500 seeds: otherwise the checkers prove nothing.

The faults are in `mutants.py`, those of the allocator in `tests/core/test_mutants_allocation.py`.
"""

from typing import Any

import pytest

from lockstep.sim.draw import draw
from lockstep.sim.shrink import failure

from . import mutants

LIMIT = 500


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_fault_is_caught(mutant: Any) -> None:
    with mutants.planted(mutant):
        for seed in (mutants.WORLDS_OF.get(mutant.__name__, 0), *range(LIMIT)):
            if failure(draw(seed)):
                return
    pytest.fail(f"{mutant.__doc__} Nobody noticed in {LIMIT} worlds.")
