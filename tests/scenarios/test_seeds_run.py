"""The configurations of the three texts run on real agents, and the recorded facts prove what the texts demand.

The examples come out of the texts (`tests/config/seed_texts.py` lists what is mended). Before them stands a prelude
(workers, `c`, a force scheduler); the Subversion address is a repository of the test's; `tool.sh` has the names of the
programs that they call.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scene import Scene
from timeline import apart, check_lock, most_at_once

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
HERE = Path(__file__).parent
PROGRAMS = ("make", "python", "python2.2", "python2.3", "python2.4")
PRELUDE = """\
from buildbot.plugins import schedulers, worker
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker(name, "secret") for name in WORKERS]
c['schedulers'] = [schedulers.ForceScheduler(name="force", builderNames=BUILDERS)]
"""
MORE_BUILDERS = """\
for i in (1, 2, 3):
    c['builders'] += [dict(b, name=f"{b['name']}-{i}", builddir=f"{b['builddir']}-{i}") for b in (b1, b2, b3, b4)]
"""
"""A builder has one build directory on a worker, so more than one build at a time on a worker takes more builders."""


def _seed_texts() -> Any:
    spec = importlib.util.spec_from_file_location("seed_texts", HERE.parent / "config" / "seed_texts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


seed_texts = _seed_texts()
pytestmark = [
    pytest.mark.skipif(not seed_texts.SEEDS.is_dir(), reason="the texts are not here"),
    pytest.mark.skipif(shutil.which("svnadmin") is None, reason="Subversion is not installed"),
]


class Place:
    """What the examples find: a repository, programs, and which of them meet or must be alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"SCENE": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        for name in ("bin", "meet", "alone", "arrived"):
            (folder / name).mkdir()
        for name in PROGRAMS:
            shutil.copy(HERE / "tool.sh", folder / "bin" / name)
            (folder / "bin" / name).chmod(0o755)
        repository = folder / "svn"
        subprocess.run(["svnadmin", "create", repository], check=True)
        (folder / "tree").mkdir()
        (folder / "tree" / "README").write_text("The project.\n")
        words = ["svn", "import", "--quiet", "--non-interactive", "-m", "one", folder / "tree", self.address]
        subprocess.run(words, check=True, capture_output=True)

    @property
    def address(self) -> str:
        """The repository's trunk."""
        return f"{(self.folder / 'svn').as_uri()}/Trunk"

    def config(self, example: str, workers: tuple[str, ...], builders: tuple[str, ...]) -> str:
        """A whole configuration."""
        names = f"WORKERS = {list(workers)}\nBUILDERS = {list(builders)}\n"
        return names + PRELUDE + example.replace("http://example.org/svn/Trunk", self.address)

    def meet(self, **jobs: int) -> None:
        """So many of a job run at once, or it fails. `any_all` is `any.all`."""
        for job, count in jobs.items():
            (self.folder / "meet" / _job(job)).write_text(f"{count}\n")

    def alone(self, **jobs: str) -> None:
        """A job uses things that one alone may use."""
        for job, things in jobs.items():
            (self.folder / "alone" / _job(job)).write_text(f"{things}\n")

    def check(self) -> None:
        """Nobody complained."""
        faults = self.folder / "faults"
        assert not faults.exists(), faults.read_text()


def _job(word: str) -> str:
    worker, _, job = word.partition("__")
    return f"{worker}.{job}".replace("_", "-")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Repository and programs."""
    (tmp_path / "place").mkdir()
    return Place(tmp_path / "place")


def force(scene: Scene, *builders: str) -> list[int]:
    """Ask for a build of each, with the force scheduler."""
    for name in builders:
        builderid = scene.all("builders", f"builders/{name}")[0]["builderid"]
        scene.call("forceschedulers/force", "force", builderid=builderid)
    return [fact.brid for fact in scene.facts.of("RequestAdded")]


def test_2005_one_example_tests_share_a_database(stage: Stage, place: Place) -> None:
    """'The `Lock' prevents more than one of these builds from happening at the same time' (their test steps)."""
    workers, builders = ("bot-1", "bot-2", "bot-3"), ("full1", "full2", "full3")
    place.meet(any__all=3)
    place.alone(any__test="database")
    scene = stage(place.config(seed_texts.examples_2005()[0], workers, builders), *workers, prelude="", env=place.env)
    assert set(scene.ended(*force(scene, *builders))) == {Result.SUCCESS}
    place.check()
    assert len(check_lock(scene.facts, "database", 1)) == 3
    assert len(scene.facts.steps("make test")) == 3
    assert apart(scene.facts.steps("make test"))
    assert most_at_once(scene.facts.steps("make all")) == 3
    assert scene.facts.holds("database")[0].fact.alternative.accesses[0].mode == "counting"


