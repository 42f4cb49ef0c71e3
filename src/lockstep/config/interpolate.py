"""Texts with places for values: `Interpolate` and the older `WithProperties`.

A text is parsed when it is made, so that a wrong one is a mistake of the configuration; keys are looked up when it is
rendered. Other renderables are in `renderables.py`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from lockstep.config.errors import Place, announce, closest, here, mistake
from lockstep.config.renderables import Renderable
from lockstep.config.rendering import Properties, is_renderable, render, resolve
from lockstep.config.secrets import disarm, marker
from lockstep.core.values import SourceStamp

_NAME = re.compile(r"[^():]*")
_KEY_OF_UNIT = re.compile(r"\w")
_OF_LOCKS = ("fence", "unit")
_SELECTORS = ("prop", "src", "kw", "worker", "secret", "fence", "unit")
_MISSING: Any = object()
Fallback = Callable[[Any], Any]
"""Takes a value (or `_MISSING`) and gives what stands in the text: a value, or a renderable."""


class _Probe:
    """Stands for any value while a text is parsed: every conversion of `%` accepts it."""

    def __index__(self) -> int:
        return 0

    def __float__(self) -> float:
        return 0.0

    def __str__(self) -> str:
        return "x"


class _Recorder(dict[str, Any]):
    """Notes the keys that a text asks for."""

    def __missing__(self, key: str) -> _Probe:
        self[key] = _Probe()
        return self[key]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        raise TypeError('there is a "%s" and no argument for it')

    __repr__ = __str__


class _TextError(Exception):
    """A key of a text is wrong; says why."""


class NotTold(Exception):  # noqa: N818  (it is no fault of the program's)
    """Something is to stand in a text that the build does not have; says what, what to do, and where the text is."""


class _Key:
    """One `%(selector:name...)s` of an `Interpolate`: where the value is, and what stands for it."""

    def __init__(self, text: str, kwargs: dict[str, Any], place: Place) -> None:
        """Parse. Raises `_TextError`."""
        self.text, self.place = f"%({text})s", place
        selector, colon, rest = text.partition(":")
        if not colon or selector not in _SELECTORS:
            near = closest(selector, _SELECTORS)
            hint = f'did you mean "{near}"?' if near else "selectors are: " + ", ".join(_SELECTORS)
            what = f'unknown selector "{selector}"' if colon else f'"%({text})s" has no selector'
            raise _TextError(f"{what}; {hint}")
        self.selector, self.codebase = selector, ""
        if selector == "src":
            self.codebase, colon, rest = rest.partition(":")
            if not colon:
                raise _TextError(f'"%({text})s" needs a codebase and an attribute, as in "%(src::branch)s"')
        self.name, colon, how = rest.partition(":")
        self.key = ""
        if selector == "unit" and _KEY_OF_UNIT.match(how):
            self.key, colon, how = how.partition(":")
        if not _NAME.fullmatch(self.name) or not _NAME.fullmatch(self.codebase):
            raise _TextError(f'"{self.name}" is no name that can stand in "%({selector}:...)s"')
        if selector == "secret" and colon:
            raise _TextError(f'secret "{self.name}" can have no replacement: it is known only when it is sent')
        if selector == "prop" and self.name in _SELECTORS and how[:1].isalnum():
            raise _TextError(f'"%({text})s" has two selectors; did you mean "%({self.name}:{how})s"?')
        self._kwargs = kwargs
        self.plain = not colon
        self.fallback = _or_empty if self.plain else _fallback(how, kwargs)

    async def value(self, props: Properties) -> Any:
        """What stands in the text. Raises `NotTold`."""
        found = await self._lookup(props)
        if found is _MISSING and self.plain and self.selector in _OF_LOCKS:
            self._must_have(props)
        value = await render(self.fallback(found), props)
        return "" if value is None else value

    def _must_have(self, props: Properties) -> None:
        """Only a pool of which the build has something may have a unit that lacks what is asked for."""
        if self.selector == "unit" and props.hasProperty(f"unit:{self.name}"):
            return
        what = f"no unit of '{self.name}'" if self.selector == "unit" else f"no lock '{self.name}'"
        how = f"claim it with locks=, or say what stands for it: {self.text[:-2]}:-none)s"
        raise NotTold(f"{self.text}: the build and this step have {what} here; {how} ({self.place})")

    async def _lookup(self, props: Properties) -> Any:
        """The value, or `_MISSING`."""
        if self.selector == "secret":
            return marker(self.name)
        if self.selector == "prop":
            return props.getProperty(self.name, _MISSING)
        if self.selector == "fence":
            fence = props.build.fence(self.name) if props.build is not None else None
            return _MISSING if fence is None else fence
        if self.selector == "unit":
            name = f"unit:{self.name}:{self.key}" if self.key else f"unit:{self.name}"
            found = props.getProperty(name, _MISSING)
            if isinstance(found, list):
                return ",".join("" if one is None else str(one) for one in found)
            return found
        if self.selector == "worker":
            return disarm(props.worker_info.get(self.name, _MISSING))
        if self.selector == "src":
            return disarm(_stamp_value(props.sourcestamps, self.codebase, self.name))
        value = self._kwargs.get(self.name, _MISSING)
        if callable(value) and not is_renderable(value) and not isinstance(value, type):
            value = await resolve(value(props))
        return await render(value, props)


def _stamp_value(stamps: tuple[SourceStamp, ...], codebase: str, name: str) -> Any:
    """An attribute of the source stamp of that codebase, or `_MISSING`."""
    for stamp in stamps:
        if stamp.codebase == codebase:
            return getattr(stamp, name, _MISSING) if not name.startswith("_") else _MISSING
    return _MISSING


def _or_empty(value: Any) -> Any:
    """Without a replacement, what is missing is empty."""
    return "" if value is _MISSING else value


def _fallback(how: str, kwargs: dict[str, Any]) -> Fallback:
    """The replacement that stands after the second colon. Raises `_TextError`."""

    def nested(text: str) -> Any:
        return Interpolate(text, **kwargs) if "%" in text else text

    if how.startswith(("?", "#?")):
        by_truth = how.startswith("#")
        rest = how[2 if by_truth else 1 :]
        parts = rest[1:].split(rest[0]) if rest else []
        if len(parts) != 2 or rest[0] == "(":
            parts = _split_outside(rest[1:], rest[0]) if rest and rest[0] != "(" else []
        if len(parts) != 2:
            raise _TextError(f'"{how}" must give two texts, as in "?|if there|if missing"')
        yes, no = (nested(part) for part in parts)
        if by_truth:
            return lambda value: yes if value is not _MISSING and value else no
        return lambda value: yes if value is not _MISSING else no
    kind, text = how[:1], nested(how[1:])
    if kind == "-":
        return lambda value: text if value is _MISSING else value
    if kind == "~":
        return lambda value: value if value is not _MISSING and value else text
    if kind == "+":
        return lambda value: "" if value is _MISSING else text
    raise _TextError(f'unknown replacement ":{how}"; known are ":-", ":~", ":+", ":?|a|b" and ":#?|a|b"')


def _split_outside(text: str, delimiter: str) -> list[str]:
    """Split `text` at the delimiters that are not inside of parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == delimiter and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


