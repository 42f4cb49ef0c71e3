"""A configuration named on the command line: where it is, and its mistakes on the screen. It is loaded elsewhere."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli.codes import FAILED, USAGE, CliError, colour

if TYPE_CHECKING:
    from lockstep.config.config import Config
    from lockstep.config.errors import ConfigErrors, Mistake

NAME = "master.cfg"


def find(given: str) -> str:
    """The configuration's file: as given, or `master.cfg` in the folder that was given. CliError if there is none."""
    path = Path(given)
    if path.is_dir():
        path = path / NAME
    if not path.is_file():
        raise CliError(USAGE, f"There is no configuration '{path}'.", "'lockstep init DIR' writes one to begin with.")
    return os.path.abspath(path)


def print_mistakes(kind: str, found: "Iterable[Mistake]", fg: str) -> None:
    """Print mistakes, warnings or notes on stderr, one a line."""
    on = colour(err=True)
    for one in found:
        click.secho(f"{one.place}: ", bold=True, nl=False, err=True, color=on)
        click.secho(f"{kind}: ", fg=fg, nl=False, err=True, color=on)
        click.echo(one.text, err=True)
        if one.hint:
            click.echo(f"    {one.hint}", err=True)


def wrong(errors: "ConfigErrors") -> CliError:
    """Print what is wrong with a configuration; returns the error that ends the command."""
    print_mistakes("warning", errors.warnings, "yellow")
    print_mistakes("error", errors.mistakes, "red")
    return CliError(FAILED, f"The configuration has {counted(len(errors.mistakes), 'mistake')}.")


def contents(config: "Config") -> str:
    """What a configuration holds, in one line."""
    found = {
        "builder": len(config.builders),
        "worker": len(config.workers),
        "lock": len({(lock.kind, lock.name) for lock in config.table.all()}),
        "pool": len(config.table.pools),
        "scheduler": len(config.schedulers),
    }
    return ", ".join(counted(number, noun) for noun, number in found.items() if number or noun != "pool")


def counted(number: int, noun: str) -> str:
    """`1 lock`, `2 locks`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
