"""The ready-made factories of Buildbot's early years: a source step, and what one kind of project needs after it."""

from typing import Any

from lockstep.compat.names import find
from lockstep.config.errors import check_keywords, here
from lockstep.config.factory import BuildFactory
from lockstep.config.locked_steps import as_step

_TRIAL = (
    "source",
    "buildpython",
    "trialpython",
    "trial",
    "testpath",
    "randomly",
    "recurse",
    "tests",
    "useTestCaseNames",
    "env",
    "locks",
)


class Trial(BuildFactory):
    """Build a Python project and run its tests with Twisted's trial; `locks` as in every factory."""

    def __init__(
        self,
        source: Any,
        buildpython: Any = None,
        trialpython: Any = None,
        trial: str | None = None,
        testpath: str | None = ".",
        randomly: Any = None,
        recurse: Any = None,
        tests: Any = None,
        useTestCaseNames: bool = False,
        env: dict[str, str] | None = None,
        locks: Any = None,
        **unknown: Any,
    ) -> None:
        """Take the source step, the commands for building and testing, and what to test."""
        super().__init__([source], locks)
        check_keywords("factory.Trial", unknown, _TRIAL, place=here())
        build = [*(["python"] if buildpython is None else buildpython), "./setup.py", "build"]
        self.addStep(find("steps", "Compile")(command=build, env=env or {}))
        given = {
            "python": trialpython or None,
            "trial": trial,
            "testpath": testpath,
            "randomly": randomly,
            "recurse": recurse,
            "tests": tests,
            "env": env,
        }
        settings = {name: value for name, value in given.items() if value is not None}
        if useTestCaseNames or not tests:
            settings["testChanges"] = bool(useTestCaseNames)
        self.addStep(find("steps", "Trial")(**settings))


class GNUAutoconf(BuildFactory):
    """`./configure`, `make all`, `make check`, after a source step; each may be left out with None."""

    def __init__(
        self,
        source: Any,
        configure: Any = "./configure",
        configureEnv: dict[str, str] | None = None,
        configureFlags: Any = (),
        compile: Any = ("make", "all"),
        test: Any = ("make", "check"),
        locks: Any = None,
        **unknown: Any,
    ) -> None:
        """Take the source step and the commands."""
        super().__init__([source], locks)
        known = ("source", "configure", "configureEnv", "configureFlags", "compile", "test", "locks")
        check_keywords("factory.GNUAutoconf", unknown, known, ("reconf", "distcheck"), here())
        if configure is not None:
            command = [configure, *configureFlags] if configureFlags else configure
            self.addStep(find("steps", "Configure")(command=command, env=configureEnv or {}))
        for name, words in (("Compile", compile), ("Test", test)):
            if words is not None:
                command = list(words) if isinstance(words, tuple) else words
                self.addStep(find("steps", name)(command=command))


def s(step_class: Any, **kwargs: Any) -> Any:
    """The 2005 spelling of a step: `s(step.SVN, svnurl=...)`."""
    return as_step((step_class, kwargs))
