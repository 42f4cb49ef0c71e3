"""Commands that wait go on when the server that they ask is started again."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from scene import DEADLINE, PROGRAM, Scene

Stage = Callable[..., Scene]
ONE = "c['workers'] = workers('w1')\nc['builders'] = [build('one', gate('in'), sh('after', 'echo after'))]\n"


def asking(scene: Scene, name: str, *words: str) -> "tuple[subprocess.Popen[bytes], Path, Path]":
    """A command that runs along, and the files of what it says."""
    out, err = scene.folder / f"{name}.out", scene.folder / f"{name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        env = {**scene.env, "LOCKSTEP_URL": scene.url}
        process = subprocess.Popen([str(PROGRAM), *words], stdout=stdout, stderr=stderr, env=env)
    return process, out, err


def test_force_and_log_wait_for_a_server_that_comes_back(stage: Stage) -> None:
    scene = stage(ONE, "w1")
    force, said, told = asking(scene, "force", "force", "one", "--wait")
    scene.running("one-1-in")
    log, lines, heard = asking(scene, "log", "log", "one/1", "--follow")
    hasty, _, gone = asking(scene, "hasty", "log", "one/1", "--follow", "--patience", "0")
    scene.until(lambda: "build 1 runs" in told.read_text() and "begun" in lines.read_text(), "what is told")
    scene.kill()
    scene.until(lambda: all("Waiting for it to come back" in f.read_text() for f in (told, heard)), "patience")
    assert hasty.wait(DEADLINE) == 3
    assert "No server answers" in gone.read_text()
    scene.start()
    scene.open("in")
    assert force.wait(DEADLINE) == 0
    assert log.wait(DEADLINE) == 0
    assert "build 1: success" in said.read_text()
    assert lines.read_text().count("begun\n") == 1
    assert "after\n" in lines.read_text()
    assert "The server is back." in told.read_text()
    assert "Traceback" not in told.read_text() + heard.read_text()


def test_a_server_that_stays_away_is_given_up(stage: Stage) -> None:
    scene = stage(ONE, "w1")
    force, _, told = asking(scene, "force", "force", "one", "--wait", "--patience", "1")
    scene.running("one-1-in")
    scene.until(lambda: "build 1 runs" in told.read_text(), "what is told")
    scene.kill()
    assert force.wait(DEADLINE) == 3
    assert "No server answers" in told.read_text().splitlines()[-2]
