"""`lockstep exec` at a running server: any command, on any machine, under locks that can be lost."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scene import DEADLINE, PROGRAM, Scene, lives, until
from scene_agents import Cable

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

LOCKED = """
c['workers'] = workers('w1')
c['builders'] = [build('b', sh('s'), locks=[lock.access('exclusive') for lock in locks])]
"""
CONFIG = """
    db, cpu = util.MasterLock('database'), util.WorkerLock('cpu')
    pool = util.MasterLock('pool', maxCount=3)
    c['workers'] = workers('w1')
    c['builders'] = [build('b', gate('go'), locks=[db.access('exclusive')]),
                     build('idle', gate('go'), locks=[cpu.access('counting')])]
    """


TOO_SOON = """
import os, signal, subprocess, sys

class Popen(subprocess.Popen):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Popen
"""
"""A program that gets SIGTERM when it has started another, before it can do anything else."""
NO_PIDFD = """
import os

def refused(*_):
    raise OSError(1, "Operation not permitted")

os.pidfd_open = refused
"""
"""A program in a container that lets nobody use pidfd_open(2)."""


class Exec:
    """A `lockstep exec` that runs beside the test."""

    def __init__(
        self, scene: Scene, *words: str, url: str = "", first: tuple[str, ...] = (), odd: str = "", **how: Any
    ) -> None:
        self.folder = scene.folder
        env = {**scene.env, "LOCKSTEP_URL": url or scene.url, "USER": "robot"}
        pipe = subprocess.PIPE
        program = [sys.executable, "-c", f"{odd}\nfrom lockstep.cli.main import main; main()"] if odd else [PROGRAM]
        self.popen = subprocess.Popen(
            [*first, *program, "exec", *words], env=env, stdout=pipe, stderr=pipe, start_new_session=True, **how
        )

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, output, what it says itself."""
        out, err = self.popen.communicate(timeout=DEADLINE)
        return self.popen.returncode, out.decode(), err.decode()


@pytest.fixture
def run() -> Iterator[Callable[..., Exec]]:
    """`run(scene, *words)`: an Exec that is ended with the test."""
    made: list[Exec] = []

    def make(scene: Scene, *words: str, **how: Any) -> Exec:
        made.append(Exec(scene, *words, **how))
        return made[-1]

    yield make
    for each in made:
        if each.popen.poll() is None:
            each.popen.kill()
            each.popen.wait(DEADLINE)


