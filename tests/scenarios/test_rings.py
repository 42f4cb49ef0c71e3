"""Two builds that wait for each other's locks, on real agents: the youngest is put back, cleans up, and runs again."""

from collections.abc import Callable

from scene import Scene
from timeline import check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]


def test_L52_a_ring_of_steps_is_broken_and_both_builds_end(stage: Stage) -> None:
    scene = stage(
        """
        x, y = util.MasterLock('x'), util.MasterLock('y')
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [
            build('old', gate('go'), sh('more', locks=[y.access('exclusive')]), locks=[x.access('exclusive')]),
            build('young', gate('go'), sh('more', locks=[x.access('exclusive')]), sh('tidy', alwaysRun=True),
                  sh('busy', alwaysRun=True, locks=[x.access('exclusive')]), locks=[y.access('exclusive')], on='w2'),
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
    assert "build 1 of 'old' waits for y; build 1 of 'young' waits for x" in ring.text
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
