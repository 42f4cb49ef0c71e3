"""Locks, claims and reasons over HTTP, while builds hold and wait (L70)."""

from collections.abc import Iterator

import pytest

from .serving import Running


@pytest.fixture
def held(ci: Running) -> Iterator[tuple[Running, int]]:
    """A build that has the lock `database` until the gate opens, and its id."""
    ci.close_gate("holder")
    brid = ci.force("holder")
    buildid = ci.until("BuildStarted", brid=brid)["buildid"]
    yield ci, buildid
    ci.open_gate("holder")
    ci.built(brid)


def test_L70_a_request_says_which_lock_is_held_by_whom_and_who_is_ahead(held: tuple[Running, int]) -> None:
    ci, buildid = held
    first, second = ci.force("wanter"), ci.force("wanter")
    why = ci.one(f"buildrequests/{second}/why")
    number = ci.one(f"builds/{buildid}")["number"]
    assert why["sentence"].startswith(f"Waits for lock 'database', held by holder #{number} for ")
    assert why["sentence"].endswith("1 ahead of it.")
    assert why["kind"] == "lock"
    (short,) = why["locks"]
    assert (short["lock"], short["why"], short["limit"], short["used"], short["ahead"]) == ("database", "held", 1, 1, 1)
    (holder,) = short["holders"]
    assert holder["by"]["buildid"] == buildid
    assert holder["exclusive"]
    assert holder["since"] == pytest.approx(ci.one(f"builds/{buildid}")["started_at"], abs=1)
    next_one, asked_otherwise = ci.one(f"buildrequests/{first}/why"), ci.one(f"why/request/{first}")
    for told in (next_one, asked_otherwise):
        sentence = told.pop("sentence")  # tells how long, so two answers may differ by a second
        told.pop("expected")  # may be worked out anew between them
        assert sentence.startswith(f"Waits for lock 'database', held by holder #{number} for ")
        assert sentence.endswith("It is next.")
    assert asked_otherwise == next_one
    for brid in (first, second):
        ci.call(f"buildrequests/{brid}", "cancel")


def test_L70_a_step_says_so_too(held: tuple[Running, int]) -> None:
    ci, buildid = held
    brid = ci.force("stepper")
    waiting = ci.until("BuildStarted", brid=brid)["buildid"]
    ci.until("StepStarted", buildid=waiting, name="locked")
    why = ci.one(f"builds/{waiting}/why")
    assert why["kind"] == "lock"
    assert why["locks"][0]["holders"][0]["by"]["buildid"] == buildid
    (lock,) = ci.get("locks/database")["locks"]
    assert lock["waiters"][0]["by"]["step_name"] == "locked"
    assert ci.one(f"builds/{buildid}/why")["kind"] == "running"
    ci.call(f"builds/{waiting}", "stop")
    assert ci.built(brid)["results"] == 6


def test_L70_no_worker(ci: Running) -> None:
    brid = ci.force("nobody")
    why = ci.one(f"buildrequests/{brid}/why")
    assert why["sentence"] == "No worker: away is not connected."
    assert why["workers"] == [{"worker": "away", "reason": "is not connected"}]
    ci.call(f"buildrequests/{brid}", "cancel")


def test_locks_have_holders_with_fences_and_waiters_in_order(held: tuple[Running, int]) -> None:
    ci, buildid = held
    brids = [ci.force("wanter") for _ in range(3)]
    (lock,) = ci.get("locks/database")["locks"]
    assert lock["holders"][0]["fence"] == ci.one(f"builds/{buildid}/properties")["fence:database"][0]
    assert [waiter["by"]["requestid"] for waiter in lock["waiters"]] == brids
    assert [waiter["place"] for waiter in lock["waiters"]] == [1, 2, 3]
    assert lock["waiting"] == 3
    (few,) = ci.get("locks/database", waiters=1)["locks"]
    assert (len(few["waiters"]), few["waiting"]) == (1, 3)
    claims = ci.get("claims")["claims"]
    assert [claim["state"] for claim in claims] == ["held"] + ["waiting"] * 3
    assert claims[0]["worker"] == "w2"
    fenced = {access["lock"]: access["fence"] for access in claims[0]["accesses"]}
    assert fenced["database"] == lock["holders"][0]["fence"]
    assert all("Waits for lock 'database'" in claim["reason"] for claim in claims[1:])
    shorts = [claim["why"]["locks"][0] for claim in claims[1:]]
    assert [(short["ahead"], short["behind"], short["max_overtakes"]) for short in shorts] == [
        (0, 2, 8),
        (1, 1, 8),
        (2, 0, 8),
    ]
    assert ci.get("claims", state="waiting", limit=1)["meta"]["total"] == 3
    for brid in brids:
        ci.call(f"buildrequests/{brid}", "cancel")


def test_a_worker_lock_is_one_lock_per_worker(ci: Running) -> None:
    found = ci.get("locks/cpu")["locks"]
    assert [(lock["kind"], lock["worker"]) for lock in found] == [("worker", name) for name in ("away", "w1", "w2")]
    assert {lock["kind"] for lock in ci.get("locks")["locks"]} == {"master", "pool", "worker"}
    slots = ci.get("locks", kind="slot")["locks"]
    assert {lock["worker"] for lock in slots} >= {"w1", "w2", "away"}
