"""The stage itself: a server process, an agent, a build, a kill."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
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


def test_a_poll_that_hangs_does_not_delay_the_end(stage: Callable[..., Scene], tmp_path: Path) -> None:
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\ntrap '' TERM\necho $$ > {tmp_path}/now; mv {tmp_path}/now {tmp_path}/pid; sleep 600\n")
    git.chmod(0o755)
    scene = stage(
        "c['workers'] = workers('w1')\nc['builders'] = [build('one', sh('s'))]\n"
        f"c['change_source'] = changes.GitPoller(repourl='x', gitbin={str(git)!r}, pollAtLaunch=True)\n"
    )
    scene.until((tmp_path / "pid").exists, "the poll")
    assert scene.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_code_of_the_configuration_that_ends_the_program_ends_only_what_it_was_asked_for(
    stage: Callable[..., Scene],
) -> None:
    config = """
        import sys
        @util.renderer
        def leave(props):
            sys.exit(4)
        class Leave(steps.BuildStep):
            async def run(self):
                sys.exit(3)
        c['workers'] = workers('w1')
        c['builders'] = [
            build('runs', Leave(name='s')),
            build('renders', sh('s', leave)),
            build('asks', sh('s', doStepIf=lambda step: sys.exit(5))),
            build('hook', sh('s'), canStartBuild=lambda *given: sys.exit(6)),
            build('locks', sh('s'), locks=leave),
            build('well', sh('s')),
        ]
        def never(builders, changes):
            sys.exit(7)
        often = dict(builderNames=['well'], periodicBuildTimer=3600)
        c['schedulers'] = [schedulers.Periodic(name='bad', priority=never, **often),
                           schedulers.Periodic(name='good', **often)]
    """
    scene = stage(config, "w1")
    brids = [brid for name in ("runs", "renders", "asks", "hook", "locks") for brid in scene.force(name)]
    assert scene.ended(*brids) == [Result.EXCEPTION] * 5
    assert scene.fact("RequestAdded", builder="well")
    assert scene.ended(*scene.force("well")) == [Result.SUCCESS]
