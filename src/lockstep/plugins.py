"""The front door of configurations: `from lockstep.plugins import util, steps, schedulers, worker, changes`.

The names are Buildbot's. A namespace finds its things when they are asked for (`compat/names.py`); a name that nobody
knows is answered with the nearest one that is there.
"""

import sys
from types import ModuleType
from typing import Any

from lockstep.compat import names
from lockstep.compat.standin import unknown
from lockstep.config.errors import UnknownNameError


class Namespace(ModuleType):
    """One namespace, such as `steps`."""

    def __getattr__(self, name: str) -> Any:
        """The thing of that name, or a stand-in for what is not there yet. Raises AttributeError."""
        if name == "__all__":
            return names.public_names(names.there(self._space))
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            value = names.find(self._space, name)
        except UnknownNameError as exc:
            return unknown(exc, sys._getframe(1))
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        """What it answers to."""
        return names.visible(self._space)

    _space = ""


def _namespace(name: str) -> Namespace:
    """Make a namespace."""
    made = Namespace(f"lockstep.plugins.{name}")
    made._space = name
    return made


changes = _namespace("changes")
reporters = _namespace("reporters")
schedulers = _namespace("schedulers")
secrets = _namespace("secrets")
steps = _namespace("steps")
util = _namespace("util")
worker = _namespace("worker")
www = _namespace("www")

__all__ = ["changes", "reporters", "schedulers", "secrets", "steps", "util", "worker", "www"]
