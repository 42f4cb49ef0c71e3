"""L51: where builds nest locks in a cycle, a grant that could lead to a deadlock is withheld."""

from typing import Any

import pytest
from msgspec.structs import replace

from lockstep.core.alloc_ends import Ends
from lockstep.core.alloc_facts import Sentenced
from lockstep.core.alloc_part import give_back
from lockstep.core.alloc_safety import Safety
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import LockKey, Need
from lockstep.core.values import BuilderSetup, Stage, UnitSetup

from .compare import differs, drained, over_the_wire
from .farm import DB, NET, Farm, need, units, whole
from .planned import ChangingWorld, PlannedWorld
from .pooled import PlannedPoolWorld
from .worlds import Event, feed


def nested(name: str, own: LockKey, then: LockKey) -> BuilderSetup:
    """A builder whose builds hold one lock, and whose first step claims another."""
    return BuilderSetup(
        name=name, workers=(), need=need(whole(own)), stages=(Stage(number=1, name="step", need=need(whole(then))),)
    )


class Planned(Farm):
    """A farm whose builders are known."""

    def __init__(self, *plans: BuilderSetup, k: int = 8) -> None:
        super().__init__({DB: 1, NET: 1}, k)
        self.plans = {plan.name: plan for plan in plans}
        self.allocator.set_plans(self.plans)

    def build(self, name: str, **more: int) -> int:
        wanted = self.plans[name].need
        assert wanted is not None
        ticket = self.ask(wanted, **more)
        self.allocator.set_course(ticket, name, 0)
        return ticket


def two() -> tuple[Planned, int, int]:
    farm = Planned(nested("a", DB, NET), nested("b", NET, DB))
    first, second = farm.build("a"), farm.build("b")
    assert farm.decide() == [first], "the other lock is free, but each could block the other for ever"
    return farm, first, second


def test_L51_a_build_is_withheld_until_the_other_has_what_it_needs_or_has_ended() -> None:
    farm, first, second = two()
    farm.allocator.set_course(first, "a", 1)
    step = farm.step(first, whole(NET))
    assert farm.decide() == [step]
    assert farm.end(step) == [second], "all that the first may still claim is behind it"
    assert farm.end(first) == []
    assert farm.said(Sentenced) == []


def test_L51_what_fits_for_others_is_not_withheld() -> None:
    farm, first, second = two()
    stranger = farm.get(units(1, NET))
    assert farm.end(stranger) == []
    assert farm.end(first) == [second]


def test_L51_a_withheld_claim_says_so() -> None:
    farm, first, second = two()
    assert farm.allocator.reasons.withheld_for(second) == (first,)
    assert farm.allocator.reasons.obstacles(second) == ()
    farm.end(first)
    assert farm.allocator.reasons.withheld_for(second) == ()


def test_L51_a_withheld_claim_names_nobody_of_another_cycle() -> None:
    one, other = LockKey("master", "one"), LockKey("master", "other")
    farm = Planned(nested("a", DB, NET), nested("b", NET, DB), nested("c", one, other), nested("d", other, one))
    farm.allocator.set_lock(one, 1)
    farm.allocator.set_lock(other, 1)
    apart, first = farm.build("c"), farm.build("a")
    assert farm.decide() == [apart, first]
    second = farm.build("b")
    assert farm.decide() == []
    assert farm.allocator.reasons.withheld_for(second) == (first,)


def test_L51_a_restart_withholds_the_same() -> None:
    farm, first, second = two()
    farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == []
    assert farm.end(first) == [second]


def test_L51_a_cancelled_build_withholds_nothing() -> None:
    farm, first, second = two()
    waiting = farm.build("a")
    assert farm.decide() == []
    farm.allocator.cancel(waiting)
    assert farm.end(first) == [second]
    assert not set(farm.allocator.board.courses) - {second}


