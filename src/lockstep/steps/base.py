"""`BuildStep`: what every step is, in a configuration and while it runs.

The object in a configuration is a recipe: `make()` gives a fresh step for each build, from the same class and
arguments. While it runs, everything it does goes through its doors (`context.py`), so that it can be replayed (HOUSE.md
section 2). How a step is prepared and run lives in `execution.py`; commands, logs, the build have files of their own.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from lockstep.config.errors import Place, check_keywords, declared, here, mistake, warning
from lockstep.config.secrets import shown
from lockstep.core.calls import Acquire, AddUrl, LogType, Now, Release, Sleep
from lockstep.core.nouns import Access, Result
from lockstep.core.values import StepPlan
from lockstep.steps import kinds
from lockstep.steps.build import Build
from lockstep.steps.commands import RemoteCommand
from lockstep.steps.context import StepContext
from lockstep.steps.logs import Done, Log, LogObserver


class BuildStepFailed(Exception):  # noqa: N818  (Buildbot's name)
    """Raised in a step: it ends with FAILURE, without a traceback."""


class BuildStepCancelled(Exception):  # noqa: N818  (Buildbot's name)
    """Raised in a step: it ends with CANCELLED, without a traceback."""


class Recipe:
    """What a step was made from: enough to make it again. `declared` is where a helper that made it was called from."""

    def __init__(
        self, cls: type["BuildStep"], args: tuple[Any, ...], kwargs: dict[str, Any], place: Place, declared: Place
    ) -> None:
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
        self.place = place
        self.declared = declared

    def make(self) -> "BuildStep":
        """A fresh step. Lists and dictionaries among the arguments are copied, so that a step may change its own."""
        args, kwargs = _owned(self.args), {name: _own(value) for name, value in self.kwargs.items()}
        step = object.__new__(self.cls)  # not its own: that would remember this very place as the step's
        step._recipe, step._logs, step._observers = self, {}, {}
        step.__init__(*args, **kwargs)  # type: ignore[misc]
        return step


def _own(value: Any) -> Any:
    """A copy of a list, dictionary or set, so that who changes its own changes nobody else's."""
    return value.copy() if type(value) in (list, dict, set) else value


def _owned(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(_own, values))


_WRITE_RUN = "write `async def run(self)` that returns a result"
_OLD_METHODS = ("commandComplete", "createSummary", "describe", "setupEnvironment")
"""What steps of the old style could override."""


def _faults(kind: "type[BuildStep]") -> Iterator[tuple[Any, str, str]]:
    """A run() that cannot be, and what would never be called: Buildbot's old style of steps (up to 2.x)."""
    if inspect.isgeneratorfunction(inspect.unwrap(kind.run)):
        text = f"run() of {kind.__name__} is a generator (inlineCallbacks), which is not supported yet"
        yield mistake, text, "write `async def run`, with await in place of yield"
    elif str(getattr(kind.run, "__module__", "")).startswith("lockstep."):
        if hasattr(kind, "start"):
            text = f"{kind.__name__} has start() in place of run(): steps of the old style are not supported"
            yield mistake, text, _WRITE_RUN
        elif kind.run is BuildStep.run:
            yield mistake, f"{kind.__name__} has no run()", _WRITE_RUN
        for name in _OLD_METHODS:
            if hasattr(kind, name):
                text = f"{name}() of {kind.__name__} is never called: it belongs to steps of the old style"
                yield warning, text, "do it in `async def run(self)`, or leave it out"


