"""`lockstep quarantine`: takes a unit of a pool out of use, or lets it be had again."""

from typing import Any

import click

from lockstep.cli import show
from lockstep.cli.client import Client, MissingError, person, quoted, server_options
from lockstep.cli.codes import REFUSED, CliError


@click.command("quarantine", short_help="Take a unit of a pool out of use.")
@click.argument("unit", metavar="POOL/UNIT")
@click.option("--reason", default="", help="Why: everybody who misses it sees this.")
@click.option("--lift", is_flag=True, help="It may be had again; with POOL alone, all its units.")
@server_options
def command(client: Client, unit: str, reason: str, lift: bool, as_json: bool) -> int:
    """Take a unit of a pool out of use: nobody gets it any more, and whoever has it keeps it to the end.

    It stays so over restarts and reloads, until somebody lifts it. 'lockstep locks POOL' says why a unit is out of use.

    \b
    Examples:
      lockstep quarantine boards/pi-2 --reason "its power supply hums"
      lockstep quarantine --lift boards/pi-2
      lockstep quarantine --lift boards
    """
    if lift and reason:
        raise click.UsageError("--reason means nothing with --lift.")
    if not lift and not reason.strip():
        raise click.UsageError("Say why: --reason TEXT. Everybody who misses the unit sees it.")
    given: dict[str, Any] = {"owner": person()} | ({} if lift else {"reason": reason})
    try:
        done = client.call(f"locks/{quoted(unit)}", "lift" if lift else "quarantine", **given)
    except MissingError as exc:
        raise CliError(REFUSED, str(exc), "'lockstep locks POOL' lists its units.") from exc
    pool, _, name = unit.removeprefix("lock:").partition("/")
    units = done["units"] if lift else [name]
    if as_json:
        show.as_json([{"pool": pool, "unit": each, "quarantined": not lift} for each in units])
    for each in units if not as_json else ():
        told = f"Unit '{each}' of pool '{pool}' is in"
        show.say(f"{told} use again." if lift else f"{told} quarantine. Who has it keeps it.")
    return 0
