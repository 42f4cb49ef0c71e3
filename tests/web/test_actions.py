"""What may be done by JSON-RPC: force, cancel, priorities, stop, rebuild, pause; and what is refused, by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .serving import Running, running


@pytest.fixture
def held(ci: Running) -> Iterator[Running]:
    """A build that has the lock `database` until the gate opens."""
    ci.close_gate("holder")
    brid = ci.force("holder")
    ci.until("BuildStarted", brid=brid)
    yield ci
    ci.open_gate("holder")
    ci.built(brid)


def test_force_with_everything(ci: Running) -> None:
    bsid, brids = ci.call(
        "builders/hello", "force", branch="b", revision="r1", reason="why not", owner="me", properties={"x": [1]}
    )
    builder = ci.one("builders/hello")
    brid = brids[str(builder["builderid"])]
    build = ci.built(brid)
    buildset = ci.one(f"buildsets/{bsid}")
    assert buildset["reason"] == "why not"
    assert buildset["sourcestamps"][0]["branch"] == "b"
    assert buildset["sourcestamps"][0]["revision"] == "r1"
    properties = ci.one(f"builds/{build['buildid']}/properties")
    assert properties["x"][0] == [1]
    assert properties["owner"][0] == "me"
    assert properties["owners"] == [["me"], "Build"]


def test_force_by_id_and_by_odd_name(ci: Running) -> None:
    odd = ci.one("builders", name="odd/name & <x> #?")
    brid = ci.force(str(odd["builderid"]))
    assert ci.built(brid)["results"] == 0


def test_force_count_makes_so_many_builds(ci: Running) -> None:
    bsid, _ = ci.call("builders/hello", "force", count=3)
    requests = ci.get("buildrequests", buildsetid=bsid)["buildrequests"]
    assert len({ci.built(request["buildrequestid"])["buildid"] for request in requests}) == 3


def test_force_scheduler(ci: Running) -> None:
    hello = ci.one("builders/hello")["builderid"]
    _, brids = ci.call("forceschedulers/force", "force", builderid=hello, flavour="sweet", size="big", reason="r")
    build = ci.built(brids[str(hello)])
    properties = ci.one(f"builds/{build['buildid']}/properties")
    assert properties["flavour"][0] == "sweet"
    assert properties["size"][0] == "big"
    assert properties["scheduler"][0] == "force"


@pytest.mark.parametrize(
    ("path", "method", "params", "status", "part"),
    [
        ("builders/hello", "force", {"branch": 3}, 400, "'branch' must be a text"),
        ("builders/hello", "force", {"count": 0}, 400, "'count' must be from 1"),
        ("builders/hello", "force", {"count": "2"}, 400, "'count' must be a whole number"),
        ("builders/hello", "force", {"properties": [1]}, 400, "'properties' must be an object"),
        *(
            ("builders/hello", "force", {"properties": given}, 400, "'properties' must be an object: name to value.")
            for given in ([], "", False, 0)
        ),
        ("builders/hello", "force", {"properties": {"x": 10**19}}, 400, "'x'"),
        ("builders/hello", "force", {"branch": "a\0b"}, 400, "'branch' cannot have a NUL in it."),
        *(
            ("builders/hello", "force", {"count": given}, 400, "'count' must be")
            for given in (-1, 10**400, 1.5, True, [1])
        ),
        ("control", "reload", {"owner": 3}, 400, "'owner' must be a text."),
        ("control", "reload", {"colour": 3}, 400, "no parameter 'colour'"),
        ("workers/w1", "pause", {"reason": 3}, 400, "'reason' must be a text."),
        ("workers/w1", "pause", {"owner": [1]}, 400, "'owner' must be a text."),
        ("workers/w1", "unpause", {"owner": True}, 400, "'owner' must be a text."),
        ("builders/hello", "force", {"colour": 1}, 400, "no parameter 'colour'"),
        ("builders/nope", "force", {}, 404, "no builder 'nope'"),
        ("builders/hello", "paint", {}, 501, "no method 'paint'"),
        ("forceschedulers/nope", "force", {}, 404, "no force scheduler 'nope'"),
        ("forceschedulers/force", "force", {}, 400, "Say for which builder"),
        ("forceschedulers/force", "force", {"builderNames": ["fails"]}, 400, "has no builder 'fails'"),
        ("forceschedulers/force", "force", {"builderNames": "hello", "size": "huge"}, 400, "'size'"),
        ("forceschedulers/force", "force", {"builderNames": "hello", "colour": "red"}, 400, "'colour'"),
        ("buildrequests/999", "cancel", {}, 404, "no build request 999"),
        ("buildrequests/x", "cancel", {}, 404, "no build request x"),
        ("builds/999", "stop", {}, 404, "no build 999"),
        ("workers/nope", "pause", {}, 404, "no worker 'nope'"),
        ("workers/w1", "kill", {}, 400, "where it runs"),
        ("workers/w1", "stop", {}, 400, "where it runs"),
        ("workers/w1", "declare_dead", {}, 400, "not out of reach"),
        ("schedulers/force", "enable", {"enabled": False}, 400, "cannot be switched off"),
    ],
)
def test_refusals_name_what_is_wrong(
    ci: Running, path: str, method: str, params: dict[str, Any], status: int, part: str
) -> None:
    before = ci.get("buildsets", limit=1)["meta"]["total"]
    assert part in ci.call(path, method, status, **params)
    assert ci.get("buildsets", limit=1)["meta"]["total"] == before


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "method": "force", "params": {"count": NaN}}', "no JSON"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "force", "params": {"count": 1e999}}', "no JSON: Number out of range"),
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "must be one JSON-RPC request"),
        (b'{"method": "force"}', "jsonrpc"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 3}', "'method' must be a text"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "force", "params": [1]}', "'params' must be an object"),
        (b'{"jsonrpc": "2.0", "id": [1], "method": "force"}', "'id' must be"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_bodies_that_are_no_call(ci: Running, body: bytes, part: str) -> None:
    response = ci.http.post("/api/v2/builders/hello", content=body)
    assert response.status_code == 400
    assert part in response.json()["error"]["message"]


def test_a_body_has_a_limit(ci: Running) -> None:
    response = ci.http.post("/api/v2/builders/hello", content=b"x" * (2 << 20))
    assert response.status_code == 413
    assert "error" in response.json()


def test_cancel_a_waiting_request(held: Running) -> None:
    brid = held.force("wanter")
    held.call(f"buildrequests/{brid}", "cancel", reason="changed my mind")
    request = held.one(f"buildrequests/{brid}")
    assert (request["complete"], request["claimed"], request["results"]) == (True, False, 6)
    assert "nothing to cancel" in held.call(f"buildrequests/{brid}", "cancel", 400)
    assert held.one(f"buildrequests/{brid}/why")["kind"] == "ended"


def test_priority_orders_the_queue(held: Running) -> None:
    first, second = held.force("wanter"), held.force("wanter")
    held.call(f"buildrequests/{second}", "set_priority", priority=5)
    (lock,) = held.get("locks/database")["locks"]
    assert [waiter["by"]["requestid"] for waiter in lock["waiters"]] == [second, first]
    assert "whole number" in held.call(f"buildrequests/{first}", "set_priority", 400, priority="high")
    for brid in (first, second):
        held.call(f"buildrequests/{brid}", "cancel")


def test_stop_a_build_and_build_it_again(ci: Running) -> None:
    ci.close_gate("talker")
    brid = ci.force("talker", properties={"colour": "green"}, branch="x")
    buildid = ci.until("BuildStarted", brid=brid)["buildid"]
    ci.until("LogOpened", buildid=buildid)
    ci.call(f"builds/{buildid}", "stop", reason="enough")
    assert ci.built(brid)["results"] == 6
    assert "nothing to stop" in ci.call(f"builds/{buildid}", "stop", 400)
    ci.open_gate("talker")
    bsid, brids = ci.call(f"builds/{buildid}", "rebuild")
    (again,) = brids.values()
    build = ci.built(again)
    assert build["results"] == 0
    assert ci.one(f"builds/{build['buildid']}/properties")["colour"][0] == "green"
    buildset = ci.one(f"buildsets/{bsid}")
    assert buildset["rebuilt_buildid"] == buildid
    assert buildset["sourcestamps"][0]["branch"] == "x"


def test_pause_a_worker(ci: Running) -> None:
    ci.call("workers/w1", "pause", reason="disk full")
    worker = ci.one("workers/w1")
    assert (worker["paused"], worker["pause_reason"]) == (True, "disk full")
    brid = ci.force("hello")
    why = ci.one(f"buildrequests/{brid}/why")
    assert why["kind"] == "worker"
    assert "w1 is paused (disk full)" in why["sentence"]
    ci.call("workers/w1", "unpause")
    assert ci.built(brid)["results"] == 0


def test_reload(tmp_path: Path) -> None:
    with running(tmp_path) as ci:
        good = ci.file.read_text()
        ci.file.write_text(good + "\nc['builders'][0].nam = 3\nc['nonsense'] = 1\n")
        assert "nonsense" in ci.call("control", "reload", 400)
        assert ci.one("builders/hello")["masterids"] == [1]
        ci.file.write_text(good + "\nc['title'] = 'Another'\n")
        assert ci.call("control", "reload") == []
        assert "Another" in ci.http.get("/").text
