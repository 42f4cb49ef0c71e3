"""Loads configurations that a test writes as text."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lockstep.compat.loading import load_config
from lockstep.config.config import Config
from lockstep.config.errors import ConfigErrors

PRELUDE = "from buildbot.plugins import *\nc = BuildmasterConfig = {}\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Write a configuration (its first two lines are the prelude's) and load it."""
    monkeypatch.chdir(tmp_path)

    def loader(text: str, prelude: str = PRELUDE) -> Config:
        path = tmp_path / "master.cfg"
        path.write_text(prelude + textwrap.dedent(text))
        return load_config(str(path))

    return loader


@pytest.fixture
def mistakes(load: Callable[..., Config]) -> Callable[..., list[str]]:
    """Load a configuration that is wrong; its mistakes as people read them, less the file's name."""

    def loader(text: str, prelude: str = PRELUDE) -> list[str]:
        with pytest.raises(ConfigErrors) as caught:
            load(text, prelude)
        return [str(one).replace("master.cfg:", "", 1) for one in caught.value.mistakes]

    return loader
