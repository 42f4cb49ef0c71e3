"""What the old system gets wrong (LOCKS.md section 11), on a whole server with real agents.

The tests of this file share one server; each has its own locks and builders. Those that need a configuration of their
own are in `test_faults_reload.py`; fault 17 is in `test_lending.py`.
"""

from collections.abc import Callable
from typing import Any

import pytest
from scene import Scene
from timeline import Span, apart, check_lock

from lockstep.core.nouns import Result

CONFIG = """
    def alone(lock):
        return lock.access('exclusive')
    def locks(*names, **more):
        return [util.MasterLock(name, **more) for name in names]

    on_w3, = locks('on w3')
    zero, bare1, bare2, bare3 = locks('zero', 'bare1', 'bare2', 'bare3')
    c['workers'] = workers('w1', 'w2') + [
        worker.Worker('w3', 'secret', locks=[alone(on_w3)]),
        worker.Worker('w4', 'secret', locks=[bare1, zero.access('counting', count=0)]),
        worker.Worker('w5', 'secret', max_builds=1),
    ]
    c['builders'] = b = []

    A, B = locks('A', 'B')
    b += [build('ab', sh('s'), locks=[alone(A), alone(B)]), build('ba', sh('s'), on='w2', locks=[alone(B), alone(A)]),
          build('ab-step', sh('both', locks=[alone(A), alone(B)]), on='w2'),
          build('ba-step', sh('both', locks=[alone(B), alone(A)]))]
    F, G = locks('F', 'G')
    b += [build('hold-g', gate('hold'), locks=[alone(G)]), build('fg', sh('s'), locks=[alone(F), alone(G)]),
          build('fg-step', sh('both', locks=[alone(F), alone(G)])), build('f', sh('s'), on='w2', locks=[alone(F)])]
    b += [build(name, sh('s', 'sleep 0.2'), on='w3') for name in ('w3-x', 'w3-y')]
    H, = locks('H')
    b += [build('step-h', gate('hold', locks=[alone(H)]), gate('more')),
          build('build-h', gate('in'), on='w2', locks=[alone(H)])]
    R, S = locks('R', 'S', maxCount=3)
    b += [build(f'read{i}', gate('read'), locks=[R]) for i in range(3)] + [build('write', sh('s'), locks=[alone(R)])]
    b += [build(f'one{i}', gate('one'), locks=[S]) for i in range(3)]
    b += [build('three', sh('s'), locks=[S.access('counting', count=3)])]
    Q, = locks('Q', maxCount=3, maxOvertakes=0)
    b += [build('two-q', gate('hold'), locks=[Q.access('counting', count=2)]),
          build('head-q', sh('s'), locks=[Q.access('counting', count=2)]), build('next-q', gate('in'), locks=[Q])]
    b += [build('hold-zero', gate('hold'), locks=[alone(zero)]),
          build('zero', sh('s', locks=[zero.access('counting', count=0)]), on='w4'),
          build('zero-build', sh('s'), on='w4', locks=[zero.access('counting', 0)])]
    b += [build(name, sh('s', 'sleep 0.1', locks=[bare3]), on='w4', locks=[bare2]) for name in ('bare-x', 'bare-y')]
    T, = locks('T', maxCount=2)
    b += [build('twice', sh('s'), locks=[T, T]), build('twice-step', sh('s', locks=[T, T.access('counting')]))]
    U, = locks('U')
    @util.renderer
    def render_u(props):
        return [alone(U)]
    b += [build('both-levels', sh('never', locks=render_u), locks=[alone(U)]), build('u', sh('s'), locks=[alone(U)])]
    V, = locks('V')
    always = sh('always', alwaysRun=True)
    b += [build('hold-v', gate('hold'), locks=[alone(V)]), build('wait-v', sh('s'), always, locks=[alone(V)]),
          build('step-v', sh('s', locks=[alone(V)]), sh('always-v', alwaysRun=True, locks=[alone(V)]), always)]
    W, = locks('W')
    b += [build('hold-w', gate('hold', locks=[alone(W)])), build('skip-w', sh('s', locks=[alone(W)], doStepIf=False)),
          build('take-w', sh('s', locks=[alone(W)]), on='w2'),
          build('merged-w', sh('s'), locks=[alone(W)], collapseRequests=True)]
    X, = locks('X')
    @util.renderer
    def broken(props):
        raise ValueError('no such database')
    b += [build('bad-build', sh('s'), locks=broken), build('bad-step', sh('s', locks=broken), locks=[alone(X)]),
          build('x', sh('s', locks=[alone(X)]))]
    Y, = locks('Y')
    b += [build('hold-y', gate('hold'), locks=[alone(Y)]), build('want-y', sh('s'), on='w2', locks=[alone(Y)]),
          build('step-y', sh('needs it', locks=[alone(Y)]), on='w2')]
    Z, = locks('Z')
    b += [build('hold-z', gate('hold'), locks=[alone(Z)]), build('want-z', sh('s'), on='w5', locks=[alone(Z)]),
          build('free-z', gate('in'), on='w5')]
    c['schedulers'] = [schedulers.ForceScheduler(name='force', builderNames=['merged-w'])]
"""
OK = Result.SUCCESS


