"""Mistakes in a configuration: where they are, what is wrong, what to do; and how all of them are collected.

Objects of a configuration report their mistakes here when they are made (`mistake`, `check_keywords`) and go on, so
that a user sees all of them at once. Loading itself is in `load.py`, what is checked of the whole in `check.py`.
"""

import contextlib
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from math import isfinite
from typing import Any, NoReturn

from msgspec import Struct

from lockstep.core.limits import MAX_DEPTH, MAX_NAME, MAX_WHOLE

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Place(Struct, frozen=True):
    """Where something stands in a user's files. Line 0: the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        """`master.cfg:12`, the way editors understand; relative to the current folder where it is below it."""
        file = self.file
        with contextlib.suppress(FileNotFoundError):  # the current folder may be gone
            file = file.removeprefix(os.path.join(os.getcwd(), ""))
        return f"{file}:{self.line}" if self.line else file


NOWHERE = Place("(unknown place)")


class Mistake(Struct, frozen=True):
    """One thing that is wrong: where, what, and what to do about it (may be empty)."""

    place: Place
    text: str
    hint: str = ""

    def __str__(self) -> str:
        """One line: place, what is wrong, what to do."""
        return f"{self.place}: {self.text}" + (f"; {self.hint}" if self.hint else "")


class ConfigErrors(Exception):  # noqa: N818  (Buildbot's name)
    """The mistakes of a configuration, all of them, in the order of their places. `warnings` do not stop a load."""

    def __init__(self, errors: Iterable[Mistake | str] = (), warnings: Iterable[Mistake] = ()) -> None:
        """Take the mistakes; plain texts get the caller's place."""
        self.mistakes = tuple(e if isinstance(e, Mistake) else Mistake(here(), e) for e in errors)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(m) for m in self.mistakes))

    @property
    def errors(self) -> list[str]:
        """The texts alone, under Buildbot's name."""
        return [m.text for m in self.mistakes]


ConfigError = ConfigErrors
"""One mistake is a list of one."""


class UnknownNameError(AttributeError):
    """A name of the vocabulary that nobody knows. The text says what is wrong, `hint` what was probably meant."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        """Find the nearest known name."""
        self.text = f'{what} has no "{name}"'
        self.hint = nearest(name, known)
        super().__init__(f"{self.text}; {self.hint}" if self.hint else self.text)


class Collector:
    """What one load gathers: mistakes, warnings, notes, and the objects that announce themselves (`made`)."""

    def __init__(self) -> None:
        """Start empty."""
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []
        self.notes: list[Mistake] = []
        self.made: list[Any] = []
        self.meant: set[tuple[Place, str]] = set()
        """Keywords that were probably meant by unknown ones: that they are missing need not be said, too."""

    def add(self, mistake: Mistake) -> None:
        """Keep a mistake, once."""
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def warn(self, warning: Mistake) -> None:
        """Keep a warning, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def note(self, note: Mistake) -> None:
        """Keep a note (`has no effect`), once."""
        if note not in self.notes:
            self.notes.append(note)


_collector: ContextVar[Collector | None] = ContextVar("lockstep_collector", default=None)


@contextlib.contextmanager
def collecting(collector: Collector) -> Iterator[Collector]:
    """While this lasts, mistakes go to `collector` instead of being raised."""
    token = _collector.set(collector)
    try:
        yield collector
    finally:
        _collector.reset(token)


def current() -> Collector | None:
    """The collector of the load that is under way, if there is one."""
    return _collector.get()


def is_loading() -> bool:
    """Whether a configuration is being loaded here and now."""
    return _collector.get() is not None


def mistake(text: str, hint: str = "", place: Place | None = None) -> None:
    """Report a mistake at `place` (default: the user's line that led here).

    While a configuration is loaded it is collected and the program goes on; else `ConfigErrors` is raised.
    """
    found = Mistake(place or here(), text, hint)
    collector = _collector.get()
    if collector is None:
        raise ConfigErrors([found])
    collector.add(found)


NO_NAME = "(no name)"
"""What a thing is called whose name is refused."""


def named(name: Any, what: str, place: Place) -> str:
    """The name of a thing (`what`, for the mistake): a text that is not empty and that every store keeps as it is."""
    if not isinstance(name, str) or not name:
        mistake(f"{what}: the name must be a text that is not empty, not {name!r}", place=place)
        return NO_NAME
    if not name.isprintable():
        mistake(f"{what}: the name must have printable characters only, not {name!r}", place=place)
        return NO_NAME
    if len(name) > MAX_NAME:
        mistake(f"{what}: the name has {len(name)} characters, and may have {MAX_NAME}: {name[:20]!r}...", place=place)
        return NO_NAME
    return name


def missing(names: str | Iterable[str], text: str, hint: str = "", place: Place | None = None) -> None:
    """Report that a thing needs a keyword and has it not, unless a misspelt one of these `names` was reported there."""
    at = place or here()
    collector = _collector.get()
    wanted = [names] if isinstance(names, str) else names
    if collector is None or all((at, name) not in collector.meant for name in wanted):
        mistake(text, hint, at)


