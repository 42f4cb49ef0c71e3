"""Real agents in processes of their own, and a network between them and the server that can be cut."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

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
        self.popen.wait(60)

    def pause(self) -> None:
        """The whole agent stands still, as under a heavy load."""
        os.killpg(self.popen.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        os.killpg(self.popen.pid, signal.SIGCONT)

    def end(self) -> None:
        """Ask it to end."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Wait for its end."""
        try:
            return self.popen.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            return self.popen.wait(10)


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
        return self.popen.wait(30)


class Cable:
    """A TCP proxy to a port of this machine, whose connections can be cut, and made possible again."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connected, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

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
        for source, sink in ((reader, onward), (there, writer)):
            task = asyncio.ensure_future(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(self._heard(data))
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
            self._writers.discard(sink)

    def _heard(self, data: bytes) -> bytes:
        """What is passed on of it."""
        return data

    def cut(self) -> None:
        """Break all connections; new ones break at once."""

        async def inside() -> None:
            self._cut = True
            for writer in list(self._writers):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(inside(), self._loop).result(10)

    def mend(self) -> None:
        """New connections are possible again."""
        self._cut = False

    def close(self) -> None:
        """The end."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
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
            for writer in list(self._writers):
                writer.transport.abort()
        return data
