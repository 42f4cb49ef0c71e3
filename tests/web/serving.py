"""A whole server for the tests of the web: real store, real agents, a configuration whose builds wait for files.

`Running` starts it in a thread of its own and asks it over HTTP. Waiting is done by facts, never by the clock.
"""

import asyncio
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from lockstep.master.server import Server

FARM = Path(__file__).with_name("farm.cfg")
PATIENCE = 120.0
"""Seconds until a test gives up."""


class Running:
    """A server in a thread. `http` asks it; its folder has the files that builds wait for."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", token: str = "") -> None:
        self.folder = folder
        self.file = folder / "master.cfg"
        shutil.copy(FARM, self.file)
        self._host = host
        self._token = token
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.error = error
            self._ready.set()
            raise

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._start()
        self._ready.set()
        await self._over.wait()

    async def _start(self) -> None:
        basedir = self.folder / "base"
        basedir.mkdir(exist_ok=True)
        self.server = Server(str(self.file), str(basedir), host=self._host, port=0)
        await self.server.start()
        self.server.token = self._token

    def start(self) -> None:
        """Start it, and wait until its workers are there."""
        self._thread.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.http = self.client()
        self.until("WorkerUp", worker="w1")
        self.until("WorkerUp", worker="w2")

    def client(self, headers: Mapping[str, str] | None = None) -> httpx.Client:
        """Somebody who asks it."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE, headers=headers)

    def stop(self) -> None:
        """Stop it, with its workers."""
        self.http.close()
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(PATIENCE)
        self.server.local.stop()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    def tell_to_stop(self) -> None:
        """What SIGTERM does first."""
        self._loop.call_soon_threadsafe(self.server.stopped.set)

    # --- asking

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """What `/api/v2/PATH` says."""
        response = self.http.get(f"/api/v2/{path}", params=query or None)
        assert response.status_code == status, response.text
        return response.json()

    def one(self, path: str, **query: Any) -> Any:
        """The only thing at a path."""
        answer = self.get(path, **query)
        (kind,) = set(answer) - {"meta"}
        (item,) = answer[kind]
        return item

    def call(self, path: str, method: str, status: int = 200, **params: Any) -> Any:
        """A JSON-RPC call's result, or its error."""
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        response = self.http.post(f"/api/v2/{path}", json=body)
        assert response.status_code == status, response.text
        answer = response.json()
        assert answer["id"] == 7
        return answer["result"] if status == 200 else answer["error"]["message"]

    def force(self, builder: str, **params: Any) -> int:
        """Ask for a build; returns the request's id."""
        _, brids = self.call(f"builders/{builder}", "force", **params)
        (brid,) = brids.values()
        return int(brid)

    def open_gate(self, name: str) -> None:
        """Let the builds that wait for this file end."""
        (self.folder / name).touch()

    def close_gate(self, name: str) -> None:
        """Let builds wait for it again."""
        (self.folder / name).unlink(missing_ok=True)

    def until(self, kind: str, **fields: Any) -> Any:
        """The first fact of this kind with these fields, from the beginning of time; waits for it."""
        with self.http.stream("GET", "/api/v2/events", params={"kinds": kind, "after": 0}) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    data = msgspec.json.decode(line[6:])
                    if all(data["fact"].get(name) == value for name, value in fields.items()):
                        return data["fact"]
        raise AssertionError(f"the events ended before {kind} {fields}")

    def built(self, brid: int) -> Any:
        """The build of a request, once it has ended."""
        started = self.until("BuildStarted", brid=brid)
        self.until("BuildEnded", buildid=started["buildid"])
        return self.one(f"builds/{started['buildid']}")

    def all_ended(self) -> None:
        """Wait until no request waits and no build runs."""
        for request in self.get("buildrequests", complete="no")["buildrequests"]:
            self.until("RequestEnded", brid=request["buildrequestid"])


@contextmanager
def running(folder: Path, **how: Any) -> Iterator[Running]:
    """A running server; it is stopped at the end."""
    server = Running(folder, **how)
    server.start()
    try:
        yield server
    finally:
        server.stop()
