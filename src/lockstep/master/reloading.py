"""Reading the configuration in a thread of its own, and reading it again: when, and who is told.

What another configuration changes in a running server is in `server.py`; how one is read, in `config/load.py`.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable

from lockstep.compat.loading import load_config
from lockstep.config.config import Config
from lockstep.config.errors import ConfigErrors
from lockstep.core.errors import AwayError, RefusedError
from lockstep.master.limits import READING_LONG
from lockstep.master.loop import STOPPING

log = logging.getLogger(__name__)


async def read(file: str, basedir: str) -> Config:
    """Read a configuration; agents and pages are answered meanwhile, however long its code takes.

    A thread cannot be ended: a server that stops leaves this one behind.

    Raises:
        ConfigErrors: it is wrong.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Config] = loop.create_future()

    def tell(config: Config | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if config is not None:
            done.set_result(config)
        else:
            done.set_exception(error or RuntimeError("nothing was read"))

    def work() -> None:
        config, error = None, None
        try:
            config = load_config(file, basedir)
        except BaseException as exc:
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(tell, config, error)

    long = "the configuration has been executing for %g seconds; what it does last is waited for"
    warning = loop.call_later(READING_LONG, log.warning, long, READING_LONG)
    threading.Thread(target=work, name="configuration", daemon=True).start()
    try:
        return await done
    finally:
        warning.cancel()


class Reloads:
    """Has the configuration read again: never two at a time, and not before the server has started.

    Who asks while it is being read may have changed the file after it was: it is read once more, for all of them.

    Args:
        take: reads it and puts it in force. Returns warnings.
    """

    def __init__(self, take: Callable[[], Awaitable[list[str]]]) -> None:
        self._take = take
        self._started = asyncio.Event()
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[list[str]] | None = None
        self._tasks: set[asyncio.Task[list[str]]] = set()
        self._signalled: set[asyncio.Task[list[str]]] = set()
        self._closed = False

    def begin(self) -> None:
        """The server has started."""
        self._started.set()

    async def ask(self) -> list[str]:
        """Have it read, and wait for that. Returns warnings.

        Raises:
            ConfigErrors: it is wrong; the running one stays.
            AwayError: the server is being stopped.
        """
        try:
            return await asyncio.shield(self._order())
        except asyncio.CancelledError:
            if self._closed:
                raise AwayError(STOPPING) from None
            raise

    def signalled(self) -> None:
        """Have it read, and tell the log what came of it."""
        with contextlib.suppress(AwayError):
            self._signalled.add(self._order())

    def _order(self) -> asyncio.Task[list[str]]:
        """What reads it the next time."""
        if self._closed:
            raise AwayError(STOPPING)
        if self._next is None:
            self._next = asyncio.create_task(self._reload())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._ended)
        return self._next

    async def _reload(self) -> list[str]:
        await self._started.wait()
        async with self._turn:
            self._next = None  # who asks from now on may mean what is written into the file from now on
            return await self._take()

    def _ended(self, task: asyncio.Task[list[str]]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task not in self._signalled:
            return
        self._signalled.discard(task)
        if isinstance(error, ConfigErrors):
            log.error("the configuration is wrong; the running one stays:\n%s", error)
        elif isinstance(error, RefusedError):
            log.error("the configuration was not read again: %s", error)
        elif error is not None:
            log.error("the configuration could not be read again", exc_info=error)
        elif not task.cancelled():
            for sentence in task.result():
                log.warning("%s", sentence)
            log.info("the configuration was read again")

    def close(self) -> None:
        """Nothing more is read; who waits for it is told."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
