"""`lockstep builders`: the builders of a running server, and how each is doing."""

from typing import Any

import click

from lockstep.cli import show
from lockstep.cli.client import Client, server_options


@click.command("builders", short_help="List the builders, and how each is doing.")
@server_options
def command(client: Client, as_json: bool) -> int:
    """List the builders: what runs and waits there, and how the last build ended.

    \b
    Examples:
      lockstep builders
      lockstep builders --json | jq -r '.[].name'
    """
    builders = client.all("builders", order="name")
    if as_json:
        show.as_json(builders)
        return 0
    running = _counted(client.all("builds", complete="false"))
    waiting = _counted(client.all("buildrequests", claimed="false", complete="false"))
    rows = []
    for builder in builders:
        key = builder["builderid"]
        last = client.all("builds", f"builders/{key}/builds", complete="true", order="-number", limit=1)
        ended = f"{show.result(last[0]['results'])} ({show.clock(last[0]['complete_at'])})" if last else ""
        tags = ", ".join(builder.get("tags") or ())
        rows.append((builder["name"], running.get(key), waiting.get(key), ended, tags))
    show.table(("builder", "running", "waiting", "last build", "tags"), rows, "There are no builders.")
    return 0


def _counted(things: list[dict[str, Any]]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for thing in things:
        counts[thing["builderid"]] = counts.get(thing["builderid"], 0) + 1
    return counts
