"""The timers of schedulers, in a server with a real store: what fails is asked again, what is replaced stays quiet."""

import asyncio
import time
from pathlib import Path

import pytest

from lockstep.core import facts as f
from lockstep.master import scheduling
from lockstep.master.server import Server

HEAD = """
import os
from lockstep.plugins import *
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker('w', 'secret')]
c['builders'] = [util.BuilderConfig(name='b', workernames=['w'], factory=util.BuildFactory([]))]
"""
DEADLINE = 60.0
"""Seconds after which something is given up; generous, because machines may be slow."""


async def submitted(server: Server, count: int) -> None:
    """Wait until so many requests have been stored."""
    enough, seen = asyncio.Event(), 0

    def told(facts: object) -> None:
        nonlocal seen
        seen += sum(isinstance(one.fact, f.RequestAdded) for one in facts)  # type: ignore[attr-defined]
        if seen >= count:
            enough.set()

    server.loop.listeners.append(told)
    await asyncio.wait_for(enough.wait(), DEADLINE)


async def served(folder: Path, config: str) -> Server:
    (folder / "master.cfg").write_text(HEAD + config)
    server = Server(str(folder / "master.cfg"), str(folder), port=0)
    await server.start()
    return server


def test_a_scheduler_that_fails_when_its_time_has_come_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "SCHEDULER_PAUSE", 0.05)
    config = """
tries = []
def level(builders, changes):
    tries.append(1)
    return 7 // (len(tries) - 1)
c['schedulers'] = [schedulers.Periodic(name='p', builderNames=['b'], periodicBuildTimer=3600, priority=level)]
"""

    async def life() -> None:
        server = await served(tmp_path, config)
        try:
            if not server.loop.state.requests:
                await submitted(server, 1)
            assert [request.priority for request in server.loop.state.requests.values()] == [7]
        finally:
            await server.stop()

    asyncio.run(life())


def test_a_timer_of_the_old_configuration_does_not_silence_the_new_one(tmp_path: Path) -> None:
    """It rings while the new schedulers are about to be taken: its turn comes when they are there."""
    config = "c['schedulers'] = [schedulers.Periodic(name='p', builderNames=['b'], periodicBuildTimer=%s)]\n"

    async def life() -> None:
        server = await served(tmp_path, config % 3600)
        try:
            if not server.loop.state.requests:
                await submitted(server, 1)
            await server.loop.settle()
            old = server.scheduling._schedulers["p"]
            (tmp_path / "master.cfg").write_text(HEAD + config % 0.2)
            work = asyncio.ensure_future(server.reload())
            while server.scheduling._queue.empty():  # noqa: ASYNC110  (turn by turn)
                await asyncio.sleep(0)
            server.scheduling._fire(old, 0.0)
            await work
            await submitted(server, 2)
        finally:
            await server.stop()

    asyncio.run(life())


def test_a_clock_that_is_set_back_by_a_year_silences_nobody_in_a_running_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, ahead = time.time, 365 * 86400.0
    monkeypatch.setattr(time, "time", lambda: right() + ahead)
    config = "c['schedulers'] = [schedulers.Periodic(name='p', builderNames=['b'], periodicBuildTimer=0.5)]\n"

    async def life() -> None:
        nonlocal ahead
        server = await served(tmp_path, config)
        try:
            if not server.loop.state.requests:
                await submitted(server, 1)
            ahead = 0.0
            await submitted(server, 2)
        finally:
            await server.stop()

    asyncio.run(life())
