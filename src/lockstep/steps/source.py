"""What checkouts share: which source stamp, where, how often, patches, the property `got_revision`.

What a version control system's commands are is in `git.py` and `svn.py`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.errors import check_keywords, missing, mistake
from lockstep.core.nouns import Result
from lockstep.core.values import Patch, SourceStamp
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep, BuildStepFailed
from lockstep.steps.commands import RemoteCommand, RemoteShellCommand, hidden_word
from lockstep.steps.files import CompositeStepMixin
from lockstep.steps.logs import Log

PATCHED = ".lockstep-patched"
"""A file in the workdir that says: a patch was applied here, the tree is not as it was checked out."""


class Source(CompositeStepMixin, BuildStep):
    """A checkout. `timeout` is in seconds; `retry` is (seconds between, how often again).

    `codebase` picks the source stamp. With `alwaysUseLatest` its branch, revision and patch are ignored.
    """

    renderables: ClassVar[Any] = (
        "repourl",
        "branch",
        "codebase",
        "env",
        "timeout",
        "alwaysUseLatest",
        "mode",
        "method",
    )
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {
        "repourl": kinds.text,
        "branch": kinds.text,
        "codebase": kinds.text,
        "alwaysUseLatest": kinds.flag,
        "env": kinds.environment,
        "timeout": kinds.seconds,
        "logEnviron": kinds.flag,
        "retry": kinds.again,
    }
    haltOnFailure: Any = True
    flunkOnFailure: Any = True
    description: Any = "updating"
    descriptionDone: Any = "update"

    repourl: Any = None
    branch: Any = None
    codebase: Any = ""
    mode: Any = "incremental"
    method: Any = None
    alwaysUseLatest: Any = False
    retry: Any = None
    env: Any = None
    timeout: Any = 20 * 60
    logEnviron: Any = True
    keywords: ClassVar[tuple[str, ...]] = (
        "repourl",
        "branch",
        "codebase",
        "mode",
        "method",
        "alwaysUseLatest",
        "retry",
        "env",
        "timeout",
        "logEnviron",
    )
    methods: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The methods of each mode; the first one is used where none is given."""

    def __init__(self, **kwargs: Any) -> None:
        """Take the options in `keywords` of the class and its bases."""
        for cls in reversed(type(self).__mro__):
            for name in vars(cls).get("keywords", ()):
                if name in kwargs:
                    setattr(self, name, kwargs.pop(name))
        named = isinstance(self.codebase, str) and self.codebase and "name" not in kwargs
        super().__init__(**kwargs)
        if named:
            self.name = f"{self.name}-{self.codebase}"
            self.descriptionSuffix = self.descriptionSuffix or self.codebase
        self._check()

    def _check(self) -> None:
        what = type(self).__name__
        if not self.repourl:
            missing("repourl", f"{what} needs repourl=", place=self.place)
        if isinstance(self.mode, str) and self.mode not in self.methods:
            mistake(f"{what} has no mode {self.mode!r}", "modes are " + ", ".join(self.methods), self.place)
            self.mode = "incremental"
        elif isinstance(self.mode, str) and isinstance(self.method, str):
            known = self.methods[self.mode]
            if self.method not in known:
                hint = f"methods are {', '.join(known)}" if known else "leave it out"
                mistake(f"{what} has no method {self.method!r} in mode {self.mode}", hint, self.place)

    # What the build wants

    def stamp(self) -> SourceStamp:
        """The source stamp of this codebase. Raises BuildStepFailed with a word in the log if the build has none."""
        if self.alwaysUseLatest:
            return SourceStamp(codebase=self.codebase, branch=self.branch)
        stamp: SourceStamp | None = self.build.getSourceStamp(self.codebase)
        if stamp is None:
            self.fail(f"the build has no source stamp for the codebase {self.codebase!r}")
        assert stamp is not None
        return stamp

    def fail(self, why: str) -> None:
        """End the step with FAILURE and a sentence in its log."""
        self.stdio().addHeader(f"{why}\n")
        raise BuildStepFailed(why)

    def no_option(self, what: str, value: Any) -> Any:
        """The value, unless a program could take it for one of its options."""
        if isinstance(value, str) and value.startswith("-"):
            self.fail(f"the {what} {value!r} begins with a minus sign: refused")
        return value

    # Running programs

    def stdio(self) -> Log:
        """The log of all commands."""
        log = self._log_named("stdio", eager=True)
        self.rc_log = log
        return log

    async def program(
        self,
        words: list[Any],
        workdir: str,
        collect: bool = False,
        abandonOnFailure: bool = True,
        initialStdin: str | None = None,
        unseen: Mapping[str, str] | None = None,
    ) -> RemoteShellCommand:
        """Run a program in a directory below the build's folder. Raises BuildStepFailed if it fails.

        `unseen`: what is in its environment, and in no log.
        """
        env = {**self.build.env, **(self.env or {}), **self.build.held()}
        for name, value in (unseen or {}).items():
            env[name] = hidden_word(value)
        cmd = RemoteShellCommand(
            self.build.place(workdir),
            words,
            env=env,
            timeout=self.timeout,
            logEnviron=bool(self.logEnviron),
            collectStdout=collect,
            initialStdin=initialStdin,
        )
        cmd.useLog(self.stdio())
        await self.runCommand(cmd)
        if abandonOnFailure and cmd.results() != Result.SUCCESS:
            raise BuildStepFailed
        return cmd

    async def exists(self, *path: str) -> bool:
        """Whether there is such a file or directory, below the build's folder. The log says nothing of it."""
        command = RemoteCommand("stat", {"path": self.build.path_module.join(*path)}, stdioLogName="")
        await self.runCommand(command)
        return not command.didFail()

    async def remove(self, directory: str) -> None:
        """Remove a directory below the build's folder."""
        command = RemoteCommand("rmdir", {"paths": [directory], "timeout": self.timeout})
        command.useLog(self.stdio())
        await self.runCommand(command)
        if command.results() != Result.SUCCESS:
            raise BuildStepFailed

    async def copy(self, source: str, target: str) -> None:
        """Replace a directory by a copy of another."""
        await self.remove(target)
        args = {"from_path": source, "to_path": target, "timeout": self.timeout}
        await self.runRemoteCommand("cpdir", args)

    # The way of all checkouts

    async def run(self) -> int:
        self.stdio()
        stamp = self.stamp()
        delay, again = self.retry or (0, 0)
        while True:
            try:
                revision = await self.checkout(stamp)
                break
            except BuildStepFailed:
                if again <= 0 or self.stopped:
                    raise
                again -= 1
                self.stdio().addHeader(f"the checkout failed; trying again in {delay} seconds\n")
                await self.sleep(delay)
        if stamp.patch is not None and not self.alwaysUseLatest:
            await self.patch(stamp.patch)
        self.updateSourceProperty("got_revision", revision)
        return Result.SUCCESS

    async def checkout(self, stamp: SourceStamp) -> str:
        """Bring the workdir to what the stamp says, and return the revision."""
        raise NotImplementedError

    async def patch(self, patch: Patch) -> None:
        """Apply a patch to the workdir, and leave a mark there."""
        await self.downloadFileContentToWorker(PATCHED, "patched\n", abandonOnFailure=True)
        where = self.build.path_module.join(self.workdir, patch.subdir) if patch.subdir else self.workdir
        await self.program(
            ["patch", f"-p{patch.level}", "--remove-empty-files", "--force", "--forward"],
            where,
            initialStdin=patch.body.decode("utf-8", "surrogateescape"),
        )

    def updateSourceProperty(self, name: str, value: Any, source: str = "") -> None:
        """Set a property of the build; with codebases it is a dictionary by codebase."""
        if self.codebase:
            before = self.getProperty(name, {})
            value = {**(before if isinstance(before, dict) else {}), self.codebase: value}
        self.setProperty(name, value, source or type(self).__name__)


def refuse(step: BuildStep, **given: Any) -> None:
    """Report the keywords that are given a value and that are not there yet."""
    check_keywords(type(step).__name__, given, (), tuple(given), place=step.place)
