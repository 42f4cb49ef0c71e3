"""Stand-ins for what Buildbot has and Lockstep has not yet: importing one is harmless, using one is a mistake.

So a configuration that imports more than it uses loads, and one that uses several such things is told of all at once.
"""

import dis
import sys
from types import FrameType
from typing import Any

from lockstep.config.errors import UnknownNameError, here, is_loading, is_ours, mistake


class _Refusing(type):
    """What is asked of a stand-in itself (`States.IDLE`) is a use of it, too."""

    def __getattr__(cls, name: str) -> Any:
        """An object with which nothing happens, after reporting. Raises AttributeError for who only looks."""
        frame = sys._getframe(1)
        if name.startswith("__") or not is_loading() or is_ours(frame.f_code.co_filename):
            raise AttributeError(name)
        refuse(cls)
        return type(name, (Refused,), {"where": f"{cls.where}.{name}", "silent": True})()


class Refused(metaclass=_Refusing):
    """Base of all stand-ins. `where` is the name by which users know it, `hint` what to do instead."""

    lockstep_refused = True
    where = ""
    hint = ""
    silent = False

    def __new__(cls, *args: Any, **kwargs: Any) -> "Refused":
        """Report the use, unless the class that derives from it was reported already."""
        if "where" in vars(cls) and not cls.silent:
            refuse(cls)
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take anything."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Deriving from a stand-in is using it."""
        super().__init_subclass__()
        if "where" not in vars(cls) and not cls.silent:
            refuse(cls)

    def __getattr__(self, name: str) -> Any:
        """Whatever else is done with it does nothing more."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `__getattr__`."""
        return args[0] if len(args) == 1 and callable(args[0]) else self

    def __repr__(self) -> str:
        """The name."""
        return f"<{self.where}, not supported yet>"


def refuse(cls: Any) -> None:
    """Report that something was used that is not there yet."""
    mistake(f"{cls.where} is not supported yet", cls.hint, here())


def stand_in(where: str, hint: str = "") -> type[Refused]:
    """A stand-in for the thing that users know as `where`."""
    return type(where.rpartition(".")[2], (Refused,), {"where": where, "hint": hint, "__module__": "buildbot"})


def unknown(error: UnknownNameError, frame: FrameType) -> Any:
    """What a name that nobody knows is: while loading a mistake, and a stand-in, to find the other mistakes too.

    Raises the error where the name is asked for by `getattr`, `hasattr` or an import: there the user may expect it.
    """
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    if not is_loading() or not operation.startswith(("LOAD_ATTR", "LOAD_METHOD")):
        raise error
    mistake(error.text, error.hint)
    return type("Unknown", (Refused,), {"where": error.text, "silent": True})