@pytest.fixture(scope="module")
def ci(shared_stage: Callable[..., Scene]) -> Scene:
    """The server that these tests share."""
    return shared_stage(CONFIG, "w1", "w2", "w3", "w4", "w5")


def ticket_of(ci: Scene, brid: int) -> int:
    """A request's ticket."""
    found: int = ci.fact("RequestAdded", brid=brid).ticket
    return found


def test_fault_01_two_orders_of_two_locks_do_not_hang(ci: Scene) -> None:
    requests = [ci.force(name)[0] for _ in range(4) for name in ("ab", "ba", "ab-step", "ba-step")]
    assert set(ci.ended(*requests)) == {OK}
    for lock in "AB":
        assert len(check_lock(ci.facts, lock, 1)) == 16


def test_fault_02_a_cancelled_waiter_leaves_no_place_behind(ci: Scene) -> None:
    (holder,) = ci.force("hold-g")
    ci.running("hold-g-1-hold")
    (pending,) = ci.force("fg")
    (stepper,) = ci.force("fg-step")
    ci.fact("StepStarted", name="both", buildid=ci.fact("BuildStarted", brid=stepper).buildid)
    ci.cancel(pending)
    ci.cancel(stepper)
    assert ci.ended(pending, stepper) == [Result.CANCELLED, Result.CANCELLED]
    assert ci.ended(*ci.force("f")) == [OK]
    assert ci.runs("hold-g-1-hold")
    ci.open("hold-g-1-hold")
    assert ci.ended(holder) == [OK]
    assert ci.ended(*ci.force("fg"), *ci.force("fg-step")) == [OK, OK]


def test_fault_03_an_exclusive_worker_lock_admits_one_build(ci: Scene) -> None:
    requests = [ci.force(name)[0] for name in ("w3-x", "w3-y", "w3-x", "w3-y")]
    assert set(ci.ended(*requests)) == {OK}
    assert len(check_lock(ci.facts, "on w3", 1)) == 4
    assert apart(ci.facts.builds("w3-x", "w3-y"))


def test_fault_04_a_steps_release_starts_a_request_on_another_worker(ci: Scene) -> None:
    (first,) = ci.force("step-h")
    ci.running("step-h-1-hold")
    (second,) = ci.force("build-h")
    assert ci.why(second)["locks"][0]["lock"] == "H"
    ci.open("step-h-1-hold")
    ci.running("build-h-1-in")
    ci.running("step-h-1-more")
    ci.open("build-h-1-in", "step-h-1-more")
    assert ci.ended(first, second) == [OK, OK]
    check_lock(ci.facts, "H", 1)


def overtaken(ci: Scene, lock: str, names: str, victim: str, gate: str) -> list[Span]:
    """Keep a lock busy with small claims around a big one, until that gets it. Returns those that passed it."""
    small = [ci.force(f"{names}{i}")[0] for i in range(2)]
    for i in range(2):
        ci.running(f"{names}{i}-1-{gate}")
    (big,) = ci.force(victim)
    small += [ci.force(f"{names}{i % 3}")[0] for i in range(30)]
    mine = ticket_of(ci, big)

    def live() -> list[Span]:
        return [span for span in ci.facts.holds(lock) if span.end > ci.facts.last]

    while not ci.facts.of("ClaimGranted", ticket=mine):
        before = len(ci.facts.holds(lock))
        oldest = min(live(), key=lambda span: span.start)
        build = ci.fact("BuildStarted", ticket=oldest.fact.ticket)
        ci.open(ci.running(f"{build.builder}-{build.number}-{gate}"))
        ended = oldest.fact.hold
        ci.fact("HoldEnded", hold=ended)
        ci.until(lambda before=before: len(ci.facts.holds(lock)) > before or live(), "the next move")
    ci.open(gate)
    assert set(ci.ended(big, *small)) == {OK}
    spans = check_lock(ci.facts, lock, 3)
    granted = next(span for span in spans if span.fact.ticket == mine)
    return [span for span in spans if span.start < granted.start and span.fact.ticket > mine]


