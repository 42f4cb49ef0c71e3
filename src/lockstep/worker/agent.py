"""The agent: knows its commands, starts and ends them as the master says, and connects again and again.

One process with one base directory is one agent. Its commands outlive its connections; the lease (L61) ends
them when the master stays silent. How a command runs is in `commands.py` and below; how a connection is made, in
`dial.py`; what is said, in `connection.py`.
"""

import asyncio
import contextlib
import logging
import os
import platform
import random
import secrets
import signal
import socket
from collections.abc import Iterable

from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from lockstep import __version__
from lockstep.protocol.agent_session import AgentSession
from lockstep.protocol.commands import KINDS, parse_command
from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import DEFAULT_LEASE, MAX_COMMANDS
from lockstep.protocol.messages import (
    Ack,
    FileChunk,
    FileFailed,
    Hello,
    Interrupt,
    Known,
    MasterMessage,
    Refused,
    Shutdown,
    Start,
    Welcome,
)
from lockstep.worker import trees
from lockstep.worker.address import Address, HomelessError
from lockstep.worker.clock import boottime
from lockstep.worker.commands import run_command
from lockstep.worker.connection import Connection
from lockstep.worker.dial import RefusedError, dial, leave
from lockstep.worker.former import bury_former_life
from lockstep.worker.guard import Deadline, heard
from lockstep.worker.limits import (
    FAREWELL,
    FIRST_PAUSE,
    LOG_AGAIN,
    MAX_PAUSE,
    MAX_PAUSE_REFUSED,
    OPEN_TIMEOUT,
)
from lockstep.worker.places import OccupiedError, Places
from lockstep.worker.shell import Surroundings
from lockstep.worker.spool import Spool
from lockstep.worker.work import Outcome, Stop, Work

log = logging.getLogger("lockstep.worker")

EXIT_STOPPED = 0
EXIT_REFUSED = 3
EXIT_OCCUPIED = 4

_STOPPED = Stop("shutdown", "the worker is stopped", at_once=True)

CAPABILITIES = ("resume", "lease", "trees")


class Settings(Struct, frozen=True):
    """How an agent is to run.

    `lease`: seconds (L61). `once`: end with an exit code when the master refuses, instead of trying again.
    `hidden`: names of environment variables that commands must not see. `owns_process`: the process has
    nothing else to do, so that signals and orphaned children may be taken care of.
    """

    url: str
    name: str
    password: str
    basedir: str
    lease: float = DEFAULT_LEASE
    once: bool = False
    hidden: tuple[str, ...] = ()
    owns_process: bool = True

    def __repr__(self) -> str:
        """Without the password."""
        return f"Settings(url={self.url!r}, name={self.name!r}, basedir={self.basedir!r})"


async def run_agent(
    url: str,
    name: str,
    password: str,
    basedir: str | os.PathLike[str],
    lease: float = DEFAULT_LEASE,
    once: bool = False,
    hidden: tuple[str, ...] = (),
    owns_process: bool = True,
    deadline: Deadline | None = None,
) -> int:
    """Be an agent until told to stop; return the exit code. The arguments are those of `Settings`; a guardian
    is told through the `deadline` when the commands must have ended.

    Returns 0 when it was told to stop, `EXIT_REFUSED` (only with `once`) when the master refused it, and
    `EXIT_OCCUPIED` when another agent has this base directory, or it cannot be used.
    """
    settings = Settings(url, name, password, os.fspath(basedir), lease, once, hidden, owns_process)
    try:
        agent = Agent(settings, deadline or Deadline())
    except OccupiedError as error:
        log.error("%s", error)
        return EXIT_OCCUPIED
    except OSError as error:
        log.error("the worker cannot use the folder %s: %s", settings.basedir, error)
        return EXIT_OCCUPIED
    try:
        return await agent.run()
    finally:
        agent.close()


