"""Lines that have not ended: how often they are stored, what of a secret is, and that nothing of them is lost."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import PRELUDE, Client, at_work, serving, until

from lockstep.master.limits import REST_SMALL
from lockstep.master.masks import Masks
from lockstep.master.server import Server
from lockstep.protocol.messages import Ack, Ended, Known, Output
from lockstep.storage import codec

CONFIG = """
from buildbot.secrets.providers.base import SecretProviderBase
class Kept(SecretProviderBase):
    async def get(self, name):
        return 'swordfish'
c['secretsProviders'] = [Kept()]
c['builders'] = [build('one', steps.ShellCommand(command=['show', util.Secret('word')]))]
"""


def tails(folder: Path) -> dict[str, bytes]:
    """What the store has of unfinished lines."""
    with sqlite3.connect(folder / "base" / "lockstep.sqlite") as store:
        (found,) = store.execute("SELECT tails FROM calls WHERE tails IS NOT NULL").fetchone()
    kept: dict[str, bytes] = codec.tails_of(found)
    return kept


async def log_of(server: Server) -> str:
    """The log of the build when it has ended."""
    await until(lambda: [b for b in server.reads.page("builds").items if b["complete"]], "the build's end")
    return str(server.reads.log_contents(1)["content"])


async def says(server: Server, client: Client, command: str, at: int, data: bytes) -> int:
    """Say something, and wait until the server has taken it, and stored what it stores of it. Returns where it ends."""
    client.say(Output(command, at, "stdout", data))
    end = at + len(data)
    await until(lambda: server.agents.outputs.at("w1")[command] == end, "it to be taken")
    await server.loop.settle()
    return end


@pytest.mark.parametrize("by", ["restart", "connection"])
def test_a_line_that_grows_for_long_is_not_stored_at_each_step(tmp_path: Path, by: str) -> None:
    """What is not stored of it comes again, from whoever has it."""
    pieces = [b"\r%03d%%" % number * 200 for number in range(100)]
    whole = b"".join(pieces)

    async def life() -> None:
        async with serving(tmp_path, CONFIG) as server:
            client, command = await at_work(server, "one")
            at = 0
            for piece in pieces:
                at = await says(server, client, command, at, piece)
            assert 3 <= len({ack.offset for ack in client.told(Ack)}) <= 10
            if by == "connection":
                second = Client(server)
                second.hello(Known(command, "running", at))
                assert (await second.welcomed()).stored == {command: at}
                second.say(Output(command, at, "stdout", b"\n"), Ended(command, at + 1, 0))
                assert whole.decode() in await log_of(server)
                return
        server = Server(str(tmp_path / "master.cfg"), str(tmp_path / "base"), port=0)
        await server.start()
        client = Client(server)
        client.hello(Known(command, "running", at))
        stored = (await client.welcomed()).stored[command]
        assert REST_SMALL < stored <= at
        client.say(Output(command, stored, "stdout", whole[stored:] + b"\n"), Ended(command, at + 1, 0))
        assert whole.decode() in await log_of(server)
        await server.stop()
        await client.close()

    asyncio.run(life())


def test_the_beginning_of_a_secret_is_not_stored(tmp_path: Path) -> None:
    """What follows may be the rest of it, also after a restart."""
    (tmp_path / "master.cfg").write_text(PRELUDE + CONFIG)

    async def life() -> None:
        async with serving(tmp_path, CONFIG) as server:
            client, command = await at_work(server, "one")
            at = await says(server, client, command, 0, b"it is sword")
            await until(lambda: [ack for ack in client.told(Ack) if ack.offset == at], "that")
        assert b"it is " in tails(tmp_path).values()
        assert not any(b"sw" in rest for rest in tails(tmp_path).values())
        server = Server(str(tmp_path / "master.cfg"), str(tmp_path / "base"), port=0)
        await server.start()
        client = Client(server)
        client.hello(Known(command, "running", at))
        assert (await client.welcomed()).stored == {command: at}
        data = b"fish, no swordplay\n"
        client.say(Output(command, at, "stdout", data), Ended(command, at + len(data), 0))
        assert "it is <word>, no swordplay" in await log_of(server)
        await server.stop()
        await client.close()

    asyncio.run(life())


@pytest.mark.parametrize(
    ("rest", "stored", "again"),
    [
        (b"plain", b"plain", b""),
        (b"x abcde", b"x ", b"abcde"),
        (b"x abc", b"x ", b"abc"),  # of the two secrets that begin so, the longer may still come
        (b"x abcdef", b"x <long>", b""),
        (b"abca", b"<short>", b"a"),
        (b"ccab", b"cc", b"ab"),
        (b"line of", b"", b"line of"),
        (b"line one", b"", b"line one"),
    ],
)
def test_what_is_stored_of_a_rest(rest: bytes, stored: bytes, again: bytes) -> None:
    masks = Masks({"long": "abcdef", "short": "abc", "two": "line one\nline of two"})
    hidden, begun = masks.split(rest)
    assert (hidden, masks.begun(begun) if begun else b"") == (stored, again)
    if begun:
        assert Masks({}).begun(begun) == b"", "nobody knows it any more"
