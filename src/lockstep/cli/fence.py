"""`lockstep fence check`: whether a fence is current, for guards outside of Lockstep (L62)."""

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, MissingError, quoted, server_options
from lockstep.cli.codes import FAILED, OK, REFUSED, CliError


@click.command("fence", short_help="Check the number that goes with a lock.")
@click.argument("what", type=click.Choice(["check"]), metavar="check")
@click.argument("lock")
@click.argument("number", type=click.IntRange(0))
@server_options
def command(client: Client, what: str, lock: str, number: int, as_json: bool) -> int:
    """Say whether NUMBER is the fence of a hold of LOCK that lives: exit code 0 if it is, 1 if not.

    A guard outside of Lockstep (a power switch, a licence server) asks this before it does what a command wants that
    was given the fence in LOCKSTEP_FENCE_<NAME>.

    \b
    Example:
      lockstep fence check board "$LOCKSTEP_FENCE_BOARD"
    """
    try:
        (fence,) = client.all("fences", f"locks/{quoted(lock)}/fences/{number}")
    except MissingError as exc:
        raise CliError(REFUSED, str(exc), "'lockstep locks' lists them.") from exc
    of = references.told(fence["kind"], lock)
    if as_json:
        show.as_json(fence)
    elif fence["current"]:
        show.say(f"Fence {number} of {of} is current: {fence['by']} has it.")
    else:
        show.say(f"Fence {number} of {of} is not current; the last one given is {fence['last']}.")
    return OK if fence["current"] else FAILED
