"""Schedulers that go by the clock: `Periodic`, and `Nightly` with its time table.

Times are Unix seconds; a time table is read in the server's time zone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.errors import mistake
from lockstep.core.values import Change, SourceStamp
from lockstep.schedulers.base import Move
from lockstep.schedulers.basic import ChangeScheduler, Gathered
from lockstep.schedulers.filters import NotABranch
from lockstep.schedulers.timetable import TimeTable


class Timed(ChangeScheduler):
    """What schedulers by the clock share.

    They remember {"last": when they last looked, "built": whether they ever built, and the changes since}. With
    `onlyIfChanged` they build only if an important change was seen since the last build, and the first time.
    """

    keywords: ClassVar[tuple[str, ...]] = ("onlyIfChanged", "branch")
    not_yet: ClassVar[tuple[str, ...]] = (
        "createAbsoluteSourceStamps",
        "force_at_minute",
        "force_at_hour",
        "force_at_day_of_month",
        "force_at_month",
        "force_at_day_of_week",
    )

    def __init__(self, name: Any = None, onlyIfChanged: bool = False, branch: Any = NotABranch, **kwargs: Any) -> None:
        """Take the condition, the branch to build, and what `ChangeScheduler` takes."""
        for keyword in self.not_yet:
            if kwargs.get(keyword) in (None, False):
                kwargs.pop(keyword, None)
        filter_branch = NotABranch if kwargs.get("change_filter") is not None else branch
        super().__init__(name, branch=filter_branch, **kwargs)
        self.onlyIfChanged = onlyIfChanged
        self.branch = branch
        if branch is not NotABranch and branch is not None and not isinstance(branch, str):
            mistake(f"scheduler {self.name!r}: branch must be a text, not {branch!r}", place=self.place)
        if self.treeStableTimer is not None:
            mistake(f"scheduler {self.name!r} goes by the clock and has no treeStableTimer", place=self.place)

    def follows_changes(self) -> bool:
        return self.onlyIfChanged or type(self).on_change is not Timed.on_change

    def after(self, last: float | None, now: float) -> float | None:
        """When to build next, if the last time was `last` (None: never). May be in the past: then at once."""
        raise NotImplementedError

    def not_ahead(self, last: float, now: float) -> float:
        """From when to count if the clock was set back: the last time, `last`, is still to come."""
        return now

    def start(self, memory: Any, now: float) -> Move:
        memory = self._known(memory, now)
        if memory["last"] is None:
            memory = {**memory, "since": min(memory["since"], now)}
        elif memory["last"] > now:
            memory = {**memory, "last": self.not_ahead(memory["last"], now)}
        return Move(memory=memory, wake=self._wake(memory, now))

    def _known(self, memory: Any, now: float) -> dict[str, Any]:
        """What is remembered, also by who is new here."""
        if not isinstance(memory, Mapping) or "last" not in memory:
            memory = {"last": None, "built": False}
        if memory["last"] is None and "since" not in memory:
            memory = {**memory, "since": now}
        return dict(memory)

    def _wake(self, memory: Any, now: float) -> float | None:
        return self.after(memory["last"], memory.get("since", now))

    def on_change(self, memory: Any, change: Change, now: float) -> Move:
        # `now` is when it was noticed, which may be before the last time: nothing is set right by it.
        known = self._known(memory, now)
        move = Move(memory=known, wake=self._wake(known, now))
        if not self.onlyIfChanged or not self.looks_at(change):
            return move
        important = self.is_important(change)
        if not important and self.onlyImportant:
            return move
        gathered = Gathered(move.memory)
        gathered.add(change, important)
        return Move(memory={**move.memory, **gathered.plain()}, wake=move.wake)

    def on_timer(self, memory: Any, now: float) -> Move:
        move = self.start(memory, now)
        if move.wake is None or move.wake > now:
            return move
        gathered = Gathered(move.memory)
        wanted = not self.onlyIfChanged or gathered.important or not move.memory["built"]
        if not wanted:
            later = {**move.memory, "last": now}
            return Move(memory=later, wake=self._wake(later, now))
        stamps = self.stamps({**self._defaults(), **gathered.stamps()})
        done = {"last": now, "built": True}
        submission = self.submit(stamps, changes=tuple(gathered.changes))
        return Move(submissions=(submission,), memory=done, wake=self._wake(done, now))

    def _defaults(self) -> dict[str, SourceStamp]:
        """The source stamp of the branch that was given, where the codebases say nothing else."""
        if self.branch is NotABranch or self.branch is None or set(self.codebases) != {""} or self.codebases[""]:
            return {}
        return {"": SourceStamp(branch=self.branch)}


class Periodic(Timed):
    """Build every `periodicBuildTimer` seconds; the first time at once."""

    keywords: ClassVar[tuple[str, ...]] = ("periodicBuildTimer",)

    def __init__(self, name: Any = None, builderNames: Any = None, periodicBuildTimer: Any = None, **kw: Any) -> None:
        """Take the seconds between builds."""
        super().__init__(name, builderNames=builderNames, **kw)
        self.periodicBuildTimer = periodicBuildTimer
        if not isinstance(periodicBuildTimer, int | float) or periodicBuildTimer <= 0:
            text = f"scheduler {self.name!r}: periodicBuildTimer must be seconds, more than 0"
            mistake(text, place=self.place)
            self.periodicBuildTimer = 24 * 3600

    def after(self, last: float | None, now: float) -> float | None:
        return now if last is None else last + float(self.periodicBuildTimer)


class Nightly(Timed):
    """Build by a time table.

    `minute`, `hour`, `dayOfMonth`, `month` and `dayOfWeek` are a number, a list of numbers, or a text in cron's manner
    (`*/4`, `mon-fri`, `L`, `1#1`). As a number, `dayOfWeek` counts from Monday (0). If both `dayOfMonth` and
    `dayOfWeek` are given, either is enough, as in cron. A time that passed while the server was down is made up for.
    """

    keywords: ClassVar[tuple[str, ...]] = ("minute", "hour", "dayOfMonth", "month", "dayOfWeek")

    def __init__(
        self,
        name: Any = None,
        builderNames: Any = None,
        minute: Any = 0,
        hour: Any = "*",
        dayOfMonth: Any = "*",
        month: Any = "*",
        dayOfWeek: Any = "*",
        **kwargs: Any,
    ) -> None:
        """Take the time table."""
        super().__init__(name, builderNames=builderNames, **kwargs)
        what = f"scheduler {self.name!r}"
        self.times = TimeTable(what, self.place, minute, hour, dayOfMonth, month, dayOfWeek)

    def after(self, last: float | None, now: float) -> float | None:
        return self.times.after(now if last is None else last)

    def not_ahead(self, last: float, now: float) -> float:
        # If one time of the table has come that will come again, it was built; if several have, the clock was wrong.
        again = self.times.after(now)
        following = self.times.after(again) if again is not None else None
        return last if again is not None and again <= last and (following is None or last < following) else now
