"""`lockstep exec`: runs any command on any machine under locks, and ends it when they are lost (`under_locks.py`)."""

import os
import secrets
import sys
from collections.abc import Callable
from typing import Any

import click

from lockstep.cli import booking
from lockstep.cli.booking import SHORTEST, Duration
from lockstep.cli.client import Client, address_options, patience_option, person
from lockstep.cli.codes import CANNOT_RUN, INTERRUPTED, CliError
from lockstep.cli.under_locks import Run
from lockstep.core.limits import MIN_LEASE
from lockstep.worker.guard import guarded


@click.command(
    "exec",
    short_help="Run a command under locks.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--lock", "locks", multiple=True, required=True, help="A lock; may be repeated: all of them, or none.")
@click.option(
    "--mode",
    type=click.Choice(["exclusive", "counting"]),
    help="[default: exclusive; counting with --count, and of pools]",
)
@click.option("--count", type=click.IntRange(1), help="Units of each lock.")
@click.option("--where", default="", metavar="EXPRESSION", help="Of a pool: units with these labels.")
@click.option("--timeout", type=Duration(), help="Wait so long for the locks (2h, 30m, 90 s), then give up.")
@click.option(
    "--lease", type=Duration(MIN_LEASE), default=60.0, show_default=True, help="Without a server for so long: end."
)
@click.option(
    "--for", "seconds", type=Duration(SHORTEST), default=0.0, help="The locks, and the command, end after so long."
)
@click.option("--reason", default="", help="What for. [default: the name of the program]")
@click.option("--after-current", is_flag=True, help="Be next: nobody who comes later, and nobody who waits, may pass.")
@click.option("--priority", type=int, default=0, help="As a request's: a greater one comes first.")
@click.option("--quiet", is_flag=True, help="Do not say what is waited for.")
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@patience_option
@address_options
def command(
    client: Client,
    locks: tuple[str, ...],
    mode: str | None,
    count: int | None,
    where: str,
    timeout: float | None,
    lease: float,
    seconds: float,
    reason: str,
    after_current: bool,
    priority: int,
    quiet: bool,
    words: tuple[str, ...],
    patience: float,
) -> int:
    """Run COMMAND, on this machine, while LOCK is held; of a pool one unit, unless --mode or --count say more.

    It gets the fences in LOCKSTEP_FENCE_<NAME>, and the units of a pool in LOCKSTEP_UNITS_<POOL>. Its input and output
    are not touched, and its exit code is passed on (128 and the signal's number, if a signal ended it). With the
    command everything ends that it has started. If the lock is lost, because no server could be reached for as long as
    the lease or because somebody took it away, all of that is killed.

    \b
    Exit codes of its own: 124 no lock within --timeout, 125 the lock was lost, 126 and 127 COMMAND cannot be run or is
    not there, 3 no server answers, 4 the server refused, 5 it cannot go on, 130 Ctrl-C or SIGTERM while it waited.

    \b
    Examples:
      lockstep exec --lock database -- ./migrate.sh
      lockstep exec --lock licences --count 2 --timeout 10m -- make simulation
      lockstep exec --lock boards --where arm64 -- ./flash.sh
    """
    if mode == "exclusive" and count is not None:
        raise click.UsageError("--count is for --mode counting: exclusive takes all of it.")
    if where and len(locks) > 1:
        raise click.UsageError("--where is for a single --lock; with several write --lock 'POOL where EXPRESSION'.")
    units = (count or 1) if mode == "counting" or count else None
    key = secrets.token_urlsafe(24)
    given: dict[str, Any] = {"for": seconds, "lease": lease, "after_current": after_current, "priority": priority}
    given |= {"owner": person(), "key": key}
    whole = mode == "exclusive"
    given["locks"] = [booking.wanted(lock, units, exclusive=whole, where=where) for lock in locks]
    what = reason or os.path.basename(words[0]).encode(errors="replace").decode()[:200]
    run = Run(client, key, list(words), {**given, "reason": what})
    return guarded(lambda deadline: _told(lambda: run.run(deadline, timeout, patience, quiet=quiet)))


def _told(work: Callable[[], int]) -> int:
    """Errors as sentences, in the process that does the work."""
    try:
        return work()
    except CliError as error:
        error.show()
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        text = f"It cannot go on ({type(error).__name__}: {error}). What it had started is ended."
        CliError(CANNOT_RUN, text).show()
        return CANNOT_RUN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
