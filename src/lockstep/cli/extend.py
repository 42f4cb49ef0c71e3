"""`lockstep extend`: a person holds a lock for longer."""

import click

from lockstep.cli import booking, show
from lockstep.cli.booking import SHORTEST, Duration
from lockstep.cli.client import Client, person, server_options


@click.command("extend", short_help="Hold a lock for longer.")
@click.argument("what", metavar="BOOKING|LOCK")
@click.option("--for", "seconds", type=Duration(SHORTEST), required=True, help="By how much: 1h, 30m, 90 (s).")
@server_options
def command(client: Client, what: str, seconds: float, as_json: bool) -> int:
    """Let a booking (its number, or the only one of LOCK) end so much later than it would.

    \b
    Example:
      lockstep extend 17 --for 1h
    """
    number = booking.found(client, what, person())
    done = client.call(f"bookings/{number}", "extend", owner=person(), **{"for": seconds})
    if as_json:
        show.as_json(done)
    else:
        click.echo(f"Booking {number} lasts until {show.clock(done['ends_at'])}.")
    return 0
