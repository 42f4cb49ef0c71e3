"""`lockstep builders`: the builders of a running server, and how each is doing."""

from typing import Any, Final

import click

from lockstep.cli import show
from lockstep.cli.client import Client, server_options

LATEST: Final = 1_000
"""Builds that are asked for at once, in search of each builder's last one."""


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
    last = _last_builds(client, [builder["builderid"] for builder in builders])
    rows = []
    for builder in builders:
        key = builder["builderid"]
        build = last.get(key)
        ended = f"{show.result(build['results'])} ({show.clock(build['complete_at'])})" if build else ""
        tags = ", ".join(builder.get("tags") or ())
        rows.append((builder["name"], running.get(key), waiting.get(key), ended, tags))
    show.table(("builder", "running", "waiting", "last build", "tags"), rows, "There are no builders.")
    return 0


def _last_builds(client: Client, builders: list[int]) -> dict[int, dict[str, Any]]:
    """Each builder's last ended build: most are among the latest ones, the others are looked up."""
    latest = client.all("builds", complete="true", order="-buildid", limit=LATEST)
    last: dict[int, dict[str, Any]] = {}
    for build in latest:
        last.setdefault(build["builderid"], build)
    if len(latest) == LATEST:
        for key in builders:
            if key not in last:
                found = client.all("builds", f"builders/{key}/builds", complete="true", order="-number", limit=1)
                if found:
                    last[key] = found[0]
    return last


def _counted(things: list[dict[str, Any]]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for thing in things:
        counts[thing["builderid"]] = counts.get(thing["builderid"], 0) + 1
    return counts
