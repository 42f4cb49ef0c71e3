"""`lockstep force`: asks for builds of any builder, and can wait for them."""

import time
from typing import Any, Final

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, patience_option, person, server_options
from lockstep.cli.codes import FAILED, OK, USAGE, CliError

PAUSE: Final = 0.5
"""Seconds between two looks at builds that are waited for."""
_GOOD: Final = (0, 1, 3)
"""success, warnings, skipped"""


@click.command("force", short_help="Ask for a build.")
@click.argument("builder")
@click.option("--branch", help="What to build. [default: what the builder's checkout says]")
@click.option("--revision", help="What to build exactly.")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="A property; may be repeated.")
@click.option("--reason", default="asked for on the command line", show_default=True, help="Kept with the build.")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Ask for so many builds.")
@click.option("--wait", is_flag=True, help="Wait until they have ended; exit code 1 if one of them failed.")
@patience_option
@server_options
def command(
    client: Client,
    builder: str,
    branch: str | None,
    revision: str | None,
    properties: tuple[str, ...],
    reason: str,
    count: int,
    wait: bool,
    patience: float,
    as_json: bool,
) -> int:
    """Ask for a build of BUILDER. No scheduler is needed.

    The numbers that are printed are requests: 'lockstep why NUMBER' and 'lockstep cancel NUMBER' take them.
    With --wait a server may be started again meanwhile.

    \b
    Examples:
      lockstep force full-test
      lockstep force full-test --branch main --property arch=arm64 --wait
      lockstep force soak --count 20
    """
    given = {"branch": branch, "revision": revision, "properties": _properties(properties)}
    found = references.builder(client, builder)
    requests = ask(client, found["builderid"], reason=reason, count=count, **given)
    if not wait:
        if as_json:
            show.as_json({"buildrequestids": requests})
        else:
            what = "Request" if len(requests) == 1 else "Requests"
            click.echo(f"{what} {', '.join(map(str, requests))} of '{builder}'.")
        return OK
    client.be_patient(patience)
    return _wait(client, requests, as_json=as_json)


def ask(client: Client, builderid: int, *, reason: str, count: int = 1, **given: Any) -> list[int]:
    """Ask for builds; returns the requests' numbers."""
    given = {key: value for key, value in given.items() if value is not None}
    bsid, _ = client.call(f"builders/{builderid}", "force", reason=reason, count=count, owner=person(), **given)
    made = client.all("buildrequests", buildsetid=bsid, order="buildrequestid")
    return [int(request["buildrequestid"]) for request in made]


def _properties(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise CliError(USAGE, f"'{item}' is no property.", "Write --property KEY=VALUE")
        if name in found:
            raise CliError(USAGE, f"The property '{name}' is given twice: '{found[name]}' and '{value}'.")
        found[name] = value
    return found


def _wait(client: Client, requests: list[int], *, as_json: bool) -> int:
    """Wait for all of them, telling what happens; returns the exit code."""
    told: dict[int, str] = {}
    done: dict[int, dict[str, Any]] = {}
    while len(done) < len(requests):
        for number in requests:
            if number not in done:
                request = references.request(client, str(number))
                if request["complete"]:
                    done[number] = request
                state = _state(client, request)
                if not as_json and told.get(number) != state:
                    told[number] = state
                    click.echo(f"Request {number}: {state}", err=not request["complete"])
        if len(done) < len(requests):
            time.sleep(PAUSE)
    if as_json:
        show.as_json([done[number] for number in requests])
    return OK if all(request["results"] in _GOOD for request in done.values()) else FAILED


def _state(client: Client, request: dict[str, Any]) -> str:
    if not request["claimed"] and not request["complete"]:
        return "waiting"
    builds = client.all("builds", f"buildrequests/{request['buildrequestid']}/builds", order="-buildid", limit=1)
    if not builds:
        return show.result(request["results"])
    build = builds[0]
    if not request["complete"]:
        return f"build {build['number']} runs"
    took = show.lasted(build["started_at"], build["complete_at"])
    return f"build {build['number']}: {show.styled(show.result(request['results']))} after {took}"
