"""The build as a step sees it: `Build`, with Buildbot's names, over the contract in `context.py`.

It reads from the build's context and changes nothing but through the running step's doors. Attributes that users put on
it are theirs for the life of the step's process, and lost with it (HOUSE.md section 2.5).
"""

import ntpath
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from lockstep.config.properties import Properties
from lockstep.config.secrets import disarm
from lockstep.core import told_units
from lockstep.core.calls import SetProperty
from lockstep.core.nouns import LockKey, Result, fence_variables
from lockstep.core.values import Change, SourceStamp, storable
from lockstep.steps.context import BuildContext, StepContext


def authors(changes: Iterable[Change], stamps: Iterable[SourceStamp]) -> set[str]:
    """Who made changes and patches."""
    return {change.author for change in changes} | {one.patch.author for one in stamps if one.patch} - {""}


class BuildProperties(Properties):
    """The build's properties, as renderers and users see them; setting one is a call of the running step."""

    context: StepContext | None = None

    def setProperty(self, name: str, value: Any, source: str, runtime: bool = False) -> None:
        """Set a property of the build. TypeError for what JSON cannot say, RuntimeError where no step runs."""
        if self.context is None:
            raise RuntimeError(f"the property {name!r} can only be set while a step runs")
        if isinstance(value, tuple):
            value = list(value)
        try:
            msgspec.json.encode(value)
            if not storable(value):
                raise OverflowError("a number in it, or so many lists in each other, cannot be kept")
        except (TypeError, msgspec.MsgspecError, OverflowError) as exc:
            raise TypeError(f"the property {name!r} cannot have a value of {type(value).__name__}: {exc}") from None
        self.context.call_now(SetProperty(str(name), value, str(source)))
        super().setProperty(name, value, source)


class BuildWorker:
    """The worker of a build: its name and what it said of itself."""

    def __init__(self, context: BuildContext) -> None:
        self.workername = context.worker
        self.name = context.worker
        self.info = disarm(dict(context.worker_info))
        self.worker_basedir = self.info.get("basedir", "")
        self.worker_system = self.info.get("system", "posix")
        self.path_module = ntpath if self.worker_system in ("nt", "win32") else posixpath

    @property
    def worker(self) -> "BuildWorker":
        """Itself (Buildbot has two objects here)."""
        return self


class BuilderName:
    """The builder of a build: its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def getBuilderName(self) -> str:
        """The name."""
        return self.name


class Build:
    """The build that a step belongs to."""

    def __init__(self, build: BuildContext, context: StepContext | None = None) -> None:
        """`context` is the running step's; None while it is prepared (then nothing can be changed)."""
        self._build = build
        self._context = context
        self.worker = BuildWorker(build)
        self.workerforbuilder = self.worker
        self.workername = build.worker
        self.builder = BuilderName(build.builder)
        self.number = build.number
        self.buildid = build.buildid
        self.path_module = self.worker.path_module
        self.sources = list(map(disarm, build.sourcestamps))
        props = BuildProperties.of(build.properties, tuple(self.sources), build.worker_info, self)
        assert isinstance(props, BuildProperties)
        props.context = context
        self.properties = props
        self.fences = dict(build.fences)
        """Of the locks that build and step hold, by their names (L62); of a running step those that it had when it
        began, less what it has given back: a replay must see the same."""
        self._told = {
            name: value
            for name, (value, source) in build.properties.items()
            if source == told_units.SOURCE and name.startswith(told_units.PREFIXES)
        }
        self.env: dict[str, Any] = {}
        """The builder's environment, rendered."""

    @property
    def results(self) -> Result:
        """The build's result so far."""
        return self._build.result

    @property
    def workdir(self) -> str:
        """The usual directory of commands."""
        return "build"

    @property
    def builddir(self) -> str:
        """The build's folder, below the worker's own."""
        return self._build.basedir

    def place(self, path: str) -> str:
        """A path below the build's folder, as one below the worker's own; absolute ones stay."""
        return self.path_module.join(self._build.basedir, path) if path else self._build.basedir

    def take_units(self, told: Mapping[str, Any]) -> None:
        """What is told of the step's units: properties of this step, and not of the build."""
        self._told |= told
        for name, value in told.items():
            Properties.setProperty(self.properties, name, value, told_units.SOURCE)

    def held(self) -> dict[str, str]:
        """The environment that tells of what build and step hold: the fences of locks (L62), and units."""
        found: dict[str, str] = disarm(told_units.environment(self._told)) if self._told else {}
        suffix = f" on {self.workername}"
        fences = self.fences
        mine = sorted((lock.endswith(suffix), lock) for lock in fences)
        if mine:
            names = fence_variables((lock.removesuffix(suffix), lock) for _, lock in mine)
            found |= {name: str(fences[lock]) for name, (_, lock) in zip(names, mine, strict=True)}
        return found

    def fence(self, lock: str) -> int | None:
        """The fence of a lock that the build or the step holds, by the lock's name; None if neither does."""
        return self.fences.get(lock, self.fences.get(f"{lock} on {self.workername}"))

    def gave_back(self, key: LockKey) -> None:
        """The running step has given a lock back: its commands are told of it no more."""
        self.fences.pop(str(key), None)
        if key.kind == "pool":
            self._told = told_units.without(self._told, key.name)

    def getProperties(self) -> Properties:
        """The properties."""
        return self.properties

    def getProperty(self, name: str, default: Any = None) -> Any:
        """The value of a property, or `default`."""
        return self.properties.getProperty(name, default)

    def hasProperty(self, name: str) -> bool:
        """Whether there is such a property."""
        return self.properties.hasProperty(name)

    has_key = hasProperty

    def setProperty(self, name: str, value: Any, source: str, runtime: bool | None = None) -> None:
        """Set a property (a call of the running step)."""
        self.properties.setProperty(name, value, source)

    async def render(self, value: Any) -> Any:
        """Render a value with the build's properties."""
        return await self.properties.render(value)

    def getBuilderName(self) -> str:
        """The builder's name."""
        return self.builder.name

    def getWorkerName(self) -> str:
        """The worker's name."""
        return self.workername

    def getSourceStamp(self, codebase: str = "") -> SourceStamp | None:
        """The source stamp of a codebase, or None."""
        return next((stamp for stamp in self.sources if stamp.codebase == codebase), None)

    def getAllSourceStamps(self) -> list[SourceStamp]:
        """All source stamps."""
        return list(self.sources)

    def allChanges(self) -> list[Change]:
        """The changes of all source stamps, oldest first."""
        return list(map(disarm, self._build.changes))

    def allFiles(self) -> list[str]:
        """The files of all changes; one that changed twice is there twice."""
        return [name for change in self.allChanges() for name in change.files]

    def blamelist(self) -> list[str]:
        """The authors of all changes and patches, sorted."""
        return sorted(authors(self.allChanges(), self.sources))

    def addStepsAfterCurrentStep(self, steps: Iterable[Any]) -> None:
        """Add steps that run right after the current one."""
        self._add(steps, "after-current")

    def addStepsAfterLastStep(self, steps: Iterable[Any]) -> None:
        """Add steps that run after the last one."""
        self._add(steps, "after-last")

    def _add(self, steps: Iterable[Any], where: str) -> None:
        if self._context is None:
            raise RuntimeError("steps can only be added while a step runs")
        added = list(steps)
        for step in added:
            step.check_arguments()
        self._context.add_steps([step.make() for step in added], where)
