"""Each planted fault is caught by the checkers within 500 seeds: otherwise the checkers prove nothing.

The faults are in `mutants.py`, those of the allocator in `tests/core/test_mutants_allocation.py`.
"""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from lockstep.sim.draw import draw
from lockstep.sim.shrink import failure

LIMIT = 500


def _mutants() -> Any:
    spec = importlib.util.spec_from_file_location("mutants", Path(__file__).with_name("mutants.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutants = _mutants()


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_fault_is_caught(mutant: Any) -> None:
    with mutants.planted(mutant):
        for seed in range(LIMIT):
            if failure(draw(seed)):
                return
    pytest.fail(f"{mutant.__doc__} Nobody noticed in {LIMIT} worlds.")
