"""One server: the store opened, the state recovered, the configuration in force, the doors open.

Here the parts are put together, started and stopped in order; what they do is theirs.
"""

import asyncio
import hmac
import inspect
import logging
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from lockstep.config.config import Config
from lockstep.config.workers import LocalWorker
from lockstep.core import events as e
from lockstep.core.errors import AwayError
from lockstep.core.recovery import resume, state_of
from lockstep.master import clock
from lockstep.master.agents import Agents
from lockstep.master.house import House, leave_others_behind
from lockstep.master.janitor import Janitor
from lockstep.master.listening import Listening
from lockstep.master.local_workers import LocalWorkers
from lockstep.master.loop import Loop, Recorder
from lockstep.master.notices import Notices
from lockstep.master.polling import Polling
from lockstep.master.reloading import Reloads, read
from lockstep.master.scheduling import Scheduling
from lockstep.storage.queries import Queries
from lockstep.storage.store import Store
from lockstep.storage.writer import Writer

log = logging.getLogger(__name__)

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8010
DEFAULT_STORE = "sqlite:///lockstep.sqlite"

FULL_PASS_PERIOD = 60.0
"""Seconds between two looks at all claims (L31)."""

LOCAL_PERIOD = 5.0
"""Seconds between two looks at whether the local workers still run."""


