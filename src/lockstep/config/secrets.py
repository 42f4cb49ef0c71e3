"""Secrets: a name in clear, a value that is only looked up when something is sent (HOUSE.md law 10).

Rendering puts a *marker* where the secret will stand. Markers are stored and fingerprinted; `substitute` replaces them
in what goes to a worker, `mask` hides values in what comes back, `disarm` keeps outsiders from writing their own.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct, structs

from lockstep.config.addresses import login, place_of_login, without_login
from lockstep.config.errors import check_keywords, here, mistake, warning

_OPEN, _CLOSE, _NEXT = "\x02", "\x03", "\x1f"
_WHEN_SENT = {function.__name__: function for function in (login, place_of_login, without_login)}
_MARKER = re.compile(
    f"{_OPEN}secret:([^{_OPEN}{_CLOSE}]+){_CLOSE}"
    f"|{_OPEN}({'|'.join(_WHEN_SENT)}):((?:{_OPEN}secret:[^{_OPEN}{_CLOSE}]+{_CLOSE}|[^{_OPEN}{_CLOSE}])*){_CLOSE}"
)


def marker(name: str) -> str:
    """What stands for the secret of that name until it is sent. Raises ValueError for an empty or unprintable name."""
    if not name or not name.isprintable():
        raise ValueError(f"{name!r} is no name of a secret")
    return f"{_OPEN}secret:{name}{_CLOSE}"


def when_sent(function: Callable[..., str], *texts: str) -> str:
    """What stands for `function(*texts)` until the secrets that are marked in the texts are known.

    The function is one of `addresses.py`. Without secrets it is asked at once.
    """
    if not names_in(texts):
        return function(*texts)
    return f"{_OPEN}{function.__name__}:{_NEXT.join(text.replace(_NEXT, '') for text in texts)}{_CLOSE}"


def substitute(tree: Any, lookup: Callable[[str], str]) -> Any:
    """`tree` (texts, lists, dictionaries) with each marker replaced by `lookup(name)`, which may raise."""
    if isinstance(tree, str):
        return _MARKER.sub(lambda found: _value(found, lookup), tree) if _OPEN in tree else tree
    if isinstance(tree, Mapping):
        return {substitute(k, lookup): substitute(v, lookup) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(substitute(v, lookup) for v in tree)
    return tree


def _value(found: re.Match[str], lookup: Callable[[str], str]) -> str:
    """What one marker stands for."""
    if found[1] is not None:
        return lookup(found[1])
    return _WHEN_SENT[found[2]](*(str(substitute(text, lookup)) for text in found[3].split(_NEXT)))


def names_in(tree: Any) -> set[str]:
    """The names of all secrets whose markers stand in `tree`."""
    found: set[str] = set()

    def note(name: str) -> str:
        found.add(name)
        return ""

    substitute(tree, note)
    return found


def shown(tree: Any) -> Any:
    """`tree` as people may see it: `<name>` instead of each marker."""
    return substitute(tree, lambda name: f"<{name}>")


def mask(text: str, values: Mapping[str, str]) -> str:
    """`text` with each secret's value replaced by `<name>`, the longest values first. Empty values hide nothing."""
    for name, value in sorted(values.items(), key=lambda item: -len(item[1])):
        if value:
            text = text.replace(value, f"<{name}>")
    return text


def disarm(tree: Any) -> Any:
    """`tree`, which came from outside (a property, a branch, what a command said), with no text in it that could pass
    for a marker."""
    if isinstance(tree, str):
        return tree.replace(_OPEN, "\ufffd") if _OPEN in tree else tree
    if isinstance(tree, dict):
        return {disarm(k): disarm(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [disarm(v) for v in tree]
    if isinstance(tree, Struct):
        for name in tree.__struct_fields__:
            value = getattr(tree, name)
            if value and value != (harmless := disarm(value)):
                tree = structs.replace(tree, **{name: harmless})
        return tree
    return tuple(disarm(v) for v in tree) if isinstance(tree, tuple) else tree


class SecretProviderBase:
    """What users derive their own providers from: `get(entry)` returns the value, or None if it does not know it."""

    name = "SecretProvider"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Remember the place and hand the arguments to `checkConfig` and `reconfigService`, as Buildbot does."""
        self.place = here()
        self.checkConfig(*args, **kwargs)
        self.reconfigService(*args, **kwargs)

    def checkConfig(self, *args: Any, **kwargs: Any) -> Any:
        """For subclasses: check the arguments."""

    def reconfigService(self, *args: Any, **kwargs: Any) -> Any:
        """For subclasses: keep the arguments."""

    def get(self, entry: str) -> Any:
        """The value of a secret, or None."""
        raise NotImplementedError(f"{type(self).__name__} must define get(entry)")


class SecretInAFile(SecretProviderBase):
    """Secrets are files in one folder; the file's name is the secret's. Read when needed, never kept."""

    name = "SecretInAFile"

    def checkConfig(self, dirname: str = "", stripwhitespace: bool = True, suffixes: Any = None, **kw: Any) -> None:
        """Check that the folder is there and that nobody else may read what is in it."""
        check_keywords("SecretInAFile", kw, ("dirname", "stripwhitespace", "suffixes"), place=self.place)
        if not os.path.isdir(dirname):
            mistake(f"SecretInAFile: there is no folder {dirname!r}", place=self.place)
            return
        for entry in os.scandir(dirname):
            if entry.is_file() and entry.stat().st_mode & 0o077:
                hint = f"chmod 600 {entry.path}"
                warning(f"SecretInAFile: others may read the file {entry.name!r}", hint, self.place)

    def reconfigService(self, dirname: str = "", stripwhitespace: bool = True, suffixes: Any = None, **kw: Any) -> None:
        """Keep the settings."""
        self.dirname = dirname
        self.stripwhitespace = stripwhitespace
        self.suffixes: Iterable[str] = [""] if suffixes is None else list(suffixes)

    def get(self, entry: str) -> str | None:
        """The content of the file `entry`, with one of the suffixes; None if there is none."""
        if not entry or entry != os.path.basename(entry) or entry.startswith("."):
            return None
        for suffix in self.suffixes:
            try:
                with open(os.path.join(self.dirname, entry + suffix), encoding="utf-8") as file:
                    text = file.read()
            except FileNotFoundError:
                continue
            return text.strip() if self.stripwhitespace else text
        return None
