"""The pages without a browser: each is drawn, escapes what it shows, and works without scripts."""

import re
import threading
from pathlib import Path
from typing import get_args

import pytest

from lockstep.core.records import Worker, WorkerState
from lockstep.master.web import ServerDoor
from lockstep.web.build_views import fresh_html, lines_html
from lockstep.web.drawing import Painter, load_assets
from lockstep.web.limits import SHOWN_LINES

from .serving import PATIENCE, Running, running


@pytest.fixture(scope="module")
def busy(ci: Running) -> Running:
    ci.built(ci.force("fails"))
    return ci


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", ["Running", "Waiting", "Ended lately", "Not connected"]),
        ("/builders", ["hello", "says hello", "quick", "Force"]),
        ("/builders/hello", ["Workers:", "flavour", "A plain build", "Ended"]),
        ("/builders/1", ["says hello"]),
        ("/builders/holder", ["database"]),
        ("/builders/fails/builds/1", ["bad", "Rebuild", "failure"]),
        ("/builds/1", ["greet", "stdio", "Properties"]),
        ("/requests/1", ["Request 1", "hello #1"]),
        ("/logs/1", ["hello &lt;b&gt;&amp;&lt;/b&gt;", "oops", "as text"]),
        ("/locks", ["database", "memory", "0 of 4 in use"]),
        ("/locks/cpu", ["cpu on w1", "on this worker"]),
        ("/workers", ["w1", "connected", "not connected", "Pause"]),
        ("/workers/w1", ["w1", "connected", "Pause", 'href="/workers"']),
        ("/changes", ["No change was noticed yet"]),
        ("/signin", ["From this machine nobody needs to sign in"]),
    ],
)
def test_every_page_is_drawn(busy: Running, path: str, words: list[str]) -> None:
    response = busy.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    for word in words:
        assert word in response.text, word
    assert "Tests &amp; &lt;co&gt;" in response.text
    assert "style=" not in response.text
    assert not re.search(r"<script(?! src=)|\son\w+=", response.text)


def test_a_request_that_ended_before_its_build_says_why(ci: Running) -> None:
    brid = ci.force("breaks")
    ci.until("RequestEnded", brid=brid)
    why = "What builder 'breaks' needs cannot be found out: canStartBuild: ZeroDivisionError: division by zero"
    assert ci.get(f"buildrequests/{brid}")["buildrequests"][0]["ended_reason"] == why
    assert ci.get(f"buildrequests/{brid}/why")["why"][0]["sentence"] == f"The build request is complete: {why}."
    assert ci.get("buildrequests", ended_reason__contains="ZeroDivision")["meta"] == {"total": 1}
    assert why.replace("'", "&#39;") in ci.http.get(f"/requests/{brid}").text


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/builders/nope",
        "/builds/999",
        "/builds/x",
        "/requests/999",
        "/logs/999",
        "/locks/nope",
        "/workers/none",
    ],
)
def test_what_is_not_there_is_a_page_too(ci: Running, path: str) -> None:
    response = ci.http.get(path)
    assert response.status_code == 404
    assert "There is no" in response.text
    assert "<nav>" in response.text


def test_a_worker_that_is_not_there_is_told_by_its_name(ci: Running) -> None:
    page = ci.http.get("/workers/none", headers={"referer": f"{ci.url}/workers"}).text
    assert "There is no worker &#39;none&#39;." in page
    assert '<a href="/workers">Back</a>' in page


def test_what_ended_last_stands_first_whenever_it_began(ci: Running) -> None:
    ci.close_gate("talker")
    slow = ci.force("talker")
    first = ci.until("BuildStarted", brid=slow)["buildid"]
    second = ci.built(ci.force("hello"))["buildid"]
    ci.open_gate("talker")
    ci.built(slow)
    shown = re.findall(r'id="ended-(\d+)"', ci.http.get("/").text)
    assert shown[:2] == [str(first), str(second)]


def test_names_that_are_markup_do_no_harm(ci: Running) -> None:
    page = ci.http.get("/builders").text
    assert "odd/name &amp; &lt;x&gt;" in page
    (path,) = re.findall(r'href="(/builders/odd[^"]+)"', page)
    shown = ci.http.get(path).text
    assert "odd/name" in shown
    (live,) = re.findall(r'hx-sse:connect="([^"]+)"', shown)
    assert live == f"{path}?live=1"


