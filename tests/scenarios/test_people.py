"""People and other programs at a running server: they hold, queue, extend, steal."""

import http.server
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scene import DEADLINE, PROGRAM, Scene
from scene_agents import Agent, LossyCable
from timeline import check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

CONFIG = """
    db, cpu = util.MasterLock('database'), util.WorkerLock('cpu')
    pool = util.MasterLock('pool', maxCount=3)
    c['workers'] = workers('w1')
    c['builders'] = [build('b', gate('go'), locks=[db.access('exclusive')]),
                     build('idle', gate('go'), locks=[cpu.access('counting')])]
    """


def holders(scene: Scene, lock: str = "database") -> list[str]:
    """Who holds a lock."""
    return [holder["by"]["text"] for holder in scene.lock(lock)["holders"]]


# --- a person holds


def test_L60_a_person_holds_through_kill_9_of_the_server_and_a_build_waits(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    held = scene.cli("hold", "database", "--for", "2h", "--reason", "measuring")
    assert held.returncode == 0, held.stderr
    assert held.stdout.startswith("Booking 1 holds 'database' (fence 1) until ")
    (brid,) = scene.force("b")
    scene.until(lambda: scene.why(brid)["kind"] == "lock", "the build to wait for the lock")
    assert "Waits for lock 'database', held by ann (booking 1: measuring)" in scene.why(brid)["sentence"]
    scene.kill()
    scene.start()
    assert holders(scene) == ["ann (booking 1: measuring)"]
    before = scene.all("bookings", "bookings/1")[0]["ends_at"]
    assert scene.cli("extend", "database", "--for", "30m").returncode == 0
    assert scene.all("bookings", "bookings/1")[0]["ends_at"] == pytest.approx(before + 1800, abs=1)
    assert scene.cli("release", "database").stdout == "Booking 1 is released.\n"
    scene.running("b-1-go")
    scene.open("go")
    assert scene.ended(brid) == [Result.SUCCESS]
    (booking,) = scene.all("bookings")
    assert (booking["state"], booking["ending"], booking["ended_by"]) == ("ended", "released", "ann")
    check_lock(scene.facts, "database", 1)


class Ear(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted to it, and answers with an error: nobody may care."""

    def do_POST(self) -> None:
        self.server.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))  # type: ignore[attr-defined]
        self.send_response(500)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing."""


def test_whoever_wants_to_be_told_gets_notices(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    heard: list[dict[str, Any]] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        server.heard = heard  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook?secret=7"
        scene.cli("hold", "database", "--for", "3", "--notify", url, "--reason", "a look")
        scene.until(lambda: len(heard) == 3, "three notices")
        server.shutdown()
    heard.sort(key=lambda each: ["held", "ends soon", "ended"].index(each["event"]))
    assert [(each["event"], each["who"], each["reason"]) for each in heard] == [
        ("held", "ann", "a look"),
        ("ends soon", "ann", "a look"),
        ("ended", "ann", "a look"),
    ]
    assert heard[2]["ending"] == "expired"
    assert heard[0]["locks"] == [{"lock": "database", "mode": "exclusive", "count": 1}]
    assert "hook" not in json.dumps([scene.all("bookings"), scene.lock("database")])
    scene.cli("hold", "database", "--notify", "http://127.0.0.1:1/hook?secret=7")  # nobody is there: no harm
    scene.until(lambda: "did not reach 127.0.0.1" in scene.log.read_text(), "the log to say so")
    assert "secret=7" not in scene.log.read_text()
    assert "must be an address" in scene.cli("hold", "pool", "--notify", "file:///etc/passwd").stderr


def test_what_others_have_written_does_nothing_to_a_terminal(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "eve\x9b2J"})
    reason = "a look\x1b[31m\n  held by nobody\u202e\x07"
    assert scene.cli("hold", "database", "--reason", reason).returncode == 0
    (brid,) = scene.force("b")
    scene.until(lambda: scene.why(brid)["kind"] == "lock", "the build to wait for the lock")
    shown = r"eve\x9b2J (booking 1: a look\x1b[31m\x0a  held by nobody\u202e\x07)"
    for words in (("locks",), ("locks", "database"), ("why", str(brid)), ("locks", "database", "--history")):
        done = scene.cli(*words)
        assert shown in done.stdout, (words, done)
        assert not set(done.stdout) & set("\x1b\x9b\x07\u202e"), words
    scene.cli("hold", "database", "--no-wait")
    said = scene.cli("release", "database").stderr
    assert (r"eve\x9b2J" in said, "\x9b" in said) == (True, False), said


SLOW_NAMES = """
import os, socket, time
look_up = socket.getaddrinfo

def getaddrinfo(host, *more, **rest):
    if b"slow.example" in (host if isinstance(host, bytes) else str(host).encode()):
        while not os.path.exists(os.environ["NAME_SERVER"]):
            time.sleep(0.05)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return look_up(host, *more, **rest)

socket.getaddrinfo = getaddrinfo
"""
"""What Python runs first in a process whose name server answers only when a file is there."""


def test_a_name_server_that_is_silent_holds_up_nothing_but_notices(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(SLOW_NAMES)
    path = f"{tmp_path / 'first'}:{os.environ.get('PYTHONPATH', '')}"
    scene = stage(
        "db = util.MasterLock('db', maxCount=99)\nc['workers'] = workers('w1')\n"
        "c['builders'] = [build('b', sh('s'), locks=[db.access('counting')])]\n",
        env={"PYTHONPATH": path, "NAME_SERVER": str(tmp_path / "answers")},
    )
    wish = {"locks": [{"lock": "db", "count": 1}], "notify": "http://slow.example/hook?secret=7"}
    for _ in range(60):
        scene.call("bookings", "acquire", **wish)
    assert len(scene.all("bookings")) == 60
    scene.call("bookings/1", "release")
    (tmp_path / "answers").touch()
    for said in ("did not reach slow.example", "too many are on their way"):
        scene.until(lambda said=said: said in scene.log.read_text(), "the log to say so")
    assert "secret=7" not in scene.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_waits_is_told_and_a_signal_takes_the_wish_back(stage: Stage, number: signal.Signals) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    scene.force("b")
    scene.running("b-1-go")
    agent = scene.agents["w1"]
    assert isinstance(agent, Agent)
    agent.pause()  # what is stolen is not given back before it is certainly not used any more
    for words in (["hold", "database"], ["steal", "database", "--reason", "now"]):
        with start(scene, *words) as waiting:
            assert waiting.stderr is not None
            assert "Waits for lock 'database', held by b #1" in waiting.stderr.readline()
            scene.until(lambda: scene.all("bookings", complete="false"), "the wish")
            waiting.send_signal(number)
            assert waiting.wait(DEADLINE) == 130
            assert re.search(r"Booking \d+ is taken back\.\n", waiting.stderr.read())
        assert not scene.all("bookings", complete="false")


def test_whoever_waits_goes_on_when_the_server_is_started_again(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    scene.force("b")
    scene.running("b-1-go")
    with start(scene, "hold", "database") as waiting:
        scene.fact("BookingAdded")
        scene.stop()
        scene.start()
        scene.open("go")
        assert waiting.stdout is not None
        assert "holds 'database' (fence 2)" in waiting.stdout.read()
        assert waiting.wait(DEADLINE) == 0


def start(scene: Scene, *words: str, url: str = "") -> "subprocess.Popen[str]":
    """A command beside the test."""
    env = {**scene.env, "LOCKSTEP_URL": url or scene.url}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [str(PROGRAM), *words], env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("hold", "database"), b'"acquire"'),
        (("steal", "database", "--reason", "now"), b'"steal"'),
        (("exec", "--lock", "database", "--", "true"), b'"acquire"'),
    ],
)
def test_an_answer_that_was_lost_is_asked_for_again(stage: Stage, words: tuple[str, ...], text: bytes) -> None:
    scene = stage(CONFIG, env={"USER": "ann"})
    if words[0] == "steal":
        scene.cli("hold", "database")
    before = len(scene.facts.of("BookingAdded"))
    cable = LossyCable(scene.port, text)
    try:
        with start(scene, *words, url=cable.url) as asking:
            assert asking.wait(DEADLINE) == 0
            assert asking.stdout is not None
            said = asking.stdout.read()
    finally:
        cable.close()
    assert cable.lost == 2
    assert len(scene.facts.of("BookingAdded")) == before + 1
    assert len(scene.facts.of("HoldStolen")) == before
    if words[0] != "exec":
        assert f"Booking {scene.facts.of('BookingAdded')[-1].ticket} holds 'database'" in said


def test_L6_a_lock_that_is_not_configured_any_more_and_still_held_is_one(stage: Stage) -> None:
    scene = stage(CONFIG, env={"USER": "ann"})
    assert scene.cli("hold", "database").returncode == 0
    scene.configure("c['workers'] = workers('w1')\nc['builders'] = [build('b', sh('s'))]\n")
    assert scene.cli("reload").returncode == 0
    assert scene.cli("fence", "check", "database", "1").returncode == 0
    done = scene.cli("steal", "database", "--reason", "it goes away")
    assert "holds 'database' (fence 2)" in done.stdout, done
    assert scene.cli("release", "database").returncode == 0
    gone = scene.cli("hold", "database")
    assert (gone.returncode, "There is no lock 'database'" in gone.stderr) == (4, True)


def test_every_command_knows_the_same_names(stage: Stage) -> None:
    scene = stage(
        """
        cpu, odd = util.WorkerLock('cpu'), util.MasterLock('17')
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('cpu', gate('go'), locks=[cpu.access('counting'), odd.access('counting')]),
                         build('other', gate('go'), on='w2', locks=[cpu.access('counting')])]
        """,
        "w1",
        "w2",
    )
    for name in ("worker:w2", "cpu@w1", "17", "lock:17"):
        held = scene.cli("hold", name, "--for", "1h")
        assert held.returncode == 0, held
        number = int(held.stdout.split()[1])
        known = name if name != "17" else "lock:17"
        for words in (("locks", name), ("extend", known, "--for", "1h"), ("release", known)):
            done = scene.cli(*words)
            assert done.returncode == 0, (words, done)
        assert scene.all("bookings", f"bookings/{number}")[0]["ending"] == "released"
    shown = scene.cli("locks", "cpu").stdout
    assert ("cpu on w1" in shown, "cpu on w2" in shown, "directory" in shown) == (True, True, False)
    scene.cli("hold", "worker:w1")
    said = scene.cli("release", "17")
    assert (said.returncode, said.stderr.splitlines()[1]) == (4, "Write booking:17 or lock:17.")
    assert "There is no booking 17" in scene.cli("release", "booking:17").stderr
    assert "There is no lock '²'" in scene.cli("release", "²").stderr
    assert "means nothing with" in scene.cli("steal", "booking:17", "--reason", "x", "--for", "1h").stderr


def test_L61_what_is_wrong_gets_one_sentence(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    scene.cli("hold", "pool", "--count", "1")
    scene.cli("hold", "pool", "--count", "1")
    said = {
        ("hold", "datbase"): (4, "There is no lock 'datbase'. Did you mean 'database'?"),
        ("hold", "cpu@w9"): (4, "There is no lock 'cpu@w9'. Did you mean 'cpu@w1'?"),
        ("hold", "pool", "--count", "4"): (4, "Lock 'pool' has 3 units: 4 can never be had."),
        ("hold", "pool", "--for", "-1"): (2, "'-1' is no length of time"),
        ("hold", "pool", "--count", "1", "--exclusive"): (2, "exclude each other"),
        ("release", "database"): (4, "Nobody has booked lock 'database'."),
        ("release", "99"): (4, "There is no booking 99."),
        ("release", "pool"): (4, "Lock 'pool' has several bookings"),
        ("extend", "1", "--for", "1h"): (4, "Booking 1 has no end"),
        ("steal", "database", "--reason", "now"): (4, "Nobody holds lock 'database'"),
        ("steal", "pool", "--reason", "now"): (4, "say which hold, or all"),
        ("steal", "pool"): (2, "--reason"),
        ("fence", "check", "datbase", "1"): (4, "There is no lock 'datbase'"),
        ("exec", "--lock", "nonsense", "--", "true"): (4, "There is no lock 'nonsense'."),
        ("exec", "--lock", "pool", "--lease", "0", "--", "true"): (2, "'0' is too short: 1 s is the least"),
        ("exec", "--lock", "pool", "--timout", "10m", "--", "true"): (2, "No such option '--timout'"),
        ("hold", "database", "--for", "0"): (2, "'0' is too short: 1 s is the least"),
        ("steal", "1", "--for", "1h", "--reason", "now"): (2, "--for means nothing with the number of a booking"),
        ("steal", "1", "--all", "--reason", "now"): (2, "--all means nothing with the number of a booking"),
        ("steal", "pool", "--no-hold", "--count", "1", "--reason", "now"): (2, "--count means nothing with --no-hold"),
        ("exec", "--", "true"): (2, "--lock"),
    }
    before = scene.facts.last
    for words, (code, text) in said.items():
        done = scene.cli(*words)
        assert (done.returncode, text in done.stderr) == (code, True), (words, done)
    assert scene.facts.last == before


def test_somebody_keeps_a_worker_for_himself(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    assert scene.cli("hold", "worker:w1").returncode == 0
    (brid,) = scene.force("idle")
    scene.until(lambda: "booking" in scene.why(brid)["sentence"], "the build to wait for the worker")
    assert "worker w1" in scene.cli("locks", "worker:w1").stdout
    (booking,) = scene.all("bookings")
    assert booking["locks"][0]["lock"] == "worker w1"
    waits = scene.cli("hold", "worker:w1", "--no-wait")
    assert "the whole of worker w1, held by" in waits.stdout + waits.stderr, waits
    assert scene.cli("release", "1").returncode == 0
    scene.running("idle-1-go")


def test_a_build_that_is_robbed_says_by_whom_and_runs_again(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", env={"USER": "ann"})
    (brid,) = scene.force("b")
    scene.running("b-1-go")
    done = scene.cli("steal", "database", "--reason", "the customer is here", "--for", "1h")
    assert "holds 'database' (fence 2)" in done.stdout, done
    first = scene.all("builds", "builders/b/builds/1")[0]
    assert first["results"] == Result.RETRY
    assert first["state_string"] == "Lock 'database' was taken away by ann: the customer is here"
    (stolen,) = scene.facts.of("HoldStolen")
    assert (stolen.who, stolen.reason) == ("ann", "the customer is here")
    assert scene.cli("release", "database").returncode == 0
    scene.open("go")
    assert scene.ended(brid) == [Result.SUCCESS]
    check_lock(scene.facts, "database", 1)


def test_a_lock_is_kept_after_a_failure_for_whoever_looks(stage: Stage) -> None:
    scene = stage(
        """
        board = util.MasterLock('board')
        kept = board.access('exclusive', keepAfterFailure='2h')
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('bad', sh('flash', 'exit 1'), locks=[kept]),
                         build('step', sh('flash', 'exit 1', locks=[kept]), on='w2'),
                         build('good', sh('use', 'echo $LOCKSTEP_FENCE_BOARD', locks=[kept]))]
        """,
        "w1",
        "w2",
        env={"USER": "ann"},
    )
    (bad,) = scene.force("bad")
    scene.ended(bad)
    (good,) = scene.force("good")
    reason = "kept after failure of bad #1"
    assert holders(scene, "board") == [f"nobody (booking {scene.fact('HoldPassed').ticket}: {reason})"]
    assert scene.cli("fence", "check", "board", "1").returncode == 1  # the failed build's own
    scene.kill()
    scene.start()
    scene.until(lambda: "held by nobody" in scene.why(good)["sentence"], "the build to wait for whoever looks")
    assert scene.cli("release", "board").returncode == 0
    assert scene.ended(good) == [Result.SUCCESS]
    assert scene.output(scene.fact("BuildStarted", brid=good).buildid, "use") == "3\n"
    scene.ended(*scene.force("step"))
    assert "kept after failure of step 'flash' of step #1" in holders(scene, "board")[0]
    check_lock(scene.facts, "board", 1)


# --- other programs


def test_other_programs_acquire_renew_and_release_through_the_api(stage: Stage) -> None:
    scene = stage(CONFIG)
    made = scene.call("bookings", "acquire", locks=["database"], lease=30, owner="jenkins", wait=5)
    assert (made["state"], made["environment"]) == ("held", {"LOCKSTEP_FENCE_DATABASE": "1"})
    path = f"bookings/{made['bookingid']}"
    other = scene.call("bookings", "acquire", locks=[{"lock": "database", "mode": "exclusive"}], lease=30)
    assert (other["state"], "held by jenkins" in other["why"]) == ("waiting", True)
    with pytest.raises(AssertionError, match="knows its key"):
        scene.call(path, "release", key=other["key"])
    again = scene.call("bookings", "acquire", locks=["database"], lease=30, key=made["key"])
    assert again["bookingid"] == made["bookingid"]
    scene.call(path, "renew", key=made["key"])
    scene.call(path, "release", key=made["key"])
    held = scene.call(f"bookings/{other['bookingid']}", "wait", key=other["key"], wait=30)
    assert held["fences"] == {"database": 2}
    fence = scene.all("fences", "locks/database/fences/2")[0]
    assert (fence["current"], fence["exclusive"], fence["highest"]) == (True, True, True)
    told = json.dumps([scene.all("bookings"), scene.lock("database")])
    assert made["key"] not in told
    assert "key" not in scene.all("bookings")[0]


def test_L61_what_a_lock_waits_for_without_end_a_person_ends(stage: Stage) -> None:
    scene = stage(
        """
        db = util.MasterLock('database', lease=None)
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('b', gate('go'), locks=[db.access('exclusive')]),
                         build('plain', gate('go'), on='w2')]
        """
    )
    for name in ("w1", "w2"):
        scene.agent(name, lease=5.0)
    (brid,) = scene.force("b")
    (plain,) = scene.force("plain")
    scene.running("b-1-go")
    scene.running("plain-1-go")
    for name in ("w1", "w2"):
        scene.agents[name].kill()
    scene.fact("RequestPutBack", brid=plain)  # its lease and the margin are over
    assert not scene.facts.of("RequestPutBack", brid=brid)
    assert "out of reach" in scene.why(brid)["sentence"]
    states = scene.cli("workers").stdout
    assert re.search(r"^w1 +out of reach +1 ", states, re.MULTILINE), states
    assert re.search(r"^w2 +absent ", states, re.MULTILINE), states
    done = scene.cli("workers", "--dead", "w1")
    assert (done.returncode, done.stdout) == (0, "Worker 'w1' is given up.\n")
    scene.fact("RequestPutBack", brid=brid)
    again = scene.cli("workers", "--dead", "w1")
    assert (again.returncode, "not out of reach" in again.stderr) == (4, True)
