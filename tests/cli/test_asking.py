"""The commands that ask a running server, each in a process of its own, against a real server and worker."""

import json
import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from .lockstep_command import PATIENCE, PROGRAM, Running, environment, lockstep, until


def test_force_waits_and_tells_the_result(server: Running) -> None:
    done = server("force", "quick", "--wait")
    assert done.returncode == 0, done.stderr
    assert "success" in done.stdout


def test_force_of_a_failing_build_with_wait_is_exit_code_1(server: Running) -> None:
    done = server("force", "failing", "--wait")
    assert done.returncode == 1
    assert "failure" in done.stdout


def test_force_count_makes_so_many_requests(server: Running) -> None:
    made = server.json("force", "quick", "--count", "3")["buildrequestids"]
    assert len(set(made)) == 3
    known = [request["buildrequestid"] for request in server.json("requests", "--all")]
    assert set(made) <= set(known)


def test_force_takes_properties_branch_and_revision(server: Running) -> None:
    words = ("force", "quick", "--property", "who=world", "--branch", "main", "--revision", "abc", "--wait")
    [request] = server.json(*words)
    assert request["results"] == 0
    [build] = [b for b in server.json("builds", "quick") if b["buildrequestid"] == request["buildrequestid"]]
    log = server("log", str(build["buildid"]), "hello")
    assert "hello world\n" in log.stdout


@pytest.mark.parametrize(
    "words", [("--property", "novalue"), ("--property", "a=1", "--property", "a=2"), ("--count", "0"), ("--colour",)]
)
def test_force_with_wrong_options_is_wrong_use(server: Running, words: tuple[str, ...]) -> None:
    done = server("force", "quick", *words)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_wrong_builder_is_answered_with_the_nearest_name(server: Running) -> None:
    done = server("force", "quik")
    assert done.returncode == 4
    assert "There is no builder 'quik'" in done.stderr
    assert "Did you mean 'quick'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_builders_lists_all_of_them(server: Running) -> None:
    assert [builder["name"] for builder in server.json("builders")] == [
        "broken",
        "failing",
        "gated",
        "gated-too",
        "loading",
        "quick",
    ]
    assert "quick" in server("builders").stdout


def test_builds_lists_the_latest_first(server: Running) -> None:
    server("force", "quick", "--wait")
    done = server("builds", "quick", "-n", "1")
    assert done.returncode == 0
    assert "quick/" in done.stdout.splitlines()[1]
    numbers = [build["number"] for build in server.json("builds", "quick")]
    assert numbers == sorted(numbers, reverse=True)


def test_builds_of_an_unknown_builder_is_refused(server: Running) -> None:
    assert server("builds", "nothing-like-it").returncode == 4


def test_workers_says_who_is_connected(server: Running) -> None:
    [worker] = server.json("workers")
    assert worker["name"] == "local"
    assert "connected" in server("workers").stdout


def test_log_prints_every_step(server: Running) -> None:
    server("force", "quick", "--wait")
    build = server.json("builds", "quick", "-n", "1")[0]
    everything = server("log", f"quick/{build['number']}").stdout
    assert "=== hello: stdio" in everything
    assert "oops\n" in everything
    assert "bye\n" in everything
    lines = [json.loads(line) for line in server("log", str(build["buildid"]), "2", "--json").stdout.splitlines()]
    assert {"step": "bye", "log": "stdio", "stream": "o", "text": "bye"} in lines


@pytest.fixture(scope="module")
def built(server: Running) -> Running:
    """The server, on which `quick` was built."""
    assert server("force", "quick", "--wait").returncode == 0
    return server


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("log", "999999"), 4, "There is no build 999999."),
        (("log", "quick/999999"), 4, "There is no build 999999 of 'quick'."),
        (("log", "quick/1", "nostep"), 4, "Its steps are: hello, bye."),
        (("log", "quick/1", "--log", "nolog"), 4, "Its logs are: stdio."),
        (("log", "rubbish"), 2, "Write its id, or BUILDER/NUMBER."),
        (("why", "999999"), 4, "There is no request 999999."),
        (("why", "rubbish"), 2, "is neither a request nor a build"),
        (("cancel", "999999"), 4, "There is no request 999999."),
        (("locks", "nolock"), 4, "There is no lock 'nolock'."),
    ],
)
def test_what_is_not_there_is_named(built: Running, words: tuple[str, ...], code: int, text: str) -> None:
    done = built(*words)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_step_raised_is_told_once_and_in_the_builds_state(server: Running) -> None:
    assert server("force", "broken", "--wait").returncode == 1
    said = server("log", "broken/1").stdout
    assert said.count("Traceback") == 1
    assert "=== shell: err.text" in said
    for words in ((), ("1",)):
        ended = server("log", "broken/1", *words).stdout.splitlines()[-1]
        assert ended.startswith("=== exception: ")
        assert "TypeError: the command ['echo', None]" in ended
    assert "<pre>Traceback" in server("log", "broken/1", "--log", "err.html").stdout
    [build] = server.json("builds", "broken")
    assert "(exception): TypeError: the command ['echo', None] has the word None" in build["state_string"]


