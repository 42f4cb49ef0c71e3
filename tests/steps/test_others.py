"""The smaller steps: sequences, warnings, Trial, properties, files, transfers, the master's own commands, triggers."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.config.properties import Interpolate, Property, resolve
from lockstep.config.renderables import Secret
from lockstep.config.secrets import marker
from lockstep.core.calls import StartBuilds, Triggered
from lockstep.core.nouns import Result
from lockstep.core.values import Change, RequestWish, SourceStamp, Submission
from lockstep.steps.base import BuildStep
from lockstep.steps.compiling import Compile, Configure, Trial, WarningCountingShellCommand
from lockstep.steps.execution import execute, prepare
from lockstep.steps.files import (
    CompositeStepMixin,
    CopyDirectory,
    FileExists,
    MakeDirectory,
    RemoveDirectory,
)
from lockstep.steps.logs import BufferLogObserver, LineConsumerLogObserver
from lockstep.steps.master import MasterShellCommand
from lockstep.steps.sequence import ShellArg, ShellSequence
from lockstep.steps.shell import ShellCommand, ShellMixin
from lockstep.steps.simple import Assert, LogRenderable, SetProperties, SetProperty
from lockstep.steps.transfer import DirectoryUpload, FileDownload, FileUpload, JSONStringDownload, StringDownload
from lockstep.steps.trigger import Trigger

from .harness import FakeBuild, Harness, go, replay

TREE = "builddir/build"


def test_sequence_flags(tmp_path: Path) -> None:
    def sequence(**flags: Any) -> tuple[Result, str]:
        harness = Harness(tmp_path)
        step = ShellSequence(commands=[ShellArg(command=Interpolate("%(prop:no)s"), **flags), ShellArg(["echo", "2"])])
        harness.build.properties["no"] = ("echo 1; false", "t")
        return go(step, harness).result, harness.text()

    assert sequence() == (Result.SUCCESS, "1\n2\n")
    assert sequence(warnOnFailure=True) == (Result.WARNINGS, "1\n2\n")
    assert sequence(flunkOnFailure=True) == (Result.FAILURE, "1\n2\n")
    assert sequence(haltOnFailure=True) == (Result.FAILURE, "1\n")


def test_sequence_made_while_running(tmp_path: Path) -> None:
    class Mine(ShellSequence):
        async def run(self) -> int:
            words = [ShellArg(["echo", "0"], logname="log0"), ShellArg(["echo", "1"], logfile="log1")]
            return await self.runShellSequence(words)

    harness = Harness(tmp_path)
    assert go(Mine(), harness).result == Result.SUCCESS
    assert harness.text("log1") == "1\n"


def test_warnings_are_counted(tmp_path: Path) -> None:
    harness = Harness(tmp_path, FakeBuild(properties={"warnings-count": (2, "t")}))
    command = "echo 'a.c:1: warning: x'; echo fine; echo 'b.c:2: Warning: y' >&2"
    assert go(Compile(command=command), harness).result == Result.WARNINGS
    assert harness.properties == {"warnings-count": 4}
    assert len(harness.log("warnings (2)").lines) == 2
    step = WarningCountingShellCommand(command=command, maxWarnCount=1)
    assert go(step, Harness(tmp_path)).result == Result.FAILURE
    with collecting(Collector()) as found:
        Compile(command="x", suppressionFile="y")
        Compile(command="x", warningPattern="(")
    assert "not supported yet" in str(found.mistakes[0])
    assert "no regular expression" in str(found.mistakes[1])
    assert Compile().plan().haltOnFailure
    assert Configure().make().command == ("./configure",)


def test_trial_reads_results(tmp_path: Path) -> None:
    script = tmp_path / "trial"
    script.write_text(
        '#!/bin/sh\necho "$@ PP=$PYTHONPATH"\n'
        "printf '%s\\n' '===============================================================================' '[FAIL]' x\n"
        "printf '%s\\n' '-------------------------------------------------------------------------------'\n"
        "echo 'Ran 5 tests in 0.1s'; echo; echo 'FAILED (failures=1, successes=4)'; exit 1\n"
    )
    script.chmod(0o755)
    harness = Harness(tmp_path / "w")
    outcome = go(Trial(python=["sh"], trial=str(script), tests=["a", "b"], jobs=2), harness)
    assert outcome.summary == "5 tests, 1 failure (failure)"
    assert harness.text().startswith("--reporter=bwverbose --jobs=2 a b PP=.")
    assert "[FAIL]" in harness.text("problems")
    changed = FakeBuild(changes=(Change(author="a", files=("x.py", "y.c", "x.py")),))
    harness = Harness(tmp_path / "v", changed)
    go(Trial(python="sh", trial=str(script), testChanges=True), harness)
    assert "--testmodule=x.py PP" in harness.text()


def test_properties_assertions_and_renderables(tmp_path: Path) -> None:
    harness = Harness(tmp_path, FakeBuild(properties={"a": (1, "t")}))
    assert go(SetProperty(property="b", value=Interpolate("<%(prop:a)s>")), harness).summary == "Set"
    go(SetProperties(properties={"c": Property("a"), "d": [1, 2]}), harness)
    assert harness.properties == {"b": "<1>", "c": 1, "d": [1, 2]}
    assert go(Assert(Property("a")), harness).result == Result.SUCCESS
    assert go(Assert(Property("none")), harness).result == Result.FAILURE
    go(LogRenderable(content={"x": Property("a")}), harness)
    assert harness.text("Output") == '{\n  "x": 1\n}\n'

    class Odd(BuildStep):
        async def run(self) -> int:
            self.setProperty("x", object())
            return Result.SUCCESS

    assert go(Odd(), harness).result == Result.EXCEPTION


def test_directories(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    assert go(MakeDirectory(dir="build/a/b"), harness).summary == "directory made"
    (tmp_path / TREE / "a/b/f").write_text("x")
    assert go(CopyDirectory(src="build/a", dest="build/c"), harness).result == Result.SUCCESS
    assert (tmp_path / TREE / "c/b/f").exists()
    assert go(FileExists(file="build/c/b/f"), harness).summary == "file found"
    assert go(FileExists(file="build/c/b"), harness).result == Result.FAILURE
    assert go(RemoveDirectory(dir="build/c"), harness).result == Result.SUCCESS
    assert not (tmp_path / TREE / "c").exists()


class Errands(CompositeStepMixin, BuildStep):
    """A user's step that uses everything."""

    async def run(self) -> int:
        await self.addLogForRemoteCommands("stdio")
        await self.runMkdir("build/d")
        assert await self.pathExists("build/d")
        assert not await self.pathExists("build/e")
        await self.downloadFileContentToWorker("d/x.txt", "hello\n")
        assert await self.getFileContentFromWorker("d/x.txt") == "hello\n"
        assert await self.getFileContentFromWorker("d/none") is None
        found = await self.glob("build/d/*.txt")
        self.setProperty("found", len(found))
        await self.runRmFile("build/d/x.txt")
        await self.runRmdir("build/d")
        await self.runRmFile("build/d/x.txt")
        raise AssertionError("not reached: that failed")


