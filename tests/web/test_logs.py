"""Logs over HTTP: whole, in pieces, as they are written; and that no browser takes one for a page."""

import asyncio
import socket
import threading
import tracemalloc
from itertools import accumulate
from typing import Any

import msgspec
import pytest

from lockstep.web.live import Queue

from .serving import PATIENCE, Running


@pytest.fixture(scope="module")
def stdio(ci: Running) -> Any:
    """The log of a build that has ended."""
    build = ci.built(ci.force("hello"))
    return ci.one(f"builds/{build['buildid']}/steps/greet/logs/stdio")


def test_contents_have_prefixes_and_raw_has_none(ci: Running, stdio: Any) -> None:
    chunk = ci.one(f"logs/{stdio['logid']}/contents")
    lines = chunk["content"].splitlines()
    assert len(lines) == stdio["num_lines"]
    assert "ohello <b>&</b>" in lines
    assert "eoops" in lines
    part = ci.one(f"logs/{stdio['logid']}/contents", offset=1, limit=2)
    assert (part["firstline"], part["content"].splitlines()) == (1, lines[1:3])
    raw = ci.http.get(f"/api/v2/logs/{stdio['logid']}/raw")
    assert raw.text.splitlines() == [line[1:] for line in lines]
    assert "attachment" in raw.headers["content-disposition"]


def test_contents_of_a_long_log_take_no_memory_for_all_of_it(ci: Running) -> None:
    ci.open_gate("talker")
    build = ci.built(ci.force("talker", properties={"much": "1000000"}))
    log = ci.one(f"builds/{build['buildid']}/steps/gate/logs/stdio")
    tracemalloc.start()
    try:
        size = 0
        with ci.http.stream("GET", f"/api/v2/logs/{log['logid']}/contents") as response:
            for piece in response.iter_raw():
                size += len(piece)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 12_000_000
    assert most < 2 * size  # (the store puts its chunks together meanwhile)
    part = ci.one(f"logs/{log['logid']}/contents", offset=999_000, limit=2000, field=["content", "firstline"])
    assert part["firstline"] == 999_000
    assert part["content"].endswith("oline 1000000\n")
    assert set(part) == {"content", "firstline"}
    assert ci.one(f"logs/{log['logid']}/contents", field="logid") == {"logid": log["logid"]}
    assert ci.one(f"logs/{log['logid']}/contents", field="content", limit=0) == {"content": ""}


def test_a_log_is_text_whatever_it_says(ci: Running, stdio: Any) -> None:
    for kind in ("raw", "raw_inline"):
        response = ci.http.get(f"/api/v2/logs/{stdio['logid']}/{kind}")
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_an_html_log_is_shown_without_any_rights(ci: Running) -> None:
    build = ci.built(ci.force("html"))
    log = ci.one(f"builds/{build['buildid']}/steps/html/logs")
    assert log["type"] == "h"
    inline = ci.http.get(f"/api/v2/logs/{log['logid']}/raw_inline")
    assert inline.headers["content-type"].startswith("text/html")
    assert inline.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert ci.http.get(f"/api/v2/logs/{log['logid']}/raw").headers["content-type"].startswith("text/plain")
    page = ci.http.get(f"/logs/{log['logid']}").text
    assert "<iframe" in page
    assert "<script>alert" not in page


def test_a_log_is_followed_while_it_is_written(ci: Running) -> None:
    ci.close_gate("talker")
    brid = ci.force("talker")
    build = ci.until("BuildStarted", brid=brid)
    opened = ci.until("LogOpened", buildid=build["buildid"])
    lines: list[str] = []
    events: list[str] = []
    said = threading.Event()

    def follow() -> None:
        with ci.http.stream("GET", f"/api/v2/logs/{opened['logid']}/follow", timeout=None) as response:
            for line in response.iter_lines():
                if line.startswith("event: "):
                    events.append(line[7:])
                elif line.startswith("data: {"):
                    data = msgspec.json.decode(line[6:])
                    assert data["firstline"] == len(lines)
                    lines.extend(data["content"].splitlines())
                    if "owaiting for talker" in lines:
                        said.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert said.wait(PATIENCE), lines
    assert "oopen" not in lines
    ci.open_gate("talker")
    thread.join(PATIENCE)
    assert events[-1] == "end"
    assert "oopen" in lines
    ci.built(brid)
    assert lines == ci.one(f"logs/{opened['logid']}/contents")["content"].splitlines()


