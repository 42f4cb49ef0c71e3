"""A lock that a build shares and a step of it takes for itself: nobody waits for ever, and nobody else is inside."""

import pytest

from lockstep.core.alloc_facts import Sentenced
from lockstep.core.values import BuilderSetup, Stage

from .compare import differs
from .farm import DB, NET, Farm, need, units, whole
from .raising import RaisingWorld


@pytest.mark.parametrize("restart", [False, True])
def test_quick_and_dumb_decide_the_same_where_locks_are_raised(restart: bool) -> None:
    for seed in range(60):
        assert not (difference := differs(seed, kind=RaisingWorld, restart=restart)), difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_quick_and_dumb_decide_the_same_in_many_worlds_where_locks_are_raised(block: int) -> None:
    for seed in range(10_000 + block * 100, 10_000 + block * 100 + 100):
        assert not (difference := differs(seed, events=120, kind=RaisingWorld)), difference


def test_a_step_has_the_lock_for_itself_and_then_its_build_shares_it_again() -> None:
    farm = Farm({DB: 4})
    build, other = farm.get(units(1)), farm.get(units(1))
    step = farm.step(build, whole())
    late = farm.ask(units(1))
    assert farm.decide() == [late], "it waits like anybody: who fits may pass it"
    assert farm.end(other) == []
    assert farm.end(late) == [step], "only its own build is left"
    next_one = farm.ask(units(1))
    assert farm.decide() == []
    assert farm.end(step) == [next_one]
    assert farm.end(build) == []


def test_who_is_granted_a_share_may_raise_it_though_another_waits_before_for_the_whole() -> None:
    farm = Farm({DB: 2, NET: 3})
    build, other, last = farm.get(units(1, NET)), farm.get(units(1, NET)), farm.get(whole())
    shared = farm.step(build, units(1))
    before = farm.step(other, whole())
    alone = farm.step(build, whole())
    assert farm.decide() == []
    assert farm.end(last) == [shared, alone]
    farm.end(alone)
    assert farm.end(shared) == [before]


def test_L52_two_that_raise_unforeseen_close_a_ring() -> None:
    farm = Farm({DB: 4})
    one, other = farm.get(units(1)), farm.get(units(1))
    farm.step(one, whole())
    farm.step(other, whole())
    farm.decide()
    assert [each.ticket for each in farm.said(Sentenced)] == [other]


def test_L51_of_those_who_may_raise_one_at_a_time_is_let_in_and_others_share_beside_it() -> None:
    farm = Farm({DB: 4})
    plan = BuilderSetup(
        name="b", workers=(), need=need(units(1)), stages=(Stage(number=1, name="s", need=need(whole())),)
    )
    farm.allocator.set_plans({"b": plan})
    tickets = []
    for _ in range(2):
        tickets.append(farm.ask(units(1)))
        farm.allocator.set_course(tickets[-1], "b", 0)
    reader = farm.ask(units(2))
    assert farm.decide() == [tickets[0], reader]
    farm.allocator.set_course(tickets[0], "b", 1)
    step = farm.step(tickets[0], whole())
    assert farm.decide() == []
    assert farm.end(reader) == [step]
    assert farm.end(step) == [tickets[1]], "it cannot raise any more: the next may come"
    assert farm.said(Sentenced) == []
