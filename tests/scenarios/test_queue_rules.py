"""Rules of a lock's queue at a running server: keep only the latest, do not wait long, do not wait at all."""

from collections.abc import Callable
from typing import Any

from scene import Scene
from timeline import check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

CONFIG = """
    live = util.MasterLock('live', maxWaiting=1, whenFull='cancelOldest')
    soon = live.access('exclusive', waitTimeout='8s', onTimeout='skipped')
    never = live.access('exclusive', skipIfBusy=True)
    c['workers'] = workers('w1', 'w2')
    c['collapseRequests'] = False
    c['builders'] = [build('deploy', gate('go'), locks=[live.access('exclusive')]),
                     build('nightly', sh('look', 'true'), locks=[never], on='w2'),
                     build('steps', sh('one', 'true', locks=[soon]), sh('two', 'true', locks=[never]), on='w2')]
    """


def request(scene: Scene, brid: int) -> dict[str, Any]:
    (found,) = scene.all("buildrequests", f"buildrequests/{brid}")
    return found


def test_only_the_latest_deployment_waits(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", "w2")
    (first,) = scene.force("deploy")
    scene.running("deploy-1-go")
    (old,), (new,) = scene.force("deploy"), scene.force("deploy")
    assert scene.ended(old) == [Result.CANCELLED]
    reason = scene.fact("RequestEnded", brid=old).reason
    assert reason == f"at most 1 may wait for lock 'live' (maxWaiting), and request {new} came after it"
    (lock,) = scene.all("locks", "locks")
    assert (lock["max_waiting"], lock["when_full"], lock["waiting"]) == (1, "cancelOldest", 1)
    scene.open("go")
    assert scene.ended(first, new) == [Result.SUCCESS, Result.SUCCESS]
    check_lock(scene.facts, "live", 1)


def test_who_does_not_want_to_wait_is_skipped_across_a_crash(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", "w2")
    scene.force("deploy")
    scene.running("deploy-1-go")
    (nightly,) = scene.force("nightly")
    assert scene.ended(nightly) == [Result.SKIPPED]
    assert "(skipIfBusy) for lock 'live', held by deploy #1" in scene.fact("RequestEnded", brid=nightly).reason
    (steps,) = scene.force("steps")
    scene.until(lambda: "It gives up in " in scene.why(steps)["sentence"], "the step to wait")
    scene.kill()
    scene.start()
    assert scene.ended(steps) == [Result.SUCCESS]
    one, two = scene.facts.of("StepEnded")[:2]
    assert (one.result, two.result) == (Result.SKIPPED, Result.SKIPPED)
    assert one.summary.startswith("gave up after 8 s (waitTimeout). Waits for lock 'live', held by deploy #1")
    assert two.summary.startswith("not run, because it does not wait (skipIfBusy) for lock 'live', held by deploy #1")
    scene.open("go")


def test_no_more_begin_than_the_rate_allows_also_after_a_crash(stage: Stage) -> None:
    scene = stage(
        """
        live = util.MasterLock('live', rate='2/8s')
        c['workers'] = workers('w1', 'w2')
        c['collapseRequests'] = False
        c['builders'] = [build('deploy', sh('go', 'true'), locks=[live.access('exclusive')])]
        """,
        "w1",
        "w2",
    )
    brids = [scene.force("deploy")[0] for _ in range(4)]
    why = scene.until(
        lambda: (found := scene.why(brids[2]))["kind"] == "rate" and found, "the third to wait for a start"
    )
    assert "which begins at most 2 times in 8 s; the next may in " in why["sentence"]
    assert why["can_start"]
    assert why["locks"][0]["starts_at"]
    (lock,) = scene.all("locks", "locks")
    assert (lock["rate"], lock["order"]) == ("2 times in 8 s", "priority")
    scene.kill()
    scene.start()
    assert scene.ended(*brids) == [Result.SUCCESS] * 4
    times = [one.at for one in scene.facts.numbered("ClaimGranted")]
    assert all(later - first >= 7.99 for first, later in zip(times, times[2:], strict=False)), times


def test_whoever_came_last_goes_first(stage: Stage) -> None:
    scene = stage(
        """
        live = util.MasterLock('live', order='newest')
        c['workers'] = workers('w1', 'w2')
        c['collapseRequests'] = False
        c['builders'] = [build('deploy', gate('go'), locks=[live.access('exclusive')])]
        """,
        "w1",
        "w2",
    )
    brids = [scene.force("deploy")[0]]
    scene.running("deploy-1-go")
    brids += [scene.force("deploy")[0] for _ in range(3)]
    assert scene.why(brids[1])["locks"][0]["may_pass"] is None
    scene.open("go")
    assert scene.ended(*brids) == [Result.SUCCESS] * 4
    assert [one.brid for one in scene.facts.of("BuildStarted")] == [brids[0], *brids[:0:-1]]
    check_lock(scene.facts, "live", 1)


def test_L42_how_often_who_waits_for_a_worker_is_passed_is_said_of_the_worker(stage: Stage) -> None:
    scene = stage(
        """
        c['workers'] = workers('w1', max_builds=1, maxOvertakes=2) + workers('w2')
        asks = steps.Trigger(schedulerNames=['urgent'])
        c['schedulers'] = [schedulers.Triggerable('urgent', ['high'], priority=10)]
        c['collapseRequests'] = False
        c['builders'] = [build(name, gate('go')) for name in ('first', 'low', 'high')] + [build('ask', asks, on='w2')]
        """,
        "w1",
        "w2",
    )
    scene.force("first")
    scene.running("first-1-go")
    scene.force("low")
    scene.ended(*scene.force("ask", count=4))
    scene.kill()
    scene.start()
    scene.open("go")
    scene.until(lambda: len(scene.facts.of("BuildEnded")) == 10, "all builds")
    order = [fact.builder for fact in scene.facts.of("BuildStarted") if fact.builder != "ask"]
    assert order == ["first", "high", "high", "low", "high", "high"]
