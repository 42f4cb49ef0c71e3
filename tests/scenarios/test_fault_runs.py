"""Faults at random points over builds with locks: nobody is ever where another is, and everything ends (L61, L62).

Kills, cut and silent links, processes and machines that stand still, full disks, stepped clocks: by the dozen here, by
the hundred in `make soak`. LOCKSTEP_SEED repeats a plan (as far as processes repeat).
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_farm import CONFIG, Farm
from fault_plan import CLOCKS, DISKS, HARMLESS, MASTER, WORKERS, draw
from fault_run import Run
from fault_tools import why_no_clock, why_no_disk
from scene import DEADLINE, Scene
from stays import faults, stays

Stage = Callable[..., Scene]


def run(stage: Stage, kinds: tuple[str, ...], count: int, part: int = 0) -> None:
    """Draw a plan, and carry it out on a new farm. The parts of a longer run have a plan each."""
    seed = int(os.environ.get("LOCKSTEP_SEED") or random.randrange(1 << 30))
    plan = draw(seed + part, count, kinds)
    print(f"LOCKSTEP_SEED={seed}", *plan, sep="\n", flush=True)
    farm = stage(CONFIG, kind=Farm, kinds=kinds)
    assert isinstance(farm, Farm)
    for name in WORKERS:
        farm.person(name)
    for name in WORKERS:
        farm.fact("WorkerUp", worker=name)
    Run(farm, plan).go()


def test_faults_by_the_dozen(stage: Stage) -> None:
    kinds = tuple(kind for kind in HARMLESS if kind != "cut for long")
    run(stage, kinds, len(kinds))


@pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())
def test_full_disks(stage: Stage) -> None:
    run(stage, DISKS, 6)


@pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())
def test_a_server_says_that_its_disk_is_full_also_while_it_starts(stage: Stage) -> None:
    farm = stage(CONFIG, kind=Farm, kinds=DISKS)
    assert isinstance(farm, Farm)
    farm.kill()
    farm.configure(CONFIG + "    c['builders'] += [build(f'more{i}', on=on) for i in range(300)]\n")
    farm.disks[MASTER].fill()
    farm.launch()
    assert farm.process is not None
    assert farm.process.wait(DEADLINE) != 0
    log = farm.log.read_text()
    assert "the disk is full; make room and start again" in log
    assert "Traceback" not in log, log
    farm.disks[MASTER].empty()
    farm.start()
    assert len(farm.all("builders")) > 300


@pytest.mark.skipif(bool(why_no_clock()), reason=why_no_clock())
def test_stepped_clocks(stage: Stage) -> None:
    run(stage, (*CLOCKS, "cut", "cut for long"), 8)


# Stays under a lock, as `holder.py` writes them down: name, times of life, who was beside; who is excused since when.
JUDGED: list[tuple[list[tuple[str, float, float, str]], dict[int, float], str]] = [
    ([("1.10", 1, 2, ""), ("2.11", 2, 3, "")], {}, ""),
    ([("1.10", 1, 2.01, ""), ("2.11", 2, 3, "")], {}, "at 2.0 there were 1.10, 2.11"),
    ([("1.10", 1, 9, ""), ("2.11", 5, 6, "")], {1: 1.5}, ""),
    ([("1.10", 1, 9, ""), ("2.11", 5, 6, "")], {2: 5.5}, "at 5.0 there were 1.10, 2.11"),
    ([("1.10", 1, 9, ""), ("2.11", 5, 6, "beside 5 1.10 T")], {1: 1.5}, ""),
    ([("1.10", 1, 2, ""), ("2.11", 5, 6, "beside 5 1.10 S")], {}, "2.11 came in at 5.0 beside 1.10 (S)"),
    ([("1.10", 1, 2, "refused 2 2"), ("2.11", 5, 6, "")], {}, "1.10 was still there at 2.0, after a later fence"),
    ([("2.10", 1, 2, ""), ("1.11", 5, 6, "")], {}, "fences in the order of coming: [2, 1]"),
]


@pytest.mark.parametrize(("written", "excused", "wrong"), JUDGED)
def test_the_judge_sees_what_is_wrong(
    written: list[tuple[str, float, float, str]], excused: dict[int, float], wrong: str, tmp_path: Path
) -> None:
    folder = tmp_path / "stays" / "database"
    folder.mkdir(parents=True)
    for name, began, last, more in written:
        lines = [f"in {began} 77 home/1", *([more] if more else []), f"beat {last}", "out 99"]  # that was cut off
        (folder / name).write_text("\n".join(lines))
    told = faults(stays(tmp_path, "database"), 1, {("database", fence): at for fence, at in excused.items()})
    assert bool(told) == bool(wrong), told
    assert wrong in "".join(told)


def test_a_seed_gives_one_plan() -> None:
    assert draw(7, 40, HARMLESS) == draw(7, 40, HARMLESS) != draw(8, 40, HARMLESS)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_faults_by_the_hundred(stage: Stage, part: int) -> None:
    why_not = {DISKS: why_no_disk(), CLOCKS: why_no_clock()}
    print(*(f"without {', '.join(kinds)}: {why}" for kinds, why in why_not.items() if why), sep="\n")
    run(stage, (*HARMLESS, *(kind for kinds, why in why_not.items() if not why for kind in kinds)), 100, part)
