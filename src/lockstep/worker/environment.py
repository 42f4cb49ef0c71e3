"""The environment of a command: the worker's own, changed as the master says. Pure but for the mapping it
is given.
"""

import os
import re
from collections.abc import Mapping
from typing import Final

from lockstep.protocol.commands import is_hidden, shown_word

_REFERENCE: Final = re.compile(r"\$\{([0-9A-Za-z_]*)\}")

Changes = Mapping[str, str | list[str] | None]


def changed_environment(own: Mapping[str, str], changes: Changes) -> dict[str, str]:
    """Return `own` with `changes`, by Buildbot's rules.

    `${NAME}` in a value stands for the worker's own value (nothing if there is none); None removes; a list
    is joined to a path; the worker's own PYTHONPATH stays behind a given one.
    """
    result = dict(own)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
            continue
        text = _REFERENCE.sub(lambda found: own.get(found[1], ""), _plain(value))
        if name == "PYTHONPATH" and own.get("PYTHONPATH"):
            text = f"{text}{os.pathsep}{own['PYTHONPATH']}"
        result[name] = text
    return result


def shown_environment(changes: Changes) -> str:
    """Return the lines that may be shown: what the master set, as it was written; never the worker's own."""
    lines = []
    for name, value in sorted(changes.items()):
        if value is None:
            lines.append(f"  {name} is removed\n")
        else:
            lines.append(f"  {name}={shown_word(value) if is_hidden(value) else _plain(value)}\n")
    return "".join(lines)


def _plain(value: str | list[str]) -> str:
    """The string that a value stands for."""
    if isinstance(value, str):
        return value
    return value[1] if is_hidden(value) else os.pathsep.join(value)
