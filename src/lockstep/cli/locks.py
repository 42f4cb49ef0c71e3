"""`lockstep locks`: the locks of a running server: who holds them, who waits and why, and what happened there."""

import re
from typing import Any

import click

from lockstep.cli import booking, show
from lockstep.cli.client import Client, MissingError, quoted, server_options
from lockstep.cli.codes import REFUSED, CliError
from lockstep.core.answers import times


class Period(click.ParamType[float]):
    """`90s`, `30m`, `12h`, `7d`, `2w`: seconds."""

    name = "PERIOD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds. Wrong use for anything else."""
        found = re.fullmatch(r"(\d{1,6})([smhdw])", str(value))
        if found is None or not int(found[1]):
            self.fail(f"'{value}' is no period; write 90s, 30m, 12h, 7d or 2w.", param, ctx)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]]


@click.command("locks", short_help="List the locks: who holds them, who waits, what happened.")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Also the workers' slots and build directories.")
@click.option("--history", is_flag=True, help="What happened at NAME, the newest last.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So much of the history.")
@click.option("--since", type=Period(), help="How long was waited and held in the last 7d (30m, 12h, 2w).")
@server_options
def command(
    client: Client,
    name: str | None,
    everything: bool,
    history: bool,
    limit: int,
    since: float | None,
    as_json: bool,
) -> int:
    """List the locks: limit, what is held by whom since when, and how many wait. With NAME, the queue in its order, and
    the units of a pool (POOL/UNIT is one of them).

    A worker lock is listed once for each worker.

    \b
    Examples:
      lockstep locks
      lockstep locks database
      lockstep locks database --history
      lockstep locks --since 7d
    """
    if history and name is None:
        raise click.UsageError("--history needs the name of a lock: lockstep locks NAME --history")
    path = f"locks/{quoted(name)}" if name else "locks"
    try:
        if history:
            return _history(client.all("history", f"{path}/history", limit=limit), as_json)
        if since is not None:
            return _use(client.all("lock_use", f"{path}/use" if name else "lock_use", seconds=since), as_json)
        kinds = ("master", "worker", "pool", "slot", "builddir") if everything else None
        found = client.all("locks", path, kind=None if name else kinds)
    except MissingError as exc:
        raise CliError(REFUSED, str(exc), "'lockstep locks' lists them.") from exc
    if as_json:
        show.as_json(found)
    elif name is None:
        _list(found)
    else:
        for lock in found:
            _details(lock)
    return 0


def _list(found: list[dict[str, Any]]) -> None:
    """All locks, a line each."""
    rows = [
        (
            lock["lock"],
            lock["kind"],
            _held(lock, "/") + (f" +{len(out)}" if not lock["removed"] and (out := _had(lock, out=True)) else ""),
            ", ".join(_holder(holder) for holder in lock["holders"]),
            lock["waiting"] or "",
        )
        for lock in found
    ]
    show.table(("lock", "kind", "held", "by", "waiting"), rows, "There are no locks.")


def _held(lock: dict[str, Any], of: str) -> str:
    """How much is held of how much; of a pool that is configured no more, how many units are."""
    if lock["limit"] is None or (lock["kind"] == "pool" and lock["removed"]):
        return str(len(_had(lock)) if lock["units"] else lock["used"])
    return f"{lock['used']}{of}{lock['limit']}"


def _had(lock: dict[str, Any], *, out: bool = False) -> list[str]:
    """The units of a pool that somebody has; `out`: only those that nobody else gets."""
    units = [unit for unit in lock["units"] if unit["holds"]]
    return [unit["name"] for unit in units if not out or unit["removed"] or unit["quarantine"] is not None]


def _holder(holder: dict[str, Any]) -> str:
    units = " exclusive" if holder["exclusive"] else f" x{holder['units']}" if holder["units"] != 1 else ""
    if holder["names"]:
        units = f" ({', '.join(holder['names'])})"
    lender = holder["lent_by"]
    return f"{holder['by']['text']}{units}" + (f" (lent by {lender['text']})" if lender else "")


