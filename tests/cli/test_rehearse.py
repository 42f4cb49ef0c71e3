"""`lockstep rehearse` as users run it: a real configuration, and the store of a real server that runs meanwhile."""

import json
import sqlite3
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .lockstep_command import CONFIG, Running, lockstep, until

BOARDS = """\
from lockstep.plugins import *
c = BuildmasterConfig = {}
c["workers"] = [worker.Worker(name, "x", max_builds=4) for name in ("bot", "rob")]
boards, cpu = util.MasterLock("boards", maxCount=2), util.WorkerLock("cpu", maxCount=2)
def builder(name, **more):
    flash = steps.ShellCommand(command="x", name="flash", locks=[boards.access("counting"), cpu.access("counting")])
    return util.BuilderConfig(name=name, workernames=["bot"], factory=util.BuildFactory([flash]), **more)
c["builders"] = [builder("arm"), builder("mips"), builder("riscv"), builder("x86")]
"""
LOAD = ("--rate", "2/hour", "--duration", "12m", "--duration", "mips=9m")


def written(folder: Path, text: str = BOARDS) -> Path:
    path = folder / "master.cfg"
    path.write_text(text)
    return path


def rehearsed(*words: str, cwd: Path) -> Any:
    done = lockstep("rehearse", *words, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def use(side: Any, kind: str, name: str, worker: str = "") -> Any:
    [found] = [one for one in side["uses"] if one["key"] == {"kind": kind, "name": name, "worker": worker}]
    return found


def test_one_more_board_shortens_the_waits(tmp_path: Path) -> None:
    written(tmp_path)
    told = rehearsed(*LOAD, "--limit", "boards=3", "--limit", "cpu@bot=3", cwd=tmp_path)
    assert told["changes"] == ["boards: 2 → 3", "cpu on bot: 2 → 3"]
    today, changed = told["today"], told["changed"]
    assert today["total"]["count"] == changed["total"]["count"] == told["load"]["requests"] > 1000
    assert changed["total"]["in_steps"] < today["total"]["in_steps"] / 2
    assert use(today, "master", "boards")["peak"] == 2
    assert use(changed, "master", "boards")["peak"] == 3
    assert use(changed, "worker", "cpu", "rob")["limit"] == 2
    assert use(today, "slot", "", "rob")["peak"] == 0
    assert "worker rob ran nothing." in told["warnings"]


def test_the_same_words_give_the_same_answer_and_another_seed_another(tmp_path: Path) -> None:
    written(tmp_path)
    words = (*LOAD, "--days", "2")
    one, same, other = (rehearsed(*words, "--seed", seed, cwd=tmp_path)["today"] for seed in ("1", "1", "2"))
    assert one == same
    assert one != other


def test_more_workers_are_copies_of_the_busiest_or_of_one_that_is_named(tmp_path: Path) -> None:
    written(tmp_path)
    told = rehearsed(*LOAD, "--days", "2", "--workers", "+3", "--workers", "rob=+1", cwd=tmp_path)
    assert told["changes"] == [
        "one more worker, bot+1, like bot",
        "one more worker, rob+1, like rob",
        "one more worker, bot+2, like bot",
        "one more worker, rob+2, like rob",
    ]
    assert use(told["changed"], "slot", "", "bot+1")["peak"] > 0
    assert use(told["changed"], "worker", "cpu", "bot+1")["limit"] == 2
    assert use(told["changed"], "slot", "", "rob+2")["peak"] == 0


def test_text_says_the_assumptions_the_waits_the_use_and_the_worst_cases(tmp_path: Path) -> None:
    written(tmp_path)
    done = lockstep("rehearse", "--limit", "boards=9", "--days", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "in 2 days" in done.stdout
    assert "2/hour for each builder, builds of 10m" in done.stdout
    assert "Change: boards: 2 → 9." in done.stdout
    lines = done.stdout.splitlines()
    assert next(line for line in lines if line.startswith("boards ")).split()[1:4] == ["2", "→", "9"]
    assert any(line.startswith("all  ") for line in lines)
    assert "Worst cases, today" in lines
    assert any(line.startswith("Warning: With the change: boards: 7 units of 9 idle") for line in lines)


def test_a_limit_that_is_too_small_says_who_never_starts(tmp_path: Path) -> None:
    written(tmp_path)
    told = rehearsed("--limit", "boards=0", "--days", "1", cwd=tmp_path)
    assert told["changed"]["stuck"].keys() == {"arm", "mips", "riscv", "x86"}
    assert any(w.startswith("With the change: ") and "never got through" in w for w in told["warnings"])


def test_too_much_load_is_told(tmp_path: Path) -> None:
    written(tmp_path)
    told = rehearsed("--rate", "arm=30/hour", "--days", "1", cwd=tmp_path)
    assert any(warning.startswith("More comes than can be built: ") for warning in told["warnings"])


def test_the_picture_has_both_sides(tmp_path: Path) -> None:
    written(tmp_path, BOARDS.replace('"mips"', '"mips <&>"'))
    assert lockstep("rehearse", "--limit", "boards=3", "--svg", "out.svg", cwd=tmp_path).returncode == 0
    picture = ElementTree.parse(tmp_path / "out.svg")
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"today", "changed", "mips <&>", "boards", "worker bot"} <= texts
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}path"))) == 2


