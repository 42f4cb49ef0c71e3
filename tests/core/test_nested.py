"""L51 to L53 through the whole core: builds that nest locks, LockedSteps and builds that they wait for."""

import pytest
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, Alternative, Need, Result
from lockstep.core.values import BuilderSetup, Setup, Stage

from .driving import Hand, builder, plan, setup, submission, whole
from .nested import Nested
from .test_recovery import crash

X, Y, Z = whole("x"), whole("y"), whole("z")
WORKERS = ("w1", "w2", "w3")


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


def test_L51_a_reload_that_takes_the_cycles_away_leaves_no_course_behind() -> None:
    """Nor does one that takes one builder away; another process would know the same."""

    def configured(nested: str) -> Setup:
        asked = {"a": Y, "b": X, "c": X}
        builders = [
            staged(
                name, worker, own, stages=(Stage(number=1, name="s", need=one(asked[name])),) if name in nested else ()
            )
            for name, worker, own in (("a", "w1", X), ("b", "w2", Y), ("c", "w3", Y))
        ]
        return setup(*builders, limits={"x": 1, "y": 1}, workers=WORKERS)

    hand = Hand(configured("abc"), connect=WORKERS)
    running, waiting, gone = hand.started("a"), hand.force("b"), hand.force("c")
    tickets = [hand.build(running).ticket, hand.request(waiting).ticket, hand.request(gone).ticket]
    assert sorted(hand.state.allocator.board.courses) == tickets
    hand.put(e.Configured(setup=configured("ab")))
    assert sorted(crash(hand).state.allocator.board.courses) == tickets[:2]
    hand.put(e.Configured(setup=configured("a")))
    assert not crash(hand).state.allocator.board.courses
    assert not hand.state.allocator.board.courses


@pytest.mark.parametrize("reload", [False, True])
def test_L51_a_child_whose_locks_are_rendered_may_claim_what_its_builder_says(reload: bool) -> None:
    parent = staged("p", "w1", X, stages=(Stage(number=1, name="t", children=("c",)),))
    known = builder("c", Y, workers=("w3",))
    other = staged("q", "w2", Y, stages=(Stage(number=1, name="s", need=one(X)),))
    child = replace(known, need=None, known=known.need)
    configured = setup(parent, other, child, limits={"x": 1, "y": 1}, workers=WORKERS)
    hand = Hand(configured, connect=WORKERS)
    first = hand.started("p", plan("t"))
    hand.prepared(first, 1)
    trigger(hand, first, "c")
    if reload:
        hand.put(e.Configured(setup=replace(configured, builders=(replace(child, tags=("new",)), parent, other))))
        crash(hand)
    waiting = hand.force("q")
    assert hand.request(waiting).state == "waiting"
    (brid,) = [request.brid for request in hand.state.requests.values() if request.builder == "c"]
    hand.put(e.NeedRendered(brid=brid, need=known.need))
    assert hand.request(brid).state == "building"


def test_L51_a_child_that_ends_before_its_locks_are_known_withholds_nobody() -> None:
    parent = staged("p", "w1", stages=(Stage(number=1, name="t", children=("c",)),))
    child = replace(builder("c", workers=("w3",)), need=None, stages=(Stage(number=1, name="s", need=one(X)),))
    builders = (parent, child, staged("q", "w2", X, stages=(Stage(number=1, name="t", children=("p",)),)))
    hand = Hand(setup(*builders, limits={"x": 1}, workers=WORKERS), connect=WORKERS)
    hand.state.allocator.set_plans({each.name: each for each in builders})
    first = hand.started("p", plan("t"))
    hand.prepared(first, 1)
    trigger(hand, first, "c")
    assert len(hand.state.allocator.board.courses) == 2
    hand.put(e.StopAsked(buildid=first))
    assert len(hand.state.allocator.board.courses) == 1


