"""Traces: events as text, and under each the facts that followed (`tests/traces/`). Writing, reading and replaying.

A line `> Name {json}` is an event, at the time of the last `@ seconds` line; the indented lines below it are the facts
expected. `> commit` says that all facts so far are stored, `> crash` that the process ends and a new one starts from
what is stored. `> Saved {json}` is a process that starts from what a store gave back: a recording of a server
(`recording.py`) begins so. Lines that begin with `#` are remarks.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide import Outcome, decide
from lockstep.core.recovery import resume, state_of
from lockstep.core.saved import Saved
from lockstep.core.state import State
from lockstep.sim.checks import as_text, same
from lockstep.sim.disk import MemoryDisk
from lockstep.sim.faults import Violation, demand
from lockstep.storage.codec import tuples

FACT: Final = "    "
"""What a line of a fact begins with."""


def text_of(value: Any) -> str:
    """An event or a fact on one line: what has its default value is not written."""
    name = type(value).__name__
    fields = msgspec.to_builtins(value)
    defaults = dict(zip(value.__struct_fields__[::-1], value.__struct_defaults__[::-1], strict=False))
    body = {}
    for field in value.__struct_fields__:
        if field in fields and (field not in defaults or getattr(value, field) != _default(defaults[field])):
            body[field] = fields[field]
    return f"{name} {msgspec.json.encode(body).decode()}" if body else name


def _default(default: Any) -> Any:
    factory = getattr(default, "factory", None)
    return factory() if factory is not None else default


def event_of(text: str) -> e.Event:
    """The event that a line says."""
    name, _, body = text.partition(" ")
    kind = getattr(e, name, None)
    if not (isinstance(kind, type) and issubclass(kind, e.Event)):
        raise ValueError(f"there is no event '{name}'")
    return msgspec.json.decode(body or "{}", type=kind)


def saved_of(text: str) -> Saved:
    """What a store gave back, from the line that says it. What is compared or hashed is made of tuples again."""
    saved = msgspec.json.decode(text.partition(" ")[2], type=Saved)
    for lock in saved.locks:
        lock.memory = tuples(lock.memory)
    for request in saved.requests:
        request.collapse_key = tuples(request.collapse_key)
    return saved


class Tracer:
    """Writes down what a world does."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._at = -1.0

    def _time(self, at: float) -> None:
        if at != self._at:
            self._at = at
            self.lines.append(f"@ {at!r}")

    def decided(self, at: float, event: e.Event | None, outcome: Outcome) -> None:
        """An event and its facts; None is the recovery of a new process."""
        self._time(at)
        self.lines.append("> crash" if event is None else f"> {text_of(event)}")
        self.lines += [f"    {text_of(one.fact)}" for one in outcome.facts]

    def stored(self) -> None:
        """Everything so far is on the disk."""
        self.lines.append("> commit")

    def crash(self) -> None:
        """The process ended; the next one begins with its recovery."""

    def text(self) -> str:
        """The trace."""
        return "\n".join(self.lines) + "\n"


class TraceError(Exception):
    """What is no trace. The message says where and why."""


