"""How things look on the screen: tables, results, times. rich is loaded only for a table on a terminal."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from lockstep.cli.codes import colour
from lockstep.cli.plain import plain
from lockstep.master.clock import wall

RESULTS: Final = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
_FG: Final = {
    "success": "green",
    "warnings": "yellow",
    "failure": "red",
    "exception": "magenta",
    "retry": "magenta",
    "running": "blue",
    "waiting": "yellow",
}


def as_json(value: Any) -> None:
    """Print a value for machines."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def say(text: str, *, err: bool = False) -> None:
    """Print a line that has names or reasons in it, which others have chosen."""
    click.echo(plain(text), err=err)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Print a table: for eyes on a terminal; elsewhere in plain columns that are never cut. `empty` if no rows."""
    cells = [["" if cell is None else plain(str(cell)) for cell in row] for row in rows]
    if not rows:
        click.echo(empty)
    elif sys.stdout.isatty():
        _rich_table(columns, cells)
    else:
        widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
        for row in [[column.upper() for column in columns], *cells]:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def short(text: str, most: int = 100) -> str:
    """A sentence in a table: the beginning of a long one."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell, style=_FG.get(cell.split(" ")[0], "")) for cell in row))
    Console(no_color=not colour(), highlight=False).print(made)


def result(number: int | None, unfinished: str = "running") -> str:
    """The word for a result."""
    return unfinished if number is None else RESULTS[number] if 0 <= number < len(RESULTS) else str(number)


def styled(word: str) -> str:
    """A result's word in its colour, where colours are wanted."""
    return click.style(word, fg=_FG[word]) if colour() and word in _FG else word


def clock(seconds: float | None) -> str:
    """A moment, as local time; with the date if it is not of today."""
    if seconds is None:
        return ""
    then = time.localtime(seconds)
    today = then[:3] == time.localtime(wall())[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def duration(seconds: float) -> str:
    """`5 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def lasted(start: float | None, end: float | None) -> str:
    """How long something took, or has taken until now."""
    if start is None:
        return ""
    return duration((wall() if end is None else end) - start)
