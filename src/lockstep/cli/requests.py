"""`lockstep requests`: what waits to be built, or is being built."""

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, server_options


@click.command("requests", short_help="List what waits to be built.")
@click.argument("builder", required=False)
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many.")
@server_options
def command(client: Client, builder: str | None, everything: bool, limit: int, as_json: bool) -> int:
    """List requests for builds that wait or are being built: all of them, or those of BUILDER.

    The first column is what 'why' and 'cancel' take.

    \b
    Examples:
      lockstep requests
      lockstep requests full-test --all -n 5
    """
    path = f"builders/{references.builder(client, builder)['builderid']}/buildrequests" if builder else "buildrequests"
    order = "-buildrequestid" if everything else "buildrequestid"
    found = client.all("buildrequests", path, order=order, limit=limit, complete=None if everything else "false")
    if as_json:
        show.as_json(found)
        return 0
    names = references.builder_names(client)
    reasons = references.reasons(client)
    rows = [
        (
            request["buildrequestid"],
            names.get(request["builderid"], request["builderid"]),
            show.result(request["results"] if request["complete"] else None, _state(request)),
            request["priority"] or "",
            show.clock(request["submitted_at"]),
            show.lasted(request["submitted_at"], request["claimed_at"] or request["complete_at"]),
            reasons.get(("request", request["buildrequestid"])) or request.get("ended_reason"),
        )
        for request in found
    ]
    columns = ("request", "builder", "state", "priority", "asked for", "waited", "why")
    show.table(columns, rows, "There are no requests." if everything else "Nothing waits, and nothing is being built.")
    return 0


def _state(request: dict[str, object]) -> str:
    return "running" if request["claimed"] else "waiting"
