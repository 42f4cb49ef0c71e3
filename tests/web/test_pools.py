"""Pools over HTTP: their units, quarantines, holds of a unit, and what is refused changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from .serving import Running


@pytest.fixture
def pool(ci: Running) -> Iterator[Running]:
    """The server, with its pool `boards` as it was afterwards."""
    yield ci
    for each in ci.get("bookings", complete="false")["bookings"]:
        ci.call(f"bookings/{each['bookingid']}", "release")
    for unit in ci.one("locks/boards")["units"]:
        if unit["quarantine"] is not None:
            ci.call(f"locks/boards%2F{unit['name']}", "lift")


def unit(ci: Running, name: str) -> dict[str, Any]:
    (found,) = [each for each in ci.one("locks/boards")["units"] if each["name"] == name]
    return found


def test_a_pool_is_among_the_locks_with_its_units(pool: Running) -> None:
    (listed,) = [each for each in pool.get("locks")["locks"] if each["name"] == "boards"]
    assert (listed["kind"], listed["limit"], listed["used"], listed["removed"]) == ("pool", 3, 0, False)
    assert [each["name"] for each in listed["units"]] == ["pi-1", "pi-2", "nuc"]
    assert unit(pool, "pi-2")["labels"] == ["arm", "odd"]
    assert unit(pool, "pi-1")["data"] == {"address": "10.0.0.1"}
    assert listed["quarantine_after"] == 2


def test_a_person_holds_a_unit_and_is_told_which(pool: Running) -> None:
    made = pool.call("bookings", "acquire", locks=["boards/pi-2"], owner="ann")
    assert made["units"] == {"boards": ["pi-2"]}
    assert made["data"] == {"boards": {"pi-2": {"address": "10.0.0.2"}}}
    assert made["environment"]["LOCKSTEP_UNITS_BOARDS"] == "pi-2"
    assert made["environment"]["LOCKSTEP_UNIT_BOARDS_ADDRESS"] == "10.0.0.2"
    assert made["fences"] == {"boards": made["fences"]["boards"]}
    other = pool.call("bookings", "acquire", locks=[{"lock": "boards", "where": "arm"}], owner="bob")
    assert other["units"] == {"boards": ["pi-1"]}
    told = pool.one("locks/boards")
    assert told["used"] == 2
    assert [(each["by"]["booking"], each["names"]) for each in told["holders"]] == [
        (made["bookingid"], ["pi-2"]),
        (other["bookingid"], ["pi-1"]),
    ]
    assert [each["by"]["booking"] for each in pool.one("locks/boards%2Fpi-1")["holders"]] == [other["bookingid"]]
    assert unit(pool, "pi-2")["holds"] == [told["holders"][0]["hold"]]
    fence = pool.one(f"locks/boards/fences/{made['fences']['boards']}")
    assert (fence["current"], fence["by"]) == (True, f"ann (booking {made['bookingid']})")


def test_all_units_or_so_many(pool: Running) -> None:
    made = pool.call("bookings", "acquire", locks=[{"lock": "boards", "count": 2}], owner="ann")
    assert len(made["units"]["boards"]) == 2
    pool.call(f"bookings/{made['bookingid']}", "release")
    made = pool.call("bookings", "acquire", locks=[{"lock": "boards", "mode": "exclusive"}], owner="ann")
    assert made["units"]["boards"] == ["nuc", "pi-1", "pi-2"]


def test_the_page_of_a_build_says_which_unit_it_has(pool: Running) -> None:
    pool.close_gate("flasher")
    brid = pool.force("flasher")
    build = pool.until("BuildStarted", brid=brid)
    page = pool.http.get(f"/builds/{build['buildid']}").text
    assert '<a href="/locks/boards">boards</a>: pi-1 <span' in page
    pool.open_gate("flasher")
    pool.built(brid)
    assert "Holds" not in pool.http.get(f"/builds/{build['buildid']}").text


def test_a_quarantine_is_kept_told_and_lifted(pool: Running) -> None:
    pool.call("locks/boards%2Fpi-1", "quarantine", owner="ann", reason="it hums")
    told = unit(pool, "pi-1")
    assert (told["quarantine"], told["quarantined_by"]) == ("it hums", "ann")
    assert pool.one("locks/boards")["limit"] == 2
    waits = pool.call("bookings", "acquire", locks=["boards/pi-1"], owner="bob")
    assert waits["state"] == "waiting"
    assert waits["why"].startswith(
        "Waits for 1 of pool 'boards where pi-1', of which 0 can be had; in quarantine: pi-1 (it hums; by ann, for "
    )
    pool.call("bookings", "acquire", locks=[{"lock": "boards", "where": "arm"}], owner="ann")
    short = pool.call("bookings", "acquire", locks=[{"lock": "boards", "where": "arm"}], owner="eve")
    assert "To use it again: `lockstep quarantine --lift boards/pi-1`." in waits["why"]
    assert "in quarantine: pi-1 (it hums; by ann, for " in short["why"]
    assert "held by ann (booking" in short["why"]
    assert "(pi-2)" in short["why"]
    pool.call("locks/boards%2Fpi-1", "lift", owner="ann")
    assert pool.one(f"bookings/{waits['bookingid']}")["state"] == "held"
    assert pool.until("UnitQuarantined", reason="it hums")["unit"] == "pi-1"
    granted = pool.until("ClaimGranted", units=[["boards", ["pi-2"]]])
    assert "pools" not in granted, "how the core counts is nobody's business"
    events = [each["event"] for each in pool.get("locks/boards/history")["history"]]
    assert {"quarantined", "back in use", "granted"} <= set(events)


def test_all_units_of_a_pool_are_lifted_at_once(pool: Running) -> None:
    for name in ("pi-2", "nuc"):
        pool.call(f"locks/boards%2F{name}", "quarantine", owner="ann", reason="the switch is broken")
    assert pool.call("locks/boards", "lift", owner="bob") == {"units": ["nuc", "pi-2"]}
    assert not [unit for unit in pool.one("locks/boards")["units"] if unit["quarantine"]]
    assert pool.call("locks/boards", "lift", status=400) == "No unit of pool 'boards' is in quarantine."
    assert "There is no pool 'phones'" in pool.call("locks/phones", "lift", status=404)


def test_a_script_whose_variable_is_empty_lifts_and_quarantines_nothing(pool: Running) -> None:
    pool.call("locks/boards%2Fnuc", "quarantine", owner="ann", reason="it smells")
    for path, said in (
        ("boards%2F", "'boards/' names no unit: write POOL/UNIT."),
        ("lock:boards%2F", "'lock:boards/' names no unit: write POOL/UNIT."),
        ("%2Fnuc", "'/nuc' names no pool: write POOL/UNIT."),
        ("%2F", "'/' names no pool: write POOL/UNIT."),
    ):
        assert pool.call(f"locks/{path}", "lift", status=400) == said
        assert pool.call(f"locks/{path}", "quarantine", status=400, reason="burnt") == said
    assert [each["name"] for each in pool.one("locks/boards")["units"] if each["quarantine"]] == ["nuc"]


@pytest.mark.parametrize(
    ("path", "method", "given", "status", "said"),
    [
        ("boards%2Fpi-9", "quarantine", {"reason": "x"}, 404, "Pool 'boards' has no unit 'pi-9'. Did you mean"),
        ("boards%2Fxx", "quarantine", {"reason": "x"}, 404, "It has: pi-1, pi-2, nuc."),
        ("phones%2Fa", "quarantine", {"reason": "x"}, 404, "There is no pool 'phones'. There are: boards."),
        ("boards", "quarantine", {"reason": "x"}, 400, "'boards' names no unit: write POOL/UNIT."),
        ("boards%2Fpi-1", "quarantine", {}, 400, "Say why"),
        ("boards%2Fpi-1", "quarantine", {"reason": "x" * 1001}, 400, "at most 1000 characters"),
        ("boards%2Fpi-1", "lift", {}, 400, "Unit 'pi-1' of pool 'boards' is not in quarantine."),
    ],
)
def test_wrong_use_changes_nothing(
    pool: Running, path: str, method: str, given: dict[str, Any], status: int, said: str
) -> None:
    before = pool.one("locks/boards")["units"]
    assert said in pool.call(f"locks/{path}", method, status=status, **given)
    assert pool.one("locks/boards")["units"] == before


@pytest.mark.parametrize(
    ("lock", "status", "said"),
    [
        ({"lock": "boards", "where": "mips"}, 400, "Pool 'boards' has no unit and no label 'mips'. It has: arm,"),
        ({"lock": "boards", "where": "arm and"}, 400, "'arm and' cannot be read: a label is missing at the end."),
        ({"lock": "boards", "count": 4}, 400, "Pool 'boards' has 3 units: 4 can never be had."),
        ({"lock": "boards/nuc", "count": 2}, 400, "Pool 'boards' has 1 unit where nuc: 2 can never be had."),
        ({"lock": "boards/none"}, 404, "Pool 'boards' has no unit 'none'."),
        ({"lock": "database", "where": "arm"}, 400, "'where' is for pools; 'database' is a lock."),
    ],
)
def test_what_cannot_be_had_is_refused(pool: Running, lock: dict[str, Any], status: int, said: str) -> None:
    assert said in pool.call("bookings", "acquire", status=status, locks=[lock])
    assert not pool.get("bookings", complete="false")["bookings"]


def test_a_unit_is_taken_away_from_a_build_which_goes_back_to_the_queue(pool: Running) -> None:
    made = pool.call("bookings", "acquire", locks=["boards/pi-1"], owner="ann")
    taken = pool.call("locks/boards%2Fpi-1", "steal", owner="eve", reason="now", take={"for": 60})
    assert pool.one(f"bookings/{made['bookingid']}")["ending"] == "stolen"
    assert pool.one(f"bookings/{taken['bookingid']}")["state"] == "held"


def test_use_and_metrics_have_the_pool(pool: Running) -> None:
    pool.call("bookings", "acquire", locks=["boards/nuc"], owner="ann")
    (use,) = pool.get("locks/boards/use")["lock_use"]
    assert use["lock"] == "boards"
    assert use["grants"] >= 1
    assert use["share"] is not None
    text = pool.http.get("/metrics").text
    assert 'lockstep_lock_limit{lock="boards",worker=""} 3.0' in text
    assert 'lockstep_lock_used{lock="boards",worker=""} 1.0' in text
    assert 'lockstep_pool_quarantined{pool="boards"} 0.0' in text


def test_the_pools_page_lists_its_units_and_quarantines_one(pool: Running) -> None:
    pool.call("bookings", "acquire", locks=["boards/nuc"], owner="ann")
    page = pool.http.get("/locks/boards").text
    for each in ("pi-1", "nuc", "odd", "address 10.0.0.1", "ann (booking", 'action="/locks/boards/pi-1/quarantine"'):
        assert each in page
    assert pool.http.post("/locks/boards/pi-1/quarantine", data={"reason": ""}).status_code == 400
    assert unit(pool, "pi-1")["quarantine"] is None
    pool.http.post("/locks/boards/pi-1/quarantine", data={"reason": "<b>hums"})
    for path in ("/locks", "/locks/boards"):
        page = pool.http.get(path).text
        assert "&lt;b&gt;hums" in page
        assert "1 more in quarantine" in page
    pool.http.post("/locks/boards/pi-1/lift")
    assert unit(pool, "pi-1")["quarantine"] is None
    assert pool.http.get("/locks/boards%2Fpi-1").status_code == 200
    assert pool.http.get("/locks/boards%2Fpi-7").status_code == 404


def test_all_units_of_a_pool_are_lifted_by_one_button(pool: Running) -> None:
    button = 'action="/locks/boards/lift"'
    pool.call("locks/boards%2Fnuc", "quarantine", reason="the switch is broken")
    assert button not in pool.http.get("/locks/boards").text
    pool.call("locks/boards%2Fpi-2", "quarantine", reason="the switch is broken")
    page = pool.http.get("/locks/boards").text
    assert button in page
    assert "Use all 2 again" in page
    assert button not in pool.http.get("/locks/boards where arm or nuc").text
    forged = pool.http.post("/locks/boards/lift", headers={"origin": "https://evil.example"})
    assert forged.status_code == 403
    assert unit(pool, "nuc")["quarantine"] is not None
    done = pool.http.post("/locks/boards/lift", headers={"referer": f"{pool.url}/locks/boards"})
    assert done.headers["location"] == "/locks/boards"
    assert not [each["name"] for each in pool.one("locks/boards")["units"] if each["quarantine"]]
    refused = pool.http.post("/locks/boards/lift")
    assert (refused.status_code, "No unit of pool &#39;boards&#39; is in quarantine." in refused.text) == (400, True)
