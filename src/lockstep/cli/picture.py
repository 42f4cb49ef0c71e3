"""The graph "holds X while asking for Y" of a configuration, as an SVG picture (L50).

Locks, steps of builders that ask or wait while they hold, and what is part of a cycle in red. Where things stand is
computed in `layers.py`, what is a cycle in `core/deadlock.py`.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from xml.sax.saxutils import escape

from msgspec import Struct

from lockstep.cli.layers import Placed, place
from lockstep.core.deadlock import Edge, Link
from lockstep.core.nouns import FENCED, LockKey, Need
from lockstep.core.values import BuilderSetup, Setup, Stage

_ROW, _GAP, _HEIGHT, _MARGIN, _TOP = 52, 90, 38, 24, 84
_LETTER = 7.4
_LONGEST = 34
_STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1f2328} .small{font-size:11px;fill:#59636e} .title{font-size:16px}
.lock rect{fill:#fff3d6;stroke:#9a6700} .step rect{fill:#e8f1fc;stroke:#3d6ea8}
path{fill:none;stroke:#8b949e;stroke-width:1.3} .waits{stroke-dasharray:5 4}
.cycle path{stroke:#cf222e;stroke-width:2} .cycle rect{stroke:#cf222e;stroke-width:2}"""

Key = tuple[str, ...]


class Node(Struct):
    """One box: two lines, what is shown beside the pointer, and whether it is part of a cycle."""

    kind: str
    lines: tuple[str, str]
    title: str
    cycle: bool = False

    @property
    def width(self) -> float:
        """How wide it is drawn."""
        return max(_LETTER * len(shortened(line)) for line in self.lines) + 24


