"""`LockedSteps`: consecutive steps of a factory that hold locks together, from the first that runs to the last.

When the locks are claimed and given back is decided in `core/decide_groups.py`.
"""

from collections.abc import Iterable
from typing import Any

from lockstep.config.errors import check_keywords, here, mistake
from lockstep.config.locks import tidy
from lockstep.config.protocols import StepLike


class LockedSteps:
    """Consecutive steps with locks of their own: `LockedSteps([flash, test], locks=[board.access('exclusive')])`.

    The locks are claimed with those of the first step that runs, and given back after the last that can run, whatever
    the steps' results are. Put it into a factory's list of steps.
    """

    def __init__(self, steps: Any = None, locks: Any = None, **unknown: Any) -> None:
        """Take steps and locks. `locks` is what `locks=` of a step is."""
        self.place = here()
        self.name = "LockedSteps"
        check_keywords("LockedSteps", unknown, ("steps", "locks"), place=self.place)
        self.locks: Any = tidy(locks)
        self.steps: list[Any] = []
        given = [] if isinstance(steps, StepLike) or not isinstance(steps, Iterable) else list(steps)
        if not given:
            mistake(f"LockedSteps needs a list of steps, not {steps!r}", "put steps into a list", self.place)
        if isinstance(self.locks, list) and not self.locks:
            mistake("LockedSteps needs locks=", "without locks, put the steps into the factory", self.place)
        for step in given:
            self._add(step)

    def _add(self, step: Any) -> None:
        if isinstance(step, LockedSteps):
            hint = "name the locks of both in one, or put one after the other"
            mistake("LockedSteps cannot hold LockedSteps", hint, self.place)
            return
        made = as_step(step)
        if made is not None:
            own = made.make()  # the same step may stand elsewhere, too
            own.locked_by = self
            self.steps.append(own)

    def __repr__(self) -> str:
        """How many steps there are."""
        return f"<LockedSteps with {len(self.steps)} steps>"


def groups_in(steps: Iterable[Any]) -> list[LockedSteps]:
    """The groups of these steps, each once."""
    found = {id(group): group for step in steps if (group := getattr(step, "locked_by", None)) is not None}
    return list(found.values())


def as_step(step: Any, kwargs: dict[str, Any] | None = None) -> Any:
    """A step object from what may stand in a list of steps; None, with a mistake reported, if it is no step."""
    if isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], type) and isinstance(step[1], dict):
        step, kwargs = step
    if isinstance(step, type):
        step = step(**(kwargs or {}))
    elif kwargs:
        mistake(f"keywords ({', '.join(kwargs)}) can be added only to a step's class, not to {step!r}")
    if getattr(step, "lockstep_refused", False):
        return None
    if isinstance(step, LockedSteps):
        mistake("LockedSteps can stand only in a factory's list of steps", "add its steps one by one")
        return None
    if isinstance(step, StepLike):
        step.check_arguments()
        return step
    mistake(f"{step!r} is no step", "a step is made by steps.ShellCommand(...) and the like")
    return None


def groups_of(steps: Iterable[Any]) -> list[int]:
    """The number of each step's group: the place of the group's first step, from 1; 0 for a step of none."""
    found: list[int] = []
    former: Any = None
    for place, step in enumerate(steps, start=1):
        group: Any = getattr(step, "locked_by", None)
        begins = group is not None and (group is not former or step is group.steps[0])
        found.append(0 if group is None else place if begins else found[-1])
        former = group
    return found
