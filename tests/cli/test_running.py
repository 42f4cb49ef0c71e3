"""The commands that start something: run, check, init, worker, reload, demo. Real processes, as users see them."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from .lockstep_command import PATIENCE, PROGRAM, Running, environment, lockstep, until

SMALL = """
from buildbot.plugins import *
c = BuildmasterConfig = {}
c["workers"] = [worker.Worker("bot", "secret")]
factory = util.BuildFactory([steps.ShellCommand(command="echo hi")])
c["builders"] = [util.BuilderConfig(name="b", workernames=["bot"], factory=factory)]
"""
WRONG = """
from buildbot.plugins import *
c = BuildmasterConfig = {}
c["workers"] = [worker.Worker("bot", "secret")]
factory = util.BuildFactory([steps.ShellCommand(command="x", haltOnFailur=True)])
c["builders"] = [util.BuilderConfig(name="b", workernames=["bott"], factory=factory)]
c["buildrs"] = []
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "master.cfg"
    path.write_text(text)
    return path


def test_check_lists_all_mistakes_with_their_lines(tmp_path: Path) -> None:
    written(tmp_path, WRONG)
    done = lockstep("check", cwd=tmp_path)
    assert done.returncode == 1
    for expected in ("master.cfg:5: ", "haltOnFailure", "master.cfg:6: ", '"bot"', "master.cfg:7: ", "builders"):
        assert expected in done.stderr
    assert "3 mistakes" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_as_json(tmp_path: Path) -> None:
    done = lockstep("check", str(written(tmp_path, WRONG)), "--json")
    assert done.returncode == 1
    assert [mistake["line"] for mistake in json.loads(done.stdout)["mistakes"]] == [5, 6, 7]


def test_check_of_a_good_configuration_with_notes(tmp_path: Path) -> None:
    written(tmp_path, SMALL + "c['caches'] = {}\n")
    done = lockstep("check", cwd=tmp_path)
    assert done.returncode == 0
    assert "no mistakes; 1 builder, 1 worker, 0 locks" in done.stdout
    assert "master.cfg:7: note: c['caches'] has no effect" in done.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_no_configuration_is_wrong_use(command: str, tmp_path: Path) -> None:
    done = lockstep(command, cwd=tmp_path)
    assert done.returncode == 2
    assert "There is no configuration 'master.cfg'" in done.stderr
    assert "lockstep init" in done.stderr