def test_locks_why_requests_and_cancel_while_something_waits(server: Running, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    [first] = server.json("force", "gated", "--property", f"gate={gate}")["buildrequestids"]
    until((tmp_path / "gate.began").exists, "the first build to hold the lock")
    [second] = server.json("force", "gated-too", "--property", f"gate={gate}")["buildrequestids"]
    until(lambda: "'database'" in server("why", str(second)).stdout, "the second build to wait")

    [lock] = server.json("locks")
    assert (lock["name"], lock["used"], lock["limit"], lock["waiting"]) == ("database", 1, 1, 1)
    told = server("locks", "database").stdout
    assert "held by step 'gate' of gated #1 exclusive" in told
    assert "1. step 'gate' of gated-too #1 wants exclusive" in told
    assert {kind["kind"] for kind in server.json("locks", "--all")} >= {"master", "builddir"}
    assert str(second) in server("requests").stdout
    assert "Waits for lock 'database', held by step 'gate' of gated #1" in server("builds", "--running").stdout
    [third] = server.json("force", "gated-too", "--property", f"gate={gate}")["buildrequestids"]
    assert "builds gated-too #1 in the same directory" in server("requests").stdout
    server("cancel", str(third), "--reason", "not this one")
    assert "not this one" in server("requests", "--all").stdout
    assert "complete: not this one" in server("why", str(third)).stdout
    assert server.json("why", "gated-too/1")[0]["sentence"].startswith("Waits for lock 'database'")

    stopped = server("cancel", str(second), "--reason", "no longer wanted")
    assert (stopped.returncode, stopped.stdout) == (0, f"Request {second} is cancelled.\n")
    until(lambda: all(r["buildrequestid"] != second for r in server.json("requests")), "the second build's end")
    again = server("cancel", str(second))
    assert again.returncode == 1
    assert "has ended already (cancelled)" in again.stderr

    gate.touch()
    followed = server("log", "gated/1", "--follow")
    assert followed.returncode == 0
    assert "through\n" in followed.stdout
    until(lambda: all(r["buildrequestid"] != first for r in server.json("requests")), "the first build's end")


def test_who_holds_a_lock_is_known_where_the_environment_names_nobody(server: Running) -> None:
    nameless = {"LOCKSTEP_URL": server.url, "USER": "", "LOGNAME": "", "LNAME": "", "USERNAME": ""}
    held = lockstep("hold", "database", "--json", **nameless)
    assert json.loads(held.stdout)["state"] == "held", held.stderr
    [lock] = server.json("locks", "database")
    assert lock["holders"][0]["by"]["text"].startswith(f"{pwd.getpwuid(os.getuid()).pw_name} (booking")
    assert lockstep("release", "database", **nameless).returncode == 0


def test_a_build_is_stopped_by_its_number(server: Running, tmp_path: Path) -> None:
    [request] = server.json("force", "gated", "--property", f"gate={tmp_path / 'gate'}")["buildrequestids"]
    until((tmp_path / "gate.began").exists, "the build to run")
    build = server.json("builds", "gated", "-n", "1")[0]
    done = server("cancel", f"gated/{build['number']}")
    assert (done.returncode, done.stdout) == (0, f"Build gated/{build['number']} is being stopped.\n")
    until(lambda: all(r["buildrequestid"] != request for r in server.json("requests")), "the build's end")
    assert server.json("builds", "gated", "-n", "1")[0]["results"] == 6


def test_the_history_and_the_use_of_a_lock(server: Running) -> None:
    done = server("locks", "--history")
    assert (done.returncode, "needs the name of a lock" in done.stderr) == (2, True)
    done = server("locks", "--since", "soon")
    assert (done.returncode, "is no period; write 90s, 30m" in done.stderr) == (2, True)
    [lock] = server.json("locks")
    [first, *_] = server.json("locks", lock["name"], "--history", "--limit", "10000")
    assert (first["event"], first["limit"]) == ("limit", lock["limit"])
    told = server("locks", lock["name"], "--history").stdout
    assert told.splitlines()[0].split() == ["WHEN", "LOCK", "WHAT", "WHO", "UNITS", "WAITED", "HELD", "FENCE", "MORE"]
    [use] = server.json("locks", "--since", "7d")
    assert (use["lock"], use["complete"]) == (lock["lock"], True)
    shown = server("locks", lock["name"], "--since", "7d").stdout
    [later] = server.json("locks", "--since", "7d")
    shares = sorted(round(each["share"] * 100) for each in (use, later))  # time goes on meanwhile
    assert any(f"  {share}%" in shown for share in range(shares[0], shares[1] + 1)), (shares, shown)
    done = server("locks", "nolock", "--history")
    assert (done.returncode, "There is no lock 'nolock'." in done.stderr) == (4, True)


ASKING = ["builders", "builds", "requests", "workers", "locks", "why 1", "log 1", "force x", "cancel 1", "reload"]


@pytest.mark.parametrize("command", ASKING)
def test_without_a_server_each_command_says_so(command: str) -> None:
    done = lockstep(*command.split(), "--url", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "No server answers at http://127.0.0.1:9" in done.stderr
    assert "lockstep run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["ftp://x", "http://x:port", "http://[x", "http://"])
def test_a_wrong_address_is_wrong_use(url: str) -> None:
    done = lockstep("builds", "--url", url)
    assert done.returncode == 2
    assert "is no address of a server" in done.stderr


def test_another_program_at_the_address_is_no_lockstep_server() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        done = lockstep("builders", "--url", f"http://127.0.0.1:{stranger.server_port}")
        stranger.shutdown()
    assert done.returncode in (3, 5)
    assert "Traceback" not in done.stderr


def on_a_terminal(server: Running, *words: str, seen: Callable[[bytes], object] = lambda _: None, **env: str) -> str:
    """What a command prints on a terminal. `seen` is called with what there is of it, as it comes."""
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *words],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env=environment(LOCKSTEP_URL=server.url, TERM="xterm-256color", COLUMNS="200", **env),
    )
    os.close(follower)
    found = b""
    try:
        while piece := os.read(leader, 65536):
            found += piece
            seen(found)
    except OSError:
        pass  # Linux: the other end is closed
    os.close(leader)
    assert process.wait(PATIENCE) == 0
    return found.decode()


