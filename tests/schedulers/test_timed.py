"""Schedulers by the clock. What is expected of time tables is what Buildbot 4.3 answers, but for lists of day names."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.core.values import Change
from lockstep.schedulers.timed import Nightly, Periodic

from .test_changes import Run


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


WEDNESDAY = "2024-01-10 12:00"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "2024-01-10 13:00"),
        ({"hour": 3}, "2024-01-11 03:00"),
        ({"hour": 3, "dayOfWeek": 0}, "2024-01-15 03:00"),
        ({"hour": 3, "dayOfWeek": [0, 6]}, "2024-01-14 03:00"),
        ({"hour": 3, "dayOfWeek": "0"}, "2024-01-15 03:00"),
        ({"hour": 3, "dayOfWeek": "mon-fri"}, "2024-01-11 03:00"),
        ({"hour": 3, "dayOfWeek": ["mon", "fri"]}, "2024-01-12 03:00"),
        ({"hour": 3, "dayOfWeek": "1#1"}, "2024-02-05 03:00"),
        ({"hour": 3, "dayOfWeek": "L1"}, "2024-01-29 03:00"),
        ({"hour": 3, "dayOfWeek": 0, "dayOfMonth": 13}, "2024-01-13 03:00"),
        ({"hour": 3, "dayOfMonth": "L"}, "2024-01-31 03:00"),
        ({"hour": range(0, 24, 5), "minute": [5, 59]}, "2024-01-10 15:05"),
        ({"hour": "*/4", "minute": "*/20"}, "2024-01-10 12:20"),
        ({"month": "feb", "dayOfMonth": [1, 2], "hour": 0}, "2024-02-01 00:00"),
        ({"hour": "3", "minute": "30"}, "2024-01-11 03:30"),
        ({"hour": "3-3", "minute": "30-30"}, "2024-01-11 03:30"),
        ({"hour": ["3-3", "22-23"]}, "2024-01-10 22:00"),
        ({"hour": "3-3/2"}, "2024-01-11 03:00"),
        ({"hour": "22-1"}, "2024-01-10 22:00"),
        ({"hour": 0, "dayOfWeek": "mon-mon"}, "2024-01-15 00:00"),
        ({"hour": 0, "dayOfWeek": "1-1"}, "2024-01-15 00:00"),
        ({"hour": 0, "dayOfWeek": "sun-sun,tue"}, "2024-01-14 00:00"),
    ],
)
def test_time_tables(table: dict[str, Any], expected: str) -> None:
    run = Run(Nightly(name="n", builderNames=["x"], **table), now=at(WEDNESDAY))
    assert run.wake == at(expected)


def test_nightly_builds_once_for_what_passed_while_the_server_was_down() -> None:
    scheduler = Nightly(name="n", builderNames=["x"], hour=3, branch="main")
    run = Run(scheduler, now=at(WEDNESDAY))
    assert len(run.until(at("2024-01-11 03:00"))) == 1
    run = Run(scheduler, run.memory, now=at("2024-01-14 09:00"))
    assert run.wake == at("2024-01-12 03:00")
    move = scheduler.on_timer(run.memory, at("2024-01-14 09:00"))
    assert len(move.submissions) == 1
    assert move.wake == at("2024-01-15 03:00")
    assert move.submissions[0].sourcestamps[0].branch == "main"


def test_a_server_that_starts_often_still_builds() -> None:
    scheduler = Nightly(name="n", builderNames=["x"], hour=3)
    run = Run(scheduler, now=at(WEDNESDAY))
    for now in ("2024-01-10 23:00", "2024-01-11 02:59", "2024-01-11 03:01"):
        run = Run(scheduler, run.memory, now=at(now))
        assert run.wake == at("2024-01-11 03:00")


def test_summer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    scheduler = Nightly(name="n", builderNames=["x"], hour=2, minute=30)
    for day in ("2024-03-30 12:00", "2024-10-26 12:00"):
        begin = at(day)
        run = Run(scheduler, now=begin)
        times = []
        for _ in range(3):
            assert run.wake is not None
            times.append(run.wake)
            run.until(run.wake)
        assert begin < times[0] < times[1] < times[2]
        assert times[2] - times[0] in (47 * 3600, 48 * 3600, 49 * 3600)


def test_only_if_changed() -> None:
    scheduler = Nightly(
        name="n", builderNames=["x"], hour=3, onlyIfChanged=True, fileIsImportant=lambda c: c.comments != "no"
    )
    run = Run(scheduler, now=at(WEDNESDAY))
    assert len(run.until(at("2024-01-11 04:00"))) == 1  # the first time, whatever was changed
    assert run.until(at("2024-01-12 04:00")) == []
    run.change(Change(author="a", changeid=5, revision="r5", comments="no"), at("2024-01-12 05:00"))
    assert run.until(at("2024-01-13 04:00")) == []
    run.change(Change(author="a", changeid=6, revision="r6"), at("2024-01-13 05:00"))
    (submission,) = run.until(at("2024-01-14 04:00"))
    assert submission.sourcestamps[0].changes == (5, 6)
    assert run.until(at("2024-01-15 04:00")) == []


def test_periodic() -> None:
    scheduler = Periodic(name="p", builderNames=["x"], periodicBuildTimer=100)
    run = Run(scheduler, now=1000)
    assert len(run.until(1000)) == 1
    assert run.wake == 1100
    assert len(run.until(1350)) == 3
    run = Run(scheduler, run.memory, now=1350)
    assert run.wake == 1400


AHEAD = "2025-01-10 12:00"


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (Nightly(name="n", builderNames=["x"], hour=3), "2024-01-11 03:00"),
        (Periodic(name="p", builderNames=["x"], periodicBuildTimer=3600), "2024-01-10 13:00"),
    ],
)
@pytest.mark.parametrize("built", [True, False])
def test_a_clock_that_was_a_year_ahead_silences_nobody(scheduler: Any, expected: str, built: bool) -> None:
    run = Run(scheduler, now=at(AHEAD))
    if built:
        assert len(run.until(at("2025-01-11 04:00"))) >= 1
        assert not Run(scheduler, run.memory, now=at(WEDNESDAY)).until(at(WEDNESDAY))
    run = Run(scheduler, run.memory, now=at(WEDNESDAY))
    assert run.wake == (at(expected) if built or isinstance(scheduler, Nightly) else at(WEDNESDAY))
    later = Run(scheduler, run.memory, now=at(WEDNESDAY) + 60)
    assert later.wake == run.wake


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        ("2024-01-11 02:59", "2024-01-12 03:00"),  # it has just built for 03:00
        ("2024-01-11 00:30", "2024-01-12 03:00"),
        ("2024-01-10 02:59", "2024-01-10 03:00"),  # two times of the table would come again
    ],
)
def test_a_time_that_comes_again_is_built_once(back: str, expected: str) -> None:
    scheduler = Nightly(name="n", builderNames=["x"], hour=3)
    run = Run(scheduler, now=at(WEDNESDAY))
    assert len(run.until(at("2024-01-11 03:00"))) == 1
    assert Run(scheduler, run.memory, now=at(back)).wake == at(expected)


def test_a_change_from_before_the_last_time_sets_nothing_back() -> None:
    """It was noticed just before, and is read just after."""
    scheduler = Periodic(name="p", builderNames=["x"], periodicBuildTimer=3600, onlyIfChanged=True)
    run = Run(scheduler, now=1000)
    assert len(run.until(1000)) == 1
    run.change(Change(author="a", changeid=5, revision="r5"), 999)
    assert run.wake == 4600


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"minute": 60}, "minute=60 is no time; it is from 0 to 59"),
        ({"minute": "*/0"}, "minute='*/0' is no time"),
        ({"minute": "H"}, "minute='H' is no time"),
        ({"hour": ["3", "R"]}, "hour=['3', 'R'] is no time"),
        ({"hour": True}, "hour=True is no time"),
        ({"hour": "@daily"}, "hour='@daily' is no time"),
        ({"month": None}, "month=None is no time; it is from 1 to 12"),
        ({"dayOfWeek": 7}, "dayOfWeek=7 is no time; it is from 0 (Monday) to 6"),
        ({"dayOfWeek": [1, "7"]}, "dayOfWeek=[1, '7'] is no time"),
        ({"dayOfWeek": "mon#6"}, "dayOfWeek='mon#6' is no time"),
        ({"dayOfMonth": 31, "month": 2}, "there is never such a day: dayOfMonth=31, month=2"),
        ({"dayOfMonth": 31, "month": [4, "6"]}, "there is never such a day: dayOfMonth=31, month=[4, '6']"),
    ],
)
def test_what_is_no_time_is_told_in_own_words(table: dict[str, Any], told: str) -> None:
    with collecting(Collector()) as found:
        scheduler = Nightly(name="n", builderNames=["x"], **table)
    (mistake,) = found.mistakes
    assert str(mistake).partition("scheduler 'n': ")[2].startswith(told)
    assert scheduler.after(None, at(WEDNESDAY)) == at("2024-01-10 13:00")


def test_mistakes_are_named() -> None:
    with collecting(Collector()) as found:
        Nightly(name="n", builderNames=["x"], hour=25)
        Nightly(name="n", builderNames=["x"], hours=2)
        Nightly(name="n", builderNames=["x"], force_at_hour=2)
        Periodic(name="p", builderNames=["x"])
        Nightly(name="n", builderNames=["x"], hour="* * *")
        Nightly(name="n", builderNames=["x"], dayOfWeek=["mon", "tue wed"])
    texts = [str(one) for one in found.mistakes]
    assert len(texts) == 6
    assert "hour='* * *' is no time" in texts[4]
    assert "dayOfWeek=['mon', 'tue wed'] is no time" in texts[5]
    assert "scheduler 'n': hour=25 is no time; it is from 0 to 23" in texts[0]
    assert '"hour"' in texts[1]
    assert "not supported yet" in texts[2]
