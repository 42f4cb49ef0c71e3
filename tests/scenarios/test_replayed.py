"""Steps with code of their own go on after `kill -9` as if nothing had been (HOUSE section 2), or are tried again."""

from collections.abc import Callable
from pathlib import Path

from scene import Scene
from timeline import apart, check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS
RICH = """
    from buildbot.process.buildstep import BuildStep, ShellMixin
    from buildbot.process.logobserver import LogLineObserver

    class Lines(LogLineObserver):
        def __init__(self):
            super().__init__()
            self.seen = []
        def outLineReceived(self, line):
            self.seen.append(line)

    WAIT = f'''
        for i in 1 2 3; do echo $0 $i; done; echo $$ > {here}/gates/$0.runs
        until [ -e {here}/gates/$0 ]; do sleep 0.02; done; for i in 4 5 6; do echo $0 $i; done'''

    class Rich(ShellMixin, BuildStep):
        async def run(self):
            notes = await self.addLog('notes')
            await notes.addStdout('begun with ' + str(self.getProperty('flavour')) + '\\n')
            lines = Lines()
            results = []
            for name in ('one', 'two', 'three'):
                command = await self.makeRemoteShellCommand(command=['sh', '-c', WAIT, name], stdioLogName=name)
                self.addLogObserver(name, lines)
                await self.runCommand(command)
                results.append(command.rc)
                self.setProperty('seen', len(lines.seen), 'Rich')
                await notes.addStdout(f'{name}: {len(lines.seen)} lines\\n')
            self.setProperty('all', lines.seen, 'Rich')
            await notes.addStdout(f'at {self.now() > 0}, {self.getProperty("seen")}\\n')
            return util.SUCCESS if results == [0, 0, 0] else util.FAILURE

    db = util.MasterLock('db')
    c['workers'] = workers('w1')
    c['builders'] = [build('rich', sh('before'), Rich(name='rich', locks=[db.access('exclusive')]), sh('after'),
                           properties={'flavour': 'sweet'})]
"""


def test_a_step_with_its_own_code_goes_on_after_kills(stage: Stage) -> None:
    """Killed in each of its three commands, and once while nobody was connected: everything is there once."""
    scene = stage(RICH, "w1")
    (brid,) = scene.force("rich")
    for name in ("one", "two", "three"):
        scene.running(name)
        scene.kill()
        if name == "two":
            scene.open(name)
            scene.until(lambda: not scene.runs("two"), "the end of the command")
        scene.start()
        scene.open(name)
    assert scene.ended(brid) == [OK]
    said = {name: [f"{name} {i}" for i in range(1, 7)] for name in ("one", "two", "three")}
    for name, lines in said.items():
        assert scene.output(1, "rich", slug=name).splitlines() == lines
    notes = "begun with sweet\none: 6 lines\ntwo: 12 lines\nthree: 18 lines\nat True, 18\n"
    assert scene.output(1, "rich", slug="notes") == notes
    properties = scene.reads.properties_of_build(1)
    assert properties["all"] == [[line for lines in said.values() for line in lines], "Rich"]
    assert properties["seen"] == [18, "Rich"]
    assert len(scene.facts.commands()) == 5
    assert len(scene.facts.of("PropertySet", name="seen")) == 3
    assert len(check_lock(scene.facts, "db", 1)) == 1
    assert [fact.fences for fact in scene.facts.of("ClaimGranted")][-1] == (1,)


def test_a_replay_that_differs_is_tried_again_and_says_where(stage: Stage) -> None:
    """The step asks a file of the server's, which is not journaled: commands are stopped, then RETRY."""
    scene = stage(
        """
        from buildbot.process.buildstep import BuildStep, ShellMixin
        class Fickle(ShellMixin, BuildStep):
            async def run(self):
                which = 'new' if os.path.exists(os.path.join(here, 'changed')) else 'old'
                text = f'echo $$ > {here}/gates/{which}.runs; until [ -e {here}/gates/{which} ]; do sleep 0.02; done'
                await self.runCommand(await self.makeRemoteShellCommand(command=text))
                return util.SUCCESS
        db = util.MasterLock('db')
        c['workers'] = workers('w1')
        c['builders'] = [build('fickle', sh('first'), Fickle(name='moody'), locks=[db.access('exclusive')])]
        """,
        "w1",
    )
    (brid,) = scene.force("fickle")
    scene.running("old")
    scene.kill()
    (scene.folder / "changed").touch()
    scene.start()
    scene.running("new")
    assert not scene.runs("old")
    ended = scene.fact("BuildEnded", buildid=1)
    assert ended.result == Result.RETRY
    assert "step 2 'moody'" in ended.summary
    assert "call 2" in ended.summary
    assert ended.summary.count("RunCommand") == 2
    scene.open("new")
    assert scene.ended(brid) == [OK]
    assert apart(scene.facts.commands())
    assert len({span.fact.ticket for span in check_lock(scene.facts, "db", 1)}) == 1


