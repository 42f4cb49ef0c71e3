"""Properties of a build, and how a value that holds renderables is rendered with them.

`Properties` is what renderers get; `render` walks a value. The renderables themselves (`Property`, `Interpolate`, ...)
live in `renderables.py` and `interpolate.py`; `properties.py` is the one door to all of it.
"""

import inspect
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any

from lockstep.config.secrets import disarm
from lockstep.core import values
from lockstep.core.values import SourceStamp


class Properties:
    """A build's properties, each with its source, and what else a renderer may ask for.

    `sourcestamps` and `worker_info` serve `Interpolate`'s `src:` and `worker:`; `build` is what `getBuild()` returns.
    What is put in is disarmed (`secrets.disarm`): a property can never be taken for a secret's marker.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Start with these properties; their source is `TEST`, as in Buildbot."""
        self._values: dict[str, tuple[Any, str]] = {}
        self.build: Any = None
        self.sourcestamps: tuple[SourceStamp, ...] = ()
        self.worker_info: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.setProperty(name, value, "TEST")

    @classmethod
    def of(
        cls,
        known: values.Properties,
        sourcestamps: tuple[SourceStamp, ...] = (),
        worker_info: Mapping[str, Any] | None = None,
        build: Any = None,
    ) -> "Properties":
        """Properties as the core keeps them, with what else a renderer may ask for."""
        made = cls()
        made._values = {str(name): (disarm(value), source) for name, (value, source) in known.items()}
        made.sourcestamps = sourcestamps
        made.worker_info = dict(worker_info or {})
        made.build = build
        return made

    @classmethod
    def fromDict(cls, propDict: Mapping[str, tuple[Any, str]]) -> "Properties":
        """Properties from `{name: (value, source)}`."""
        return cls.of(dict(propDict))

    def plain(self) -> values.Properties:
        """Properties as the core keeps them."""
        return dict(self._values)

    def asDict(self) -> dict[str, tuple[Any, str]]:
        """`{name: (value, source)}`."""
        return dict(self._values)

    def asList(self) -> list[tuple[str, Any, str]]:
        """(name, value, source), sorted by name."""
        return sorted(((name, value, source) for name, (value, source) in self._values.items()), key=lambda p: p[0])

    def getProperties(self) -> "Properties":
        """Itself."""
        return self

    def getBuild(self) -> Any:
        """The build, or None where there is none yet."""
        return self.build

    def getProperty(self, name: str, default: Any = None) -> Any:
        """The value of a property, or the default."""
        return self._values[name][0] if name in self._values else default

    def getPropertySource(self, name: str) -> str | None:
        """Where a property came from."""
        return self._values[name][1] if name in self._values else None

    def hasProperty(self, name: str) -> bool:
        """Whether there is such a property."""
        return name in self._values

    has_key = hasProperty
    __contains__ = hasProperty

    def setProperty(self, name: str, value: Any, source: str, runtime: bool = False) -> None:
        """Set a property."""
        self._values[name] = (disarm(value), source)

    def update(self, dict: Mapping[str, Any], source: str, runtime: bool = False) -> None:
        """Set all properties of a dictionary."""
        for name, value in dict.items():
            self.setProperty(name, value, source)

    def updateFromProperties(self, other: "Properties") -> None:
        """Take over all of another's properties."""
        self._values.update(other._values)

    def copy(self) -> "Properties":
        """An independent copy."""
        return type(self).of(self._values, self.sourcestamps, self.worker_info, self.build)

    def cleanupTextFromSecrets(self, text: str) -> str:
        """The text itself: secrets are never here in clear."""
        return text

    async def render(self, value: Any) -> Any:
        """Render a value with these properties."""
        return await render(value, self)

    def __getitem__(self, name: str) -> Any:
        """The value of a property. Raises KeyError."""
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)

    def __bool__(self) -> bool:
        """Always true: an object, not a collection, to renderers that test it."""
        return True

    def __repr__(self) -> str:
        """Names and values."""
        return f"Properties({ {name: value for name, (value, _) in self._values.items()}!r})"


class NeedsToWaitError(RuntimeError):
    """A renderable wants to wait where nothing may (`render_now`)."""


def is_renderable(value: Any) -> bool:
    """Whether `value` itself must be rendered (it, not what it contains)."""
    return not isinstance(value, type) and hasattr(value, "getRenderingFor")


def has_renderables(value: Any) -> bool:
    """Whether `value` or anything that it contains must be rendered."""
    if isinstance(value, str | bytes | int | float) or value is None:
        return False
    if isinstance(value, dict):
        return any(has_renderables(k) or has_renderables(v) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(has_renderables, value))
    return is_renderable(value)


async def render(value: Any, props: Properties) -> Any:
    """`value` with all renderables in it rendered, again and again until none is left.

    `props` is what they get. Lists, tuples, sets and dictionaries (keys too) are walked; what a user's renderable
    raises goes through.
    """
    while is_renderable(value):
        value = await resolve(value.getRenderingFor(props))
    if not has_renderables(value):
        return value
    if isinstance(value, dict):
        return {await render(k, props): await render(v, props) for k, v in value.items()}
    rendered = [await render(item, props) for item in value]
    if isinstance(value, list):
        return rendered
    return type(value)(rendered) if type(value) in (tuple, set, frozenset) else tuple(rendered)


async def resolve(value: Any) -> Any:
    """`value`, or what it brings if it can be waited for (a coroutine, a future, a Deferred of Twisted)."""
    while inspect.isawaitable(value) or hasattr(value, "asFuture"):
        if hasattr(value, "asFuture") and not getattr(value, "called", False):
            import asyncio

            value = await value.asFuture(asyncio.get_running_loop())
        else:
            value = await value
    return value


def now(waiting: Awaitable[Any], what: str = "this") -> Any:
    """The outcome of something awaitable that need not wait. Raises `NeedsToWaitError` if it does."""
    steps = waiting.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return done.value
    if hasattr(waiting, "close"):
        waiting.close()
    raise NeedsToWaitError(f"{what} must be known at once, and cannot wait for something else")


def render_now(value: Any, props: Properties) -> Any:
    """As `render`, at once. Raises `NeedsToWaitError` if a renderable must wait for something."""
    return now(render(value, props), "a value that is rendered here")
