"""One server for all tests of the web that do not change its configuration."""

from collections.abc import Iterator

import pytest

from .serving import Running, running


@pytest.fixture(scope="session")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running server, whose first build is one of `hello`, whichever test comes first."""
    with running(tmp_path_factory.mktemp("ci")) as server:
        server.built(server.force("hello", branch="main"))
        yield server
