"""When what waits is expected to start: over REST and on the pages (L70). The runs forward are in `tests/core`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.core.allocation import Allocator
from lockstep.core.forecast import Going, Phase
from lockstep.core.nouns import Access, Alternative, Claim, LockKey, Need
from lockstep.web.forecasting import Place, Question, forecast

from .serving import Running, running


@pytest.fixture
def ci(tmp_path: Path) -> Iterator[Running]:
    """A server on which `wanter` and `stepper` were built once, and `holder` never."""
    with running(tmp_path) as server:
        for name in ("wanter", "stepper"):
            server.built(server.force(name))
        yield server


def holding(ci: Running) -> tuple[int, int]:
    """A build has the lock `database`, and another waits for it: their requests."""
    ci.close_gate("holder")
    holder = ci.force("holder")
    ci.until("BuildStarted", brid=holder)
    return holder, ci.force("wanter")


def expected(ci: Running, thing: str) -> Any:
    """When it is expected to start, once that has been worked out: a busy machine does not answer with each page."""
    while (told := ci.one(f"{thing}/why")["expected"]) is None:
        pass
    return told


def end(ci: Running, holder: int, *brids: int) -> None:
    """Let them go."""
    ci.open_gate("holder")
    for brid in (holder, *brids):
        ci.built(brid)


def test_L70_forecasts_begin_when_builders_have_a_history(ci: Running) -> None:
    holder, wanter = holding(ci)
    assert expected(ci, f"buildrequests/{wanter}") == {
        "sentence": "Nobody can say when it starts: no build of holder has ended yet.",
        "at": None,
        "earliest": None,
        "latest": None,
    }
    end(ci, holder, wanter)
    holder, wanter = holding(ci)
    second = ci.force("wanter")
    one, other = (expected(ci, f"buildrequests/{brid}") for brid in (wanter, second))
    for told in (one, other):
        assert re.fullmatch(r"Expected to start (at any moment|in about .+ \(.+ to .+\))\.", told["sentence"])
        assert told["earliest"] <= told["at"] <= told["latest"]
    assert one["at"] < other["at"]
    waiting = ci.get("claims", state="waiting")["claims"]
    assert all(claim["why"]["expected"]["at"] for claim in waiting)
    assert "Expected to start" in ci.http.get("/").text
    assert 'id="expected"' in ci.http.get(f"/requests/{second}").text
    end(ci, holder, wanter, second)


def test_L70_steps_are_foreseen_with_their_locks(ci: Running) -> None:
    end(ci, *holding(ci))
    holder, wanter = holding(ci)
    step = ci.force("stepper")
    buildid = ci.until("BuildStarted", brid=step)["buildid"]
    ci.until("StepStarted", buildid=buildid, name="locked")
    step_at, wanter_at = (expected(ci, thing)["at"] for thing in (f"builds/{buildid}", f"buildrequests/{wanter}"))
    assert step_at <= wanter_at  # steps come first (L40)
    assert 'id="expected"' in ci.http.get(f"/builds/{buildid}").text
    end(ci, holder, wanter, step)


def test_what_cannot_start_has_no_forecast(ci: Running) -> None:
    brid = ci.force("nobody")
    why = ci.one(f"buildrequests/{brid}/why")
    assert (why["can_start"], why["expected"]) == (False, None)
    ci.call(f"buildrequests/{brid}", "cancel")


def test_L70_the_sentence_gives_the_median_and_the_range() -> None:
    """Of one build whose earlier ones took 10, 12, … 50 minutes, another waits for its end."""
    allocator = Allocator()
    db = LockKey("master", "db")
    allocator.set_lock(db, 1)
    for ticket in (1, 2, 3):
        allocator.submit(Claim(ticket, Need((Alternative("", (Access(db),)),)), ticket))
    (grant,) = allocator.decide()
    place = Place("slow", 0, 0.0, Going(1, grant.hold))
    asked = Question(1000.0, allocator.snapshot(), (place,), (), {2: "slow", 3: "new"}, {}, {}, {})
    courses = [(Phase(60.0 * minutes),) for minutes in range(10, 51)]
    found = forecast(asked, {"slow": courses}, lambda: 0.0)
    told = re.fullmatch(r"Expected to start in about (\d+) min \((\d+) min to (\d+) min\)\.", found[2].sentence)
    assert told is not None
    low, middle, high = int(told[2]), int(told[1]), int(told[3])
    assert 10 <= low < 20 < middle < 40 < high <= 50
    assert found[2].at == pytest.approx(1000 + 60 * middle, abs=60)
    assert found[3].at == pytest.approx(1000 + 120 * middle, abs=1200)
    assert forecast(asked, {"slow": courses}, lambda: 0.0) == found
    clock = iter(range(0, 1000, 10))
    few = forecast(asked, {"slow": courses}, lambda: float(next(clock)))  # time is over at once: three futures
    assert few[2].earliest <= few[2].at <= few[2].latest
    assert "no build of slow has ended" in forecast(asked, {}, lambda: 0.0)[2].sentence


def test_L70_only_those_that_it_waits_for_are_to_blame() -> None:
    """`new` holds one lock, a booking without an end another; `other` has nothing to do with them."""
    allocator = Allocator()
    locks = [LockKey("master", name) for name in ("db", "board", "elsewhere")]
    for number, lock in enumerate(locks, 1):
        allocator.set_lock(lock, 1)
        allocator.submit(Claim(number, Need((Alternative("", (Access(lock),)),)), number))
        allocator.submit(Claim(number + 3, Need((Alternative("", (Access(lock),)),)), number + 3))
    granted = {grant.ticket: grant.hold for grant in allocator.decide()}
    running = tuple(Place(name, 0, 0.0, Going(n, granted[n])) for n, name in ((1, "new"), (3, "other")))
    waiting = {4: "ours", 5: "ours", 6: "ours"}
    asked = Question(1000.0, allocator.snapshot(), running, (Going(2, granted[2]),), waiting, {}, {}, {})
    found = forecast(asked, {}, lambda: 0.0)
    said = "Nobody can say when it starts: "
    assert [found[ticket].sentence for ticket in (4, 5, 6)] == [
        f"{said}no build of new has ended yet.",
        f"{said}what it waits for is held without an end.",
        f"{said}no build of other has ended yet.",
    ]
