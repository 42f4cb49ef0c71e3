"""How long a worker that is out of reach is waited for (L61): what it announced, what it and its locks were given."""

import pytest
from msgspec.structs import replace

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core.limits import LEASE_MARGIN
from lockstep.core.recovery import resume
from lockstep.core.values import FOR_EVER, LockLease, Setup, WorkerSetup

from .driving import Hand, builder, lock, plan, setup, whole


@pytest.mark.parametrize(
    ("announced", "worker", "leases", "waits"),
    [
        (30.0, 0.0, {}, 30.0),
        (30.0, 5.0, {}, 30.0),  # never less than the worker needs to stop what it runs
        (30.0, 90.0, {}, 90.0),
        (30.0, 0.0, {"db": 120.0}, 120.0),
        (30.0, 200.0, {"db": 120.0}, 200.0),
        (30.0, 0.0, {"step": 120.0}, 120.0),
        (30.0, 0.0, {"other": 120.0}, 30.0),
        (30.0, FOR_EVER, {}, None),
        (30.0, 90.0, {"db": FOR_EVER}, None),
        (0.0, 90.0, {"db": 120.0}, None),  # one that announces nothing may go on for ever
    ],
)
def test_L61_the_longest_lease_counts(
    announced: float, worker: float, leases: dict[str, float], waits: float | None
) -> None:
    first = setup(
        builder("b", whole("db")),
        builder("c", whole("other"), workers=("w2",)),
        limits={"db": 1, "step": 1, "other": 1},
        workers=(WorkerSetup(name="w1", patience=worker), WorkerSetup(name="w2")),
    )
    told = tuple(LockLease(lock(name), seconds) for name, seconds in leases.items())
    hand = Hand(replace(first, leases=told), connect=())
    hand.connect("w1", lease=announced)
    hand.connect("w2")
    hand.force("b")
    hand.force("c")
    hand.put(e.BuildPlanned(buildid=1, plans=(plan("use"),), properties={}))
    hand.put(e.StepPrepared(buildid=1, number=1, name="use", accesses=(whole("step"),)))
    hand.lose("w1")
    armed = {effect.timer: effect.seconds for effect in hand.last.effects if isinstance(effect, x.ArmTimer)}
    assert armed == ({} if waits is None else {"lease:1:w1": waits + LEASE_MARGIN})
    effects = resume(hand.state, hand.now).effects
    again = {effect.timer: effect.seconds for effect in effects if isinstance(effect, x.ArmTimer)}
    assert again.get("lease:1:w1") == armed.get("lease:1:w1")
    hand.put(e.WorkerDeclaredDead(worker="w1", who="ann"))
    assert hand.state.builds_on.keys() == {"w2"}


@pytest.mark.parametrize(("silent", "left"), [(0.0, 40.0), (25.0, 15.0), (300.0, 0.0), (-1.0, 40.0)])
def test_L61_a_lease_counts_from_the_last_message_that_was_received(silent: float, left: float) -> None:
    hand = away({})
    hand.connect("w1", lease=30.0)
    hand.put(e.WorkerDisconnected(worker="w1", session=hand.state.workers["w1"].session, silent=silent))
    armed = {effect.timer: effect.seconds for effect in hand.last.effects if isinstance(effect, x.ArmTimer)}
    assert list(armed.values()) == [left], "30 s and the margin of 10 s"


def away(leases: dict[str, float], worker: float = 0.0) -> Hand:
    """A worker is out of reach with a build that holds `db`."""
    first = setup(builder("b", whole("db")), limits={"db": 1}, workers=(WorkerSetup(name="w1", patience=worker),))
    hand = Hand(given(first, leases), connect=())
    hand.connect("w1", lease=30.0)
    hand.force("b")
    hand.lose("w1")
    return hand


def given(first: Setup, leases: dict[str, float]) -> Setup:
    return replace(first, leases=tuple(LockLease(lock(name), seconds) for name, seconds in leases.items()))


def armed(hand: Hand) -> dict[str, float]:
    """What the last decision has armed."""
    return {effect.timer: effect.seconds for effect in hand.last.effects if isinstance(effect, x.ArmTimer)}


def test_L61_a_lease_that_a_reload_made_longer_is_waited_for() -> None:
    hand = away({})
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": 120.0})))
    hand.put(e.TimerFired(timer="lease:1:w1"))
    assert armed(hand) == {"lease:1:w1:120": 90.0}
    hand.put(e.TimerFired(timer="lease:1:w1"))  # heard twice: it says nothing about the other
    assert hand.state.builds
    hand.put(e.TimerFired(timer="lease:1:w1:120"))
    assert not hand.state.builds
    hand.put(e.TimerFired(timer="lease:1:w1:120"))


def test_L61_a_lock_that_became_one_without_a_lease_is_waited_for_until_it_has_one_again() -> None:
    hand = away({})
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": FOR_EVER})))
    hand.put(e.TimerFired(timer="lease:1:w1"))
    assert (hand.state.builds != {}, armed(hand)) == (True, {})
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": 60.0})))
    assert armed(hand) == {"lease:1:w1": 60.0 + LEASE_MARGIN}
    hand.put(e.TimerFired(timer="lease:1:w1"))
    assert not hand.state.builds


def test_L61_a_lease_that_a_reload_made_shorter_counts_from_there() -> None:
    """The longer one still counts from when the worker was lost: whichever is over first."""
    hand = away({"db": 7200.0})
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": 60.0})))
    assert armed(hand) == {"lease:1:w1:60": 60.0 + LEASE_MARGIN}
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": 60.0})))
    assert armed(hand) == {}, "another reload does not begin it anew"
    hand.put(e.TimerFired(timer="lease:1:w1:60"))
    assert not hand.state.builds
    assert {one.timer for one in hand.last.effects if isinstance(one, x.DisarmTimer)} >= {"lease:1:w1"}
    hand.put(e.TimerFired(timer="lease:1:w1"))
    hand.put(e.TimerFired(timer="lease:1:w1:60"))


@pytest.mark.parametrize("shorter", [5.0, 60.0])
def test_L61_a_worker_is_never_given_up_before_it_has_certainly_stopped_its_commands(shorter: float) -> None:
    """It announced 30 seconds, whatever a reload says."""
    hand = away({"db": 7200.0})
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": shorter})))
    assert armed(hand) == {f"lease:1:w1:{max(30.0, shorter):g}": max(30.0, shorter) + LEASE_MARGIN}


def test_L61_a_longer_lease_that_is_over_first_is_enough() -> None:
    hand = away({"db": 7200.0})
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": 60.0})))
    hand.put(e.TimerFired(timer="lease:1:w1"))
    assert not hand.state.builds


@pytest.mark.parametrize("again", [7200.0, FOR_EVER])
def test_L61_a_lease_that_was_shorter_for_a_moment_only_is_waited_for(again: float) -> None:
    hand = away({"db": 7200.0})
    for seconds in (60.0, again):
        hand.put(e.Configured(setup=given(hand.state.setup, {"db": seconds})))
    hand.put(e.TimerFired(timer="lease:1:w1:60"))
    assert (hand.state.builds != {}, armed(hand)) == (True, {})
    hand.put(e.TimerFired(timer="lease:1:w1"))
    assert (hand.state.builds != {}) == (again == FOR_EVER)
    hand.put(e.Configured(setup=given(hand.state.setup, {"db": 60.0})))
    assert armed(hand) == ({"lease:1:w1": 60.0 + LEASE_MARGIN} if again == FOR_EVER else {})