def _details(lock: dict[str, Any]) -> None:
    """One lock: its holders, and its queue."""
    kind = "pool" if lock["kind"] == "pool" else f"{lock['kind']} lock"
    more = ", removed from the configuration" if lock["removed"] else ""
    if not more and (out := _had(lock, out=True)):
        more = f", and out of use but held: {', '.join(out)}"
    show.say(f"{lock['lock']} ({kind}): {_held(lock, ' of ')} held{more}")
    for holder in lock["holders"]:
        since = f" since {show.clock(holder['since'])}" if holder["since"] else ""
        show.say(f"  held by {_holder(holder)}{since}, fence {holder['fence']}, hold {holder['hold']}")
    _shares(lock)
    for waiter in lock["waiters"]:
        wants = "exclusive" if waiter["exclusive"] else f"{waiter['units']}"
        wants += f" where {waiter['where']}" if waiter["where"] else ""
        show.say(f"  {waiter['place']}. {waiter['by']['text']} wants {wants}: {waiter['reason']}")
    if not lock["waiters"]:
        click.echo("  nobody waits")
    for unit in lock["units"]:
        show.say(f"  {unit['name']}{_unit(lock, unit)}")


def _shares(lock: dict[str, Any]) -> None:
    """What each project has of a lock that is shared by weight."""
    shared = lock["shared"]
    if shared is None:
        return
    together = shared["together"]
    show.say("  shared by weight" + (f"; {', '.join(together)} count together:" if len(together) > 1 else ":"))
    for part in shared["parts"]:
        has = f"has {part['used']}" + (f" ({part['here']} here)" if len(together) > 1 else "")
        borrows = f", borrows {part['borrowed']:.3g}" if part["borrowed"] else ""
        show.say(f"    {part['who']}, weight {part['weight']}: {has}, due {part['due']:.3g}{borrows}")


def _unit(lock: dict[str, Any], unit: dict[str, Any]) -> str:
    """A unit of a pool: its labels, what is known of it, who has it, and whether it is out of use."""
    told = f" [{', '.join(unit['labels'])}]" if unit["labels"] else ""
    told += f" ({booking.known(unit['data'])})" if unit["data"] else ""
    had = [holder["by"]["text"] for holder in lock["holders"] if holder["hold"] in unit["holds"]]
    free = "free" if unit["quarantine"] is None and not unit["removed"] else "nobody has it"
    told += f": {'held by ' + ', '.join(had) if had else free}, used {times(unit['worn'])}"
    if unit["removed"]:
        told += ", no unit any more"
    if unit["quarantine"] is not None:
        by = unit["quarantined_by"] or "Lockstep"
        told += f", in quarantine since {show.clock(unit['quarantined_at'])} by {by}: {unit['quarantine']}"
        if unit["checked_again_at"] is not None:
            told += f", looked at again at {show.clock(unit['checked_again_at'])}"
    elif unit["failed"]:
        told += f", failed with it: {', '.join(unit['failed'])}"
    return told


def _history(found: list[dict[str, Any]], as_json: bool) -> int:
    """What happened, a line each."""
    if as_json:
        show.as_json(found)
        return 0
    rows = [
        (
            show.clock(one["at"]),
            one["lock"],
            f"limit {one['limit']}" if one["event"] == "limit" else one["event"],
            one["by"]["text"] if one["by"] else "",
            "" if not one["units"] else "whole" if one["exclusive"] else one["units"],
            "" if one["waited"] is None else show.duration(one["waited"]),
            "" if one["held"] is None else show.duration(one["held"]),
            one["fence"] or "",
            one["detail"],
        )
        for one in found
    ]
    columns = ("when", "lock", "what", "who", "units", "waited", "held", "fence", "more")
    show.table(columns, rows, "Nothing has happened there yet.")
    return 0


def _use(found: list[dict[str, Any]], as_json: bool) -> int:
    """How long was waited and held, a line for each lock."""
    if as_json:
        show.as_json(found)
        return 0
    rows = [
        (
            one["lock"],
            one["grants"],
            one["left"] or "",
            _three(one["wait"]),
            _three(one["use"]),
            "" if one["share"] is None else f"{one['share']:.0%}",
            "" if one["complete"] else "only the newest were counted",
        )
        for one in found
    ]
    columns = ("lock", "grants", "gave up", "waited 50/90/99 %", "held 50/90/99 %", "in use", "")
    show.table(columns, rows, "There are no locks.")
    return 0


def _three(told: dict[str, float] | None) -> str:
    return "" if told is None else " / ".join(show.duration(told[name]) for name in ("p50", "p90", "p99"))
