"""Steps that know compilers and test programs: warnings are counted, results of Trial are read.

The plain program is in `shell.py`.
"""

import re
from typing import Any, ClassVar

from lockstep.config.errors import missing, mistake
from lockstep.config.properties import resolve
from lockstep.core.nouns import Result
from lockstep.steps.commands import RemoteCommand
from lockstep.steps.logs import LogLineObserver
from lockstep.steps.shell import ShellCommand


class _Matcher(LogLineObserver):
    """Keeps the lines that match."""

    def __init__(self, pattern: Any) -> None:
        self.pattern = re.compile(pattern) if isinstance(pattern, str) else pattern
        self.lines: list[str] = []

    def outLineReceived(self, line: str) -> None:
        if self.pattern.match(line):
            self.lines.append(line)

    errLineReceived = outLineReceived


class WarningCountingShellCommand(ShellCommand):
    """A program whose output is searched for warnings (`warningPattern`, a regular expression for whole lines).

    Warnings make the result WARNINGS, more than `maxWarnCount` of them FAILURE. They are kept in a log, and counted in
    the build's property `warnings-count`.
    """

    warningPattern: Any = "(?i).*warning[: ].*"
    maxWarnCount: Any = None
    warnCount: int = 0
    renderables: ClassVar[Any] = ("warningPattern",)
    keywords: ClassVar[tuple[str, ...]] = ("warningPattern", "maxWarnCount")
    not_yet: ClassVar[tuple[str, ...]] = (
        "warningExtractor",
        "directoryEnterPattern",
        "directoryLeavePattern",
        "suppressionFile",
        "suppressionList",
    )

    def __init__(self, **kwargs: Any) -> None:
        """Take the pattern and the limit, and the options of a program."""
        for name in self.keywords:
            if kwargs.get(name) is not None:
                setattr(self, name, kwargs[name])
            kwargs.pop(name, None)
        super().__init__(**kwargs)
        if isinstance(self.warningPattern, str):
            try:
                re.compile(self.warningPattern)
            except re.error as exc:
                mistake(f"warningPattern {self.warningPattern!r} is no regular expression: {exc}", place=self.place)

    async def run(self) -> int:
        observer = _Matcher(self.warningPattern) if self.warningPattern else None
        if observer is not None:
            self.addLogObserver("stdio", observer)
        cmd = await self.makeRemoteShellCommand()
        await self.runCommand(cmd)
        self.finish_observers()
        if observer is not None and observer.lines:
            self.count_warnings(observer.lines)
        return int(await resolve(self.evaluateCommand(cmd)))

    def count_warnings(self, lines: list[str]) -> None:
        """Keep the warnings."""
        self.warnCount = len(lines)
        self.addCompleteLog(f"warnings ({self.warnCount})", "\n".join(lines) + "\n")
        before = self.getProperty("warnings-count", 0)
        before = before if isinstance(before, int) else 0
        self.setProperty("warnings-count", before + self.warnCount, "WarningCountingShellCommand")

    def evaluateCommand(self, cmd: RemoteCommand) -> Any:
        """The command's result, worsened by warnings."""
        result = cmd.results()
        if result == Result.SUCCESS and self.maxWarnCount is not None and self.warnCount > self.maxWarnCount:
            return Result.FAILURE
        return Result.WARNINGS if result == Result.SUCCESS and self.warnCount else result


class Compile(WarningCountingShellCommand):
    """Compile: `make all` unless told otherwise; a failure ends the build."""

    name: Any = "compile"
    haltOnFailure: Any = True
    flunkOnFailure: Any = True
    description: Any = "compiling"
    descriptionDone: Any = "compile"
    command: Any = ("make", "all")


class Test(WarningCountingShellCommand):
    """Test: `make test` unless told otherwise."""

    __test__ = False  # (not one of pytest's)

    name: Any = "test"
    warnOnFailure: Any = True
    description: Any = "testing"
    descriptionDone: Any = "test"
    command: Any = ("make", "test")


class Configure(ShellCommand):
    """Configure: `./configure` unless told otherwise; a failure ends the build."""

    name: Any = "configure"
    haltOnFailure: Any = True
    flunkOnFailure: Any = True
    description: Any = "configuring"
    descriptionDone: Any = "configure"
    command: Any = ("./configure",)
    lean = True


