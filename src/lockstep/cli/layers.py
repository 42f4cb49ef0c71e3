"""Places the nodes of a directed graph in columns, so that most edges go to the right and few cross (Sugiyama).

Nothing is known here of what the nodes are, and nothing is drawn.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct

Node = tuple[str, ...]
Pair = tuple[Node, Node]
_SWEEPS = 12


class Placed(Struct, frozen=True):
    """Where everything is: the column of each node and how far down it is (in rows), and the ways of the edges.

    A way is a list of such points, from the edge's beginning to its end, with one in each column between them.
    """

    nodes: dict[Node, tuple[int, float]]
    ways: dict[Pair, list[tuple[int, float]]]


def place(nodes: Sequence[Node], edges: Iterable[Pair]) -> Placed:
    """Place these nodes. Edges from a node to itself are left out."""
    pairs = [pair for pair in dict.fromkeys(edges) if pair[0] != pair[1]]
    back = _backward(nodes, pairs)
    forward = {pair: pair[::-1] if pair in back else pair for pair in pairs}
    column = _columns(nodes, list(forward.values()))
    chains = {pair: _chain(pair, column) for pair in dict.fromkeys(forward.values())}
    links = [link for chain in chains.values() for link in pairwise(chain)]
    rows = _rows(_ordered(nodes, column, links), links)
    ways = {}
    for pair, placed in forward.items():
        way = [(column[node], rows[node]) for node in chains[placed]]
        ways[pair] = way[::-1] if pair in back else way
    return Placed({node: (column[node], rows[node]) for node in nodes}, ways)


def _backward(nodes: Sequence[Node], pairs: list[Pair]) -> set[Pair]:
    """Edges that lead back to where a walk came from: without them there is no way round."""
    after = _neighbours(pairs)
    state: dict[Node, int] = {}
    back: set[Pair] = set()
    entered = {end for _, end in pairs}
    for root in [node for node in nodes if node not in entered] + list(nodes):
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(after[root]))]
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[node] = 2
                stack.pop()
            elif state.get(following) == 1:
                back.add((node, following))
            elif following not in state:
                state[following] = 1
                stack.append((following, iter(after[following])))
    return back


def _columns(nodes: Sequence[Node], pairs: list[Pair]) -> dict[Node, int]:
    """Each node as far left as those before it allow; who has none before it, as near to those after it as can be."""
    before, after = _neighbours((b, a) for a, b in pairs), _neighbours(pairs)
    column: dict[Node, int] = {}
    missing = {node: len(before[node]) for node in nodes}
    ready = [node for node in nodes if not missing[node]]
    for node in ready:
        column[node] = max((column[one] + 1 for one in before[node]), default=0)
        for one in after[node]:
            missing[one] -= 1
            if not missing[one]:
                ready.append(one)
    for node in nodes:
        if not before[node] and after[node]:
            column[node] = min(column[one] for one in after[node]) - 1
    return column


def _chain(pair: Pair, column: dict[Node, int]) -> list[Node]:
    """The edge's nodes, with one of its own in each column between them."""
    start, end = pair
    between: list[Node] = [("between", *start, "to", *end, str(n)) for n in range(column[start] + 1, column[end])]
    column.update((node, n) for n, node in enumerate(between, start=column[start] + 1))
    return [start, *between, end]


def _ordered(nodes: Sequence[Node], column: dict[Node, int], links: list[Pair]) -> list[list[Node]]:
    """The columns, each in an order that lets few edges cross."""
    around = _neighbours([*links, *((b, a) for a, b in links)])
    columns: dict[int, list[Node]] = defaultdict(list)
    seen: set[Node] = set()
    for root in nodes:
        stack = [] if root in seen else [root]
        seen.add(root)
        while stack:
            node = stack.pop()
            columns[column[node]].append(node)
            for one in reversed(around[node]):
                if one not in seen:
                    seen.add(one)
                    stack.append(one)
    result = [columns[n] for n in sorted(columns)]
    for sweep in range(_SWEEPS):
        steps = list(pairwise(result))
        pairs = steps if sweep % 2 == 0 else [(right, left) for left, right in reversed(steps)]
        for fixed, moved in pairs:
            at = {node: n for n, node in enumerate(fixed)}
            old = {node: n for n, node in enumerate(moved)}
            scale = len(fixed) / max(len(moved), 1)
            moved.sort(key=lambda node: _mean([at[one] for one in around[node] if one in at], old[node] * scale))
    return result


def _rows(columns: list[list[Node]], links: list[Pair]) -> dict[Node, float]:
    """How far down each node is: as near to its neighbours as the others of its column allow."""
    around = _neighbours([*links, *((b, a) for a, b in links)])
    row = {node: float(n) for nodes in columns for n, node in enumerate(nodes)}
    for _ in range(_SWEEPS):
        for nodes in [*columns, *reversed(columns)]:
            wished = [_mean([row[one] for one in around[node]], row[node]) for node in nodes]
            down, up = list(wished), list(wished)
            for n in range(1, len(nodes)):
                down[n] = max(down[n], down[n - 1] + 1)
            for n in range(len(nodes) - 2, -1, -1):
                up[n] = min(up[n], up[n + 1] - 1)
            row.update((node, (a + b) / 2) for node, a, b in zip(nodes, down, up, strict=True))
    top = min(row.values(), default=0.0)
    return {node: at - top for node, at in row.items()}


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _neighbours(pairs: Iterable[Pair]) -> defaultdict[Node, list[Node]]:
    found: defaultdict[Node, list[Node]] = defaultdict(list)
    for a, b in pairs:
        found[a].append(b)
    return found
