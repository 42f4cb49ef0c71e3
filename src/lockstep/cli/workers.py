"""`lockstep workers`: the workers of a running server, and whether they are connected."""

import click

from lockstep.cli import show
from lockstep.cli.client import Client, person, quoted, server_options


@click.command("workers", short_help="List the workers.")
@click.option("--dead", metavar="NAME", help="Say that nothing runs any more on this worker, which is out of reach.")
@server_options
def command(client: Client, dead: str | None, as_json: bool) -> int:
    """List the workers: whether each is connected, and what runs there.

    With --dead NAME you take the responsibility that nothing of a lost worker runs on: its builds are put back, and its
    locks are given on at once.

    \b
    Examples:
      lockstep workers
      lockstep workers --dead bot-7
    """
    if dead is not None:
        client.call(f"workers/{quoted(dead)}", "declare_dead", owner=person())
        click.echo(f"Worker '{dead}' is given up.")
        return 0
    workers = client.all("workers", order="name")
    if as_json:
        show.as_json(workers)
        return 0
    running: dict[int, int] = {}
    for build in client.all("builds", complete="false"):
        running[build["workerid"]] = running.get(build["workerid"], 0) + 1
    rows = []
    for worker in workers:
        busy = running.get(worker["workerid"])
        state = "connected" if worker["connected_to"] else "out of reach" if busy else "absent"
        if worker["paused"]:
            state += f", paused: {worker.get('pause_reason') or 'no reason given'}"
        info = worker.get("workerinfo") or {}
        where = " ".join((info.get("host") or info.get("admin") or "").split())
        rows.append((worker["name"], state, busy, len(worker["configured_on"]), where))
    show.table(("worker", "state", "running", "builders", "host"), rows, "There are no workers.")
    return 0
