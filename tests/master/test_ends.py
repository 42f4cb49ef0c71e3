"""The end of a server: everything that is open is closed, whatever fails, and who runs it is told once."""

import asyncio
import logging
import socket
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import Client, force, no_commits, serving, until

from lockstep.core.errors import AwayError
from lockstep.master.server import Server
from lockstep.storage.store import Store

CONFIG = "c['builders'] = [build('one')]\n"


def writers() -> set[threading.Thread]:
    """The threads that write to a store: of other tests' servers, too."""
    return {thread for thread in threading.enumerate() if thread.name == "store-writer"}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What Lockstep has said of its faults. What other tests have left behind asyncio may find just now."""
    told = [record for record in caplog.records if record.name.startswith("lockstep.")]
    return [record.getMessage() for record in told if record.levelno >= logging.ERROR]


def taken_back(folder: Path, others: set[threading.Thread]) -> None:
    """Nobody has the store any more. `others`: who wrote before."""
    Store.open("sqlite:///lockstep.sqlite", folder).close()
    assert writers() <= others


def test_what_was_decided_last_cannot_be_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = writers()

    async def life() -> None:
        async with serving(tmp_path, CONFIG) as server:
            client = Client(server)
            client.hello()
            await client.welcomed()
            await until(lambda: server.loop.state.workers["w1"].state == "connected", "the worker")
            await server.loop.settle()  # what is to be stored is the request alone
            server.store._connection.execute("PRAGMA busy_timeout = 1500")
            with no_commits(tmp_path):
                asked = asyncio.ensure_future(force(server, "one"))
                await server.stop()
            with pytest.raises(AwayError, match="another program keeps it locked"):
                await asked
            assert client.closed
            with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port or 0)):
                pass
            assert "another program keeps it locked" in server.failure

    asyncio.run(life())
    assert len(errors(caplog)) == 1
    taken_back(tmp_path / "base", others)


def test_one_part_that_cannot_be_closed_keeps_no_other_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither at the end nor after a start that failed: a recording on a full disk."""

    class Full:
        """A recorder whose file cannot be closed."""

        def __getattr__(self, name: str) -> object:
            return lambda *_args: None

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    others = writers()
    file = tmp_path / "master.cfg"
    file.write_text("from lockstep.plugins import *\nc = BuildmasterConfig = {'workers': [], 'builders': []}\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))

        async def life(port: int) -> None:
            server = Server(str(file), str(tmp_path), port=port, recorder=Full())  # type: ignore[arg-type]
            try:
                await server.start()
            except OSError:
                await server.abandon()
                raise
            await server.stop()

        asyncio.run(life(0))
        taken_back(tmp_path, others)
        with pytest.raises(OSError, match="cannot listen"):
            asyncio.run(life(taken.getsockname()[1]))
        taken_back(tmp_path, others)
    assert errors(caplog) == [
        "the recording could not be closed: [Errno 28] No space left on device",
        "the recording could not be closed: [Errno 28] No space left on device",
    ]
