"""When what waits is expected to start: over REST and on the pages (L70). The runs forward are in `tests/core`."""

import re
from collections.abc import Iterator

import pytest

from .serving import Running, running


@pytest.fixture(scope="module")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on which `wanter` and `stepper` were built once, and `holder` never."""
    with running(tmp_path_factory.mktemp("forecasts")) as server:
        for name in ("wanter", "stepper"):
            server.built(server.force(name))
        yield server


def holding(ci: Running) -> tuple[int, int]:
    """A build has the lock `database`, and another waits for it: their requests."""
    ci.close_gate("holder")
    holder = ci.force("holder")
    ci.until("BuildStarted", brid=holder)
    return holder, ci.force("wanter")


def end(ci: Running, holder: int, *brids: int) -> None:
    """Let them go."""
    ci.open_gate("holder")
    for brid in (holder, *brids):
        ci.built(brid)


def test_L70_forecasts_begin_when_builders_have_a_history(ci: Running) -> None:
    holder, wanter = holding(ci)
    assert ci.one(f"buildrequests/{wanter}/why")["expected"] == {
        "sentence": "Nobody can say when it starts: no build of holder has ended yet.",
        "at": None,
        "earliest": None,
        "latest": None,
    }
    end(ci, holder, wanter)
    holder, wanter = holding(ci)
    second = ci.force("wanter")
    expected = [ci.one(f"buildrequests/{brid}/why")["expected"] for brid in (wanter, second)]
    for told in expected:
        assert re.fullmatch(r"Expected to start in about .+ \(.+ to .+\)\.", told["sentence"])
        assert told["earliest"] <= told["at"] <= told["latest"]
    assert expected[0]["at"] < expected[1]["at"]
    waiting = ci.get("claims", state="waiting")["claims"]
    assert all(claim["why"]["expected"]["at"] for claim in waiting)
    assert "Expected to start in about" in ci.http.get("/").text
    assert 'id="expected"' in ci.http.get(f"/requests/{second}").text
    end(ci, holder, wanter, second)


def test_L70_steps_are_foreseen_with_their_locks(ci: Running) -> None:
    holder, wanter = holding(ci)
    step = ci.force("stepper")
    buildid = ci.until("BuildStarted", brid=step)["buildid"]
    ci.until("StepStarted", buildid=buildid, name="locked")
    why = ci.one(f"builds/{buildid}/why")
    assert why["expected"]["at"] <= ci.one(f"buildrequests/{wanter}/why")["expected"]["at"]  # steps come first (L40)
    assert 'id="expected"' in ci.http.get(f"/builds/{buildid}").text
    end(ci, holder, wanter, step)


def test_what_cannot_start_has_no_forecast(ci: Running) -> None:
    brid = ci.force("nobody")
    why = ci.one(f"buildrequests/{brid}/why")
    assert (why["can_start"], why["expected"]) == (False, None)
    ci.call(f"buildrequests/{brid}", "cancel")
