"""Rules that end a wait without a grant: too many wait, too long, or who asks does not want to wait."""

import pytest
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.alloc_facts import normalize
from lockstep.core.nouns import Access, Alternative, LockKey, Need, Patience, Result
from lockstep.core.reasons import Reasons
from lockstep.core.recovery import resume
from lockstep.core.values import BuilderSetup, QueueRule, Setup, Stage, WorkerSetup

from .driving import Hand, builder, lock, plan, setup, use, whole

SKIP = Patience(Result.SKIPPED, skip=True)


def asks(name: str, patience: Patience) -> Access:
    """The whole of a lock, but not for ever."""
    return replace(whole(name), patience=patience)


def patient(seconds: float, result: Result = Result.FAILURE) -> Patience:
    return Patience(result, seconds)


def ruled(most: int, *, newest: bool = False, kind: str = "master", name: str = "db", first: Setup) -> Hand:
    """A farm in which so many may wait for a lock."""
    return Hand(replace(first, queues=(QueueRule(kind, name, most, newest),)), connect=[w.name for w in first.workers])  # type: ignore[arg-type]


def ends(hand: Hand) -> dict[int, f.RequestEnded]:
    return {fact.brid: fact for fact in hand.all(f.RequestEnded)}


def timers(hand: Hand) -> dict[str, float]:
    """What was armed and not disarmed since."""
    armed: dict[str, float] = {}
    for effect in hand.effects:
        if isinstance(effect, x.ArmTimer):
            armed[effect.timer] = effect.seconds
        elif isinstance(effect, x.DisarmTimer):
            armed.pop(effect.timer, None)
    return {name: seconds for name, seconds in armed.items() if name.startswith("wait:")}


# --- maxWaiting


def test_only_the_latest_waits() -> None:
    hand = ruled(1, first=setup(builder("b", whole("db")), limits={"db": 1}))
    runs, old, new = hand.force(), hand.force(), hand.force()
    assert hand.request(runs).state == "building"
    assert hand.request(new).state == "waiting"
    ended = ends(hand)[old]
    assert ended.result is Result.CANCELLED
    assert ended.reason == f"at most 1 may wait for lock 'db' (maxWaiting), and request {new} came after it"
    hand.put(e.BuildBroken(buildid=1, result=Result.FAILURE, reason="it ends"))
    assert hand.request(new).state == "building"
    assert set(ends(hand)) == {runs, old}


def test_whoever_comes_last_may_be_the_one_who_goes() -> None:
    hand = ruled(2, newest=True, first=setup(builder("b", whole("db")), limits={"db": 1}))
    brids = [hand.force() for _ in range(5)]
    assert {brid: end.result for brid, end in ends(hand).items()} == dict.fromkeys(brids[3:], Result.CANCELLED)
    assert "and the others came before it" in ends(hand)[brids[4]].reason


def test_nobody_waits_at_all() -> None:
    hand = ruled(0, first=setup(builder("b", whole("db")), limits={"db": 1}))
    hand.force()
    late = hand.force()
    assert ends(hand)[late].reason == "at most 0 may wait for lock 'db' (maxWaiting)"


def test_L33_those_whom_only_a_cancelled_one_blocked_are_served_in_the_same_decision() -> None:
    made = (builder("one", use("db")), builder("all", use("db", count=2)), builder("other", use("db")))
    first = setup(*made, limits={"db": 2})
    first = replace(first, locks=tuple(replace(each, max_overtakes=0) for each in first.locks))
    hand = ruled(1, first=first)
    hand.force("one")
    waits = hand.force("all")
    served = hand.force("other")  # strict order keeps it waiting, until whoever is before it is cancelled
    assert ends(hand)[waits].result is Result.CANCELLED
    assert hand.request(served).state == "building"


def test_steps_and_bookings_are_not_counted_and_not_cancelled() -> None:
    hand = ruled(0, first=setup(builder("b"), builder("d", whole("db")), limits={"db": 1}))
    hand.force("d")
    buildid = hand.started("b")
    hand.prepared(buildid, 1, whole("db"))
    assert hand.step(buildid).state == "waiting"
    assert not ends(hand)