def test_forms_act_and_lead_on(ci: Running) -> None:
    response = ci.http.post("/builders/hello/force", data={"branch": "b", "properties": "x=1\n\ny = 2 "})
    assert response.status_code == 303
    brid = int(response.headers["location"].removeprefix("/requests/"))
    build = ci.built(brid)
    properties = ci.one(f"builds/{build['buildid']}/properties")
    assert (properties["x"][0], properties["y"][0], properties["branch"][0]) == ("1", "2", "b")
    response = ci.http.post("/builders/hello/force/force", data={"flavour": "sour", "size": "big", "reason": "so"})
    build = ci.built(int(response.headers["location"].removeprefix("/requests/")))
    assert ci.one(f"builds/{build['buildid']}/properties")["flavour"][0] == "sour"
    back = ci.http.post("/workers/w2/pause", headers={"referer": f"{ci.url}/workers"})
    assert back.headers["location"] == "/workers"
    assert ci.one("workers/w2")["paused"]
    other = ci.http.post("/workers/w2/unpause", headers={"referer": "https://evil.example//x"})
    assert other.headers["location"] == "/"
    odd = ci.http.post("/workers/w2/pause", headers={"referer": "http://[x"})
    assert odd.headers["location"] == "/"
    ci.http.post("/workers/w2/unpause")
    many = ci.http.post("/builders/hello/force", data={"count": "2"})
    assert many.headers["location"] == "/builders/hello"
    ci.all_ended()


@pytest.mark.parametrize(
    ("path", "form", "part"),
    [
        ("/builders/hello/force", {"count": "x"}, "Field &#39;count&#39;: &#39;x&#39; is no whole number"),
        ("/builders/hello/force", {f"x{n}": "1" for n in range(501)}, "at most 500 fields"),
        ("/signin", {f"x{n}": "1" for n in range(501)}, "at most 500 fields"),
        ("/builders/hello/force", {"properties": "<x>"}, "&#39;&lt;x&gt;&#39; is no property"),
        ("/builders/hello/force/force", {"size": "huge"}, "size"),
        ("/builds/1/stop", {}, "nothing to stop"),
        ("/requests/1/cancel", {}, "nothing to cancel"),
        ("/requests/1/priority", {"priority": "x"}, "whole number"),
        ("/workers/w1/dead", {}, "not out of reach"),
    ],
)
def test_forms_refuse_in_a_sentence(busy: Running, path: str, form: dict[str, str], part: str) -> None:
    response = busy.http.post(path, data=form)
    assert response.status_code == 400
    assert part in response.text


def test_a_locks_page_shows_who_holds_it_by_hand_and_ends_that(ci: Running) -> None:
    units = [{"lock": "memory", "count": 1}]
    made = ci.call("bookings", "acquire", locks=units, owner="<ann>", reason="a look", **{"for": 3600})
    kept = ci.call("bookings", "acquire", locks=units, owner="robot", lease=60)
    page = ci.http.get("/locks/memory").text
    assert "&lt;ann&gt; (booking" in page
    assert ": a look)" in page
    assert ", until <time" in page
    assert f'action="/bookings/{made["bookingid"]}/end"' in page
    assert "robot (booking" in page
    ci.http.post(f"/bookings/{made['bookingid']}/end")
    assert ci.one(f"bookings/{made['bookingid']}")["ending"] == "released"
    assert ci.call(f"bookings/{kept['bookingid']}", "wait", key=kept["key"])["state"] == "held"
    path = f"/bookings/{kept['bookingid']}/end"
    assert "Take away" in ci.http.get("/locks/memory").text
    refused = ci.http.post(path)
    assert (refused.status_code, "Say why" in refused.text) == (400, True)
    ci.http.post(path, data={"reason": "it is late"})
    error = ci.call(f"bookings/{kept['bookingid']}", "renew", status=400, key=kept["key"])
    assert error.endswith("must end: it is stolen by somebody (lock 'memory' was taken away: it is late).")
    ci.call(f"bookings/{kept['bookingid']}", "release", key=kept["key"])
    assert not [each for each in ci.one("locks/memory")["holders"] if each["by"]["booking"]]


def test_a_locks_page_says_when_its_queue_is_not_the_usual_one(ci: Running) -> None:
    assert "in strict order" in ci.http.get("/locks/cpu@w1").text
    assert "passed at most 3 times" in ci.http.get("/locks/disk").text
    for other in ("database", "worker:w2"):
        page = ci.http.get(f"/locks/{other}").text
        assert ("in strict order" in page, "passed at most" in page) == (False, False), other