def test_an_interrupted_command_on_the_server_is_tried_again_and_never_beside_itself(stage: Stage) -> None:
    guard = Path(__file__).with_name("guard.sh")
    scene = stage(
        f"""
        database = util.MasterLock('database')
        text = f'sh {guard} {{here}} 20; echo $$ > {{here}}/gates/it.runs; '
        text += f'until [ -e {{here}}/gates/it ]; do sleep 0.02; done'
        c['workers'] = workers('w1')
        c['builders'] = [build('local', steps.MasterShellCommand(name='it', command=text), locks=[database])]
        """,
        "w1",
    )
    (brid,) = scene.force("local")
    scene.until((scene.folder / "inside").exists, "the command")
    mine = f"{guard} {scene.folder} 20"
    assert processes_with(mine)
    scene.kill()
    scene.until(lambda: not processes_with(mine), "the end of what the server ran")
    scene.start()
    ended = scene.fact("BuildEnded", buildid=1)
    assert ended.result == Result.RETRY
    assert "'it'" in ended.summary
    scene.running("it")
    scene.open("it")
    assert scene.ended(brid) == [OK]
    assert not (scene.folder / "faults").exists()
    assert [span.fact.fences["database"] for span in scene.facts.builds()] == [1, 2]


def processes_with(word: str) -> list[str]:
    """The command lines of living processes that have this word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


def test_a_step_one_part_of_which_fails_ends_with_all_of_them(stage: Stage) -> None:
    """Of what it does at the same time one fails: its commands, its children and its waits end, and so do its locks.

    One part swallows that it is cancelled: it keeps no server from its end.
    """
    scene = stage(
        """
        import asyncio

        from buildbot.process.buildstep import ShellMixin

        class Parts(ShellMixin, steps.Trigger):
            async def fails(self):
                await self.command('breaks')
                raise RuntimeError('this part fails')

            async def goes_on(self):
                while True:
                    await self.command('never')

            async def swallows(self):
                while True:
                    try:
                        self.setProperty('again', 'and again')
                        await self.command('never')
                    except BaseException:
                        pass

            async def command(self, name):
                text = f'echo $$ > {here}/gates/{name}.runs; until [ -e {here}/gates/{name} ]; do sleep 0.02; done'
                made = await self.makeRemoteShellCommand(command=['sh', '-c', text], stdioLogName=name)
                await self.runCommand(made)

            async def run(self):
                await asyncio.gather(super().run(), self.fails(), self.goes_on(), self.swallows(), self.sleep(3600))
                return util.SUCCESS

        db = util.MasterLock('db')
        c['workers'] = workers('w1')
        parts = Parts(name='parts', schedulerNames=['child'], waitForFinish=True)
        c['builders'] = [build('parts', parts, locks=[db.access('exclusive')]), build('child', gate('child')),
                         build('next', sh('s'), locks=[db.access('exclusive')])]
        c['schedulers'] = [schedulers.Triggerable('child', ['child'])]
        """,
        "w1",
    )
    first, follower = *scene.force("parts"), *scene.force("next")
    for name in ("breaks", "never", "child-1-child"):
        scene.running(name)
    scene.open("breaks")
    assert scene.ended(first, follower) == [Result.EXCEPTION, OK]
    assert scene.fact("BuildEnded", buildid=2).result == Result.CANCELLED
    scene.until(lambda: not scene.runs("never"), "the end of the command")
    check_lock(scene.facts, "db", 1)
    assert scene.stop() == 0
