"""The server is killed, or stopped, and started again: nothing ends, nothing is lost, nobody enters (L60, issue 2)."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scene import Scene
from timeline import ENDLESS, apart, check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
GUARD = Path(__file__).with_name("guard.sh")
LINES = 30

GUARDED = f"""
    database = util.MasterLock('database')
    def guarded(**more):
        return sh('guarded', ['sh', {str(GUARD)!r}, here, '{LINES}'], **more)
    alone = [database.access('exclusive')]
    c['workers'] = workers('w1', 'w2')
    c['builders'] = [
        build('step', sh('before'), guarded(locks=alone), sh('after'), on=['w1', 'w2']),
        build('whole', guarded(), sh('after'), locks=alone, on=['w2', 'w1']),
        build('free', sh('lines', 'for i in $(seq 50); do echo line $i; sleep 0.01; done'), on=['w1']),
    ]
"""


def numbered(count: int) -> str:
    """What the commands say."""
    return "".join(f"line {number}\n" for number in range(1, count + 1))


def check_guarded(scene: Scene) -> None:
    """All that must hold after any number of kills, and that nothing ran twice."""
    faults = scene.folder / "faults"
    assert not faults.exists(), faults.read_text()
    assert "Traceback" not in scene.log.read_text(), scene.log.read_text()
    check_lock(scene.facts, "database", 1)
    assert apart(scene.facts.commands("guarded"))
    builds = scene.facts.builds()
    assert len(builds) == len({span.fact.brid for span in builds}), "a build was tried again"
    for span in builds:
        free = span.fact.builder == "free"
        step, lines = ("lines", 50) if free else ("guarded", LINES)
        assert scene.output(span.fact.buildid, step) == numbered(lines), f"output of build {span.fact.buildid}"


def connected(scene: Scene, worker: str) -> bool:
    """Whether a worker is connected to the server that runs now (a new one says first that nobody is)."""
    ups = scene.facts.numbered("WorkerUp", worker=worker)
    downs = scene.facts.numbered("WorkerDown", worker=worker)
    return bool(ups) and (not downs or ups[-1].number > downs[-1].number)


def kill_at_random(scene: Scene, kills: int) -> None:
    """Kill the server so many times, also while it starts, and see to it that there is always work."""
    seed = int(os.environ.get("LOCKSTEP_SEED") or random.randrange(1 << 30))
    print(f"LOCKSTEP_SEED={seed}")
    chance = random.Random(seed)
    requests: list[int] = []
    for _ in range(kills):
        if len(scene.facts.of("RequestEnded")) > len(requests) - 4:
            requests += [*scene.force("step", 2), *scene.force("whole", 2), *scene.force("free", 1)]
        if chance.random() < 0.7:
            scene.until(lambda: connected(scene, "w1") and connected(scene, "w2"), "the workers")
        time.sleep(chance.random() * 0.8)  # the moment is the test's matter: any is as good
        scene.kill()
        scene.launch()
        if chance.random() < 0.3:
            time.sleep(chance.random())
            scene.kill()
            scene.launch()
        scene.ready()
    assert set(scene.ended(*requests)) == {Result.SUCCESS}
    check_guarded(scene)


def test_kills_at_random_moments(stage: Stage) -> None:
    kill_at_random(stage(GUARDED, "w1", "w2"), 8)


@pytest.mark.soak
def test_hundreds_of_kills_at_random_moments(stage: Stage) -> None:
    kill_at_random(stage(GUARDED, "w1", "w2"), 300)


def test_holds_and_tickets_outlive_a_kill_and_a_stop(stage: Stage) -> None:
    """Builds and steps that wait for a held lock keep it so: same tickets, same order, nobody enters meanwhile."""
    scene = stage(
        """
        database = util.MasterLock('database')
        alone = [database.access('exclusive')]
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [
            build('holder', gate('hold'), locks=alone),
            build('stepper', sh('locked', 'echo $LOCKSTEP_FENCE_DATABASE', locks=alone), on='w2'),
            build('waiter', sh('quick'), locks=alone, on=['w1', 'w2']),
        ]
        """,
        "w1",
        "w2",
    )
    (holder,) = scene.force("holder")
    scene.running("holder-1-hold")
    (stepper,) = scene.force("stepper")
    scene.fact("StepStarted", name="locked")
    waiters = scene.force("waiter", 4)
    before = [(claim["ticket"], claim["state"]) for claim in scene.all("claims")]
    scene.kill()
    scene.start()
    assert [(claim["ticket"], claim["state"]) for claim in scene.all("claims")] == before
    assert scene.stop() == 0
    assert scene.runs("holder-1-hold")
    scene.start()
    assert [(claim["ticket"], claim["state"]) for claim in scene.all("claims")] == before
    scene.until(lambda: connected(scene, "w1") and connected(scene, "w2"), "the workers to be back")
    assert len(scene.facts.holds("database")) == 1
    scene.open("hold")
    assert set(scene.ended(holder, stepper, *waiters)) == {Result.SUCCESS}
    spans = check_lock(scene.facts, "database", 1)
    tickets = {fact.brid: fact.ticket for fact in scene.facts.of("RequestAdded")}
    step = scene.facts.of("StepStarted", name="locked")[0].ticket
    assert [s.fact.ticket for s in spans] == [tickets[holder], step, *(tickets[brid] for brid in waiters)]
    assert len(scene.facts.builds()) == 6


def test_a_local_worker_is_found_again_and_never_doubled(stage: Stage) -> None:
    scene = stage(
        """
        c['workers'] = [worker.LocalWorker('near')]
        c['builders'] = [build('one', gate('wait'), on='near')]
        """
    )
    lock = scene.base / "workers" / "near" / ".lockstep" / "lock"
    (brid,) = scene.force("one")
    scene.running("one-1-wait")
    pid = lock.read_text()
    for session in (2, 3):
        scene.kill()
        scene.start()
        scene.fact("WorkerUp", worker="near", session=session)
        assert lock.read_text() == pid
        assert agents_in(lock.parent.parent) == [int(pid)]
    # The server may come back on another port: the worker finds it there.
    scene.kill()
    scene.move()
    scene.start()
    scene.fact("WorkerUp", worker="near", session=4)
    assert agents_in(lock.parent.parent) == [int(pid)]
    scene.open("wait")
    assert scene.ended(brid) == [Result.SUCCESS]
    assert scene.output(1, "wait") == "begun\nopen\n"


def agents_in(basedir: Path) -> list[int]:
    """The agents that serve a folder, less their guardians (those whose parent is none of them)."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            words = status.with_name("cmdline").read_bytes().split(b"\0")
            parent = int(status.read_text().split("PPid:")[1].split()[0])
        except OSError:
            continue
        if b"lockstep.worker" in words and str(basedir).encode() in words:
            found[int(status.parent.name)] = parent
    return [pid for pid, parent in found.items() if parent in found]


def test_a_clean_stop_ends_no_command_and_an_end_meanwhile_is_not_lost(stage: Stage) -> None:
    scene = stage("c['workers'] = workers('w1')\nc['builders'] = [build('one', gate('first'), gate('second'))]\n", "w1")
    (brid,) = scene.force("one")
    scene.running("one-1-first")
    assert scene.stop() == 0
    assert scene.runs("one-1-first")
    scene.open("first")
    scene.until(lambda: not scene.runs("one-1-first"), "the end of the command")
    scene.start()
    scene.running("one-1-second")
    assert scene.facts.steps("first")[0].end < ENDLESS
    scene.open("second")
    assert scene.ended(brid) == [Result.SUCCESS]
    assert scene.output(1, "first") == scene.output(1, "second") == "begun\nopen\n"
    assert len(scene.facts.commands()) == 2