def test_a_line_that_grows_is_shown_as_it_stands(ci: Running) -> None:
    """A progress bar: what a terminal shows, before the line ends; stored is the line, whole, at its end."""
    ci.close_gate("loader")
    brid = ci.force("loader")
    logid = ci.until("LogOpened", buildid=ci.until("BuildStarted", brid=brid)["buildid"])["logid"]
    with ci.http.stream("GET", f"/logs/{logid}/lines", timeout=None) as response:
        events = response.iter_lines()
        stored = grows = False  # either may be told first
        while not (stored and grows):
            line = next(events)
            stored |= line.endswith('<span class="o">begin')
            if line == "event: growing":
                grows = next(events) == 'data: <span class="o">&lt;b&gt;20%'
        found = ci.one(f"logs/{logid}/growing")
        assert found["content"] == "o<b>20%\n"
        assert "\no\r10%" not in ci.one(f"logs/{logid}/contents")["content"]
        ci.open_gate("loader")
        told = list(events)
    assert told[told.index("event: growing") + 1] == "data: "
    assert 'data: <span class="o">all' in told
    ci.built(brid)
    assert ci.one(f"logs/{logid}/growing")["content"] == ""
    assert "\no\r10%\r<b>20%\rall\n" in ci.one(f"logs/{logid}/contents")["content"]


def test_who_reads_slowly_gets_every_line_from_the_store(ci: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstep.web.live.LOG_BACKLOG", 4)
    ci.close_gate("talker")
    brid = ci.force("talker", properties={"much": "300000"})
    build = ci.until("BuildStarted", brid=brid)
    logid = ci.until("LogOpened", buildid=build["buildid"])["logid"]
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", ci.server.port))
    slow.sendall(f"GET /api/v2/logs/{logid}/follow HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    with slow, slow.makefile("rb") as text:
        while not text.readline().startswith(b": lines follow"):
            pass
        ci.open_gate("talker")
        ci.built(brid)
        pieces = [msgspec.json.decode(line[6:]) for line in text if line.startswith(b"data: {")]
    lines = [line for piece in pieces for line in piece["content"].splitlines()]
    firsts = [piece["firstline"] for piece in pieces]
    assert firsts == [0, *accumulate(piece["content"].count("\n") for piece in pieces)][:-1]
    assert [line for line in lines if line.startswith("oline ")] == [f"oline {n}" for n in range(1, 300_001)]


def test_a_page_that_was_not_taken_is_worth_nothing_when_it_was_drawn_again() -> None:
    async def run() -> list[Any]:
        queue = Queue()
        for n in range(5):
            queue.put_last(n)
        return await queue.take(0)

    assert asyncio.run(run()) == [4]


def test_a_log_that_has_ended_is_followed_to_its_end(ci: Running, stdio: Any) -> None:
    text = ci.http.get(f"/api/v2/logs/{stdio['logid']}/follow", params={"offset": 2}).text
    assert "event: end" in text
    assert f"id: {stdio['num_lines']}" in text
    assert '"firstline":2' in text
    again = ci.http.get(
        f"/api/v2/logs/{stdio['logid']}/follow", headers={"last-event-id": str(stdio["num_lines"])}
    ).text
    assert "event: lines" not in again
    for odd in ("9" * 19, "9" * 5000, "-1"):  # is no line that anybody was sent
        all_of_it = ci.http.get(f"/api/v2/logs/{stdio['logid']}/follow", headers={"last-event-id": odd}).text
        assert '"firstline":0' in all_of_it


def test_events_are_told_again_from_any_number(ci: Running) -> None:
    buildid = ci.built(ci.force("hello"))["buildid"]
    seen = []
    with ci.http.stream("GET", "/api/v2/events", params={"after": 0, "kinds": "BuildStarted,BuildEnded"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("data: "):
                seen.append(msgspec.json.decode(line[6:]))
                if (seen[-1]["event"], seen[-1]["fact"]["buildid"]) == ("BuildEnded", buildid):
                    break
    numbers = [event["number"] for event in seen]
    assert numbers == sorted(set(numbers))
    assert {event["event"] for event in seen} == {"BuildStarted", "BuildEnded"}