def test_L51_children_that_a_build_will_wait_for_are_claims_of_its_own() -> None:
    """Two parents that count, and whose children want the whole: one after the other."""
    child = BuilderSetup(name="child", workers=(), need=need(whole()))
    stages = (Stage(number=1, name="trigger", children=("child",)),)
    parent = BuilderSetup(name="parent", workers=(), need=need(units(1)), stages=stages)
    farm = Planned(parent, child)
    farm.allocator.set_lock(DB, 2)
    first, second = farm.build("parent"), farm.build("parent")
    assert farm.decide() == [first]
    farm.allocator.set_course(first, "parent", 1)
    own = farm.build("child", parent=first)
    assert farm.decide() == [own]
    assert farm.end(own) == []
    farm.allocator.set_course(first, "parent", 2)
    assert farm.decide() == [second]


def test_L51_each_builder_is_looked_at_once_however_many_ways_lead_to_it() -> None:
    """Sixty layers of builders that each trigger both of the next layer; the last ones claim what another holds."""
    last = (Stage(number=1, name="step", need=need(whole(NET))),)
    layers = [
        BuilderSetup(
            name=f"{side}{layer}",
            workers=(),
            need=need(),
            stages=(Stage(number=1, name="trigger", children=(f"x{layer + 1}", f"y{layer + 1}")),)
            if layer < 59
            else last,
        )
        for layer in range(60)
        for side in "xy"
    ]
    first = replace(nested("first", DB, NET), stages=(Stage(number=1, name="trigger", children=("x0", "y0")),))
    farm = Planned(first, nested("second", NET, DB), *layers)
    one, other = farm.build("first"), farm.build("second")
    assert farm.decide() == [one]
    assert farm.end(one) == [other]


def test_L51_what_is_not_safe_already_withholds_nothing_more() -> None:
    """A claim that nobody knew of closed a ring that cannot be broken: who has nothing to do with it goes on."""
    farm = Planned(nested("a", DB, NET), nested("b", NET, DB))
    farm.allocator.set_plans({})
    first, second = farm.build("a"), farm.build("b")
    assert farm.decide() == [first, second]
    farm.allocator.set_plans(farm.plans)
    other = LockKey("master", "other")
    farm.allocator.set_lock(other, 1)
    third = farm.ask(whole(other))
    farm.allocator.set_course(third, "a", 5)
    assert farm.decide() == [third]
    assert farm.end(third) == []
    step = farm.step(first, whole(other))
    assert farm.decide() == [step], "nor is one of the two kept from what makes nothing worse"


def test_L51_what_a_step_gives_back_early_is_withheld_no_more() -> None:
    """Its later step claims net while it holds db: once that is given back, nobody is in the way of anybody."""
    stages = (
        Stage(number=1, name="one", need=need(whole())),
        Stage(number=2, name="two", need=need(whole(NET)), held=need(whole())),
    )
    farm = Planned(BuilderSetup(name="a", workers=(), need=need(), stages=stages), nested("b", NET, DB))
    first = farm.build("a")
    assert farm.decide() == [first]
    farm.allocator.set_course(first, "a", 1)
    step = farm.step(first, whole())
    assert farm.decide() == [step]
    second = farm.build("b")
    assert farm.decide() == []
    give_back(farm.allocator, farm.hold_of[step], {DB})
    assert farm.decide() == [second]


def test_L51_a_child_that_needs_something_else_now_withholds_nobody() -> None:
    """The parent holds db, its child needs net, and who has net will claim db. A reload gives the child other locks."""
    other = LockKey("master", "other")
    child = BuilderSetup(name="child", workers=(), need=need(units(2, NET)))
    stages = (Stage(number=1, name="trigger", children=("child",)),)
    parent = BuilderSetup(name="parent", workers=(), need=need(whole()), stages=stages)
    farm = Planned(parent, child, replace(nested("b", NET, DB), need=need(units(1, NET))))
    farm.allocator.set_lock(NET, 2)
    farm.allocator.set_lock(other, 1)
    farm.get(need(units(1, NET), whole(other)))
    first = farm.build("parent")
    assert farm.decide() == [first]
    farm.allocator.set_course(first, "parent", 1)
    own, second = farm.build("child", parent=first), farm.build("b")
    assert farm.decide() == []
    farm.allocator.replace(own, need(whole(other)))
    assert farm.decide() == [second]


