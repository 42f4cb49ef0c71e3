"""Rules of a lock's queue that the allocator keeps: start rates, and the newest first."""

import pytest

from lockstep.core.alloc_facts import UNRATED, Obstacle, Sentenced

from .compare import differs, drained, over_the_wire
from .farm import DB, NET, Farm, need, units, whole
from .ruled import RuledWorld


@pytest.mark.parametrize("restart", [False, True])
def test_quick_and_dumb_decide_the_same_with_rates_and_the_newest_first(restart: bool) -> None:
    for seed in range(60):
        assert not (difference := differs(seed, kind=RuledWorld, restart=restart)), difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_quick_and_dumb_decide_the_same_in_many_worlds_with_rules(block: int) -> None:
    for seed in range(10_000 + block * 100, 10_000 + block * 100 + 100):
        assert not (difference := differs(seed, events=120, kind=RuledWorld, restart=seed % 3 == 0)), difference


def test_everything_that_can_finish_does() -> None:
    for seed in range(20_000, 20_060):
        assert not drained(seed, RuledWorld), f"seed {seed}"


def test_a_lock_whose_starts_are_used_up_serves_nobody_until_some_come_back() -> None:
    farm = Farm({DB: 3})
    farm.allocator.set_starts(DB, 2)
    first, second, third = farm.ask(units(1)), farm.ask(units(1)), farm.ask(units(1))
    assert farm.decide() == [first, second]
    assert farm.allocator.reasons.obstacles(third) == (Obstacle(0, DB, "rate"),)
    assert farm.allocator.reasons.impossible(third) == (), "time will do"
    assert farm.end(first) == []
    farm.allocator.set_starts(DB, 1)
    assert farm.decide() == [third]
    farm.allocator.set_starts(DB, UNRATED)
    assert farm.decide() == []


def test_L53_what_is_lent_is_no_start() -> None:
    farm = Farm({DB: 2})
    farm.allocator.set_starts(DB, 1)
    parent = farm.get(units(1))
    child = farm.ask(units(1), parent=parent)
    assert farm.decide() == [child]
    other = farm.ask(units(1), parent=parent)
    assert farm.decide() == [], "one of the two would begin anew"
    farm.allocator.set_starts(DB, 1)
    assert farm.decide() == [other]


def test_L42_who_waits_for_a_start_reserves_nothing_elsewhere() -> None:
    farm = Farm({DB: 1, NET: 2}, k=0)
    farm.allocator.set_starts(DB, 0)
    both = farm.ask(need(whole(DB), units(2, NET)))
    assert farm.decide() == []
    passing = farm.ask(units(1, NET))
    assert farm.decide() == [passing], "it waits for time, and NET is not kept free for it meanwhile"
    farm.allocator.set_starts(DB, 1)
    assert farm.decide() == []
    late = farm.ask(units(1, NET))
    assert farm.decide() == [], "now it waits for NET, and nobody may pass"
    assert farm.end(passing) == [both]
    assert farm.end(both) == [late]


def test_L52_a_ring_is_one_whether_a_start_is_left_or_not() -> None:
    farm = Farm({DB: 1, NET: 1})
    one, other = farm.get(whole(DB)), farm.get(whole(NET))
    farm.allocator.set_starts(NET, 0)
    farm.step(one, whole(NET))
    farm.step(other, whole(DB))
    farm.decide()
    assert [each.ticket for each in farm.said(Sentenced)] == [other]


def test_the_newest_comes_first_and_the_oldest_is_never_due() -> None:
    farm = Farm({DB: 1}, k=1)
    holder = farm.get(whole(), newest=True)
    waiting = [farm.ask(whole(), newest=True) for _ in range(4)]
    assert farm.allocator.reasons.queue(DB) == waiting[::-1]
    farm.decide()
    for ticket in waiting[::-1]:
        assert farm.end(holder) == [ticket]
        holder = ticket


def test_the_newest_comes_after_higher_priority_and_does_not_starve_others() -> None:
    farm = Farm({DB: 1}, k=2)
    holder = farm.get(whole())
    old = farm.ask(whole())
    high = farm.ask(whole(), level=1)
    for expected in (high, 0, old):
        new = farm.ask(whole(), newest=True)
        assert farm.end(holder) == [expected or new], "passed twice, the old one is a barrier"
        holder = expected or new


def test_L85_a_build_that_another_waits_for_is_not_passed_without_end() -> None:
    farm = Farm({DB: 1, NET: 1}, k=2)
    parent = farm.get(units(1, NET))
    holder = farm.get(whole(), newest=True)
    child = farm.ask(whole(), newest=True, parent=parent)
    for _ in range(2):
        new = farm.ask(whole(), newest=True, level=1)
        assert farm.end(holder) == [new]
        holder = new
    farm.ask(whole(), newest=True, level=1)
    assert farm.end(holder) == [child], "it was passed twice"


def test_L60_a_restart_keeps_what_is_left() -> None:
    farm = Farm({DB: 3})
    farm.allocator.set_starts(DB, 1)
    farm.get(units(1))
    farm.allocator = over_the_wire(farm.allocator)
    late = farm.ask(units(1))
    assert farm.decide() == []
    farm.allocator.set_starts(DB, 1)
    assert farm.decide() == [late]
