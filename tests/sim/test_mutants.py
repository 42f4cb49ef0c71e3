"""Each planted fault is caught by the checkers within 500 seeds: otherwise the checkers prove nothing.

The faults are in `mutants.py` and the files beside it, those of the allocator in
`tests/core/test_mutants_allocation.py`.
"""

import warnings
from typing import Any

import pytest

from lockstep.sim.draw import draw
from lockstep.sim.shrink import failure

from . import leaving_mutants, mutants, pool_mutants, share_mutants

ALL = mutants.MUTANTS + pool_mutants.MUTANTS + share_mutants.MUTANTS + leaving_mutants.MUTANTS

LIMIT = 500
NEAR = 20
"""So many worlds may be looked at in vain before somebody is asked to note the right one."""

WORLDS_OF = {
    "share_does_not_matter": 1098,
    "turns_forgotten_after_restart": 71,
    "units_forgotten_after_restart": 70,
    "quarantine_forgotten_after_restart": 121,
    "unit_is_free_with_another": 19,
    "step_without_fit_units_never_waits_again": 1056,
    "group_ends_with_its_first_step": 74,
    "group_never_ends": 302,
    "group_forgotten_after_restart": 356,
    "returned_lock_stays_held": 296,
    "too_many_wait": 10,
    "skips_only_where_it_is_asked": 31,
    "patience_begins_anew_with_each_process": 108,
    "wait_timer_believed": 38,
    "merged_without_its_place": 68,
    "hold_released_on_disconnect": 3,
    "reload_revokes_holds": 33,
    "release_twice": 22,
    "stopped_claim_stays": 3,
    "child_not_cancelled": 3,
    "granted_while_paused": 3,
    "recovery_believes_in_connections": 23,
    "lease_without_margin": 3,
    "cancelled_build_is_retried": 22,
    "ring_is_not_broken": 353,
    "sleep_never_ends_after_a_crash": 66,
    "program_robbed_at_once": 26,
    "robbed_build_goes_on": 6,
    "kept_lock_has_an_old_fence": 11,
    "booking_forgotten_after_restart": 66,
    "unit_is_blamed_for_stopped_builds": 121,
    "failures_of_units_forgotten_after_restart": 121,
    "look_of_another_quarantine_believed": 30,
    "person_s_quarantine_is_lifted": 30,
    "any_quarantine_is_lifted": 7,
    "looks_forgotten_after_restart": 30,
    "held_unit_is_looked_at": 7,
    "unit_is_looked_at_once": 7,
    "lent_lock_is_kept": 117,
    "leaving_worker_gets_builds": 37,
}
"""A world in which the fault was noticed once: it is looked at first, then all of them."""


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.__name__)
def test_a_planted_fault_is_caught(mutant: Any) -> None:
    with mutants.planted(mutant):
        for number, seed in enumerate((WORLDS_OF.get(mutant.__name__, 0), *range(LIMIT))):
            if failure(draw(seed)):
                if number > NEAR:
                    warnings.warn(f"{mutant.__name__} shows in world {seed}: say so in WORLDS_OF", stacklevel=1)
                return
    pytest.fail(f"{mutant.__doc__} Nobody noticed in {LIMIT} worlds.")
