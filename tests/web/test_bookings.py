"""Bookings over HTTP: what is refused changes nothing, and a question whose answer was lost may be asked again."""

from collections.abc import Iterator
from typing import Any

import pytest

from .serving import Running

KEY = "k" * 20
HUGE = 10**400


@pytest.fixture
def locks(ci: Running) -> Iterator[Running]:
    """The server, with its lock `memory` free again afterwards."""
    yield ci
    for each in ci.get("bookings", complete="false")["bookings"]:
        ci.call(f"bookings/{each['bookingid']}", "release", key=KEY)


def bookings(ci: Running) -> int:
    return len(ci.get("bookings")["bookings"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"wait": -1}, "'wait' must be a number of seconds"),
        ({"wait": "20"}, "'wait' must be a number of seconds"),
        ({"wait": HUGE}, "'wait' must be a number of seconds"),
        ({"for": HUGE}, "'for' must be a number of seconds"),
        ({"for": True}, "'for' must be a number of seconds"),
        ({"lease": HUGE}, "'lease' must be a number of seconds"),
        ({"for": 1e300}, "'for' must be a number of seconds"),
        ({"priority": HUGE}, "Priorities are from"),
        ({"notify": "http://["}, "'notify' must be an address"),
        ({"notify": "http://host:99999999/"}, "'notify' must be an address"),
        ({"notify": "file:///etc/passwd"}, "'notify' must be an address"),
        ({"once": "short"}, "'once' has 16 characters or more"),
        ({"key": "short"}, "'key' has 16 characters or more"),
        ({"owner": "x" * 1001}, "at most 1000 characters"),
        ({"reason": "x" * 1001}, "at most 1000 characters"),
        ({"locks": [{"lock": "memory", "mode": "counting", "count": HUGE}]}, "count must be at most"),
        ({"locks": [{"lock": "memory", "count": -1}]}, "'count' must be 1 or more."),
        ({"locks": [{"lock": "memory", "count": True}]}, "'count' must be a whole number."),
        ({"locks": [{"lock": "memory", "count": "1"}]}, "'count' must be a whole number."),
        ({"locks": [{"lock": "memory", "units": 1}]}, "There is no parameter 'units'; there are lock, mode, count"),
        ({"locks": "memory"}, "'locks' must be a list: of names, or of objects with 'lock', 'mode' and 'count'."),
        ({"locks": {"lock": "memory"}}, "'locks' must be a list: of names"),
        ({"locks": [["memory"]]}, "'locks' must be a list: of names"),
        ({"locks": []}, "'locks' must be a list: of names"),
        ({"locks": ["memory", 3]}, "'locks' must be a list: of names"),
        ({"after_current": 1}, "'after_current' must be true or false."),
        ({"owner": "a\0b"}, "'owner' cannot have a NUL in it."),
        ({"lock": "memory"}, "There is no parameter 'lock'; there are locks, "),
    ],
)
def test_what_is_refused_has_acquired_nothing(locks: Running, given: dict[str, Any], said: str) -> None:
    before = bookings(locks)
    error = locks.call("bookings", "acquire", status=400, **{"locks": ["memory"], **given})
    assert said in error
    assert bookings(locks) == before


@pytest.mark.parametrize("secret", ["key", "once"])
def test_the_same_question_again_is_the_same_booking_and_another_is_refused(locks: Running, secret: str) -> None:
    given = {"locks": ["memory"], "owner": "ann", secret: KEY}
    first = locks.call("bookings", "acquire", **given)
    assert locks.call("bookings", "acquire", **given)["bookingid"] == first["bookingid"]
    for other in ({"locks": ["cpu@w1"]}, {"for": 60}, {"locks": [{"lock": "memory", "count": 1}]}):
        error = locks.call("bookings", "acquire", status=400, **{**given, **other})
        assert error.startswith(f"Booking {first['bookingid']} has this key and wants something else: take a new")
    number = f"bookings/{first['bookingid']}"
    if secret == "once":
        locks.call(number, "release")  # it closes nothing to others
    else:
        assert "knows its key" in locks.call(number, "release", status=400)


def test_a_theft_whose_answer_was_lost_is_one_theft(locks: Running) -> None:
    locks.call("bookings", "acquire", locks=["memory"], owner="bob")
    given = {"reason": "now", "owner": "ann", "take": {"for": 60}, "once": KEY}
    (first, again) = (locks.call("locks/memory", "steal", **given)["bookingid"] for _ in range(2))
    assert first == again
    assert locks.one(f"bookings/{first}")["state"] == "held"
    assert "something else" in locks.call("locks/memory", "steal", status=400, **{**given, "take": {"for": 61}})


def test_reasons_and_names_have_limits(locks: Running) -> None:
    number = locks.call("bookings", "acquire", locks=["memory"], owner="bob")["bookingid"]
    long = "x" * 1001
    for path in ("locks/memory", f"bookings/{number}"):
        assert "at most 1000" in locks.call(path, "steal", status=400, reason=long)
        assert "at most 1000" in locks.call(path, "steal", status=400, reason="now", owner=long)
    assert "at most 1000" in locks.call(f"bookings/{number}", "release", status=400, owner=long)
    assert locks.one(f"bookings/{number}")["state"] == "held"


def test_whoever_asks_when_the_locks_are_had_already_is_told_at_once(locks: Running) -> None:
    """Granted between two questions: nobody may idle with a lock for the rest of the time that it would have waited."""
    made = locks.call("bookings", "acquire", locks=["memory"], key=KEY, lease=60, wait=60)
    path = f"bookings/{made['bookingid']}"
    assert locks.call(path, "wait", key=KEY, wait=60)["state"] == "held"
    assert locks.call(path, "wait", key=KEY, wait=60, state="waiting")["state"] == "held"
    assert locks.call(path, "wait", key=KEY, wait=0.1, state="held")["state"] == "held"
    assert "'state' is 'waiting', until" in locks.call(path, "wait", status=400, key=KEY, state="ended")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("database", ["database"]),
        ("lock:database", ["database"]),
        ("cpu", ["cpu on away", "cpu on w1", "cpu on w2"]),
        ("cpu@w1", ["cpu on w1"]),
        ("cpu on w1", ["cpu on w1"]),
        ("worker:w2", ["worker w2"]),
        ("worker w2", ["worker w2"]),
        ("build directory talker on w1", ["build directory talker on w1"]),
    ],
)
def test_a_lock_has_the_same_names_everywhere(ci: Running, name: str, meant: list[str]) -> None:
    assert [lock["lock"] for lock in ci.get(f"locks/{name}")["locks"]] == meant
    assert ci.http.get(f"/locks/{name}").status_code == 200
    if len(meant) == 1 and not name.startswith("build"):
        fence = ci.one(f"locks/{name}/fences/0")
        assert fence["last"] >= 0
    if meant[0].startswith(("cpu", "database")):
        assert "history" in ci.get(f"locks/{name}/history")
        assert "lock_use" in ci.get(f"locks/{name}/use")


def test_a_build_directory_is_no_lock_of_its_builder_s_name(ci: Running) -> None:
    assert "There is no lock 'talker'." in ci.get("locks/talker", status=404)["error"]
