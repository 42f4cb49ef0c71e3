"""What `lockstep check` says of builds that could wait for each other for ever (L50), in words, each with its places.

What could be is computed in `core/deadlock.py`; nothing here decides anything.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cached_property

from lockstep.config.errors import Mistake, Place
from lockstep.core.deadlock import Cycle, Deadlocks, Edge, Link, deadlocks
from lockstep.core.nouns import FENCED, LockKey, Need
from lockstep.core.values import Setup

_NAMED = 3
HINT = "Lockstep withholds grants at run time so that it does not; locks that are claimed in one list cannot"


class Rings:
    """What is to be said of a set-up. `folder` is what its places are told from, `file` the configuration itself.

    `declared` are the lines that declare builders (step 0) and their steps by number, also those that a helper makes:
    its own line says little.
    """

    def __init__(self, setup: Setup, file: str, declared: Mapping[tuple[str, int], Place]) -> None:
        """Take a set-up, the configuration's file, and where builders and steps are declared."""
        self.setup = setup
        self.file = file
        self.declared = declared
        self.folder = os.path.dirname(file)

    @cached_property
    def found(self) -> Deadlocks:
        """All that could be."""
        return deadlocks(self.setup)

    def warnings(self) -> Iterator[Mistake]:
        """Each cycle; and that there may be more."""
        for cycle in self.found.cycles:
            yield Mistake(self._place(cycle.edges[0].chain[-1].place), f"could deadlock: {self._cycle(cycle)}", HINT)
        if not self.found.complete:
            told = (
                "more cycles of locks than are told here" if self.found.cycles else "too many ways to wait to look at"
            )
            text = f"could deadlock: {told}"
            yield Mistake(Place(self.file), text, "Lockstep withholds grants at run time so that it does not")

    def notes(self) -> Iterator[Mistake]:
        """What may claim more than the configuration says, while its build holds a lock."""
        for builder in self.setup.builders:
            if builder.open and builder.stages:
                yield self._open(f'locks of builder "{builder.name}" are', builder.place)
            for stage in builder.stages:
                if stage.open and (builder.open or _has_lock(builder.planned) or _has_lock(stage.need)):
                    what = f'what step "{stage.name}" of builder "{builder.name}" claims or waits for is'
                    yield self._open(what, stage.place)

    def _open(self, what: str, place: str) -> Mistake:
        hint = "builds that wait for each other there are found when they do"
        return Mistake(self._place(place), f"{what} known only at run time", hint)

    # --- words

    def _cycle(self, cycle: Cycle) -> str:
        text = "; ".join(self._edge(edge) for edge in cycle.edges)
        if len(cycle.edges) == 1:
            text += "; two such builds block each other"
        if cycle.times > 1:
            text += f" ({cycle.times - 1} more like it, with the locks of other workers)"
        return text

    def _edge(self, edge: Edge) -> str:
        """Who holds what while asking for what."""
        holder, *below = edge.chain[edge.holder :]
        who = f'builder "{holder.builder}"{self._made(holder, edge.by_step)}{_or(edge.holders)}'
        if edge.by_step:
            who = f'step "{holder.step}" of {who}'
        elif edge.holder:
            who += f', for which "{edge.chain[edge.holder - 1].builder}" waits,'
        held = f"{who} holds {lock_words(edge.held)}{self._whole(edge, 0)} ({self._claimed(edge)})"
        way = "" if edge.by_step and not below else self._step(holder, edge.by_step)
        for link in below:
            way += f' waits for builder "{link.builder}"{self._made(link, bool(link.number))}'
            way += _or(edge.askers) if link is edge.chain[-1] else ""
            way += (
                f" ({self._from(link.builder, link.place)}), which" if not link.number else f", whose {self._at(link)}"
            )
        return f"{held} while {way} asks for {lock_words(edge.asked)}{self._whole(edge, 1)}"

    def _step(self, link: Link, held_by_it: bool) -> str:
        return "it" if held_by_it else f"its {self._at(link)}"

    def _at(self, link: Link) -> str:
        told, made = self._told(link.place), self._declared(link.builder, link.number)
        known = not made.line or str(made) in (told, str(self._declared(link.builder)))
        return f'step "{link.step}" ({told})' if known else f'step "{link.step}" ({told}, from {made})'

    def _whole(self, edge: Edge, index: int) -> str:
        """The mode, where it matters: exclusive, or a lock that is asked for by who holds it."""
        if edge.whole[index]:
            return " exclusively"
        return " in part" if edge.held == edge.asked and not index else ""

    def _claimed(self, edge: Edge) -> str:
        """Where what is held is claimed: by a step, or by a builder."""
        return self._told(edge.claimed) if edge.by_step else self._from(edge.chain[edge.holder].builder, edge.claimed)

    def _from(self, builder: str, place: str) -> str:
        """A builder's place, and the line that declares it where a helper makes it."""
        made, told = self._declared(builder), self._told(place)
        return f"{told}, from {made}" if made.line and str(made) != told else told

    def _made(self, link: Link, only_its_step: bool) -> str:
        """The line that declares a builder of which else only a step's place is told."""
        made = self._declared(link.builder)
        return f" ({made})" if only_its_step and made.line and str(made) != self._told(link.place) else ""

    def _declared(self, builder: str, step: int = 0) -> Place:
        return self.declared.get((builder, step), Place(""))

    def _told(self, place: str) -> str:
        return str(self._place(place))

    def _place(self, place: str) -> Place:
        """A place of the core as one of a file."""
        file, _, line = place.rpartition(":")
        if not line.isdigit():
            return Place(os.path.join(self.folder, place))
        return Place(os.path.join(self.folder, file), int(line))


def lock_words(lock: LockKey) -> str:
    """A lock in a sentence."""
    if lock.kind == "slot":
        return f'a slot of worker "{lock.worker}"'
    if lock.kind == "builddir":
        return f'the build directory "{lock.name}" on worker "{lock.worker}"'
    return f'{"pool" if lock.kind == "pool" else "lock"} "{lock}"'


def _or(names: tuple[str, ...]) -> str:
    """Other builders of which the same could be said."""
    if not names:
        return ""
    some = ", ".join(f'"{name}"' for name in names[:_NAMED])
    return f" (or {some}" + (f" and {len(names) - _NAMED} more)" if len(names) > _NAMED else ")")


def _has_lock(need: Need | None) -> bool:
    accesses = (access for each in need.alternatives for access in each.accesses) if need is not None else ()
    return any(access.lock.kind in FENCED for access in accesses)
