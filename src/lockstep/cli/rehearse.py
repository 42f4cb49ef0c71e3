"""`lockstep rehearse`: what a change of limits or workers would do, played in virtual time by the core itself.

Parsing, and the order of things. How it is told is in `rehearsal_told.py`, drawn in `rehearsal_picture.py`; what
happens is in `sim/`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import configs
from lockstep.cli.codes import CANNOT_RUN, FAILED, USAGE, CliError

if TYPE_CHECKING:
    from lockstep.cli.rehearsal_told import Told
    from lockstep.cli.supposed import Copies
    from lockstep.config.config import Config
    from lockstep.core.values import Setup
    from lockstep.sim.load import Made
    from lockstep.sim.rehearsal import Played

RATE, DURATION, DAYS = "2/hour", "10m", 7.0


@click.command("rehearse", short_help="Say what a change of locks or workers would do.")
@click.argument("config", default=configs.NAME)
@click.option("--history", metavar="DB", help="Take the load from a server's store: its address, or its SQLite file.")
@click.option(
    "--limit", "limits", multiple=True, metavar="LOCK=N", help="Suppose another limit (LOCK@WORKER=N: there)."
)
@click.option("--workers", "workers", multiple=True, metavar="[NAME=]+N", help="Suppose so many more workers.")
@click.option("--rate", "rates", multiple=True, metavar="[BUILDER=]N/hour", help="Suppose so many requests.")
@click.option("--duration", "durations", multiple=True, metavar="[BUILDER=]TIME", help="Suppose builds of so long.")
@click.option("--days", type=click.FloatRange(0, min_open=True), help="How long the load lasts; of a history its end.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another one makes other chances.")
@click.option("--svg", metavar="FILE", help="Draw it.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    config: str,
    history: str | None,
    limits: Sequence[str],
    workers: Sequence[str],
    rates: Sequence[str],
    durations: Sequence[str],
    days: float | None,
    seed: int,
    svg: str | None,
    as_json: bool,
) -> int:
    """Play the load of CONFIG (default: master.cfg) through the scheduler, today and with a change, in virtual time.

    With --history the requests and the times of builds and steps are those of a server's store, which may be in use;
    nothing is written there. Else requests come at random, 2/hour for each builder and with builds of 10m where --rate
    and --duration say nothing. No step fails, and no worker is away.

    --workers +2 copies the two busiest workers, NAME=+1 that one: a copy is in the list of every builder that names the
    original, right behind it, with the same slots and worker locks.

    \b
    Examples:
      lockstep rehearse --history lockstep.sqlite --limit boards=9
      lockstep rehearse --rate 4/hour --rate nightly=1/day --duration nightly=3h --workers +2 --svg waits.svg
    """
    from lockstep.cli import rehearsal_told as told
    from lockstep.cli import supposed
    from lockstep.master.clock import monotonic
    from lockstep.sim.figures import figures

    if history is not None and (rates or durations):
        raise CliError(USAGE, "--history has a server's requests and times; --rate and --duration go without it.")
    loaded = _loaded(config)
    today = loaded.setup()
    names = [worker.name for worker in today.workers]
    limited, wanted = supposed.limits(loaded.table, names, limits), supposed.copies(names, workers)
    if history is not None:
        made = _recorded(loaded, history, days, seed)
    else:
        made = _assumed(loaded, rates, durations, days or DAYS, seed)
    began = monotonic()
    played = _play(today, made)
    story = told.Told(made, [told.Side("today", today, figures(played))])
    if limited or wanted:
        changed, copied = _with_copies(loaded.supposing(limited).setup(), wanted, played)
        story.changes = told.changes(today, limited, copied)
        story.sides.append(told.Side("changed", changed, figures(_play(changed, made))))
    story.took = monotonic() - began
    if svg is not None:
        _draw(story, svg)
    if as_json:
        told.as_json(story)
    else:
        told.tell(story)
    return 0


def _loaded(config: str) -> "Config":
    from lockstep.compat.loading import load_config
    from lockstep.config.errors import ConfigErrors

    try:
        return load_config(configs.find(config))
    except ConfigErrors as exc:
        raise configs.wrong(exc) from exc


def _steps(config: "Config") -> dict[str, list[str]]:
    """The names of each builder's steps, but for those that never run."""
    return {
        name: [step.name if isinstance(step.name, str) else "" for step in builder.factory.steps]
        for name, builder in config.builders.items()
    }


