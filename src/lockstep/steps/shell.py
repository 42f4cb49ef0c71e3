"""Steps that run a program on the worker: `ShellMixin` with its options, `ShellCommand`, `SetPropertyFromCommand`.

What is known of compilers and test programs is in `compiling.py`, sequences of programs in `sequence.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from lockstep.config.errors import check_keywords, missing
from lockstep.config.properties import resolve
from lockstep.core.nouns import Result
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep
from lockstep.steps.commands import RemoteCommand, RemoteShellCommand, check_signal, command_text

SHELL_KEYWORDS = (
    "command",
    "workdir",
    "env",
    "want_stdout",
    "want_stderr",
    "usePTY",
    "logfiles",
    "lazylogfiles",
    "timeout",
    "maxTime",
    "max_lines",
    "sigtermTime",
    "logEnviron",
    "interruptSignal",
    "initialStdin",
    "decodeRC",
)
_ON_THE_STEP = frozenset({"workdir", "lazylogfiles"})
"""Keywords that are the step's own business and no argument of the command."""


class ShellMixin:
    """The options of a program on the worker, for steps that run one: `setupShellMixin`, `makeRemoteShellCommand`.

    Times are in seconds. A log file of the worker is shown from the start of the command, also with `lazylogfiles`.
    """

    command: Any = None
    env: Any = None
    want_stdout: Any = True
    want_stderr: Any = True
    usePTY: Any = None
    logfiles: Any = None
    lazylogfiles: Any = False
    timeout: Any = 1200
    maxTime: Any = None
    max_lines: Any = None
    sigtermTime: Any = None
    logEnviron: Any = True
    interruptSignal: Any = "KILL"
    initialStdin: Any = None
    decodeRC: Any = None

    renderables: ClassVar[Any] = tuple(name for name in SHELL_KEYWORDS if name != "workdir")
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = kinds.PROGRAM
    keywords: ClassVar[tuple[str, ...]] = SHELL_KEYWORDS

    def setupShellMixin(self, constructorArgs: dict[str, Any], prohibitArgs: list[str] | None = None) -> dict[str, Any]:
        """Take the options of programs out of a step's keywords and return the rest, for `BuildStep.__init__`."""
        prohibited = set(prohibitArgs or ())
        rest = dict(constructorArgs)
        for name in SHELL_KEYWORDS:
            if name not in rest or name == "workdir":
                continue
            if name in prohibited:
                value = {name: rest.pop(name)}
                known = [key for key in SHELL_KEYWORDS if key not in prohibited]
                check_keywords(type(self).__name__, value, known, place=getattr(self, "place", None))
            else:
                setattr(self, name, rest.pop(name))
        check_signal(self.interruptSignal, getattr(self, "place", None))
        if "workdir" in prohibited and "workdir" in rest:
            check_keywords(
                type(self).__name__, {"workdir": rest.pop("workdir")}, (), place=getattr(self, "place", None)
            )
        return rest

    async def makeRemoteShellCommand(
        self, collectStdout: bool = False, collectStderr: bool = False, stdioLogName: str = "stdio", **overrides: Any
    ) -> RemoteShellCommand:
        """The command of this step; `overrides` are options that differ from the step's own.

        The environment is the builder's, then the step's, then what tells of the locks that are held (fences, L62, and
        units). Raises TypeError for an option that does not exist or an environment that is not made of strings.
        """
        assert isinstance(self, BuildStep)
        wrong = set(overrides) - set(SHELL_KEYWORDS)
        if wrong:
            raise TypeError(f"makeRemoteShellCommand does not know {', '.join(sorted(wrong))}")
        options = {name: overrides.get(name, getattr(self, name)) for name in SHELL_KEYWORDS}
        if options["command"] is None:
            raise TypeError(f"the step {self.name!r} has no command to run")
        options["env"] = {**self.build.env, **(options["env"] or {}), **self.build.held()}
        options["workdir"] = self.build.place(options["workdir"])
        cmd = RemoteShellCommand(
            collectStdout=collectStdout,
            collectStderr=collectStderr,
            stdioLogName=stdioLogName,
            **{name: value for name, value in options.items() if name not in _ON_THE_STEP or name == "workdir"},
        )
        cmd.useLog(self._log_named(stdioLogName, cmd.collects))
        for name in options["logfiles"] or {}:
            cmd.useLog(self._log_named(name, eager=False), logfileName=name)
        return cmd

    def getResultSummary(self) -> Any:
        """The description, or the command in a few words."""
        assert isinstance(self, BuildStep)
        if self.descriptionDone or self.description:
            return super().getResultSummary()  # type: ignore[misc]
        return {"step": self.with_result(self._command_summary() or "finished")}

    def getCurrentSummary(self) -> Any:
        """The description, or the command in a few words."""
        assert isinstance(self, BuildStep)
        return {"step": self._describe(self.description) or self._command_summary() or "running"}

    def _command_summary(self) -> str:
        assert isinstance(self, BuildStep)
        command = getattr(self.cmd, "command", None) or self.command
        return self._describe(command_text(command))


