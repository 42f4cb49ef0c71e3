"""Small helpers of Buildbot that configurations use: `buildbot.util`, `buildbot.interfaces`, and the like."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.rendering import is_renderable


def bytes2unicode(x: Any, encoding: str = "utf-8", errors: str = "strict") -> Any:
    """Bytes as text; anything else as it is."""
    return x.decode(encoding, errors) if isinstance(x, bytes) else x


def unicode2bytes(x: Any, encoding: str = "utf-8", errors: str = "strict") -> Any:
    """Text as bytes; anything else as it is."""
    return x.encode(encoding, errors) if isinstance(x, str) else x


def safeTranslate(s: str | bytes) -> bytes:
    """A name as a folder's name."""
    return re.sub(rb"[^\w.+-]", b"_", unicode2bytes(s))


def flatten(nested: Any, types: Any = (list,)) -> list[Any]:
    """All items of nested lists, in one list."""
    flat: list[Any] = []
    for item in nested:
        flat.extend(flatten(item, types) if isinstance(item, types) else [item])
    return flat


class ComparableMixin:
    """Objects that are equal if the attributes named in `compare_attrs` are."""

    compare_attrs: ClassVar[Any] = ()

    def _compared(self) -> tuple[Any, ...]:
        names = [name for cls in type(self).__mro__ for name in vars(cls).get("compare_attrs", ())]
        return (type(self), [(name, getattr(self, name, None)) for name in names])

    def __eq__(self, other: object) -> bool:
        """Same class, same attributes."""
        return isinstance(other, ComparableMixin) and self._compared() == other._compared()

    __hash__ = object.__hash__


def interface(name: str) -> Any:
    """An interface of that name: one of zope's where it is installed (`@implementer` wants it), else a class."""
    try:
        from zope.interface.interface import InterfaceClass  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        body: Mapping[str, Any] = {"providedBy": staticmethod(is_renderable)} if name == "IRenderable" else {}
        return type(name, (), dict(body))
    return InterfaceClass(name, __module__="buildbot.interfaces")
