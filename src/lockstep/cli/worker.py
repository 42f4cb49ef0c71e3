"""`lockstep worker`: an agent in the foreground. The agent itself is `worker/`."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from lockstep.cli.codes import CANNOT_RUN, OK, REFUSED, USAGE, CliError

_CODES = {0: OK, 3: REFUSED, 4: CANNOT_RUN}
"""The agent's own exit codes (`worker/agent.py`), and ours."""


@click.command("worker", short_help="Run a worker.")
@click.option("--url", required=True, help="The server's address, such as http://ci.example:8010.")
@click.option("--name", required=True, help="The worker's name, as the configuration has it.")
@click.option("--password-file", help="A file whose first line is the password; - for standard input.")
@click.option("--basedir", default=".", help="The folder for builds. [default: the current one]")
@click.option("--lease", type=float, help="Seconds that commands may run on without the server. [default: 60]")
@click.option("--once", is_flag=True, help="End when the server refuses, instead of trying again.")
def command(url: str, name: str, password_file: str | None, basedir: str, lease: float | None, once: bool) -> int:
    """Run a worker: connect to the server, and run what it says.

    The password is the one of worker.Worker(name, password) in the configuration. It comes from a file or from the
    environment variable LOCKSTEP_WORKER_PASSWORD, never from the command line, where all users could read it.
    Without a server the worker waits and tries again. Ctrl-C ends it, and the commands that it runs.

    \b
    Example:
      lockstep worker --url http://ci.example:8010 --name bot-1 --password-file bot-1.password --basedir builds
    """
    from lockstep.protocol.limits import DEFAULT_LEASE, MIN_LEASE
    from lockstep.worker.serve import PASSWORD_VARIABLE, serve

    if lease is not None and not lease >= MIN_LEASE:
        raise CliError(USAGE, f"--lease must be at least {MIN_LEASE:g} seconds.")
    address = _socket_address(url)
    password = _password(password_file, PASSWORD_VARIABLE)
    if not password:
        raise CliError(USAGE, "There is no password.", f"Give --password-file, or set {PASSWORD_VARIABLE}.")
    from lockstep.cli.serving import start_log

    start_log()
    try:
        os.makedirs(basedir, exist_ok=True)
    except OSError as exc:
        raise CliError(CANNOT_RUN, f"The folder '{basedir}' cannot be made: {exc.strerror}.") from exc
    code = serve(address, name, password, basedir, DEFAULT_LEASE if lease is None else lease, once)
    return _CODES.get(code, code)


def _password(file: str | None, variable: str) -> str:
    """The password from where it was promised; it is taken out of the environment."""
    kept = os.environ.pop(variable, "")
    if file is None:
        return kept
    try:
        return sys.stdin.readline().rstrip("\n") if file == "-" else (Path(file).read_text().splitlines() or [""])[0]
    except OSError as exc:
        raise CliError(USAGE, f"The password file '{file}' cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise CliError(USAGE, f"The password file '{file}' is no text.") from exc


def _socket_address(given: str) -> str:
    """`ws://HOST:PORT/` for what people write."""
    url = given
    for plain, socket in (("http://", "ws://"), ("https://", "wss://")):
        if url.startswith(plain):
            url = socket + url.removeprefix(plain)
    if "://" not in url:
        url = f"ws://{url}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise CliError(USAGE, f"'{given}' is no address of a server.", "Write --url http://HOST:PORT")
    return url if url.endswith("/") else url + "/"
