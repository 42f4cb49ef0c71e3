"""Traces: events as text, and under each the facts that followed (`tests/traces/`). Writing, reading and replaying.

A line `> Name {json}` is an event, at the time of the last `@ seconds` line; the indented lines below it are the facts
expected. `> commit` says that all facts so far are stored, `> crash` that the process ends and a new one starts from
what is stored. Lines that begin with `#` are remarks.
"""

from pathlib import Path
from typing import Any

import msgspec

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide import Outcome, decide
from lockstep.core.recovery import resume, state_of
from lockstep.core.state import State
from lockstep.sim.disk import MemoryDisk
from lockstep.sim.faults import demand


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
    kind: type[e.Event] = getattr(e, name)
    return msgspec.json.decode(body or "{}", type=kind)


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


class Replay:
    """Plays a trace: the same events must give the same facts."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.state = State(self.disk.installation)
        self.at = 0.0
        self.waiting: list[tuple[f.Numbered, ...]] = []
        self.lines: list[str] = []

    def play(self, text: str) -> str:
        """Play it; returns the trace as it is now, remarks included."""
        for line in text.splitlines():
            if line.startswith("@ "):
                self.at = float(line[2:])
            if line.startswith("> "):
                self.lines.append(line)
                self._do(line[2:])
            elif not line.startswith("    "):
                self.lines.append(line)
        return "\n".join(self.lines) + "\n"

    def _do(self, what: str) -> None:
        if what == "commit":
            self.disk.append(self.waiting)
            self.waiting = []
            return
        if what == "crash":
            self.waiting = []
            self.state = state_of(self.disk.load())
            outcome = resume(self.state, self.at)
        else:
            outcome = decide(self.state, event_of(what), self.at)
        if outcome.facts:
            self.waiting.append(outcome.facts)
        self.lines += [f"    {text_of(one.fact)}" for one in outcome.facts]


def check_trace(path: Path) -> None:
    """Play a stored trace and compare. Raises Violation naming the first line that differs."""
    text = path.read_text()
    now = Replay().play(text)
    for number, (before, after) in enumerate(zip(text.splitlines(), now.splitlines(), strict=False), 1):
        demand(before == after, f"{path.name} line {number}:\n  it was {before}\n  now it is {after}")
    demand(text == now, f"{path.name}: the trace has {len(text)} characters, now it has {len(now)}")
