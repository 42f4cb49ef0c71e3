"""Schedulers that follow changes and other schedulers. What goes by the clock is in `timed.py`."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from lockstep.config.errors import mistake
from lockstep.core.nouns import Result
from lockstep.core.values import Change, SourceStamp, Submission
from lockstep.core.values import Properties as PlainProperties
from lockstep.schedulers.base import BaseScheduler, EndedBuildset, Move, stamp_of
from lockstep.schedulers.filters import ChangeFilter, NotABranch


class Gathered:
    """Changes that wait for their build. Kept as plain values: {"changes": [...], "important": bool}."""

    def __init__(self, memory: Mapping[str, Any] | None) -> None:
        self._plain: list[Any] = list((memory or {}).get("changes", []))
        self.important = bool((memory or {}).get("important", False))

    def add(self, change: Change, important: bool) -> None:
        """One more; they come in the order of their numbers, and one that is there already is not added again.

        Comments and file names are left out: they are in the store.
        """
        if not self._plain or change.changeid > self._plain[-1]["changeid"]:
            self._plain.append(msgspec.to_builtins(msgspec.structs.replace(change, comments="", files=())))
        self.important = self.important or important

    def plain(self) -> dict[str, Any]:
        """As it is remembered."""
        return {"changes": self._plain, "important": self.important}

    @property
    def changes(self) -> list[Change]:
        """All of them, in their order."""
        return msgspec.convert(self._plain, list[Change])

    def stamps(self) -> dict[str, SourceStamp]:
        """By codebase: the last change's stamp, for all the changes."""
        found: dict[str, SourceStamp] = {}
        numbers: dict[str, list[int]] = {}
        for change in self.changes:
            stamp = stamp_of(change)
            numbers.setdefault(change.codebase, []).extend(stamp.changes)
            found[change.codebase] = stamp
        return {name: msgspec.structs.replace(stamp, changes=tuple(numbers[name])) for name, stamp in found.items()}


class ChangeScheduler(BaseScheduler):
    """What schedulers that follow changes share: which changes, how important, and how long to wait for more."""

    keywords: ClassVar[tuple[str, ...]] = (
        "treeStableTimer",
        "change_filter",
        "fileIsImportant",
        "onlyImportant",
        "categories",
    )

    def __init__(
        self,
        name: Any = None,
        treeStableTimer: Any = None,
        builderNames: Any = None,
        change_filter: Any = None,
        fileIsImportant: Any = None,
        onlyImportant: bool = False,
        categories: Any = None,
        branch: Any = NotABranch,
        **kwargs: Any,
    ) -> None:
        """Take the filter, what is important, and the seconds of quiet to wait for."""
        super().__init__(name=name, builderNames=builderNames, **kwargs)
        if fileIsImportant is not None and not callable(fileIsImportant):
            mistake(f"scheduler {self.name!r}: fileIsImportant must be a function", place=self.place)
            fileIsImportant = None
        if change_filter is not None and not isinstance(change_filter, ChangeFilter):
            mistake(f"scheduler {self.name!r}: change_filter must be a ChangeFilter", place=self.place)
            change_filter = None
        if treeStableTimer is not None and (not isinstance(treeStableTimer, int | float) or treeStableTimer < 0):
            mistake(f"scheduler {self.name!r}: treeStableTimer must be seconds or None", place=self.place)
            treeStableTimer = None
        self.treeStableTimer = treeStableTimer
        self.fileIsImportant = fileIsImportant
        self.onlyImportant = onlyImportant
        self.change_filter = ChangeFilter.fromSchedulerConstructorArgs(change_filter, branch, categories)

    def looks_at(self, change: Change) -> bool:
        """Whether the filter and the codebases let this change in."""
        return change.codebase in self.codebases and self.change_filter.filter_change(change)

    def is_important(self, change: Change) -> bool:
        """What `fileIsImportant` says."""
        return self.fileIsImportant is None or bool(self.fileIsImportant(change))

    def group(self, change: Change) -> str:
        """The changes that wait together."""
        return ""

    def start(self, memory: Any, now: float) -> Move:
        # Nobody waits longer than the timer of today: the clock may have been set back, or the timer made shorter.
        latest = now + (self.treeStableTimer or 0.0)
        groups = _groups(memory)
        late = {key: group for key, group in groups.items() if group["due"] is not None and group["due"] > latest}
        if late:
            memory = {**groups, **{key: {**group, "due": latest} for key, group in late.items()}}
        return Move(memory=memory, wake=_next_due(memory))

    def on_change(self, memory: Any, change: Change, now: float) -> Move:
        if not self.looks_at(change):
            return self.start(memory, now)
        important = self.is_important(change)
        if not important and self.onlyImportant:
            return self.start(memory, now)
        if not self.treeStableTimer:
            if not important:
                return self.start(memory, now)
            stamps = self.stamps({change.codebase: stamp_of(change)})
            return Move(submissions=(self.submit(stamps, changes=(change,)),), memory=memory, wake=_next_due(memory))
        groups = _groups(memory)
        gathered = Gathered(groups.get(self.group(change)))
        gathered.add(change, important)
        due = now + self.treeStableTimer if gathered.important else None
        groups[self.group(change)] = {**gathered.plain(), "due": due}
        return Move(memory=groups, wake=_next_due(groups))

    def on_timer(self, memory: Any, now: float) -> Move:
        submissions = []
        groups = _groups(memory)
        for key, waiting in list(groups.items()):
            if waiting["due"] is None or waiting["due"] > now:
                continue
            gathered = Gathered(groups.pop(key))
            submissions.append(self.submit(self.stamps(gathered.stamps()), changes=tuple(gathered.changes)))
        return Move(submissions=tuple(submissions), memory=groups, wake=_next_due(groups))


