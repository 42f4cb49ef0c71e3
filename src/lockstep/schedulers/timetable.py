"""Time tables in cron's manner, read in the server's time zone: of `Nightly`, and of who deletes what is old."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from lockstep.config.errors import Place, mistake

_FROM_TO: Final = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "dayOfMonth": "1 to 31, 'L' the last",
    "month": "1 to 12, or 'jan' to 'dec'",
    "dayOfWeek": "0 (Monday) to 6, or 'mon' to 'sun'",
}
_OF_DAYS: Final = ("dayOfMonth", "month", "dayOfWeek")
_ONE: Final = re.compile(r"\b(\w+)-\1(/\d+)?(?!\w)")
"""A range from something to the same: cron means that one thing by it, croniter everything."""
_CHANCE: Final = re.compile(r"(^|,)[hr]", re.IGNORECASE)
"""Fields that croniter makes up: `H` and `R`."""


class TimeTable:
    """When something is done. `what` names it in a mistake, which is reported if there is no such time.

    Each field is a number, a list of numbers, or a text in cron's manner (`*/4`, `mon-fri`, `L`, `1#1`). As a number,
    `dayOfWeek` counts from Monday (0). If both `dayOfMonth` and `dayOfWeek` are given, either is enough, as in cron.
    """

    def __init__(
        self,
        what: str,
        place: Place,
        minute: Any = 0,
        hour: Any = "*",
        dayOfMonth: Any = "*",
        month: Any = "*",
        dayOfWeek: Any = "*",
    ) -> None:
        self._found: tuple[float, float | None] | None = None
        given = {"minute": minute, "hour": hour, "dayOfMonth": dayOfMonth, "month": month, "dayOfWeek": dayOfWeek}
        fields = {name: _cron(value, weekday=name == "dayOfWeek") for name, value in given.items()}
        self.table = " ".join(fields.values())
        wrong = [name for position, (name, field) in enumerate(fields.items()) if not _is_field(position, field)]
        for name in wrong:
            hint = f"it is from {_FROM_TO[name]}; write a number, a list of numbers, or a text like '*/4' or 'mon-fri'"
            mistake(f"{what}: {name}={given[name]!r} is no time", hint, place)
        if wrong:
            self.table = "0 * * * *"
        elif not _comes(self.table):
            days = ", ".join(f"{name}={given[name]!r}" for name in _OF_DAYS if given[name] != "*")
            mistake(f"{what}: there is never such a day: {days}", "change the day or the month", place)
            self.table = "0 * * * *"

    def after(self, begin: float) -> float | None:
        """The first time after `begin`, Unix seconds; None if there is none."""
        if self._found is None or self._found[0] != begin:  # who asks often asks the same: it takes a millisecond
            self._found = (begin, self._first(begin))
        return self._found[1]

    def _first(self, begin: float) -> float | None:
        from croniter import croniter  # type: ignore[import-untyped]

        times = croniter(self.table, datetime.fromtimestamp(begin), ret_type=datetime)
        for _ in range(200):  # local times that fall into the hour that is skipped or doubled come out too early
            found: float = times.get_next(datetime).timestamp()
            if found > begin:
                return found
        return None


def _is_field(position: int, field: str) -> bool:
    """Whether this can stand there in a time table."""
    table = ["*"] * len(_FROM_TO)
    table[position] = field
    return len(field.split()) == 1 and not _CHANCE.search(field) and (field == "*" or _comes(" ".join(table)))


def _comes(table: str) -> bool:
    """Whether there is a time of that table."""
    from croniter import CroniterError, croniter

    try:
        croniter(table, datetime(2000, 1, 1)).get_next()
    except (CroniterError, ValueError, AttributeError):
        return False
    return True


def _cron(value: Any, weekday: bool = False) -> str:
    """One field of a time table in cron's manner; numbers of weekdays count from Monday here and from Sunday there.

    What cannot be is left as it is, or becomes something that cannot be either.
    """
    if isinstance(value, str) and not (weekday and value.isdigit()):
        return _ONE.sub(r"\1", value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        number = int(value)
        return str(number if not weekday else (number + 1) % 7 if 0 <= number < 7 else -1)
    if isinstance(value, Iterable):
        return ",".join(_cron(one, weekday) for one in value)
    return str(value)
