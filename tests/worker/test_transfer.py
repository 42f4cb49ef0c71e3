"""Files between master and agent, and the small commands on files."""

import io
import os
import stat
import tarfile
from typing import Any

World = Any  # the fixture's class is in conftest.py


def test_upload(world: World) -> None:
    agent = world.agent()
    content = os.urandom(3_000_000)
    (agent.basedir / "big").write_bytes(content)
    told = world.master.run("1", "upload_file", path="big", keepstamp=True)
    assert told.end.rc == 0
    assert told.text("file") == content
    assert told.end.results["utime"][1] == (agent.basedir / "big").stat().st_mtime
    told = world.master.run("2", "upload_file", path="big", maxsize=1000)
    assert (told.end.rc, told.text("file")) == (1, content[:1000])
    assert b"maximum filesize" in told.text("stderr")
    told = world.master.run("3", "uploadFile", workdir="b", workersrc="missing")
    assert told.end.rc == 1
    assert b"cannot open" in told.text("stderr")


def test_upload_over_a_broken_connection(world: World) -> None:
    agent = world.agent()
    content = os.urandom(30_000_000)
    (agent.basedir / "big").write_bytes(content)
    world.master.acking = False
    world.master.start("1", "upload_file", path="big")
    world.master.wait(lambda: world.master.told["1"].offset > 1_000_000, "a part")
    world.master.cut()
    world.master.acking = True
    world.master.open()
    assert world.master.ended("1").text("file") == content


def test_an_upload_that_the_master_cannot_store(world: World) -> None:
    agent = world.agent()
    (agent.basedir / "big").write_bytes(b"x" * 20_000_000)
    world.master.acking = False
    world.master.start("1", "upload_file", path="big")
    world.master.wait(lambda: world.master.told["1"].offset > 100_000, "a part")
    world.master.call(lambda: world.master.session.file_failed("1", "the master's disk is full"))
    world.master.ack_all()
    told = world.master.ended("1")
    assert (told.end.reason, told.end.detail) == ("error", "the master's disk is full")


def test_upload_directory(world: World) -> None:
    agent = world.agent()
    (agent.basedir / "d/e").mkdir(parents=True)
    (agent.basedir / "d/e/f").write_text("inside")
    for number, compress in enumerate([None, "gz", "bz2"]):
        told = world.master.run(f"{number}", "upload_directory", path="d", compress=compress)
        with tarfile.open(fileobj=io.BytesIO(told.text("file"))) as tar:
            assert sorted(tar.getnames()) == ["e", "e/f"]
    assert world.master.run("none", "upload_directory", path="nothing").end.rc == 1


def test_download(world: World) -> None:
    agent = world.agent()
    content = os.urandom(1_000_000)
    world.master.files = {"1": content, "3": content, "4": b""}
    told = world.master.run("1", "download_file", path="x/y", mode=0o750, blocksize=300_000)
    assert told.end.rc == 0
    assert (agent.basedir / "x/y").read_bytes() == content
    assert stat.S_IMODE((agent.basedir / "x/y").stat().st_mode) == 0o750
    told = world.master.run("2", "download_file", path="x/z")
    assert told.end.rc == 1
    assert b"no such file at the master" in told.text("stderr")
    assert world.master.run("3", "download_file", path="x/z", maxsize=10).end.rc == 1
    assert os.listdir(agent.basedir / "x") == ["y"], "nothing half is left"
    assert world.master.run("4", "downloadFile", workdir="x", workerdest="empty").end.rc == 0
    assert (agent.basedir / "x/empty").read_bytes() == b""


def test_small_commands(world: World) -> None:
    agent = world.agent()
    run = world.master.run
    assert run("1", "mkdir", paths=["a/b", "a/c"]).end.rc == 0
    assert run("2", "mkdir", dir="a/b").end.rc == 0
    (agent.basedir / "a/b/f").write_text("12345")
    assert run("3", "listdir", path="a").end.results == {"files": ["b", "c"]}
    assert run("4", "stat", file="a/b/f").end.results["stat"][6] == 5
    told = run("5", "stat", path="a/none")
    assert told.end.rc == 2
    assert b"No such file" in told.text("header")
    assert run("6", "glob", path="a/*").end.results == {"files": [str(agent.basedir / "a" / n) for n in "bc"]}
    assert run("7", "cpdir", fromdir="a", todir="z/a2").end.rc == 0
    assert (agent.basedir / "z/a2/b/f").read_text() == "12345"
    assert run("8", "rmfile", path="a/b/f").end.rc == 0
    assert run("9", "rmfile", path="a/b/f").end.rc == 2
    locked = agent.basedir / "z/a2/locked"
    locked.mkdir(mode=0o500)
    assert run("10", "rmdir", paths=["a", "z", "nothing"]).end.rc == 0
    assert not (agent.basedir / "z").exists()
    assert run("11", "rmdir", dir=".").end.reason == "refused"
    assert run("12", "rmdir", dir="/").end.reason == "refused"
    assert run("13", "mkdir", paths=["../elsewhere"]).end.reason == "refused"
    assert run("14", "listdir", path=".lockstep/commands").end.reason == "refused"


def test_a_pipe_is_no_file_to_send(world: World) -> None:
    """Nobody may ever write into it."""
    agent = world.agent()
    os.mkfifo(agent.basedir / "pipe")
    told = world.master.run("1", "upload_file", path="pipe")
    assert told.end.rc == 1
    assert b"it is a pipe" in told.text("stderr")
