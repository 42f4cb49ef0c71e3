"""The configurations in the texts of 2005 and of today load, and their builds and steps need what the texts say."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockstep.compat import names
from lockstep.config.config import Config
from lockstep.config.locks import accesses_for

sys.path.insert(0, str(Path(__file__).parent))
import seed_texts

pytestmark = [
    pytest.mark.skipif(not seed_texts.SEEDS.is_dir(), reason="the texts are not here"),
    pytest.mark.skipif(not {"SVN", "Trial"} <= set(names.there("steps")), reason="the vocabulary is not complete"),
]
Load = Callable[..., Config]
PRELUDE = """\
from buildbot.plugins import worker
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker(name, "secret") for name in %r]
"""


def build_locks(config: Config) -> dict[str, dict[str, list[str]]]:
    """Builder to worker to the locks of a build, less slot and build directory."""
    return {
        builder.name: {
            one.worker: [f"{a.lock} {a.mode}" for a in one.accesses[2:]] for one in builder.need.alternatives
        }
        for builder in config.setup().builders
        if builder.need is not None
    }


def step_locks(config: Config, builder: str, worker: str) -> list[list[str]]:
    """The locks of each step of a builder, on a worker."""
    steps = config.builders[builder].factory.newSteps()
    return [[f"{a.lock} {a.mode}" for a in accesses_for(worker, step.locks)] for step in steps]


def test_2005_a_database_for_the_tests_of_all(load: Load) -> None:
    config = load(seed_texts.examples_2005()[0], PRELUDE % ["bot-1", "bot-2", "bot-3"])
    assert build_locks(config) == {"full1": {"bot-1": []}, "full2": {"bot-2": []}, "full3": {"bot-3": []}}
    assert step_locks(config, "full2", "bot-2") == [[], [], ["database counting"]]


def test_2005_one_build_at_a_time_on_a_slow_slave(load: Load) -> None:
    config = load(seed_texts.examples_2005()[1], PRELUDE % ["bot-1", "bot-2"])
    slow = {"bot-1": ["cpu on bot-1 counting"]}
    assert build_locks(config) == {"p22": slow, "p23": slow, "p24": slow}
    assert {str(one.key): one.limit for one in config.setup().locks if one.key.kind == "worker"} == {
        "cpu on bot-1": 1,
        "cpu on bot-2": 1,
    }
    assert len(step_locks(config, "p22", "bot-1")) == 3


def test_2005_two_locks_at_once(load: Load) -> None:
    config = load(seed_texts.examples_2005()[2], PRELUDE % ["bot-slow", "bot-fast"])
    cpu, database = "cpu on bot-slow counting", "database counting"
    assert step_locks(config, "full1", "bot-slow") == [[], [cpu], [cpu], [database, cpu]]
    assert step_locks(config, "full4", "bot-fast") == [[], [], [], [database]]


def test_today_master_lock_for_a_step_and_worker_lock_for_builds(load: Load) -> None:
    config = load(seed_texts.example_of_today(), PRELUDE % ["fast", "new", "old", "other"])
    assert build_locks(config) == {
        f"full{number}": {name: [f"worker_builds on {name} counting"]}
        for number, name in enumerate(["fast", "new", "old", "other"], 1)
    }
    assert step_locks(config, "full3", "old") == [[], [], ["database exclusive"]]
    limits = {str(one.key): one.limit for one in config.setup().locks if one.key.kind in ("worker", "master")}
    assert limits == {
        "database": 1,
        "worker_builds on fast": 3,
        "worker_builds on new": 2,
        "worker_builds on old": 1,
        "worker_builds on other": 1,
    }
