"""How a rehearsal is told: what was supposed, waits, use, worst cases and warnings, today beside the change.

As text and as JSON; the picture is in `rehearsal_picture.py`. Nothing is worked out here but words.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import click
import msgspec
from msgspec import Struct, field

from lockstep.cli import show
from lockstep.cli.configs import counted
from lockstep.core.nouns import UNLIMITED, LockKey
from lockstep.core.values import Setup
from lockstep.sim.figures import RARELY, Figures, Used, Waits, Worst
from lockstep.sim.load import Made


class Side(Struct):
    """A set-up, and what came of the load there."""

    name: str
    setup: Setup
    figures: Figures


class Told(Struct):
    """All that there is to tell. With a change, there are two sides."""

    made: Made
    sides: list[Side]
    changes: list[str] = field(default_factory=list)
    took: float = 0.0


def changes(today: Setup, limits: Mapping[LockKey, int], copied: Sequence[tuple[str, str]]) -> list[str]:
    """What is different, a sentence each."""
    before = {lock.key: lock.limit for lock in today.locks}
    told = [f"{key}: {_limit(before.get(key, limit))} → {limit}" for key, limit in limits.items()]
    return told + [f"one more worker, {copy}, like {original}" for copy, original in copied]


def _limit(limit: int) -> str:
    return "no limit" if limit >= UNLIMITED else str(limit)


def days(seconds: float) -> str:
    """A long time: in days, or as usual."""
    if seconds < 86400:
        return show.duration(seconds)
    told = f"{seconds / 86400:.3g}"
    return f"{told} day{'s' if told != '1' else ''}"


def load(story: Told) -> str:
    """The load in one sentence."""
    asked = len(story.made.asks)
    all_ = story.sides[0].figures.requests
    more = f", and {counted(all_ - asked, 'request')} of their builds" if all_ > asked else ""
    return f"{counted(asked, 'request')} in {days(story.made.span)}{more}"


def rows_of_waits(story: Told) -> list[list[str]]:
    """The table of waits."""
    found = [side.figures for side in story.sides]
    names = sorted({name for one in found for name in one.builders})
    none = Waits(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    rows = [("all", [one.total for one in found])]
    rows += [(name, [one.builders.get(name, none) for one in found]) for name in names]
    return [
        [
            name,
            _beside([str(one.count) for one in waits]),
            *(_beside([show.duration(getattr(one, what)) for one in waits]) for what in ("mean", "most", "worst")),
            _beside([show.duration(one.in_steps) for one in waits]),
        ]
        for name, waits in rows
    ]


def rows_of_use(story: Told) -> list[list[str]]:
    """The table of use: locks, then workers."""
    sides = [{used.key: used for used in side.figures.uses} for side in story.sides]
    keys = sorted({key for side in sides for key in side}, key=lambda key: (key.kind == "slot", key))
    rows = []
    for key in keys:
        used = [side.get(key) for side in sides]
        rows.append([str(key), *(_beside([text(one) for one in used]) for text in (_units, share, _peak))])
    return rows


def _units(used: Used | None) -> str:
    return "-" if used is None else "no limit" if used.limit is None else str(used.limit)


def share(used: Used | None) -> str:
    """How much of it was in use."""
    if used is None:
        return "-"
    return f"{used.average:.1f} at once" if used.share is None else f"{used.share:.0%}"


def _peak(used: Used | None) -> str:
    return "-" if used is None else str(used.peak)


def _beside(texts: Sequence[str]) -> str:
    """Today beside the change; once, if they are the same."""
    return texts[0] if len(set(texts)) == 1 else " → ".join(texts)


def worst(one: Worst) -> str:
    """A worst case as a sentence."""
    days, seconds = divmod(one.at, 86400)
    when = f"day {days + 1:.0f}, {seconds // 3600:02.0f}:{seconds % 3600 // 60:02.0f}"
    steps = f", and {show.duration(one.in_steps)} for locks of its steps" if one.in_steps >= 1 else ""
    passed = f"; {one.passed} that came later began before it" if one.passed else ""
    return f"{one.builder}, asked for on {when}, waited {show.duration(one.waited)}{steps}{passed}"


# --- warnings


def warnings(story: Told) -> list[str]:
    """What somebody should know, of each side or of both."""
    sides = [_warnings(side) for side in story.sides]
    found = [_said(text, [text in side for side in sides], story) for text in dict.fromkeys(chain(*sides))]
    return found + _unknown(story.sides[0].setup)


def _said(text: str, where: list[bool], story: Told) -> str:
    if all(where):
        return text
    return f"{'Today' if where[0] else 'With the change'}: {text}"


def _warnings(side: Side) -> list[str]:
    figures = side.figures
    told = [
        f"{counted(count, 'request')} of '{name}' never got through: {why}"
        for name, (count, why) in sorted(figures.stuck.items())
    ]
    for name in figures.starving:
        waits = figures.builders[name]
        mean, total = show.duration(waits.mean), show.duration(figures.total.mean)
        told.append(f"'{name}' starves: its requests wait {mean} on average, all requests {total}.")
    if figures.backlog >= 10 and figures.backlog > figures.total.count * 0.05:
        told.append(f"More comes than can be built: {figures.backlog} requests still waited when the time was over.")
    for name, count in sorted(figures.gave_up.items()):
        told.append(f"{counted(count, 'request')} of '{name}' ended without a build, as the rules of its locks say.")
    if figures.put_back:
        told.append(f"{counted(figures.rings, 'deadlock')}: {counted(figures.put_back, 'build')} had to be put back.")
    return told + [_idle(used) for used in figures.uses if used.limit and used.idle]


def _idle(used: Used) -> str:
    what = str(used.key)
    if not used.peak:
        return f"{what} {'ran nothing' if used.key.kind == 'slot' else 'was never used'}."
    if used.idle == used.limit:
        return f"{what} is hardly ever used (less than {RARELY:.0%} of the time)."
    idle = counted(used.idle, "slot" if used.key.kind == "slot" else "unit")
    rarely = f"in use for less than {RARELY:.0%} of the time"
    return f"{what}: {idle} of {used.limit} idle; more than {(used.limit or 0) - used.idle} {rarely}."


def _unknown(setup: Setup) -> list[str]:
    """What only a server with its hooks and properties would know."""
    told = []
    rendered = [f"'{builder.name}'" for builder in setup.builders if builder.open]
    if rendered:
        names = ", ".join(rendered)
        told.append(f"Locks of {names} are rendered for each request: here only those count that are always there.")
    asked = [f"'{b.name}'" for b in setup.builders if (b.need is None and not b.open) or b.asked or b.collapse_asked]
    if asked:
        told.append(
            f"Hooks choose for {', '.join(asked)}: they are not asked here; workers go by their order in the list."
        )
    return told


# --- printing


def tell(story: Told) -> None:
    """Print all of it."""
    count = sum(side.figures.total.count for side in story.sides)
    click.echo(f"Load: {load(story)}.")
    for note in story.made.notes:
        click.echo(f"  {note}")
    if story.made.waited is not None:
        mean = show.duration(story.sides[0].figures.total.mean)
        click.echo(f"  Builds began after {show.duration(story.made.waited)} on average; played today, after {mean}.")
    for change in story.changes:
        click.echo(f"Change: {change}.")
    click.echo(
        f"Played {counted(count, 'build')} in {story.took:.1f} s ({count / max(story.took, 0.001):,.0f} a second)."
    )
    arrow = " (today → changed)" if len(story.sides) > 1 else ""
    click.echo(f"\nWaits until builds begin{arrow}")
    show.table(("builder", "builds", "mean", "95 of 100", "worst", "more in steps"), rows_of_waits(story), "")
    click.echo(f"\nUse while requests came{arrow}")
    show.table(("what", "units", "in use", "most at once"), rows_of_use(story), "There is nothing to use.")
    for side in story.sides:
        if side.figures.worst:
            click.echo(f"\nWorst cases{', ' + side.name if len(story.sides) > 1 else ''}")
        for number, one in enumerate(side.figures.worst, 1):
            click.echo(f"  {number}. {worst(one)}")
    found = warnings(story)
    if found:
        click.echo("")
    for text in found:
        click.secho(f"Warning: {text}", fg="yellow")


def as_json(story: Told) -> None:
    """Print it for machines. Times are in seconds."""

    def side(one: Side) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(one.figures)
        plain["stuck"] = {name: {"count": n, "why": why} for name, (n, why) in one.figures.stuck.items()}
        for used, raw in zip(one.figures.uses, plain["uses"], strict=True):
            raw["key"] = {"kind": used.key.kind, "name": used.key.name, "worker": used.key.worker}
        return plain

    show.as_json(
        {
            "load": {
                "requests": len(story.made.asks),
                "seconds": story.made.span,
                "notes": story.made.notes,
                "waited": story.made.waited,
            },
            "changes": story.changes,
            "took": story.took,
            "warnings": warnings(story),
            **{one.name: side(one) for one in story.sides},
        }
    )