def warning(text: str, hint: str = "", place: Place | None = None) -> None:
    """Report what is probably not meant. Outside of a load nothing happens."""
    if (collector := _collector.get()) is not None:
        collector.warn(Mistake(place or here(), text, hint))


def note(text: str, hint: str = "", place: Place | None = None) -> None:
    """Report what `lockstep check` should say (something has no effect). Outside of a load nothing happens."""
    if (collector := _collector.get()) is not None:
        collector.note(Mistake(place or here(), text, hint))


def announce(thing: Any) -> None:
    """Let the load that is under way know of an object that was made (locks, for L7)."""
    if (collector := _collector.get()) is not None:
        collector.made.append(thing)


def error(text: str, always_raise: bool = False) -> None:
    """Buildbot's `config.error`: a user's own check found something wrong."""
    if always_raise:
        fail(text)
    mistake(text)


def fail(text: str, hint: str = "", place: Place | None = None) -> NoReturn:
    """Raise a mistake after which it makes no sense to go on."""
    raise ConfigErrors([Mistake(place or here(), text, hint)])


def is_ours(file: str) -> bool:
    """Whether a file belongs to Lockstep itself."""
    return file.startswith(_PACKAGE)


def here() -> Place:
    """The user's place that led to this call: the innermost frame that is neither Lockstep's nor an import's."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_ours(file) and not file.startswith("<frozen "):
            return Place(file, frame.f_lineno)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return NOWHERE


def declared() -> Place:
    """The line of a user's file outside of all functions that led to this call: where a helper that made a thing was
    called from."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_code.co_name == "<module>" and not is_ours(file):
            return Place(file, frame.f_lineno)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return NOWHERE


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant, or nothing."""
    return _meant(closest(name, known))


def _meant(name: str | None) -> str:
    """The question for a nearest name, if there is one."""
    return f'did you mean "{name}"?' if name else ""


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`; None if none does."""
    names = list(known)
    folded = {n.lower().replace("_", ""): n for n in names}
    key = str(name).lower().replace("_", "")
    if key in folded:
        return folded[key]
    found = difflib.get_close_matches(key, list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def check_keywords(
    what: str, unknown: Mapping[str, Any], known: Iterable[str], not_yet: Iterable[str] = (), place: Place | None = None
) -> None:
    """Report every keyword that is left over: one that Buildbot has and we have not yet, or an unknown one.

    `what` names the thing (`ShellCommand`, `BuilderConfig`); `unknown` are the keywords that nobody took.
    """
    later = set(not_yet)
    names = [k for k in known if not k.startswith("_")]
    at = place or here()
    found = []
    collector = _collector.get()
    for key in unknown:
        if key in later:
            found.append(Mistake(at, f'"{key}" of {what} is not supported yet', "leave it out"))
        else:
            best = closest(key, names)
            hint = _meant(best) or _listing(names)
            found.append(Mistake(at, f'unknown keyword "{key}" of {what}', hint))
            if best and collector is not None:
                collector.meant.add((at, best))
    if collector is None and found:
        raise ConfigErrors(found)
    for one in found:
        if collector is not None:
            collector.add(one)


def _listing(names: list[str]) -> str:
    """What is known, where nothing looks alike."""
    return "known are: " + ", ".join(sorted(names)) if names else "it takes none"


def plain(value: Any, what: str, place: Place | None = None, depth: int = 0) -> bool:
    """Whether `value` (itself in `depth` others) is what JSON can say; reports a mistake if it is not."""
    if depth > MAX_DEPTH:
        mistake(f"{what} has more than {MAX_DEPTH} lists or dictionaries in each other", place=place)
        return False
    if isinstance(value, int) and abs(value) > MAX_WHOLE:
        mistake(f"{what} must be a whole number from -{MAX_WHOLE} to {MAX_WHOLE}, not {value}", place=place)
        return False
    if isinstance(value, float) and not isfinite(value):
        mistake(f"{what} must be a finite number, not {value}", place=place)
        return False
    if value is None or isinstance(value, str | int | float | bool):
        return True
    if isinstance(value, list | tuple):
        return all(plain(v, what, place, depth + 1) for v in value)
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            mistake(f"{what} must have texts as keys, not {odd[0]!r}", place=place)
            return False
        return all(plain(v, what, place, depth + 1) for v in value.values())
    mistake(f"{what} must be a number, a text, a list or a dictionary of them, not {type(value).__name__}", place=place)
    return False


def guarded(action: Callable[[], Any]) -> Any:
    """Run `action`; if it raises `ConfigErrors` while loading, collect its mistakes and return None."""
    collector = _collector.get()
    try:
        return action()
    except ConfigErrors as exc:
        if collector is None:
            raise
        for one in exc.mistakes:
            collector.add(one)
        return None