class Interpolate(Renderable):
    """A text with `%(prop:name)s`, `src:codebase:attribute`, `kw:`, `worker:`, `secret:`, or with `%s` and arguments.

    `%(fence:database)s` is the number of the grant by which the build or step holds the lock of that name (L62);
    `%(unit:boards)s` the name of the unit that it has of a pool, `%(unit:boards:address)s` what is known of it.

    What the build has no such lock or unit for ends its step with EXCEPTION, unless something stands for it.

    After a second colon stands what to put where there is no value: `-text` if missing, `~text` if missing or false,
    `+text` if there, `?|there|missing`, `#?|true|false`. These texts may hold further places.
    """

    def __init__(self, fmtstring: Any, *args: Any, **kwargs: Any) -> None:
        """Parse the text; report what is wrong with it."""
        self.place = here()
        self.fmtstring = fmtstring
        self.args = args
        self.kwargs = kwargs
        self._keys: dict[str, _Key] = {}
        announce(self)
        for value in (*args, *kwargs.values()):
            if isinstance(value, type) and getattr(value, "lockstep_refused", False):
                self._wrong(f"{getattr(value, 'where', value)} is not supported yet")
        if args and kwargs:
            self._wrong("takes arguments by position or by keyword, not both")
        elif not isinstance(fmtstring, str):
            self._wrong(f"needs a text, not {fmtstring!r}")
        elif not args:
            self._parse()

    def _parse(self) -> None:
        """Find the keys; report wrong ones."""
        recorder = _Recorder()
        try:
            self.fmtstring % recorder
        except (TypeError, ValueError) as exc:
            self._wrong(f'{self.fmtstring!r}: {exc} (is an "s" missing after a closing parenthesis?)')
        for text in recorder:
            try:
                self._keys[text] = _Key(text, self.kwargs, self.place)
            except _TextError as exc:
                self._wrong(str(exc))

    def _wrong(self, text: str) -> None:
        """Report a mistake of this text."""
        mistake(f"Interpolate: {text}", place=self.place)

    def of_locks(self) -> Iterator[tuple[str, str, str]]:
        """What must be known of locks and pools: (`fence` or `unit`, the name, the key)."""
        for key in self._keys.values():
            if key.plain and key.selector in _OF_LOCKS:
                yield key.selector, key.name, key.key

    def secrets(self) -> Iterator[str]:
        """The names of the secrets that stand in it."""
        yield from (key.name for key in self._keys.values() if key.selector == "secret")

    async def getRenderingFor(self, props: Properties) -> str:
        """The text with all values in it. Raises `NotTold`."""
        if self.args:
            return str(self.fmtstring % tuple([await render(arg, props) for arg in self.args]))
        return str(self.fmtstring % {text: await key.value(props) for text, key in self._keys.items()})

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        return f"Interpolate({self.fmtstring!r})"


