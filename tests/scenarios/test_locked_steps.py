"""`LockedSteps` and `releaseLock` at a running server: what is held, by whom, what commands see, and after a kill."""

from collections.abc import Callable

from scene import Scene
from timeline import check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

CONFIG = """
    from buildbot.process import buildstep
    board, port = util.MasterLock('board'), util.MasterLock('port')
    tell = 'echo board=$LOCKSTEP_FENCE_BOARD port=$LOCKSTEP_FENCE_PORT'

    class Flash(buildstep.ShellMixin, steps.BuildStep):
        def __init__(self, **more):
            super().__init__(**self.setupShellMixin(more))

        async def run(self):
            await self.runCommand(await self.makeRemoteShellCommand(command=['sh', '-c', tell]))
            await self.releaseLock(port)
            await self.runCommand(await self.makeRemoteShellCommand(command=['sh', '-c', tell]))
            return util.SUCCESS

    c['workers'] = workers('w1', 'w2')
    c['builders'] = [
        build('test', util.LockedSteps([sh('one', tell, locks=[port]), gate('go'), sh('three', tell + '; exit 1')],
                                       locks=[board.access('exclusive')]), sh('after', tell)),
        build('other', sh('use', tell), locks=[board], on='w2'),
        build('early', Flash(name='flash', locks=[board, port]), Flash(name='wrong'), on='w2')]
    """


def test_the_board_is_held_from_step_to_step_across_a_kill(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", "w2")
    (test,) = scene.force("test")
    scene.running("test-1-go")
    (other,) = scene.force("other")
    sentence = scene.why(other)["sentence"]
    assert "lock 'board', held by the steps from 'one' on of test #1" in sentence, sentence
    scene.kill()
    scene.start()
    scene.until(lambda: "held by the steps from 'one' on" in scene.why(other)["sentence"], "the same reason")
    assert scene.cli("fence", "check", "board", "1").returncode == 0
    scene.open("go")
    assert scene.ended(test, other) == [Result.FAILURE, Result.SUCCESS]
    assert scene.output(1, "one") == "board=1 port=1\n"
    assert scene.output(1, "three") == "board=1 port=\n"
    assert scene.output(1, "after") == "board= port=\n"
    check_lock(scene.facts, "board", 1)
    check_lock(scene.facts, "port", 1)


def test_a_step_gives_one_of_its_locks_back(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", "w2")
    (early,) = scene.force("early")
    assert scene.ended(early) == [Result.EXCEPTION]
    build = scene.fact("BuildStarted", brid=early).buildid
    assert scene.output(build, "flash") == "board=1 port=1\nboard=1 port=\n"
    wrong = scene.facts.of("StepEnded")[-1]
    assert "releaseLock: step 'wrong' has no lock 'port' by its locks=" in wrong.summary


def test_a_step_that_gave_a_lock_and_units_back_goes_on_after_a_kill(stage: Stage) -> None:
    scene = stage(
        """
        from buildbot.process import buildstep
        port, boards = util.MasterLock('port'), util.ResourcePool('boards', ['a', 'b'])
        tell = 'echo port=$LOCKSTEP_FENCE_PORT board=$LOCKSTEP_UNIT_BOARDS'
        at = os.path.join(here, 'gates', 'early')
        wait = f'{tell}; echo $$ > {at}.runs; until [ -e {at} ]; do sleep 0.02; done'

        class Early(buildstep.ShellMixin, steps.BuildStep):
            def __init__(self, **more):
                super().__init__(**self.setupShellMixin(more))

            async def run(self):
                await self.runCommand(await self.makeRemoteShellCommand(command=['sh', '-c', tell]))
                await self.releaseLock(port)
                await self.releaseLock(boards)
                await self.runCommand(await self.makeRemoteShellCommand(command=['sh', '-c', wait]))
                return util.SUCCESS

        c['workers'] = workers('w1')
        c['builders'] = [build('early', Early(name='early', locks=[port, boards.access(where='b')]))]
        """,
        "w1",
    )
    (early,) = scene.force("early")
    scene.running("early")
    scene.kill()
    scene.start()
    scene.open("early")
    assert scene.ended(early) == [Result.SUCCESS]
    assert scene.output(1, "early") == "port=1 board=b\nport= board=\n"
    assert not scene.facts.of("BuildStopping")
