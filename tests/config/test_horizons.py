"""How long things are kept, as a configuration says it: what is taken, and which nonsense is refused, where."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lockstep.compat.loading import load_config
from lockstep.config.config import Config
from lockstep.config.errors import ConfigErrors
from lockstep.plugins import util

HEAD = """\
from buildbot.plugins import *
from datetime import timedelta
c = BuildmasterConfig = {}
"""


@pytest.fixture
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as here:
        here.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def load(tmp_path: Path, text: str) -> Config:
    (tmp_path / "master.cfg").write_text(HEAD + text)
    return load_config(str(tmp_path / "master.cfg"))


JANITOR = "c['configurators'] = [util.JanitorConfigurator(%s)]"


@pytest.mark.usefixtures("_in_utc")
def test_what_the_manual_shows(tmp_path: Path) -> None:
    for day in ("6", "'sun'", "'6'", "[6]"):
        config = load(tmp_path, JANITOR % f"logHorizon=timedelta(weeks=4), hour=12, dayOfWeek={day}")
        janitor = config.janitor
        assert janitor is not None
        assert (janitor.logHorizon, janitor.buildHorizon) == (28 * 86400, None)
        assert janitor.after(0.0) == (3 * 24 + 12) * 3600  # the first of January of 1970 was a Thursday
        assert config.warnings == ()


@pytest.mark.usefixtures("_in_utc")  # elsewhere a day may begin at one o'clock
def test_at_midnight_if_nothing_is_said_and_imported_from_where_it_lives(tmp_path: Path) -> None:
    text = "from buildbot.configurators.janitor import JanitorConfigurator as J\n"
    config = load(tmp_path, f"{text}c['configurators'] = [J(timedelta(days=1), buildHorizon=timedelta(days=2))]")
    assert config.janitor is not None
    when = config.janitor.after(time.time())
    assert when is not None
    assert time.localtime(when)[3:6] == (0, 0, 0)
    assert config.janitor.buildHorizon == 2 * 86400
    assert config.changeHorizon is None


@pytest.mark.parametrize(("value", "kept"), [("200", 200), ("None", None), ("0", None)])
def test_so_many_changes_are_kept(tmp_path: Path, value: str, kept: int | None) -> None:
    assert load(tmp_path, f"c['changeHorizon'] = {value}").changeHorizon == kept


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (JANITOR % "logHorizon=3600", "logHorizon must be a timedelta, not 3600"),
        (JANITOR % "buildHorizon='1 week'", "buildHorizon must be a timedelta, not '1 week'"),
        (JANITOR % "logHorizon=timedelta(days=-1)", "logHorizon must be at least 1 hour, not -1 day"),
        (JANITOR % "buildHorizon=timedelta(0)", "buildHorizon must be at least 1 hour, not 0:00:00"),
        (JANITOR % "logHorizon=timedelta(1), hour=24", "hour=24 is no time; it is from 0 to 23"),
        (JANITOR % "logHorizon=timedelta(1), dayOfMonth=30, month=2", "is never such a day: dayOfMonth=30, month=2"),
        (JANITOR % "logHorizon=timedelta(1), dayOfWeek='sunday-ish'", "dayOfWeek='sunday-ish' is no time"),
        (JANITOR % "loghorizon=timedelta(1)", 'unknown keyword "loghorizon" .*did you mean "logHorizon"'),
        (JANITOR % "logHorizon=timedelta(1), onlyIfChanged=True", '"onlyIfChanged" of JanitorConfigurator is not supp'),
        ("c['configurators'] = [1]", r"c\['configurators'\]: 1 is not supported yet"),
        ("c['configurators'] = 2 * [util.JanitorConfigurator(timedelta(1))]", "there are two janitors"),
        ("c['changeHorizon'] = -1", "must be how many changes are kept"),
        (f"c['changeHorizon'] = {10**30}", "must be how many changes are kept"),
        (JANITOR % "logHorizon=timedelta(1), hour='* * *'", "hour='\\* \\* \\*' is no time"),
        (JANITOR % "logHorizon=timedelta(1), minute=''", "minute='' is no time"),
        ("c['changeHorizon'] = True", "must be how many changes are kept"),
        ("c['changeHorizon'] = '5'", "must be how many changes are kept"),
    ],
)
def test_nonsense_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigErrors, match=words) as caught:
        load(tmp_path, text)
    assert [mistake.place.line for mistake in caught.value.mistakes] == [4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (JANITOR % "", "nothing is ever deleted"),
        (JANITOR % "timedelta(2), buildHorizon=timedelta(1)", "logs go with their builds"),
        (JANITOR % "build_data_horizon=timedelta(1)", "build_data_horizon of JanitorConfigurator has no effect"),
        ("c['logHorizon'] = 5", "JanitorConfigurator(logHorizon=timedelta"),
        ("c['buildHorizon'] = 5", "JanitorConfigurator(buildHorizon=timedelta"),
        ("c['eventHorizon'] = 5", "JanitorConfigurator(buildHorizon=timedelta"),
    ],
)
def test_what_does_nothing_is_told(tmp_path: Path, text: str, words: str) -> None:
    config = load(tmp_path, text)
    assert any(words in f"{told.text} {told.hint}" for told in (*config.warnings, *config.notes))


def test_a_janitor_that_gives_changes_their_time_is_no_mistake(tmp_path: Path) -> None:
    config = load(tmp_path, f"{JANITOR % 'hour=3'}\nc['changeHorizon'] = 200")
    assert config.warnings == ()


def test_outside_of_a_configuration_nonsense_raises() -> None:
    with pytest.raises(ConfigErrors, match="timedelta"):
        util.JanitorConfigurator(logHorizon=7)
    assert util.JanitorConfigurator(logHorizon=timedelta(days=1)).logHorizon == 86400
