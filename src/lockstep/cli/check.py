"""`lockstep check`: reads a configuration and says all that is wrong with it. It starts nothing."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import configs
from lockstep.cli.codes import FAILED, CliError

if TYPE_CHECKING:
    from lockstep.config.config import Config


@click.command("check", short_help="Say all that is wrong with a configuration.")
@click.argument("config", default=configs.NAME)
@click.option("--graph", metavar="FILE.svg", help="Draw who holds which lock while asking for another.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(config: str, graph: str | None, as_json: bool) -> int:
    """Read CONFIG (default: master.cfg) and say all that is wrong with it, each with file and line.

    Warnings name what is probably not meant and builds that could wait for each other for ever, notes what has no
    effect and what is known only while builds run. The exit code is 1 if there is a mistake; warnings and notes alone
    leave it at 0. Nothing is started, but the file is executed, as a server would.

    \b
    Examples:
      lockstep check
      lockstep check path/to/master.cfg
      lockstep check --graph locks.svg
    """
    from lockstep.compat.loading import load_config
    from lockstep.config.errors import ConfigErrors

    file = configs.find(config)
    try:
        loaded = load_config(file)
    except ConfigErrors as exc:
        if not as_json:
            raise configs.wrong(exc) from exc
        click.echo(_as_json(exc.mistakes, exc.warnings, ()))
        return FAILED
    if graph is not None:
        _draw(loaded, graph)
    if as_json:
        click.echo(_as_json((), loaded.warnings, loaded.notes))
        return 0
    if graph is not None:
        click.echo(f"{graph}: who holds which lock while asking for another.")
    configs.print_mistakes("warning", loaded.warnings, "yellow")
    configs.print_mistakes("note", loaded.notes, "cyan")
    click.echo(f"{config}: no mistakes; {configs.contents(loaded)}.")
    return 0


def _draw(config: "Config", graph: str) -> None:
    """Write the picture."""
    from lockstep.cli.picture import draw

    picture = draw(config.setup(), config.rings.found.edges, os.path.basename(config.file))
    try:
        Path(graph).write_text(picture, encoding="utf-8")
    except OSError as exc:
        raise CliError(FAILED, f"The picture '{graph}' cannot be written: {exc.strerror}.") from exc


def _as_json(mistakes: tuple, warnings: tuple, notes: tuple) -> str:  # type: ignore[type-arg]
    def listed(found: tuple) -> list[dict[str, object]]:  # type: ignore[type-arg]
        return [{"file": m.place.file, "line": m.place.line, "text": m.text, "hint": m.hint} for m in found]

    return json.dumps({"mistakes": listed(mistakes), "warnings": listed(warnings), "notes": listed(notes)}, indent=1)
