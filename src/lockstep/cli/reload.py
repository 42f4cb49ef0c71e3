"""`lockstep reload`: a running server reads its configuration again, whole or not at all."""

from typing import Final

import click

from lockstep.cli import show
from lockstep.cli.client import Client, person, server_options
from lockstep.cli.codes import FAILED, REFUSED, CliError, colour
from lockstep.cli.plain import plain_lines

_LONGEST: Final = 3600.0
"""Seconds that a configuration may take to be executed: the server goes on meanwhile, and so does whoever waits."""


@click.command("reload", short_help="Read the configuration again.")
@server_options
def command(client: Client, as_json: bool) -> int:
    """Let a running server read its configuration again.

    It is taken whole, or not at all: if there is a mistake, all of them are printed, the exit code is 1, and the
    running configuration stays. Waiting requests keep their places.

    \b
    Example:
      lockstep check && lockstep reload
    """
    try:
        warnings = client.call("control", "reload", timeout=_LONGEST, owner=person())
    except CliError as exc:
        if exc.code != REFUSED or exc.hint:
            raise
        click.echo(plain_lines(str(exc)), err=True)
        raise CliError(FAILED, "The configuration is wrong; the running one stays.") from exc
    if as_json:
        show.as_json({"warnings": warnings})
        return 0
    for sentence in warnings or ():
        click.secho("warning: ", fg="yellow", nl=False, err=True, color=colour(err=True))
        click.echo(plain_lines(sentence), err=True)
    click.echo("The configuration was read again.")
    return 0
