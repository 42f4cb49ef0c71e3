"""What is kept of long logs, and in which encoding, with real agents of both kinds and kills in between."""

from collections.abc import Callable
from typing import Any

import pytest
from scene import Scene
from scene_agents import BuildbotWorker

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS
LONG = """
    c['logMaxSize'], c['logMaxTailSize'] = 70, 18
    text = '''
        for i in $(seq 0 999); do echo line $i; done; echo note > notes.txt; touch $AT.half
        until [ -e "$AT" ]; do sleep 0.02; done; for i in $(seq 1000 1999); do echo line $i; done'''
    c['workers'] = workers('w1')
    c['builders'] = [build('long', sh('pour', text, env={'AT': here + '/gates/go'}, logfiles={'notes': 'notes.txt'},
                                      logEnviron=False), sh('after', 'echo short'))]
"""
KEPT = "".join(f"line {i}\n" for i in range(10)) + "line 1998\nline 1999\n"[-18:]


def half(scene: Scene) -> None:
    """Wait until the log is much too long."""
    scene.until((scene.folder / "gates" / "go.half").exists, "half of the output")
    scene.until(lambda: "longer than 70 bytes" in scene.output(1, "pour", streams="h"), "the cut")


@pytest.mark.parametrize("kills", [0, 2])
def test_beginning_and_end_of_a_long_log_are_kept(stage: Stage, kills: int) -> None:
    """Also through kills of the server: before the end has come, and with nobody who would say it again."""
    scene = stage(LONG, "w1")
    (brid,) = scene.force("long")
    half(scene)
    for _ in range(kills):
        scene.kill()
        scene.start()
    scene.open("go")
    assert scene.ended(brid) == [OK]
    assert scene.output(1, "pour") == KEPT
    assert scene.output(1, "pour", slug="notes") == "note\n"
    assert scene.output(1, "after") == "short\n"
    (log,) = scene.all("logs", "builds/1/steps/pour/logs/stdio")
    assert log["complete"]
    assert log["num_lines"] == scene.reads.log_contents(log["logid"])["content"].count("\n")


def test_the_end_of_a_long_log_is_kept_when_its_agent_is_lost(stage: Stage) -> None:
    """Its step cannot close it: the log ends with what had come."""
    scene = stage(LONG.replace("'w1')", "'w1', 'w2')"))
    scene.agent("w1")
    scene.force("long")
    half(scene)
    scene.agents["w1"].kill()
    scene.kill()
    scene.start()
    assert scene.cli("workers", "--dead", "w1").returncode == 0
    scene.fact("BuildEnded", buildid=1)
    scene.until(lambda: scene.output(1, "pour").endswith("line 998\nline 999\n"[-18:]), "the end of the log")


@pytest.fixture
def buildbot(buildbot_worker: Any, stage: Stage) -> Callable[[str], Scene]:
    """A server with an unmodified `buildbot-worker`."""

    def make(config: str) -> Scene:
        scene = stage(config)
        scene.agents["w1"] = BuildbotWorker(buildbot_worker, "w1", scene.folder, scene.port)
        scene.fact("WorkerUp", worker="w1")
        return scene

    return make


def test_long_logs_of_a_buildbot_worker(buildbot: Callable[[str], Scene]) -> None:
    scene = buildbot(LONG)
    (brid,) = scene.force("long")
    half(scene)
    scene.open("go")
    assert scene.ended(brid) == [OK]
    assert scene.output(1, "pour") == KEPT


ENCODED = r"""
    c['logEncoding'] = 'latin-1'
    text = r'printf "K\344se\n"; printf "h\344lf" >&2; printf "\344" > f; touch $AT.half; '
    text += 'until [ -e "$AT" ]; do sleep 0.02; done; echo " done" >&2'
    from buildbot.process.buildstep import BuildStep, ShellMixin
    class Own(ShellMixin, BuildStep):
        async def run(self):
            await self.addLog('greek', logEncoding='iso8859-7')
            cmd = await self.makeRemoteShellCommand(command=['printf', r'\341\n'], stdioLogName='greek')
            await self.runCommand(cmd)
            (await self.addLog('told')).addStdout('täglich')
            return cmd.results()
    c['workers'] = workers('w1')
    c['builders'] = [build('words', sh('latin', text, env={'AT': here + '/gates/go'}, logfiles={'f': 'f'}),
                           sh('cyrillic', ['printf', r'\320\n'], logEncoding='koi8-r'), Own(name='own'))]
"""


def test_output_is_decoded_as_configured(stage: Stage) -> None:
    """The configuration's encoding, a step's own, a log's own; what a step writes itself is text already."""
    scene = stage(ENCODED, "w1")
    (brid,) = scene.force("words")
    scene.until((scene.folder / "gates" / "go.half").exists, "half of the output")
    scene.until(lambda: "Käse" in scene.output(1, "latin"), "the first line")
    scene.kill()
    scene.configure(ENCODED.replace("latin-1", "cp1251"))
    scene.start()
    scene.open("go")
    assert scene.ended(brid) == [OK]
    assert scene.output(1, "latin") == "Käse\n"
    assert scene.output(1, "latin", streams="e") == "hälf done\n"
    assert scene.output(1, "latin", slug="f") == "ä\n"
    assert scene.output(1, "cyrillic") == "п\n"
    assert scene.output(1, "own", slug="greek") == "α\n"
    assert scene.output(1, "own", slug="told") == "täglich\n"


def test_a_closed_log_is_whole_after_a_kill(stage: Stage) -> None:
    """Also its last line, which never got a newline."""
    scene = stage(
        """
        from buildbot.process.buildstep import BuildStep
        class Own(BuildStep):
            async def run(self):
                await self.addCompleteLog('notes', 'no newline')
                await self.sleep(1000)
                return util.SUCCESS
        c['workers'] = workers('w1')
        c['builders'] = [build('one', Own(name='own'))]
        """,
        "w1",
    )
    scene.force("one")
    scene.fact("LogClosed", buildid=1)
    scene.kill()
    scene.start()
    (log,) = scene.all("logs", "builds/1/steps/own/logs/notes")
    assert scene.reads.log_contents(log["logid"])["content"] == "no newline\n"
    assert log["num_lines"] == 1
