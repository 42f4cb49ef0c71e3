"""What kind of value each argument of a step must be: the kinds, and who looks. Each class of steps names the kinds of
its own arguments in `argument_kinds`, beside its `renderables`.

What can be judged only together (two arguments that exclude each other, one that is missing) is checked where the step
is made. What a renderable becomes is known when the step runs, not here.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lockstep.config.errors import mistake
from lockstep.config.properties import has_renderables, is_renderable
from lockstep.steps.commands import checked_environment, flatten_command

Kind = Callable[[Any], str]
"""What a value must be, if it is something else (`must be ..., not ...`); empty if it may be used.

Values that may be secret are not repeated. Renderables are met only inside of lists and dictionaries.
"""

_UNKNOWN: Final = object()
"""What a property or method of a user's class gives is known when the step runs."""


def flag(value: Any) -> str:
    """Yes or no; numbers and None say it, too."""
    return "" if value is None or isinstance(value, int) else f"must be True or False, not {value!r}"


def condition(value: Any) -> str:
    """`doStepIf`, `hideStepIf`: yes, no, or who is asked."""
    asked = callable(value) or is_renderable(value)
    return "" if asked or isinstance(value, int) else f"must be True, False, a function or a renderable, not {value!r}"


def seconds(value: Any) -> str:
    """A time; None or 0 for no limit."""
    right = value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0)
    return "" if right else f"must be a number of seconds or None, not {value!r}"


def whole(value: Any) -> str:
    """A number of lines, bytes, bits."""
    right = value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
    return "" if right else f"must be a whole number that is not negative, or None, not {value!r}"


def text(value: Any) -> str:
    """A text, or nothing."""
    return "" if value is None or isinstance(value, str) else f"must be a text, not {type(value).__name__}"


def path(value: Any) -> str:
    """A file or folder."""
    return "" if isinstance(value, os.PathLike) else text(value)


def texts(value: Any) -> str:
    """Texts in a list, or one by itself."""
    many = [value] if value is None or isinstance(value, str) else value
    if isinstance(many, Iterable) and all(is_renderable(one) or not text(one) for one in many):
        return ""
    return f"must be a text or a list of texts, not {type(value).__name__}"


def words(value: Any) -> str:
    """Arguments of a program: a text by itself would be taken for a list of letters."""
    return "must be a list of texts, not a text" if isinstance(value, str) else texts(value)


def summary(value: Any) -> str:
    """What people are told: a text or number, or a list of them, which may have lists in it."""
    return "" if _can_be_said(value) else f"must be a text or a list of texts, not {_unsaid(value)}"


def _can_be_said(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_can_be_said, value))
    plain = value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
    return plain or is_renderable(value)


def _unsaid(value: Any) -> str:
    """The type of what cannot be said."""
    if not isinstance(value, list | tuple):
        return type(value).__name__
    odd = next(one for one in value if not _can_be_said(one))
    return _unsaid(odd) if isinstance(odd, list | tuple) else f"one with {type(odd).__name__}"


def command(value: Any) -> str:
    """A program: words in a list, which may have lists in it, or a text for the shell."""
    if value is None:
        return ""
    try:
        given = flatten_command(_known(value))
    except TypeError:
        return f"must be a text or a list of texts and numbers, not {_odd_word(value)}"
    return "" if given or has_renderables(value) else "must not be empty"


def _known(value: Any) -> Any:
    """A command with a word for each renderable."""
    if isinstance(value, list | tuple):
        return [_known(one) for one in value]
    return "..." if is_renderable(value) else value


def _odd_word(value: Any) -> str:
    """The type of what is no word in a command."""
    if not isinstance(value, list | tuple):
        return type(value).__name__
    return next(
        f"one with {_odd_word(one)}" if not isinstance(one, list | tuple) else _odd_word(one)
        for one in value
        if not is_renderable(one) and (command(one) or one is None)
    )


def environment(value: Any) -> str:
    """Variables, each a text, a list of texts (a path), or None (removed)."""
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return f"must be a dictionary, not {type(value).__name__}"
    for name, one in value.items():
        if is_renderable(name) or has_renderables(one):
            continue
        try:
            checked_environment({name: one})
        except TypeError:
            return f"must be a dictionary of texts and lists of texts; {name} is {type(one).__name__}"
        if not isinstance(name, str):
            return f"must be a dictionary of texts and lists of texts, not with a name that is {type(name).__name__}"
    return ""


