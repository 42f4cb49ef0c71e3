"""Secrets on their way out and back: looked up when something is sent, hidden in what is kept (HOUSE law 10).

Nothing here stores a value; `Masks` live as long as the command or the log that they belong to.
"""

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from lockstep.config.config import Config
from lockstep.master.limits import SECRET_TIMEOUT
from lockstep.steps.private import private_values

_SHORTEST_PART = 4
"""Characters of a line of a secret of several lines: a shorter one is no secret by itself."""


async def look_up(config: Config, names: Collection[str]) -> dict[str, str]:
    """The values of secrets, and of passwords that stand in clear in the configuration. Raises what a provider raises.

    Raises:
        KeyError: nobody knows a name.
        TimeoutError: a provider takes too long.
    """
    values = {}
    async with asyncio.timeout(SECRET_TIMEOUT):
        for name in sorted(names):
            private = private_values().get(name)
            values[name] = await config.secret(name) if private is None else private
    return values


def why_missing(error: BaseException) -> str:
    """Why a secret is missing, as a sentence for people."""
    if isinstance(error, KeyError):
        return f"there is no secret {error}"
    if isinstance(error, TimeoutError):
        return f"a secret could not be looked up in {SECRET_TIMEOUT:g} s"
    return f"a secret cannot be looked up: {type(error).__name__}: {error}"


class Masks:
    """What is shown instead of secrets: `<name>`.

    A secret of several lines is hidden as a whole, and each of its lines by itself: output comes line by line.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._shown: dict[bytes, bytes] = {}
        self._parts: dict[tuple[str, int], bytes] = {}
        """Each way in which a value may come back, by its name and number: what has begun is stored as these two."""
        for name, value in sorted(values.items()):
            for number, part in enumerate(_parts(value)):
                self._parts[name, number] = part.encode("utf-8", "replace")
                self._shown.setdefault(self._parts[name, number], f"<{name}>".encode())
        self._compile()

    def _compile(self) -> None:
        longest_first = sorted(self._shown, key=lambda part: -len(part))
        self.longest = len(longest_first[0]) if longest_first else 0
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first)))

    def __or__(self, other: "Masks") -> "Masks":
        """What either of them hides."""
        both = Masks({})
        both._shown = {**self._shown, **other._shown}
        both._parts = {**self._parts, **other._parts}
        both._compile()
        return both

    def hide(self, data: bytes) -> bytes:
        """`data` without secrets."""
        if not self._shown:
            return data
        return self._pattern.sub(lambda found: self._shown[found.group()], data)

    def split(self, rest: bytes) -> tuple[bytes, bytes]:
        """An unfinished line without secrets, for the store, and what stands for a secret that has begun at its end.

        The second is empty if there is none; `begun` makes the beginning of it again.
        """
        ends = [found.span() for found in self._pattern.finditer(rest)] if self._shown else []
        longest, which = 0, b""
        for (name, number), part in self._parts.items():
            most = min(len(part) - 1, len(rest), part.find(b"\n") % (len(part) + 1))
            for size in range(most, longest, -1):
                at = len(rest) - size
                if rest.endswith(part[:size]) and not any(start < at < end for start, end in ends):
                    longest, which = size, b"%d:%d:%s" % (number, size, name.encode())
                    break
        return self.hide(rest[: len(rest) - longest]), which

    def begun(self, which: bytes) -> bytes:
        """The beginning of a secret, from what `split` has given; nothing if nobody knows the secret any more."""
        number, size, name = which.split(b":", 2)
        return self._parts.get((name.decode(), int(number)), b"")[: int(size)]

    def hide_in(self, tree: Any) -> Any:
        """Texts, lists and dictionaries without secrets. Bytes stay: they are the content of files."""
        if not self._shown:
            return tree
        if isinstance(tree, str):
            return self.hide(tree.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
        if isinstance(tree, Mapping):
            return {self.hide_in(key): self.hide_in(value) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return type(tree)(self.hide_in(value) for value in tree)
        return tree


def _parts(value: str) -> Iterator[str]:
    """The value in all the ways in which it may come back."""
    if value:
        yield value
        yield value.replace("\n", "\r\n")
    lines = value.splitlines()
    for part in (value.strip(), *(line.strip() for line in lines if len(lines) > 1)):
        if len(part) >= _SHORTEST_PART:
            yield part
    if quote(value, safe="", errors="replace") != value:
        yield quote(value, safe="", errors="replace")  # as it is in an address
