"""`lockstep locks`: the locks of a running server: their limits, who holds them, who waits and why."""

from typing import Any

import click

from lockstep.cli import show
from lockstep.cli.client import Client, MissingError, quoted, server_options
from lockstep.cli.codes import REFUSED, CliError


@click.command("locks", short_help="List the locks: who holds them, who waits.")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Also the workers' slots and build directories.")
@server_options
def command(client: Client, name: str | None, everything: bool, as_json: bool) -> int:
    """List the locks: limit, what is held by whom since when, and how many wait. With NAME, the queue in its order.

    A worker lock is listed once for each worker.

    \b
    Examples:
      lockstep locks
      lockstep locks database
    """
    try:
        kinds = ("master", "worker", "slot", "builddir") if everything else None
        found = client.all("locks", f"locks/{quoted(name)}" if name else "locks", kind=None if name else kinds)
    except MissingError as exc:
        raise CliError(REFUSED, str(exc), "'lockstep locks' lists them.") from exc
    if as_json:
        show.as_json(found)
        return 0
    if name is None:
        rows = [
            (
                lock["lock"],
                lock["kind"],
                f"{lock['used']}/{lock['limit']}" if lock["limit"] is not None else lock["used"],
                ", ".join(_holder(holder) for holder in lock["holders"]),
                lock["waiting"] or "",
            )
            for lock in found
        ]
        show.table(("lock", "kind", "held", "by", "waiting"), rows, "There are no locks.")
        return 0
    for lock in found:
        _details(lock)
    return 0


def _holder(holder: dict[str, Any]) -> str:
    units = " exclusive" if holder["exclusive"] else f" x{holder['units']}" if holder["units"] != 1 else ""
    return f"{holder['by']['text']}{units}"


def _details(lock: dict[str, Any]) -> None:
    """One lock: its holders, and its queue."""
    limit = f" of {lock['limit']}" if lock["limit"] is not None else ""
    click.echo(f"{lock['lock']} ({lock['kind']} lock): {lock['used']}{limit} held")
    for holder in lock["holders"]:
        since = f" since {show.clock(holder['since'])}" if holder["since"] else ""
        click.echo(f"  held by {_holder(holder)}{since}, fence {holder['fence']}")
    for waiter in lock["waiters"]:
        wants = "exclusive" if waiter["exclusive"] else f"{waiter['units']}"
        click.echo(f"  {waiter['place']}. {waiter['by']['text']} wants {wants}: {waiter['reason']}")
    if not lock["waiters"]:
        click.echo("  nobody waits")
