"""Time tables in cron's manner, read in the server's time zone: of `Nightly`, and of who deletes what is old."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from lockstep.config.errors import Place, mistake


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
        from croniter import CroniterError, croniter  # type: ignore[import-untyped]

        self._found: tuple[float, float | None] | None = None
        given = {"minute": minute, "hour": hour, "dayOfMonth": dayOfMonth, "month": month, "dayOfWeek": dayOfWeek}
        fields = {name: _cron(value, weekday=name == "dayOfWeek") for name, value in given.items()}
        wrong = [name for name, field in fields.items() if len(field.split()) != 1]
        for name in wrong:
            text = f"{what}: {name}={given[name]!r} is not one field of a time table"
            mistake(text, "write a number, a list of numbers, or a text like '*/4' or 'mon-fri'", place)
        self.table = "0 * * * *" if wrong else " ".join(fields.values())
        try:
            croniter(self.table, datetime(2000, 1, 1)).get_next()
        except (CroniterError, ValueError, AttributeError) as exc:
            text = f"{what}: its times make the time table {self.table!r}, which cannot be: {exc}"
            mistake(text, place=place)
            self.table = "0 * * * *"

    def after(self, begin: float) -> float | None:
        """The first time after `begin`, Unix seconds; None if there is none."""
        if self._found is None or self._found[0] != begin:  # who asks often asks the same: it takes a millisecond
            self._found = (begin, self._first(begin))
        return self._found[1]

    def _first(self, begin: float) -> float | None:
        from croniter import croniter

        times = croniter(self.table, datetime.fromtimestamp(begin), ret_type=datetime)
        for _ in range(200):  # local times that fall into the hour that is skipped or doubled come out too early
            found: float = times.get_next(datetime).timestamp()
            if found > begin:
                return found
        return None


def _cron(value: Any, weekday: bool = False) -> str:
    """One field of a time table in cron's manner; numbers of weekdays count from Monday here and from Sunday there."""
    if isinstance(value, str):
        return str((int(value) + 1) % 7) if weekday and value.isdigit() else value
    if isinstance(value, int):
        return str((value + 1) % 7 if weekday else value)
    if isinstance(value, Iterable):
        return ",".join(_cron(one, weekday) for one in value)
    return str(value)