class Replay:
    """Plays a trace: the same events must give the same facts."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.state = State(self.disk.installation)
        self.at = 0.0
        self.waiting: list[tuple[f.Numbered, ...]] = []
        self.events = 0
        self.facts = 0

    def play(self, text: str) -> str:
        """Play it; returns the trace as it is now, remarks included."""
        lines: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.startswith(FACT):
                lines += [line, *self.line(line, number)]
        return "\n".join(lines) + "\n"

    def line(self, line: str, number: int) -> list[str]:
        """Do what a line says that is no fact. Returns the facts that follow, a line each.

        Raises:
            TraceError: it says nothing.
            Violation: a store gave back something else than what the facts before add up to.
        """
        if line.startswith("> "):
            outcome = self._do(line[2:], number)
            if outcome is None:
                return []
            self.events += 1
            self.facts += len(outcome.facts)
            if outcome.facts:
                self.waiting.append(outcome.facts)
            return [f"{FACT}{text_of(one.fact)}" for one in outcome.facts]
        if line.startswith("@ "):
            self.at = _parsed(float, line[2:], number)
        elif line and not line.startswith("#"):
            raise TraceError(f"line {number} is no line of a trace: {line[:80]}")
        return []

    def _do(self, what: str, number: int) -> Outcome | None:
        if what == "commit":
            self.disk.append(self.waiting)
            self.waiting = []
            return None
        if what == "crash":
            self.waiting = []
            self.state = state_of(self.disk.load())
            return resume(self.state, self.at)
        if what.startswith("Saved "):
            before, self.state = self.state, state_of(_parsed(saved_of, what, number))
            if (before.installation, before.last_fact) == (self.state.installation, self.state.last_fact):
                same(self.state, before, "what the store gave back, and what had been decided", as_text)
            return resume(self.state, self.at)
        return decide(self.state, _parsed(event_of, what, number), self.at)


Parsed = TypeVar("Parsed")


def _parsed(reading: Callable[[str], Parsed], text: str, number: int) -> Parsed:
    try:
        return reading(text)
    except (ValueError, AttributeError, TypeError) as exc:  # msgspec's errors are ValueErrors
        raise TraceError(f"line {number} cannot be read: {exc}") from exc


# --- differences


class Difference(Struct, frozen=True):
    """The first place where a trace and what is played differ: the line, the event before it, both texts.

    `was` is empty where the trace has no more facts of the event, `now` where what is played has none. Of a store that
    gave back something else than it was given, `text` tells what.
    """

    line: int
    event_line: int
    event: str
    at: float
    was: str
    now: str
    text: str = ""

    def __str__(self) -> str:
        """The place and both texts."""
        if self.text:
            return f"line {self.line}:\n  {self.text}"
        was, now = self.was or "no more facts", self.now or "no more facts"
        return f"line {self.line}:\n  it was {was}\n  now it is {now}"


def first_difference(lines: Iterable[str], replay: Replay) -> Difference | None:
    """Play a trace and compare, as far as the first difference.

    A recording may have been cut off where its process ended: what is missing there is no difference.

    Raises:
        TraceError: it cannot be read.
    """
    for number, line, facts, cut in _parts(lines):
        try:
            now = replay.line(line, number)
        except TraceError:
            if cut and not facts:
                continue
            raise
        except Violation as exc:
            return Difference(number, number, line[2:], replay.at, "", "", str(exc))
        except Exception as exc:  # a fault of Lockstep itself: the recording may have it too
            now = [fault(exc)]
        difference = _compared(facts, now, cut=cut)
        if difference is not None:
            place, was, told = difference
            return Difference(number + place + 1, number, line[2:], replay.at, was, told)
    return None


def fault(error: Exception) -> str:
    """A decision that failed, as it stands under its event."""
    return f"{FACT}! {type(error).__name__}: {error}".replace("\n", " ")


def _parts(lines: Iterable[str]) -> Iterator[tuple[int, str, list[str], bool]]:
    """Each line that is no fact, with its number, the facts below it, and whether a recording may be cut off there."""
    open_parts: list[tuple[int, str, list[str]]] = []
    recorded = False
    for at, raw in enumerate(lines, 1):
        text = raw.rstrip("\n")
        if text.startswith(FACT) and open_parts:
            open_parts[-1][2].append(text)
            continue
        if text.startswith("> "):
            starts = text.startswith("> Saved ")
            yield from ((*part, recorded and starts) for part in open_parts)
            open_parts.clear()
            recorded = recorded or starts
        open_parts.append((at, text, []))
    yield from ((*part, recorded) for part in open_parts)


def _compared(was: list[str], now: list[str], *, cut: bool) -> tuple[int, str, str] | None:
    """The place of the first difference, and both texts; None if there is none."""
    for place, (before, after) in enumerate(zip_longest(was, now, fillvalue="")):
        last = cut and place >= len(was) - 1
        if before != after and not (last and after.startswith(before)):
            return place, before.strip(), after.strip()
    return None


def check_trace(path: Path) -> None:
    """Play a stored trace and compare. Raises Violation naming the first line that differs."""
    with path.open() as lines:
        found = first_difference(lines, Replay())
    demand(found is None, f"{path.name} {found}")
