"""Twisted, where it is not installed: importing it in a configuration is harmless, using it is a mistake by its name.

So one that imports it and uses nothing loads, and one that uses it is told of that with all its other mistakes. Where
Twisted is installed nothing of this is in force.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from lockstep.compat.standin import stand_in
from lockstep.config.errors import is_loading, note

_ROOT = "twisted"
_HINT = "Lockstep runs without Twisted: use `async def` and `await`, and Python's own modules"


class _Foreign(ModuleType):
    """A module of Twisted's. Names below packages are modules if they are written small."""

    def __getattr__(self, name: str) -> Any:
        """A stand-in. Raises AttributeError where the import machinery is to look for a module."""
        if name.startswith("__") or (self.__name__.count(".") < 2 and name.islower()):
            raise AttributeError(name)
        if self.__name__.count(".") < 2:
            _tell(f"{self.__name__}.{name}")
        value = stand_in(f"{self.__name__}.{name}", _HINT)
        setattr(self, name, value)
        return value


def _tell(name: str) -> None:
    """Let `lockstep check` say that this was imported: what uses it only while builds run is found only then."""
    note(f"{name} is not supported yet: code that uses it while builds run fails", _HINT)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what no other finder has found of Twisted."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of Twisted's."""
        if (fullname != _ROOT and not fullname.startswith(f"{_ROOT}.")) or not is_loading():
            return None
        if fullname != _ROOT and not isinstance(sys.modules.get(_ROOT), _Foreign):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin="lockstep", is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Make the module."""
        if spec.name.count(".") > 1:
            _tell(spec.name)
        return _Foreign(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is executed."""


@contextmanager
def standing_in() -> Iterator[None]:
    """While this lasts (a load) the stand-ins are importable; nobody else ever meets them."""
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in list(sys.modules.items()) if isinstance(module, _Foreign)]:
            del sys.modules[name]
