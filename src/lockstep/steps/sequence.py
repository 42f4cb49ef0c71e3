"""`ShellSequence`: several programs in one step, each a `ShellArg` with flags of its own."""

from typing import Any, ClassVar

from msgspec import Struct

from lockstep.config.errors import check_keywords, here, missing, mistake
from lockstep.config.properties import Properties, is_renderable, render
from lockstep.core.nouns import Result, worse
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep
from lockstep.steps.shell import ShellMixin

_FLAGS = ("haltOnFailure", "flunkOnFailure", "flunkOnWarnings", "warnOnFailure", "warnOnWarnings")


class Arg(Struct, kw_only=True):
    """A rendered `ShellArg`."""

    command: Any
    logname: Any = None
    haltOnFailure: bool = False
    flunkOnFailure: bool = False
    flunkOnWarnings: bool = False
    warnOnFailure: bool = False
    warnOnWarnings: bool = False

    def judge(self, result: int) -> Result:
        """What the result of this program means for the step, by its flags."""
        if result == Result.FAILURE:
            if self.flunkOnFailure:
                return Result.FAILURE
            return Result.WARNINGS if self.warnOnFailure else Result.SUCCESS
        if result == Result.WARNINGS:
            if self.flunkOnWarnings:
                return Result.FAILURE
            return Result.WARNINGS if self.warnOnWarnings else Result.SUCCESS
        return Result(result)


class ShellArg:
    """One program of a `ShellSequence`.

    `logname` (`logfile` is its old name) is the log that takes its output (default `stdio`). The flags say what its
    result means for the step, as a step's flags do for its build; none is set unless given.
    """

    def __init__(self, command: Any = None, logname: Any = None, *, logfile: Any = None, **flags: Any) -> None:
        """Take the command, its log and its flags."""
        self.place = here()
        self.command = command
        self.logname = logfile if logname is None else logname
        self.flags = {name: bool(flags.pop(name)) for name in _FLAGS if name in flags}
        check_keywords("ShellArg", flags, ("command", "logname", *_FLAGS), place=self.place)
        if command is None:
            missing("command", "ShellArg needs a command", place=self.place)
        elif not is_renderable(command) and (wrong := kinds.command(command)):
            mistake(f"command of ShellArg {wrong}", place=self.place)

    def validateAttributes(self) -> None:
        """For Buildbot's users: everything was checked when it was made."""

    async def getRenderingFor(self, props: Properties) -> Arg:
        """The program with its properties filled in."""
        return Arg(command=await render(self.command, props), logname=await render(self.logname, props), **self.flags)


class ShellSequence(ShellMixin, BuildStep):
    """Run several programs, one after the other. The step's result is the worst of what they mean (`ShellArg`)."""

    name: Any = "shell_sequence"
    renderables: ClassVar[Any] = ("commands",)
    last_command: Any = None
    lean = True

    def __init__(self, commands: Any = None, **kwargs: Any) -> None:
        """Take the list of `ShellArg`s and the options that hold for all of them."""
        self.commands = commands
        kwargs = self.setupShellMixin(kwargs, prohibitArgs=["command"])
        super().__init__(**kwargs)
        for arg in commands if isinstance(commands, list | tuple) else ():
            if not is_renderable(arg):
                mistake(f"ShellSequence takes a list of ShellArg, not {arg!r}", place=self.place)

    def shouldRunTheCommand(self, oneCmd: Any) -> bool:
        """Whether this command (its words) is to be run; an empty one is not."""
        return bool(oneCmd)

    def getFinalState(self) -> Any:
        """What is shown when all is done."""
        return self._describe(self.descriptionDone or self.description) or "finished"

    def getResultSummary(self) -> Any:
        """The final state."""
        return {"step": self.with_result(str(self.getFinalState()))}

    async def runShellSequence(self, commands: Any) -> int:
        """Run these commands and return the step's result."""
        if commands is None:
            raise TypeError(f"the step {self.name!r} has no commands")
        total = Result.SUCCESS
        for given in commands:
            arg = await render(given, self.build.properties)
            if not isinstance(arg, Arg):
                raise TypeError(f"a ShellSequence takes ShellArg, not {given!r}")
            if not self.shouldRunTheCommand(arg.command):
                continue
            self.last_command = arg.command
            cmd = await self.makeRemoteShellCommand(command=arg.command, stdioLogName=arg.logname or "stdio")
            await self.runCommand(cmd)
            meaning = arg.judge(cmd.results())
            total = worse(total, meaning)
            if (arg.haltOnFailure and cmd.results() == Result.FAILURE) or meaning >= Result.EXCEPTION:
                return worse(total, Result.FAILURE) if meaning < Result.EXCEPTION else total
        return total

    async def run(self) -> int:
        return await self.runShellSequence(self.commands)