def test_a_worker_lock_counts_whoever_waits_for_it_wherever_that_is() -> None:
    keys = {name: LockKey("worker", "cpu", name) for name in ("w1", "w2")}
    made = builder("b", workers=("w1", "w2"))
    assert made.need is not None
    need = replace(
        made.need,
        alternatives=tuple(
            replace(each, accesses=(*each.accesses, Access(keys[each.worker], "exclusive")))
            for each in made.need.alternatives
        ),
    )
    first = setup(replace(made, need=need), workers=("w1", "w2"))
    locks = tuple(type(first.locks[0])(key, 1) for key in keys.values())
    hand = ruled(1, kind="worker", name="cpu", first=replace(first, locks=first.locks + locks))
    brids = [hand.force() for _ in range(4)]
    assert [hand.request(brid).state for brid in brids[:2]] == ["building", "building"]
    assert list(ends(hand)) == [brids[2]]


def test_a_reload_that_brings_the_rule_cancels_at_once() -> None:
    first = setup(builder("b", whole("db")), limits={"db": 1})
    hand = Hand(first)
    brids = [hand.force() for _ in range(4)]
    hand.put(e.Configured(setup=replace(first, queues=(QueueRule("master", "db", 1),))))
    assert list(ends(hand)) == brids[1:3]
    view = Reasons(hand.state, hand.now).lock(lock("db"))
    assert (view.max_waiting, view.when_full, view.waiting) == (1, "cancelOldest", 1)


def test_the_place_of_a_merged_request_is_old_but_it_is_the_latest() -> None:
    made = [builder(name, whole("db"), collapse=True) for name in ("b", "d")]
    hand = ruled(1, first=setup(*made, limits={"db": 1}))
    hand.force("d")
    hand.change("b", revision="1")
    other = hand.force("d")
    assert list(ends(hand)) == [2]
    latest = hand.change("b", revision="2")
    assert ends(hand)[other].result is Result.CANCELLED
    assert hand.request(latest).state == "waiting"


# --- skipIfBusy


def test_a_request_that_does_not_wait_is_skipped_and_told_who_has_the_lock() -> None:
    hand = Hand(setup(builder("b", whole("db")), builder("n", asks("db", SKIP)), limits={"db": 1}))
    hand.force("b")
    late = hand.force("n")
    ended = ends(hand)[late]
    assert ended.result is Result.SKIPPED
    assert ended.reason == "not run, because it does not wait (skipIfBusy) for lock 'db', held by b #1 for 1 s"
    hand.put(e.BuildBroken(buildid=1, result=Result.FAILURE, reason="it ends"))
    assert hand.request(hand.force("n")).state == "building"


def test_it_waits_for_a_worker_but_not_for_the_lock() -> None:
    made = (builder("n", asks("db", SKIP)), builder("b", whole("db"), workers=("w2",)))
    hand = Hand(setup(*made, limits={"db": 1}, workers=("w1", "w2")), connect=["w2"])
    early = hand.force("n")
    assert hand.request(early).state == "waiting"
    hand.force("b")
    # Its worker is away, so nobody knows yet whether it will have to wait for the lock.
    assert hand.request(early).state == "waiting"
    hand.connect("w1")
    assert ends(hand)[early].result is Result.SKIPPED


def test_it_is_skipped_when_the_lock_goes_to_another_while_its_worker_is_busy() -> None:
    made = (builder("n", asks("db", SKIP)), builder("long"), builder("b", whole("db"), workers=("w2",)))
    workers = (WorkerSetup(name="w1", max_builds=1), "w2")
    hand = Hand(setup(*made, limits={"db": 1}, workers=workers), connect=["w1", "w2"])
    hand.force("long")
    early = hand.force("n")
    assert hand.request(early).state == "waiting"
    hand.force("b")
    assert ends(hand)[early].result is Result.SKIPPED


