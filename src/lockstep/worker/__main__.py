"""`python -m lockstep.worker`: one agent in a process of its own, as `LocalWorker` starts it.

The password comes from a file, from standard input or from an environment variable, never from the command
line, where every user of the machine could read it.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from lockstep.protocol.limits import DEFAULT_LEASE, MIN_LEASE
from lockstep.worker.serve import PASSWORD_VARIABLE, serve


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, find the password, and serve."""
    parser = argparse.ArgumentParser(prog="python -m lockstep.worker", description="Run a Lockstep worker.")
    parser.add_argument("--url", required=True, help="the master's address, as ws://host:port/; @FILE: it is in a file")
    parser.add_argument("--name", required=True, help="the worker's name, as the configuration has it")
    parser.add_argument("--basedir", default=".", help="the directory for builds (default: the current one)")
    parser.add_argument("--password-file", help="a file whose first line is the password; - for standard input")
    parser.add_argument("--lease", type=float, default=DEFAULT_LEASE, help="seconds (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="end with an exit code when refused")
    parser.add_argument("--no-guard", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if not given.lease >= MIN_LEASE:
        parser.error(f"--lease must be at least {MIN_LEASE:g} seconds")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        password = _password(given.password_file)
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"the password cannot be read: {error}")
    if not password:
        parser.error(f"no password: give --password-file, or set {PASSWORD_VARIABLE}")
    return serve(given.url, given.name, password, given.basedir, given.lease, given.once, guard=not given.no_guard)


def _password(file: str | None) -> str:
    """Return the password from where it was promised; it is taken out of the environment."""
    variable = os.environ.pop(PASSWORD_VARIABLE, "")
    if file == "-":
        return sys.stdin.readline().rstrip("\n")
    if file is not None:
        return (Path(file).read_text().splitlines() or [""])[0]
    return variable


if __name__ == "__main__":
    sys.exit(main())
