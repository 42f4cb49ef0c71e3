"""When old things are deleted: at the stated times, whatever the clock, reloads and restarts have done meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockstep.compat.loading import load_config
from lockstep.core.recovery import resume, state_of
from lockstep.master import clock
from lockstep.master.janitor import Janitor
from lockstep.master.loop import Loop
from lockstep.storage.store import Store
from lockstep.storage.writer import Writer

DAY = 86400.0
DAILY = "c['configurators'] = [util.JanitorConfigurator(logHorizon=timedelta(days=%d))]\n"
HEAD = "from buildbot.plugins import *\nfrom datetime import timedelta\nc = BuildmasterConfig = {}\n"


class Days:
    """A server's store, loop and janitor; time passes when it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 1_800_000_000.0
        monkeypatch.setattr(clock, "wall", lambda: self.now)

    def live(self, config: str, life: Callable[[Janitor], Coroutine[Any, Any, None]]) -> None:
        """One life of a server with this configuration."""
        asyncio.run(self._live(config, life))

    async def _live(self, config: str, life: Callable[[Janitor], Coroutine[Any, Any, None]]) -> None:
        store = Store.open(f"sqlite:///{self.folder}/state.sqlite")
        self.writer = Writer(store)
        state = state_of(store.load())
        self.loop = Loop(state, self.writer, pytest.fail)
        self.loop.start(SimpleNamespace(perform=lambda effect: None), resume(state, self.now))
        self.house: Any = SimpleNamespace(config=self.load(config), loop=self.loop)
        keeper = Janitor(self.house, self.writer, self.kept)
        keeper.recall()
        await life(keeper)
        await self.loop.settle()
        self.writer.close()
        store.close()

    async def kept(self) -> int:
        return self.loop.state.counters.changeid

    def load(self, config: str) -> Any:
        (self.folder / "master.cfg").write_text(HEAD + config)
        return load_config(str(self.folder / "master.cfg"))

    async def look(self, keeper: Janitor) -> bool:
        """Whether it deletes now."""
        return await keeper.look() == 0.0


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Days:
    return Days(tmp_path, monkeypatch)


def test_a_clock_that_was_ahead_and_is_right_again_delays_nothing(days: Days) -> None:
    async def life(keeper: Janitor) -> None:
        assert not await days.look(keeper)
        days.now += 400 * DAY
        assert await days.look(keeper)
        days.now -= 400 * DAY
        assert not await days.look(keeper)
        for _ in range(3):
            days.now += DAY
            assert await days.look(keeper)

    days.live(DAILY % 7, life)


def test_so_it_is_with_restarts_more_often_than_its_times(days: Days) -> None:
    async def ahead(keeper: Janitor) -> None:
        assert not await days.look(keeper)
        days.now += 400 * DAY
        assert await days.look(keeper)
        days.now -= 400 * DAY

    found: list[bool] = []

    async def short(keeper: Janitor) -> None:
        found.append(await days.look(keeper))
        days.now += DAY / 3

    days.live(DAILY % 7, ahead)
    for _ in range(10):
        days.live(DAILY % 7, short)
    assert sum(found) == 3


def test_what_was_missed_without_a_server_is_made_up_for_but_not_what_was_without_a_janitor(days: Days) -> None:
    found: list[bool] = []

    async def life(keeper: Janitor) -> None:
        found.append(await days.look(keeper))
        days.now += 30 * DAY

    for config in (DAILY % 7, DAILY % 7, "", DAILY % 7, DAILY % 7):
        days.live(config, life)
    assert found == [False, True, False, False, True]


@pytest.mark.parametrize("config", ["", DAILY % 100])
def test_a_reload_stops_a_run_and_the_next_stated_time_counts(
    days: Days, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is busy with the run when the reload comes."""
    orders: list[tuple[Any, ...]] = []

    async def life(keeper: Janitor) -> None:
        begun = asyncio.Event()
        assert not await days.look(keeper)
        days.now += DAY
        monkeypatch.setattr(days.writer, "delete", lambda *order: (orders.append(order), begun.set()))
        run = asyncio.create_task(keeper.look())
        await begun.wait()
        days.house.config = days.load(config)
        keeper.reloaded()
        monkeypatch.undo()
        monkeypatch.setattr(clock, "wall", lambda: days.now)
        days.writer.delete(*orders[0])
        await run
        assert not await days.look(keeper)
        days.now += DAY
        assert await days.look(keeper) == bool(config)

    days.live(DAILY % 7, life)
    assert not orders[0][3]()
