"""L51 to L53 through the whole core: builds that nest locks, LockedSteps and builds that they wait for."""

import pytest
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core.nouns import Access, Alternative, Need
from lockstep.core.values import BuilderSetup, Stage

from .driving import Hand, builder, plan, setup, submission, whole
from .nested import Nested
from .test_recovery import crash

X, Y, Z = whole("x"), whole("y"), whole("z")


def one(access: Access) -> Need:
    return Need((Alternative("", (access,)),))


def staged(name: str, worker: str, *own: Access, stages: tuple[Stage, ...]) -> BuilderSetup:
    return replace(builder(name, *own, workers=(worker,)), stages=stages)


def trigger(hand: Hand, buildid: int, *names: str) -> None:
    """The current step triggers these and waits."""
    hand.call(buildid, c.StartBuilds((submission(*names),), wait=True))


@pytest.mark.parametrize("restart", [False, True])
def test_L51_a_step_that_has_waited_for_its_children_will_not_wait_for_them_again(restart: bool) -> None:
    """The child claims y. When it has ended, only z is left to its parent, and nobody may have that before it does."""
    parent = staged(
        "parent",
        "w1",
        X,
        stages=(Stage(number=1, name="t", children=("child",)), Stage(number=2, name="s", need=one(Z))),
    )
    child = staged("child", "w2", stages=(Stage(number=1, name="s", need=one(Y)),))
    other = staged("other", "w3", Y, stages=(Stage(number=1, name="t", need=one(Z), children=("last",)),))
    last = staged("last", "w4", stages=(Stage(number=1, name="s", need=one(X)),))
    workers = ("w1", "w2", "w3", "w4")
    hand = Hand(setup(parent, child, other, last, limits={"x": 1, "y": 1, "z": 1}, workers=workers), connect=workers)
    first = hand.started("parent", plan("t"), plan("s"))
    hand.prepared(first, 1)
    trigger(hand, first, "child")
    own = first + 1
    hand.planned(own, plan("s"), plan("more"))
    hand.prepared(own, 1, Y)
    hand.finished(own, 1)
    hand.prepared(own, 2)
    second = hand.started("other", plan("t"))
    hand.finished(own, 2)
    if restart:
        hand = crash(hand)
        for worker in workers:
            hand.connect(worker)
    assert hand.step(first).state == "running"
    hand.prepared(second, 1, Z)
    assert hand.step(second).state == "waiting"
    hand.finished(first, 1)
    hand.prepared(first, 2, Z)
    assert hand.step(first, 2).state == "running"


@pytest.mark.parametrize("block", range(4))
def test_L51_L53_what_is_known_beforehand_closes_no_ring_and_all_ends(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        assert not (wrong := Nested(seed).live()), f"seed {seed}: {wrong}"


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_L51_L53_what_is_known_beforehand_closes_no_ring_and_all_ends_in_many_worlds(block: int) -> None:
    for seed in range(1000 + block * 100, 1100 + block * 100):
        assert not (wrong := Nested(seed).live()), f"seed {seed}: {wrong}"