class Graph:
    """What is drawn: boxes by their keys, and arrows with whether they wait for a build and are part of a cycle."""

    def __init__(self, setup: Setup, edges: Iterable[Edge]) -> None:
        """Take the graph of a set-up, with the edges of its cycles."""
        self.nodes: dict[Key, Node] = {}
        self.arrows: dict[tuple[Key, Key], bool] = {}
        self.builders = {builder.name: builder for builder in setup.builders}
        self.limits = {lock.key: lock.limit for lock in setup.locks}
        self.pools = {pool.name: len(pool.units) for pool in setup.pools}
        self._red: set[tuple[Key, Key]] = set()
        for builder in setup.builders:
            for stage in builder.stages:
                self._stage(builder, stage)
        for edge in edges:
            self._cycle(edge)
        self._drop()
        self._merge()

    def red(self, pair: tuple[Key, Key]) -> bool:
        """Whether an arrow is part of a cycle."""
        return pair in self._red

    # --- what there is

    def _stage(self, builder: BuilderSetup, stage: Stage) -> None:
        own = list(_locks(builder.planned))
        if stage.need is not None:
            asks = self._step("asks", builder, stage)
            self._held(own, asks)
            self._asked(asks, _locks(stage.need))
        if stage.children:
            waits = self._step("waits", builder, stage)
            self._held([*own, *_locks(stage.need)], waits)
            for child in dict.fromkeys(stage.children):
                if child in self.builders:
                    self._child(waits, self.builders[child])

    def _child(self, waits: Key, child: BuilderSetup) -> None:
        start = self._start(child)
        self.arrows[waits, start] = True
        self._asked(start, _locks(child.planned))
        for stage in child.stages:
            if stage.need is not None:
                self.arrows[waits, self._step("asks", child, stage)] = True
            if stage.children:
                self.arrows[waits, self._step("waits", child, stage)] = True

    def _held(self, locks: Iterable[LockKey], node: Key) -> None:
        self.arrows.update(((self._lock(lock), node), False) for lock in locks)

    def _asked(self, node: Key, locks: Iterable[LockKey]) -> None:
        self.arrows.update(((node, self._lock(lock)), False) for lock in locks)

    def _cycle(self, edge: Edge) -> None:
        """The arrows of one edge of a cycle: from the lock that is held along the chain to what is asked for."""
        *waiting, last = edge.chain[edge.holder :]
        chain = [self._at("waits", link) for link in waiting]
        way = [self._lock(edge.held), *chain, self._at("asks", last), self._lock(edge.asked)]
        for n, pair in enumerate(pairwise(way)):
            self.arrows.setdefault(pair, 0 < n < len(way) - 2)
            self._red.add(pair)
        for key in way:
            self.nodes[key].cycle = True

    # --- boxes

    def _lock(self, lock: LockKey) -> Key:
        """The box of a lock: one for all workers, one for all slots, and one for all build directories."""
        key: Key = (lock.kind, lock.name if lock.kind in FENCED else "")
        if key not in self.nodes:
            name = {"slot": "slots of workers", "builddir": "build directories"}.get(lock.kind, lock.name)
            limit = f"limit {self.limits.get(lock, '?')}" if lock.kind == "master" else "of each worker"
            limit = f"{self.pools.get(lock.name, '?')} units" if lock.kind == "pool" else limit
            self.nodes[key] = Node("lock", (name, limit), f"{name}: {limit}")
        return key

    def _step(self, kind: str, builder: BuilderSetup, stage: Stage) -> Key:
        key = (kind, builder.name, str(stage.number))
        if key not in self.nodes:
            text = f"step {stage.name}" + (" waits for builds" if kind == "waits" else "")
            self.nodes[key] = Node("step", (builder.name, text), f"{builder.name}, {text}: {stage.place}")
        return key

    def _at(self, kind: str, link: Link) -> Key:
        builder = self.builders[link.builder]
        stage = next((stage for stage in builder.stages if stage.number == link.number), None)
        return self._start(builder) if stage is None else self._step(kind, builder, stage)

    def _start(self, builder: BuilderSetup) -> Key:
        key = ("starts", builder.name)
        if key not in self.nodes:
            self.nodes[key] = Node("step", (builder.name, "starts"), f"{builder.name} starts: {builder.place}")
        return key

    def _drop(self) -> None:
        """Leave out who asks for nothing, or holds nothing meanwhile and is waited for by nobody who does."""
        while True:
            starts = {a for a, _ in self.arrows}
            ends = {b for _, b in self.arrows}
            gone = {
                key
                for key, node in self.nodes.items()
                if (key not in starts or key not in ends) and (node.kind == "step" or key not in starts | ends)
            }
            if not gone:
                return
            self.nodes = {key: node for key, node in self.nodes.items() if key not in gone}
            self.arrows = {pair: waits for pair, waits in self.arrows.items() if not gone.intersection(pair)}

    def _merge(self) -> None:
        """Make one box of steps of several builders that hold the same, ask for the same, and are called the same."""
        before: dict[Key, list[object]] = {key: [] for key in self.nodes}
        after: dict[Key, list[object]] = {key: [] for key in self.nodes}
        for pair, waits in self.arrows.items():
            before[pair[1]].append((pair[0], waits, pair in self._red))
            after[pair[0]].append((pair[1], waits, pair in self._red))
        alike: dict[tuple[object, ...], list[Key]] = {}
        for key, node in self.nodes.items():
            if node.kind == "step":
                sort = (key[0], node.lines[1], frozenset(before[key]), frozenset(after[key]))
                alike.setdefault(sort, []).append(key)
        for first, *others in alike.values():
            node = self.nodes[first]
            if others:
                node.lines = (f"{shortened(node.lines[0], _LONGEST - 12)} and {len(others)} more", node.lines[1])
                node.title += "".join(f"; {self.nodes[key].title}" for key in others)
            for key in others:
                del self.nodes[key]
        self.arrows = {pair: waits for pair, waits in self.arrows.items() if all(key in self.nodes for key in pair)}


def _locks(need: Need | None) -> Iterator[LockKey]:
    """The locks that a configuration names; slots and directories are drawn only where they are part of a cycle."""
    accesses = (access for each in need.alternatives for access in each.accesses) if need is not None else ()
    yield from dict.fromkeys(access.lock for access in accesses if access.lock.kind in FENCED)


# --- the picture


def draw(setup: Setup, edges: Iterable[Edge], name: str) -> str:
    """The picture as SVG."""
    graph = Graph(setup, edges)
    placed = place(list(graph.nodes), graph.arrows)
    spans = _spans(graph, placed)
    rows = [row for way in placed.ways.values() for _, row in way] + [row for _, row in placed.nodes.values()]
    parts = [_arrow(way, spans, graph, pair) for pair, way in placed.ways.items()]
    for key, (column, row) in placed.nodes.items():
        parts.append(_box(graph.nodes[key], spans[column][0], _TOP + row * _ROW))
    width = max(max((right for _, right in spans.values()), default=0) + _MARGIN, 640)
    return _document(parts, width, _TOP + (max(rows, default=0) + 1) * _ROW + _MARGIN, _heading(graph, name))