class Server:
    """A running server.

    Args:
        file: the configuration file.
        basedir: the server's own folder; everything relative is in it.
        host: the address to listen on; None: what `c['www']` says, else the loopback. Where it listens, once it does.
        port: the port for pages, API and agents; None: what `c['www']` says, else 8010. 0: any free one.
        recorder: is told of everything that is decided.
    """

    def __init__(
        self,
        file: str,
        basedir: str,
        host: str | None = None,
        port: int | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.file = file
        self.recorder = recorder
        self.basedir = basedir
        self.host = host or DEFAULT_HOST
        self.port = port
        self._asked_host = host
        self._asked_port = port
        self.token = ""
        self.failure = ""
        self.stopped = asyncio.Event()
        self.local = LocalWorkers(basedir)
        self.reloads = Reloads(self._take_anew)
        self._open = AsyncExitStack()
        if recorder is not None:
            self._at_end("the recording", recorder.close)

    def _at_end(self, what: str, close: Callable[[], Any]) -> None:
        """Have it closed at the end, before what was opened earlier. What fails there keeps nothing else open."""

        async def end() -> None:
            try:
                closing = close()
                if inspect.isawaitable(closing):
                    await closing
            except AwayError:
                pass  # what was decided last could not be stored, and `_fatal` has said so
            except OSError as exc:
                log.error("%s could not be closed: %s", what, exc)
            except Exception:
                log.exception("%s could not be closed", what)

        self._open.push_async_callback(end)

    async def start(self) -> None:
        """Start everything.

        Raises:
            ConfigErrors: the configuration is wrong.
            StoreError: the store cannot be opened.
            OSError: a port cannot be opened.
        """
        config = await read(self.file, self.basedir)
        self.token = token_in(self.basedir)
        url = self._store_url = config.db_url or DEFAULT_STORE
        folder = Path(self.basedir)
        self.store = Store.open(url, folder)
        self._at_end("the store", self.store.close)
        saved, now = self.store.load(), clock.wall()
        if self.recorder is not None:
            self.recorder.began(saved, now)
        progress, ends = self.store.progress(), self.store.log_ends()
        state = state_of(saved)
        self.reads = Queries(url, folder)
        self._at_end("the store's readers", self.reads.close)
        self.writer = Writer(self.store)
        self._at_end("the store's thread", lambda: asyncio.to_thread(self.writer.close))
        self.loop = Loop(state, self.writer, self._fatal, self.recorder)
        self.agents = Agents(self.basedir)
        self.house = House(self.loop, config, self.agents, self.reads, self._local_password)
        self._at_end("what runs for builds", self.house.close)
        await self.house.resume_logs(ends)
        self.loop.start(self.house, resume(state, now))
        self._at_end("what was decided last", self.loop.settle)
        self.loop.post(e.Configured(setup=config.setup()))
        await self.house.resumed()
        await self.agents.attach(self.house, progress)
        await self.loop.settle()
        self.listening = Listening(self)
        self._addresses = self._ports(config)
        self._at_end("the ports", self.listening.stop)
        self._at_end("the connections of workers", self.agents.close)
        self._at_end("reloads", self.reloads.close)
        await self.listening.start(self._addresses)
        self.host, self.port = self.listening.addresses[0]
        self.house.spawn(self.agents.ask_for_life())
        self.notices = Notices(self.house)
        self.scheduling = Scheduling(self.house)
        self.polling = Polling(self.house)
        self._at_end("the change sources", self.polling.stop)
        await self.scheduling.start()
        self.house.spawn(self.scheduling.run())
        self.janitor = Janitor(self.house, self.writer, self.scheduling.kept)
        self.house.spawn(self.janitor.run())
        await self.polling.start()
        await self._start_local(config)
        self.house.spawn(self._keep_local())
        self.house.spawn(self._full_passes())
        self.house.hooks.ask_again()
        self.house.spawn(self.house.hooks.keep_asking())
        self.reloads.begin()

    def web_app(self) -> Any:
        """The application that serves pages and API."""
        from lockstep.master.web import make_app

        return make_app(self)

    def _ports(self, config: Config) -> list[tuple[str, int]]:
        """The addresses to listen on: the one for everything first. Who starts the server has the last word on that."""
        asked = self._asked_host
        everything = [(asked or p.host or DEFAULT_HOST, p.port) for p in config.www_ports]
        if self._asked_port is not None or not everything:
            host = everything[0][0] if everything else asked or DEFAULT_HOST
            everything = [(host, DEFAULT_PORT if self._asked_port is None else self._asked_port)]
        return everything + [(p.host or asked or DEFAULT_HOST, p.port) for p in config.protocol_ports]

    def _only_at_start(self, config: Config) -> list[str]:
        """What a configuration says of ports and store that the running server does not take, as sentences."""
        told = []
        if self._addresses != self._ports(config):
            here = ", ".join(f"{host}:{port}" for host, port in self._addresses)
            told.append(f"c['www'], c['protocols']: the ports stay ({here}) until the server is started again.")
        if self._store_url != (config.db_url or DEFAULT_STORE):
            told.append("c['db']: the store stays until the server is started again.")
        return told

    def _local_password(self, name: str, password: str) -> bool:
        worker = self.house.config.workers.get(name)
        if not isinstance(worker, LocalWorker):
            return False
        return hmac.compare_digest(password.encode(), self.local.password(name).encode())

    async def _start_local(self, config: Config) -> None:
        """Start the local workers that do not run, and end those that are not configured any more and have no work."""
        local = {name: worker for name, worker in config.workers.items() if isinstance(worker, LocalWorker)}
        for name in self.local.names() - local.keys():
            # One that is not connected never will be: nobody of that name is let in.
            if not (self.agents.connected(name) and self.loop.state.builds_on.get(name)):
                self.agents.shut_down(name, "it is not in the configuration any more")
                self.local.end(name)
        for name, worker in local.items():
            try:
                if not self.agents.connected(name):
                    await self.local.start(name, worker.workdir, url_of(self.host, self.port), worker.setup().lease)
            except OSError as exc:
                log.error("local worker %s cannot be started: %s", name, exc)

    async def _keep_local(self) -> None:
        """Start local workers again that have ended."""
        while True:
            await asyncio.sleep(LOCAL_PERIOD)
            try:
                await self._start_local(self.house.config)
            except Exception:
                log.exception("local workers could not be looked after; that is tried again")

    async def _full_passes(self) -> None:
        """Look at everything again from time to time; it changes nothing if all is well (L31)."""
        while True:
            await asyncio.sleep(FULL_PASS_PERIOD)
            before = self.loop.state.last_fact
            self.loop.post(e.FullPass())
            if self.loop.state.last_fact != before:
                log.error("a full pass found something to decide (facts %s to %s)", before, self.loop.state.last_fact)

    def _fatal(self, reason: str) -> None:
        self.failure = reason
        log.critical("%s; the server ends, and a new one goes on from the store", reason)
        self.stopped.set()

    async def reload(self) -> list[str]:
        """Take the configuration anew, whole or not at all. Returns warnings: its own that are new, of locks that are
        gone (L6), of schedulers that do not start.

        Raises:
            ConfigErrors: it is wrong; the running one stays.
            AwayError: the server is being stopped.
        """
        return await self.reloads.ask()

    async def _take_anew(self) -> list[str]:
        config, before = await read(self.file, self.basedir), self.house.config
        told = [str(warning) for warning in config.warnings if warning not in before.warnings]
        self.house.config = config  # in the same turn as the core: nobody meets one of the two without the other
        told += await self.loop.ask(e.Configured(setup=config.setup()))
        told += self._only_at_start(config)
        self.house.hooks.ask_again()
        told += await self.scheduling.restart()
        await self.polling.start()
        self.janitor.reloaded()
        await self._start_local(config)
        return told

    def on_signals(self) -> None:
        """SIGTERM and SIGINT stop the server in order, from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopped.set)

    async def stop(self) -> None:
        """Stop in order: doors, agents, builds, store, as far as they are there. Commands on workers run on.

        All of it is done, whatever fails; if what was decided last cannot be stored, `failure` says why.
        """
        self.stopped.set()
        await self._open.aclose()

    async def abandon(self) -> None:
        """Undo a start that failed half way."""
        self.local.take_back()
        await self.stop()


def url_of(host: str, port: int | None) -> str:
    """Where a local worker reaches a server that listens on this address."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"ws://[{host}]:{port}/" if ":" in host else f"ws://{host}:{port}/"


def token_in(basedir: str) -> str:
    """What changes from another machine need: kept in the file `token`, made at the first start."""
    path = Path(basedir) / "token"
    try:
        kept = path.read_text().strip()
        if kept:
            return kept
    except FileNotFoundError:
        pass
    made = secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made + "\n")
    return made


async def serve(
    file: str,
    basedir: str,
    host: str | None,
    port: int | None,
    ready: Callable[[Server], Any],
    recorder: Recorder | None = None,
) -> str:
    """Run a server until it is told to stop, and nothing else in its event loop.

    `ready` is called when it listens. Returns why it failed, or nothing.
    """
    os.makedirs(basedir, exist_ok=True)
    server = Server(file, basedir, host, port, recorder)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reloads.signalled)
    try:
        await server.start()
    except AwayError:  # it could not store what it decided while it started, and has said so
        await server.abandon()
        return server.failure
    except BaseException:
        await server.abandon()
        raise
    server.on_signals()
    ready(server)
    try:
        await server.stopped.wait()
    finally:
        await server.stop()
        await leave_others_behind()
    return server.failure
