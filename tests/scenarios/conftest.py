"""Fixtures of the scenarios: whole server processes with real agents. What they are made of is in `scene.py`."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene import Scene


def _fixture_of(file: str, name: str) -> Any:
    """A fixture that other tests have: the one that installs `buildbot-worker` once."""
    path = Path(__file__).parents[1] / file
    spec = importlib.util.spec_from_file_location(f"scenarios_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


buildbot_worker = _fixture_of("worker/test_buildbot_worker.py", "buildbot_worker")


def _stage(folder: Callable[[], Path]) -> Iterator[Callable[..., Scene]]:
    with ExitStack() as stack:

        def make(config: str, *workers: str, kind: type[Scene] = Scene, **options: Any) -> Scene:
            scene = kind(folder(), config, **options)
            stack.callback(scene.close)
            scene.start()
            for name in workers:
                scene.agent(name, wait=False)
            for name in workers:
                scene.fact("WorkerUp", worker=name)
            return scene

        yield make


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """`stage(config, *workers)`: a running server with these agents connected, ended with the test."""
    count = iter(range(1000))
    yield from _stage(lambda: tmp_path / f"server{next(count)}")


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Scene]]:
    """The same for a server that the tests of a file share."""
    yield from _stage(lambda: tmp_path_factory.mktemp("server"))
