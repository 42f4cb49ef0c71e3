"""Exit codes, and the errors that end a command with a sentence instead of a traceback. Nothing is printed by others.

The codes are part of the interface: docs/reference/command-line.md lists them.
"""

import os
import sys
from typing import Final

import click

from lockstep.cli.plain import plain_lines

OK: Final = 0
FAILED: Final = 1
"""What was asked for failed: a build that was waited for, a configuration with mistakes."""
USAGE: Final = 2
"""The command line is wrong (click's own code)."""
UNREACHABLE: Final = 3
"""No server answers at the address."""
REFUSED: Final = 4
"""The server said no: there is no such thing, or it may not be done."""
CANNOT_RUN: Final = 5
"""The server or worker cannot start or go on: a port or store in use, a disk that is full."""
INTERRUPTED: Final = 130
"""Ctrl-C, while something was waited for."""


class CliError(Exception):
    """A sentence for a person, what to do about it (may be empty), and the exit code."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def show(self) -> None:
        """Print both on stderr."""
        click.secho("Error: ", fg="red", nl=False, err=True, color=colour(err=True))
        click.echo(plain_lines(str(self)), err=True)
        if self.hint:
            click.echo(plain_lines(self.hint), err=True)


def colour(*, err: bool = False) -> bool:
    """Whether to print colours: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return not os.environ.get("NO_COLOR") and (sys.stderr if err else sys.stdout).isatty()
