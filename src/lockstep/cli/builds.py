"""`lockstep builds`: running and ended builds of a running server, the latest first."""

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, server_options


@click.command("builds", short_help="List builds, the latest first.")
@click.argument("builder", required=False)
@click.option("--running", is_flag=True, help="Only those that run.")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@server_options
def command(client: Client, builder: str | None, running: bool, limit: int, as_json: bool) -> int:
    """List builds, the latest first: all of them, or those of BUILDER.

    The first column is what 'log', 'why' and 'cancel' take.

    \b
    Examples:
      lockstep builds
      lockstep builds full-test -n 5
      lockstep builds --running --json
    """
    path = f"builders/{references.builder(client, builder)['builderid']}/builds" if builder else "builds"
    found = client.all("builds", path, order="-buildid", limit=limit, complete="false" if running else None)
    if as_json:
        show.as_json(found)
        return 0
    names = references.builder_names(client)
    workers = {worker["workerid"]: worker["name"] for worker in client.all("workers")}
    reasons = references.reasons(client) if any(not build["complete"] for build in found) else {}
    rows = [
        (
            f"{names.get(build['builderid'], build['builderid'])}/{build['number']}",
            build["buildid"],
            show.result(build["results"]),
            show.short(reasons.get(("build", build["buildid"])) or build["state_string"]),
            workers.get(build["workerid"], ""),
            show.clock(build["started_at"]),
            show.lasted(build["started_at"], build["complete_at"]),
        )
        for build in found
    ]
    show.table(("build", "id", "result", "state", "worker", "started", "took"), rows, "There are no such builds.")
    return 0