def _next_due(memory: Any) -> float | None:
    """When the first group of waiting changes is due."""
    return min((group["due"] for group in _groups(memory).values() if group["due"] is not None), default=None)


def _groups(memory: Any) -> dict[str, Any]:
    """The groups of waiting changes; what a scheduler of another kind remembered under this name is left out."""
    known = memory if isinstance(memory, Mapping) else {}
    return {key: dict(group) for key, group in known.items() if isinstance(group, Mapping) and "due" in group}


class SingleBranchScheduler(ChangeScheduler):
    """Build after changes of one branch: at once, or after `treeStableTimer` seconds without another one."""

    keywords: ClassVar[tuple[str, ...]] = ("branch",)
    not_yet: ClassVar[tuple[str, ...]] = ("createAbsoluteSourceStamps",)

    def __init__(self, name: Any = None, **kwargs: Any) -> None:
        """Take what `ChangeScheduler` takes; `branch` is the older spelling of a change filter."""
        if kwargs.get("createAbsoluteSourceStamps") is False:
            kwargs.pop("createAbsoluteSourceStamps")
        super().__init__(name, **kwargs)
        if "branch" in kwargs and kwargs.get("change_filter") is not None:
            mistake(f"scheduler {self.name!r} takes one of branch and change_filter", place=self.place)


class Scheduler(SingleBranchScheduler):
    """The old name of `SingleBranchScheduler`, with its arguments in the old order."""

    def __init__(
        self,
        name: Any = None,
        branch: Any = NotABranch,
        treeStableTimer: Any = None,
        builderNames: Any = None,
        **kw: Any,
    ) -> None:
        """Take name, branch, seconds and builders."""
        super().__init__(name, branch=branch, treeStableTimer=treeStableTimer, builderNames=builderNames, **kw)


class AnyBranchScheduler(ChangeScheduler):
    """Build after changes of any branch; each branch (of each repository) waits for itself."""

    keywords: ClassVar[tuple[str, ...]] = ("branches",)

    def __init__(self, name: Any = None, branches: Any = NotABranch, **kwargs: Any) -> None:
        """Take what `ChangeScheduler` takes; `branches` is the older spelling of a change filter."""
        if "branch" in kwargs:
            mistake("AnyBranchScheduler has no branch", "use a SingleBranchScheduler, or change_filter")
            kwargs.pop("branch")
        super().__init__(name, branch=branches, **kwargs)

    def group(self, change: Change) -> str:
        branch = "" if change.branch is None else f"={change.branch}"
        return "\n".join((change.project, change.codebase, change.repository, branch))


class Dependent(BaseScheduler):
    """Build what another scheduler (`upstream`, the object) has built without failure, from the same sources."""

    keywords: ClassVar[tuple[str, ...]] = ("upstream",)

    def __init__(self, name: Any = None, upstream: Any = None, builderNames: Any = None, **kwargs: Any) -> None:
        """Take the scheduler to follow."""
        super().__init__(name=name, builderNames=builderNames, **kwargs)
        self.upstream = upstream
        if not isinstance(upstream, BaseScheduler):
            hint = "give the object, not its name" if isinstance(upstream, str) else ""
            mistake(f"scheduler {self.name!r}: upstream must be a scheduler, not {upstream!r}", hint, self.place)

    def on_buildset_ended(self, memory: Any, ended: EndedBuildset, now: float) -> Move:
        upstream = self.upstream.name if isinstance(self.upstream, BaseScheduler) else None
        if ended.scheduler != upstream or ended.result not in (Result.SUCCESS, Result.WARNINGS):
            return self.start(memory, now)
        known = {stamp.codebase: stamp for stamp in ended.sourcestamps}
        stamps = self.stamps(known) if set(self.codebases) != {""} else ended.sourcestamps
        return Move(submissions=(self.submit(stamps),), memory=memory)


class Triggerable(BaseScheduler):
    """Builds that `Trigger` steps ask for."""

    def trigger(self, stamps: tuple[SourceStamp, ...], properties: PlainProperties) -> Submission:
        """The build set that a Trigger step asks for. Codebases that this scheduler does not have are left out."""
        known = {stamp.codebase: stamp for stamp in stamps}
        return self.submit(self.stamps(known), properties)
