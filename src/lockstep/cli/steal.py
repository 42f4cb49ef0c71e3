"""`lockstep steal`: takes a lock away from whoever holds it, and says by whom and why."""

from typing import Any

import click

from lockstep.cli import booking, show
from lockstep.cli.booking import SHORTEST, Duration
from lockstep.cli.client import Client, patience_option, person, quoted, server_options
from lockstep.cli.codes import INTERRUPTED


@click.command("steal", short_help="Take a lock away from its holder.")
@click.argument("what", metavar="LOCK|BOOKING")
@click.option("--reason", required=True, help="Why: it is recorded, and whoever loses the lock is told.")
@click.option(
    "--hold", "hold", type=click.IntRange(1), help="Which hold, if it has several ('lockstep locks LOCK' says)."
)
@click.option("--all", "everybody", is_flag=True, help="From all its holders.")
@click.option("--for", "seconds", type=Duration(SHORTEST), default=0.0, help="Hold it then for 2h, 30m, 90 (s).")
@click.option("--count", type=click.IntRange(1), help="Take so many units of it. [default: all of it]")
@click.option("--no-hold", is_flag=True, help="Only take it away; whoever is next gets it.")
@patience_option
@server_options
def command(
    client: Client,
    what: str,
    reason: str,
    hold: int | None,
    everybody: bool,
    seconds: float,
    count: int | None,
    no_hold: bool,
    patience: float,
    as_json: bool,
) -> int:
    """Take LOCK away from its holder, and hold it yourself as soon as it is free; or end BOOKING (its number).

    A build that loses its lock is stopped, ends in RETRY, and waits again; it says by whom and why. A booking ends as
    stolen. You are next then, but for who is next for sure already. Nothing is taken before it has certainly stopped
    to be used.

    \b
    Examples:
      lockstep steal board --reason "the customer is here" --for 1h
      lockstep steal 17 --reason "bob has gone home"
    """
    number = booking.number_of(client, what)
    if number is not None:
        _refuse("the number of a booking, which is ended", ("--for", seconds), ("--count", count), ("--hold", hold))
        _refuse("the number of a booking, which is ended", ("--all", everybody))
    if no_hold:
        _refuse("--no-hold", ("--for", seconds), ("--count", count))
    if everybody:
        _refuse("--all", ("--hold", hold))
    given: dict[str, Any] = {"owner": person(), "reason": reason}
    mine: dict[str, Any] | None = None
    if number is not None:
        client.call(f"bookings/{number}", "steal", **given)
    else:
        given |= {"hold": hold or 0, "all": everybody}
        path = f"locks/{quoted(what)}"
        if no_hold:
            client.call(path, "steal", **given)
        else:
            booking.end_on_signals()
            made = booking.asked(client, path, "steal", patience, take={"for": seconds, **_units(count)}, **given)
            mine = booking.waited(client, made, patience, quiet=as_json)
            if mine is None:
                return INTERRUPTED
    if as_json:
        show.as_json(mine or {"bookingid": None})
    elif mine:
        booking.report(mine)
    else:
        show.say("It is taken away.")
    return 0


def _refuse(beside: str, *options: tuple[str, Any]) -> None:
    """Refuse options that mean nothing."""
    for name, value in options:
        if value:
            raise click.UsageError(f"{name} means nothing with {beside}.")


def _units(count: int | None) -> dict[str, Any]:
    return {} if count is None else {"mode": "counting", "count": count}
