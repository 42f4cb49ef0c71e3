"""`lockstep why`: why a request or a build does not go on, in a sentence and what it rests on."""

from typing import Any

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, server_options


@click.command("why", short_help="Say why something waits.")
@click.argument("what", metavar="REQUEST|BUILD")
@server_options
def command(client: Client, what: str, as_json: bool) -> int:
    """Say why a request (its number) or a build (BUILDER/NUMBER) waits: for which lock, held by whom, who is ahead.

    \b
    Examples:
      lockstep why 17
      lockstep why full-test/4
    """
    if references.is_build(what):
        path = f"builds/{references.build(client, what)['buildid']}/why"
    else:
        path = f"buildrequests/{references.request(client, what)['buildrequestid']}/why"
    found = client.all("why", path)
    if as_json:
        show.as_json(found)
        return 0
    for why in found:
        show.say(why["sentence"])
        if why.get("expected"):
            show.say(why["expected"]["sentence"])
        for lock in why.get("locks") or ():
            show.say(f"  {lock['lock']}: {lock['used']} of {lock['limit']} held, {lock['ahead']} ahead{_passing(lock)}")
    if not found:
        click.echo("It does not wait.")
    return 0


def _passing(lock: dict[str, Any]) -> str:
    """Who may still pass it at this lock."""
    if not lock["behind"]:
        return ""
    more = f"may pass it {lock['may_pass']} more times" if lock["may_pass"] else "may not pass it any more"
    if lock["may_pass"] is None:
        more = "may pass it, and so may all who come: the newest comes first"
    return f", {lock['behind']} behind who {more}"
