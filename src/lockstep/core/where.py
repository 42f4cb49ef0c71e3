"""Which units of a pool an access admits: the words of `where='arm64 and not flaky'`.

Words are labels, or names of units (each unit's name is a label of it), joined by `and`, `or`, `not` and parentheses.
An empty text admits every unit. Nothing here knows a pool.
"""

import re
from collections.abc import Set
from functools import lru_cache
from typing import Final

from msgspec import Struct

from lockstep.core.limits import MAX_WHERE

WORD: Final = re.compile(r"[A-Za-z0-9_.:/+-]+")
_TOKEN: Final = re.compile(r"\s*(?:([()])|([A-Za-z0-9_.:/+-]+)|(\S))")
JOINING: Final = ("and", "or", "not")
_MAX_INNER: Final = 50


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


class _Token(Struct, frozen=True):
    """A word, a parenthesis, or nothing (the end), and the number of its first character, from 1."""

    text: str
    at: int


@lru_cache(maxsize=1024)
def parse(text: str) -> Where:
    """Read a `where`. Raises `WhereError`."""
    if len(text) > MAX_WHERE:
        raise WhereError(f"it has {len(text)} characters, and may have {MAX_WHERE}")
    tokens = []
    for found in _TOKEN.finditer(text):
        joint, word, other = found.groups()
        if other:
            raise WhereError(f"{other!r} means nothing (character {found.start(3) + 1})")
        tokens.append(_Token(joint or word, found.start(found.lastindex or 0) + 1))
    if not tokens:
        return EVERY
    if sum(token.text in ("(", "not") for token in tokens) > _MAX_INNER:
        raise WhereError(f"it has more than {_MAX_INNER} of '(' and 'not'")
    tokens.append(_Token("", len(text) + 1))
    read, at = _either(tokens, 0)
    if tokens[at].text:
        raise _wrong("')' is too many" if tokens[at].text == ")" else "'and' or 'or' is missing", tokens[at])
    return read


def _wrong(problem: str, token: _Token) -> WhereError:
    """What is wrong before or with a token, and where that is."""
    if not token.text:
        return WhereError(f"{problem} at the end")
    before = "" if problem.startswith(f"'{token.text}'") else f" before '{token.text}'"
    return WhereError(f"{problem}{before} (character {token.at})")


def _either(tokens: list[_Token], at: int) -> tuple[Where, int]:
    return _joined("or", tokens, at)


def _joined(op: str, tokens: list[_Token], at: int) -> tuple[Where, int]:
    parts: list[Where] = []
    while True:
        part, at = _joined("and", tokens, at) if op == "or" else _single(tokens, at)
        parts += part.parts if part.op == op else (part,)
        if tokens[at].text != op:
            return (parts[0] if len(parts) == 1 else Where(op, tuple(parts))), at
        at += 1


def _single(tokens: list[_Token], at: int) -> tuple[Where, int]:
    token = tokens[at]
    if token.text == "not":
        part, at = _single(tokens, at + 1)
        return Where("not", (part,)), at
    if token.text == "(":
        part, at = _either(tokens, at + 1)
        if tokens[at].text != ")":
            raise _wrong("')' is missing", tokens[at])
        return part, at + 1
    if token.text in ("", ")", "and", "or"):
        raise _wrong("a label is missing", token)
    return Where("word", word=token.text), at + 1
