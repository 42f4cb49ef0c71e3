"""The check of a pool's units before they are handed over: a program on the server, and its words for each unit; and
after how long those that failed it are looked at again.

Only reading and refusing; the server runs it (`health.py` in `master/`).
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from lockstep.config.errors import Place, mistake
from lockstep.core.answers import exactly
from lockstep.core.durations import HOW, seconds_of
from lockstep.core.limits import MAX_WAIT_SECONDS, MIN_RETRY
from lockstep.core.told_units import as_text
from lockstep.core.values import UnitSetup

_PLACE: Final = re.compile(r"%\(([^)]*)\)s")
_HOW: Final = "write a list of texts, as in ['ping', '-c1', '%(unit:address)s']"


class HealthCheck:
    """The words of a program. `%(unit)s` in them is a unit's name, `%(unit:address)s` what is known of it."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take the words as `health_check` has checked them."""
        self._words = tuple(words)

    def of(self, unit: UnitSetup) -> list[str]:
        """The words for one unit. Raises KeyError for what is not known of it."""
        known = {"unit": unit.name, **{f"unit:{key}": as_text(value) for key, value in unit.data.items()}}
        return [_PLACE.sub(lambda found: known[found[1]], word) for word in self._words]


def health_check(given: Any, units: Sequence[UnitSetup], what: str, place: Place) -> HealthCheck | None:
    """A pool's `healthCheck`; None if there is none, or after reporting what is wrong with it."""
    if given is None:
        return None
    if not isinstance(given, list | tuple) or not given or not all(isinstance(word, str) for word in given):
        mistake(f"{what}: healthCheck must be a program and its arguments, not {given!r}", _HOW, place)
        return None
    if odd := [word for word in given if "%(" in _PLACE.sub("", word)]:
        mistake(f"{what}: healthCheck: {odd[0]!r} has no name in parentheses with an s behind them", _HOW, place)
        return None
    check = HealthCheck(given)
    for unit in units:
        try:
            words = check.of(unit)
        except KeyError as exc:
            known = ", ".join(["unit", *(f"unit:{key}" for key in unit.data)])
            hint = f"of it are known: {known}"
            mistake(f'{what}: healthCheck: there is no "{exc.args[0]}" of unit "{unit.name}"', hint, place)
            return None
        if not words[0] or any("\0" in word for word in words):
            mistake(f'{what}: healthCheck: {words!r} of unit "{unit.name}" is no program', _HOW, place)
            return None
    return check


def health_check_retry(given: Any, check: Any, what: str, place: Place) -> float:
    """After how many seconds units that failed a pool's `healthCheck` are looked at again.

    0 if they are not, or after reporting what is wrong.
    """
    if given is None:
        return 0.0
    seconds = seconds_of(given)
    if seconds is None or not MIN_RETRY <= seconds <= MAX_WAIT_SECONDS:
        known = f"a time from {exactly(MIN_RETRY)} to {exactly(MAX_WAIT_SECONDS)}"
        mistake(f"{what}: healthCheckRetry must be {known}, not {given!r}", HOW, place)
        return 0.0
    if check is None:
        hint = "say how a unit is looked at"
        mistake(f"{what}: healthCheckRetry says nothing without healthCheck", hint, place)
        return 0.0
    return seconds
