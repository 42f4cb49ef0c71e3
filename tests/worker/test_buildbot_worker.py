"""An unmodified `buildbot-worker` 4.3.0, driven through `protocol/buildbot7.py`.

It is installed by a fixture of tests/conftest.py; without network the tests are skipped.
"""

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.protocol.messages import STDOUT

World = Any  # the fixture's class is in conftest.py


class Worker:
    """A running buildbot-worker."""

    def __init__(self, world: World, programs: Path) -> None:
        self.basedir = Path(world.folder, "bb")
        address = f"127.0.0.1:{world.master.port}"
        made = [programs / "buildbot-worker", "create-worker", "--protocol=msgpack_experimental_v7"]
        subprocess.run([*made, self.basedir, address, "bot", "secret"], check=True, capture_output=True)
        self.popen = subprocess.Popen(
            [programs.absolute() / "twistd", "-noy", "buildbot.tac"],
            cwd=self.basedir,
            env={**os.environ, "HIDDEN_WORD": "of-the-worker"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def log(self) -> str:
        """What it has logged."""
        file = self.basedir / "twistd.log"
        return file.read_text() if file.exists() else ""

    def stop(self) -> None:
        """End it."""
        self.popen.send_signal(signal.SIGTERM)
        self.popen.wait()


@pytest.fixture
def worker(world: World, buildbot_worker: Path) -> Iterator[Worker]:
    """A worker that is welcomed."""
    made = Worker(world, buildbot_worker)
    try:
        world.master.attached()
        yield made
    finally:
        made.stop()


def test_who_it_is_without_its_environment(world: World, worker: Worker) -> None:
    hello = world.master.hellos[0]
    assert hello.version == "buildbot-worker 4.3.0"
    assert hello.lease == 0
    assert "shell" in hello.kinds
    assert hello.info["basedir"] == str(worker.basedir)
    assert "of-the-worker" not in repr(hello)


def test_shell(world: World, worker: Worker) -> None:
    script = "echo out; echo err >&2; echo $A; pwd; exit 3"
    told = world.master.run("1", command=["sh", "-c", script], workdir="b/build", env={"A": "<${HIDDEN_WORD}>"})
    assert told.end.rc == 3
    assert told.end.reason == ""
    assert told.end.elapsed > 0
    assert told.text("stdout").decode() == f"out\n<of-the-worker>\n{worker.basedir}/b/build\n"
    assert told.text("stderr") == b"err\n"
    assert b"HIDDEN_WORD=" not in told.text("header"), "logEnviron is off"
    assert told.end.produced == told.offset
    quick = [world.master.run(f"q{i}", command="true") for i in range(10)]
    assert all(told.end.rc == 0 for told in quick)


def test_ends_that_are_not_its_own(world: World, worker: Worker) -> None:
    run = world.master.run
    assert run("1", command="exec sleep 100", timeout=1).end.reason == "timeout_without_output"
    assert run("2", command="while :; do echo x; sleep 0.1; done", maxTime=1).end.reason == "timeout"
    assert run("3", command="seq 1000", max_lines=10).end.reason == "max_lines_failure"
    world.master.start("4", command="echo on; exec sleep 100")
    world.master.wait(lambda: world.master.told["4"].text(STDOUT), "its first word")
    world.master.interrupt("4")
    told = world.master.ended("4")
    assert (told.end.rc, told.end.reason) == (-1, "interrupted")
    told = run("5", command=[["obfuscated", "echo", "XX"], "real"])
    assert told.text("stdout") == b"real\n"


def test_log_files_and_much_output(world: World, worker: Worker) -> None:
    told = world.master.run("1", command="echo a > l; sleep 1; seq 100000", logfiles={"l": "l"})
    assert told.text("log:l") == b"a\n"
    assert told.text("stdout") == b"".join(b"%d\n" % i for i in range(1, 100001))


def test_transfers_and_small_commands(world: World, worker: Worker) -> None:
    run, base = world.master.run, worker.basedir
    content = os.urandom(300_000)
    world.master.files = {"2": content}
    assert run("1", "mkdir", paths=["x/y"]).end.rc == 0
    assert run("2", "download_file", path="x/y/f", mode=0o640).end.rc == 0
    assert (base / "x/y/f").read_bytes() == content
    told = run("3", "upload_file", path="x/y/f", keepstamp=True)
    assert told.text("file") == content
    assert told.end.results["utime"][1] == pytest.approx((base / "x/y/f").stat().st_mtime)
    assert run("4", "upload_file", path="x/none", keepstamp=True).end.rc == 1
    assert len(run("5", "upload_directory", path="x").text("file")) > 300_000
    assert run("6", "listdir", path="x").end.results == {"files": ["y"]}
    assert run("7", "stat", path="x/y/f").end.results["stat"][6] == 300_000
    assert run("8", "stat", path="x/none").end.rc == 2
    assert run("9", "glob", path="x/*").end.results == {"files": [f"{base}/x/y"]}
    assert run("10", "cpdir", from_path="x", to_path="z").end.rc == 0
    assert run("11", "rmfile", path="x/y/f").end.rc == 0
    assert run("12", "rmdir", paths=["x"]).end.rc == 0
    told = run("13", "download_file", path="q")
    assert (told.end.rc, told.end.reason, told.end.detail) == (-1, "error", "no such file at the master")
    assert sorted(path.name for path in base.iterdir() if path.name in "xz") == ["z"]


def test_after_a_lost_connection_old_commands_are_ended_and_absent(world: World, worker: Worker) -> None:
    word = f"w{uuid.uuid4().hex}"
    world.master.start("old", command=f"sleep 1000; : {word}", usePTY=True)
    world.until(lambda: world.alive(word), "the command")
    world.master.cut()
    world.master.open()
    world.master.wait(lambda: world.master.absent, "that it is gone")
    assert (world.master.absent[0].command, world.master.absent[0].never_arrived) == ("old", False)
    world.until(lambda: not world.alive(word), "its end")
    assert world.master.run("new", command="echo again").text("stdout") == b"again\n"


def test_refusal_is_printed_at_the_worker(world: World, buildbot_worker: Path) -> None:
    world.master.refusal = "a worker 'bot' is connected already"
    worker = Worker(world, buildbot_worker)
    try:
        world.until(lambda: "is connected already" in worker.log(), "the sentence in its log")
    finally:
        worker.stop()


def test_a_wrong_password_is_refused(world: World, buildbot_worker: Path) -> None:
    world.master.passwords = {"bot": "another"}
    worker = Worker(world, buildbot_worker)
    try:
        world.until(lambda: "401" in worker.log(), "401 in its log")
    finally:
        worker.stop()
    assert not world.master.hellos


def test_signs_of_life(world: World, worker: Worker) -> None:
    before = world.master.session.last_received
    world.master.call(world.master.session.ask)
    world.master.wait(lambda: world.master.session.last_received > before, "an answer")
