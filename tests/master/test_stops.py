"""User code that gets in the way: of a stop, of its own preparation, of the schedulers beside it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import Client, force, serving, until

from lockstep.core import events as e
from lockstep.core.nouns import Result
from lockstep.master import house, step_run
from lockstep.master.server import Server

STUBBORN = """
    import asyncio
    from buildbot.process.buildstep import BuildStep
    held = util.MasterLock('held')
    tries = []

    class Stubborn(BuildStep):
        async def run(self):
            while len(tries) < %(patience)s:
                try:
                    await (%(wait)s)
                except %(what)s:
                    tries.append('cancelled')
            await self.setProperty('tries', len(tries))
            return util.SUCCESS

    c['builders'] = [util.BuilderConfig(name='one', workernames=['w1'], locks=[held.access('exclusive')],
                                        factory=util.BuildFactory([Stubborn()])), build('two')]
"""

WAITS = ["self.sleep(1000)", "asyncio.sleep(1000) if tries else self.sleep(1000)"]
"""Through a door of the step, which may refuse, and past all doors."""


def played(folder: Path, config: str, play: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    """Run a server with this configuration, and play with it."""

    async def scene() -> None:
        async with serving(folder, config) as server:
            client = Client(server)
            client.hello()
            await client.welcomed()
            await play(server)

    asyncio.run(scene())


def ended(server: Server) -> list[dict[str, Any]]:
    """The builds that are complete."""
    return [build for build in server.reads.page("builds").items if build["complete"]]


async def stopped(server: Server) -> dict[str, Any]:
    """Stop the first build while its step sleeps, and wait for its end."""
    await force(server, "one")
    await until(lambda: [s for s in server.reads.page("steps").items if s["started_at"]], "the step")
    await until(lambda: server.house._timers, "its sleep")
    await server.loop.ask(e.StopAsked(buildid=1, reason="enough", who="me"))
    return (await until(lambda: ended(server), "the build's end"))[0]


@pytest.mark.parametrize("patience", [2, 4])
def test_code_that_swallows_a_cancel_is_cancelled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    monkeypatch.setattr(step_run, "STOP_GRACE", 0.05)

    async def play(server: Server) -> None:
        build = await stopped(server)
        assert build["results"] == Result.CANCELLED
        assert "swallows" not in build["state_string"]
        assert server.reads.page("steps").items[0]["results"] == Result.CANCELLED

    played(tmp_path, STUBBORN % {"patience": patience, "what": "asyncio.CancelledError", "wait": WAITS[1]}, play)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("what", ["asyncio.CancelledError", "BaseException"])
def test_code_that_swallows_every_cancel_loses_its_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, wait: str
) -> None:
    """The lock is free again, the server answers and can be stopped, and the message says what is wrong."""
    monkeypatch.setattr(step_run, "STOP_GRACE", 0.05)
    monkeypatch.setattr(house, "CLOSE_PATIENCE", 0.05)

    async def play(server: Server) -> None:
        build = await stopped(server)
        assert build["results"] == Result.CANCELLED
        assert "enough (by me)" in build["state_string"]
        assert "swallows every asyncio.CancelledError" in build["state_string"]
        await force(server, "two")
        await until(lambda: len(ended(server)) == 2, "the next build")
        assert not server.loop.state.allocator.holds

    played(tmp_path, STUBBORN % {"patience": "1e9", "what": what, "wait": wait}, play)


def test_a_stop_does_not_prepare_a_step_twice(tmp_path: Path) -> None:
    """One that always runs and is being prepared when the stop comes."""
    config = """
        import asyncio
        asked, go = [], asyncio.Event()
        async def slowly(step):
            asked.append(step)
            await go.wait()
            return True
        def asks(): return asked, go
        c['properties'] = {}
        c['builders'] = [build('one', steps.MasterShellCommand(command=['true'], alwaysRun=True, doStepIf=slowly))]
        util.asked = asked; util.go = go
    """

    async def play(server: Server) -> None:
        from lockstep.plugins import util

        await force(server, "one")
        await until(lambda: util.asked, "the question")
        await server.loop.ask(e.StopAsked(buildid=1, reason="enough", who="me"))
        await server.loop.settle()
        util.go.set()
        await until(lambda: ended(server), "the build's end")
        assert len(util.asked) == 1

    played(tmp_path, config, play)


def test_a_scheduler_that_does_not_start_stops_no_other(tmp_path: Path) -> None:
    """Neither at the start nor at a reload, which names it."""
    config = """
        class Broken(schedulers.Periodic):
            def start(self, memory, now):
                raise ValueError('no idea')
        c['builders'] = [build('one'), build('two')]
        c['schedulers'] = [Broken('broken', builderNames=['one'], periodicBuildTimer=1000),
                           schedulers.Periodic('good', builderNames=['two'], periodicBuildTimer=1000)]
    """

    async def play(server: Server) -> None:
        assert (await until(lambda: ended(server), "the build"))[0]["builderid"] == 2
        (told,) = await server.reload()
        assert "broken" in told
        assert "no idea" in told
        await force(server, "one")
        await until(lambda: len(ended(server)) == 2, "a build afterwards")

    played(tmp_path, config, play)