def stopped_while_its_child_works() -> tuple[Hand, int, int]:
    """A parent that holds x was stopped, and its step has ended; its child is yet to clean up."""
    hand = Hand(
        setup(builder("p", X), builder("c", workers=("w2",)), limits={"x": 1}, workers=WORKERS), connect=WORKERS
    )
    parent = hand.started("p", plan("t"))
    hand.prepared(parent, 1)
    trigger(hand, parent, "c")
    child = parent + 1
    hand.planned(child, plan("work"), plan("clean up", alwaysRun=True))
    hand.prepared(child, 1)
    hand.put(e.StopAsked(buildid=parent))
    hand.finished(parent, 1, Result.CANCELLED)
    return hand, parent, child


@pytest.mark.parametrize("restart", [False, True])
def test_L53_a_stopped_build_lends_until_its_children_have_cleaned_up(restart: bool) -> None:
    hand, parent, child = stopped_while_its_child_works()
    if restart:
        hand = crash(hand)
        for worker in WORKERS:
            hand.connect(worker)
    hand.finished(child, 1, Result.CANCELLED)
    hand.prepared(child, 2, X)
    assert hand.step(child, 2).state == "running"
    hand.finished(child, 2)
    assert hand.result(parent) is Result.CANCELLED
    assert not hand.state.allocator.holds


def test_L53_a_build_that_breaks_off_waits_for_no_child_and_lends_nothing() -> None:
    hand, parent, child = stopped_while_its_child_works()
    hand.put(e.BuildBroken(buildid=parent, result=Result.EXCEPTION, reason="its worker is lost"))
    assert hand.result(parent) is Result.CANCELLED
    other = hand.started("p", plan("more"))
    hand.finished(child, 1, Result.CANCELLED)
    hand.prepared(child, 2, X)
    assert hand.step(child, 2).state == "waiting"
    hand.prepared(other, 1)
    hand.finished(other, 1)
    assert hand.step(child, 2).state == "running"


def ring_with_a_child() -> tuple[Hand, int, int, int]:
    """A build waits for what a younger one holds, whose child lacks what the first one holds."""
    builders = (builder("q", Y, workers=("w2",)), builder("p", X), builder("c", workers=("w3",)))
    hand = Hand(setup(*builders, limits={"x": 1, "y": 1}, workers=WORKERS), connect=WORKERS)
    other, parent = hand.started("q", plan("s")), hand.started("p", plan("t"))
    hand.prepared(parent, 1)
    trigger(hand, parent, "c")
    child = parent + 1
    hand.planned(child, plan("work"), plan("clean up", alwaysRun=True))
    hand.prepared(child, 1, Y)
    hand.prepared(other, 1, X)
    assert [fact.ticket for fact in hand.new(f.RingBroken)] == [hand.build(parent).ticket]
    hand.finished(parent, 1, Result.RETRY)
    return hand, other, parent, child


def test_L52_L53_a_build_that_is_put_back_lends_until_its_children_have_cleaned_up() -> None:
    hand, other, parent, child = ring_with_a_child()
    hand.prepared(child, 2, X)
    assert hand.step(child, 2).state == "running"
    hand.finished(child, 2)
    assert hand.result(parent) is Result.RETRY
    assert hand.step(other, 1).state == "running"


def test_L52_a_child_that_closes_the_ring_again_by_cleaning_up_lets_its_parent_break_off() -> None:
    hand, other, parent, child = ring_with_a_child()
    hand.prepared(child, 2, Y)
    assert [fact.ticket for fact in hand.new(f.RingBroken)] == [hand.all(f.BuildStarted)[1].ticket]
    assert hand.result(parent) is Result.RETRY
    assert hand.step(other, 1).state == "running"
    hand.finished(other, 1)
    assert hand.step(child, 2).state == "running"


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("block", range(2))
def test_L51_L53_what_is_known_beforehand_closes_no_ring_and_all_ends(block: int, stops: bool) -> None:
    for seed in range(block * 25, block * 25 + 25):
        assert not (wrong := Nested(seed, stops=stops).live()), f"seed {seed}: {wrong}"


@pytest.mark.soak
@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("block", range(10))
def test_L51_L53_what_is_known_beforehand_closes_no_ring_and_all_ends_in_many_worlds(block: int, stops: bool) -> None:
    for seed in range(1000 + block * 100, 1100 + block * 100):
        assert not (wrong := Nested(seed, stops=stops).live()), f"seed {seed}: {wrong}"
