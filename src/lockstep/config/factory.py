"""`BuildFactory`: the list of steps that each build of a builder gets anew.

What a step is, is written in `steps/`; here only its protocol is known (`protocols.StepLike`). The ready-made factories
of 2005 (`factory.Trial`, ...) need steps and are in `compat/`.
"""

from collections.abc import Iterable
from typing import Any

from lockstep.config.errors import Place, check_keywords, here, mistake
from lockstep.config.locked_steps import LockedSteps, as_step, groups_of
from lockstep.config.locks import tidy
from lockstep.config.protocols import StepLike

_NO_BUILD_CLASS = "buildClass of a BuildFactory is not supported yet"


class BuildFactory:
    """Steps in their order. `locks=` is claimed by every build of it, with the builder's own (L21)."""

    workdir: Any = "build"
    useProgress = True
    treeStopOnFailure = False
    buildClass: Any = None
    place: Place

    def __new__(cls, *args: Any, **kwargs: Any) -> "BuildFactory":
        """Give every factory its place and its list, also where a subclass forgets to call `__init__`."""
        made = super().__new__(cls)
        made.place = here()
        made.steps = []
        made.locks = []
        return made

    def __init__(self, steps: Any = None, locks: Any = None, **unknown: Any) -> None:
        """Take steps (objects, or pairs as `s(...)` makes them) and locks."""
        self.steps: list[Any] = []
        self.locks: Any = tidy(locks)
        check_keywords("BuildFactory", unknown, ("steps", "locks"), place=self.place)
        if steps is not None:
            self.addSteps(steps)

    def addStep(self, step: Any, **kwargs: Any) -> None:
        """Add a step, or `LockedSteps`; the oldest form is a class and its keywords."""
        if isinstance(step, LockedSteps) and not kwargs:
            self.steps.extend(step.steps)
            return
        made = as_step(step, kwargs)
        if made is not None:
            self.steps.append(made)

    def addSteps(self, steps: Iterable[Any]) -> None:
        """Add steps in their order."""
        if isinstance(steps, StepLike) or not isinstance(steps, Iterable):
            mistake(f"a BuildFactory needs a list of steps, not {steps!r}", "put it into a list")
            return
        for step in steps:
            self.addStep(step)

    def newSteps(self) -> list[Any]:
        """Fresh steps for one build."""
        made = [step.make() for step in self.steps]
        if any(getattr(step, "locked_by", None) is not None for step in self.steps):
            for step, template, number in zip(made, self.steps, groups_of(self.steps), strict=True):
                if number:
                    step.locked_by, step.locked_group = template.locked_by, number
        for step in made:
            if self.workdir != "build" and hasattr(step, "setDefaultWorkdir"):
                step.setDefaultWorkdir(self.workdir)
        return made

    def check(self) -> None:
        """Report what was put on the factory and does not work yet."""
        if self.buildClass is not None:
            mistake(_NO_BUILD_CLASS, "leave it out", self.place)

    def __repr__(self) -> str:
        """How many steps there are."""
        return f"<{type(self).__name__} with {len(self.steps)} steps>"
