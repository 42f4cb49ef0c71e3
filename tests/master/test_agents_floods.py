"""Workers that ask for more than they read, and that come more than once: they harm themselves alone."""

import asyncio
import base64
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import Client, serving, until

from lockstep.master.limits import MAX_NEWCOMERS, MAX_UNSENT
from lockstep.master.server import Server
from lockstep.protocol.messages import Welcome

CONFIG = "c['workers'] += [worker.Worker('w2', 'secret')]\nc['builders'] = [build('b')]"
ASKED = 1000


class Deaf:
    """A `buildbot-worker` that asks for many answers, and reads none until `reads` is set."""

    def __init__(self, server: Server) -> None:
        self.reads = asyncio.Event()
        self.gone = False
        self.answers = 0
        self.asked: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.asked.put_nowait({"type": "websocket.connect"})
        for number in range(ASKED):
            update = {"op": "update", "seq_number": number, "command_id": "none", "args": []}
            self.asked.put_nowait({"type": "websocket.receive", "bytes": msgspec.msgpack.encode(update)})
        scope = {"headers": [(b"authorization", b"Basic " + base64.b64encode(b"w1:secret"))]}
        self.task = asyncio.ensure_future(server.agents.serve(scope, self.asked.get, self._hear))

    async def _hear(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.send":
            await self.reads.wait()
            if self.gone:
                raise OSError("it is gone")
            self.answers += 1

    async def is_not_listened_to(self) -> None:
        """Wait until that is so, and see that it stays so."""
        await until(lambda: self.asked.qsize() < ASKED, "it to be heard")
        for _ in range(100):
            await asyncio.sleep(0)
        assert self.asked.qsize() > ASKED - MAX_UNSENT - 10


def test_who_does_not_read_the_answers_is_not_listened_to_until_then(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(tmp_path, CONFIG) as server:
            deaf = Deaf(server)
            await deaf.is_not_listened_to()
            deaf.reads.set()
            await until(lambda: deaf.answers > ASKED, "all answers")
            deaf.asked.put_nowait({"type": "websocket.disconnect"})
            await deaf.task

    asyncio.run(scene())


def test_who_goes_without_reading_is_noticed(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(tmp_path, CONFIG) as server:
            deaf = Deaf(server)
            await deaf.is_not_listened_to()
            deaf.asked.put_nowait({"type": "websocket.disconnect"})
            deaf.gone = True
            deaf.reads.set()
            await deaf.task

    asyncio.run(scene())


def test_a_worker_that_comes_again_and_again_leaves_room_for_others(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(tmp_path, CONFIG) as server:
            crowd = [Client(server) for _ in range(3 * MAX_NEWCOMERS)]
            await until(lambda: sum(bool(one.refusal) for one in crowd) >= 2 * MAX_NEWCOMERS, "refusals")
            assert f"{MAX_NEWCOMERS} connections of worker 'w1' have not said yet" in crowd[-1].refusal
            other = Client(server, "w2")
            other.hello()
            await other.welcomed()
            await crowd[0].close()
            again = Client(server)
            again.hello()
            await again.welcomed()
            for _ in range(2 * MAX_NEWCOMERS):  # each takes the place of the one before
                again = Client(server)
                again.hello()
                await until(lambda: again.told(Welcome) or again.refusal, "an answer")  # noqa: B023
                assert not again.refusal

    asyncio.run(scene())
