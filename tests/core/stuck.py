"""The dumb one beside `core/deadlock.py`: every state that a few builds can reach, and whether some wait for ever.

A build is a node (builder, worker, stage, granted, children): worker "" has not started, `granted` says whether the
stage's claim is. A state is a sorted tuple of the roots. L53 is taken at its word, in one function (`valid`).
"""

from collections.abc import Iterator
from typing import Any

from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import BuilderSetup, Setup

Node = tuple[str, str, int, bool, tuple[Any, ...]]
State = tuple[Node, ...]
Path = tuple[int, ...]


class Search:
    """Looks for a state with builds that wait for one another for ever."""

    def __init__(self, setup: Setup, builds: int, states: int) -> None:
        self.setup = setup
        self.builders = {builder.name: builder for builder in setup.builders}
        self.limits = {lock.key: lock.limit for lock in setup.locks}
        self.builds = builds
        self.states = states

    def stuck(self) -> set[str] | None:
        """The builders of builds that could wait for ever; empty if none could; None if there are too many states."""
        seen: set[State] = {()}
        stack: list[State] = [()]
        while stack:
            state = stack.pop()
            left = self.left(state)
            if left:
                return left
            for after in self.moves(state):
                if after not in seen:
                    if len(seen) >= self.states:
                        return None
                    seen.add(after)
                    stack.append(after)
        return set()

    # --- what can happen

    def moves(self, state: State) -> Iterator[State]:
        if len(state) < self.builds:
            for builder in self.setup.builders:
                yield from self.starts(builder, state, (len(state),), (*state, (builder.name, "", 0, False, ())))
        for path, node in nodes(state):
            name, worker, at, granted, children = node
            builder = self.builders[name]
            if not worker:
                yield from self.starts(builder, state, path, state)
            elif not granted:
                kids = tuple((child, "", 0, False, ()) for child in builder.stages[at].children)
                after = put(state, path, (name, worker, at, True, kids))
                if self.valid(after):
                    yield tidy(after)
            elif not children:
                yield tidy(put(state, path, self.next(name, worker, at + 1)))

    def starts(self, builder: BuilderSetup, _state: State, path: Path, begun: State) -> Iterator[State]:
        for alternative in builder.planned.alternatives:
            node = (builder.name, alternative.worker, 0, False, ())
            if self.valid(put(begun, path, node)):
                yield tidy(put(begun, path, node if builder.stages else None))

    def next(self, name: str, worker: str, at: int) -> Node | None:
        return (name, worker, at, False, ()) if at < len(self.builders[name].stages) else None

    # --- what is held

    def holds(self, node: Node) -> list[Access]:
        name, worker, at, granted, _ = node
        builder = self.builders[name]
        found = [a for each in builder.planned.alternatives if each.worker == worker for a in each.accesses]
        return found + (list(builder.stages[at].on(worker)) if granted else [])

    def valid(self, state: State) -> bool:
        """Whether the holds of a state are within the limits, loans counted once (L1, L2, L53)."""
        taken: dict[LockKey, int] = {}
        for root in state:
            for lock, units in self.units(root).items():
                taken[lock] = taken.get(lock, 0) + units
        if any(units > self.limits[lock] for lock, units in taken.items()):
            return False
        holders = [(path, access) for path, node in nodes(state) for access in self.holds(node)]
        return not any(
            a.mode == "exclusive" and a.lock == b.lock and p[: len(q)] != q and q[: len(p)] != p
            for p, a in holders
            for q, b in holders
        )

    def units(self, node: Node) -> dict[LockKey, int]:
        lent: dict[LockKey, int] = {}
        for child in node[4]:
            for lock, units in self.units(child).items():
                lent[lock] = lent.get(lock, 0) + units
        for access in self.holds(node):
            own = self.limits[access.lock] if access.mode == "exclusive" else access.count
            lent[access.lock] = max(own, 1, lent.get(access.lock, 0))
        return lent

    # --- who waits for ever

    def left(self, state: State) -> set[str]:
        """Let every build end that can, in any order; the builders of those that are left."""
        moved = True
        while moved and state:
            moved = False
            for path, node in nodes(state):
                if not node[4] and self.may_go_on(state, path, node):
                    state = tuple(root for root in put(state, path, None) if root)
                    moved = True
                    break
        return {node[0] for _, node in nodes(state)}

    def may_go_on(self, state: State, path: Path, node: Node) -> bool:
        name, worker, at, granted, _ = node
        if not worker:
            return any(True for _ in self.starts(self.builders[name], state, path, state))
        return granted or self.valid(put(state, path, (name, worker, at, True, ())))


def nodes(state: tuple[Any, ...], above: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every build with its way from the root; children before their parents."""
    for index, node in enumerate(state):
        yield from nodes(node[4], (*above, index))
        yield (*above, index), node


def put(state: tuple[Any, ...], path: Path, node: Node | None) -> tuple[Any, ...]:
    """The state with another build in that place; None takes it out."""
    index, *rest = path
    new: tuple[Any, ...] = () if node is None else (node,)
    if rest:
        name, worker, at, granted, children = state[index]
        new = ((name, worker, at, granted, put(children, tuple(rest), node)),)
    return (*state[:index], *new, *state[index + 1 :])


def tidy(state: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same state whatever the order of its builds."""
    return tuple(sorted((*node[:4], tidy(node[4])) for node in state))
