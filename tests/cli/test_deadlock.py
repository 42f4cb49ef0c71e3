"""Builds that could wait for each other for ever, as the command line tells them (L50). Real processes."""

import itertools
import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lockstep.cli.layers import Node, place

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
    'could deadlock: builder "one" holds lock "a" (master.cfg:8, from master.cfg:9) while its step "work"'
    ' (master.cfg:6) asks for lock "b"; builder "two" holds lock "b" (master.cfg:8, from master.cfg:10) while its step'
    ' "work" (master.cfg:6) asks for lock "a"'
)


def written(folder: Path, text: str) -> Path:
    path = folder / "master.cfg"
    path.write_text(text)
    return path


def test_a_cycle_through_a_pool_is_told_and_drawn(tmp_path: Path) -> None:
    pool = 'b = util.MasterLock("b"); a = util.ResourcePool("a", {"x": {"labels": ["one"]}, "y": {}})'
    text = TWO_ORDERS.replace('a, b = util.MasterLock("a"), util.MasterLock("b")', pool)
    text = text.replace('builder("one", a, b)', 'builder("one", a.access("exclusive"), b)')
    path = written(tmp_path, text.replace('builder("two", b, a)', 'builder("two", b, a.access(where="one"))'))
    done = lockstep("check", str(path), "--graph", str(tmp_path / "graph.svg"))
    assert 'builder "one" holds pool "a" exclusively' in done.stderr + done.stdout
    assert 'asks for pool "a"' in done.stderr + done.stdout
    assert "2 units" in (tmp_path / "graph.svg").read_text()


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


# --- the picture

SVG = "{http://www.w3.org/2000/svg}"


