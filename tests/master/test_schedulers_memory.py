"""What schedulers remember: stored from time to time, handed over again after a stop, and nothing lost or doubled."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.values import Change
from lockstep.master import scheduling
from lockstep.master.server import Server

HEAD = """
from lockstep.plugins import *
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker('w', 'secret')]
c['builders'] = [util.BuilderConfig(name='b', workernames=['w'], factory=util.BuildFactory([]))]
"""
QUIET = "c['schedulers'] = [schedulers.SingleBranchScheduler(name='s', builderNames=['b'], treeStableTimer=%s)]\n"
DEADLINE = 60.0
"""Seconds after which something is given up; generous, because machines may be slow."""

Play = Callable[[Server], Coroutine[Any, Any, None]]


def write(folder: Path, config: str) -> None:
    (folder / "master.cfg").write_text(HEAD + config)


def life(folder: Path, config: str, play: Play) -> None:
    """One life of a server. What it has not stored before its stop it does not store then: as if it was killed."""

    async def lived() -> None:
        write(folder, config)
        server = Server(str(folder / "master.cfg"), str(folder), port=0)
        await server.start()
        try:
            async with asyncio.timeout(DEADLINE):
                await play(server)
        finally:
            await server.stop()

    asyncio.run(lived())


async def changed(server: Server, *revisions: str) -> None:
    """Changes one after another, and every scheduler has been told of them."""
    for revision in revisions:
        change = Change(author="a", revision=revision)
        await server.loop.ask(e.ChangesFound(source="source:x", changes=(change,)))
    await told(server)


async def told(server: Server) -> None:
    """All facts so far have been handed over."""
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    server.scheduling._queue.put_nowait(work)
    await done.wait()


def kept(server: Server) -> int:
    """How often something was stored for the scheduler."""
    facts = server.reads.facts_after(0, (f.MemoryKept,))
    return sum(one.fact.owner == "scheduler:s" for one in facts if isinstance(one.fact, f.MemoryKept))


def built(server: Server) -> list[tuple[int, ...]]:
    """The changes of each build set."""
    facts = server.reads.facts_after(0, (f.BuildsetAdded,))
    sets = [one.fact for one in facts if isinstance(one.fact, f.BuildsetAdded)]
    return [stamp.changes for one in sets for stamp in one.submission.sourcestamps]


async def due(server: Server, count: int) -> None:
    """Reload without the timer: what waits is built."""
    write(Path(server.basedir), QUIET % None)
    await server.reload()
    while len(built(server)) < count:  # noqa: ASYNC110  (it is the store that is looked at)
        await asyncio.sleep(0.01)


def test_a_change_that_only_waits_stores_nothing_and_survives_a_stop(tmp_path: Path) -> None:
    async def first(server: Server) -> None:
        before = kept(server)
        await changed(server, "1", "2", "3")
        assert kept(server) == before

    async def second(server: Server) -> None:
        await changed(server, "4")
        await due(server, 1)

    async def third(server: Server) -> None:
        await changed(server, "5")
        assert built(server) == [(1, 2, 3, 4), (5,)]

    life(tmp_path, QUIET % 3600, first)
    life(tmp_path, QUIET % 3600, second)
    life(tmp_path, QUIET % None, third)


def test_what_waits_for_long_is_stored_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "SCHEDULER_KEEP", 5)

    async def first(server: Server) -> None:
        before = kept(server)
        await changed(server, *map(str, range(12)))
        assert kept(server) - before in (1, 2)

    async def second(server: Server) -> None:
        await due(server, 1)
        assert built(server) == [tuple(range(1, 13))]

    life(tmp_path, QUIET % 3600, first)
    life(tmp_path, QUIET % 3600, second)


def test_before_something_is_deleted_all_that_waits_is_stored(tmp_path: Path) -> None:
    async def first(server: Server) -> None:
        await changed(server, "1", "2")
        assert await server.scheduling.kept() == 2
        memory, _cursor = server.loop.state.memories["scheduler:s"]
        assert [change["changeid"] for change in memory[""]["changes"]] == [1, 2]
        before = kept(server)
        assert await server.scheduling.kept() == 2
        assert kept(server) == before

    life(tmp_path, QUIET % 3600, first)


ALL = """
up = schedulers.Periodic(name='up', builderNames=['b'], periodicBuildTimer=3600)
c['schedulers'] = [up, schedulers.ForceScheduler(name='f', builderNames=['b']),
                   schedulers.Triggerable(name='t', builderNames=['b']),
                   schedulers.Dependent(name='d', builderNames=['b'], upstream=up),
                   schedulers.SingleBranchScheduler(name='s', builderNames=['b'], branch='other')]
"""


def test_at_a_start_nobody_reads_what_nobody_follows_and_nobody_reads_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[str] = []
    hand_over = scheduling.Scheduling._hand_over

    async def watched(self: Any, scheduler: Any, numbered: f.Numbered) -> None:
        handed.append(scheduler.name)
        await hand_over(self, scheduler, numbered)

    async def first(server: Server) -> None:
        await changed(server, *map(str, range(12)))

    async def again(server: Server) -> None:
        await told(server)

    life(tmp_path, ALL, first)
    monkeypatch.setattr(scheduling.Scheduling, "_hand_over", watched)
    monkeypatch.setattr(scheduling, "SCHEDULER_KEEP", 0)
    life(tmp_path, ALL, again)
    assert handed == ["s"] * 12
    handed.clear()
    life(tmp_path, ALL, again)
    assert handed == []


def test_who_begins_to_follow_changes_begins_then(tmp_path: Path) -> None:
    """Though somebody else had the name before, or it had another kind."""
    triggered = "c['schedulers'] = [schedulers.Triggerable(name='s', builderNames=['b'])]\n"

    async def changes(server: Server) -> None:
        await changed(server, "1")

    async def builds(server: Server) -> None:
        await changed(server, "2")
        found.append(built(server))

    found: list[Any] = []
    life(tmp_path, triggered, changes)
    for _ in range(2):
        life(tmp_path, QUIET % None, builds)
        life(tmp_path, triggered, changes)
    assert found == [[(2,)], [(2,), (4,)]]
