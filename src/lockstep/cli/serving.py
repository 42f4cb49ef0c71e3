"""Running a server from a command: its log on stderr, its address, its end, and what prevents it as sentences.

`run` and `demo` share this. The server itself is `master/server.py`.
"""

import asyncio
import errno
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lockstep.cli import configs
from lockstep.cli.codes import CANNOT_RUN, OK, CliError, colour
from lockstep.cli.plain import plain_lines

if TYPE_CHECKING:
    from lockstep.master.loop import Recorder
    from lockstep.master.server import Server

SAME_SIGNAL = 1.0
"""Seconds in which a second signal is the first one, come another way: `timeout` sends it to `make` and to all that
`make` runs, and `make` hands it on."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_WORDS = {"INFO": "", "WARNING": "warning: ", "ERROR": "error: ", "CRITICAL": "failure: "}


class _Lines(logging.Formatter):
    """A line of the log: time, how bad it is, what happened. What strangers bring in cannot pass for another line."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S")
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """The line, with colour where it matters."""
        word = _WORDS.get(record.levelname, "")
        record.message = word + record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        text = self.formatMessage(record)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = plain_lines(text).replace("\n", "\n  ")
        fg = _COLOURS.get(record.levelname)
        return click.style(text, fg=fg) if self._coloured and fg else text


def start_log(*, quiet: bool = False) -> None:
    """Send the log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(coloured=colour(err=True)))
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[handler], force=True)
    handler.addFilter(lambda record: "without completing handshake" not in record.getMessage())  # a refused worker
    for noisy in ("websockets", "uvicorn", "httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def run_server(
    file: str,
    basedir: str,
    host: str | None,
    port: int | None,
    started: Callable[["Server"], Any],
    *,
    stop_workers: bool = False,
    leave: Callable[[], None] = lambda: None,
    recorder: "Recorder | None" = None,
    farewell: str = "Everything is stored; what was running or waiting goes on at the next start.",
) -> int:
    """Run a server until it is told to stop. Returns the exit code; CliError if it cannot start or go on.

    With `stop_workers` the local workers are ended too. `leave` is called at the very end, whatever ends it. The
    `recorder` is told of everything that is decided.

    Hardly anything that is made while it starts becomes garbage: the collector rests, and later leaves it alone.
    """
    gc.disable()
    _expect_signals(stop_workers)
    from lockstep.config.errors import ConfigErrors
    from lockstep.master.server import serve
    from lockstep.storage.errors import StoreError

    servers: list[Server] = []

    def ready(server: "Server") -> None:
        gc.freeze()
        gc.enable()
        servers.append(server)
        server.house.spawn(_watch(server, stop_workers, leave))
        started(server)
        # As while it is read: a relative path means the same to the code of a configuration at any time.
        os.chdir(os.path.dirname(file))

    async def serving() -> str:
        try:
            return await serve(file, basedir, host, port, ready, recorder)
        finally:
            if stop_workers:  # what is left to do is short, and nothing may cut it off
                signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    try:
        failure = asyncio.run(serving())
    except ConfigErrors as exc:
        raise configs.wrong(exc) from exc
    except StoreError as exc:
        raise CliError(CANNOT_RUN, _sentence(str(exc))) from exc
    except OSError as exc:
        raise _cannot_listen(exc) from exc
    finally:
        for server in servers if stop_workers else ():
            server.local.stop()
        leave()
    if failure:
        raise CliError(CANNOT_RUN, f"The server had to stop: {failure}", "Mend that and start it again.")
    click.echo(f"Stopped. {farewell}", err=True)
    return OK


def _expect_signals(stop_workers: bool) -> None:
    """What signals do until the server takes them."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it asks for what is about to be done: the configuration is read
    if stop_workers:
        signal.signal(signal.SIGTERM, _end_in_order)


def _end_in_order(number: int, _frame: Any) -> None:
    """SIGTERM while the server starts: undo what there is."""
    raise SystemExit(128 + number)


async def _watch(server: "Server", stop_workers: bool, leave: Callable[[], None]) -> None:
    """Say that the server stops, and let a second Ctrl-C end the process at once: the store is safe at any time."""
    await server.stopped.wait()
    if server.failure:
        return
    local = not stop_workers and any(worker.local for worker in server.house.config.workers.values())
    workers = ", but not its local workers" if local else ""
    click.echo(f"\nStopping the server{workers} (again: at once) ...", err=True)

    def at_once(number: int) -> None:
        if stop_workers:
            server.local.kill()
        leave()
        os._exit(128 + number)

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, lambda: None)
        loop.call_later(SAME_SIGNAL, loop.add_signal_handler, number, at_once, number)


def _cannot_listen(exc: OSError) -> CliError:
    if exc.errno == errno.EADDRINUSE:
        hint = "Another server may run there already; choose another port with --port (0: any that is free)."
        return CliError(CANNOT_RUN, _sentence(exc.strerror or str(exc)), hint)
    return CliError(CANNOT_RUN, _sentence(str(exc.strerror or exc) + (f": {exc.filename}" if exc.filename else "")))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def address(server: "Server") -> str:
    """The address of pages and API, as a person on this machine writes it."""
    host = "127.0.0.1" if server.host in ("", "0.0.0.0", "::") else server.host
    return f"http://{_bracketed(host)}:{server.port}/"


def others(server: "Server") -> str:
    """The other addresses that it listens on (c['protocols']); empty: there are none."""
    return ", ".join(f"{_bracketed(host)}:{port}" for host, port in server.listening.addresses[1:])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