def test_2005_two_builds_share_a_slow_slave(stage: Stage, place: Place) -> None:
    """'we want to prevent the builds from all happening at the same time', checkouts too."""
    builders = ("p22", "p23", "p24")
    place.alone(any__setup="cpu", any__trial="cpu")
    scene = stage(place.config(seed_texts.examples_2005()[1], ("bot-1",), builders), "bot-1", prelude="", env=place.env)
    assert set(scene.ended(*force(scene, *builders))) == {Result.SUCCESS}
    place.check()
    assert len(check_lock(scene.facts, "cpu on bot-1", 1)) == 3
    builds = scene.facts.builds(*builders)
    assert len(builds) == 3
    assert apart(builds)
    assert apart(scene.facts.commands())
    for span in builds:
        version = span.fact.builder.replace("p2", "python2.")
        trial = [s.fact.name for s in scene.facts.steps("trial") if s.fact.buildid == span.fact.buildid]
        assert trial
        assert scene.output(span.fact.buildid, "trial").startswith(f"{version} ")


def test_2005_three_both_constraints_at_once(stage: Stage, place: Place) -> None:
    """The slow bot runs one `make` at a time; the fast one as many as it likes; the database tests are alone."""
    workers, builders = ("bot-slow", "bot-fast"), ("full1", "full2", "full3", "full4")
    place.meet(any__all=3, any__test=3)
    place.alone(any__db_test="database", bot_slow__all="cpu", bot_slow__test="cpu", bot_slow__db_test="cpu")
    scene = stage(place.config(seed_texts.examples_2005()[2], workers, builders), *workers, prelude="", env=place.env)
    assert set(scene.ended(*force(scene, *builders))) == {Result.SUCCESS}
    place.check()
    facts, slow, fast = scene.facts, ("full1", "full2"), ("full3", "full4")
    assert len(check_lock(facts, "database", 1)) == 4
    assert len(check_lock(facts, "cpu on bot-slow", 1)) == 6
    assert not facts.holds("cpu on bot-fast")
    assert apart(facts.steps("make db-test"))
    made = [span for job in ("all", "test", "db-test") for span in facts.steps(f"make {job}", *slow)]
    assert len(made) == 6
    assert apart(made)
    for job in ("make all", "make test"):
        assert most_at_once(facts.steps(job, *fast)) == 2
        assert any(a.meets(b) for a in facts.steps(job, *fast) for b in facts.steps(job, *slow))
    assert {span.fact.worker for span in facts.builds(*slow)} == {"bot-slow"}
    both = [span for span in facts.holds("database") if len(span.fact.alternative.accesses) == 2]
    assert len(both) == 2


def test_today_tests_alone_and_so_many_builds_on_each_worker(stage: Stage, place: Place) -> None:
    """'at most 3 concurrent builds at a fast worker, 2 at a slightly older worker, and 1 at all other workers'."""
    workers = ("fast", "new", "old", "other")
    builders = tuple(f"full{number}" + more for number in (1, 2, 3, 4) for more in ("", "-1", "-2", "-3"))
    place.meet(any__all=4, fast__all=3, new__all=2)
    place.alone(any__test="database")
    example = seed_texts.example_of_today() + MORE_BUILDERS
    scene = stage(place.config(example, workers, builders), *workers, prelude="", env=place.env)
    assert set(scene.ended(*force(scene, *builders))) == {Result.SUCCESS}
    place.check()
    for worker, limit in (("fast", 3), ("new", 2), ("old", 1), ("other", 1)):
        held = check_lock(scene.facts, f"worker_builds on {worker}", limit)
        assert len(held) == 4
        assert most_at_once(held) == limit
        builds = [span for span in scene.facts.builds() if span.fact.worker == worker]
        assert most_at_once(builds) == limit
    assert len(check_lock(scene.facts, "database", 1)) == 16
    assert apart(scene.facts.steps("make test"))
    assert most_at_once(scene.facts.steps("make all")) >= 4


def test_today_as_it_stands(stage: Stage, place: Place) -> None:
    """The example without more builders: four workers at once, one build of a builder at a time."""
    workers, builders = ("fast", "new", "old", "other"), ("full1", "full2", "full3", "full4")
    place.meet(any__all=4)
    place.alone(any__test="database")
    example = seed_texts.example_of_today()
    scene = stage(place.config(example, workers, builders), *workers, prelude="", env=place.env)
    assert set(scene.ended(*force(scene, *builders))) == {Result.SUCCESS}
    place.check()
    assert len(check_lock(scene.facts, "database", 1)) == 4
    assert apart(scene.facts.steps("make test"))
    assert most_at_once(scene.facts.steps("make all")) == 4
    assert [a.mode for span in scene.facts.holds("database") for a in span.accesses] == ["exclusive"] * 4