def test_a_live_page_is_sent_again_when_it_changes_and_ends_with_its_build(ci: Running) -> None:
    ci.close_gate("talker")
    brid = ci.force("talker")
    buildid = ci.until("BuildStarted", brid=brid)["buildid"]
    said, done = threading.Event(), threading.Event()

    def look() -> None:
        with ci.http.stream("GET", f"/builds/{buildid}?live=1", timeout=None) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if "waiting for talker" in line and "echo" not in line:
                    said.set()
                if line == "event: done":
                    done.set()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert said.wait(PATIENCE)
    ci.open_gate("talker")
    for thread in threads:
        thread.join(PATIENCE)
    assert done.is_set()
    assert ci.built(brid)["results"] == 0


def test_a_builder_with_a_number_for_a_name_is_not_another_one(tmp_path: Path) -> None:
    server = Running(tmp_path)
    with server.file.open("a") as config:
        config.write("c['builders'].append(util.BuilderConfig(name='2', workernames=['w1'], factory=factory()))\n")
    server.start()
    try:
        (path,) = re.findall(r'<a href="([^"]+)">2</a>', server.http.get("/").text)
        assert "<h1>2 " in server.http.get(path).text
    finally:
        server.stop()


def test_terminals_colours_become_classes_and_nothing_else_gets_through() -> None:
    assert lines_html("o\x1b[1;31mred\x1b[0m <i>\n", "s") == (
        '<span class="o"><span class="ansi-bold ansi-red">red</span> &lt;i&gt;\n</span>'
    )
    assert lines_html('e\x1b]0;title\x07x\x1b[2K"\n', "s") == '<span class="e">x&#34;\n</span>'
    assert lines_html("10%\r100%\n", "t") == '<span class="o">100%\n</span>'
    assert lines_html("", "t") == ""


def test_of_very_many_new_lines_only_the_last_are_drawn() -> None:
    html = fresh_html("x\n" * (SHOWN_LINES + 5), "t")
    assert html.count("\n") == SHOWN_LINES + 1
    assert "5 lines are not shown" in html


def test_assets_have_a_type_and_a_version() -> None:
    assets = load_assets()
    assert assets["style.css"].type == "text/css"
    assert assets["page.js"].type in ("text/javascript", "application/javascript")
    assert len({asset.version for asset in assets.values()}) == len(assets)


@pytest.mark.parametrize("state", get_args(WorkerState))
def test_a_workers_state_is_said_whichever_it_is(ci: Running, state: WorkerState) -> None:
    row = {"worker": Worker(name="w9", workerid=9, state=state), "running": [], "builders": []}
    page = Painter(ServerDoor(ci.server), load_assets()).main("workers.html", {"workers": [row], "may_change": False})
    named, told, *_ = (re.sub("<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", page, re.DOTALL))
    assert named == "w9"
    assert told
    assert '"dot "' not in page


def test_without_the_vendors_assets_pages_are_readable_and_say_so(ci: Running) -> None:
    assets = {name: asset for name, asset in load_assets().items() if not name.startswith("vendor/")}
    painter = Painter(ServerDoor(ci.server), assets)
    page = painter.page("changes.html", {"changes": [], "sources": (), "path_now": "/changes", "live": False})
    assert "This page does not renew itself" in page
    assert "htmx.min.js" not in page
    assert "No change was noticed yet" in page


def test_open_pages_and_streams_end_when_the_server_is_told_to_stop(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        ended = []
        begun = threading.Barrier(4)

        def look(path: str) -> None:
            with server.http.stream("GET", path, timeout=None) as response:
                lines = response.iter_lines()
                next(lines)
                begun.wait()
                ended.append(len(list(lines)))

        paths = ("/?live=1", "/api/v2/events", "/locks?live=1")
        threads = [threading.Thread(target=look, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        begun.wait()
        server.tell_to_stop()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(ended) == 3
        assert server.http.get("/?live=1").status_code == 400


def test_a_refused_form_comes_back_filled_in_with_what_is_wrong_at_its_field(ci: Running) -> None:
    form = {"reason": "my <reason>", "flavour": "bitter", "size": "huge", "branch": "b1"}
    response = ci.http.post("/builders/hello/force/force", data=form)
    assert response.status_code == 400
    page = response.text
    assert 'value="my &lt;reason&gt;"' in page
    assert 'value="bitter"' in page
    assert '<span class="wrong" id="wrong-size">' in page
    plain = {"branch": "b2", "count": "2", "properties": "x=1\nnonsense"}
    page = ci.http.post("/builders/hello/force", data=plain).text
    assert 'value="b2"' in page
    assert 'value="2"' in page
    assert "x=1\nnonsense</textarea>" in page
    assert "&#39;nonsense&#39; is no property" in page
    assert page.count('class="wrong"') == 1
    assert 'value="plain"' in page  # the other form is as it was
