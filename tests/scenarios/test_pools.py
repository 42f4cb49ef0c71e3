"""Pools of named units at a running server: who gets which, and what builds and steps are told, after a kill too."""

from collections.abc import Callable
from functools import reduce

from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS

BOARDS = """
boards = util.ResourcePool('boards', {
    'pi-1': {'address': '10.0.0.1', 'port': 22, 'labels': ['arm64']},
    'pi-2': {'address': '10.0.0.2', 'labels': ['arm64', 'flaky']},
    'nuc': {'address': 'nuc.lan'},
})
def say(name, **more):
    words = util.Interpolate('env | grep ^LOCKSTEP_UNIT | sort; echo %(unit:boards:-none)s at '
                             '%(unit:boards:address:-)s')
    return steps.ShellCommand(name=name, command=['sh', '-c', words], **more)
"""


def told(scene: Scene, number: int, step: str, builder: str = "arm") -> list[str]:
    """What a step of a build said."""
    buildid = next(b.buildid for b in scene.facts.of("BuildStarted", builder=builder, number=number))
    return scene.output(buildid, step).splitlines()


def one(name: str, address: str, *more: str) -> list[str]:
    """What is said of one board."""
    return [
        f"LOCKSTEP_UNITS_BOARDS={name}",
        f"LOCKSTEP_UNIT_BOARDS={name}",
        f"LOCKSTEP_UNIT_BOARDS_ADDRESS={address}",
        *more,
        f"{name} at {address}",
    ]


PI_1 = one("pi-1", "10.0.0.1", "LOCKSTEP_UNIT_BOARDS_PORT=22")
PI_2 = one("pi-2", "10.0.0.2")


def test_builds_get_different_units_and_keep_them_when_the_server_is_killed_or_reloads(stage: Stage) -> None:
    config = BOARDS + (
        "c['workers'] = workers('w1', 'w2', 'w3')\n"
        "c['builders'] = [build('arm', gate('hold'), say('say'), locks=[boards.access(where='arm64')],\n"
        "                       on=['w1', 'w2', 'w3'])]\n"
    )
    scene = stage(config, "w1", "w2", "w3")
    first, second, third = scene.force("arm", 3)
    scene.running("arm-1-hold")
    scene.running("arm-2-hold")
    held = "Waits for 1 of 2 units of pool 'boards where arm64', held by arm #1 (pi-1) for "
    scene.until(lambda: scene.why(third)["sentence"].startswith(held), "the third to wait for a board")

    # What it is told is in its properties, and stays so when the server is killed.
    scene.kill()
    scene.start()
    assert scene.get("builds/1", property="*")["builds"][0]["properties"]["units:boards"] == [["pi-1"], "Lock"]
    scene.open("arm-1-hold")
    assert scene.ended(first) == [OK]
    assert told(scene, 1, "say") == PI_1

    # The one that is free is given again; then the less worn of two.
    scene.running("arm-3-hold")
    scene.open("arm-2-hold", "arm-3-hold")
    assert scene.ended(second, third) == [OK, OK]
    assert (told(scene, 2, "say"), told(scene, 3, "say")) == (PI_2, PI_1)
    (fourth,) = scene.force("arm")
    scene.running("arm-4-hold")
    assert [fact.units for fact in scene.facts.of("ClaimGranted")] == [
        (("boards", (name,)),) for name in ("pi-1", "pi-2", "pi-1", "pi-2")
    ]

    # It is gone from the configuration, and stays with whoever has it; nobody else gets it.
    scene.configure(config.replace("    'pi-2':", "    # 'pi-2':").replace("10.0.0.1", "10.0.0.9"))
    reloaded = scene.cli("reload")
    assert reloaded.returncode == 0
    assert "Unit 'pi-2' of pool 'boards' is gone from the configuration while arm #4" in reloaded.stderr
    fifth, sixth = scene.force("arm", 2)
    scene.running("arm-5-hold")
    scene.open("arm-4-hold")
    assert scene.ended(fourth) == [OK]
    assert told(scene, 4, "say") == PI_2
    assert scene.why(sixth)["kind"] == "lock"
    scene.open("hold")
    assert scene.ended(fifth, sixth) == [OK, OK]
    again = [line.replace("10.0.0.1", "10.0.0.9") for line in PI_1]
    assert [told(scene, number, "say") for number in (5, 6)] == [again, again]


