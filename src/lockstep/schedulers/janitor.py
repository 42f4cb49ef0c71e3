"""How long logs and builds are kept, and when what is older is deleted: `util.JanitorConfigurator`.

Here is the user's object and its checks. Who looks at the time is `master/janitor.py`, what is deleted
`storage/deleting.py`.
"""

from datetime import timedelta
from typing import Any, Final

from lockstep.config.errors import check_keywords, here, mistake, note, warning
from lockstep.core.limits import MIN_HORIZON
from lockstep.schedulers.timetable import TimeTable

_KEYWORDS: Final = (
    "logHorizon",
    "buildHorizon",
    "build_data_horizon",
    "minute",
    "hour",
    "dayOfMonth",
    "month",
    "dayOfWeek",
)
_NOT_YET: Final = (
    "branch",
    "change_filter",
    "codebases",
    "createAbsoluteSourceStamps",
    "fileIsImportant",
    "onlyIfChanged",
    "onlyImportant",
    "priority",
    "properties",
    "reason",
)
_HINT: Final = "write timedelta(weeks=4), after `from datetime import timedelta`"


class JanitorConfigurator:
    """Delete what is old at the times of a time table, by default at midnight.

    `logHorizon` and `buildHorizon` are timedeltas: so long after builds have ended the text of their logs is deleted,
    and all of them with what belongs to them. The times are those of `Nightly`.
    """

    def __init__(
        self,
        logHorizon: Any = None,
        hour: Any = 0,
        build_data_horizon: Any = None,
        buildHorizon: Any = None,
        minute: Any = 0,
        dayOfMonth: Any = "*",
        month: Any = "*",
        dayOfWeek: Any = "*",
        **unknown: Any,
    ) -> None:
        """Take the horizons and the time table."""
        self.place = here()
        what = type(self).__name__
        check_keywords(what, unknown, _KEYWORDS, _NOT_YET, self.place)
        self.logHorizon = self._seconds(logHorizon, "logHorizon")
        self.buildHorizon = self._seconds(buildHorizon, "buildHorizon")
        if self._seconds(build_data_horizon, "build_data_horizon") is not None:
            why = "builds have no data of that kind here; buildHorizon= deletes whole builds"
            note(f"build_data_horizon of {what} has no effect", why, self.place)
        if self.buildHorizon is not None and (self.logHorizon or 0.0) > self.buildHorizon:
            text = f"{what}: logHorizon is longer than buildHorizon, but logs go with their builds"
            warning(text, "make logHorizon the shorter one, or leave it out", self.place)
        self.times = TimeTable(what, self.place, minute, hour, dayOfMonth, month, dayOfWeek)

    def _seconds(self, value: Any, name: str) -> float | None:
        """A horizon; None after reporting one that cannot be."""
        if value is None:
            return None
        what = type(self).__name__
        if not isinstance(value, timedelta):
            mistake(f"{what}: {name} must be a timedelta, not {value!r}", _HINT, self.place)
        elif value.total_seconds() < MIN_HORIZON:
            text = f"{what}: {name} must be at least {MIN_HORIZON // 3600} hour, not {value}"
            mistake(text, "what has just ended may still be written, and asked for again", self.place)
        else:
            return value.total_seconds()
        return None

    def after(self, begin: float) -> float | None:
        """The first time after `begin` at which to delete, Unix seconds."""
        return self.times.after(begin)