def _address(history: str) -> str:
    """The address of a store that is meant: as given, or of an SQLite file, which must be there."""
    from lockstep.core.answers import listed

    given = history if "://" not in history else history.removeprefix("sqlite:///")
    if "://" in given:
        return given
    path = Path(given)
    if path.is_file():
        return f"sqlite:///{os.path.abspath(path)}"
    what = f"'{given}' is a folder, no store." if path.is_dir() else f"There is no file '{given}'."
    there = sorted((path if path.is_dir() else path.parent).glob("*.sqlite"))
    hint = f"Stores here: {listed([str(each) for each in there])}." if there else "Name the SQLite file of a server."
    raise CliError(USAGE, what, hint)


def _recorded(config: "Config", history: str, days: float | None, seed: int) -> "Made":
    from lockstep.cli.show import clock
    from lockstep.core.durations import seconds_of
    from lockstep.sim.limits import MAX_REHEARSED
    from lockstep.sim.load import recorded
    from lockstep.storage.errors import StoreError
    from lockstep.storage.queries import Queries

    try:
        reads = Queries(_address(history))
        try:
            requests, whole = reads.requests_since(days, MAX_REHEARSED)
        finally:
            reads.close()
    except StoreError as exc:
        raise CliError(CANNOT_RUN, f"The history cannot be read: {exc}.") from exc
    made = recorded(config.setup(), _steps(config), requests, seconds_of(DURATION) or 0.0, seed)
    if whole:
        made.notes.append(f"What was asked for before {clock(whole)} is not played: most of it has been deleted.")
    if not made.asks:
        raise CliError(
            FAILED, f"'{history}' has no requests for builders of this configuration.", "\n".join(made.notes)
        )
    if len(requests) == MAX_REHEARSED:
        made.notes.append(f"Only the newest {MAX_REHEARSED:,} requests of the history are played.")
    return made


def _assumed(config: "Config", rates: Sequence[str], durations: Sequence[str], days: float, seed: int) -> "Made":
    from lockstep.cli import supposed
    from lockstep.sim.limits import MAX_REHEARSED
    from lockstep.sim.load import SPREAD, assumed, started_by_others

    setup = config.setup()
    names = [builder.name for builder in setup.builders]
    others = started_by_others(setup)
    hourly = supposed.rates(names, rates, {name: 0.0 if name in others else 2.0 for name in names})
    count = sum(hourly.values()) * days * 24
    if count > MAX_REHEARSED:
        told = f"{count:,.0f} requests in {days:g} days are more than the {MAX_REHEARSED:,} that are rehearsed at once."
        raise CliError(USAGE, told, "Say fewer --days, or a lower --rate.")
    made = assumed(setup, _steps(config), hourly, supposed.lengths(names, durations, DURATION), days * 86400, seed)
    if not made.asks:
        raise CliError(FAILED, "Nothing is asked for in this time.", "Say a higher --rate, or more --days.")
    made.notes.append(
        f"Assumed where --rate and --duration say nothing: {RATE} for each builder, builds of {DURATION}. Requests "
        f"come at random and are not merged; times vary (log-normal, spread {SPREAD:g}), each step takes as long."
    )
    if others:
        listed = ", ".join(f"'{name}'" for name in sorted(others))
        made.notes.append(f"Started by builds of others, and by nobody else unless --rate names them: {listed}.")
    return made


def _play(setup: "Setup", made: "Made") -> "Played":
    from lockstep.sim.rehearsal import Rehearsal

    return Rehearsal(setup, made.span).play(made.asks)


def _with_copies(setup: "Setup", wanted: "Sequence[Copies]", today: "Played") -> "tuple[Setup, list[tuple[str, str]]]":
    """The set-up with more workers, and (copy, original) of each. Of no special one: the busiest of today in turn."""
    from lockstep.core.state import slot_key
    from lockstep.sim.change import with_copy

    def busy(name: str) -> float:
        levels = today.uses[slot_key(name)].levels
        return sum(units * seconds for units, seconds in levels.items())

    busiest = sorted((worker.name for worker in setup.workers), key=busy, reverse=True)
    copied: list[tuple[str, str]] = []
    for one in wanted:
        for number in range(one.count):
            original = one.worker or busiest[number % len(busiest)]
            same = sum(of == original for _, of in copied)
            copied.append((f"{original}+{same + 1}", original))
            setup = with_copy(setup, original, copied[-1][0])
    return setup, copied


def _draw(story: "Told", file: str) -> None:
    from lockstep.cli.rehearsal_picture import draw

    try:
        Path(file).write_text(draw(story), encoding="utf-8")
    except OSError as exc:
        raise CliError(FAILED, f"The picture '{file}' cannot be written: {exc.strerror}.") from exc
