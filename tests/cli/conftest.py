"""One server for all tests that only ask it; each test uses builders, requests and gates of its own."""

from collections.abc import Iterator

import pytest

from .lockstep_command import Running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a local worker."""
    running = Running(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()
