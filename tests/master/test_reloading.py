"""The configuration read again while the server works: by a thread, one at a time, never before the start."""

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import PRELUDE, Client, force, serving, until

from lockstep.config.errors import ConfigErrors
from lockstep.core.errors import AwayError
from lockstep.master.server import Server
from lockstep.plugins import util

SLOW = """
c['builders'] = [build('one')]
word = util.word
util.executed.append(word)
util.began.set()
util.gate.wait(60)
if word == 'wrong':
    c['bulders'] = []
"""


@pytest.fixture(autouse=True)
def gate() -> Iterator[Any]:
    """What the configuration waits for while it is executed; open."""
    here: Any = util
    here.gate, here.began, here.executed, here.word = threading.Event(), threading.Event(), [], "right"
    here.gate.set()
    yield here
    here.gate.set()
    for name in ("gate", "began", "executed", "word"):
        delattr(here, name)


async def begun(gate: Any) -> asyncio.Future[Any]:
    """Let the configuration wait from now on; returned is what waits until it is being executed."""
    gate.gate.clear()
    gate.began.clear()
    return asyncio.ensure_future(asyncio.to_thread(gate.began.wait, 60))


def test_everything_is_served_while_a_slow_configuration_is_executed(tmp_path: Path, gate: Any) -> None:
    async def life() -> None:
        async with serving(tmp_path, SLOW) as server:
            executing = await begun(gate)
            reload = asyncio.ensure_future(server.reload())
            assert await executing
            client = Client(server)
            client.hello()
            await client.welcomed()
            await force(server, "one")
            await until(lambda: server.reads.page("builds").items, "a build")
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
                assert (await http.get("/builders")).status_code == 200
            if "twisted" not in sys.modules:  # the stand-in is the configuration's alone
                spec = importlib.util.find_spec("twisted")
                assert spec is None or spec.origin != "lockstep"
            assert not reload.done()
            gate.gate.set()
            assert await reload == []

    asyncio.run(life())


def test_who_asks_meanwhile_gets_what_is_read_after_that(tmp_path: Path, gate: Any) -> None:
    """Once, for all who have asked."""

    async def life() -> None:
        async with serving(tmp_path, SLOW) as server:
            gate.word = "first"
            executing = await begun(gate)
            first = asyncio.ensure_future(server.reload())
            assert await executing
            others = [asyncio.ensure_future(server.reload()) for _ in range(3)]
            await asyncio.sleep(0)
            gate.word = "wrong"
            gate.gate.set()
            assert await first == []
            for other in others:
                with pytest.raises(ConfigErrors, match="bulders"):
                    await other
            assert gate.executed == ["right", "first", "wrong"]
            gate.word = "again"
            assert await server.reload() == []
            assert gate.executed[3:] == ["again"]

    asyncio.run(life())


def test_a_reload_of_a_starting_server_waits_for_its_start(tmp_path: Path, gate: Any) -> None:
    (tmp_path / "master.cfg").write_text(PRELUDE + SLOW)

    async def life() -> None:
        server = Server(str(tmp_path / "master.cfg"), str(tmp_path), port=0)
        reload = asyncio.ensure_future(server.reload())
        await asyncio.sleep(0)
        await server.start()
        assert gate.executed == ["right"]
        assert await reload == []
        assert gate.executed == ["right", "right"]
        await server.stop()

    asyncio.run(life())


def test_a_server_that_stops_does_not_wait_for_a_configuration(tmp_path: Path, gate: Any) -> None:
    async def life() -> None:
        async with serving(tmp_path, SLOW) as server:
            executing = await begun(gate)
            asked = [asyncio.ensure_future(server.reload())]
            assert await executing
            asked.append(asyncio.ensure_future(server.reload()))
            await asyncio.sleep(0)
            await server.stop()
            for reload in asked:
                with pytest.raises(AwayError, match="stopping"):
                    await reload
            with pytest.raises(AwayError, match="stopping"):
                await server.reload()
            gate.gate.set()

    asyncio.run(life())
    for thread in threading.enumerate():
        if thread.name == "configuration":
            thread.join(60)
