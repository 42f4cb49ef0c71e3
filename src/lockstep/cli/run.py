"""`lockstep run`: a server in the foreground, until Ctrl-C. How it runs is in `serving.py`."""

import os
from typing import TYPE_CHECKING

import click

from lockstep.cli import configs, serving
from lockstep.cli.codes import CANNOT_RUN, CliError

if TYPE_CHECKING:
    from lockstep.master.server import Server
    from lockstep.sim.recording import Recording


@click.command("run", short_help="Run a server.")
@click.argument("config", default=configs.NAME)
@click.option("--basedir", help="The server's own folder: store, token, local workers. [default: CONFIG's folder]")
@click.option("--host", help="The address to listen on. [default: what c['www'] says, else 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port for pages, API and workers; 0 for any that is free. [default: what c['www'] says, else 8010]",
)
@click.option("--stop-workers", is_flag=True, help="At the end, end the local workers too, and what they run.")
@click.option("--record", metavar="FILE", help="Write what is decided into FILE, for 'lockstep replay'.")
@click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only.")
def command(
    config: str,
    basedir: str | None,
    host: str | None,
    port: int | None,
    stop_workers: bool,
    record: str | None,
    quiet: bool,
) -> int:
    """Run the server of CONFIG (default: master.cfg) in the foreground.

    The log goes to stderr. SIGHUP reads the configuration again, as 'lockstep reload' does; SIGTERM and Ctrl-C stop
    the server. Commands on workers run on meanwhile, and builds go on at the next start, also after 'kill -9'.

    With --record, every event is appended to a file with what was decided, up to a limit: if the server does something
    that it should not, 'lockstep replay' does it again. The file holds what the store holds, and no secrets.

    \b
    Examples:
      lockstep run
      lockstep run path/to/master.cfg --port 9000
      lockstep run --host 0.0.0.0        (workers and people on other machines; changes then need the token)
    """
    file = configs.find(config)
    folder = os.path.abspath(basedir) if basedir else os.path.dirname(file)
    serving.start_log(quiet=quiet)
    recorder = _recording(record) if record is not None else None

    def started(server: "Server") -> None:
        others = serving.others(server)
        click.echo(
            f"Lockstep runs at {serving.address(server)}\n"
            + (f"  for workers    also {others} (c['protocols'])\n" if others else "")
            + f"  configuration  {file} ({configs.contents(server.house.config)})\n"
            f"  folder         {folder}\n"
            f"  token          {os.path.join(folder, 'token')} (for changes from other machines)\n"
            "Ctrl-C stops the server."
        )
        configs.print_mistakes("warning", server.house.config.warnings, "yellow")

    return serving.run_server(file, folder, host, port, started, stop_workers=stop_workers, recorder=recorder)


def _recording(file: str) -> "Recording":
    from lockstep.sim.recording import Recording

    try:
        return Recording(file)
    except OSError as exc:
        raise CliError(CANNOT_RUN, f"The recording '{file}' cannot be written: {exc.strerror}.") from exc
