"""The options of programs, as users meet them: signals, limits of time, input, exit codes, log files."""

from collections.abc import Callable

from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
CONFIG = """
    def run(name, command, **more):
        return build(name, steps.ShellCommand(name='s', command=command, **more))
    polite = "trap 'echo told; exit 0' TERM INT; echo begun; while :; do sleep 0.05; done"
    deaf = "trap '' TERM; echo begun; while :; do sleep 0.05; done"
    c['workers'] = workers('w1')
    c['builders'] = [
        run('late', ['sh', '-c', polite], timeout=6, sigtermTime=60),
        run('deaf', ['sh', '-c', deaf], timeout=6, sigtermTime=1),
        run('long', ['sh', '-c', polite], maxTime=1),
        run('stopped', ['sh', '-c', polite], interruptSignal='INT'),
        run('input', 'cat; echo .', initialStdin=util.Interpolate('to %(worker:name)s')),
        run('no-input', 'cat; echo .'),
        run('files', 'echo a > one', logfiles={'one': 'one', 'never': 'never'}, lazylogfiles=True),
        run('wrong', 'true', interruptSignal=util.Interpolate('FOO')),
        build('codes', *(steps.ShellCommand(name=f's{rc}', command=f'exit {rc}', haltOnFailure=False,
                                            decodeRC={0: util.SUCCESS, 3: util.WARNINGS, 4: util.SKIPPED})
                         for rc in (3, 4, 5))),
    ]
"""


def test_options_of_programs(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    names = ["late", "deaf", "long", "stopped", "input", "no-input", "files", "wrong", "codes"]
    asked = {name: scene.force(name)[0] for name in names}
    scene.until(lambda: "\nbegun\n" in scene.cli("log", "stopped/1").stdout, "the program that is stopped")
    scene.cli("cancel", "stopped/1")
    results = dict(zip(names, scene.ended(*asked.values()), strict=True))

    def state(builder: str) -> list[str]:
        return [step["state_string"] for step in scene.all("steps", f"builders/{builder}/builds/1/steps")]

    def said(builder: str) -> str:
        return scene.cli("log", f"{builder}/1").stdout

    late = ["'sh -c ...' (failure) (timed out)"]
    assert [state(name) for name in ("late", "deaf", "long")] == [late] * 3
    assert "\ntold\n" in said("late")
    assert "killed by signal 9" in said("deaf")
    assert "\ntold\n" not in said("long")
    assert results["stopped"] == Result.CANCELLED
    assert "\ntold\n" in said("stopped")
    assert "to w1.\n" in said("input")
    assert said("no-input").splitlines()[-1] == "."
    assert "=== s: one\na\n" in said("files")
    assert "never" not in said("files").replace("'never'", "")
    assert results["wrong"] == Result.FAILURE
    assert "there is no signal 'FOO'" in said("wrong")
    assert state("codes") == ["'exit 3' (warnings)", "'exit 4' (skipped)", "'exit 5' (failure)"]


def test_a_signal_that_does_not_exist_is_a_mistake(stage: Stage) -> None:
    scene = stage("c['workers'] = workers('w1')\nc['builders'] = [build('one', sh('s'))]\n")
    scene.configure("steps.ShellCommand(command='x', interruptSignal='FOO')\n")
    told = scene.cli("check", str(scene.file))
    assert told.returncode == 1
    assert "interruptSignal: there is no signal 'FOO'" in told.stderr
