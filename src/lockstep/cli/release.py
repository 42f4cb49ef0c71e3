"""`lockstep release`: gives back what a person holds, or takes back the wish for it."""

import click

from lockstep.cli import booking, show
from lockstep.cli.client import Client, person, server_options


@click.command("release", short_help="Give a lock back that you hold.")
@click.argument("what", metavar="BOOKING|LOCK")
@server_options
def command(client: Client, what: str, as_json: bool) -> int:
    """Give a booking back (its number), or the only one of LOCK: your own, if you have one.

    What a program holds ('lockstep exec', the API) is given back by it alone; 'lockstep steal' takes it away.

    \b
    Examples:
      lockstep release 17
      lockstep release board
    """
    number = booking.found(client, what, person())
    client.call(f"bookings/{number}", "release", owner=person())
    if as_json:
        show.as_json({"released": number})
    else:
        click.echo(f"Booking {number} is released.")
    return 0