class ShellCommand(ShellMixin, BuildStep):
    """Run one program; its exit code is the result."""

    name: Any = "shell"
    lean = True

    def __init__(self, **kwargs: Any) -> None:
        """Take `command` (a list of words, or a string for the shell) and the other options."""
        kwargs = self.setupShellMixin(kwargs)
        super().__init__(**kwargs)
        if type(self) is ShellCommand and self.command is None:
            missing("command", "ShellCommand needs a command", 'command=["make", "test"], for example', self.place)

    async def run(self) -> int:
        cmd = await self.makeRemoteShellCommand()
        await self.runCommand(cmd)
        return int(await resolve(self.evaluateCommand(cmd)))


class SetPropertyFromCommand(ShellMixin, BuildStep):
    """Run a program and set properties from its output.

    Either `property` (its standard output, stripped unless `strip=False`) or `extract_fn` (a function of exit code,
    standard output and standard error that returns a dictionary of properties).
    """

    name: Any = "setproperty"
    renderables: ClassVar[Any] = ("property",)
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {"property": kinds.text}
    property: Any = None

    def __init__(
        self,
        property: Any = None,
        extract_fn: Callable[[int | None, str, str], dict[str, Any]] | None = None,
        strip: bool = True,
        includeStdout: bool = True,
        includeStderr: bool = False,
        **kwargs: Any,
    ) -> None:
        """Take one of `property` and `extract_fn`, and the options of a program."""
        self.property = property
        self.extract_fn = extract_fn
        self.strip = strip
        self.includeStdout = includeStdout
        self.includeStderr = includeStderr
        kwargs = self.setupShellMixin(kwargs)
        super().__init__(**kwargs)
        if (property is None) == (extract_fn is None):
            both = "SetPropertyFromCommand needs one of property and extract_fn"
            missing(("property", "extract_fn"), both, place=self.place)
        if self.command is None:
            missing("command", "SetPropertyFromCommand needs a command", place=self.place)
        self.property_changes: dict[str, Any] = {}

    async def run(self) -> int:
        both = self.extract_fn is not None
        cmd = await self.makeRemoteShellCommand(
            collectStdout=both or self.includeStdout, collectStderr=both or self.includeStderr
        )
        await self.runCommand(cmd)
        changes = self._changes(cmd)
        for name, value in changes.items():
            self.setProperty(name, value, "SetPropertyFromCommand Step")
        self.property_changes = changes
        if changes:
            self.addCompleteLog("property changes", "".join(f"{name}: {value!r}\n" for name, value in changes.items()))
        result = cmd.results()
        return Result.WARNINGS if self.extract_fn and result == Result.SUCCESS and not changes else result

    def _changes(self, cmd: RemoteCommand) -> dict[str, Any]:
        if self.extract_fn is not None:
            return dict(self.extract_fn(cmd.rc, cmd.stdout, cmd.stderr) or {})
        if cmd.didFail() or cmd.rc is None or cmd.rc < 0:
            return {}
        output = (cmd.stdout if self.includeStdout else "") + (cmd.stderr if self.includeStderr else "")
        return {self.property: output.strip() if self.strip else output}

    def getResultSummary(self) -> Any:
        """What was set."""
        if len(self.property_changes) > 1:
            return {"step": self.with_result(f"{len(self.property_changes)} properties set")}
        if len(self.property_changes) == 1:
            return {"step": self.with_result(f"property {next(iter(self.property_changes))!r} set")}
        return super().getResultSummary()
