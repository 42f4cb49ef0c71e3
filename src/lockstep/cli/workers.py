"""`lockstep workers`: the workers of a running server, and whether they are connected."""

import click

from lockstep.cli import show
from lockstep.cli.client import Client, server_options


@click.command("workers", short_help="List the workers.")
@server_options
def command(client: Client, as_json: bool) -> int:
    """List the workers: whether each is connected, and what runs there.

    \b
    Example:
      lockstep workers
    """
    workers = client.all("workers", order="name")
    if as_json:
        show.as_json(workers)
        return 0
    running: dict[int, int] = {}
    for build in client.all("builds", complete="false"):
        running[build["workerid"]] = running.get(build["workerid"], 0) + 1
    rows = []
    for worker in workers:
        state = "connected" if worker["connected_to"] else "absent"
        if worker["paused"]:
            state += f", paused: {worker.get('pause_reason') or 'no reason given'}"
        info = worker.get("workerinfo") or {}
        where = info.get("host") or info.get("admin") or ""
        rows.append((worker["name"], state, running.get(worker["workerid"]), len(worker["configured_on"]), where))
    show.table(("worker", "state", "running", "builders", "host"), rows, "There are no workers.")
    return 0
