"""`lockstep log`: what the commands of a build have said, all of it or as it comes."""

import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, patience_option, server_options
from lockstep.cli.codes import REFUSED, CliError, colour
from lockstep.cli.plain import plain
from lockstep.web.ages import deleted

CHUNK: Final = 5_000
"""Lines that are asked for at once."""
PAUSE: Final = 0.5
"""Seconds between two looks at a log that grows."""
_STREAMS: Final = {"e": "red", "h": "blue"}


@click.command("log", short_help="Print what a build has said.")
@click.argument("build")
@click.argument("step", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the build has ended.")
@click.option("--log", "name", default=None, help="Only the log of that name, such as stdio. [default: all but HTML]")
@patience_option
@server_options
def command(
    client: Client, build: str, step: str | None, follow: bool, name: str | None, patience: float, as_json: bool
) -> int:
    """Print the logs of BUILD (its id, or BUILDER/NUMBER): of every step, or of STEP (its name or number).

    A last line tells how it ended, unless it succeeded. A log that was deleted is named, with when and why. With
    --follow a server may be started again meanwhile, and a terminal shows how a line grows that has not ended (a
    progress bar). With --json, one object a line: step, log, stream (o, e, h), text.

    \b
    Examples:
      lockstep log full-test/4
      lockstep log full-test/4 compile
      lockstep log 17 --follow
    """
    found = references.build(client, build)
    if follow:
        client.be_patient(patience)
    reader = _Reader(client, found["buildid"], step, name, as_json=as_json, headings=step is None)
    watched = follow and not as_json and sys.stdout.isatty()
    try:
        while True:
            found = client.one("builds", f"builds/{found['buildid']}", f"build {build}")
            reader.look()
            if found["complete"] or not follow:
                break
            if watched:
                reader.show_growing()
            time.sleep(PAUSE)
    finally:
        reader.erase()
    if step is not None and not reader.steps:
        raise CliError(REFUSED, f"There is no step '{step}' in build {build}.", reader.known())
    if name is not None and name not in reader.logs:
        where = f"build {build}" if step is None else f"step {step} of build {build}"
        known = f"Its logs are: {', '.join(reader.logs)}." if reader.logs else "It has no logs."
        raise CliError(REFUSED, f"There is no log '{name}' in {where}.", known)
    if not as_json:
        _say_ends([found] if step is None else reader.steps)
    return 0


def _say_ends(ended: list[dict[str, Any]]) -> None:
    """How a build, or steps, ended, unless they succeeded: what was put back or stolen has no log that says so."""
    for one in ended:
        if one["results"]:
            click.secho(plain(f"=== {show.result(one['results'])}: {one['state_string']}"), bold=True, color=colour())


class _Reader:
    """Prints what is new in the logs of a build."""

    def __init__(
        self, client: Client, buildid: int, step: str | None, name: str | None, *, as_json: bool, headings: bool
    ) -> None:
        self.client = client
        self.path = f"builds/{buildid}/steps"
        self.wanted = step
        self.name = name
        self.as_json = as_json
        self.headings = headings
        self.steps: list[dict[str, Any]] = []
        self.logs: dict[str, None] = {}
        self._read: dict[int, int] = {}
        self._last = 0
        self._open: dict[str, Any] | None = None
        self._growing = ""

    def look(self) -> None:
        """Print what came since the last look, step by step."""
        everything = self.client.all("steps", self.path, order="number")
        self.steps = [s for s in everything if self.wanted in (None, s["name"], str(s["number"]))]
        self._open = None
        for step in self.steps:
            if step["started_at"] is None:
                continue
            for log in self.client.all("logs", f"steps/{step['stepid']}/logs"):
                self.logs[log["name"]] = None
                wanted = log["type"] != "h" if self.name is None else log["name"] == self.name
                if wanted and log["type"] == "d":
                    self._say_deleted(step, log)
                if wanted and not log["complete"]:
                    self._open = log
                if wanted and log["num_lines"] > self._read.get(log["logid"], 0):
                    self._print(step, log)

    def show_growing(self) -> None:
        """Show on a terminal what stands in a line that has not ended, of the log that is written now."""
        text = ""
        if self._open is not None:
            chunk = self.client.get(f"logs/{self._open['logid']}/growing")["logchunks"][0]
            lines = chunk["content"].split("\n")[:-1]
            text = lines[-1][self._open["type"] == "s" :] if lines else ""
        text = plain(text)[: shutil.get_terminal_size().columns - 1]
        if text != self._growing:
            self.erase()
            click.echo(text, nl=False)
            self._growing = text

    def erase(self) -> None:
        """Take away what `show_growing` has shown."""
        if self._growing:
            click.echo("\r\x1b[K", nl=False)
        self._growing = ""

    def _say_deleted(self, step: dict[str, Any], log: dict[str, Any]) -> None:
        """A log of which the text is not kept any more."""
        if log["logid"] not in self._read:
            self._read[log["logid"]] = 0
            click.secho(plain(f"=== {step['name']}: {log['name']}: {deleted(log)}"), bold=True, err=self.as_json)

    def known(self) -> str:
        """The names of all steps, for who named a wrong one."""
        names = [step["name"] for step in self.client.all("steps", self.path, order="number")]
        return f"Its steps are: {', '.join(names)}." if names else "It has no steps yet."

    def _print(self, step: dict[str, Any], log: dict[str, Any]) -> None:
        self.erase()
        if self.headings and not self.as_json and self._last != log["logid"]:
            click.secho(plain(f"=== {step['name']}: {log['name']}"), bold=True, color=colour())
        self._last = log["logid"]
        for line in self._lines(log["logid"]):
            stream, text = (line[:1], line[1:]) if log["type"] == "s" else ("o", line)
            if self.as_json:
                import json

                click.echo(json.dumps({"step": step["name"], "log": log["name"], "stream": stream, "text": text}))
            else:
                click.secho(text, fg=_STREAMS.get(stream), color=colour())

    def _lines(self, logid: int) -> Iterator[str]:
        """The lines that were not printed yet."""
        while True:
            first = self._read.get(logid, 0)
            chunk = self.client.get(f"logs/{logid}/contents", offset=first, limit=CHUNK)["logchunks"][0]
            lines = chunk["content"].split("\n")[:-1]
            self._read[logid] = first + len(lines)
            yield from lines
            if len(lines) < CHUNK:
                return
