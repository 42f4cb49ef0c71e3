"""Units in quarantine are looked at again by a running server (L95): until they are fit, never twice at once."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

CONFIG = """
    at = os.path.join(here, 'looks')
    os.makedirs(at, exist_ok=True)
    look = 'echo >>"$0.seen"; mkdir "$0.now" || touch "$0.twice"; '
    look += 'while [ -e "$0.long" ]; do touch "$0.lasts"; sleep 0.02; done; '
    look += 'rmdir "$0.now"; [ -e "$0.fit" ] || { echo no pulse; exit 1; }'
    boards = util.ResourcePool('boards', ['a', 'b'], healthCheckRetry=1,
                               healthCheck=['sh', '-c', look, os.path.join(at, '%(unit)s')])
    c['workers'] = workers('w1')
    c['builders'] = [build(unit, sh('say'), locks=[boards.access(where=unit)]) for unit in 'ab']
    """


def seen(looks: Path, unit: str) -> int:
    """How often a unit was looked at."""
    file = looks / f"{unit}.seen"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_L95_a_unit_that_is_fit_again_is_had_again_and_a_person_s_quarantine_stays(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    looks = scene.folder / "looks"
    (first,) = scene.force("a")
    scene.until(lambda: seen(looks, "a") > 2, "a to be looked at again and again")
    assert "a (health check: sh failed with exit code 1: no pulse; for " in scene.why(first)["sentence"]
    assert ", looked at again in " in scene.why(first)["sentence"]
    assert ", looked at again at " in scene.cli("locks", "boards").stdout
    with urlopen(f"http://127.0.0.1:{scene.port}/locks/boards") as page:
        shown = page.read().decode()
    assert ", looked at again at <time" in shown
    assert 'action="/locks/boards/a/quarantine"' in shown  # to make it one's own
    assert 'action="/locks/boards/b/quarantine"' in shown
    (unit,) = [each for each in scene.lock("boards")["units"] if each["name"] == "a"]
    assert unit["checked_again_at"] > unit["quarantined_at"]

    # A look that a kill has ended is begun again.
    (looks / "a.long").touch()
    scene.until((looks / "a.lasts").exists, "a look that lasts")
    scene.kill()
    (looks / "a.long").unlink()
    with contextlib.suppress(FileNotFoundError):  # it may have come to its end in the same moment
        (looks / "a.now").rmdir()
    (looks / "a.fit").touch()
    scene.start()
    assert scene.ended(first) == [Result.SUCCESS]
    (lifted,) = scene.facts.of("QuarantineLifted")
    assert (lifted.unit, lifted.who, lifted.reason) == ("a", "", "its health check passes")
    assert "back in use" in (history := scene.cli("locks", "boards", "--history").stdout)
    assert "a: its health check passes" in history

    # What a person has said since is not lifted by a look: b, which comes later, is had again, and a is not.
    (looks / "a.fit").unlink()
    scene.force("a")
    scene.until(lambda: len(scene.facts.of("UnitQuarantined", unit="a")) == 2, "a to fail again")
    assert scene.cli("quarantine", "boards/a", "--reason", "it is mine").returncode == 0
    (looks / "a.fit").touch()
    (second,) = scene.force("b")
    scene.until(lambda: seen(looks, "b") > 1, "b to be looked at again")
    (looks / "b.fit").touch()
    assert scene.ended(second) == [Result.SUCCESS]
    assert [fact.unit for fact in scene.facts.of("QuarantineLifted")] == ["a", "b"]
    assert not list(looks.glob("*.twice"))


def test_L95_a_build_that_gets_a_unit_while_it_is_looked_at_waits_for_that(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    looks = scene.folder / "looks"
    (brid,) = scene.force("a")
    scene.until(lambda: seen(looks, "a") > 1, "a to be looked at again")
    (looks / "a.long").touch()
    scene.until((looks / "a.lasts").exists, "a look that lasts")
    lasting = seen(looks, "a")
    (looks / "a.fit").touch()
    assert scene.cli("quarantine", "--lift", "boards/a").returncode == 0
    waits = "Looks at boards/a first (healthCheck), for "
    scene.until(lambda: scene.why(brid)["sentence"].startswith(waits), "a build to have a, and to look at it")
    assert seen(looks, "a") == lasting
    (looks / "a.long").unlink()
    assert scene.ended(brid) == [Result.SUCCESS]
    assert seen(looks, "a") == lasting + 1
    assert not list(looks.glob("*.twice"))