def test_steps_are_told_their_own_units_and_their_groups(stage: Stage) -> None:
    scene = stage(
        BOARDS
        + "port = util.MasterLock('port')\n"
        + "group = [gate('first', locks=port), say('second')]\n"
        + "c['workers'] = workers('w1')\n"
        + "c['builders'] = [\n"
        + "    build('step', say('before'), gate('own', locks=[port, boards.access(where='not arm64')]),\n"
        + "          say('last', locks=boards.access(where='pi-1', keepAfterFailure='1h')), say('after')),\n"
        + "    build('group', util.LockedSteps(group, locks=boards.access('exclusive', 1, 'arm64')), say('after')),\n"
        + "]\n",
        "w1",
    )
    nobody = ["none at"]
    (step,) = scene.force("step")
    scene.running("step-1-own")
    scene.kill()
    scene.start()
    scene.open("own")
    assert scene.ended(step) == [OK]
    assert [told(scene, 1, name, "step") for name in ("before", "last", "after")] == [nobody, PI_1, nobody]
    (group,) = scene.force("group")
    scene.running("group-1-first")
    scene.kill()
    scene.start()
    scene.open("first")
    assert scene.ended(group) == [OK]
    assert told(scene, 1, "second", "group") == [
        "LOCKSTEP_UNITS_BOARDS=pi-1,pi-2",
        "LOCKSTEP_UNIT_BOARDS_1=pi-1",
        "LOCKSTEP_UNIT_BOARDS_1_ADDRESS=10.0.0.1",
        "LOCKSTEP_UNIT_BOARDS_1_PORT=22",
        "LOCKSTEP_UNIT_BOARDS_2=pi-2",
        "LOCKSTEP_UNIT_BOARDS_2_ADDRESS=10.0.0.2",
        "LOCKSTEP_UNIT_BOARDS_2_PORT=",
        "pi-1,pi-2 at 10.0.0.1,10.0.0.2",
    ]
    assert told(scene, 1, "after", "group") == nobody


def test_units_are_looked_at_before_a_build_or_step_gets_them(stage: Stage) -> None:
    scene = stage(
        "at = os.path.join(here, 'looks')\nos.makedirs(at, exist_ok=True)\n"
        'look = \'touch "$0.seen"; until [ -e "$0.fit" ] || [ -e "$0.ill" ]; do sleep 0.02; done; \'\n'
        'look += \'[ -e "$0.fit" ] && exit 0; '
        'printf "$LOCKSTEP_UNIT_BOARDS at $1\\\\n has no \\\\033[31mpulse"; exit 3\'\n'
        "boards = util.ResourcePool('boards', {name: {'address': f'10.0.0.{n}'} for n, name in enumerate('abcd')},\n"
        "                           healthCheck=['sh', '-c', look, os.path.join(at, '%(unit)s'), '%(unit:address)s'])\n"
        "wrong = util.ResourcePool('wrong', ['x'], 8, 1, healthCheck=[os.path.join(at, 'nowhere')])\n"
        "say, c['workers'] = ['sh', '-c', 'echo $LOCKSTEP_UNIT_BOARDS'], workers('w1')\n"
        "c['builders'] = [\n"
        "    build('whole', sh('say', say), locks=[boards.access()]),\n"
        "    build('step', sh('before'), sh('say', say, locks=[boards.access(where='c or d')])),\n"
        "    build('wrong', sh('say', say), locks=[wrong]),\n"
        "]\n",
        "w1",
    )
    looks = scene.folder / "looks"

    def looked_at(unit: str) -> None:
        scene.until((looks / f"{unit}.seen").exists, f"somebody to look at {unit}")

    # A build's own: the request goes back with its ticket, and gets another.
    (whole,) = scene.force("whole")
    looked_at("a")
    assert not (looks / "b.seen").exists()
    (looks / "a.ill").touch()
    looked_at("b")
    (looks / "b.fit").touch()
    assert scene.ended(whole) == [OK]
    assert told(scene, 2, "say", "whole") == ["b"]
    (ill,) = scene.facts.of("UnitQuarantined")
    assert (ill.unit, ill.who) == ("a", "")
    assert ill.reason == "health check: sh failed with exit code 3: a at 10.0.0.0 has no \\x1b[31mpulse"
    first, second = scene.facts.of("BuildStarted", builder="whole")
    assert first.ticket == second.ticket
    assert not scene.facts.of("StepStarted", buildid=first.buildid)

    # A step's: it waits again and the build goes on; while it is looked at, the server may be killed.
    (step,) = scene.force("step")
    looked_at("c")
    scene.kill()
    (looks / "c.seen").unlink()
    scene.start()
    looked_at("c")
    (looks / "c.ill").touch()
    looked_at("d")
    (looks / "d.fit").touch()
    assert scene.ended(step) == [OK]
    assert told(scene, 1, "say", "step") == ["d"]
    assert len(scene.facts.of("StepPutBack")) == 1

    # A program that is not there says nothing of the unit.
    (wrong,) = scene.force("wrong")
    assert scene.ended(wrong) == [Result.EXCEPTION]
    (stopping,) = scene.facts.of("BuildStopping", result=Result.EXCEPTION)
    assert "healthCheck of pool 'wrong': " in stopping.reason
    assert stopping.reason.endswith("nowhere cannot be started: No such file or directory")
    assert [fact.unit for fact in scene.facts.of("UnitQuarantined")] == ["a", "c"]


