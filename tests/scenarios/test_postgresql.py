"""The same server on a real PostgreSQL: builds, kills, a second server on the same database."""

import subprocess
from collections.abc import Callable

from scene import PROGRAM, Scene
from test_crash import GUARDED, kill_at_random

Stage = Callable[..., Scene]


def test_kills_at_random_moments_on_postgresql(stage: Stage, new_database: Callable[[], str]) -> None:
    url = new_database()
    kill_at_random(stage(f"    c['db'] = {{'db_url': {url!r}}}\n{GUARDED}", "w1", "w2", store=url), 3)


def test_a_second_server_on_the_same_database_is_refused(stage: Stage, new_database: Callable[[], str]) -> None:
    url = new_database()
    scene = stage(f"    c['db'] = {{'db_url': {url!r}}}\n{GUARDED}", "w1", store=url)
    elsewhere = scene.folder / "elsewhere"
    elsewhere.mkdir()
    words = [PROGRAM, "run", str(scene.file), "--basedir", str(elsewhere), "--port", "0"]
    second = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 5
    assert "is in use by another process" in second.stderr
    assert "Traceback" not in second.stderr
    assert set(scene.ended(*scene.force("free"))) == {0}
