"""`lockstep hold`: a person holds a lock, for a time or until it is released."""

from typing import Any

import click

from lockstep.cli import booking, show
from lockstep.cli.booking import SHORTEST, Duration
from lockstep.cli.client import Client, patience_option, person, server_options
from lockstep.cli.codes import INTERRUPTED, OK


@click.command("hold", short_help="Hold a lock yourself.")
@click.argument("lock")
@click.option(
    "--for", "seconds", type=Duration(SHORTEST), default=0.0, help="Give it back by itself after 2h, 30m, 90 (s)."
)
@click.option(
    "--count", type=click.IntRange(1), help="Take so many units of it. [default: all of it; one, if it is a pool]"
)
@click.option("--exclusive", is_flag=True, help="Take all of it, and share it with nobody. The default, but for pools.")
@click.option(
    "--where", default="", metavar="EXPRESSION", help="Of a pool: units with these labels ('arm64 and not flaky')."
)
@click.option("--reason", default="", help="What for: everybody who waits for it sees this.")
@click.option("--after-current", is_flag=True, help="Be next: nobody who comes later, and nobody who waits, may pass.")
@click.option("--priority", type=int, default=0, help="As a request's: a greater one comes first.")
@click.option("--notify", default="", metavar="URL", help="POST a notice there when it is held, ends soon, and ended.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is held.")
@patience_option
@server_options
def command(
    client: Client,
    lock: str,
    seconds: float,
    count: int | None,
    exclusive: bool,
    where: str,
    reason: str,
    after_current: bool,
    priority: int,
    notify: str,
    wait: bool,
    patience: float,
    as_json: bool,
) -> int:
    """Hold LOCK: its name, NAME@WORKER for a lock of a worker, worker:NAME to have a worker for yourself, POOL for any
    unit of a pool, or POOL/UNIT for that one.

    You queue like a build. The number that is printed is a booking: 'lockstep release' and 'lockstep extend' take it.
    Ctrl-C while it waits takes the wish back.

    \b
    Examples:
      lockstep hold board --for 2h --reason "measuring the antenna"
      lockstep hold worker:bot-1 --after-current
      lockstep hold licences --count 2 --no-wait
      lockstep hold boards/pi-1 --for 2h
      lockstep hold boards --where "arm64 and not flaky"
    """
    if exclusive and count is not None:
        raise click.UsageError("--count and --exclusive exclude each other.")
    wish: dict[str, Any] = {
        "for": seconds,
        "reason": reason,
        "after_current": after_current,
        "priority": priority,
        "notify": notify,
    }
    booking.end_on_signals()
    made = booking.asked(
        client,
        "bookings",
        "acquire",
        patience,
        locks=[booking.wanted(lock, count, exclusive=exclusive, where=where)],
        owner=person(),
        **wish,
    )
    if made["state"] == "waiting" and wait:
        held = booking.waited(client, made, patience, quiet=as_json)
        if held is None:
            return INTERRUPTED
        made = held
    if as_json:
        show.as_json(made)
    elif made["state"] == "held":
        booking.report(made)
    else:
        show.say(f"Booking {made['bookingid']} waits. {made['why']}")
    return OK