class Agent:
    """One agent. Make it, `await run()`, `close()`."""

    def __init__(self, settings: Settings, deadline: Deadline) -> None:
        """Take the base directory (`OccupiedError` if somebody has it), and end what a former life has left
        there.
        """
        self._settings = settings
        self._deadline = deadline
        self._places = Places(settings.basedir)
        self._lock = self._places.take()
        self._home = self._places.home()
        self._boot = trees.boot_id()
        self._life = secrets.token_hex(8)
        self._session = AgentSession(settings.lease)
        self._connection: Connection | None = None
        self._watched: set[int] = set()
        self._stopping = asyncio.Event()
        self._heard = asyncio.Event()
        self._dismissed = False
        self._troubles: dict[str, float] = {}
        self._url = ""
        self._address = Address(settings.url, settings.lease)
        if settings.owns_process:
            trees.become_subreaper()
        former = bury_former_life(self._places, self._home, self._boot, self._changed)
        self._works = {work.id: work for work in former}
        environ = {key: value for key, value in os.environ.items() if key not in settings.hidden}
        self._around = Surroundings(
            self._home,
            environ,
            self._places.resolve,
            lambda: sum(not work.ended for work in self._works.values()) == 1,
            self._watched.add,
            self._watched.discard,
            self._check_lease,
        )

    def close(self) -> None:
        """Let the base directory go."""
        for work in self._works.values():
            work.spool.close()
        os.close(self._lock)

    # ---- life

    async def run(self) -> int:
        """Connect and connect again until told to stop; return the exit code."""
        self._take_signals()
        lease = asyncio.create_task(self._keep_lease())
        life = asyncio.create_task(self._connect_for_ever())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([life, stop], return_when=asyncio.FIRST_COMPLETED)
            if self._connection is None:
                life.cancel()  # nobody would hear a farewell
            await asyncio.wait([life])
            return EXIT_STOPPED if life.cancelled() else life.result()
        finally:
            for task in (lease, life, stop):
                task.cancel()
            await self._end_all(_STOPPED)

    def _take_signals(self) -> None:
        """Stop on the usual signals, and take care of orphans."""
        if not self._settings.owns_process:
            return
        loop = asyncio.get_running_loop()
        for number in heard():
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGCHLD, lambda: trees.reap_orphans(self._watched))

    async def _connect_for_ever(self) -> int:
        """One connection after the other, with growing pauses; to be cancelled in all but a connection that is open."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            limit = MAX_PAUSE
            try:
                if await self._connect_once():
                    pause = FIRST_PAUSE
            except RefusedError as error:
                self._trouble(f"the master refuses this worker: {error}")
                if self._settings.once:
                    return EXIT_REFUSED
                limit = MAX_PAUSE_REFUSED
            except HomelessError as error:
                log.warning("%s: this worker ends", error)
                return EXIT_STOPPED
            except ProtocolError as error:
                self._trouble(str(error))
            except (OSError, WebSocketException, TimeoutError) as error:
                self._trouble(f"the master at {self._url or self._settings.url} cannot be reached: {error}")
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 1.5, limit)
        return EXIT_STOPPED

    def _trouble(self, text: str) -> None:
        """Log a trouble, but the same one only from time to time."""
        now = boottime()
        if now - self._troubles.get(text, -LOG_AGAIN) >= LOG_AGAIN:
            if len(self._troubles) > 100:
                self._troubles.clear()
            self._troubles[text] = now
            log.warning("%s", text)

    async def _connect_once(self) -> bool:
        """Make one connection and stay with it; whether the master welcomed us. Raises what `dial` and `look`
        raise.
        """
        self._url = self._address.look()
        websocket = await dial(self._url, self._settings.name, self._settings.password)
        try:
            return await self._talk(websocket)
        finally:
            await leave(websocket)

    async def _talk(self, websocket: ClientConnection) -> bool:
        """Say Hello, and on Welcome stay until the connection is lost or we are told to stop."""
        await websocket.send(self._session.open(self._hello(), boottime()))
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                answer = await websocket.recv(decode=False)
            self._receive(answer)
            log.info("connected to %s as %s", self._url, self._settings.name)
            self._troubles.clear()
            self._connection = Connection(websocket, self._session, self._talkative, self._receive)
            talk = asyncio.create_task(self._connection.talk())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([talk, stop], return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not talk.done():
                await self._say_farewell(self._connection, talk)
                talk.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await talk
        finally:
            self._connection = None
            self._session.close()
        return True

    async def _say_farewell(self, connection: Connection, talk: "asyncio.Task[None]") -> None:
        """Say that we go, end all commands, and give the master a moment to hear of it and to let us go."""
        talk.add_done_callback(lambda _: self._heard.set())
        connection.leave()
        await self._end_all(_STOPPED)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while (self._works or not self._dismissed) and not talk.done():
                    self._heard.clear()
                    await self._heard.wait()

    async def _end_all(self, stop: Stop) -> None:
        """End all running commands, and wait for that."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        for work in list(self._works.values()):
            work.end_it(stop)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_lease(self) -> None:
        """Look again and again whether the lease is over."""
        while True:
            self._check_lease()
            await asyncio.sleep(min(self._session.lease / 20, 0.5))

    def _check_lease(self) -> None:
        """End the commands if the master has not been heard for too long (L61)."""
        running = [work for work in self._works.values() if not work.ended]
        self._deadline.set(self._session.lease_ends_at if running else 0.0)
        if running and boottime() >= self._session.lease_ends_at:
            self._trouble(f"the master was not heard for {self._session.lease:g} s: all commands are ended")
            for work in running:
                work.end_it(Stop("lease", "the worker lost its master", at_once=True))

    def _receive(self, data: bytes) -> None:
        """Take one frame of the master.

        A lease that is over is not saved by it: the master may have counted on it.
        """
        self._check_lease()
        for message in self._session.receive(data, boottime()):
            self._take(message)
        self._heard.set()

    def _hello(self) -> Hello:
        """Who we are, and what we run."""
        known = tuple(
            Known(work.id, "ended" if work.ended else "running", work.spool.produced) for work in self._works.values()
        )
        info = {
            "host": socket.gethostname(),
            "system": platform.platform(terse=True),
            "python": platform.python_version(),
            "basedir": self._places.basedir,
            "numcpus": str(os.cpu_count() or 1),
            "pid": str(os.getpid()),
        }
        return Hello(
            version=f"lockstep {__version__}",
            lease=self._session.lease,
            home=self._home,
            boot=self._boot,
            life=self._life,
            capabilities=CAPABILITIES,
            kinds=tuple(KINDS),
            commands=known,
            info=info,
        )

    # ---- what the master says

    def _take(self, message: MasterMessage) -> None:
        """Do what one message says."""
        if isinstance(message, Start):
            self._start(message)
        elif isinstance(message, Ack):
            self._acknowledged(message)
        elif isinstance(message, Interrupt):
            work = self._works.get(message.command)
            if work is not None:
                log.info("command %s is interrupted: %s", work.id, message.reason)
                work.end_it(Stop("interrupted", f"command interrupted: {message.reason}"))
        elif isinstance(message, FileChunk | FileFailed):
            work = self._works.get(message.command)
            if work is not None:
                work.answer(message)
        elif isinstance(message, Welcome):
            self._welcomed(message)
        elif isinstance(message, Refused):
            raise RefusedError(message.reason)
        else:
            assert isinstance(message, Shutdown)
            if self._session.leaving:
                self._dismissed = True
            else:
                log.info("the master asks this worker to stop: %s", message.reason)
                self._stopping.set()

    def _welcomed(self, welcome: Welcome) -> None:
        """Go on with the commands that the master still wants; end and forget the others."""
        for work in list(self._works.values()):
            work.asked_sent = False
            stored = welcome.stored.get(work.id)
            if stored is None:
                log.warning("command %s is put away: the server does not know it", work.id)
                self._put_away(work)
            elif stored < work.spool.whole_from:
                log.error("command %s is ended, and its files are put away: %s", work.id, work.lose(stored))
            else:
                work.acknowledged(stored)

    def _put_away(self, work: Work) -> None:
        """Nobody wants to hear of a command any more."""
        if work.ended:
            self._forget(work)
        else:
            work.unwanted = True
            work.end_it(Stop("interrupted", "the master does not want it any more"))

    def _start(self, start: Start) -> None:
        """Start a command, unless it is known already."""
        if start.command in self._works:
            return
        spool = Spool(self._places.spool_path(start.command), start.command, self._boot)
        work = Work(spool, start.kind, None, self._changed)
        self._works[work.id] = work
        try:
            spool.create()
            if len(self._works) > MAX_COMMANDS:
                raise ValueError(f"the worker has {MAX_COMMANDS} commands already")
            work.kind, command = parse_command(start.kind, start.args)
        except OSError as error:
            work.finish(Outcome(-1, "refused", str(error)))
            return
        except ValueError as error:
            work.header(f"{error}\n")
            work.finish(Outcome(-1, "refused", str(error)))
            return
        if self._stopping.is_set():  # it was on its way when we said that we go
            work.finish(Outcome(-1, _STOPPED.reason, _STOPPED.detail))
            return
        work.task = asyncio.create_task(run_command(work, command, self._places, self._around))
        work.task.add_done_callback(lambda _: self._ended(work))
        self._check_lease()  # the word may have been long on its way; it does not begin then

    def _ended(self, work: Work) -> None:
        """A command has ended; one that nobody wants is forgotten at once."""
        work.task = None
        if not work.ended:  # it was cancelled before its first step
            stop = work.stop or _STOPPED
            work.finish(Outcome(-1, stop.reason, stop.detail))
        if work.unwanted:
            self._forget(work)

    def _acknowledged(self, ack: Ack) -> None:
        """The master has stored something of a command."""
        work = self._works.get(ack.command)
        if work is None:
            return
        work.acknowledged(ack.offset)
        if ack.ended:
            self._forget(work)

    def _forget(self, work: Work) -> None:
        """Nothing is left to say about a command."""
        del self._works[work.id]
        work.spool.remove()

    def _talkative(self) -> Iterable[Work]:
        """The commands that may have something to say: those heard last come last, so that none is drowned."""
        return sorted(self._works.values(), key=lambda work: work.sent_at)

    def _changed(self, work: Work) -> None:
        """A command has something new to say."""
        if self._connection is not None:
            self._connection.changed()