def test_errands(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    assert go(Errands(), harness).result == Result.FAILURE, harness.text("err.text")
    assert harness.properties == {"found": 1}
    outcome, again = replay(Errands(), harness, tmp_path)
    assert (outcome.result, again.commands) == (Result.FAILURE, [])


def test_transfers(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    (tmp_path / TREE / "out.txt").write_text("out")
    assert go(FileUpload(workersrc="out.txt", masterdest="got.txt", mode=0o600, url="http://x/"), harness).result == 0
    got = tmp_path / "master" / "got.txt"
    assert got.read_text() == "out"
    assert got.stat().st_mode & 0o777 == 0o600
    assert harness.urls == {"got.txt": "http://x/"}
    go(FileDownload(mastersrc="got.txt", workerdest="back.txt", mode=0o755), harness)
    assert (tmp_path / TREE / "back.txt").read_text() == "out"
    go(StringDownload(Interpolate("n=%(prop:n:-0)s"), workerdest="s.txt"), harness)
    assert (tmp_path / TREE / "s.txt").read_text() == "n=0"
    go(JSONStringDownload({"a": Property("n", default=3)}, workerdest="s.json"), harness)
    assert (tmp_path / TREE / "s.json").read_text() == '{"a": 3}'
    go(DirectoryUpload(workersrc=".", masterdest="all"), harness)
    assert (tmp_path / "master" / "all" / "s.txt").exists()
    assert go(FileUpload(workersrc="none", masterdest="x"), harness).result == Result.FAILURE


def test_master_shell_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_TEST_X", "${LOCKSTEP_TEST_Y}")
    monkeypatch.setenv("LOCKSTEP_TEST_Y", "there")
    own = ["${LOCKSTEP_TEST_X}", "b${LOCKSTEP_TEST_NONE}"]
    harness = Harness(tmp_path)
    step = MasterShellCommand(command="pwd; echo $Y; echo no >&2; exit 3", env={"Y": ["a", *own]})
    outcome = go(step, harness)
    assert outcome.result == Result.FAILURE
    assert harness.log().text("o") == f"{tmp_path}/master\na:${{LOCKSTEP_TEST_Y}}:b\n"
    assert harness.log().text("e") == "no\n"
    assert not step.plan().replayable
    assert go(MasterShellCommand(command=["/no/such/program"]), Harness(tmp_path)).result == Result.FAILURE

    async def stopped() -> Any:
        harness = Harness(tmp_path)
        step = MasterShellCommand(command="echo up; sleep 60 & wait").make()
        seen = once(harness, "write_log", lambda _log, _stream, text: text == "up\n")
        task = asyncio.create_task(execute(step, harness, await prepare(step, harness.build)))
        await seen.wait()
        await harness.stop()
        return await task

    assert asyncio.run(stopped()).result == Result.CANCELLED


def test_programs_on_the_server_keep_no_threads_from_others(tmp_path: Path) -> None:
    async def run() -> list[Any]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        ends = []
        try:
            async with asyncio.timeout(60):
                for harness in (Harness(tmp_path), Harness(tmp_path)):
                    step = MasterShellCommand(command="echo up; until [ -e over ]; do sleep 0.02; done").make()
                    seen = once(harness, "write_log", lambda _log, stream, _text: stream == "o")
                    ends.append(asyncio.create_task(execute(step, harness, await prepare(step, harness.build))))
                    await seen.wait()
                await asyncio.to_thread(lambda: None)
        finally:
            (tmp_path / "master" / "over").touch()
        return [(await end).result for end in ends]

    assert asyncio.run(run()) == [Result.SUCCESS, Result.SUCCESS]


def test_a_program_on_the_server_says_no_more_than_is_stored(tmp_path: Path) -> None:
    async def run() -> int:
        harness = Harness(tmp_path)
        may_go_on = asyncio.Event()

        async def until_stored() -> None:
            await may_go_on.wait()

        harness.until_stored = until_stored  # type: ignore[method-assign]
        waits = once(harness, "until_stored", lambda: True)
        step = MasterShellCommand(command="head -c 5000000 /dev/zero").make()
        end = asyncio.create_task(execute(step, harness, await prepare(step, harness.build)))
        async with asyncio.timeout(60):
            await waits.wait()
        written = len(harness.text())
        may_go_on.set()
        assert (await end).result == Result.SUCCESS
        assert harness.text().count("\0") == 5_000_000
        return written

    assert 1 << 20 <= asyncio.run(run()) < 2 << 20


def once(harness: Harness, name: str, wanted: Callable[..., bool]) -> asyncio.Event:
    """Is set when the harness is asked that."""
    seen, ask = asyncio.Event(), getattr(harness, name)

    def watch(*args: Any) -> Any:
        if wanted(*args):
            seen.set()
        return ask(*args)

    setattr(harness, name, watch)
    return seen


def test_what_has_no_effect_is_said() -> None:
    with collecting(Collector()) as found:
        MasterShellCommand(command="x", logEnviron=True)
        Trigger(schedulerNames=["t"], parent_relationship="Kin")
        Trigger(schedulerNames=["t"], parent_relationship="Triggered from")
    assert [one.text.split()[0] for one in found.notes] == ["logEnviron", "parent_relationship"]
    assert not found.mistakes


def test_a_secret_is_shown_by_its_name(tmp_path: Path) -> None:
    def summary(step: Any) -> str:
        harness = Harness(tmp_path)
        harness.secrets = {"pw": "hunter2"}
        return go(step, harness).summary

    assert summary(ShellCommand(command=["echo", Secret("pw")])) == "'echo <pw>'"
    assert summary(MasterShellCommand(command=["echo", Secret("pw")])) == "'echo <pw>'"
    assert summary(ShellCommand(command="true", descriptionDone=["with", Secret("pw")])) == "with <pw>"
    harness = Harness(tmp_path)
    go(LogRenderable(content={"a": [Secret("pw")]}), harness)
    assert '"<pw>"' in harness.text("Output")


EVIL = marker("pw")


async def _said(step: Any) -> str:
    cmd = await step.makeRemoteShellCommand(command=["printf", EVIL.replace("\x02", "\\002")], collectStdout=True)
    await step.runCommand(cmd)
    return str(cmd.stdout)


async def _observed(step: Any) -> str:
    observer = BufferLogObserver()
    step.addLogObserver("stdio", observer)
    await _said(step)
    return observer.getStdout()


async def _in_a_file(step: Any) -> str:
    return str(await step.getFileContentFromWorker("evil"))


async def _of_a_file(step: Any) -> str:
    return str((await step.glob("build/*pw*"))[0])


@pytest.mark.parametrize(
    "outside",
    [
        _said,
        _observed,
        _in_a_file,
        _of_a_file,
        lambda step: step.build.getSourceStamp().branch,
        lambda step: step.build.getProperties().sourcestamps[0].branch,
        lambda step: step.build.allFiles()[0],
        lambda step: step.build.blamelist()[0],
        lambda step: step.build.allChanges()[0].comments,
        lambda step: step.worker.info["host"],
    ],
)
def test_what_comes_from_outside_gets_no_secret_out_of_a_step(tmp_path: Path, outside: Any) -> None:
    """Or else the code that is tested, or who pushes, could have a later command of the step print any secret."""

    class Passes(CompositeStepMixin, ShellMixin, BuildStep):
        async def run(self) -> int:
            word = await resolve(outside(self))
            await self.runCommand(await self.makeRemoteShellCommand(command=["echo", "it:", word]))
            return Result.SUCCESS

    stamp = SourceStamp(branch=EVIL, changes=(1,))
    change = Change(author=EVIL, comments=EVIL, files=(EVIL,), when=1.0)
    harness = Harness(tmp_path, FakeBuild(sourcestamps=(stamp,), changes=(change,), worker_info={"host": EVIL}))
    harness.secrets = {"pw": "hunter2"}
    (tmp_path / TREE / "evil").write_text(EVIL)
    (tmp_path / TREE / EVIL).touch()
    assert go(Passes(), harness).result == Result.SUCCESS
    assert "it: " in harness.text()
    assert "pw" in harness.text()
    assert "hunter2" not in harness.text()


@pytest.mark.parametrize("kind", [ShellCommand, WarningCountingShellCommand])
def test_what_a_command_means_may_have_to_be_awaited(tmp_path: Path, kind: type[ShellCommand]) -> None:
    class Later(kind):  # type: ignore[misc, valid-type]
        async def evaluateCommand(self, cmd: Any) -> Result:
            await asyncio.sleep(0)
            return Result.WARNINGS if cmd.rc == 7 else Result.FAILURE

    assert go(Later(command="exit 7"), Harness(tmp_path)).result == Result.WARNINGS


def test_steps_that_add_steps_and_read_lines(tmp_path: Path) -> None:
    class Adds(ShellCommand):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.addLogObserver("stdio", LineConsumerLogObserver(self.consume))
            self.lines: list[str] = []
            self.ended = False

        def consume(self) -> Any:
            try:
                while True:
                    stream, line = yield
                    if stream == "o":
                        self.lines.append(line)
            except GeneratorExit:
                self.ended = True

        async def run(self) -> int:
            result = await super().run()
            self.build.addStepsAfterCurrentStep([ShellCommand(command=["echo", line]) for line in self.lines])
            return result

    harness = Harness(tmp_path)
    go(Adds(command="echo a; echo b"), harness)
    assert [(step.command, where) for step, where in harness.added] == [
        (["echo", "a"], "after-current"),
        (["echo", "b"], "after-current"),
    ]
    _, again = replay(Adds(command="echo a; echo b"), harness, tmp_path)
    assert len(again.added) == 2


class Hook:
    """A Triggerable scheduler, as the step sees it."""

    def __init__(self, name: str, builders: tuple[str, ...]) -> None:
        self.name = name
        self.builders = builders

    def trigger(self, stamps: tuple[SourceStamp, ...], properties: Any) -> Submission:
        wishes = tuple(RequestWish(builder=builder) for builder in self.builders)
        return Submission(requests=wishes, scheduler=self.name, sourcestamps=stamps, properties=properties)


def test_trigger(tmp_path: Path) -> None:
    asked: list[StartBuilds] = []

    def answer(call: StartBuilds) -> list[Triggered]:
        asked.append(call)
        ends = (Result.SUCCESS, Result.FAILURE)
        if not call.wait:
            return [Triggered(buildset=n, requests={"x": n}) for n, _ in enumerate(call.submissions)]
        ended = [(n, (("x", 7, 70, ends[n]),)) for n, _ in enumerate(call.submissions)]
        return [Triggered(buildset=n, requests={}, result=ends[n], builds=builds) for n, builds in ended]

    def trigger(**kwargs: Any) -> Any:
        stamp = SourceStamp(branch="main", repository="r")
        properties = {"got_revision": ("abc", "Git"), "p": (1, "t")}
        harness = Harness(tmp_path, FakeBuild(sourcestamps=(stamp,), properties=properties))
        harness.schedulers = {name: Hook(name, ("x",)) for name in ("one", "two")}
        harness.answers[StartBuilds] = answer
        return go(Trigger(schedulerNames=["one", "two"], **kwargs), harness), harness

    outcome, harness = trigger(waitForFinish=True, set_properties={"q": Property("p")}, copy_properties=["p"])
    assert outcome.result == Result.FAILURE
    assert harness.urls == {}
    assert asked[-1].submissions[0].sourcestamps[0].revision == "abc"
    assert asked[-1].submissions[0].properties == {"q": (1, "Trigger"), "p": (1, "t")}
    assert outcome.summary == "triggered one, two, 1 success, 1 failure (failure)"
    outcome, _ = trigger(waitForFinish=True, unimportantSchedulerNames=["two"])
    assert outcome.result == Result.SUCCESS
    outcome, harness = trigger(updateSourceStamp=False)
    assert harness.urls == {"one: x": "/requests/0", "two: x": "/requests/1"}
    assert outcome.summary == "triggered one, two"
    assert asked[-1].submissions[0].sourcestamps[0].revision is None
    trigger(alwaysUseLatest=True)
    assert asked[-1].submissions[0].sourcestamps == ()
    trigger(sourceStamps=[{"branch": "b", "repository": "z", "patch_body": "x", "patch_level": 1}])
    assert asked[-1].submissions[0].sourcestamps[0].branch == "b"
    harness = Harness(tmp_path)
    assert go(Trigger(schedulerNames=["none"]), harness).result == Result.EXCEPTION
    assert "no Triggerable scheduler 'none'" in harness.text("err.text")
    with collecting(Collector()) as found:
        Trigger()
        Trigger(schedulerNames=["a"], updateSourceStamp=True, alwaysUseLatest=True)
        Trigger(schedulerNames=["a"], unimportantSchedulerNames=["b"])
    assert len(found.mistakes) == 3
