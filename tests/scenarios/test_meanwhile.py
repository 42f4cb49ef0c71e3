"""What happens while somebody is away: the configuration changes, builds are cancelled, time limits run out."""

from collections.abc import Callable
from pathlib import Path

from scene import Scene
from scene_agents import Cable
from timeline import ENDLESS, apart, check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS


def test_the_configuration_changes_while_the_server_is_down(stage: Stage) -> None:
    """A builder with other steps, and one that is gone: their commands are stopped before anybody else enters."""
    config = """
        one, two = (util.MasterLock(name).access('exclusive') for name in ('one', 'two'))
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('next1', gate('in'), on='w2', locks=[one]),
                         build('next2', gate('in'), on='w2', locks=[two])]
"""
    before = """
        c['builders'] += [build('changes', gate('wait'), sh('after'), locks=[one]),
                          build('goes', gate('wait'), locks=[two])]
"""
    after = """
        c['builders'] += [build('changes', steps.SetProperty(property='new', value='yes'), gate('wait'), locks=[one])]
"""
    scene = stage(config + before, "w1", "w2")
    (changes,) = scene.force("changes")
    (goes,) = scene.force("goes")
    scene.running("changes-1-wait")
    scene.running("goes-1-wait")
    nexts = [*scene.force("next1"), *scene.force("next2")]
    scene.kill()
    scene.configure(config + after)
    scene.start()
    scene.running("next2-1-in")
    assert not scene.runs("goes-1-wait")
    assert "goes" in scene.fact("BuildEnded", buildid=2).summary
    assert "have changed" in scene.fact("BuildEnded", buildid=1).summary
    assert not scene.runs("changes-1-wait")
    scene.open("in", "wait")
    assert scene.ended(*nexts, changes) == [OK] * 3
    assert scene.reads.properties_of_build(scene.facts.builds("changes")[-1].fact.buildid)["new"][0] == "yes"
    assert "not configured any more" in scene.why(goes)["sentence"]
    for lock in ("one", "two"):
        check_lock(scene.facts, lock, 1)
    scene.configure(config + before)
    assert scene.cli("reload").returncode == 0
    assert scene.ended(goes) == [OK]


def test_a_worker_leaves_the_configuration_while_it_builds(stage: Stage) -> None:
    config = """
        one = util.MasterLock('one').access('exclusive')
        c['workers'] = workers({workers})
        c['builders'] = [build('b', gate('wait'), sh('after', 'echo after'), on=[{workers}], locks=[one])]
    """
    scene = stage(config.format(workers="'w2', 'w1'"), "w2", "w1")
    (first,) = scene.force("b")
    scene.running("b-1-wait")
    (second,) = scene.force("b")
    scene.configure(config.format(workers="'w1'"))
    assert scene.cli("reload").returncode == 0
    assert scene.runs("b-1-wait")
    scene.open("wait")
    assert scene.ended(first, second) == [OK, OK]
    assert scene.output(1, "after") == "after\n"
    assert [span.fact.worker for span in scene.facts.builds("b")] == ["w2", "w1"]
    check_lock(scene.facts, "one", 1)


def test_cancelled_while_its_worker_is_cut_off(stage: Stage, cables: Callable[[int], Cable]) -> None:
    """The hold lasts until the worker is back and has stopped the command."""
    scene = stage(
        """
        one = util.MasterLock('one').access('exclusive')
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('holder', gate('wait'), sh('never'), sh('tidy', alwaysRun=True), locks=[one]),
                         build('heir', gate('in'), on='w2', locks=[one])]
        """,
        "w2",
    )
    cable = cables(scene.port)
    scene.agent("w1", url=cable.url)
    (holder,) = scene.force("holder")
    scene.running("holder-1-wait")
    (heir,) = scene.force("heir")
    cable.cut()
    scene.fact("WorkerDown", worker="w1")
    scene.cancel(holder)
    scene.fact("BuildStopping", buildid=1)
    scene.kill()
    scene.start()
    assert scene.runs("holder-1-wait")
    assert scene.facts.holds("one")[0].end == ENDLESS
    cable.mend()
    scene.running("heir-1-in")
    assert not scene.runs("holder-1-wait")
    scene.open("in")
    assert scene.ended(holder, heir) == [Result.CANCELLED, OK]
    assert [s.fact.buildid for s in scene.facts.commands("tidy")] == [1]
    assert not scene.facts.commands("never")
    assert apart(scene.facts.commands("wait") + scene.facts.commands("in"))
    check_lock(scene.facts, "one", 1)


def test_time_limits_of_commands_run_while_the_server_is_down(stage: Stage) -> None:
    scene = stage(
        """
        one = util.MasterLock('one').access('exclusive')
        c['workers'] = workers('w1')
        c['builders'] = [build('slow', sh('long', 'echo fence %s; touch %s; sleep 1000' % (
                             '$LOCKSTEP_FENCE_ONE', os.path.join(here, 'runs')), maxTime=3), locks=[one]),
                         build('fence', sh('tell', ['echo', util.Property('fence:one')]), locks=[one])]
        """,
        "w1",
    )
    (slow,) = scene.force("slow")
    (fence,) = scene.force("fence")
    scene.until((scene.folder / "runs").exists, "the command")
    scene.kill()
    scene.until(lambda: "sleep 1000" not in commands_of(scene), "the end of its time")
    scene.start()
    assert scene.ended(slow, fence) == [Result.FAILURE, OK]
    assert scene.output(1, "long") == "fence 1\n"
    assert scene.output(2, "tell") == "2\n"


def commands_of(scene: Scene) -> str:
    """The command lines of all processes whose working directory is in the scene's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(process.joinpath("cwd").readlink()).startswith(f"{scene.folder}/"):
                found.append(process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return "\n".join(found)
