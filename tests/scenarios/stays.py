"""Judges what `holder.py` wrote down: whether two were ever where one alone may be, or too many where some may.

It believes the notes of the programs under the locks and the machine's clock, and nobody else.
"""

import itertools
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Key = tuple[str, int]
"""A lock and a fence."""


@dataclass
class Stay:
    """One program under one lock: first and last sign of life. `beside`: names and states of others alive then."""

    lock: str
    fence: int
    name: str
    began: float
    last: float
    ended: bool
    refused: bool
    command: str
    beside: list[tuple[str, str]] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """When it stood still for a second or more."""

    @property
    def key(self) -> Key:
        """What identifies its hold."""
        return self.lock, self.fence


def _read(path: Path) -> Stay | None:
    lines = [line.split() for line in path.read_text().split("\n")[:-1]]  # the last one may be cut off by a kill
    if not lines:
        return None
    kinds = {line[0] for line in lines}
    beside = [(line[2], line[3]) for line in lines if line[0] == "beside"]
    began, last = float(lines[0][1]), float(lines[-1][1])
    times = [float(line[1]) for line in lines]
    gaps = [(one, other) for one, other in itertools.pairwise(times) if other - one >= 1]
    fence = int(path.name.partition(".")[0])
    lock = path.parent.name
    return Stay(lock, fence, path.name, began, last, "out" in kinds, "refused" in kinds, lines[0][3], beside, gaps)


def stays(folder: Path, lock: str, pids: Container[int] | None = None) -> list[Stay]:
    """The stays under a lock, of all processes or of these, in the order in which they began."""
    paths = (folder / "stays" / lock).glob("[0-9]*")
    found = [_read(path) for path in paths if pids is None or int(path.name.partition(".")[2]) in pids]
    return sorted((stay for stay in found if stay is not None), key=lambda stay: stay.began)


def faults(found: list[Stay], limit: int, excused: Mapping[Key, float]) -> list[str]:
    """What is wrong in the stays under one lock, as sentences.

    Args:
        found: the stays.
        limit: how many may be there at once.
        excused: those whose machine stood still until their hold was over, and when it stopped: after that their fence
            is no good any more, which somebody has made sure of, and they count no longer (L61, L62).
    """
    wrong = []
    ghosts = {stay.name for stay in found if stay.key in excused}
    for stay in found:
        beside = [f"{name} ({state})" for name, state in stay.beside if name not in ghosts]
        if len(beside) >= limit and stay.key not in excused:
            wrong.append(f"{stay.lock}: {stay.name} came in at {stay.began} beside {', '.join(beside)}")
        if stay.refused and stay.key not in excused:
            wrong.append(f"{stay.lock}: {stay.name} was still there at {stay.last}, after a later fence")
    moves = sorted(
        [(stay.began, 1, stay.name) for stay in found]
        + [(max(stay.began, min(stay.last, excused.get(stay.key, stay.last))), 0, stay.name) for stay in found]
    )
    here: set[str] = set()
    for at, coming, name in moves:
        (here.add if coming else here.discard)(name)
        if len(here) > limit:
            wrong.append(f"{found[0].lock}: at {at} there were {', '.join(sorted(here))}")
    fences = [stay.fence for stay in found]
    if limit == 1 and fences != sorted(set(fences)):
        wrong.append(f"{found[0].lock}: fences in the order of coming: {fences}")
    return wrong