def test_init_writes_a_configuration_that_is_right(tmp_path: Path) -> None:
    done = lockstep("init", "farm", cwd=tmp_path)
    assert done.returncode == 0
    assert "lockstep run farm" in done.stdout
    assert lockstep("check", "farm", cwd=tmp_path).stderr == ""
    again = lockstep("init", "farm", cwd=tmp_path)
    assert again.returncode == 1
    for named in ("farm/master.cfg", "other/master.cfg"):
        done = lockstep("init", named, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"DIR is a folder, and '{named}' names a file.\nWrite the folder only: lockstep init" in done.stderr
    assert not (tmp_path / "other").exists()
    (tmp_path / "file").touch()
    assert "'file' is a file." in lockstep("init", "file", cwd=tmp_path).stderr
    assert "There is a configuration already" in again.stderr


def test_what_init_writes_runs(tmp_path: Path) -> None:
    lockstep("init", str(tmp_path / "farm"))
    written = (tmp_path / "farm" / "master.cfg").read_text()
    server = Running(tmp_path / "farm", re.sub(r"sleep \d", "true", written))
    try:
        assert server("force", "hello", "--wait").returncode == 0
    finally:
        server.stop()


INTERFACE = """
from buildbot.plugins import *
c = BuildmasterConfig = {}
c['www'] = {'port': 'tcp:8010:interface=127.0.0.2'}
c['workers'] = [worker.LocalWorker('w')]
"""


def test_all_ports_are_told_that_are_opened(tmp_path: Path) -> None:
    more = "c['protocols'] = {'lockstep': {'port': 'tcp:0:interface=127.0.0.3'}}\n"
    server = Running(tmp_path, SMALL + more)
    try:
        found = re.search(r"  for workers    also 127\.0\.0\.3:(\d+) \(c\['protocols'\]\)\n", server.out)
        assert found is not None, server.out
        with socket.create_connection(("127.0.0.3", int(found[1])), timeout=60):
            pass
    finally:
        server.stop()


@pytest.mark.parametrize(("options", "host"), [((), "127.0.0.2"), (("--host", "127.0.0.3"), "127.0.0.3")])
def test_the_interface_of_www_counts_unless_a_host_is_named(
    tmp_path: Path, options: tuple[str, ...], host: str
) -> None:
    server = Running(tmp_path, INTERFACE, "run", *options)
    try:
        assert server.url.startswith(f"http://{host}:")
        until(lambda: "worker w is connected" in server.err, "the local worker")
    finally:
        server.stop()


def test_run_refuses_a_wrong_configuration(tmp_path: Path) -> None:
    done = lockstep("run", str(written(tmp_path, WRONG)), "--port", "0")
    assert done.returncode == 1
    assert "3 mistakes" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_stops_with_a_sentence(tmp_path: Path, number: int) -> None:
    server = Running(tmp_path, SMALL)
    assert server.stop(number) == 0
    assert "Stopping the server" in server.err
    assert "Stopped. Everything is stored" in server.err
    assert "Traceback" not in server.err


def test_a_hangup_while_the_configuration_is_read_reads_it_again(tmp_path: Path) -> None:
    """It may have been changed after it was read."""
    began, gate = tmp_path / "began", tmp_path / "gate"
    slow = f"import os, time\nopen({str(began)!r}, 'w').write(f'{{os.getpid()}}.')\n"
    slow += f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"

    def hang_up() -> None:
        until(lambda: began.exists() and began.read_text().endswith("."), "the configuration")
        os.kill(int(began.read_text().rstrip(".")), signal.SIGHUP)
        gate.touch()

    thread = threading.Thread(target=hang_up)
    thread.start()
    server = Running(tmp_path, SMALL + slow)
    thread.join()
    until(lambda: "the configuration was read again" in server.err, "the second reading")
    assert server.stop() == 0
    assert "Traceback" not in server.err


def test_a_relative_path_means_the_same_while_it_is_read_and_later(tmp_path: Path) -> None:
    config = (
        SMALL.replace('worker.Worker("bot", "secret")', 'worker.LocalWorker("bot")')
        + """
@util.renderer
def text(_properties):
    return open("text").read()
kept = open("text").read()
factory.addStep(steps.ShellCommand(name="says", command=["echo", kept, text]))
"""
    )
    (tmp_path / "text").write_text("beside")
    (tmp_path / "select.py").write_text("raise ImportError('this is not for the worker')")
    server = Running(tmp_path, config)
    try:
        assert server("force", "b", "--wait").returncode == 0
        assert "beside beside" in server("log", "1", "says").stdout
    finally:
        server.stop()


def test_a_store_and_a_port_in_use_are_refused_with_a_sentence(tmp_path: Path) -> None:
    server = Running(tmp_path / "first", SMALL)
    try:
        second = lockstep("run", str(tmp_path / "first"), "--port", "0")
        assert second.returncode == 5
        assert "is in use by process" in second.stderr
        port = server.url.rpartition(":")[2]
        third = lockstep("run", str(tmp_path / "first"), "--basedir", str(tmp_path / "third"), "--port", port)
        assert third.returncode == 5
        assert f"Cannot listen on 127.0.0.1:{port}" in third.stderr
        assert "--port" in third.stderr
        assert "Traceback" not in second.stderr + third.stderr
    finally:
        server.stop()


def test_the_token_is_the_servers_own_and_stays(tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        server = Running(tmp_path, SMALL)
        token = tmp_path / "token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        kept.append(token.read_text())
        assert str(token) in server.out
        assert token.read_text().strip() not in server.out + server.err
        server.stop()
    assert kept[0] == kept[1]
    assert len(kept[0].strip()) > 30


def test_reload_takes_a_change_and_refuses_mistakes(tmp_path: Path) -> None:
    server = Running(tmp_path, SMALL)
    try:
        written(tmp_path, WRONG)
        refused = server("reload")
        assert refused.returncode == 1
        assert "haltOnFailure" in refused.stderr
        assert "the running one stays" in refused.stderr
        assert [b["name"] for b in server.json("builders")] == ["b"]
        written(tmp_path, SMALL.replace('name="b"', 'name="other"'))
        assert server("reload").returncode == 0
        assert "other" in [b["name"] for b in server.json("builders")]
    finally:
        server.stop()


def test_sighup_reads_the_configuration_again(tmp_path: Path) -> None:
    server = Running(tmp_path, SMALL)
    try:
        written(tmp_path, SMALL.replace('name="b"', 'name="other"'))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "other" in [b["name"] for b in server.json("builders")], "the new builder")
    finally:
        server.stop()


def test_a_worker_connects_runs_and_stops(tmp_path: Path) -> None:
    server = Running(tmp_path / "server", SMALL)
    (tmp_path / "password").write_text("secret\n")
    words = ["worker", "--url", server.url, "--name", "bot", "--basedir", str(tmp_path / "bot")]
    words += ["--password-file", str(tmp_path / "password")]
    process = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert server("force", "b", "--wait").returncode == 0
        second = lockstep(*words)
        assert second.returncode == 5
        assert "another worker" in second.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()
        server.stop()


def test_a_worker_that_is_refused_says_why(tmp_path: Path) -> None:
    server = Running(tmp_path / "server", SMALL)
    try:
        words = ("worker", "--url", server.url, "--name", "bot", "--once", "--basedir", str(tmp_path))
        done = lockstep(*words, LOCKSTEP_WORKER_PASSWORD="wrong")
        assert done.returncode == 4
        assert "password is wrong" in done.stderr
    finally:
        server.stop()


def test_what_a_stranger_sends_begins_no_line_of_the_log(tmp_path: Path) -> None:
    server = Running(tmp_path / "server", SMALL)
    try:
        pair = base64.b64encode(b"x\n2030-01-01  all is well\x1b[2J:p").decode()
        address = server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address)
        wanted = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        wanted |= {"Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode(), "Authorization": f"Basic {pair}"}
        connection.request("GET", "/", headers=wanted)
        assert connection.getresponse().status == 401
        until(lambda: "all is well" in server.err, "the refusal in the log")
        assert "\x1b" not in server.err
        assert not re.search("^2030", server.err, re.MULTILINE)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--url", "http://x", "--name", "bot"), "There is no password."),
        (("--url", "http://x", "--name", "bot", "--password-file", "nix"), "cannot be read"),
        (("--url", "http://x", "--name", "bot", "--lease", "0"), "--lease must be at least"),
        (("--url", "http://x:99999", "--name", "bot"), "'http://x:99999' is no address of a server."),
        (("--url", "http://[::1", "--name", "bot"), "is no address of a server."),
        (("--url", "http://", "--name", "bot"), "is no address of a server."),
        (("--name", "bot"), "--url"),
    ],
)
def test_a_worker_with_wrong_options_is_wrong_use(words: tuple[str, ...], text: str, tmp_path: Path) -> None:
    done = lockstep("worker", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr


def test_the_demo_shows_waiting_and_running_builds_and_leaves_nothing(tmp_path: Path) -> None:
    demo = Running(tmp_path, "", "demo", "--basedir", str(tmp_path / "farm"))
    try:
        assert ("Subversion is not installed" in demo.out) == (shutil.which("svnadmin") is None)
        until(lambda: len(demo.json("builds", "--running")) >= 6, "running builds")
        until(lambda: [lock for lock in demo.json("locks") if lock["waiting"]], "somebody who waits for a lock")
        until(lambda: [b for b in demo.json("builds") if b["complete"] and b["results"] == 0], "a build that succeeds")
        assert sum("lockstep.worker" in words for words in running(tmp_path)) >= 4
    finally:
        assert demo.stop(signal.SIGINT) == 0
    assert "Stopped." in demo.err
    until(lambda: not running(tmp_path), "the end of what it ran")


def test_two_terms_in_quick_succession_leave_nothing_of_the_demo(tmp_path: Path) -> None:
    """`timeout 60 make demo` sends it to both, and `make` hands it on."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with (tmp_path / "out").open("w") as out:
        demo = subprocess.Popen(
            [*PROGRAM, "demo", "--port", "0"], stdout=out, stderr=out, env=environment(TMPDIR=str(temporary))
        )
    until(lambda: len(running(tmp_path)) >= 4, "the workers")
    until(lambda: "Ctrl-C stops" in (tmp_path / "out").read_text(), "the demo")
    for _ in range(3):
        demo.send_signal(signal.SIGTERM)
    assert demo.wait(PATIENCE) == 0
    assert list(temporary.iterdir()) == []
    until(lambda: not running(tmp_path), "the end of what it ran")


def test_a_term_while_the_demo_starts_leaves_nothing_of_it(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        demo = subprocess.Popen(
            [*PROGRAM, "demo", "--port", "0"], stdout=out, stderr=out, env=environment(TMPDIR=str(tmp_path))
        )
    until(lambda: list(tmp_path.glob("lockstep-demo-*/lockstep.sqlite")), "the server to begin")
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(PATIENCE) in (0, 143)
    assert list(tmp_path.glob("lockstep-demo-*")) == []
    until(lambda: not running(tmp_path), "the end of what it ran")


def test_stop_workers_ends_those_of_a_former_server_too(tmp_path: Path) -> None:
    config = SMALL.replace('worker.Worker("bot", "secret")', 'worker.LocalWorker("bot")')
    (tmp_path / "master.cfg").write_text(config)

    def run(*options: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            server = subprocess.Popen(
                [*PROGRAM, "run", str(tmp_path), "--port", "0", *options], stdout=out, stderr=err, env=environment()
            )
        until(lambda: "Lockstep runs" in (tmp_path / "out").read_text(), "the server")
        until(lambda: "worker bot is connected" in (tmp_path / "err").read_text(), "the worker")
        return server

    def workers() -> list[str]:
        return [words for words in running(tmp_path) if "lockstep.worker" in words]

    first = run()
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0
    assert workers()
    second = run("--stop-workers")
    until(lambda: "local worker bot still runs" in (tmp_path / "err").read_text(), "the word of it")
    assert "local worker bot started" not in (tmp_path / "err").read_text()
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE) == 0
    until(lambda: not workers(), "the end of the worker's guardian, which comes last")


def running(folder: Path) -> list[str]:
    """The command lines of all processes that have something to do with a folder."""
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            try:
                words = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found
