"""`lockstep cancel`: ends a request or a build of a running server."""

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, person, server_options
from lockstep.cli.codes import FAILED, CliError


@click.command("cancel", short_help="Cancel a request, or stop a build.")
@click.argument("what", metavar="REQUEST|BUILD")
@click.option("--reason", default="cancelled on the command line", show_default=True, help="Kept with the build.")
@server_options
def command(client: Client, what: str, reason: str, as_json: bool) -> int:
    """Cancel a request (its number), or stop a build (BUILDER/NUMBER).

    A request that waits ends at once, and nobody else's place in a queue changes. One that is being built is stopped:
    its commands are ended on the worker, and steps with alwaysRun still run.

    \b
    Examples:
      lockstep cancel 17
      lockstep cancel full-test/4 --reason "wrong branch"
    """
    if references.is_build(what):
        thing = references.build(client, what)
        path, method, name = f"builds/{thing['buildid']}", "stop", f"Build {what}"
    else:
        thing = references.request(client, what)
        path, method, name = f"buildrequests/{what}", "cancel", f"Request {what}"
    if thing["complete"]:
        raise CliError(FAILED, f"{name} has ended already ({show.result(thing['results'])}).")
    client.call(path, method, reason=reason, owner=person())
    if as_json:
        show.as_json({"cancelled": what})
    else:
        click.echo(f"{name} is cancelled." if method == "cancel" else f"{name} is being stopped.")
    return 0
