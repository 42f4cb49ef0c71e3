"""Change sources in a server with a real store, whose git is a script: when they are asked, over reloads too."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockstep.master import polling
from lockstep.master.server import Server

HEAD = """
from lockstep.plugins import *
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker('w', 'secret')]
c['builders'] = [util.BuilderConfig(name='b', workernames=['w'], factory=util.BuildFactory([]))]
"""
DEADLINE = 60.0
"""Seconds after which something is given up; generous, because machines may be slow."""


class Git:
    """A program that writes down how often it was asked, and answers that there is nothing when it is let."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "git.sh"
        os.mkfifo(folder / "gate")
        self.path.write_text(f"#!/bin/sh\necho $$ >> {folder}/asked\nread line < {folder}/gate\n")
        self.path.chmod(0o755)
        self.gate: int | None = None

    def open(self) -> None:
        """From now on it answers at once."""
        self.gate = os.open(self.folder / "gate", os.O_RDWR)
        os.write(self.gate, b"\n" * 1000)

    def asked(self) -> list[int]:
        """The processes that it was."""
        file = self.folder / "asked"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def source(self, **more: Any) -> str:
        """Of the configuration."""
        words = {"name": "it", "repourl": "nowhere", "gitbin": str(self.path), "pollInterval": 3600.0, **more}
        return f"c['change_source'] = [changes.GitPoller({', '.join(f'{k}={v!r}' for k, v in words.items())})]\n"


def write(folder: Path, config: str) -> None:
    (folder / "master.cfg").write_text(HEAD + config)


async def served(folder: Path, config: str) -> Server:
    write(folder, config)
    server = Server(str(folder / "master.cfg"), str(folder), port=0)
    await server.start()
    return server


async def reloaded(server: Server, config: str) -> None:
    write(Path(server.basedir), config)
    assert await server.reload() == []


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  (it is files that are looked at)
            await asyncio.sleep(0.02)


def polled(server: Server) -> bool:
    return "source:it" in server.loop.state.memories


def test_reloads_that_come_often_do_not_put_a_source_off(tmp_path: Path) -> None:
    """Whether its arguments change or not."""
    git = Git(tmp_path)
    git.open()

    async def life() -> None:
        for number, changes in enumerate(({}, {"project": "other"})):
            server = await served(tmp_path, git.source(pollInterval=0.5))
            try:
                async with asyncio.timeout(DEADLINE):
                    turn = 0
                    while len(git.asked()) == number:
                        turn += 1
                        more = {name: f"{value} {turn}" for name, value in changes.items()}
                        await reloaded(server, git.source(pollInterval=0.5, **more))
            finally:
                await server.stop()
            git.folder.joinpath("asked").write_text("1\n" * (number + 1))

    asyncio.run(life())


def test_a_poll_goes_on_over_a_reload_that_does_not_change_its_source(tmp_path: Path) -> None:
    git = Git(tmp_path)

    async def life() -> None:
        server = await served(tmp_path, git.source(pollAtLaunch=True))
        try:
            await until(git.asked)
            await reloaded(server, "\n" + git.source(pollAtLaunch=True))
            git.open()
            await until(lambda: polled(server))
            assert len(git.asked()) == 1
            await reloaded(server, git.source(pollAtLaunch=True))
            assert len(git.asked()) == 1
        finally:
            await server.stop()

    asyncio.run(life())


def test_a_poll_begins_anew_with_the_arguments_of_a_reload(tmp_path: Path) -> None:
    git = Git(tmp_path)

    async def life() -> None:
        server = await served(tmp_path, git.source(pollAtLaunch=True))
        try:
            await until(git.asked)
            await reloaded(server, git.source(repourl="elsewhere"))
            await until(lambda: len(git.asked()) == 2)
            git.open()
            await until(lambda: polled(server))
            assert server.loop.state.memories["source:it"][0]["url"] == "elsewhere"
            assert len(git.asked()) == 2
        finally:
            await server.stop()

    asyncio.run(life())


def test_sources_that_hang_keep_no_other_waiting_and_the_log_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(polling, "POLL_PATIENCE", 0.2)
    git = Git(tmp_path)
    hanging = "".join(git.source(name=f"hangs {n}", pollAtLaunch=True).replace("] =", "] +=", 1) for n in range(20))
    healthy = "c['change_source'].append(changes.GitPoller('x', name='it', gitbin='true', pollAtLaunch=True))\n"

    async def life() -> None:
        server = await served(tmp_path, "c['change_source'] = []\n" + hanging + healthy)
        try:
            await until(lambda: polled(server))
            assert "change source hangs 0: its poll has taken 0.2 seconds and goes on" in caplog.text
        finally:
            await server.stop()

    asyncio.run(life())