def pictured(folder: Path, text: str) -> tuple[dict[str, list[str]], Any]:
    """The boxes (the titles of all, and of those that are part of a cycle), and the picture."""
    written(folder, text)
    done = lockstep("check", "--graph", "locks.svg", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "locks.svg: who holds which lock while asking for another."
    root = ElementTree.parse(folder / "locks.svg").getroot()
    found: dict[str, list[str]] = {"all": [], "cycle": []}
    for group in root.iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None and title.text:
            found["all"].append(title.text)
            if "cycle" in group.attrib["class"].split():
                found["cycle"].append(title.text)
    return found, root


def arrows(root: Any) -> tuple[int, int]:
    """How many arrows there are, and how many of them are red."""
    ends = [path.get("marker-end") for path in root.iter(f"{SVG}path")]
    return sum(end is not None for end in ends), ends.count("url(#red)")


def test_the_picture_shows_who_holds_and_who_asks_and_what_is_a_cycle(tmp_path: Path) -> None:
    boxes, root = pictured(tmp_path, TWO_ORDERS + 'd = util.MasterLock("d", maxCount=3)\nbuilder("three", d, b)\n')
    assert sorted(boxes["all"]) == [
        "a: limit 1",
        "b: limit 1",
        "d: limit 3",
        "one, step work: master.cfg:6",
        "three, step work: master.cfg:6",
        "two, step work: master.cfg:6",
    ]
    assert not [title for title in boxes["cycle"] if "three" in title or title.startswith("d")]
    assert len(boxes["cycle"]) == 4
    assert arrows(root) == (6, 4)


def test_the_picture_of_builds_that_wait_for_builds_has_slots_only_in_cycles(tmp_path: Path) -> None:
    text = """\
from buildbot.plugins import *
c = BuildmasterConfig = {}
c["workers"] = [worker.Worker("v", "secret", max_builds=1), worker.Worker("w", "secret", max_builds=MOST)]
def builder(name, on, *its):
    c.setdefault("builders", []).append(
        util.BuilderConfig(name=name, workernames=[on], factory=util.BuildFactory(its), locks=[a][:name == "p"]))
a = util.MasterLock("a", maxCount=9)
wait = lambda name: steps.Trigger(schedulerNames=[name], waitForFinish=True, name="wait")
builder("p", "v", wait("q"))
builder("q", "w", steps.ShellCommand(command="x", name="work", locks=[util.WorkerLock("cpu")]))
builder("r", "w", wait("s"))
builder("s", "v")
c["schedulers"] = [schedulers.Triggerable(name, builderNames=[name]) for name in "qs"]
"""
    boxes, root = pictured(tmp_path, text.replace("MOST", "1"))
    assert "slots of workers: of each worker" in boxes["cycle"]
    assert "r, step wait waits for builds: master.cfg:8" in boxes["cycle"]
    assert sum(path.get("class") == "waits" for path in root.iter(f"{SVG}path")) == 3
    boxes, _ = pictured(tmp_path, text.replace("MOST", "2"))
    assert sorted(boxes["all"]) == [
        "a: limit 9",
        "cpu: of each worker",
        "p, step wait waits for builds: master.cfg:8",
        "q, step work: master.cfg:10",
    ]


def test_the_picture_of_nothing_says_so(tmp_path: Path) -> None:
    boxes, root = pictured(tmp_path, ONE_ORDER.replace("locks=[own]", ""))
    assert not boxes["all"]
    assert arrows(root) == (0, 0)
    assert any("Nobody asks" in (text.text or "") for text in root.iter(f"{SVG}text"))


def test_names_stand_in_the_picture_as_they_are(tmp_path: Path) -> None:
    name = "<b>&" + "é" * 60
    text = TWO_ORDERS.replace('"one"', f'"{name}"').replace('"a"', '"a<&\'"').replace('"work"', '"wo\\x0brk"')
    boxes, _ = pictured(tmp_path, text)
    assert f"{name}, step wo\ufffdrk: master.cfg:6" in boxes["all"]
    assert "a<&': limit 1" in boxes["all"]


def test_builders_that_do_the_same_are_one_box(tmp_path: Path) -> None:
    boxes, root = pictured(tmp_path, ONE_ORDER + 'builder("three", b, a)\n')
    assert len(boxes["all"]) == 4
    assert "one, step work: master.cfg:6; two, step work: master.cfg:6" in boxes["cycle"]
    assert any(text.text == "one and 1 more" for text in root.iter(f"{SVG}text"))
    assert arrows(root) == (4, 4)


def test_the_picture_of_two_hundred_builders(tmp_path: Path) -> None:
    text = (
        ONE_ORDER.partition('builder("one"')[0]
        + """\
locks = [util.MasterLock(f"l{i}") for i in range(60)]
for i in range(200):
    builder(f"b{i}", locks[i * 7 % 60], locks[(i * 7 + 1 + i // 4) % 60])
"""
    )
    boxes, root = pictured(tmp_path, text)
    assert sum(title.startswith("b") for title in boxes["all"]) >= 196
    assert arrows(root)[0] >= 392


def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    written(tmp_path, ONE_ORDER)
    done = lockstep("check", "--graph", "nowhere/locks.svg", cwd=tmp_path)
    assert done.returncode == 1
    assert "The picture 'nowhere/locks.svg' cannot be written: No such file or directory." in done.stderr


@pytest.mark.parametrize("seed", range(20))
def test_boxes_of_a_column_do_not_touch_and_arrows_go_to_the_right_where_nothing_goes_round(seed: int) -> None:
    r = random.Random(seed)
    nodes: list[Node] = [(str(n),) for n in range(r.randint(1, 30))]
    edges = [(r.choice(nodes), r.choice(nodes)) for _ in range(r.randint(0, 60))]
    placed = place(nodes, edges)
    assert set(placed.nodes) == set(nodes)
    for one, (column, row) in placed.nodes.items():
        assert row >= 0
        assert not [n for n, (c, at) in placed.nodes.items() if n != one and c == column and abs(at - row) < 0.99]
    assert set(placed.ways) == {(a, b) for a, b in edges if a != b}
    for (a, b), way in placed.ways.items():
        assert (way[0], way[-1]) == (placed.nodes[a], placed.nodes[b])
        assert all(abs(after[0] - before[0]) == 1 for before, after in itertools.pairwise(way))
    onward = place(nodes, [(a, b) for a, b in edges if int(a[0]) < int(b[0])])
    assert all(way[0][0] < way[-1][0] for way in onward.ways.values())
