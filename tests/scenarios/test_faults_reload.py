"""Faults of LOCKS.md section 11 that need a configuration of their own, one that is wrong, or one that changes."""

from collections.abc import Callable
from pathlib import Path

from scene import Scene
from timeline import check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS


def refused(folder: Path, config: str) -> str:
    """What `lockstep run` and `lockstep check` say to a configuration that is wrong: the same, and they end."""
    scene = Scene(folder / "wrong", config)
    checked = scene.cli("check", str(scene.file))
    started = scene.cli("run", str(scene.file), "--basedir", str(scene.base), "--port", "0")
    assert checked.returncode != 0
    assert started.returncode != 0
    assert not (scene.base / "lockstep.sqlite").exists()
    told = started.stdout + started.stderr
    assert {line for line in (checked.stdout + checked.stderr).splitlines() if ": error:" in line} & set(
        told.splitlines()
    )
    return told


def test_fault_11_the_same_lock_on_build_and_step_is_seen_at_load(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        """
        both = util.MasterLock('both')
        c['workers'] = workers('w1')
        c['builders'] = [build('wrong', sh('inner', locks=[both]), locks=[both])]
        """,
    )
    assert "both" in told
    assert "inner" in told
    assert "wrong" in told
    assert "master.cfg" in told


def test_fault_12_a_count_that_can_never_be_served_is_refused(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        """
        few = util.MasterLock('few', maxCount=2)
        some = util.WorkerLock('some', maxCount=1)
        c['workers'] = workers('w1')
        c['builders'] = [build('greedy', sh('s'), locks=[few.access('counting', 3)]),
                         build('hopeless', sh('s'), locks=[some.access('counting', 2)])]
        """,
    )
    assert "few" in told
    assert "greedy" in told
    assert "hopeless" in told


def test_fault_12_what_became_impossible_says_so_and_waits_till_it_is_not(stage: Stage) -> None:
    """A worker whose limit is too small is no candidate; a limit that was lowered is told, and reserves nothing."""
    config = """
        mem = util.WorkerLock('mem', maxCount=1, maxCountForWorker={'w2': %s})
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('two', sh('s'), on=['w1', 'w2'], locks=[mem.access('counting', 2)]),
                         build('more', sh('s'), on=['w1', 'w2'], locks=[mem.access('counting', 2)]),
                         build('one', sh('s'), on='w2', locks=[mem.access('counting', 1)])]
    """
    scene = stage(config % 2, "w1", "w2")
    (brid,) = scene.force("two")
    assert scene.ended(brid) == [OK]
    assert scene.fact("BuildStarted", brid=brid).worker == "w2"
    scene.agents["w2"].end()
    scene.fact("WorkerDown", worker="w2")
    (waiting,) = scene.force("more")
    assert scene.why(waiting)["kind"] in ("never", "worker")
    assert "w2" in scene.why(waiting)["sentence"]
    scene.agents["w2"].ended()
    scene.agent("w2")
    assert scene.ended(waiting, *scene.force("one")) == [OK, OK]


def test_fault_14_a_worker_lock_leaks_neither_on_reload_nor_with_a_lost_worker(stage: Stage) -> None:
    config = """
        seats = util.MasterLock('seats', maxCount=2)
        c['workers'] = [worker.Worker('w1', 'secret', locks=[seats])]
        c['builders'] = [build(name, gate('wait')) for name in ('a', 'b', %s)]
    """
    scene = stage(config % "'c'", "w1")
    requests = [scene.force(name)[0] for name in ("a", "b")]
    for name in ("a", "b"):
        scene.running(f"{name}-1-wait")
    scene.configure(config % "'c', 'd'")
    assert scene.cli("reload").returncode == 0
    assert scene.lock("seats")["used"] == 2
    scene.agents["w1"].kill()
    scene.agents["w1"].ended()
    scene.agent("w1")
    scene.fact("RequestPutBack", brid=requests[0])
    scene.fact("RequestPutBack", brid=requests[1])
    tickets = {fact.brid: fact.ticket for fact in scene.facts.of("RequestAdded")}
    for name in ("a-2", "b-2"):
        scene.running(f"{name}-wait")
    spans = check_lock(scene.facts, "seats", 2)
    first, second = tickets[requests[0]], tickets[requests[1]]
    # L40 orders those that wait. Each of the two waits again from the moment in which its build's end is known, which
    # may be two decisions; then the first one is alone, there is room, and it is granted in that decision (L31). So the
    # grants follow the tickets first, and then the order in which they were put back, with the tickets they had.
    order = [span.fact.ticket for span in spans]
    assert order[:2] == [first, second]
    assert order[2:] == [tickets[fact.brid] for fact in scene.facts.of("RequestPutBack")]
    assert sorted(order[2:]) == [first, second]
    more = [*scene.force("c"), *scene.force("d")]
    scene.open("wait")
    assert set(scene.ended(*requests, *more)) == {OK}
    assert len(check_lock(scene.facts, "seats", 2)) == 6
    scene.until(lambda: scene.lock("seats")["used"] == 0, "the free seats")


def test_fault_16_a_builder_that_is_removed_while_it_builds_finishes(stage: Stage) -> None:
    config = """
        lock = util.MasterLock('kept')
        c['workers'] = workers('w1')
        c['builders'] = [build('stays', sh('s', locks=[lock.access('exclusive')]))]
"""
    more = "        c['builders'] += [build('goes', gate('wait'), sh('locked', 'echo in', locks=[lock]), sh('last'))]\n"
    scene = stage(config + more, "w1")
    (brid,) = scene.force("goes")
    (queued,) = scene.force("goes")
    scene.running("goes-1-wait")
    scene.configure(config)
    assert scene.cli("reload").returncode == 0
    assert "no longer" in scene.why(queued)["sentence"] or "not configured" in scene.why(queued)["sentence"]
    scene.open("goes-1-wait")
    assert scene.ended(brid) == [OK]
    assert scene.output(1, "locked") == "in\n"
    assert scene.ended(*scene.force("stays")) == [OK]
    assert len(check_lock(scene.facts, "kept", 1)) == 2
    scene.cancel(queued)
    assert scene.ended(queued) == [Result.CANCELLED]


def test_fault_20_a_raised_limit_wakes_steps_and_requests_that_wait(stage: Stage) -> None:
    config = """
        lock = util.MasterLock('growing', maxCount=%d)
        c['workers'] = workers('w1')
        c['builders'] = [build('build', gate('in'), locks=[lock])]
        c['builders'] += [build(f'step{i}', gate('in', locks=[lock])) for i in range(2)]
    """
    scene = stage(config % 1, "w1")
    requests = scene.force("step0")
    scene.running("step0-1-in")
    requests += scene.force("step1")
    scene.until(lambda: len(scene.facts.of("StepStarted", name="in")) == 2, "the waiting step")
    requests += scene.force("build")
    assert not scene.runs("step1-1-in")
    scene.configure(config % 2)
    assert scene.cli("reload").returncode == 0
    scene.running("step1-1-in")
    assert not scene.facts.of("BuildStarted", builder="build")
    scene.configure(config % 3)
    assert scene.cli("reload").returncode == 0
    scene.running("build-1-in")
    assert scene.lock("growing")["used"] == 3
    scene.open("in")
    assert set(scene.ended(*requests)) == {OK}