def test_a_step_that_does_not_wait_is_skipped_and_its_build_goes_on() -> None:
    hand = Hand(setup(builder("b"), builder("d", whole("db")), limits={"db": 1}))
    buildid = hand.started("b", plan("one"), plan("two"))
    hand.prepared(buildid, 1, asks("db", SKIP))
    assert hand.step(buildid).state == "running"
    hand.finished(buildid, 1)
    hand.force("d")
    hand.prepared(buildid, 2, asks("db", SKIP))
    (ended,) = hand.new(f.StepEnded)
    assert (ended.result, hand.result(buildid)) == (Result.SKIPPED, Result.SUCCESS)
    assert ended.summary == "not run, because it does not wait (skipIfBusy) for lock 'db', held by d #1 for 1 s"


def test_what_a_barrier_keeps_free_is_busy_too() -> None:
    first = setup(builder("one", use("db")), builder("all", use("db", count=2)), limits={"db": 2})
    first = replace(first, locks=tuple(replace(each, max_overtakes=0) for each in first.locks))
    made = builder("n", replace(use("db"), patience=SKIP))
    locks = setup(made).locks
    hand = Hand(replace(first, builders=(*first.builders, made), locks=(*first.locks, *locks)))
    hand.force("one")
    hand.force("all")
    late = hand.force("n")
    assert "kept free for request 2 of all" in ends(hand)[late].reason


def nested(then: str, *own: Access, worker: str) -> BuilderSetup:
    """A builder whose builds hold locks, and whose step then wants another."""
    stage = Stage(number=1, name="step", need=Need((Alternative("", (whole(then),)),)))
    return replace(builder(f"to {then}", *own, workers=(worker,)), stages=(stage,))


def test_L51_what_is_withheld_is_busy_too() -> None:
    made = nested("net", whole("db"), worker="w1"), nested("db", asks("net", SKIP), worker="w2")
    hand = Hand(setup(*made, limits={"db": 1, "net": 1}, workers=("w1", "w2")), connect=["w1", "w2"])
    hand.force("to net")
    late = hand.force("to db")
    assert ends(hand)[late].reason == (
        "not run, because it does not wait (skipIfBusy) for lock 'net', which is withheld: builds could wait for each "
        "other for ever"
    )


def test_L51_a_lock_for_which_nothing_is_withheld_is_not_busy() -> None:
    made = nested("net", whole("db"), worker="w1"), nested("db", whole("net"), asks("own", SKIP), worker="w2")
    hand = Hand(setup(*made, limits={"db": 1, "net": 1, "own": 1}, workers=("w1", "w2")), connect=["w1", "w2"])
    hand.force("to net")
    late = hand.force("to db")
    assert hand.request(late).state == "waiting"
    assert Reasons(hand.state, hand.now).claim(hand.request(late).ticket).kind == "withheld"


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (None, SKIP, SKIP),
        (patient(60.0), SKIP, SKIP),
        (patient(60.0), patient(30.0, Result.SKIPPED), patient(30.0, Result.SKIPPED)),
        (None, patient(30.0), patient(30.0)),
        (None, None, None),
    ],
)
def test_L12_a_lock_that_is_named_twice_is_waited_for_as_who_waits_less_says(
    one: Patience | None, other: Patience | None, both: Patience | None
) -> None:
    for first, second in ((one, other), (other, one)):
        (merged,) = normalize([replace(use("db"), patience=first), replace(use("db"), patience=second)])
        assert merged == replace(use("db", count=2), patience=both)


# --- waitTimeout


def test_a_request_gives_up_when_its_time_is_over() -> None:
    hand = Hand(setup(builder("b", asks("db", patient(60.0, Result.WARNINGS))), limits={"db": 1}))
    hand.force()
    assert timers(hand) == {}
    brid = hand.force()
    ticket = hand.request(brid).ticket
    assert timers(hand) == {f"wait:{ticket}": 60.0}
    why = Reasons(hand.state, hand.now + 20).claim(ticket)
    assert why.sentence.endswith("It gives up in 40 s.")
    assert why.gives_up_at == hand.now + 60
    hand.put(e.TimerFired(timer=f"wait:{ticket}"))
    assert hand.request(brid).state == "waiting"  # it was too early: it is set anew
    assert timers(hand) == {f"wait:{ticket}": 59.0}
    hand.now += 58
    hand.put(e.TimerFired(timer=f"wait:{ticket}"))
    assert "It gives up in" not in ends(hand)[brid].reason
    assert ends(hand)[brid].result is Result.WARNINGS
    assert ends(hand)[brid].reason.startswith("gave up after 1 min (waitTimeout). Waits for lock 'db', held by b #1")
    hand.put(e.TimerFired(timer=f"wait:{ticket}"))
    assert len(ends(hand)) == 1