def mapping(value: Any) -> str:
    """Names and what they stand for."""
    return "" if value is None or isinstance(value, Mapping) else f"must be a dictionary, not {type(value).__name__}"


def again(value: Any) -> str:
    """`retry` of checkouts."""
    pair = isinstance(value, tuple | list) and len(value) == 2 and not (None in value or seconds(value[0]))
    right = value is None or (pair and not whole(value[1]))
    return "" if right else f"must be (seconds between, how often again), not {value!r}"


def login(value: Any) -> str:
    """`auth_credentials`."""
    if value is None:
        return ""
    pair = isinstance(value, tuple | list) and len(value) == 2
    right = pair and all(is_renderable(one) or isinstance(one, str) for one in value)
    return "" if right else "must be (user, password), two texts"


def files(value: Any) -> str:
    """`logfiles`: a name, and the file, or a dictionary with it."""
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return f"must be a dictionary of names and files, not {type(value).__name__}"
    for name, one in value.items():
        file = one.get("filename") if isinstance(one, Mapping) else one
        if not isinstance(name, str) or file is None or (not is_renderable(file) and text(file)):
            return f"must be a dictionary of names and files; {name!r} has none"
    return ""


def codes(value: Any) -> str:
    """`decodeRC`: exit codes, and what they mean."""
    right = isinstance(value, Mapping) and all(isinstance(one, int) for pair in value.items() for one in pair)
    return "" if value is None or right else "must be a dictionary of exit codes and results such as WARNINGS"


def encoding(value: Any) -> str:
    """The name of an encoding."""
    try:
        "".encode(value or "utf-8")
    except (LookupError, TypeError, ValueError):
        return f"must be an encoding that Python knows, not {value!r}"
    return ""


def policy(value: Any) -> str:
    """`updateBuildSummaryPolicy`."""
    right = isinstance(value, None | bool | list | tuple)
    return "" if right else f"must be True, False or a list of results, not {value!r}"


FLAGS: Final = ("haltOnFailure", "flunkOnFailure", "flunkOnWarnings", "warnOnFailure", "warnOnWarnings", "alwaysRun")

COMMON: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(FLAGS, flag),
    **dict.fromkeys(("description", "descriptionDone", "descriptionSuffix"), summary),
    "doStepIf": condition,
    "hideStepIf": condition,
    "logEncoding": encoding,
    "name": text,
    "updateBuildSummaryPolicy": policy,
    "workdir": path,
}
"""The kinds of what all steps take, where there is one."""

PROGRAM: Final[Mapping[str, Kind]] = {
    "command": command,
    "env": environment,
    "want_stdout": flag,
    "want_stderr": flag,
    "logfiles": files,
    "lazylogfiles": flag,
    "timeout": seconds,
    "maxTime": seconds,
    "max_lines": whole,
    "sigtermTime": seconds,
    "logEnviron": flag,
    "initialStdin": text,
    "decodeRC": codes,
}
"""The kinds of what runs a program on a worker."""

_ASKED_EARLY: Final = ("doStepIf", "hideStepIf")
"""May be renderables, though they are no argument that is rendered with the others."""


def check_arguments(step: Any) -> None:
    """Report each argument of a step that is of a kind that it cannot be, or a renderable where none is rendered."""
    kinds: dict[str, Kind] = {}
    for cls in reversed(type(step).__mro__):
        kinds.update(vars(cls).get("argument_kinds", {}))
    rendered = {*step.rendered_names(), *_ASKED_EARLY}
    for name, kind in kinds.items():
        value = _given(step, name)
        if value is _UNKNOWN:
            continue
        if not is_renderable(value):
            wrong = kind(value)
        else:
            wrong = "" if name in rendered else "is needed as it is: a renderable cannot stand here"
        if wrong:
            mistake(f"{name} of the step {step.name!r} {wrong}", place=step.place)


def _given(step: Any, name: str) -> Any:
    """The value of an argument, without running anything of the user's."""
    if name in vars(step):
        return vars(step)[name]
    value = inspect.getattr_static(type(step), name, None)
    if isinstance(value, property) and str(getattr(value.fget, "__module__", "")).startswith("lockstep."):
        return getattr(step, name)
    return _UNKNOWN if hasattr(type(value), "__get__") else value
