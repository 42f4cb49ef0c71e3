"""The quick allocator against the dumb one in worlds where several kinds of rules come together."""

import pytest

from .compare import differs, drained
from .mixed import mixed


def difference(seed: int, events: int) -> str:
    kind = mixed(seed)
    found = differs(seed, events=events, kind=kind, restart=seed % 3 == 0)
    return found and f"{kind.__name__}: {found}"


@pytest.mark.parametrize("first", [0, 8])
def test_quick_and_dumb_decide_the_same_where_rules_come_together(first: int) -> None:
    for seed in range(first, first + 8):
        assert not (found := difference(seed, 50)), found


@pytest.mark.soak
@pytest.mark.parametrize("block", range(40))
def test_quick_and_dumb_decide_the_same_in_many_worlds_where_rules_come_together(block: int) -> None:
    for seed in range(1_000 + block * 250, 1_250 + block * 250):
        assert not (found := difference(seed, 60)), found


def test_everything_that_can_finish_does_where_rules_come_together() -> None:
    for seed in range(20):
        assert not drained(seed, mixed(seed)), f"seed {seed}, {mixed(seed).__name__}"
