"""ShellCommand and its relatives, run for real."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.config.locks import MasterLock
from lockstep.config.properties import Interpolate, Property, renderer
from lockstep.core.nouns import Access, LockKey, Result
from lockstep.steps.base import BuildStep
from lockstep.steps.execution import decode_prepared, encode_prepared, execute, prepare
from lockstep.steps.shell import SetPropertyFromCommand, ShellCommand, ShellMixin

from .harness import Cut, Diverged, FakeBuild, Harness, go, prepared_of, replay


def test_a_command_runs_and_its_exit_code_is_the_result(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    outcome = go(ShellCommand(command="echo hello; echo oops >&2; pwd"), harness)
    assert outcome.result == Result.SUCCESS
    assert harness.log().text("e") == "oops\n"
    assert harness.text(streams="o") == f"hello\n{tmp_path}/builddir/build\n"
    assert outcome.summary == "'echo hello; ...'"
    failed = go(ShellCommand(command=["false"], name="no"), Harness(tmp_path))
    assert (failed.result, failed.summary, failed.build_summary) == (
        Result.FAILURE,
        "'false' (failure)",
        "'false' (failure)",
    )


def test_a_plain_build_makes_two_calls_and_watches_no_line(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    go(ShellCommand(command=["true"]), harness)
    assert [type(entry.call).__name__ for entry in harness.journal] == ["OpenLog", "RunCommand"]
    assert harness._observers == []


def test_a_text_about_a_unit_that_nobody_claimed_ends_the_step_before_its_command(tmp_path: Path) -> None:
    harness = Harness(tmp_path, FakeBuild())
    outcome = go(ShellCommand(command=["rm", "-rf", Interpolate("x/%(unit:q:dir)s")]), harness)
    told = "%(unit:q:dir)s: the build and this step have no unit of 'q' here; claim it with locks=,"
    assert outcome.result == Result.EXCEPTION
    assert told in outcome.summary
    (line,) = harness.text("err.text").splitlines()
    assert told in line
    assert "test_shell.py:" in line


def test_renderables_environment_and_fences(tmp_path: Path) -> None:
    build = FakeBuild(
        properties={"who": ("world", "test")},
        env={"A": Interpolate("%(prop:who)s-a"), "B": "builder"},
        fences={"data base": 7, "cpu on bot-1": 9, "build directory cache": 3},
    )
    harness = Harness(tmp_path, build)
    step = ShellCommand(
        command=["sh", "-c", Interpolate("echo %(prop:who)s $A $B $LOCKSTEP_FENCE_DATA_BASE $LOCKSTEP_FENCE_CPU")],
        env={"B": Property("who")},
    )
    go(step, harness)
    assert harness.text(streams="o") == "world world-a world 7 9\n"
    assert harness.commands[0].args["env"]["LOCKSTEP_FENCE_BUILD_DIRECTORY_CACHE"] == "3"


def test_exit_codes_are_decoded(tmp_path: Path) -> None:
    step = ShellCommand(command="exit 3", decodeRC={0: Result.SUCCESS, 3: Result.WARNINGS})
    assert go(step, Harness(tmp_path)).result == Result.WARNINGS


def test_locks_are_evaluated_before_the_arguments(tmp_path: Path) -> None:
    lock = MasterLock("db", maxCount=3)

    @renderer
    def which(props: Any) -> Any:
        return [lock.access("counting", props.getProperty("n"))]

    harness = Harness(tmp_path, FakeBuild(properties={"n": (2, "t")}))
    step = ShellCommand(
        command=["echo", Property("fence:db"), Interpolate("%(fence:cpu)s%(fence:x:-none)s")], locks=which
    )
    prepared = prepared_of(step.make(), harness)
    assert prepared.accesses == (Access(LockKey("master", "db"), "counting", 2),)
    assert prepared.args is None
    harness.build.properties["fence:db"] = (5, "lock")
    harness.build.fences["cpu on bot-1"] = 6
    go(step, harness)
    assert harness.text(streams="o") == "5 6none\n"
    assert decode_prepared(encode_prepared(prepared)) == prepared


def test_a_wrong_locks_list_ends_in_exception_and_names_the_place(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    outcome = go(ShellCommand(command="true", locks=["db"]), harness)
    assert outcome.result == Result.EXCEPTION
    assert "test_shell.py" in harness.text("err.text")


def test_doStepIf_and_hideStepIf(tmp_path: Path) -> None:
    for no in (False, lambda step: step.getProperty("x") == 1, Property("y")):
        step = ShellCommand(command="true", doStepIf=no, hideStepIf=lambda results, step: results == Result.SKIPPED)
        harness = Harness(tmp_path)
        outcome = go(step, harness)
        assert (outcome.result, outcome.hidden, outcome.summary) == (Result.SKIPPED, True, "'true' (skipped)")
        assert harness.journal == []
        prepared = prepared_of(step.make(), harness)
        assert (prepared.skip, prepared.summary, prepared.hidden) == (True, "'true' (skipped)", True)


def test_the_users_traceback_is_shown(tmp_path: Path) -> None:
    class Bad(BuildStep):
        async def run(self) -> int:
            raise ValueError("<mine>")

    harness = Harness(tmp_path)
    outcome = go(Bad(), harness)
    assert outcome.result == Result.EXCEPTION
    text = harness.text("err.text")
    assert "ValueError: <mine>" in text
    assert "execution.py" not in text
    assert "&lt;mine&gt;" in harness.text("err.html")
    assert outcome.summary == "finished (exception): ValueError: <mine>"
    assert outcome.build_summary == outcome.summary
    assert go(ShellCommand(command="true", doStepIf=lambda s: 1 / 0), Harness(tmp_path)).result == Result.EXCEPTION

    class Nothing(BuildStep):
        async def run(self) -> int:
            return None  # type: ignore[return-value]

    harness = Harness(tmp_path)
    assert go(Nothing(), harness).result == Result.EXCEPTION
    assert "must return a result" in harness.text("err.text")


class Versions(ShellMixin, BuildStep):
    """A user's step in the usual manner."""

    renderables = ("what",)

    def __init__(self, what: Any = "x", **kwargs: Any) -> None:
        self.what = what
        kwargs = self.setupShellMixin(kwargs, prohibitArgs=["command"])
        super().__init__(**kwargs)
        self.seen: list[str] = []

    async def run(self) -> int:
        first = await self.makeRemoteShellCommand(command=["echo", "one"])
        await self.runCommand(first)
        second = await self.makeRemoteShellCommand(command=["echo", self.what], collectStdout=True)
        await self.runCommand(second)
        self.seen.append(second.stdout)
        self.setProperty("version", second.stdout.strip())
        await self.addCompleteLog("note", f"at {self.now()}")
        log = await self.addLog("more")
        log.addStdout("a\nb\n")
        if self.getProperty("version") == "v2":
            await self.addURL("site", "http://x/")
        return second.results()


