"""The quick allocator decides what the dumb one decides, one by one: in random worlds and in all small ones."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.core import alloc_board, alloc_items, alloc_queues
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Claim, LockKey, Need

from .compare import differs, drained, plain
from .kinds import KindWorld
from .oracle import Oracle
from .returning import ReturningWorld
from .worlds import Event, feed

BLOCKS = range(8)


@pytest.mark.parametrize("block", BLOCKS)
def test_L40_L46_L52_quick_and_dumb_decide_the_same(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        assert not (difference := differs(seed)), difference


@pytest.mark.parametrize("seed", [11076, 11484, 15518, 15689, 15727, 16873, 17567, 18635])
def test_worlds_in_which_they_once_differed(seed: int) -> None:
    assert not (difference := differs(seed, events=120)), difference


@pytest.mark.parametrize("restart", [False, True])
def test_L6_L52_quick_and_dumb_decide_the_same_where_names_change_their_kind(restart: bool) -> None:
    for seed in range(30):
        assert not (difference := differs(seed, kind=KindWorld, restart=restart)), difference
        assert restart or not drained(seed, KindWorld), f"seed {seed}"


@pytest.mark.parametrize("restart", [False, True])
def test_L46_L52_quick_and_dumb_decide_the_same_where_children_go_back_to_the_queue(restart: bool) -> None:
    for seed in (*range(12), 57, 124, 145, 178):
        assert not (difference := differs(seed, kind=ReturningWorld, restart=restart)), difference
        assert restart or not drained(seed, ReturningWorld), f"seed {seed}"


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_L46_L52_quick_and_dumb_decide_the_same_in_many_worlds_where_children_go_back(block: int) -> None:
    for seed in range(10_000 + block * 100, 10_100 + block * 100):
        assert not (difference := differs(seed, events=100, kind=ReturningWorld, restart=seed % 3 == 0)), difference
        assert not drained(seed, ReturningWorld), f"seed {seed}"


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_L6_L52_quick_and_dumb_decide_the_same_in_many_worlds_where_names_change_their_kind(block: int) -> None:
    for seed in range(10_000 + block * 50, 10_050 + block * 50):
        assert not (difference := differs(seed, events=100, kind=KindWorld, restart=seed % 3 == 0)), difference
        assert not drained(seed, KindWorld), f"seed {seed}"


@pytest.mark.soak
@pytest.mark.parametrize("block", range(40))
def test_L40_L46_L52_quick_and_dumb_decide_the_same_in_many_worlds(block: int) -> None:
    for seed in range(10_000 + block * 250, 10_000 + block * 250 + 250):
        assert not (difference := differs(seed, events=120)), difference


def test_L45_what_is_forgotten_to_save_space_is_missed_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alloc_items, "HEAP_START", 2)
    monkeypatch.setattr(alloc_queues, "IDLE_CLASSES", 1)
    for crowds in (0, 1, 4):
        monkeypatch.setattr(alloc_board, "MAX_CROWDS", crowds)
        for seed in range(6_000 + 100 * crowds, 6_000 + 100 * crowds + 60):
            assert not (difference := differs(seed)), difference


def test_L60_a_restart_in_the_middle_has_the_same_future() -> None:
    for seed in range(5_000, 5_080):
        assert not (difference := differs(seed, restart=True)), difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(10))
def test_L60_a_restart_in_the_middle_has_the_same_future_in_many_worlds(block: int) -> None:
    for seed in range(5_080 + block * 80, 5_160 + block * 80):
        assert not (difference := differs(seed, restart=True)), difference


def test_L42_L46_L52_everything_that_can_finish_does() -> None:
    for seed in range(20_000, 20_150):
        assert not drained(seed), f"seed {seed}"


@settings(max_examples=40)
@given(st.integers(min_value=10**6, max_value=10**9), st.integers(min_value=1, max_value=40))
def test_quick_and_dumb_decide_the_same_wherever_hypothesis_looks(seed: int, events: int) -> None:
    assert not (difference := differs(seed, events=events)), difference


# --- all worlds of up to 4 claims, 3 locks and 6 events

A, B, S = LockKey("master", "a"), LockKey("master", "b"), LockKey("slot", "", "w")
A_WHOLE, B_ONE, B_TWO, ON_S = Access(A, "exclusive"), Access(B), Access(B, "counting", 2), Access(S)


def one(*accesses: Access) -> Need:
    return Need((Alternative("w" if ON_S in accesses else "", accesses),))


NEEDS = {
    "a": one(A_WHOLE),
    "b": one(B_ONE),
    "d": one(B_TWO),
    "c": one(A_WHOLE, B_ONE),
    "s": one(A_WHOLE, ON_S),
    "e": Need((Alternative("", (A_WHOLE,)), Alternative("w", (B_TWO, ON_S)))),
}
STEPS = {"A": one(A_WHOLE), "B": one(B_TWO)}
ENDS = "12-+"
"""End the first or the last hold, cancel the first waiter, change the limit of b to and fro."""


def small_worlds() -> Iterator[str]:
    """Six events with at most four claims. What comes before the first claim matters to nobody."""
    for first in NEEDS:
        for rest in itertools.product("".join((*NEEDS, *STEPS, ENDS)), repeat=5):
            if sum(each in NEEDS or each in STEPS for each in rest) <= 3:
                yield first + "".join(rest)


def make_events(letter: str, ticket: int, dumb: Oracle) -> list[Event]:
    """What a letter stands for now; nothing if it has no object."""
    holds, waiting = sorted(dumb.holds), sorted(dumb.waiting)
    if letter in NEEDS:
        return [("submit", (Claim(ticket, NEEDS[letter], ticket),))]
    if letter in STEPS:
        owners = sorted({hold.owner for hold in dumb.holds.values()} - {c.owner for c in dumb.waiting.values()})
        return [("submit", (Claim(ticket, STEPS[letter], owners[-1], STEP_LEVEL),))] if owners else []
    if letter in "12":
        return [("release", (holds[0 if letter == "1" else -1],))] if len(holds) >= int(letter) else []
    if letter == "-":
        return [("cancel", (waiting[0],))] if waiting else []
    return [("set_lock", (B, 1 if dumb.limits[B] == 2 else 2, dumb.overtakes[B]))]


def run_small(world: str, k: int) -> None:
    quick, dumb = Allocator(), Oracle()
    events: list[Event] = [("set_lock", (key, limit, k)) for key, limit in ((A, 1), (B, 2), (S, 1))]
    feed(quick, events)
    feed(dumb, events)
    for ticket, letter in enumerate(world, 1):
        events = make_events(letter, ticket, dumb)
        if not events:
            return
        feed(quick, events)
        feed(dumb, events)
        assert plain(quick.decide()) == dumb.decide(), (world, k, letter)
    assert quick.full_pass() == [], (world, k)


@pytest.mark.parametrize("k", [0, 1])
def test_every_small_world_sampled(k: int) -> None:
    for world in itertools.islice(small_worlds(), k, None, 197):
        run_small(world, k)


@pytest.mark.soak
@pytest.mark.parametrize("first", NEEDS)
@pytest.mark.parametrize("k", [0, 1])
def test_every_small_world(first: str, k: int) -> None:
    for world in small_worlds():
        if world[0] == first:
            run_small(world, k)
