"""Fixtures of the scenarios: whole server processes with real agents. What they are made of is in `scene.py`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene import Scene
from scene_agents import Cable


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


@pytest.fixture
def cables() -> Iterator[Callable[[int], Cable]]:
    """Cables to a port, closed with the test."""
    made: list[Cable] = []

    def make(port: int) -> Cable:
        made.append(Cable(port))
        return made[-1]

    yield make
    for cable in made:
        cable.close()
