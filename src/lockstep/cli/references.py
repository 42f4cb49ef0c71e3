"""What people call builds, requests and builders on the command line, and what the server knows them by."""

from difflib import get_close_matches
from typing import Any

from lockstep.cli.client import Client
from lockstep.cli.codes import REFUSED, USAGE, CliError
from lockstep.core.nouns import told_lock


def is_number(text: str) -> bool:
    """Whether a text is a whole number from 0 on, as ids are."""
    return text.isascii() and text.isdigit() and len(text) < 19


def builder_names(client: Client) -> dict[int, str]:
    """The builders' names by id."""
    return {builder["builderid"]: builder["name"] for builder in client.all("builders")}


def builder(client: Client, name: str) -> dict[str, Any]:
    """A builder, by its name. CliError with the nearest name if there is none."""
    builders = client.all("builders")
    for one in builders:
        if one["name"] == name:
            return one
    names = [one["name"] for one in builders]
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else "'lockstep builders' lists them."
    raise CliError(REFUSED, f"There is no builder '{name}'.", hint)


def build(client: Client, reference: str) -> dict[str, Any]:
    """A build: its id, or BUILDER/NUMBER."""
    if is_number(reference):
        return client.one("builds", f"builds/{reference}", f"build {reference}")
    name, slash, number = reference.rpartition("/")
    if not slash or not is_number(number):
        raise CliError(USAGE, f"'{reference}' is no build.", "Write its id, or BUILDER/NUMBER.")
    found = builder(client, name)
    return client.one("builds", f"builders/{found['builderid']}/builds/{number}", f"build {number} of '{name}'")


def request(client: Client, number: str) -> dict[str, Any]:
    """A request, by its id."""
    return client.one("buildrequests", f"buildrequests/{number}", f"request {number}")


def told(kind: str, what: str) -> str:
    """A lock of that kind in a sentence, as somebody has named it: `lock 'db'`, `unit 'boards/pi-1'`."""
    name = what.removeprefix("lock:")
    one = kind == "pool" and "/" in name.partition(" ")[0]
    return f"unit '{name}'" if one else told_lock(kind, name)


def is_build(reference: str) -> bool:
    """Whether `REQUEST|BUILD` names a build: `BUILDER/NUMBER` does, a plain number is a request."""
    if is_number(reference):
        return False
    if "/" in reference:
        return True
    raise CliError(
        USAGE, f"'{reference}' is neither a request nor a build.", "Write a request's id, or BUILDER/NUMBER."
    )


def reasons(client: Client) -> dict[tuple[str, int], str]:
    """Why things wait, by ("request", id) or ("build", id); what is not in it does not wait for locks or workers."""
    found: dict[tuple[str, int], str] = {}
    for claim in client.all("claims", state="waiting"):
        party = claim["by"]
        kind, number = ("build", party["buildid"]) if party["buildid"] else ("request", party["requestid"])
        if number:
            found[kind, number] = claim["reason"] or ""
    return found