def test_exec_passes_everything_through(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    text = 'cat; echo "fence $LOCKSTEP_FENCE_DATABASE $LOCKSTEP_FENCE_CPU"; echo oops >&2; exit 7'
    words = ("--lock", "database", "--lock", "cpu", "--", "sh", "-c", text)
    source = subprocess.run(["printf", "a\\0b\\n"], capture_output=True, check=True).stdout
    done = subprocess.run(
        [str(PROGRAM), "exec", *words],
        env={**scene.env, "LOCKSTEP_URL": scene.url},
        input=source,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, source + b"fence 1 1\n", b"oops\n")
    assert scene.fact("BookingEnded").ending == "released"
    assert run(scene, "--lock", "pool", "--count", "2", "--", "sh", "-c", "kill -USR1 $$").end()[0] == 128 + 10
    assert run(scene, "--lock", "pool", "--", "/nowhere/at/all").end()[0] == 127
    assert run(scene, "--lock", "pool", "--", str(scene.folder)).end()[0] == 126


def test_L1_exec_and_builds_never_overlap(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG, "w1")
    guard = textwrap.dedent(
        """
        import os, sys, time
        path = sys.argv[1]
        os.mkdir(path); open(sys.argv[2], 'a').write(os.environ['LOCKSTEP_FENCE_DATABASE'] + chr(10)); os.rmdir(path)
        """
    )
    (scene.folder / "guard.py").write_text(guard)
    words = (sys.executable, str(scene.folder / "guard.py"), str(scene.folder / "in"), str(scene.folder / "fences"))
    running = [run(scene, "--lock", "database", "--", *words) for _ in range(6)]
    assert [each.end()[0] for each in running] == [0] * 6
    fences = [int(line) for line in (scene.folder / "fences").read_text().split()]
    assert fences == sorted(fences)
    assert len(fences) == 6


def test_exec_waits_as_long_as_it_is_told(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    scene.cli("hold", "database", "--reason", "a look")
    code, _, err = run(scene, "--lock", "database", "--timeout", "1", "--", "true").end()
    assert (code, "held by" in err, "was not had within 1 s" in err) == (124, True, True)
    waiting = run(scene, "--lock", "database", "--", "true")
    scene.until(lambda: len(scene.facts.of("BookingAdded")) == 3, "the second wish")
    waiting.popen.send_signal(signal.SIGINT)
    assert waiting.end()[0] == 130
    scene.until(lambda: len(scene.facts.of("BookingEnded")) == 2, "both to be taken back")
    assert [each.ending for each in scene.facts.of("BookingEnded")] == ["cancelled", "cancelled"]


def tree(scene: Scene, *first: str) -> list[str]:
    """A command that starts another, which leaves its session; both write their ids, and never end by themselves.

    A file `beat` is written again and again as long as one of them lives.
    """
    beat = f"while :; do echo > {scene.folder}/beat; sleep 0.1; done"
    inner = f"echo $$ > {scene.folder}/inner; {beat}"
    text = f"{' '.join(first)} setsid sh -c '{inner}' & echo $$ > {scene.folder}/outer; {beat}"
    return ["sh", "-c", text]


def last_beat(scene: Scene) -> float:
    """When one of a tree last lived, on the clock of the facts."""
    return (scene.folder / "beat").stat().st_mtime


def test_L61_exec_whose_link_is_cut_ends_its_command_before_the_lock_goes_on(
    stage: Stage, run: Callable[..., Exec], cables: Callable[[int], Cable]
) -> None:
    scene = stage(CONFIG, "w1")
    cable = cables(scene.port)
    running = run(scene, "--lock", "database", "--lease", "5", "--", *tree(scene), url=cable.url)
    inner, outer = scene.folder / "inner", scene.folder / "outer"
    until(lambda: lives(inner) and lives(outer), "the command")
    (brid,) = scene.force("b")
    cable.cut()
    code, _, err = running.end()
    assert (code, "the lock is lost" in err) == (125, True), err
    assert not lives(inner)
    assert not lives(outer)
    assert scene.fact("BookingEnded").ending == "lost"
    scene.fact("BuildStarted", brid=brid)
    assert last_beat(scene) < scene.facts.numbered("BuildStarted", brid=brid)[0].at


def test_L61_exec_that_stands_still_does_not_keep_its_command(stage: Stage, run: Callable[..., Exec]) -> None:
    """Its guardian ends it; and when it goes on, it knows that the lock is lost."""
    scene = stage(CONFIG)
    running = run(scene, "--lock", "database", "--lease", "5", "--", *tree(scene))
    inner, outer = scene.folder / "inner", scene.folder / "outer"
    until(lambda: lives(inner) and lives(outer), "the command")
    guardian = running.popen.pid
    (itself,) = Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()
    os.kill(int(itself), signal.SIGSTOP)
    until(lambda: not lives(inner) and not lives(outer), "the guardian's work")
    os.kill(int(itself), signal.SIGCONT)
    code, _, err = running.end()
    assert (code, "the lock is lost" in err) == (125, True), err
    scene.fact("BookingEnded")
    assert last_beat(scene) < scene.facts.numbered("BookingEnded")[0].at


def test_a_lease_is_renewed_as_often_as_it_must_be_and_no_oftener(stage: Stage, run: Callable[..., Exec]) -> None:
    """The server keeps each question for a sixth of the lease, unless the locks must be given back."""
    scene = stage(CONFIG)
    running = run(scene, "--lock", "database", "--lease", "12", "--", "sleep", "600")
    scene.until(lambda: len(scene.facts.of("BookingRenewed")) >= 4, "the first question that waits, and two more")
    running.popen.terminate()
    running.end()
    _, *waiting = (numbered.at for numbered in scene.facts.numbered("BookingRenewed"))
    assert all(later - earlier > 1.9 for earlier, later in itertools.pairwise(waiting)), waiting


def test_L61_a_restart_of_the_server_is_nothing_to_exec(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    go = scene.folder / "go"
    text = f"touch {go}.began; until [ -e {go} ]; do sleep 0.05; done; echo $LOCKSTEP_FENCE_DATABASE"
    running = run(scene, "--lock", "database", "--lease", "30", "--", "sh", "-c", text)
    until(lambda: Path(f"{go}.began").exists(), "the command")
    scene.kill()
    scene.start()
    scene.until(lambda: scene.facts.of("BookingRenewed"), "the lease to be renewed")
    assert scene.cli("fence", "check", "database", "1").returncode == 0
    go.touch()
    assert running.end()[:2] == (0, "1\n")
    assert scene.fact("BookingEnded").ending == "released"
    check = scene.cli("fence", "check", "database", "1")
    assert (check.returncode, check.stdout) == (
        1,
        "Fence 1 of lock 'database' is not current; the last one given is 1.\n",
    )


def test_L61_a_lock_that_is_stolen_from_a_command_goes_on_only_when_that_has_ended(
    stage: Stage, run: Callable[..., Exec]
) -> None:
    scene = stage(CONFIG, env={"USER": "ann"})
    running = run(scene, "--lock", "database", "--", *tree(scene))
    inner, outer = scene.folder / "inner", scene.folder / "outer"
    until(lambda: lives(inner) and lives(outer), "the command")
    assert "belongs to a program" in scene.cli("release", "database").stderr
    done = scene.cli("steal", "database", "--reason", "it hangs")
    assert "holds 'database' (fence 2)" in done.stdout, done
    assert not lives(inner)
    assert not lives(outer)
    code, _, err = running.end()
    assert (code, "it is stolen by ann (lock 'database' was taken away: it hangs));" in err) == (125, True), err


def test_kill_9_of_exec_leaves_nothing_running(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    for which in ("guardian", "worker"):
        running = run(scene, "--lock", "database", "--", *tree(scene))
        inner, outer = scene.folder / "inner", scene.folder / "outer"
        until(lambda a=inner, b=outer: lives(a) and lives(b), "the command")
        pid = running.popen.pid
        if which == "worker":
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        until(lambda a=inner, b=outer: not lives(a) and not lives(b), "everything to end")
        running.end()
        if which == "guardian":
            scene.until(lambda: scene.facts.of("BookingEnded"), "the lock to be given back")


def test_sigterm_ends_the_command_and_gives_the_lock_back(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    running = run(scene, "--lock", "database", "--", *tree(scene, "trap 'exit 9' TERM;"))
    until(lambda: lives(scene.folder / "outer") and lives(scene.folder / "inner"), "the command")
    running.popen.send_signal(signal.SIGTERM)
    assert running.end()[0] == 9
    assert scene.fact("BookingEnded").ending == "released"
    assert not lives(scene.folder / "inner")


def test_a_server_that_is_away_for_half_the_lease_is_nothing_to_exec(
    stage: Stage, run: Callable[..., Exec], cables: Callable[[int], Cable]
) -> None:
    """Wherever in its rhythm the link is cut."""
    scene = stage("a, b, c1, d = (util.MasterLock(n) for n in 'abcd')\nlocks = [a, b, c1, d]\n" + LOCKED)
    lease = 24.0
    go = scene.folder / "go"
    text = f"touch {scene.folder}/$0; until [ -e {go} ]; do sleep 0.05; done"
    cable = cables(scene.port)
    running = []
    for number, name in enumerate("abcd"):
        words = ("--lock", name, "--lease", f"{lease:g}", "--", "sh", "-c", text, name)
        running.append(run(scene, *words, url=cable.url))
        until(lambda name=name: (scene.folder / name).exists(), "the command")
        scene.until(lambda number=number: len(scene.facts.of("BookingRenewed")) > number, "its first renewal")
    cable.cut()
    away = time.monotonic() + lease / 2
    until(lambda: time.monotonic() > away, "half the lease")
    cable.mend()
    before = len(scene.facts.of("BookingRenewed"))
    scene.until(lambda: len(scene.facts.of("BookingRenewed")) >= before + len(running), "renewals")
    go.touch()
    assert [each.end()[0] for each in running] == [0] * len(running)


def test_L30_a_signal_while_the_command_is_started_ends_the_command_before_the_lock(
    stage: Stage, run: Callable[..., Exec]
) -> None:
    scene = stage(CONFIG)
    running = run(scene, "--lock", "database", "--", *tree(scene), odd=TOO_SOON)
    code, _, err = running.end()
    assert (code, err) == (128 + signal.SIGTERM, "")
    assert scene.fact("BookingEnded").ending == "released"
    assert not lives(scene.folder / "outer")
    assert not lives(scene.folder / "inner")


def test_exec_works_where_pidfd_open_is_refused(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    assert run(scene, "--lock", "database", "--", "echo", "done", odd=NO_PIDFD).end()[:2] == (0, "done\n")


def test_what_goes_wrong_in_exec_is_said_and_leaves_nothing(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    odd = "import select\ndef broken(*_):\n    raise RuntimeError('no')\nselect.select = broken"
    code, _, err = run(scene, "--lock", "database", "--", *tree(scene), odd=odd).end()
    said = "Error: It cannot go on (RuntimeError: no). What it had started is ended.\n"
    assert (code, err) == (5, said)
    assert scene.fact("BookingEnded").ending == "released"
    assert not lives(scene.folder / "outer")


def test_a_hangup_is_nothing_under_nohup(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    go = scene.folder / "go"
    text = f"touch {go}.began; until [ -e {go} ]; do sleep 0.05; done; echo done"
    running = run(scene, "--lock", "database", "--", "sh", "-c", text, first=("nohup",))
    until(lambda: Path(f"{go}.began").exists(), "the command")
    os.killpg(running.popen.pid, signal.SIGHUP)
    go.touch()
    assert running.end()[:2] == (0, "done\n")


def test_others_see_the_name_of_the_program_and_not_its_arguments(stage: Stage, run: Callable[..., Exec]) -> None:
    scene = stage(CONFIG)
    run(scene, "--lock", "database", "--", "/bin/echo", "--password", "xyzzy").end()
    assert scene.fact("BookingAdded").wish.reason == "echo"


def test_L62_locks_whose_names_differ_in_signs_only_have_a_variable_each(
    stage: Stage, run: Callable[..., Exec]
) -> None:
    scene = stage(
        """
        tell = 'echo $LOCKSTEP_FENCE_X_Y $LOCKSTEP_FENCE_X_Y_2 $LOCKSTEP_FENCE_X_Y_ON_W1'
        a, b, w = util.MasterLock('x-y'), util.MasterLock('x.y'), util.WorkerLock('x.y')
        c['workers'] = workers('w1')
        c['builders'] = [build('b', sh('s', tell, locks=[lock.access('exclusive') for lock in (a, b, w)]))]
        """,
        "w1",
    )
    scene.cli("hold", "x-y")  # so that fences differ
    scene.cli("release", "x-y")
    tell = "echo $LOCKSTEP_FENCE_X_Y $LOCKSTEP_FENCE_X_Y_2 $LOCKSTEP_FENCE_X_Y_ON_W1"
    words = ("--lock", "x.y", "--lock", "x-y", "--lock", "x.y@w1", "--", "sh", "-c", tell)
    assert run(scene, *words).end()[:2] == (0, "2 1 2\n")  # the two of one name count together
    (brid,) = scene.force("b")
    assert scene.ended(brid) == [Result.SUCCESS]
    assert scene.output(1, "s") == "3 3 4\n"
