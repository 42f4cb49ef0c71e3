"""Two builds that could wait for each other's locks, on real agents.

Where that is known beforehand it does not come to it (L51). Else the youngest is put back, cleans up, and runs again.
"""

from collections.abc import Callable

from scene import Scene
from timeline import check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]


def test_L52_a_ring_of_steps_is_broken_and_both_builds_end(stage: Stage) -> None:
    scene = stage(
        """
        x, y = util.MasterLock('x'), util.MasterLock('y')
        later = lambda lock: util.renderer(lambda props: [lock.access('exclusive')])
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [
            build('old', gate('go'), sh('more', locks=later(y)), locks=[x.access('exclusive')]),
            build('young', gate('go'), sh('more', locks=later(x)), sh('tidy', alwaysRun=True),
                  sh('busy', alwaysRun=True, locks=later(x)), locks=[y.access('exclusive')], on='w2'),
        ]
        """,
        "w1",
        "w2",
    )
    (old,) = scene.force("old")
    scene.running("old-1-go")
    (young,) = scene.force("young")
    scene.running("young-1-go")
    scene.open("go")
    assert set(scene.ended(old, young)) == {Result.SUCCESS}
    (ring,) = scene.facts.of("RingBroken")
    assert "old #1 waits for lock 'y'; young #1 waits for lock 'x'" in ring.text
    assert scene.cli("log", "young/1").stdout.endswith(f"=== retry: {ring.text}\n")
    for lock in "xy":
        check_lock(scene.facts, lock, 1)
    first = scene.all("steps", "builders/young/builds/1/steps")
    assert [(step["name"], step["results"]) for step in first if step["name"] != "go"] == [
        ("more", Result.RETRY),
        ("tidy", Result.SUCCESS),
        ("busy", Result.SKIPPED),
    ]
    again = scene.all("steps", "builders/young/builds/2/steps")
    assert [step["results"] for step in again] == [Result.SUCCESS] * 4


def test_L51_what_is_known_beforehand_is_withheld_and_says_so(stage: Stage) -> None:
    scene = stage(
        """
        x, y = util.MasterLock('x'), util.MasterLock('y')
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [
            build('old', gate('go'), sh('more', locks=[y.access('exclusive')]), gate('end'),
                  locks=[x.access('exclusive')]),
            build('young', sh('more', locks=[x.access('exclusive')]), locks=[y.access('exclusive')], on='w2'),
        ]
        """,
        "w1",
        "w2",
    )
    (old,) = scene.force("old")
    scene.running("old-1-go")
    (young,) = scene.force("young")
    why = scene.until(lambda: scene.why(young), "a reason")
    assert why["kind"] == "withheld"
    assert "could wait for each other for ever" in why["sentence"]
    scene.kill()
    scene.start()
    scene.until(lambda: scene.why(young)["kind"] == "withheld", "the workers to be back, and it to be withheld again")
    scene.open("go")
    scene.running("old-1-end")
    scene.fact("BuildStarted", builder="young")
    scene.open("end")
    assert scene.ended(old, young) == [Result.SUCCESS] * 2
    assert not scene.facts.of("RingBroken")
    for lock in "xy":
        check_lock(scene.facts, lock, 1)