def _spans(graph: Graph, placed: Placed) -> dict[int, tuple[float, float]]:
    """From where to where each column reaches."""
    widths: dict[int, float] = {}
    for key, (column, _) in placed.nodes.items():
        widths[column] = max(widths.get(column, 0), graph.nodes[key].width)
    spans, left = {}, float(_MARGIN)
    for column in range(min(widths, default=0), max(widths, default=0) + 1):
        spans[column] = (left, left + widths.get(column, 0))
        left += widths.get(column, 0) + _GAP
    return spans


def _arrow(
    way: list[tuple[int, float]], spans: dict[int, tuple[float, float]], graph: Graph, pair: tuple[Key, Key]
) -> str:
    """An arrow through its columns. One that leads back to the left is a little higher than the others."""
    right = way[0][0] < way[-1][0]
    down = _TOP + _HEIGHT / 2 - (0 if right else 9)
    x = spans[way[0][0]][0] + (graph.nodes[pair[0]].width if right else 0)
    end = spans[way[-1][0]][0] + (0 if right else graph.nodes[pair[1]].width)
    y = down + way[0][1] * _ROW
    d = f"M{x:.0f} {y:.0f}"
    for n, (column, row) in enumerate(way[1:], start=1):
        enter, leave = spans[column] if right else spans[column][::-1]
        enter, below = (end if n == len(way) - 1 else enter), down + row * _ROW
        middle = (x + enter) / 2
        d += f" C{middle:.0f} {y:.0f} {middle:.0f} {below:.0f} {enter:.0f} {below:.0f}"
        if n < len(way) - 1:
            d += f" H{leave:.0f}"
        x, y = leave, below
    red = graph.red(pair)
    waits = ' class="waits"' if graph.arrows[pair] else ""
    path = f'<path{waits} d="{d}" marker-end="url(#{"red" if red else "grey"})"/>'
    return f'<g class="cycle">{path}</g>' if red else path


def _box(node: Node, x: float, y: float) -> str:
    radius = 3 if node.kind == "lock" else 14
    first, second = (xml_text(line) for line in node.lines)
    return (
        f'<g class="{node.kind}{" cycle" if node.cycle else ""}"><title>{xml_text(node.title, len(node.title))}</title>'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{node.width:.0f}" height="{_HEIGHT}" rx="{radius}"/>'
        f'<text x="{x + 12:.0f}" y="{y + 16:.0f}">{first}</text>'
        f'<text class="small" x="{x + 12:.0f}" y="{y + 31:.0f}">{second}</text></g>'
    )


def _heading(graph: Graph, name: str) -> str:
    told = "Arrows lead from a lock to who holds it while asking for more, and from there to what is asked for."
    if not graph.nodes:
        told = "Nobody asks for a lock while holding another."
    more = "Dashed: waits for a build. Red: could deadlock, unless grants are withheld." if graph.nodes else ""
    lines = ((name, 30, "title"), (told, 50, "small"), (more, 66, "small"))
    return "".join(
        f'<text class="{style}" x="{_MARGIN}" y="{y}">{xml_text(text, 200)}</text>' for text, y, style in lines
    )


def _document(parts: list[str], width: float, height: float, heading: str) -> str:
    markers = "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="11" markerHeight="11" orient="auto"'
        f' markerUnits="userSpaceOnUse"><path d="M0 1L9 5L0 9z" style="fill:{colour};stroke:none"/></marker>'
        for name, colour in (("grey", "#8b949e"), ("red", "#cf222e"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}">\n<style>{_STYLE}</style><defs>{markers}</defs>'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{heading}\n' + "\n".join(parts) + "\n</svg>\n"
    )


def shortened(text: str, longest: int = _LONGEST) -> str:
    """A text that fits into a box."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def xml_text(text: str, longest: int = _LONGEST) -> str:
    """A text as XML takes it: no control characters, no halves of surrogate pairs."""
    clean = "".join(one if one.isprintable() else "\ufffd" for one in shortened(text, longest))
    return escape(clean)
