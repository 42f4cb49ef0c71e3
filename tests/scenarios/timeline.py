"""What the stored facts say of holds, steps and builds: stretches between two fact numbers, and how they lie.

Facts are numbered without gaps in the order of deciding, so their numbers order everything exactly; the times in
them are for people.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lockstep.core import facts as f
from lockstep.core.calls import RunCommand
from lockstep.core.nouns import Access

ENDLESS = 1 << 60


@dataclass
class Span:
    """Something that lasted: from one fact to another. `end` is ENDLESS while it lasts."""

    start: int
    end: int
    began: float
    fact: Any
    accesses: tuple[Access, ...] = ()
    fences: tuple[int, ...] = ()

    def meets(self, other: "Span") -> bool:
        """Whether both lasted at one moment."""
        return self.start < other.end and other.start < self.end


class Timeline:
    """Facts in their order."""

    def __init__(self) -> None:
        self.all: list[f.Numbered] = []
        self._by_kind: dict[str, list[f.Numbered]] = {}

    @property
    def last(self) -> int:
        """The number of the last one."""
        return self.all[-1].number if self.all else 0

    def add(self, facts: Iterable[f.Numbered]) -> None:
        """More facts, in order."""
        for numbered in facts:
            self.all.append(numbered)
            self._by_kind.setdefault(type(numbered.fact).__name__, []).append(numbered)

    def numbered(self, kind: str, **fields: Any) -> list[f.Numbered]:
        """The facts of one kind with these fields, in their envelopes."""
        return [n for n in self._by_kind.get(kind, []) if _has(n.fact, fields)]

    def of(self, kind: str, **fields: Any) -> list[Any]:
        """The facts of one kind with these fields."""
        return [n.fact for n in self.numbered(kind, **fields)]

    def tail(self, count: int) -> list[str]:
        """The last ones as people read them."""
        return [f"{n.number} {n.at:.3f} {str(n.fact)[:200]}" for n in self.all[-count:]]

    # --- stretches

    def _spans(self, first: str, last: str, key: Callable[[Any], Any], **fields: Any) -> list[Span]:
        ends = {}
        for numbered in self._by_kind.get(last, []):
            ends.setdefault(key(numbered.fact), numbered.number)
        return [Span(n.number, ends.get(key(n.fact), ENDLESS), n.at, n.fact) for n in self.numbered(first, **fields)]

    def holds(self, lock: str = "", **fields: Any) -> list[Span]:
        """Grants until their holds ended; of the lock whose text is `lock` (`database`, `cpu on bot-1`), or of all."""
        spans = self._spans("ClaimGranted", "HoldEnded", lambda fact: fact.hold, **fields)
        for span in spans:
            pairs = list(zip(span.fact.alternative.accesses, span.fact.fences, strict=True))
            mine = [(access, fence) for access, fence in pairs if not lock or str(access.lock) == lock]
            span.accesses = tuple(access for access, _ in mine)
            span.fences = tuple(fence for _, fence in mine)
        return [span for span in spans if span.accesses or not lock]

    def builds(self, *builders: str) -> list[Span]:
        """Builds, of these builders or of all."""
        spans = self._spans("BuildStarted", "BuildEnded", lambda fact: fact.buildid)
        return [span for span in spans if not builders or span.fact.builder in builders]

    def steps(self, name: str, *builders: str) -> list[Span]:
        """Steps of that name, or that ran that command, while they ran: from the grant of their claim (if any)."""
        owner = {fact.buildid: fact.builder for fact in self.of("BuildStarted")}
        grants = {n.fact.ticket: n for n in self._by_kind.get("ClaimGranted", [])}
        running = {fact.stepid for fact in self.of("CallStarted") if _command(fact) == name}
        found = []
        for span in self._spans("StepStarted", "StepEnded", lambda fact: fact.stepid):
            if builders and owner[span.fact.buildid] not in builders:
                continue
            if span.fact.name != name and span.fact.stepid not in running:
                continue
            if span.fact.ticket:
                granted = grants.get(span.fact.ticket)
                if granted is None:
                    continue
                span.start, span.began = granted.number, granted.at
            found.append(span)
        return found

    def waited(self, name: str, *builders: str) -> list[Span]:
        """Steps that waited for their claim: from their start to the grant."""
        owner = {fact.buildid: fact.builder for fact in self.of("BuildStarted")}
        grants = {n.fact.ticket: n.number for n in self._by_kind.get("ClaimGranted", [])}
        return [
            Span(n.number, grants.get(n.fact.ticket, ENDLESS), n.at, n.fact)
            for n in self.numbered("StepStarted", name=name)
            if n.fact.ticket and (not builders or owner[n.fact.buildid] in builders)
        ]

    def commands(self, step: str = "") -> list[Span]:
        """Commands from when they shall run until they are over, of steps of that name or of all."""
        names = {fact.stepid: fact.name for fact in self.of("StepStarted")}
        spans = self._spans("CallStarted", "CommandOver", lambda fact: fact.command)
        return [s for s in spans if s.fact.command and (not step or names[s.fact.stepid] == step)]


def _command(fact: Any) -> str:
    """What a call runs, as one line."""
    command = fact.call.args.get("command", "") if isinstance(fact.call, RunCommand) else ""
    return command if isinstance(command, str) else " ".join(map(str, command))


def _has(fact: Any, fields: dict[str, Any]) -> bool:
    return all(getattr(fact, name) == value for name, value in fields.items())


def most_at_once(spans: Sequence[Span], weight: Callable[[Span], int] = lambda _: 1) -> int:
    """The most that lasted at one moment, each counted with its weight."""
    moves = sorted([(s.start, 1, weight(s)) for s in spans] + [(s.end, 0, -weight(s)) for s in spans])
    most = now = 0
    for _, _, change in moves:
        now += change
        most = max(most, now)
    return most


def units(span: Span) -> int:
    """How many units a hold has of the lock that it was looked up for."""
    return sum(access.count for access in span.accesses)


def apart(spans: Sequence[Span]) -> bool:
    """Whether no two of them lasted at one moment."""
    return most_at_once(spans) <= 1


def check_lock(facts: Timeline, lock: str, limit: int) -> list[Span]:
    """Assert what L1 and L2 say of all holds of a lock, and that fences grow (L62). Returns them."""
    spans = facts.holds(lock)
    assert spans, f"nobody had {lock}"
    assert most_at_once(spans, units) <= limit, f"more than {limit} of {lock}"
    alone = [s for s in spans if any(a.mode == "exclusive" for a in s.accesses)]
    for span in alone:
        assert not [s for s in spans if s is not span and s.meets(span)], f"{lock} was shared with {span}"
    fences = [fence for span in sorted(spans, key=lambda s: s.start) for fence in span.fences]
    assert fences == sorted(set(fences)), f"fences of {lock}: {fences}"
    return spans
