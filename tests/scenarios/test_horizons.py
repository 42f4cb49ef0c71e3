"""Old logs and builds are deleted by a whole server, at its next start if it was off at the time; and told of."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fault_tools import Clock, why_no_clock
from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
DAY = 86400
CONFIG = """
    from datetime import timedelta
    c['workers'] = workers('w1', max_builds=2)
    lock = util.MasterLock('lock')
    c['builders'] = [build('b', sh('talk', 'echo hello'), gate('wait'))]
    other = [build('old', sh('talk', 'echo hello', locks=[lock.access('exclusive')]))]
"""
BOTH = CONFIG + "    c['builders'] += other\n"
JANITOR = CONFIG + "    c['configurators'] = [util.JanitorConfigurator(hour=12, dayOfWeek='sun', %s)]\n"


@pytest.fixture
def clock(tmp_path: pytest.TempPathFactory) -> Clock:
    """The server's wall clock."""
    if why := why_no_clock():
        pytest.skip(why)
    return Clock(tmp_path, "server")  # type: ignore[arg-type]


def test_old_logs_and_builds_go_and_what_runs_goes_on(stage: Stage, clock: Clock) -> None:
    """A reload says how long they are kept; the server is off at the time, and does it at its next start."""
    scene = stage(BOTH, "w1", env=clock.env)
    assert [scene.ended(*scene.force("old")) for _ in range(3)] == [[Result.SUCCESS]] * 3
    (brid,) = scene.force("b")
    scene.running("b-1-wait")
    scene.configure(JANITOR % "logHorizon=timedelta(days=2), buildHorizon=timedelta(weeks=1)")
    assert scene.cli("reload").returncode == 0
    scene.fact("MemoryKept", owner="janitor")
    scene.stop()
    clock.step(10 * DAY)
    scene.start()
    scene.until(lambda: scene.page("/api/v2/builds/1")[0] == 404, "the end of the old builds")
    scene.until(lambda: scene.page("/api/v2/logs/3")[1].count('"d"'), "the end of the old log")
    assert "Build 1 was deleted, on " in scene.page("/builds/1")[1]
    assert "what ended more than 1 week ago is not kept" in scene.page("/api/v2/builds/1")[1]
    assert "Build old #2 was deleted" in scene.page("/api/v2/builders/old/builds/2")[1]
    assert "There is no build 99" in scene.page("/api/v2/builds/99")[1]
    (log,) = scene.all("logs", "builds/3/steps/talk/logs/stdio")  # the last build of its builder stays
    assert (log["type"], log["num_lines"], log["horizon"]) == ("d", 0, 2 * DAY)
    told = "its build had ended more than 2 days before."
    for path in (f"/logs/{log['logid']}", f"/api/v2/logs/{log['logid']}/raw", "/builds/3"):
        status, text = scene.page(path)
        assert (status, told in text) == (200, True), path
    assert told in scene.cli("log", "old/3").stdout
    assert "was deleted" in scene.cli("log", "old/1").stderr
    assert scene.page("/locks/lock")[0] == 200
    scene.open("wait")
    assert scene.ended(brid) == [Result.SUCCESS]
    assert scene.output(4, "talk") == "hello\n"
    assert scene.output(4, "wait") == "begun\nopen\n"
    (brid,) = scene.force("b")
    assert scene.ended(brid) == [Result.SUCCESS]
    assert scene.get("builders/b/builds/2")["builds"][0]["buildid"] == 5


def test_nothing_goes_before_its_time(stage: Stage, clock: Clock) -> None:
    later = datetime.now(UTC) + timedelta(days=150)
    when = f"month={later.month}, dayOfMonth=15"
    scene = stage(JANITOR.replace("dayOfWeek='sun'", when) % "logHorizon=timedelta(hours=1)", "w1", env=clock.env)
    scene.open("wait")
    assert scene.ended(*scene.force("b")) == [Result.SUCCESS]
    scene.stop()
    clock.step(10 * DAY)
    scene.start()
    assert scene.ended(*scene.force("b")) == [Result.SUCCESS]
    assert scene.output(1, "talk") == "hello\n"
