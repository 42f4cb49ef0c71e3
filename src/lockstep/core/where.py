"""Which units of a pool an access admits: the words of `where='arm64 and not flaky'`.

Words are labels, or names of units (each unit's name is a label of it), joined by `and`, `or`, `not` and parentheses.
An empty text admits every unit. Nothing here knows a pool.
"""

import re
from collections.abc import Set
from functools import lru_cache
from typing import Final

from msgspec import Struct

WORD: Final = re.compile(r"[A-Za-z0-9_.:/+-]+")
_TOKEN: Final = re.compile(r"\s*(?:([()])|([A-Za-z0-9_.:/+-]+)|(\S))")
JOINING: Final = ("and", "or", "not")


class WhereError(ValueError):
    """A `where` that cannot be read. The text says why."""


class Where(Struct, frozen=True):
    """A `where` as read. `op` is "and", "or", "not", "all", or "word": then `word` is the label."""

    op: str
    parts: tuple["Where", ...] = ()
    word: str = ""

    def admits(self, labels: Set[str]) -> bool:
        """Whether a unit with these labels is meant."""
        match self.op:
            case "word":
                return self.word in labels
            case "not":
                return not self.parts[0].admits(labels)
            case "or":
                return any(part.admits(labels) for part in self.parts)
        return all(part.admits(labels) for part in self.parts)

    def words(self) -> tuple[str, ...]:
        """Every label that is named, in order."""
        if self.op == "word":
            return (self.word,)
        return tuple(dict.fromkeys(word for part in self.parts for word in part.words()))

    def __str__(self) -> str:
        """The same as text: two that were read from texts of one meaning and order are one text."""
        if self.op == "word":
            return self.word
        inner = [f"({part})" if part.op in ("and", "or") else str(part) for part in self.parts]
        return f"not {inner[0]}" if self.op == "not" else f" {self.op} ".join(inner)


EVERY: Final = Where("all")


@lru_cache(maxsize=1024)
def parse(text: str) -> Where:
    """Read a `where`. Raises `WhereError`."""
    tokens = []
    for joint, word, other in _TOKEN.findall(text):
        if other:
            raise WhereError(f"{other!r} means nothing here")
        tokens.append(joint or word)
    if not tokens:
        return EVERY
    found, at = _either(tokens, 0)
    if at < len(tokens):
        raise WhereError(f"'and' or 'or' is missing before {tokens[at]!r}" if tokens[at] != ")" else "')' is too many")
    return found


def _either(tokens: list[str], at: int) -> tuple[Where, int]:
    return _joined("or", tokens, at)


def _joined(op: str, tokens: list[str], at: int) -> tuple[Where, int]:
    parts: list[Where] = []
    while True:
        part, at = _joined("and", tokens, at) if op == "or" else _single(tokens, at)
        parts += part.parts if part.op == op else (part,)
        if at >= len(tokens) or tokens[at] != op:
            return (parts[0] if len(parts) == 1 else Where(op, tuple(parts))), at
        at += 1


def _single(tokens: list[str], at: int) -> tuple[Where, int]:
    if at >= len(tokens):
        raise WhereError("a label is missing at the end")
    token = tokens[at]
    if token == "not":
        part, at = _single(tokens, at + 1)
        return Where("not", (part,)), at
    if token == "(":
        part, at = _either(tokens, at + 1)
        if at >= len(tokens) or tokens[at] != ")":
            raise WhereError("')' is missing")
        return part, at + 1
    if token in (")", "and", "or"):
        raise WhereError(f"a label is missing before {token!r}")
    return Where("word", word=token), at + 1