class _TrialObserver(LogLineObserver):
    """Reads what Trial says at its end, and the problems before."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.counts: dict[str, int] = {}
        self.problems: list[str] = []
        self._in_problems = False

    def outLineReceived(self, line: str) -> None:
        if line.startswith(("=" * 60, "-" * 60)) and self.total is None:
            self._in_problems = line.startswith("=") or self._in_problems
        if match := re.match(r"Ran (\d+) tests? in ", line):
            self.total = int(match.group(1))
            self._in_problems = False
        elif match := re.match(r"(?:FAILED|PASSED) ?(?:\((.*)\))?$", line):
            self.counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", match.group(1) or "")}
        elif self._in_problems:
            self.problems.append(line)

    errLineReceived = outLineReceived


class Trial(ShellCommand):
    """Run unit tests with Twisted's `trial`.

    `tests` is a module or a list of them; with `testChanges` the modules are found from the changed files. `python` is
    the interpreter (a word or a list), `trial` the program, `testpath` goes to PYTHONPATH, `jobs` runs so many at once.
    """

    name: Any = "trial"
    flunkOnFailure: Any = True
    lean = False
    renderables: ClassVar[Any] = ("tests", "jobs", "python", "trial", "testpath")
    trial: Any = "trial"
    python: Any = None
    trialMode: Any = ("--reporter=bwverbose",)
    trialArgs: Any = ()
    jobs: Any = None
    jobArgs: Any = ()
    testpath: Any = "."
    tests: Any = None
    testChanges: Any = False
    randomly: Any = False
    recurse: Any = False
    reactor: Any = None
    keywords: ClassVar[tuple[str, ...]] = (
        "trial",
        "python",
        "trialMode",
        "trialArgs",
        "jobs",
        "jobArgs",
        "testpath",
        "tests",
        "testChanges",
        "randomly",
        "recurse",
        "reactor",
    )
    not_yet: ClassVar[tuple[str, ...]] = ("release",)

    def __init__(self, **kwargs: Any) -> None:
        """Take what is named above, and the options of a program."""
        chosen = "testChanges" in kwargs
        for name in self.keywords:
            if name in kwargs:
                setattr(self, name, kwargs.pop(name))
        kwargs.setdefault("logfiles", {"test.log": "_trial_temp/test.log"})
        super().__init__(**kwargs)
        self.observed = _TrialObserver()
        if not self.tests and not chosen:
            hint = 'tests="mypackage", for example'
            missing(("tests", "testChanges"), "Trial needs tests= or testChanges=", hint, self.place)
        self.description = self.description or "testing"

    def _words(self) -> list[Any]:
        words: list[Any] = list(self.python if isinstance(self.python, list | tuple) else filter(None, [self.python]))
        words += [self.trial, *self.trialMode, *self.trialArgs]
        if self.recurse:
            words.append("--recurse")
        if self.reactor:
            words.append(f"--reactor={self.reactor}")
        if self.randomly:
            words.append("--random=0")
        if self.jobs:
            words += [f"--jobs={self.jobs}", *self.jobArgs]
        changed = [name for name in self.build.allFiles() if name.endswith(".py")] if self.testChanges else []
        if changed:
            return words + [f"--testmodule={name}" for name in dict.fromkeys(changed)]
        return words + list(self.tests if isinstance(self.tests, list | tuple) else filter(None, [self.tests]))

    async def run(self) -> int:
        self.addLogObserver("stdio", self.observed)
        env = dict(self.env or {})
        if self.testpath is not None:
            before = env.get("PYTHONPATH", [])
            env["PYTHONPATH"] = [self.testpath, *(before if isinstance(before, list | tuple) else [before])]
        cmd = await self.makeRemoteShellCommand(command=self._words(), env=env)
        await self.runCommand(cmd)
        self.finish_observers()
        if self.observed.problems:
            self.addCompleteLog("problems", "\n".join(self.observed.problems) + "\n")
        return cmd.results()

    def getResultSummary(self) -> Any:
        """How many tests ran, and how."""
        total, counts = self.observed.total, self.observed.counts
        if total is None:
            return {"step": self.with_result("tests")}
        wrong = {name: number for name, number in counts.items() if name in ("failures", "errors") and number}
        text = f"{total} {'test' if total == 1 else 'tests'}"
        if not wrong and self.results == Result.SUCCESS:
            return {"step": f"{text} passed"}
        parts = [f"{number} {name.removesuffix('s') if number == 1 else name}" for name, number in wrong.items()]
        return {"step": self.with_result(", ".join([text, *parts]))}
