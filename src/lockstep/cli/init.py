"""`lockstep init`: a folder with a configuration to begin with. The text is in `templates/`."""

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import click

from lockstep.cli.codes import CANNOT_RUN, FAILED, USAGE, CliError
from lockstep.cli.configs import NAME


@click.command("init", short_help="Write a configuration to begin with.")
@click.argument("folder", metavar="DIR")
def command(folder: str) -> int:
    """Make the folder DIR with a commented master.cfg that runs as it is.

    A configuration that is there already is left alone.

    \b
    Example:
      lockstep init farm && lockstep run farm
    """
    target = Path(folder) / NAME
    if target.name == Path(folder).name:
        hint = f"Write the folder only: lockstep init {os.path.dirname(folder) or '.'}"
        raise CliError(USAGE, f"DIR is a folder, and '{folder}' names a file.", hint)
    if os.path.isfile(folder):
        raise CliError(USAGE, f"'{folder}' is a file.", "Name the folder that the configuration shall be in.")
    if target.exists():
        raise CliError(FAILED, f"There is a configuration already: {target}", f"Run it: lockstep run {folder}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with as_file(files("lockstep.cli") / "templates" / "first.cfg") as source:
            shutil.copyfile(source, target)
    except OSError as exc:
        raise CliError(CANNOT_RUN, f"'{target}' cannot be written: {exc.strerror}.") from exc
    shown = os.path.normpath(folder)
    click.echo(f"Wrote {target}: two builders that share a lock, on one local worker. Next:")
    for words, what in (
        (f"run {shown}", "start the server, and open the address that it prints"),
        ("force hello --wait", "in another terminal: run a build"),
        (f"check {shown}", "after a change to the configuration: what is wrong with it"),
        ("reload", "take the change into the running server"),
    ):
        click.echo(f"  lockstep {words:{max(len(shown) + 6, 18)}}   {what}")
    return 0
