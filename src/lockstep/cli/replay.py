"""`lockstep replay`: gives recorded events to the scheduler again, and says where it decides something else.

Traces are read and played in `sim/tracing.py`.
"""

from pathlib import Path

import click
import msgspec

from lockstep.cli import configs, show
from lockstep.cli.codes import FAILED, USAGE, CliError


@click.command("replay", short_help="Play recorded events again.")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(file: str, as_json: bool) -> int:
    """Give the events of FILE, a trace, to the scheduler of this version, and compare what it decides.

    'lockstep run --record FILE' writes such a file, and so does the simulation. The first difference is told with its
    place; then the exit code is 1. Nothing is started, and no store is touched.

    \b
    Examples:
      lockstep replay server.trace
      lockstep replay server.trace --json
    """
    from lockstep.sim.tracing import Replay, TraceError, first_difference

    replay = Replay()
    if not Path(file).is_file():
        raise CliError(USAGE, f"There is no trace '{file}'.", "'lockstep run --record FILE' writes one.")
    try:
        with Path(file).open(encoding="utf-8") as lines:
            found = first_difference(lines, replay)
    except (OSError, UnicodeDecodeError) as exc:
        raise CliError(USAGE, f"'{file}' cannot be read: {exc}.") from exc
    except TraceError as exc:
        raise CliError(USAGE, f"'{file}' is no trace: {exc}.") from exc
    if not replay.events:
        raise CliError(USAGE, f"'{file}' is no trace: it holds no events.")
    if as_json:
        difference = None if found is None else msgspec.to_builtins(found)
        show.as_json({"events": replay.events, "facts": replay.facts, "difference": difference})
    elif found is None:
        many = f"{configs.counted(replay.events, 'event')}, {configs.counted(replay.facts, 'fact')}"
        click.echo(f"{file}: {many}: everything is decided as it was.")
    else:
        click.echo(f"{file} {found}")
        if found.text:
            return FAILED
        when = f" at {show.clock(found.at)}" if found.at > 86400 else ""
        click.echo(f"That is what follows from line {found.event_line}{when}:\n  {found.event}")
    return 0 if found is None else FAILED
