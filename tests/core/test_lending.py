"""L53, rule by rule: what a build that waits for a child lends it. Random worlds are in `test_allocation_equal.py`."""

import pytest

from lockstep.core.alloc_facts import Granted, Sentenced
from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import UnitSetup

from .compare import over_the_wire
from .farm import DB, NET, Farm, need, on_workers, slot, units, whole


def fences(farm: Farm) -> tuple[int, ...]:
    (grant,) = farm.said(Granted)
    return tuple(grant.fences)


@pytest.mark.parametrize("held", [units(1), whole()])
@pytest.mark.parametrize("wanted", [units(1), whole()])
def test_L53_a_child_uses_what_its_waiting_parent_has(held: Access, wanted: Access) -> None:
    farm = Farm({DB: 1})
    parent = farm.get(held)
    farm.get(wanted, parent=parent)


def test_L53_nothing_is_lent_to_others_nor_by_a_build_that_waits_no_more() -> None:
    farm = Farm({DB: 1})
    parent = farm.get(whole())
    other, child = farm.ask(whole()), farm.ask(whole())
    assert farm.decide() == []
    farm.allocator.child_waits(parent, child)
    farm.allocator.forget_parent(child)
    assert farm.decide() == []
    farm.allocator.child_waits(parent, child)
    assert farm.decide() == [child]
    farm.end(child)
    assert farm.end(parent) == [other]


def test_L53_a_stranger_that_waits_for_the_whole_lock_is_not_in_between() -> None:
    """Buildbot's issue 2916: parent and child count, and somebody waits exclusively meanwhile."""
    farm = Farm({DB: 1000}, k=0)
    parent = farm.get(units(1))
    stranger = farm.ask(whole())
    assert farm.decide() == []
    child = farm.get(units(1), parent=parent)
    assert farm.end(child) == []
    assert farm.end(parent) == [stranger]


def test_L53_a_parent_on_the_only_slot_that_its_child_could_use() -> None:
    farm = Farm({slot("w"): 1})
    parent = farm.get(on_workers("w"))
    other = farm.ask(on_workers("w"))
    child = farm.ask(on_workers("w"), parent=parent)
    assert farm.decide() == [child]
    farm.end(child)
    assert farm.end(parent) == [other]


def test_L53_a_child_takes_the_units_of_its_parent_first_and_only_the_rest_anew() -> None:
    farm = Farm({DB: 4})
    parent = farm.get(units(2))
    child = farm.get(units(3), parent=parent)
    stranger = farm.get(units(1))
    late = farm.ask(units(1))
    assert farm.decide() == []
    assert farm.end(child) == [late], "the parent has its 2 again, and 2 others have one each"
    assert farm.end(stranger) == []


def test_L53_loans_to_several_children_stay_within_the_units_of_the_parent() -> None:
    farm = Farm({DB: 3})
    parent = farm.get(units(2))
    farm.get(units(1))
    first, second = farm.get(units(1), parent=parent), farm.get(units(1), parent=parent)
    third = farm.ask(units(1), parent=parent)
    assert farm.decide() == []
    assert farm.end(first) == [third]
    assert farm.end(second) == []


def test_L53_an_exclusive_parent_lends_as_much_as_the_limit() -> None:
    farm = Farm({DB: 2})
    parent = farm.get(whole())
    first = farm.get(units(1), parent=parent)
    farm.get(units(1), parent=parent)
    third = farm.ask(units(1), parent=parent)
    alone = farm.ask(whole(), parent=parent)
    assert farm.decide() == []
    assert farm.end(first) == [third]
    farm.end(2 + first - 1)
    assert farm.end(third) == [alone]


def test_L53_children_do_not_lend_to_each_other() -> None:
    farm = Farm({DB: 1})
    parent = farm.get(whole())
    first = farm.get(whole(), parent=parent)
    second = farm.ask(whole(), parent=parent)
    assert farm.decide() == []
    assert farm.end(first) == [second]


def test_L53_a_child_does_not_lend_to_its_parent() -> None:
    farm = Farm({DB: 1, NET: 1})
    parent = farm.get(whole(NET))
    child = farm.get(whole(), parent=parent)
    step = farm.step(parent, whole())
    assert farm.decide() == []
    assert farm.end(child) == [step]


def test_L53_grandparents_lend_too_and_steps_of_children_borrow() -> None:
    farm = Farm({DB: 1, NET: 2})
    grandparent = farm.get(need(whole(), units(1, NET)))
    parent = farm.get(units(1, NET), parent=grandparent)
    child = farm.get(need(whole(), units(2, NET)), parent=parent)
    farm.end(child)
    child = farm.get(units(1, NET), parent=parent)
    step = farm.step(child, whole())
    assert farm.decide() == [step]


def test_L53_what_the_parent_gets_later_is_lent_too() -> None:
    farm = Farm({DB: 1, NET: 1})
    parent, other = farm.get(whole(NET)), farm.get(whole())
    child = farm.ask(whole(), parent=parent)
    step = farm.step(parent, whole())
    assert farm.decide() == []
    assert farm.end(other) == [step, child]