def test_whoever_was_granted_is_left_alone() -> None:
    hand = Hand(setup(builder("b", asks("db", patient(60.0))), limits={"db": 1}))
    hand.force()
    brid = hand.force()
    ticket = hand.request(brid).ticket
    hand.put(e.BuildBroken(buildid=1, result=Result.FAILURE, reason="it ends"))
    assert timers(hand) == {}
    hand.now += 100
    hand.put(e.TimerFired(timer=f"wait:{ticket}"))
    assert hand.request(brid).state == "building"


def test_a_step_that_gives_up_fails_its_build_as_any_step_does() -> None:
    hand = Hand(setup(builder("b"), builder("d", whole("db")), limits={"db": 1}))
    hand.force("d")
    buildid = hand.started("b", plan("one", haltOnFailure=True), plan("two"))
    hand.prepared(buildid, 1, asks("db", patient(60.0)), whole("db2"))
    ticket = hand.step(buildid).ticket
    hand.now += 60
    hand.put(e.TimerFired(timer=f"wait:{ticket}"))
    assert hand.result(buildid) is Result.FAILURE
    assert [fact.number for fact in hand.all(f.StepEnded)] == [1]
    assert hand.all(f.StepEnded)[0].summary.startswith("gave up after 1 min (waitTimeout). ")
    (ended,) = hand.all(f.BuildEnded)
    assert ended.summary.startswith("failed 'step 1': gave up after 1 min (waitTimeout). ")


def test_time_goes_on_while_the_server_is_down() -> None:
    hand = Hand(setup(builder("b", asks("db", patient(60.0))), limits={"db": 1}))
    hand.force()
    brid = hand.force()
    outcome = resume(hand.state, hand.now + 45)
    ticket = hand.request(brid).ticket
    assert x.ArmTimer(f"wait:{ticket}", 15.0) in outcome.effects


def test_a_claim_gives_up_with_the_last_of_its_workers_and_the_first_of_their_locks() -> None:
    made = builder("b", workers=("w1", "w2"))
    assert made.need is not None
    one, two = made.need.alternatives
    slow, fast = asks("db", patient(90.0)), asks("x", patient(30.0))
    both = replace(one, accesses=(*one.accesses, slow, fast))
    hand = Hand(setup(builder("d", whole("db")), limits={"db": 1, "x": 1}, workers=("w1", "w2")), connect=["w1", "w2"])
    hand.force("d")
    for second, expected in ((two, None), (replace(two, accesses=(*two.accesses, slow)), 90.0), (both, 30.0)):
        need = replace(made.need, alternatives=(both, second))
        first = hand.state.setup
        hand.put(e.Configured(setup=replace(first, builders=(first.builders[0], replace(made, need=need)))))
        hand.put(e.WorkerPauseAsked(worker="w2", paused=True))
        brid = hand.force("b")
        ticket = hand.request(brid).ticket
        assert timers(hand).get(f"wait:{ticket}") == expected
        hand.put(e.CancelAsked(brid=brid))


def test_what_a_running_step_claims_waits_as_long_as_it_takes() -> None:
    hand = Hand(setup(builder("b"), limits={"db": 1}))
    buildid = hand.started("b")
    hand.prepared(buildid)
    hand.call(buildid, c.Acquire((asks("db", patient(60.0)),)))
    assert hand.result(buildid) is Result.EXCEPTION
    assert "waits as long as it takes" in hand.all(f.BuildEnded)[0].summary