def test_what_is_rendered_or_chosen_by_hooks_is_named(tmp_path: Path) -> None:
    more = 'builder("dynamic", locks=util.renderer(lambda props: [])), builder("hooked", canStartBuild=lambda *a: True)'
    written(tmp_path, BOARDS.replace('builder("mips")', more))
    warnings = rehearsed("--days", "1", cwd=tmp_path)["warnings"]
    assert any(warning.startswith("Locks of 'dynamic' are rendered for each request") for warning in warnings)
    assert any(warning.startswith("Hooks choose for 'hooked'") for warning in warnings)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--limit", "bords=9"), "there is no lock 'bords'.\nDid you mean 'boards'?"),
        (("--limit", "boards"), "write it as LOCK=N"),
        (("--limit", "boards=-1"), "'-1' is no limit"),
        (("--limit", "cpu@bop=1"), "there is no worker 'bop'.\nDid you mean 'bot'?"),
        (("--limit", "boards@bot=1"), "there is no worker lock 'boards'"),
        (("--workers", "2"), "write +N, or NAME=+N"),
        (("--workers", "bop=+2"), "there is no worker 'bop'"),
        (("--workers", "+9999"), "at most 1000 more workers"),
        (("--rate", "am=1/hour"), "there is no builder 'am'.\nDid you mean 'arm'?"),
        (("--rate", "arm=often"), "'often' is no rate; write it as 6/hour"),
        (("--rate", "arm=1/0s"), "'1/0s' is no rate"),
        (("--rate", "arm=99999999/second"), "are more than the 1,000,000"),
        (("--duration", "arm=-5m"), "'-5m' is no length of time"),
        (("--days", "0"), "0"),
        (("--history", "nothing.sqlite"), "There is no file 'nothing.sqlite'.\nName the SQLite file of a server."),
        (("--history", "sqlite:///nothing.sqlite"), "There is no file 'nothing.sqlite'."),
        (("--history", "."), "'.' is a folder, no store."),
        (("--history", "x", "--rate", "1/hour"), "go without it"),
    ],
)
def test_wrong_words_are_refused_with_a_sentence(words: tuple[str, ...], text: str, tmp_path: Path) -> None:
    written(tmp_path)
    done = lockstep("rehearse", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_store_is_refused_with_a_sentence(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to be looked at" * 20)
    done = lockstep("rehearse", "--history", "test.sqlite", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "Error: There is no file 'test.sqlite'.\nStores here: text.sqlite.\n")
    done = lockstep("rehearse", "--history", "text.sqlite", cwd=tmp_path)
    assert done.returncode == 5
    assert "no Lockstep store" in done.stderr
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE x (y)").connection.close()
    done = lockstep("rehearse", "--history", "other.sqlite", cwd=tmp_path)
    assert done.returncode == 5
    assert "belongs to another program" in done.stderr
    (tmp_path / "empty.sqlite").touch()
    done = lockstep("rehearse", "--history", "empty.sqlite", cwd=tmp_path)
    assert (done.returncode, "is empty" in done.stderr) == (5, True)


def test_the_history_of_a_server_that_runs_is_played(server: Running, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    for name in ("gated", "gated-too"):
        assert server("force", name, "--property", f"gate={gate}").returncode == 0
    for _ in range(3):
        assert server("force", "quick").returncode == 0
    gate.touch()
    assert server("force", "quick", "--wait").returncode == 0
    assert server("force", "gated", "--property", f"gate={gate}", "--wait").returncode == 0
    until(lambda: all(build["complete"] for build in server.json("builds")), "the end of all builds")
    store = server.folder / "lockstep.sqlite"
    told = rehearsed(str(server.folder), "--history", str(store), "--workers", "+1", cwd=tmp_path)
    today = told["today"]
    counts = {name: waits["count"] for name, waits in today["builders"].items()}
    assert (counts["gated"], counts["gated-too"], counts["quick"]) == (2, 1, 4)
    assert use(today, "master", "database")["peak"] == 1
    assert use(today, "master", "database")["average"] > 0
    assert told["load"]["notes"] == []
    assert told["load"]["waited"] == pytest.approx(today["total"]["mean"], abs=2)
    written(tmp_path, CONFIG.replace('"quick": quick', '"renamed": quick'))
    notes = rehearsed("--history", f"sqlite:///{store}", "--days", "1", cwd=tmp_path)["load"]["notes"]
    assert notes == ["Left out, for these builders are not in the configuration: 'quick' (4)."]
    assert server("force", "quick", "--wait").returncode == 0
