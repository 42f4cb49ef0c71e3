"""The ports: what whoever reaches them can take from others. A real server, and sockets that say nothing."""

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import serving, until

MOST = 20


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /signin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\ntoken=",
    ],
    ids=["nothing", "half"],
)
def test_who_opens_many_connections_and_asks_nothing_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("lockstep.master.listening.MAX_CONNECTIONS", MOST)

    async def scene() -> None:
        config = "c['builders'] = [build('one', steps.ShellCommand(command='true'))]"
        async with serving(tmp_path, config) as server, httpx.AsyncClient(timeout=60) as http:
            address = f"http://127.0.0.1:{server.port}"
            async with http.stream("GET", f"{address}/api/v2/events") as listening:
                strangers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
                for _ in range(3 * MOST):
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    writer.write(said)
                    strangers.append((reader, writer))
                await until(lambda: sum(not _ended(reader) for reader, _ in strangers) < MOST, "the ends of most")
                async with httpx.AsyncClient(timeout=60) as other:
                    assert (await other.get(f"{address}/api/v2/builders")).status_code == 200
                assert not listening.is_closed
                assert (await anext(listening.aiter_bytes())).startswith(b":")
            for _, writer in strangers:
                writer.close()

    asyncio.run(scene())


def _ended(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None