def test_a_step_can_be_stopped_while_its_units_are_looked_at(stage: Stage) -> None:
    scene = stage(
        "look = ['sh', '-c', 'touch \"$0\"; sleep 600', os.path.join(here, 'looks')]\n"
        "boards = util.ResourcePool('boards', ['a'], healthCheck=look)\n"
        "c['workers'] = workers('w1')\n"
        "c['builders'] = [build('step', sh('say', 'echo said', locks=[boards]))]\n",
        "w1",
    )
    (step,) = scene.force("step")
    scene.until((scene.folder / "looks").exists, "somebody to look")
    scene.call("builds/1", "stop", reason="enough")
    assert scene.ended(step) == [Result.CANCELLED]
    assert not scene.facts.of("UnitQuarantined")
    assert not scene.facts.of("CommandKnown")


def test_L6_a_build_of_before_waits_for_who_has_the_pool_that_its_lock_became(stage: Stage) -> None:
    text = """
        db = OLD
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('before', gate('go'), sh('late', 'true', locks=LOCKS)),
                         build('after', gate('stay'), locks=[db.access(HOW)], on='w2')]
        """
    old = {"OLD": "util.MasterLock('db')", "LOCKS": "[db.access('exclusive')]", "HOW": "'exclusive'"}
    new = {"OLD": "util.ResourcePool('db', ['u1'])", "LOCKS": "[]", "HOW": ""}
    before, after = (reduce(lambda text, pair: text.replace(*pair), words.items(), text) for words in (old, new))
    scene = stage(before, "w1", "w2")
    (first,) = scene.force("before")
    scene.running("before-1-go")
    scene.configure(after)
    assert scene.cli("reload").returncode == 0
    (second,) = scene.force("after")
    scene.running("after-1-stay")
    scene.open("go")
    scene.until(lambda: "db" in scene.why(first)["sentence"], "the step to wait for the pool of the lock's name")
    scene.open("stay")
    assert scene.ended(first, second) == [Result.SUCCESS] * 2
    had = scene.facts.holds("db")
    assert len(had) == 2
    assert not had[0].meets(had[1])


def test_sources_whose_programs_hang_keep_no_unit_from_being_looked_at(stage: Stage) -> None:
    scene = stage(
        "boards = util.ResourcePool('boards', ['u'], healthCheck=['true'])\n"
        "slow = os.path.join(here, 'slow')\n"
        "with open(slow, 'w') as file:\n"
        "    file.write(f'#!/bin/sh\\n>{slow}.$$\\nexec sleep 600\\n')\n"
        "os.chmod(slow, 0o755)\n"
        "c['change_source'] = [changes.GitPoller(repourl=f'file:///{n}', gitbin=slow, pollAtLaunch=True)\n"
        "                      for n in range(12)]\n"
        "c['workers'] = workers('w1')\n"
        "c['builders'] = [build('b', sh('s'), locks=[boards.access()])]\n",
        "w1",
    )
    scene.until(lambda: len(list(scene.folder.glob("**/slow.*"))) >= 8, "programs that hang in every thread")
    assert scene.ended(*scene.force("b")) == [OK]