def test_L45_L51_who_needs_the_same_and_goes_on_otherwise_is_not_behind_who_is_withheld() -> None:
    farm = Planned(nested("a", DB, NET), nested("b", NET, DB), replace(nested("c", NET, DB), name="c", stages=()))
    first = farm.build("a")
    assert farm.decide() == [first]
    withheld, other = farm.build("b"), farm.build("c")
    assert farm.decide() == [other]
    assert farm.allocator.reasons.withheld_for(withheld) == ()


def reloaded() -> tuple[Planned, int, int, int]:
    """Two builds that were started before it was known what they nest; one of them waits for a child."""
    child = BuilderSetup(
        name="child", workers=(), need=need(), stages=(Stage(number=1, name="step", need=need(whole(NET))),)
    )
    parent = BuilderSetup(
        name="parent", workers=(), need=need(whole()), stages=(Stage(number=1, name="trigger", children=("child",)),)
    )
    farm = Planned(parent, child, nested("other", NET, DB))
    farm.allocator.set_plans({})
    first, second = farm.build("parent"), farm.build("other")
    assert farm.decide() == [first, second]
    farm.allocator.set_plans(farm.plans)
    farm.allocator.set_course(first, "parent", 1)
    farm.allocator.set_course(second, "other", 0)
    own = farm.build("child", parent=first)
    assert farm.decide() == [], "the other build may end without its step"
    return farm, first, second, own


@pytest.mark.parametrize("restart", [False, True])
def test_L51_who_is_withheld_because_of_a_build_that_waits_for_its_parent_is_let_go(restart: bool) -> None:
    farm, _, second, own = reloaded()
    farm.allocator.set_course(second, "other", 1)
    farm.step(second, whole())
    if restart:
        farm.allocator = over_the_wire(farm.allocator)
    assert farm.decide() == [own]
    farm.allocator.set_course(own, "child", 1)
    farm.step(own, whole(NET))
    farm.decide()
    (sentence,) = farm.said(Sentenced)
    assert sentence.ticket == second, "now it is a ring, which is found"


def test_L51_who_is_withheld_is_not_let_go_while_the_other_may_get_on() -> None:
    farm, _, second, own = reloaded()
    assert farm.end(second) == [own]