class BuildStep:
    """The base of all steps. Subclass it, with `async def run(self) -> int` (a result, such as SUCCESS).

    Keywords common to all steps are those in `parms`. `renderables` names the attributes that are rendered just before
    the step runs; those of base classes are added to a class's own. `replayable` is False for a step that does input
    and output of its own: it ends in RETRY if the server goes down while it runs.
    """

    parms: ClassVar[list[str]] = [
        "alwaysRun",
        "description",
        "descriptionDone",
        "descriptionSuffix",
        "doStepIf",
        "flunkOnFailure",
        "flunkOnWarnings",
        "haltOnFailure",
        "hideStepIf",
        "locks",
        "logEncoding",
        "name",
        "progressMetrics",
        "updateBuildSummaryPolicy",
        "useProgress",
        "warnOnFailure",
        "warnOnWarnings",
        "workdir",
    ]
    renderables: ClassVar[Iterable[str]] = ("name", "description", "descriptionDone", "descriptionSuffix", "workdir")
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = kinds.COMMON
    not_yet: ClassVar[tuple[str, ...]] = ()
    """Keywords that Buildbot has and Lockstep refuses by name."""
    replayable: ClassVar[bool] = True
    lean: ClassVar[bool] = False
    """Whether no command but the first of a log ever collects its output (then lines are watched only on demand)."""

    name: Any = None
    description: Any = None
    descriptionDone: Any = None
    descriptionSuffix: Any = None
    locks: Any = ()
    haltOnFailure: Any = False
    flunkOnFailure: Any = True
    flunkOnWarnings: Any = False
    warnOnFailure: Any = False
    warnOnWarnings: Any = False
    alwaysRun: Any = False
    doStepIf: Any = True
    hideStepIf: Any = False
    updateBuildSummaryPolicy: Any = None
    logEncoding: Any = None
    progressMetrics: Any = ()
    useProgress: Any = True
    locked_by: Any = None
    """The `LockedSteps` that the step belongs to, and the number of that group in its build."""
    locked_group: int = 0

    results: Any = None
    """The step's result; None while it runs."""
    stopped: bool = False
    """Whether somebody stopped the build while this step ran."""
    timed_out: bool = False
    trouble: str = ""
    """What the step's code raised, in one line."""
    build: Any = None
    """The build (`Build`), once the step belongs to one."""
    worker: Any = None
    """The worker that the build runs on (`BuildWorker`)."""
    number: Any = None
    """The step's place in its build, from 1."""
    cmd: Any = None
    """The command that ran last."""

    _recipe: Recipe
    _context: StepContext | None = None
    _own_workdir: Any = None
    _default_workdir: Any = None
    _showing: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember what the step is made from, before any `__init__` sees it."""
        step = super().__new__(cls)
        named = {name: _own(value) for name, value in kwargs.items()}
        recipe = Recipe(cls, _owned(args), named, here(), declared())
        step._recipe, step._logs, step._observers = recipe, {}, {}
        return step

    _faults: ClassVar[tuple[tuple[Any, str, str], ...]] = ()
    """What is wrong with the class: told by `mistake` or `warning`, text, hint. Found once, as steps are made often."""
    _logs: dict[str, Log]
    _observers: dict[str, list[LogObserver]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "run" in vars(cls) and "lean" not in vars(cls):
            cls.lean = False
        cls._faults = tuple(_faults(cls))

    def __init__(self, **kwargs: Any) -> None:
        """Take the keywords common to all steps; report the others, with the nearest known name."""
        for name in self.parms:
            if name in kwargs:
                setattr(self, name, kwargs.pop(name))
        if kwargs:
            check_keywords(type(self).__name__, kwargs, self._keywords(), self.not_yet, place=self.place)
        for tell, text, hint in self._faults:
            tell(text, hint, self.place)
        if self.name is None:
            self.name = type(self).__name__

    def _keywords(self) -> list[str]:
        """Every keyword that this step takes, for the nearest name."""
        known = set(self.parms)
        for cls in type(self).__mro__:
            if (init := vars(cls).get("__init__")) is not None and cls is not object:
                known |= {
                    p.name
                    for p in inspect.signature(init).parameters.values()
                    if p.name != "self" and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
                }
            known |= set(vars(cls).get("keywords", ()))
        return sorted(known)

    # In the configuration

    @cached_property  # (a user's step may have an attribute of this name)
    def place(self) -> Place:
        """The line of the configuration that made this step."""
        return self._recipe.place

    @cached_property
    def declared_at(self) -> Place:
        """The line outside of all functions that led to it: where a helper that made this step was called from."""
        return self._recipe.declared

    def make(self) -> Any:
        """A fresh step with the same arguments, for one build."""
        step = self._recipe.make()
        step._default_workdir = self._default_workdir
        return step

    buildStep = make

    def check_arguments(self) -> None:
        """Report each argument that is of a kind that it cannot be: for who puts the step into a factory or build."""
        kinds.check_arguments(self)

    def set_step_arg(self, name: str, value: Any) -> None:
        """Change an argument after construction (setting an attribute has no effect on the steps of builds)."""
        self._recipe.kwargs[name] = value
        setattr(self, name, value)

    @property
    def workdir(self) -> Any:
        """Where commands run, below the build's folder: the step's own, else the factory's, else `build`."""
        return self._own_workdir or self._default_workdir or "build"

    @workdir.setter
    def workdir(self, workdir: Any) -> None:
        self._own_workdir = workdir

    def setDefaultWorkdir(self, workdir: Any) -> None:
        """Set the directory to use if the step has none of its own (the factory's)."""
        self._default_workdir = workdir

    @classmethod
    def rendered_names(cls) -> tuple[str, ...]:
        """All attributes that are rendered, base classes' first."""
        names: dict[str, None] = {}
        for base in reversed(cls.__mro__):
            names.update(dict.fromkeys(vars(base).get("renderables", ())))
        return tuple(names)

    def plan(self) -> StepPlan:
        """What the core must know of this step to put builds together."""
        flags: dict[str, Any] = {flag: bool(getattr(self, flag)) for flag in kinds.FLAGS}
        return StepPlan(
            name=self.name if isinstance(self.name, str) else type(self).__name__,
            **flags,
            replayable=self.replayable,
            step_class=f"{type(self).__module__}.{type(self).__qualname__}",
            group=self.locked_group,
        )

    def awaited_schedulers(self) -> tuple[list[str], bool]:
        """The schedulers for whose builds this step may wait, as far as they are known; whether there may be others."""
        return [], False

    # While it runs

    def attach(self, build: Build, context: StepContext | None) -> None:
        """Give the step its build, and its doors (None while it is prepared). Called by `execution.py`."""
        self.build = build
        self.worker = build.worker
        self._context = context
        if context is not None:
            self.number = context.number

    @property
    def doors(self) -> StepContext:
        """The doors (`context.py`). Raises RuntimeError where the step does not run."""
        if self._context is None:
            raise RuntimeError(f"the step {self.name!r} is not running: this works only inside its run()")
        return self._context

    async def run(self) -> int:
        """Do the work and return a result. Subclasses override it."""
        raise NotImplementedError(f"{type(self).__name__} has no run() method")

    def interrupt(self, reason: Any) -> Any:
        """Called when somebody stops the build while this step runs. The running command is stopped by the master."""
        self.stopped = True
        if isinstance(self.cmd, RemoteCommand) and self.cmd.active:
            self.cmd.interrupt(str(reason))

    @property
    def worker_name(self) -> str:
        """The name of the worker that the build runs on."""
        return str(self.build.workername)

    def getWorkerName(self) -> str:
        """The name of the worker that the build runs on."""
        return self.worker_name

    def getProperty(self, name: str, default: Any = None) -> Any:
        """The value of a property of the build, or `default`."""
        return self.build.getProperty(name, default)

    def hasProperty(self, name: str) -> bool:
        """Whether the build has this property."""
        return bool(self.build.hasProperty(name))

    def setProperty(self, name: str, value: Any, source: str = "Step", runtime: bool | None = None) -> Done[None]:
        """Set a property of the build. `value` must be what JSON can say (TypeError)."""
        self.build.setProperty(name, value, source)
        return Done(None)

    async def runCommand(self, command: RemoteCommand) -> RemoteCommand:
        """Run a command on the worker and wait for its end. Returns the command."""
        doors = self.doors
        self.cmd = command
        if self.stopped:
            command.interrupt("the build was stopped")
            return command
        if command.log is None and command.stdioLogName:
            command.useLog(self._log_named(command.stdioLogName, command.collects))
        await command.run(doors, self.build.place)
        self.timed_out = self.timed_out or command.timed_out
        return command

    def _log_named(self, name: str, eager: bool) -> Log:
        """The open log of that name, or a new one."""
        log = self._logs.get(name)
        return log if log is not None and not log.finished else self._new_log(name, "s", eager)

    def _new_log(self, name: str, type: LogType, eager: bool, encoding: Any = None) -> Log:
        waiting = self._observers.get(name, [])
        eager = eager or bool(waiting) or not self.lean
        log = Log(self.doors, name, type, eager, encoding or self.logEncoding or "")
        self._logs[name] = log
        for observer in waiting:
            observer.setLog(log)
        return log

    def addLog(self, name: str, type: str = "s", logEncoding: Any = None) -> Log:
        """Add a log. `type` is `s` (stdio), `t` (text) or `h` (HTML).

        `logEncoding` is that of what commands write into it, where it is not the step's.
        """
        if type not in ("s", "t", "h"):
            raise ValueError(f"a log's type is s, t or h, not {type!r}")
        return self._new_log(name, type, False, logEncoding)  # type: ignore[arg-type]

    def getLog(self, name: str) -> Log:
        """The log of that name. Raises KeyError."""
        return self._logs[name]

    def addCompleteLog(self, name: str, text: str) -> Done[None]:
        """Add a log with this text, closed."""
        return self._complete(name, "t", text)

    def addHTMLLog(self, name: str, html: str) -> Done[None]:
        """Add a log that pages show as HTML, closed."""
        return self._complete(name, "h", html)

    def _complete(self, name: str, type: LogType, text: str) -> Done[None]:
        log = Log(self.doors, name, type, eager=False)
        self._logs[name] = log
        log.addContent(text)
        return log.finish()

    def addLogObserver(self, logname: str, observer: LogObserver) -> None:
        """Have an observer read a log along; the log may come later."""
        observer.setStep(self)
        self._observers.setdefault(logname, []).append(observer)
        if (log := self._logs.get(logname)) is not None:
            observer.setLog(log)

    def finish_observers(self) -> None:
        """Tell observers that nothing more comes. Called at the step's end, which closes the logs."""
        for name, observers in self._observers.items():
            if name in self._logs:
                for observer in observers:
                    observer.finishReceived()

    def addURL(self, name: str, url: str) -> Done[None]:
        """Show a link with the step."""
        self.doors.call_now(AddUrl(name, url))
        return Done(None)

    def addStepsAfterCurrentStep(self, steps: Iterable[Any]) -> None:
        """Add steps that run right after this one."""
        self.build.addStepsAfterCurrentStep(steps)

    def addStepsAfterLastStep(self, steps: Iterable[Any]) -> None:
        """Add steps that run after the build's last one."""
        self.build.addStepsAfterLastStep(steps)

    async def sleep(self, seconds: float) -> None:
        """Wait. After a restart of the server only the rest is waited."""
        await self.doors.call(Sleep(float(seconds)))

    def now(self) -> float:
        """The wall time, Unix seconds: the same after a restart of the server."""
        return float(self.doors.call_now(Now()) or 0)

    async def acquire(self, accesses: tuple[Access, ...]) -> int:
        """Claim locks and wait for the grant. Returns the number of the call, for `release`."""
        number = self.doors.calls + 1
        await self.doors.call(Acquire(accesses))
        return number

    async def release(self, number: int) -> None:
        """Give back what the call `number` acquired."""
        self.doors.call_now(Release(number))

    async def releaseLock(self, lock: Any) -> None:
        """Give back one lock of those that the step, or its `LockedSteps`, has by `locks=`, before the step ends.

        Raises RuntimeError if neither has it, or while a command of the step runs.
        """
        key = getattr(lock, "lock", lock).key(self.worker_name)
        problem = await self.doors.call(Release(0, key))
        if problem:
            raise RuntimeError(f"releaseLock: {problem}")
        self.build.gave_back(key)

    # What people read

    def evaluateCommand(self, cmd: RemoteCommand) -> Any:
        """The step's result, from its command's."""
        return cmd.results()

    def getCurrentSummary(self) -> Any:
        """What is shown while the step runs: `{"step": text}`."""
        return {"step": self._describe(self.description) or "running"}

    def getResultSummary(self) -> Any:
        """What is shown when the step has ended: `{"step": text}`, and `"build"` to say something for the build."""
        text = self._describe(self.descriptionDone or self.description) or "finished"
        return {"step": self.with_result(text)}

    def with_result(self, text: str) -> str:
        """The text, followed by the result if that is not SUCCESS."""
        if self.results not in (None, Result.SUCCESS):
            text += f" ({Result(self.results).name.lower()})"
        return f"{text} (timed out)" if self.timed_out else text

    def _describe(self, description: Any) -> str:
        """A description (a text or a list of texts) with its suffix; empty if there is none."""
        text = words(description)
        suffix = words(self.descriptionSuffix)
        return f"{text} {suffix}" if text and suffix else text

    def updateSummary(self) -> None:
        """Show the current summary anew."""
        summary = self.getCurrentSummary()
        if isinstance(summary, Awaitable):
            self._showing = asyncio.ensure_future(self._show_later(summary))
        else:
            self.doors.update_summary(words(summary.get("step", "")))

    async def _show_later(self, summary: Awaitable[Any]) -> None:
        self.doors.update_summary(words((await summary).get("step", "")))

    def wants_build_summary(self, result: int) -> bool:
        """Whether `updateBuildSummaryPolicy` lets this step's summary into the build's."""
        policy = self.updateBuildSummaryPolicy
        if isinstance(policy, bool):
            return policy
        if policy is None:
            policy = [Result.EXCEPTION, Result.RETRY, Result.CANCELLED]
            if self.flunkOnFailure or self.haltOnFailure or self.warnOnFailure:
                policy.append(Result.FAILURE)
            if self.warnOnWarnings or self.flunkOnWarnings:
                policy.append(Result.WARNINGS)
        return result in policy


def words(text: Any) -> str:
    """A text, or a list of texts with spaces between, as people may see it; empty for None."""
    if text is None:
        return ""
    if isinstance(text, list | tuple):
        return " ".join(words(part) for part in text if part)
    text = str(text)
    return str(shown(text)) if "\x02" in text else text  # (a secret's marker has one)
