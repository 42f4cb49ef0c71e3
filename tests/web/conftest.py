"""One server for all tests of the web that do not change its configuration."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _serving() -> Any:
    spec = importlib.util.spec_from_file_location("web_serving", Path(__file__).with_name("serving.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault("web_serving", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


serving = _serving()


@pytest.fixture(scope="session")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running server."""
    with serving.running(tmp_path_factory.mktemp("ci")) as server:
        yield server
