"""Renderables that users put into a configuration: `Property`, `renderer`, `Transform`, `FlattenList`, `Secret`.

Each has `getRenderingFor(props)`, which returns the value or something that can be waited for. `Interpolate` and
`WithProperties` have their own file. How a value is walked is in `rendering.py`.
"""

import operator
from collections.abc import Callable
from typing import Any

from lockstep.config.errors import announce, check_keywords, here, mistake
from lockstep.config.rendering import Properties, render, resolve
from lockstep.config.secrets import marker


class Renderable:
    """Base of ours. Comparing or calculating with one gives another, which is computed when it is rendered."""

    async def getRenderingFor(self, props: Properties) -> Any:
        """The value, for these properties."""
        raise NotImplementedError

    def in_(self, other: Any) -> "Renderable":
        """Whether the value is in `other` (Python's `in` cannot be made to wait)."""
        return Transform(lambda value, container: value in container, self, other)

    def __eq__(self, other: object) -> "Renderable":  # type: ignore[override]
        """Whether both are equal, when rendered."""
        return Transform(operator.eq, self, other)

    def __ne__(self, other: object) -> "Renderable":  # type: ignore[override]
        """Whether both differ, when rendered."""
        return Transform(operator.ne, self, other)

    __hash__ = object.__hash__

    def __lt__(self, other: Any) -> "Renderable":
        """Comparison, when rendered; so are the others."""
        return Transform(operator.lt, self, other)

    def __le__(self, other: Any) -> "Renderable":
        """See `__lt__`."""
        return Transform(operator.le, self, other)

    def __gt__(self, other: Any) -> "Renderable":
        """See `__lt__`."""
        return Transform(operator.gt, self, other)

    def __ge__(self, other: Any) -> "Renderable":
        """See `__lt__`."""
        return Transform(operator.ge, self, other)

    def __add__(self, other: Any) -> "Renderable":
        """Calculation, when rendered; so are the others."""
        return Transform(operator.add, self, other)

    def __sub__(self, other: Any) -> "Renderable":
        """See `__add__`."""
        return Transform(operator.sub, self, other)

    def __mul__(self, other: Any) -> "Renderable":
        """See `__add__`."""
        return Transform(operator.mul, self, other)

    def __truediv__(self, other: Any) -> "Renderable":
        """See `__add__`."""
        return Transform(operator.truediv, self, other)

    def __floordiv__(self, other: Any) -> "Renderable":
        """See `__add__`."""
        return Transform(operator.floordiv, self, other)

    def __mod__(self, other: Any) -> "Renderable":
        """See `__add__`."""
        return Transform(operator.mod, self, other)


class Property(Renderable):
    """The value of a property; the default if there is none or (unless `defaultWhenFalse=False`) if it is false."""

    def __init__(self, key: str, default: Any = None, defaultWhenFalse: bool = True, **unknown: Any) -> None:
        """Name the property. The default may be a renderable."""
        check_keywords("Property", unknown, ("key", "default", "defaultWhenFalse"))
        self.key = key
        self.default = default
        self.defaultWhenFalse = defaultWhenFalse

    async def getRenderingFor(self, props: Properties) -> Any:
        """The value or the default."""
        if props.hasProperty(self.key):
            value = props.getProperty(self.key)
            if value or not self.defaultWhenFalse:
                return value
        return await render(self.default, props)

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        return f"Property({self.key!r})"


class Secret(Renderable):
    """A secret by name. What is rendered is its marker; the value is looked up when it is sent."""

    def __init__(self, secret_name: str) -> None:
        """Name the secret."""
        self.place = here()
        self.secret_name = secret_name
        announce(self)

    async def getRenderingFor(self, props: Properties) -> str:
        """The marker."""
        return marker(self.secret_name)

    def __repr__(self) -> str:
        """The name, never the value."""
        return f"Secret({self.secret_name!r})"


class Renderer(Renderable):
    """A function that is called with the properties when it is rendered. Made by the decorator `renderer`."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> None:
        """Wrap `function(props, *args, **kwargs)`; the arguments may be renderables."""
        self.place = here()
        self.function = function
        self.args = args
        self.kwargs = kwargs or {}
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = getattr(function, "__doc__", None)

    def withArgs(self, *args: Any, **kwargs: Any) -> "Renderer":
        """Another renderable that calls the same function with these arguments too."""
        return Renderer(self.function, self.args + args, self.kwargs | kwargs)

    async def getRenderingFor(self, props: Properties) -> Any:
        """What the function returns."""
        args = [await render(arg, props) for arg in self.args]
        kwargs = {key: await render(value, props) for key, value in self.kwargs.items()}
        return await resolve(self.function(props, *args, **kwargs))

    def __repr__(self) -> str:
        """The function's name."""
        return f"renderer({self.__name__})"


def renderer(fn: Any) -> Renderer:
    """Make a renderable of a function that takes the properties."""
    if not callable(fn):
        mistake(f"renderer is for functions, not for {fn!r}")
    return Renderer(fn)


class Transform(Renderable):
    """`function(*args, **kwargs)`, computed when all of them have been rendered."""

    def __init__(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Take a callable, or a renderable that brings one, and its arguments."""
        if not callable(function) and not hasattr(function, "getRenderingFor"):
            mistake(f"Transform needs a function, or a renderable that brings one, not {function!r}")
        self._function = function
        self._args = args
        self._kwargs = kwargs

    async def getRenderingFor(self, props: Properties) -> Any:
        """What the function returns."""
        function = await render(self._function, props)
        args = [await render(arg, props) for arg in self._args]
        kwargs = {key: await render(value, props) for key, value in self._kwargs.items()}
        return await resolve(function(*args, **kwargs))

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        return f"Transform({getattr(self._function, '__name__', self._function)!s}, ...)"


def flatten(nested: Any, types: tuple[type, ...] = (list, tuple)) -> list[Any]:
    """All items of nested lists, in one list."""
    flat: list[Any] = []
    for item in nested:
        if isinstance(item, types):
            flat.extend(flatten(item, types))
        else:
            flat.append(item)
    return flat


class FlattenList(Renderable):
    """A nested list, flattened after it was rendered."""

    def __init__(self, nestedlist: Any, types: tuple[type, ...] = (list, tuple)) -> None:
        """Take the list; `types` are the types that are flattened."""
        self.nestedlist = nestedlist
        self.types = types

    async def getRenderingFor(self, props: Properties) -> list[Any]:
        """The flat list."""
        return flatten(await render(self.nestedlist, props), self.types)

    def __add__(self, other: Any) -> "FlattenList":
        """Both lists, flattened."""
        more = other.nestedlist if isinstance(other, FlattenList) else other
        return FlattenList([self.nestedlist, more], self.types)

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        return f"FlattenList({self.nestedlist!r})"
