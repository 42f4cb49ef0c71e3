"""What the builds of a builder may still claim once they run: its steps' locks, and the builders they wait for.

The core looks for rings in it before there are any (L50, L51). What can be known only while a build runs is marked.
"""

import os
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from msgspec import structs

from lockstep.config.builders import BuilderConfig
from lockstep.config.errors import Place
from lockstep.config.locked_steps import groups_of
from lockstep.config.locks import tidy
from lockstep.config.needs import Needs
from lockstep.config.rendering import has_renderables
from lockstep.core.nouns import Access, Alternative, Need
from lockstep.core.values import Stage

_OPENING = frozenset(("acquire", "addStepsAfterCurrentStep", "addStepsAfterLastStep"))
"""What code of a user's own step names if it claims more than the step's `locks=` while it runs."""


class Stages:
    """Computes the stages of builders from what a configuration has."""

    def __init__(self, needs: Needs, schedulers: Mapping[str, Any], folder: str) -> None:
        """Take what is known of locks and workers, the schedulers by name, and the folder that places are told from."""
        self.needs = needs
        self.schedulers = schedulers
        self.folder = os.path.join(folder, "")
        self._midway = any(hasattr(lock, "get") for lock in needs.table.all())

    def of(self, builder: BuilderConfig) -> tuple[Stage, ...]:
        """The stages of a builder: of its steps, those that may claim something or wait for builds."""
        workers = tuple(name for name in builder.workernames if name in self.needs.workers)
        found: list[Stage | None] = []
        steps = builder.factory.steps
        begun: dict[int, bool] = {}  # by group: whether a step before is sure to have claimed its locks
        for number, (step, group) in enumerate(zip(steps, groups_of(steps), strict=True), start=1):
            stage = self._stage(step, number, workers)
            if not group:
                found.append(stage)
                continue
            found += self._in_group(step, number, workers, stage, begun.get(group))
            begun[group] = begun.get(group, False) or getattr(step, "doStepIf", True) is True
        return tuple(stage for stage in found if stage is not None)

    def _in_group(
        self, step: Any, number: int, workers: tuple[str, ...], stage: Stage | None, begun: bool | None
    ) -> list[Stage | None]:
        """A step of `LockedSteps` as the first of them that runs, and as a later one. `begun` None: it stands first."""
        if getattr(step, "doStepIf", True) is False:
            return []
        locked = step.locked_by
        stages: list[Stage | None] = []
        if not begun:
            both = self._need([step, locked], workers)
            name = step.name if isinstance(step.name, str) else type(step).__name__
            first = stage or Stage(number=number, name=name, place=self.place(step.place))
            is_open = first.open or has_renderables(tidy(locked.locks))
            if both is not None or is_open or first.children:
                stages.append(structs.replace(first, need=both, open=is_open))
        if begun is not None and stage is not None:
            place = self.place(locked.place)
            stages.append(structs.replace(stage, held=self._need([locked], workers), held_place=place))
        return stages

    def place(self, place: Place) -> str:
        """A place as it is told in the core: from the configuration's folder."""
        return str(Place(place.file.removeprefix(self.folder), place.line))

    def _stage(self, step: Any, number: int, workers: tuple[str, ...]) -> Stage | None:
        if getattr(step, "doStepIf", True) is False:
            return None
        need = self._need([step], workers)
        children, other = self._children(step)
        is_open = other or has_renderables(tidy(step.locks)) or self._claims_more(type(step))
        if need is None and not children and not is_open:
            return None
        name = step.name if isinstance(step.name, str) else type(step).__name__
        return Stage(number=number, name=name, place=self.place(step.place), need=need, children=children, open=is_open)

    def _need(self, claiming: list[Any], workers: tuple[str, ...]) -> Need | None:
        """What these claim on each worker; one alternative for all if it is the same on all of them."""

        def on(worker: str) -> tuple[Access, ...]:
            return tuple(access for one in claiming for access in self.needs.claimed(one, worker))

        if not on("") or not workers:
            return None
        if not any(access.lock.kind == "worker" for access in on("")):
            return Need((Alternative("", on("")),))
        return Need(tuple(Alternative(worker, on(worker)) for worker in workers))

    def _children(self, step: Any) -> tuple[tuple[str, ...], bool]:
        """The builders whose builds the step may wait for, and whether there may be others."""
        asked = getattr(step, "awaited_schedulers", None)
        names, other = asked() if asked is not None else ((), False)
        found = [str(b) for name in names for b in getattr(self.schedulers.get(name), "builderNames", ())]
        return tuple(found), other

    def _claims_more(self, cls: type) -> bool:
        """Whether code of the user's own may claim more while the step runs. What it calls elsewhere is not read."""
        own = [base for base in cls.__mro__ if base is not object and not base.__module__.startswith("lockstep.")]
        if self._midway and any("run" in vars(base) for base in own):
            return True
        functions = (value for base in own for value in vars(base).values() if isinstance(value, FunctionType))
        return any(_OPENING & set(_names(function.__code__)) for function in functions)


def _names(code: CodeType) -> Iterator[str]:
    """Every name that a piece of code uses."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
