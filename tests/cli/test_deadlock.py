"""Builds that could wait for each other for ever, as the command line tells them (L50). Real processes."""

import json
from pathlib import Path

from .lockstep_command import Running, lockstep

ONE_ORDER = """\
from buildbot.plugins import *
c = BuildmasterConfig = {}
c["workers"] = [worker.Worker("bot", "secret"), worker.Worker("rob", "secret")]
a, b = util.MasterLock("a"), util.MasterLock("b")
def builder(name, own, its):
    factory = util.BuildFactory([steps.ShellCommand(command="x", name="work", locks=[its])])
    c.setdefault("builders", []).append(
        util.BuilderConfig(name=name, workernames=["bot", "rob"], factory=factory, locks=[own]))
builder("one", a, b)
builder("two", a, b)
"""
TWO_ORDERS = ONE_ORDER.replace('builder("two", a, b)', 'builder("two", b, a)')
WARNING = (
    'could deadlock: builder "one" holds lock "a" (master.cfg:8) while its step "work" (master.cfg:6) asks for lock'
    ' "b"; builder "two" holds lock "b" (master.cfg:8) while its step "work" (master.cfg:6) asks for lock "a"'
)


def written(folder: Path, text: str) -> Path:
    path = folder / "master.cfg"
    path.write_text(text)
    return path


def test_L50_check_warns_of_each_cycle_and_is_content(tmp_path: Path) -> None:
    written(tmp_path, TWO_ORDERS)
    done = lockstep("check", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"master.cfg:6: warning: {WARNING}",
        "    Lockstep withholds grants at run time so that it does not; locks that are claimed in one list cannot",
    ]
    assert "no mistakes; 2 builders, 2 workers, 2 locks" in done.stdout
    (warning,) = json.loads(lockstep("check", "--json", cwd=tmp_path).stdout)["warnings"]
    assert (warning["line"], warning["text"]) == (6, WARNING)


def test_check_says_nothing_where_there_is_no_cycle(tmp_path: Path) -> None:
    written(tmp_path, ONE_ORDER)
    assert lockstep("check", cwd=tmp_path).stderr == ""


def test_a_server_tells_them_when_it_starts_and_a_reload_those_that_are_new(tmp_path: Path) -> None:
    server = Running(tmp_path, ONE_ORDER)
    try:
        assert "could deadlock" not in server("reload").stderr
        written(tmp_path, TWO_ORDERS)
        assert 'could deadlock: builder "one" holds' in server("reload").stderr
        assert "could deadlock" not in server("reload").stderr
    finally:
        server.stop()
    again = Running(tmp_path, TWO_ORDERS)
    again.stop()
    assert 'could deadlock: builder "one" holds' in again.err