class WithProperties(Renderable):
    """The older `Interpolate`: `%(name)s` are properties; keywords are functions that take the properties."""

    def __init__(self, fmtstring: str, *args: str, **lambda_subs: Any) -> None:
        """Take a text and names of properties for its `%s`, or functions for its `%(name)s`."""
        self.place = here()
        self.fmtstring = fmtstring
        self.args = args
        self.lambda_subs = lambda_subs
        self._keys = _Recorder()
        if args and lambda_subs:
            mistake("WithProperties takes arguments by position or by keyword, not both", place=self.place)
        for name, function in lambda_subs.items():
            if not callable(function):
                mistake(f'WithProperties: the value of "{name}" must be a function', place=self.place)
        if not args:
            _record(fmtstring, self._keys, self.place)

    async def getRenderingFor(self, props: Properties) -> str:
        """The text with all values in it. Raises KeyError for a property that is not there and has no replacement."""
        if self.args:
            return str(self.fmtstring % tuple(_empty(props[name]) for name in self.args))
        return str(self.fmtstring % {key: _empty(await self._value(key, props)) for key in self._keys})

    async def _value(self, key: str, props: Properties) -> Any:
        """What stands for one key."""
        name, colon, how = key.partition(":")
        if name in self.lambda_subs:
            return await resolve(self.lambda_subs[name](props))
        if not colon:
            return props[name]
        return _fallback(how.replace("%", "%%"), {})(props.getProperty(name, _MISSING))

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        return f"WithProperties({self.fmtstring!r})"


def _record(text: str, recorder: _Recorder, place: Place) -> None:
    """Find the keys of a `WithProperties`; report wrong ones."""
    try:
        text % recorder
        for key in recorder:
            _, colon, how = key.partition(":")
            if colon:
                _fallback(how.replace("%", "%%"), {})
    except (TypeError, ValueError, _TextError) as exc:
        mistake(f"WithProperties: {text!r}: {exc}", place=place)


def _empty(value: Any) -> Any:
    """What stands in a text for None."""
    return "" if value is None else value