@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize("restart", [False, True])
def test_L53_a_lent_unit_is_free_when_lender_and_borrower_have_ended(first: str, restart: bool) -> None:
    farm = Farm({DB: 2})
    parent = farm.get(units(2))
    child = farm.get(units(1), parent=parent)
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    both, one = farm.ask(units(2)), farm.ask(units(1))
    if first == "child":
        assert farm.end(child) == []
        assert farm.end(parent) == [both]
    else:
        farm.allocator.forget_parent(child)
        assert farm.end(parent) == [one], "the child has its unit still"
        assert farm.end(child) == []
        assert farm.end(one) == [both]


def test_L53_a_loan_has_the_fence_of_the_lender() -> None:
    farm = Farm({DB: 3})
    farm.end(farm.get(units(1)))
    parent = farm.get(units(1))
    assert fences(farm) == (2,)
    child = farm.get(units(1), parent=parent)
    assert fences(farm) == (2,)
    farm.end(child)
    farm.get(units(2), parent=parent)
    assert fences(farm) == (3,), "one unit is taken anew"


def test_L52_L53_two_parents_whose_children_need_what_both_have_are_a_ring_of_the_parents() -> None:
    farm = Farm({DB: 2, NET: 9})
    old, young = farm.get(units(1)), farm.get(units(1))
    farm.ask(units(2), parent=old)
    assert farm.decide() == []
    child = farm.get(units(1, NET), parent=young)
    farm.step(child, units(2))
    farm.decide()
    (sentence,) = farm.said(Sentenced)
    assert sentence.ticket == young, "the end of its child, which is younger, would free nothing"


def test_L52_L53_a_child_that_lacks_what_a_stranger_of_a_ring_has_is_no_ring_with_its_parent() -> None:
    third = LockKey("master", "third")
    farm = Farm({DB: 2, NET: 1, third: 1})
    parent = farm.get(units(1))
    one, two = farm.get(need(units(1), whole(NET))), farm.get(whole(third))
    farm.ask(units(2), parent=parent)
    farm.step(one, whole(third))
    farm.step(two, whole(NET))
    farm.decide()
    assert [sentence.ticket for sentence in farm.said(Sentenced)] == [two]


def test_L53_who_was_lent_a_whole_lock_by_one_that_ended_has_it_alone_still() -> None:
    farm = Farm({DB: 3})
    top = farm.get(units(2))
    child = farm.get(whole(), parent=top)
    orphan = farm.get(whole(), parent=child)
    farm.allocator.forget_parent(child)
    farm.end(child)
    other = farm.ask(units(1), parent=top)
    assert farm.decide() == []
    assert farm.end(orphan) == [other]


@pytest.mark.parametrize("restart", [False, True])
def test_L6_L53_what_is_lent_stays_lent_while_one_of_before_waits_for_the_kind_that_the_name_had(restart: bool) -> None:
    pool = LockKey("pool", "db")
    farm = Farm({DB: 1, NET: 1})
    before = farm.get(units(1, NET))
    farm.allocator.forget_lock(DB)
    assert farm.decide() == []
    farm.allocator.set_pool("db", [UnitSetup("u1")], 8)
    parent = farm.get(units(1, pool))
    farm.allocator.set_lock(DB, 1, 8)
    step = farm.step(before, whole())
    farm.allocator.forget_lock(DB)
    child = farm.ask(units(1, pool), parent=parent)
    stranger = farm.ask(units(1, pool))
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == [child]
    assert farm.end(child) == []
    assert farm.end(parent) == [step]
    assert farm.end(step) == [stranger]


@pytest.mark.parametrize("kind", ["pool", "worker"])
def test_L6_L52_a_ring_over_what_a_name_was_and_is_has_its_youngest_build_sentenced(kind: str) -> None:
    new = LockKey("pool", "db") if kind == "pool" else LockKey("worker", "db", "w")
    farm = Farm({DB: 1, NET: 1})
    before = farm.get(whole(NET))
    farm.allocator.forget_lock(DB)
    assert farm.decide() == []
    if kind == "pool":
        farm.allocator.set_pool("db", [UnitSetup("u1")], 8)
    else:
        farm.allocator.set_lock(new, 1, 8)
    after = farm.get(units(1, new))
    farm.allocator.set_lock(DB, 1, 8)
    late = farm.step(before, whole())
    farm.allocator.forget_lock(DB)
    assert farm.decide() == []
    farm.step(after, whole(NET))
    farm.decide()
    assert [each.ticket for each in farm.said(Sentenced)] == [after]
    assert farm.end(after) == [late]


def test_L6_L53_a_lock_that_was_a_pool_is_lent_meanwhile_too() -> None:
    pool = LockKey("pool", "db")
    farm = Farm({NET: 1})
    farm.allocator.set_pool("db", [UnitSetup("u1")], 8)
    before = farm.get(units(1, NET))
    farm.allocator.forget_pool("db")
    assert farm.decide() == []
    farm.allocator.set_lock(DB, 1, 8)
    parent = farm.get(whole())
    step = farm.step(before, units(1, pool))
    child = farm.ask(whole(), parent=parent)
    assert farm.decide() == [child]
    assert farm.end(child) == []
    assert farm.end(parent) == [step]
