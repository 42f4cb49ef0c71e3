"""What `lockstep rehearse` is told to suppose, understood: limits, workers, rates, times. Errors are sentences.

What follows from it is in `sim/`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from lockstep.cli.codes import USAGE, CliError
from lockstep.core.durations import HOW, seconds_of
from lockstep.core.limits import MAX_UNITS
from lockstep.core.nouns import LockKey

if TYPE_CHECKING:
    from lockstep.config.lock_table import LockTable

MAX_COPIES: Final = 1_000
"""Workers that may be supposed beside those that there are."""

_AN_HOUR: Final = {"s": 3600.0, "min": 60.0, "m": 60.0, "h": 1.0, "d": 1 / 24, "w": 1 / 168}
_UNITS: Final = {"second": "s", "minute": "min", "hour": "h", "day": "d", "week": "w"}


class Copies(Struct, frozen=True):
    """So many more workers: copies of this one, or (no name) of the busiest."""

    worker: str
    count: int


def limits(table: "LockTable", workers: Iterable[str], given: Sequence[str]) -> dict[LockKey, int]:
    """`LOCK=N` and `LOCK@WORKER=N`: the locks with their supposed limits."""
    known = {(lock.kind, lock.name) for lock in table.all()}
    names = list(workers)
    found: dict[LockKey, int] = {}
    for one in given:
        lock, count = _pair(one, "--limit", "LOCK=N")
        number = int(count) if re.fullmatch(r"[0-9]{1,13}", count) else -1
        if not 0 <= number <= MAX_UNITS:
            raise CliError(USAGE, f"--limit {one}: '{count}' is no limit; write a whole number, 0 to {MAX_UNITS}.")
        if lock in table.pools:
            text = f"--limit {one}: '{lock}' is a pool: its units have names, and no limit can be supposed for it."
            raise CliError(USAGE, text, "Give the pool other units in a copy of the configuration.")
        name, at, worker = (lock, "", "") if ("master", lock) in known else lock.partition("@")
        if at:
            _known(worker, names, f"--limit {one}: there is no worker", "lockstep check reads the configuration.")
        if not at and ("master", name) in known:
            found[LockKey("master", name)] = number
        elif ("worker", name) in known:
            found.update({LockKey("worker", name, here): number for here in ([worker] if at else names)})
        else:
            kinds = [known_name for kind, known_name in known if kind == "worker" or not at]
            _known(name, kinds, f"--limit {one}: there is no {'worker ' * bool(at)}lock")
    return found


def copies(workers: Sequence[str], given: Sequence[str]) -> list[Copies]:
    """`+N` and `NAME=+N`."""
    found = []
    for one in given:
        name, _, more = one.rpartition("=")
        if not re.fullmatch(r"\+[0-9]{1,4}", more) or ("=" in one and not name):
            raise CliError(USAGE, f"--workers {one}: write +N, or NAME=+N for more of one kind.")
        if name:
            _known(name, workers, f"--workers {one}: there is no worker")
        found.append(Copies(name, int(more)))
    if not workers and found:
        raise CliError(USAGE, "The configuration has no worker that could be copied.")
    if sum(one.count for one in found) > MAX_COPIES:
        raise CliError(USAGE, f"--workers: at most {MAX_COPIES} more workers can be supposed.")
    return found


def rates(builders: Sequence[str], given: Sequence[str], others: Mapping[str, float]) -> dict[str, float]:
    """`BUILDER=6/hour` and `6/hour` for all that are not named: requests an hour of each builder.

    `others` are the rates of whom neither says anything.
    """
    found, common = {}, None
    for one in given:
        name, _, rate = one.rpartition("=")
        value = _rate(rate, one)
        if name:
            _known(name, builders, f"--rate {one}: there is no builder")
            found[name] = value
        else:
            common = value
    return {name: found.get(name, common if common is not None and rate else rate) for name, rate in others.items()}


def lengths(builders: Sequence[str], given: Sequence[str], default: str) -> dict[str, float]:
    """`BUILDER=12m` and `12m` for all that are not named: seconds of a build of each builder."""
    found, common = {}, seconds_of(default) or 0.0
    for one in given:
        name, _, text = one.rpartition("=")
        value = seconds_of(text)
        if value is None:
            raise CliError(USAGE, f"--duration {one}: '{text}' is no length of time; {HOW}.")
        if name:
            _known(name, builders, f"--duration {one}: there is no builder")
            found[name] = value
        else:
            common = value
    return {name: found.get(name, common) for name in builders}


def _rate(text: str, given: str) -> float:
    """`6/hour`, `1/day`, `3/2h`: how many an hour."""
    count, slash, unit = text.partition("/")
    unit = _UNITS.get(unit.strip().removesuffix("s"), unit.strip())
    seconds = 3600 / _AN_HOUR[unit] if unit in _AN_HOUR else seconds_of(unit)
    if not slash or not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", count) or not seconds:
        raise CliError(USAGE, f"--rate {given}: '{text}' is no rate; write it as 6/hour, 1/day or 3/2h.")
    return float(count) * 3600 / seconds


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not name:
        raise CliError(USAGE, f"{option} {text}: write it as {form}.")
    return name, value.strip()


def _known(name: str, names: Iterable[str], problem: str, hint: str = "") -> None:
    """Refuse a name that is not there, with the nearest one that is."""
    known = sorted(set(names))
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        raise CliError(USAGE, f"{problem} '{name}'.", f"Did you mean '{near[0]}'?" if near else hint)