def test_fault_05_an_exclusive_request_does_not_starve(ci: Scene) -> None:
    assert 1 <= len(overtaken(ci, "R", "read", "write", "read")) <= 8


def test_fault_06_three_units_are_not_overtaken_without_limit(ci: Scene) -> None:
    assert 1 <= len(overtaken(ci, "S", "one", "three", "one")) <= 8


def test_fault_07_cancelling_the_head_of_a_queue_wakes_those_behind(ci: Scene) -> None:
    (holder,) = ci.force("two-q")
    ci.running("two-q-1-hold")
    (head,) = ci.force("head-q")
    (behind,) = ci.force("next-q")
    assert ci.why(behind)["locks"][0]["why"] == "reserved"
    ci.cancel(head)
    ci.running("next-q-1-in")
    assert ci.runs("two-q-1-hold")
    ci.open("next-q-1-in", "two-q-1-hold")
    assert ci.ended(head, behind, holder) == [Result.CANCELLED, OK, OK]


def test_fault_08_count_0_succeeds_at_every_level(ci: Scene) -> None:
    """Even while somebody has the lock exclusively; `w4` itself claims 0 units of it, too."""
    (holder,) = ci.force("hold-zero")
    ci.running("hold-zero-1-hold")
    assert ci.ended(*ci.force("zero"), *ci.force("zero-build")) == [OK, OK]
    assert len(check_lock(ci.facts, "zero", 1)) == 1
    ci.open("hold-zero-1-hold")
    assert ci.ended(holder) == [OK]


def test_fault_09_a_bare_lock_counts_one_at_all_three_levels(ci: Scene) -> None:
    requests = [ci.force(name)[0] for name in ("bare-x", "bare-y", "bare-x")]
    assert set(ci.ended(*requests)) == {OK}
    for lock in ("bare1", "bare2", "bare3"):
        spans = [s for s in check_lock(ci.facts, lock, 1) if any(a.count == 1 for a in s.accesses)]
        assert len(spans) >= 3
    assert apart(ci.facts.builds("bare-x", "bare-y"))


def test_fault_10_a_lock_twice_in_one_list_is_claimed_once_with_the_sum(ci: Scene) -> None:
    requests = [ci.force(name)[0] for name in ("twice", "twice-step", "twice", "twice-step")]
    assert set(ci.ended(*requests)) == {OK}
    spans = check_lock(ci.facts, "T", 2)
    assert [[a.count for a in span.accesses] for span in spans] == [[2]] * 4
    assert ci.lock("T")["used"] == 0


def test_fault_11_the_same_lock_on_build_and_step_ends_that_step_and_no_more(ci: Scene) -> None:
    """Seen at run time only, because it is rendered; `test_faults_reload.py` has what is seen at load."""
    (brid,) = ci.force("both-levels")
    assert ci.ended(brid) == [Result.EXCEPTION]
    buildid = ci.fact("BuildStarted", brid=brid).buildid
    logs = ci.all("logs", f"builds/{buildid}/steps/1/logs")
    text = "".join(ci.reads.log_contents(log["logid"])["content"] for log in logs)
    assert "Lock 'U' is in locks= of step 'never'" in text
    assert "locks= of builder 'both-levels'" in text
    assert not ci.facts.commands("never")
    assert ci.ended(*ci.force("u")) == [OK]