def test_colours_are_for_terminals_that_want_them(built: Running) -> None:
    assert "\x1b[32msuccess" in on_a_terminal(built, "builds", "quick")
    assert "\x1b[32m" not in on_a_terminal(built, "builds", "quick", NO_COLOR="1")
    assert "\x1b" not in built("builds", "quick").stdout


def test_a_line_that_grows_is_followed_on_a_terminal(server: Running, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server("force", "loading", "--property", f"gate={gate}")
    [build] = until(lambda: server.json("builds", "loading", "--running"), "the build")
    follow = ("log", str(build["buildid"]), "load", "--follow")
    shown = on_a_terminal(server, *follow, seen=lambda found: b"\n20%" in found and gate.touch())
    assert "\n20%\r\x1b[K" in shown
    assert "10%\r20%\rall" in shown.rpartition("\x1b[K")[2]
    assert server(*follow).stdout.endswith("\n10%\n20%\nall\n")  # (as Python reads returns)


def test_ctrl_c_while_waiting_is_130_and_the_build_goes_on(server: Running, tmp_path: Path) -> None:
    words = ["force", "gated", "--property", f"gate={tmp_path / 'gate'}", "--wait"]
    process = subprocess.Popen(
        [*PROGRAM, *words], env=environment(LOCKSTEP_URL=server.url), stderr=subprocess.PIPE, text=True
    )
    until((tmp_path / "gate.began").exists, "the build to run")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    (tmp_path / "gate").touch()
    until(lambda: not server.json("builds", "gated", "--running"), "the build's end")
    assert server.json("builds", "gated", "-n", "1")[0]["results"] == 0
