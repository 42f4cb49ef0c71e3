"""Real agents in processes of their own, and a network between them and the server that can be cut."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
DEADLINE = 180.0
"""Seconds after which a condition is given up: no measure of speed, for machines may be slow and stand still."""
PROGRAM = Path(sys.executable).with_name("lockstep")


class Agent:
    """A `lockstep worker`."""

    def __init__(self, name: str, folder: Path, url: str, lease: float, env: dict[str, str]) -> None:
        self.name = name
        self.basedir = folder / name
        self.log = folder / f"{name}.log"
        words = [str(PROGRAM), "worker", "--url", url, "--name", name, "--password-file", str(folder / "password")]
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [*words, "--basedir", str(self.basedir), "--lease", f"{lease:g}"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self) -> int:
        """The agent's own process id (the one that was started is its guardian)."""
        return int((self.basedir / ".lockstep" / "lock").read_text())

    def serves(self) -> bool:
        """Whether it has begun: its folder's lock is its own, not that of one before."""
        try:
            status = Path("/proc", str(self.pid()), "status").read_text()
        except (OSError, ValueError):
            return False
        return f"PPid:\t{self.popen.pid}\n" in status

    def kill(self) -> None:
        """`kill -9` for the agent; its guardian ends what it ran, and itself."""
        os.kill(self.pid(), signal.SIGKILL)
        self.popen.wait(DEADLINE)

    def pause(self) -> None:
        """The whole agent stands still, as under a heavy load."""
        os.killpg(self.popen.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        os.killpg(self.popen.pid, signal.SIGCONT)

    def end(self) -> None:
        """Ask it to end, also if it stands still."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            self.resume()

    def ended(self) -> int:
        """Wait for its end."""
        try:
            return self.popen.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            return self.popen.wait(DEADLINE)


class BuildbotWorker:
    """An unmodified `buildbot-worker`. `programs` is the folder that it is installed in."""

    def __init__(self, programs: Path, name: str, folder: Path, port: int) -> None:
        self.name = name
        self.basedir = folder / name
        made = [programs / "buildbot-worker", "create-worker", "--protocol=msgpack_experimental_v7"]
        subprocess.run([*made, self.basedir, f"127.0.0.1:{port}", name, "secret"], check=True, capture_output=True)
        self.log = self.basedir / "twistd.log"
        self.log.touch()
        self.popen = subprocess.Popen(
            [programs.absolute() / "twistd", "-noy", "buildbot.tac"],
            cwd=self.basedir,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Ask it to end."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Wait for its end."""
        return self.popen.wait(DEADLINE)


class Cable:
    """A TCP proxy to a port of this machine, whose connections can be cut or fall silent in one direction.

    Directions are "up" (to the port) and "down". What is said to a silent one is lost, ends of connections too, or it
    is late: it arrives when the cable is mended.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._spoiled: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._losing: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._sound = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()
        self._server = self._run(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, onward}
        for direction, source, sink in (("up", reader, onward), ("down", there, writer)):
            task = asyncio.ensure_future(self._copy(direction, source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, direction: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if direction in self._losing:
                    self._spoiled.add(sink)
                    continue
                await self._sound[direction].wait()
                sink.write(self._heard(data))
                await sink.drain()
        except OSError:
            pass
        finally:
            await self._sound[direction].wait()
            sink.close()
            self._writers.discard(sink)

    def _heard(self, data: bytes) -> bytes:
        """What is passed on of it."""
        return data

    def cut(self) -> None:
        """Break all connections; new ones break at once."""

        async def inside() -> None:
            self._cut = True
            self._break(self._writers)

        self._run(inside())

    def silence(self, *directions: str, late: bool = False) -> None:
        """Nothing arrives in these directions any more, or late."""

        async def inside() -> None:
            for direction in directions:
                self._sound[direction].clear()
                if not late:
                    self._losing.add(direction)

        self._run(inside())

    def mend(self) -> None:
        """New connections are possible again, and what is late arrives. A connection that has lost bytes breaks."""

        async def inside() -> None:
            self._cut = False
            self._losing.clear()
            self._break(self._spoiled)
            self._spoiled.clear()
            for event in self._sound.values():
                event.set()

        self._run(inside())

    def _break(self, writers: Iterable[asyncio.StreamWriter]) -> None:
        for writer in list(writers):
            writer.transport.abort()

    def close(self) -> None:
        """The end."""
        self.mend()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()


class LossyCable(Cable):
    """A cable that breaks when the first answer to a question with this text comes: it is heard, and nobody knows."""

    def __init__(self, port: int, text: bytes) -> None:
        super().__init__(port)
        self._text = text
        self.lost = 0

    def _heard(self, data: bytes) -> bytes:
        if self._text and self._text in data:
            self._text = b""
            self.lost = 1
        elif self.lost == 1 and data.startswith(b"HTTP/"):
            self.lost = 2
            self._break(self._writers)
        return data