def test_fault_13_a_cancelled_waiter_acquires_nothing_and_runs_nothing_unlocked(ci: Scene) -> None:
    (holder,) = ci.force("hold-v")
    ci.running("hold-v-1-hold")
    (pending,) = ci.force("wait-v")
    (stepper,) = ci.force("step-v")
    buildid = ci.fact("BuildStarted", brid=stepper).buildid
    waiting = ci.fact("StepStarted", buildid=buildid, name="s")
    ci.cancel(pending)
    ci.cancel(stepper)
    assert ci.ended(pending) == [Result.CANCELLED]
    assert not ci.facts.of("BuildStarted", brid=pending)
    locked = ci.fact("StepStarted", buildid=buildid, name="always-v")
    assert not ci.facts.of("ClaimGranted", ticket=locked.ticket)
    step = ci.all("steps", f"builds/{buildid}/steps/s")[0]
    assert step["locks_acquired_at"] is None
    ci.open("hold-v-1-hold")
    assert ci.ended(holder, stepper) == [OK, Result.CANCELLED]
    assert not ci.facts.of("ClaimGranted", ticket=waiting.ticket)
    assert not ci.facts.commands("s") or all(s.fact.buildid != buildid for s in ci.facts.commands("s"))
    assert [s.fact.buildid for s in ci.facts.commands("always")] == [buildid]
    check_lock(ci.facts, "V", 1)


def test_fault_15_a_skipped_build_releases_nobody_elses_claim(ci: Scene) -> None:
    """A step that is skipped, and a request that is merged into another one."""
    (holder,) = ci.force("hold-w")
    ci.running("hold-w-1-hold")
    (taker,) = ci.force("take-w")
    assert ci.ended(*ci.force("skip-w")) == [OK]
    merged = [ci.call("forceschedulers/force", "force")[1] for _ in range(2)]
    first, second = (next(iter(found.values())) for found in merged)
    assert ci.ended(first) == [Result.SKIPPED]
    assert len(ci.lock("W")["holders"]) == 1
    assert len(ci.facts.holds("W")) == 1
    ci.open("hold-w-1-hold")
    assert ci.ended(holder, taker, second) == [OK, OK, OK]
    assert len(check_lock(ci.facts, "W", 1)) == 3


def test_fault_18_an_exception_while_acquiring_leaves_nothing_stuck(ci: Scene) -> None:
    (build,) = ci.force("bad-build")
    (step,) = ci.force("bad-step")
    assert ci.ended(build, step) == [Result.EXCEPTION, Result.EXCEPTION]
    assert "no such database" in ci.fact("RequestEnded", brid=build).reason
    assert "'bad-build'" in ci.fact("RequestEnded", brid=build).reason
    assert ci.ended(*ci.force("x"), *ci.force("x")) == [OK, OK]
    assert ci.lock("X")["used"] == 0


def test_fault_19_everybody_can_see_who_holds_and_who_waits(ci: Scene) -> None:
    (holder,) = ci.force("hold-y")
    ci.running("hold-y-1-hold")
    (pending,) = ci.force("want-y")
    (stepper,) = ci.force("step-y")
    ci.fact("StepStarted", name="needs it")
    view = ci.lock("Y")
    assert [h["by"]["text"] for h in view["holders"]] == ["hold-y #1"]
    assert view["waiting"] == 2
    assert "needs it" in view["waiters"][0]["by"]["text"]
    assert view["waiters"][1]["by"]["requestid"] == pending
    shown = ci.cli("locks").stdout
    assert "hold-y #1" in shown
    for number in (pending, stepper):
        told = ci.cli("why", str(number))
        assert "'Y'" in told.stdout
        assert "hold-y #1" in told.stdout
    ci.open("hold-y-1-hold")
    assert ci.ended(holder, pending, stepper) == [OK, OK, OK]


def test_fault_21_who_waits_for_a_lock_occupies_no_worker(ci: Scene) -> None:
    """`w5` has one slot: the build that was asked for later has it, until the lock is free."""
    (holder,) = ci.force("hold-z")
    ci.running("hold-z-1-hold")
    (waiting,) = ci.force("want-z")
    (later,) = ci.force("free-z")
    ci.running("free-z-1-in")
    assert not ci.facts.of("BuildStarted", brid=waiting)
    ci.open("free-z-1-in", "hold-z-1-hold")
    assert ci.ended(holder, later, waiting) == [OK, OK, OK]


def test_nothing_is_left(ci: Scene) -> None:
    """After all of them: nothing is held, nothing waits, no request is open."""
    ci.until(lambda: not ci.all("claims"), "the end of all claims")
    unused: list[dict[str, Any]] = [lock for lock in ci.all("locks") if lock["used"] or lock["waiting"]]
    assert not unused
    ended = {fact.brid for fact in ci.facts.of("RequestEnded")}
    assert {fact.brid for fact in ci.facts.of("RequestAdded")} == ended
