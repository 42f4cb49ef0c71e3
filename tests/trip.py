"""One build followed through a live server: which of Lockstep's functions are called, what is stored, how often.

`test_trip.py` counts what this records. `python -m tests.trip` shows it.
"""

import asyncio
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lockstep
from lockstep.core import events as e
from lockstep.core.values import RequestWish, SourceStamp, Submission
from lockstep.master.server import Server
from lockstep.protocol.master_session import MasterSession
from lockstep.storage.store import Store

PACKAGE = str(Path(lockstep.__file__).parent) + os.sep
PATIENCE = 300.0
"""Seconds until a test gives up."""
TRIPS = 5

TIDYING = (
    ("storage/store.py", "Store.tidy"),
    ("storage/store.py", "Store._delete_slice"),
    ("storage/writer.py", "Writer._take"),
    ("storage/writer.py", "Writer._tidy"),
)
"""What the store's thread does after the trip before, if it gets to it at all."""

CONFIG = """
from lockstep.plugins import schedulers, steps, util, worker

c = BuildmasterConfig = {}
c["workers"] = [worker.Worker("w", "secret")]
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
c["builders"] = [util.BuilderConfig(name="b", workernames=["w"], factory=factory)]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["b"])]
"""


class Trip:
    """What one build does: from its event to its command (`recording`), and to its end (`following`).

    Attributes:
        functions: (file, name) of each function of Lockstep's, and how often it was entered.
        statements: of all commits up to the command that was sent.
        commits: the kinds of facts in each commit, up to the build's end.
    """

    def __init__(self) -> None:
        self.functions: Counter[tuple[str, str]] = Counter()
        self.statements = 0
        self.commits: list[list[str]] = []
        self.recording = False
        self.following = False

    def forget(self) -> None:
        """Begin anew."""
        self.functions.clear()
        self.commits.clear()
        self.statements = 0

    def copy(self) -> "Trip":
        """What it has recorded, for itself."""
        other = Trip()
        other.functions, other.statements, other.commits = self.functions.copy(), self.statements, self.commits.copy()
        return other

    @property
    def files(self) -> set[str]:
        """The files in which those functions are."""
        return {file for file, _ in self.functions}

    def watch(self, frame: FrameType, event: str, _arg: Any) -> None:
        """For `sys.setprofile`: a function was entered or left, or a coroutine goes on or waits."""
        if not self.following:
            return
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and self.recording:
            if code.co_name[0] != "<":
                self.functions[code.co_filename.removeprefix(PACKAGE), code.co_qualname] += 1
            if code is MasterSession.start.__code__:
                self.recording = False
        elif event == "return" and code is Store.append.__code__:
            if self.recording:
                self.statements += frame.f_locals["self"].statements
            facts = [type(each.fact).__name__ for batch in frame.f_locals["batches"] for each in batch.facts]
            self.commits.append(facts)

    def __repr__(self) -> str:
        lines = [f"{file:30} {name} ({count})" for (file, name), count in sorted(self.functions.items())]
        lines += [f"commit {number}: {', '.join(facts)}" for number, facts in enumerate(self.commits, 1)]
        counts = f"{len(self.functions)} functions in {len(self.files)} files, {self.statements} statements"
        return "\n".join([*lines, f"{counts} up to the command; {len(self.commits)} commits"])


class Followed:
    """A server whose builds are followed, one at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.heard = asyncio.Event()
        server.loop.listeners.append(lambda facts: self.heard.set())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what facts bring about."""
        while not condition():
            self.heard.clear()
            await self.heard.wait()

    async def build(self, trip: Trip) -> None:
        """Ask for a build, and wait until it has ended and is stored."""
        loop = self.server.loop
        wish = Submission(requests=(RequestWish(builder="b"),), reason="a trip", sourcestamps=(SourceStamp(),))
        trip.following = trip.recording = True
        await loop.ask(e.Submitted(submission=wish))
        await self.until(lambda: not loop.state.builds)
        await loop.settle()
        trip.following = False


async def _follow(folder: Path, watched: Trip, trips: list[Trip]) -> None:
    (folder / "master.cfg").write_text(CONFIG)
    server = Server(str(folder / "master.cfg"), str(folder), port=0)
    await server.start()
    followed = Followed(server)
    words = ["-m", "lockstep.worker", "--url", f"ws://127.0.0.1:{server.port}/", "--name", "w", "--password-file", "-"]
    agent = await asyncio.create_subprocess_exec(
        sys.executable, *words, "--basedir", str(folder / "w"), stdin=asyncio.subprocess.PIPE
    )
    try:
        assert agent.stdin is not None
        agent.stdin.write(b"secret\n")
        await followed.until(lambda: server.loop.state.workers["w"].state == "connected")
        for _ in range(1 + TRIPS):
            watched.forget()
            await followed.build(watched)
            trips.append(watched.copy())
    finally:
        agent.terminate()
        await agent.wait()
        await server.stop()


def follow(folder: Path) -> Trip:
    """Run a server and an agent in a folder, follow some builds, and give what all of them have done.

    The first is left out: what is done once, such as compiling a statement, is no part of a trip. A function that only
    some of them enter is none either: it answers a sign of life, or tidies up.
    """
    watched = Trip()
    trips: list[Trip] = []
    threading.setprofile(watched.watch)
    sys.setprofile(watched.watch)
    try:
        asyncio.run(asyncio.wait_for(_follow(folder, watched, trips), PATIENCE))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    usual = min(trips[1:], key=lambda trip: (len(trip.commits), trip.statements))
    for trip in trips[1:]:
        usual.functions &= trip.functions
    for function in TIDYING:
        del usual.functions[function]
    return usual


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(follow(Path(place)))