@pytest.mark.parametrize("block", range(6))
def test_L51_quick_and_dumb_withhold_the_same(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        assert not (difference := differs(seed, kind=PlannedWorld, restart=seed % 4 == 0)), difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_L51_quick_and_dumb_withhold_the_same_in_many_worlds(block: int) -> None:
    for seed in range(1000 + block * 100, 1100 + block * 100):
        assert not (difference := differs(seed, events=120, kind=PlannedWorld, restart=seed % 4 == 0)), difference


@pytest.mark.parametrize("block", range(6))
def test_L51_quick_and_dumb_withhold_the_same_where_not_all_is_known(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        assert not (difference := differs(seed, kind=ChangingWorld, restart=seed % 4 == 0)), difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_L51_quick_and_dumb_withhold_the_same_in_many_worlds_where_not_all_is_known(block: int) -> None:
    for seed in range(1000 + block * 50, 1050 + block * 50):
        assert not (difference := differs(seed, events=120, kind=ChangingWorld, restart=seed % 4 == 0)), difference


NOT_ALL_KNOWN = range(400)


def test_L51_L52_nobody_is_withheld_for_ever_where_not_all_is_known() -> None:
    for seed in NOT_ALL_KNOWN:
        assert not drained(seed, ChangingWorld), f"seed {seed}"


def test_that_somebody_is_withheld_for_ever_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Safety, "in_vain", lambda self, owner: False)
    assert any(drained(seed, ChangingWorld) for seed in NOT_ALL_KNOWN)


@pytest.mark.soak
@pytest.mark.parametrize("block", range(10))
def test_L51_L52_nobody_is_withheld_for_ever_in_many_worlds(block: int) -> None:
    for seed in range(1000 + block * 1000, 2000 + block * 1000):
        assert not drained(seed, ChangingWorld), f"seed {seed}"


def run(seed: int, kind: type[PlannedWorld] = PlannedWorld) -> tuple[int, set[int]]:
    """How many rings closed in a world, and who still waits when everything has ended that can."""
    world, quick = kind(seed, 60), Allocator()
    world.has["retries"] = False
    todo: list[Event] = world.begin()
    rings = 0
    for turn in range(3000):
        feed(quick, todo)
        decided = quick.decide()
        rings += sum(isinstance(each, Sentenced) for each in decided)
        todo = world.note(decided)
        if turn < 60:
            todo += world.next()
        elif not (quick.waiting or world.builds):
            break
        else:
            todo += world.finish()
    return rings, set(quick.waiting)


def test_L51_no_ring_ever_closes_and_everybody_is_served() -> None:
    for seed in range(300):
        assert run(seed) == (0, set()), f"seed {seed}"


def test_L51_units_of_pools_are_claimed_without_a_ring_too() -> None:
    for seed in range(60):
        assert not (difference := differs(seed, kind=PlannedPoolWorld, restart=seed % 4 == 0)), difference
    for seed in range(150):
        assert run(seed, PlannedPoolWorld) == (0, set()), f"seed {seed}"


@pytest.mark.soak
@pytest.mark.parametrize("block", range(10))
def test_L51_units_of_pools_are_claimed_without_a_ring_in_many_worlds(block: int) -> None:
    for seed in range(1000 + block * 100, 1100 + block * 100):
        assert run(seed, PlannedPoolWorld) == (0, set()), f"seed {seed}"


def forgets_remaining_claims(self: Ends, *_: object) -> bool:
    return True


@pytest.mark.parametrize("method", ["_all_fit", "_children_fit", "_some_fits"])
def test_L51_a_check_that_forgets_remaining_claims_is_caught(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ends, method, forgets_remaining_claims)
    assert any(differs(seed, kind=PlannedWorld) for seed in range(500))


@pytest.mark.parametrize(("method", "nobody"), [("_note", set), ("_freed_by", dict)])
def test_L51_that_a_build_is_not_looked_at_for_others_ends_is_caught(
    method: str, nobody: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ends, method, lambda self, owner: nobody())
    assert any(differs(seed, kind=PlannedWorld) for seed in range(500))


def test_without_L51_rings_do_close_in_these_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Safety, "withholds", lambda self, *_: False)
    assert any(run(seed)[0] for seed in range(50))


def board(where: str) -> Need:
    return need(units(1, LockKey("pool", "boards", where=where)))


def test_L51_what_builds_may_claim_is_not_forgotten_though_nobody_asks_for_it_now() -> None:
    """People ask for units in words of their own, and the pool forgets those: not what a plan names."""
    claims = (("one", board("a and not b"), board("b")), ("two", board("b and not a"), board("a")))
    farm = Planned(
        *(
            BuilderSetup(name=name, workers=(), need=own, stages=(Stage(number=1, name="step", need=then),))
            for name, own, then in claims
        )
    )
    farm.allocator.set_pool("boards", [UnitSetup("a"), UnitSetup("b")], 8)
    farm.allocator.set_plans(farm.plans)
    for number in range(500):
        farm.end(farm.get(board(f"a and not x{number}")))
    first, withheld = farm.build("one"), farm.build("two")
    assert farm.decide() == [first]
    farm.allocator.set_course(first, "one", 5)
    assert farm.decide() == [withheld]
