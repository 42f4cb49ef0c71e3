"""What happened at locks, and how long was waited and held: over REST and on the command line's terms (L72)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .serving import Running, running


def events(ci: Running, name: str, **query: int) -> list[tuple[str, str]]:
    """What happened, and to whom."""
    found = ci.get(f"locks/{name}/history", **query)["history"]
    return [(each["event"], each["by"]["text"] if each["by"] else str(each["limit"])) for each in found]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on which a build held `database`, one waited and got it, one waited in a step, and one gave up."""
    with running(tmp_path_factory.mktemp("past")) as ci:
        holder = ci.force("holder")
        ci.until("BuildStarted", brid=holder)
        wanter, gone = ci.force("wanter"), ci.force("wanter")
        stepper = ci.force("stepper")
        ci.until("StepStarted", name="locked")
        ci.call(f"buildrequests/{gone}", "cancel", reason="not needed")
        ci.open_gate("holder")
        for brid in (holder, wanter, stepper):
            ci.built(brid)
        yield ci


def test_L72_grants_ends_limits_and_who_gave_up_are_in_the_history(past: Running) -> None:
    assert events(past, "database") == [
        ("limit", "1"),
        ("granted", "holder #1"),
        ("left", "request 3 of wanter"),
        ("released", "holder #1"),
        ("granted", "step 'locked' of stepper #1"),
        ("released", "step 'locked' of stepper #1"),
        ("granted", "wanter #1"),
        ("released", "wanter #1"),
    ]
    assert events(past, "database", limit=2) == [("granted", "wanter #1"), ("released", "wanter #1")]
    assert events(past, "database", limit=1, offset=7) == [("limit", "1")]
    assert past.get("locks/database/history", limit=2)["meta"] == {"total": 8}
    assert past.get("locks/database/use")["meta"] == {"total": 1}
    everywhere = past.get("lock_use")
    assert everywhere["meta"]["total"] == len(everywhere["lock_use"]) > 1
    found = past.get("locks/database/history")["history"]
    granted, left, released = found[1], found[2], found[3]
    assert (granted["exclusive"], granted["units"], granted["fence"], granted["held"]) == (True, 1, 1, None)
    assert granted["waited"] < released["held"]
    assert left["detail"] == "not needed"
    build = past.one("builds/1")
    assert released["held"] == pytest.approx(build["complete_at"] - build["started_at"], abs=1.1)
    assert found[6]["waited"] >= released["at"] - left["at"]


def test_L72_how_long_was_waited_and_held_and_how_much_was_used(past: Running) -> None:
    (told,) = past.get("locks/database/use", seconds=3600)["lock_use"]
    assert (told["grants"], told["left"], told["complete"]) == (3, 1, True)
    assert 0 < told["wait"]["p50"] <= told["wait"]["p90"] <= told["wait"]["max"]
    assert told["use"]["p99"] == told["use"]["max"]
    held = sum(each["held"] or 0 for each in past.get("locks/database/history")["history"])
    since = past.get("locks/database/history")["history"][0]["at"]
    assert told["share"] == pytest.approx(held / (told["until"] - since), abs=0.01)
    everything = {each["lock"]: each for each in past.get("lock_use")["lock_use"]}
    assert everything["database"]["grants"] == 3
    assert (everything["memory"]["grants"], everything["memory"]["wait"], everything["memory"]["share"]) == (0, None, 0)


def test_wrong_questions_get_a_sentence(past: Running) -> None:
    assert past.get("locks/nothing/history", 404)["error"] == "There is no lock 'nothing'."
    assert past.get("locks/nothing/use", 404)["error"] == "There is no lock 'nothing'."
    assert "must be a number above 0" in past.get("lock_use", 400, seconds="a while")["error"]
    assert "is that of the worker's builds" in past.get("locks/worker w1/history", 400)["error"]


def test_the_page_of_a_lock_shows_its_past(past: Running) -> None:
    text = past.http.get("/locks/database").text
    assert "What happened" in text
    assert "The last seven days" in text
    assert "step &#39;locked&#39; of stepper #1" in text
    assert past.http.get("/locks/worker w1").status_code in (200, 404)


def test_L72_why_a_step_or_a_person_no_longer_waits_is_told(tmp_path: Path) -> None:
    with running(tmp_path) as ci:
        holder, stepper = ci.force("holder"), ci.force("stepper")
        ci.until("BuildStarted", brid=holder)
        buildid = ci.until("BuildStarted", brid=stepper)["buildid"]
        ci.until("StepStarted", buildid=buildid, name="locked")
        ci.call(f"builds/{buildid}", "stop", reason="no time", owner="ann")
        wish = ci.call("bookings", "acquire", locks=["database"], owner="bob")
        ci.call(f"bookings/{wish['bookingid']}", "release", owner="eve")
        ci.open_gate("holder")
        for brid in (holder, stepper):
            ci.built(brid)
        gone = [each for each in ci.get("locks/database/history")["history"] if each["event"] == "left"]
        assert [(each["by"]["text"], each["detail"]) for each in gone] == [
            ("step 'locked' of stepper #1", "no time (by ann)"),
            (f"bob (booking {wish['bookingid']})", "cancelled by eve"),
        ]
