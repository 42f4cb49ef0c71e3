"""The stage itself: a server process, an agent, a build, a kill."""

from collections.abc import Callable

from scene import Scene

from lockstep.core.nouns import Result


def test_a_build_goes_on_when_its_server_is_killed(stage: Callable[..., Scene]) -> None:
    scene = stage(
        "c['workers'] = workers('w1')\nc['builders'] = [build('one', gate('wait'), sh('after', 'echo done'))]\n", "w1"
    )
    (brid,) = scene.force("one")
    scene.running("one-1-wait")
    scene.kill()
    assert scene.runs("one-1-wait")
    scene.open("wait")
    scene.until(lambda: not scene.runs("one-1-wait"), "the command's end")
    scene.start()
    assert scene.ended(brid) == [Result.SUCCESS]
    assert scene.output(1, "wait") == "begun\nopen\n"
    assert scene.output(1, "after") == "done\n"
    assert len(scene.facts.of("BuildStarted")) == 1
