"""People and programs with units of pools at a running server: they quarantine, hold, run commands with one, steal."""

from collections.abc import Callable
from typing import Any

from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

CONFIG = """
    db = util.MasterLock('database')
    boards = util.ResourcePool('boards', {
        'pi-1': {'address': '10.0.0.1', 'labels': ['arm']},
        'pi-2': {'address': '10.0.0.2', 'labels': ['arm']},
        'nuc': {'labels': ['amd']},
    }, quarantineAfter=2)
    c['workers'] = workers('w1')
    c['builders'] = [build('arm', gate('go'), locks=[boards.access(where='arm')]),
                     build('bad', sh('no', 'false'), locks=[boards.access(where='amd')])]
    """


def unit(scene: Scene, name: str) -> dict[str, Any]:
    return next(each for each in scene.lock("boards")["units"] if each["name"] == name)


def test_a_quarantine_holds_through_kill_9_and_a_reload_and_is_told_to_whoever_waits(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    done = scene.cli("quarantine", "boards/pi-1", "--reason", "it hums")
    assert (done.returncode, done.stdout) == (
        0,
        "Unit 'pi-1' of pool 'boards' is in quarantine. Who has it keeps it.\n",
    )
    scene.kill()
    scene.start()
    scene.cli("reload")
    (brid,) = scene.force("arm")
    scene.running("arm-1-go")
    assert scene.lock("boards")["holders"][0]["names"] == ["pi-2"]
    assert (unit(scene, "pi-1")["quarantine"], unit(scene, "pi-1")["quarantined_by"]) == ("it hums", "ann")
    waits = scene.cli("hold", "boards", "--where", "arm", "--no-wait")
    assert "held by arm #1 (pi-2) for" in waits.stdout
    assert "in quarantine: pi-1 (it hums; by ann, for " in waits.stdout
    shown = scene.cli("locks", "boards").stdout
    assert "pi-1 [arm] (address 10.0.0.1): nobody has it, used 0 times, in quarantine since" in shown
    assert "pi-2 [arm] (address 10.0.0.2): held by arm #1, used once" in shown
    assert scene.cli("quarantine", "--lift", "boards/pi-1").stdout == "Unit 'pi-1' of pool 'boards' is in use again.\n"
    scene.until(lambda: len(scene.lock("boards")["holders"]) == 2, "the booking to be held")
    history = scene.cli("locks", "boards", "--history").stdout
    assert "pi-1: it hums, by ann" in history
    assert "back in use" in history
    scene.open("arm-1-go")
    assert scene.ended(brid) == [Result.SUCCESS]


def test_a_unit_with_which_builds_fail_goes_into_quarantine_by_itself(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    for _ in range(2):
        assert scene.ended(*scene.force("bad")) == [Result.FAILURE]
    assert unit(scene, "nuc")["quarantine"] == "2 builds in a row failed with it: bad #2 and bad #1"
    (brid,) = scene.force("bad")
    scene.until(lambda: scene.why(brid)["kind"] == "quarantine", "the build to be told why")
    sentence = scene.why(brid)["sentence"]
    assert sentence.startswith("Waits for 1 of pool 'boards where amd', of which 0 can be had; in quarantine: nuc (2 ")
    assert "2 builds in a row failed with it: bad #2 and bad #1; for " in sentence
    assert sentence.endswith("To use it again: `lockstep quarantine --lift boards/nuc`.")
    scene.cli("quarantine", "--lift", "boards/nuc")
    assert scene.ended(brid) == [Result.FAILURE]
    assert unit(scene, "nuc")["quarantine"] is None
    assert unit(scene, "nuc")["failed"] == ["bad #3"]


def test_a_person_holds_extends_releases_and_steals_a_unit(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    held, known = scene.cli("hold", "boards/pi-2", "--for", "1h").stdout.splitlines()
    assert held.startswith("Booking 1 holds pi-2 of 'boards' (fence 1) until ")
    assert known == "  boards/pi-2: address 10.0.0.2"
    assert scene.cli("hold", "boards").stdout == "Booking 2 holds nuc of 'boards' (fence 2).\n"
    assert scene.cli("extend", "boards/pi-2", "--for", "1h").returncode == 0
    assert scene.cli("release", "boards/nuc").stdout == "Booking 2 is released.\n"
    stolen = scene.cli("steal", "boards/pi-2", "--reason", "now")
    assert stolen.stdout == f"Booking 3 holds pi-2 of 'boards' (fence 3).\n{known}\n", stolen.stderr
    checked = scene.cli("fence", "check", "boards/pi-2", "3")
    assert (checked.returncode, checked.stdout) == (
        0,
        "Fence 3 of unit 'boards/pi-2' is current: ann (booking 3: now) has it.\n",
    )
    assert "Fence 1 of pool 'boards' is not current" in scene.cli("fence", "check", "boards", "1").stdout
    assert scene.cli("hold", "boards", "--exclusive", "--no-wait").stdout.startswith("Booking 4 waits. ")


def test_a_command_runs_with_a_unit_and_is_told_which(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    told = "echo $LOCKSTEP_UNITS_BOARDS $LOCKSTEP_UNIT_BOARDS_ADDRESS $LOCKSTEP_FENCE_BOARDS"
    run = scene.cli("exec", "--lock", "boards", "--where", "arm", "--", "sh", "-c", told)
    assert (run.returncode, run.stdout) == (0, "pi-1 10.0.0.1 1\n"), run.stderr
    run = scene.cli("exec", "--lock", "boards/pi-2", "--lock", "database", "--", "sh", "-c", told)
    assert run.stdout == "pi-2 10.0.0.2 2\n"
    run = scene.cli("exec", "--lock", "boards", "--mode", "exclusive", "--", "sh", "-c", "echo $LOCKSTEP_UNITS_BOARDS")
    assert run.stdout == "nuc,pi-1,pi-2\n"
    both = ("exec", "--lock", "boards", "--count", "2", "--where", "pi-1 or pi-2", "--", "sh", "-c")
    assert scene.cli(*both, "echo $LOCKSTEP_UNITS_BOARDS").stdout == "pi-1,pi-2\n"


def test_what_is_wrong_gets_one_sentence_and_changes_nothing(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    said = {
        ("quarantine", "boards/pi-9", "--reason", "x"): (
            4,
            "Pool 'boards' has no unit 'pi-9'. Did you mean 'boards/pi",
        ),
        ("quarantine", "phones/a", "--reason", "x"): (4, "There is no pool 'phones'. There are: boards."),
        ("exec", "--lock", "boards/pi-1", "--lock", "boards/pi-2", "--", "true"): (
            4,
            "Units of pool 'boards' are asked for one by one: ask once for 2 where 'pi-1 or pi-2' "
            '(lockstep exec --lock boards --count 2 --where "pi-1 or pi-2").',
        ),
        ("exec", "--lock", "boards/pi-1", "--lock", "boards where arm", "--", "true"): (
            4,
            "Units of pool 'boards' are asked for more than once: ask once, with a count and a where that admits all",
        ),
        ("quarantine", "", "--reason", "x"): (2, "An empty name means nothing.\nIs a variable empty?"),
        ("quarantine", "boards", "--reason", "x"): (4, "'boards' names no unit: write POOL/UNIT."),
        ("quarantine", "database/x", "--reason", "x"): (4, "There is no pool 'database'."),
        ("quarantine", "boards/pi-1"): (2, "Say why: --reason TEXT."),
        ("quarantine", "--lift", "boards/pi-1"): (4, "Unit 'pi-1' of pool 'boards' is not in quarantine."),
        ("hold", "boards/pi-9"): (4, "Pool 'boards' has no unit 'pi-9'."),
        ("hold", "boards", "--where", "mips"): (4, "Pool 'boards' has no unit and no label 'mips'."),
        ("hold", "boards", "--where", "arm or"): (4, "'arm or' cannot be read: a label is missing at the end"),
        ("hold", "boards", "--count", "4"): (4, "Pool 'boards' has 3 units: 4 can never be had."),
        ("hold", "database", "--where", "arm"): (4, "'where' is for pools; 'database' is a lock."),
        ("release", "boards/pi-1"): (4, "Nobody has booked unit 'boards/pi-1'."),
        ("steal", "boards/pi-1", "--reason", "now"): (4, "Nobody holds unit 'pi-1' of pool 'boards': hold it"),
        ("locks", "boards/pi-9"): (4, "Pool 'boards' has no unit 'pi-9'."),
        ("exec", "--lock", "boards", "--lock", "database", "--where", "arm", "--", "true"): (
            2,
            "--where is for a single",
        ),
    }
    before = scene.facts.last
    for words, (code, text) in said.items():
        done = scene.cli(*words)
        assert (done.returncode, text in done.stderr) == (code, True), (words, done)
    assert scene.facts.last == before


def test_a_unit_in_quarantine_that_is_held_is_counted_beside_the_others(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    scene.cli("hold", "boards/nuc")
    scene.cli("quarantine", "boards/nuc", "--reason", "it smells")
    assert "boards (pool): 0 of 2 held, and out of use but held: nuc\n" in scene.cli("locks", "boards").stdout
    (row,) = [line for line in scene.cli("locks").stdout.splitlines() if line.startswith("boards ")]
    assert row.split()[:4] == ["boards", "pool", "0/2", "+1"]


def test_a_pool_that_is_gone_is_seen_and_given_back_while_somebody_has_it_or_it_is_in_quarantine(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    assert scene.cli("hold", "boards/pi-2", "--for", "1h").returncode == 0
    assert scene.cli("quarantine", "boards/nuc", "--reason", "it smells").returncode == 0
    scene.configure("c['workers'] = workers('w1')\nc['builders'] = [build('one', sh('say', 'true'))]\n")
    assert scene.cli("reload").returncode == 0
    for restart in (False, True):
        if restart:
            scene.kill()
            scene.start()
        shown = scene.cli("locks", "boards").stdout
        assert "pi-2: held by ann (booking 1), used once, no unit any more" in shown
        assert "nuc: nobody has it, used 0 times, no unit any more, in quarantine since" in shown
        assert "held by ann" in scene.cli("locks", "boards/pi-2").stdout
        assert "boards (pool): 1 held, removed from the configuration\n" in shown
        (row,) = [line for line in scene.cli("locks").stdout.splitlines() if line.startswith("boards ")]
        assert row.split()[:3] == ["boards", "pool", "1"]
        for words in (["hold", "boards"], ["hold", "boards/pi-2"], ["quarantine", "boards/pi-2", "--reason", "x"]):
            done = scene.cli(*words)
            told = "Pool 'boards' is not in the configuration any more: its units go to nobody."
            assert (done.returncode, told in done.stderr) == (4, True), done
        said = scene.cli("quarantine", "--lift", "boards/pi-2").stderr
        assert "Unit 'pi-2' of pool 'boards' is not in quarantine." in said
        assert "boards" in scene.cli("locks").stdout
        extended = scene.cli("extend", "boards/pi-2", "--for", "1h")
        assert extended.returncode == 0, extended.stderr
    assert scene.cli("release", "boards/pi-2").stdout == "Booking 1 is released.\n"
    lifted = scene.cli("quarantine", "--lift", "boards")
    assert lifted.stdout == "Unit 'nuc' of pool 'boards' is in use again.\n", lifted.stderr
    assert "There is no lock 'boards'." in scene.cli("locks", "boards").stderr
