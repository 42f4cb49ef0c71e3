"""Steps that run nothing on the worker: properties, assertions, what a value renders to."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.errors import missing
from lockstep.config.secrets import shown
from lockstep.core.nouns import Result
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep


class SetProperty(BuildStep):
    """Set one property of the build. `value` may be a renderable."""

    name: Any = "SetProperty"
    renderables: ClassVar[Any] = ("property", "value")
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {"property": kinds.text}

    def __init__(self, property: Any = None, value: Any = None, **kwargs: Any) -> None:
        """Take name and value."""
        self.property = property
        self.value = value
        super().__init__(**kwargs)
        if not property:
            missing("property", "SetProperty needs property=", place=self.place)
        if value is None:
            missing("value", "SetProperty needs value=", place=self.place)

    async def run(self) -> int:
        self.setProperty(self.property, self.value, self.name)
        return Result.SUCCESS

    def getResultSummary(self) -> Any:
        """What was set."""
        return {"step": self._describe(self.descriptionDone or self.description) or self.with_result("Set")}


class SetProperties(BuildStep):
    """Set several properties: `properties` is a dictionary, or a renderable that becomes one."""

    name: Any = "SetProperties"
    renderables: ClassVar[Any] = ("properties",)
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {"properties": kinds.mapping}

    def __init__(self, properties: Any = None, **kwargs: Any) -> None:
        """Take the dictionary."""
        self.properties = properties
        super().__init__(**kwargs)
        if properties is None:
            missing("properties", "SetProperties needs properties=", place=self.place)

    async def run(self) -> int:
        for name, value in (self.properties or {}).items():
            self.setProperty(name, value, self.name)
        return Result.SUCCESS

    def getResultSummary(self) -> Any:
        """How it went."""
        return {"step": self._describe(self.descriptionDone or self.description) or self.with_result("Properties set")}


class Assert(BuildStep):
    """Succeed if `check`, a renderable, becomes something true."""

    name: Any = "Assert"
    renderables: ClassVar[Any] = ("check",)

    def __init__(self, check: Any = None, **kwargs: Any) -> None:
        """Take what is checked."""
        self.check = check
        super().__init__(**kwargs)

    async def run(self) -> int:
        return Result.SUCCESS if self.check else Result.FAILURE


class LogRenderable(BuildStep):
    """Show what a value renders to, in a log."""

    name: Any = "LogRenderable"
    renderables: ClassVar[Any] = ("content",)

    def __init__(self, content: Any = None, **kwargs: Any) -> None:
        """Take the value."""
        self.content = content
        super().__init__(**kwargs)

    async def run(self) -> int:
        self.addCompleteLog("Output", json.dumps(shown(self.content), indent=2, default=repr, sort_keys=True) + "\n")
        return Result.SUCCESS