def test_a_users_step_with_two_commands_in_one_log_collects_only_its_own(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    step = Versions(what=Interpolate("v%(prop:n)s"), name="versions")
    harness.build.properties["n"] = (2, "t")
    assert go(step, harness).result == Result.SUCCESS
    assert harness.properties == {"version": "v2"}
    assert harness.urls == {"site": "http://x/"}
    assert harness.text() == "one\nv2\n"


def test_replay_gives_the_same_without_doing_anything_again(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    step = Versions(what="v2")
    go(step, harness)
    outcome, again = replay(step, harness, tmp_path)
    assert outcome.result == Result.SUCCESS
    assert again.commands == []
    assert again.properties == {"version": "v2"}
    assert again.text("note") == harness.text("note")


def test_replay_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    step = Versions(what="v2")
    whole = Harness(tmp_path)
    go(step, whole)
    for cut in range(2, 4):
        harness = Harness(tmp_path)
        harness.cut_at = cut
        with pytest.raises(Cut):
            go(step, harness)
        outcome, again = replay(step, harness, tmp_path)
        assert outcome.result == Result.SUCCESS
        assert [e.call for e in again.journal] == [e.call for e in whole.journal]
        assert len(again.commands) == 4 - cut


def test_a_step_that_asks_for_something_else_on_replay_diverges(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    go(Versions(what="v1"), harness)
    with pytest.raises(Diverged):
        replay(Versions(what="v2"), harness, tmp_path)


def test_stopping_the_build_cancels_the_step(tmp_path: Path) -> None:
    async def stopped() -> Any:
        harness = Harness(tmp_path)
        step = ShellCommand(command="echo up; exec sleep 60").make()
        task = asyncio.create_task(execute(step, harness, await prepare(step, harness.build)))
        await harness.started.wait()
        await harness.stop("enough")
        return await task

    assert asyncio.run(stopped()).result == Result.CANCELLED


def test_set_property_from_command(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    outcome = go(SetPropertyFromCommand(command="echo ' 12 '", property="n"), harness)
    assert harness.properties == {"n": "12"}
    assert outcome.summary == "property 'n' set"
    harness = Harness(tmp_path)

    def extract(rc: int | None, out: str, err: str) -> dict[str, Any]:
        return {"rc": rc, "out": out.split(), "err": err}

    go(SetPropertyFromCommand(command="echo a b; echo c >&2; exit 1", extract_fn=extract), harness)
    assert harness.properties == {"rc": 1, "out": ["a", "b"], "err": "c\n"}
    harness = Harness(tmp_path)
    assert go(SetPropertyFromCommand(command="false", property="n"), harness).result == Result.FAILURE
    assert harness.properties == {}


def test_unknown_keywords_are_reported_with_the_nearest_name() -> None:
    with collecting(Collector()) as found:
        ShellCommand(command="x", haltOnFailures=True, work_dir="y")
        Versions(command="x")
        SetPropertyFromCommand(command="x", propertey="p", property="q")
        ShellCommand()
        ShellCommand(command="x", haltOnFailure=Property("x")).check_arguments()
    texts = [str(m) for m in found.mistakes]
    assert len(texts) == 6
    assert 'unknown keyword "haltOnFailures" of ShellCommand; did you mean "haltOnFailure"?' in texts[0]
    assert 'did you mean "workdir"?' in texts[1]
    assert '"command" of Versions' in texts[2]
    assert 'did you mean "property"?' in texts[3]
    assert "needs a command" in texts[4]
    assert "haltOnFailure" in texts[5]
    assert all("test_shell.py:" in text for text in texts)


def test_make_gives_fresh_copies_also_of_what_a_step_changes() -> None:
    class Mine(ShellCommand):
        def __init__(self, target: str, flags: list[str], **kwargs: Any) -> None:
            flags.append("-k")
            super().__init__(command=["make", *flags, target], **kwargs)

    step = Mine("all", ["-j2"], haltOnFailure=True)
    one, two = step.make(), step.make()
    assert one is not two
    assert one.command == two.command == ["make", "-j2", "-k", "all"]
    assert one.plan().haltOnFailure
    assert one.place == step.place == two.make().place
    assert step.plan().step_class.endswith("Mine")


def test_builder_workdir_and_logfiles(tmp_path: Path) -> None:
    step = ShellCommand(command="pwd; echo in file > out.log", logfiles={"out": "out.log"})
    step.setDefaultWorkdir("src")
    harness = Harness(tmp_path)
    go(step, harness)
    assert harness.text(streams="o") == f"{tmp_path}/builddir/src\n"
    assert harness.text("out") == "in file\n"
