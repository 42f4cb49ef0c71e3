"""Where builds of a set-up could wait for one another for ever: the graph "holds X while asking for Y" (L50).

The waits come from `deadlock_waits.py`. Here they become edges between locks, cyclic parts, and cycles that people can
read. What is done about them while builds run is the allocator's (L51).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from msgspec import Struct, structs

from lockstep.core.deadlock_waits import WHOLE, Ask, Member, TooManyError, Wait, Waits, meetings
from lockstep.core.limits import MAX_CYCLES
from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import BuilderSetup, Setup

Graph = dict[LockKey, dict[LockKey, list[Wait]]]
"""From a lock that is held to those that are asked for meanwhile, with the waits in which it is so."""


Sort = tuple[str, str, str]
"""What is the same of a lock on all workers."""

_T = TypeVar("_T", Sort, LockKey)

_CHOICES: Final = 20
"""So many waits are tried for each edge of a cycle, to find some that may all be there at once."""


class Link(Struct, frozen=True):
    """One build of a chain of builds that wait for each other: its builder, its worker, and the step at which it is.

    `place` is the step's, or the builder's where the build has not started (then `step` is empty and `number` 0).
    """

    builder: str
    worker: str
    number: int
    step: str
    place: str


class Edge(Struct, frozen=True):
    """While the first build of `chain` (or one that waits for the next) holds `held`, the last asks for `asked`.

    `holder` is the index of the one that holds it, claimed at `claimed`: by its `locks=` (`by_step` false) or by those
    of the step at which it is. `whole` tells of each of the two whether it is exclusive. `holders` are other builders
    of which the same could be said, `askers` others that the holder could wait for so.
    """

    held: LockKey
    asked: LockKey
    chain: tuple[Link, ...]
    holder: int
    claimed: str
    by_step: bool
    whole: tuple[bool, bool]
    holders: tuple[str, ...] = ()
    askers: tuple[str, ...] = ()


class Cycle(Struct, frozen=True):
    """Builds that could wait for each other for ever: each edge asks for what the next one holds, the last for the
    first's. `times`: so often it is there, with locks of other workers and other directories."""

    edges: tuple[Edge, ...]
    times: int = 1


class Part(Struct, frozen=True):
    """A cyclic part of the graph: its locks, and the builders whose builds hold one of them while they wait for one."""

    locks: tuple[LockKey, ...]
    builders: tuple[str, ...]


class Deadlocks(Struct, frozen=True):
    """All that could be. `edges` are those of all cycles, one of each kind.

    `complete` is false if there was too much to look at: then there may be more.
    """

    parts: tuple[Part, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    edges: tuple[Edge, ...] = ()
    complete: bool = True


def cyclic(setup: Setup) -> tuple[Part, ...]:
    """The cyclic parts of a set-up; of one that is too large to be looked at, all its builders and locks as one."""
    try:
        waits = Waits(setup)
    except TooManyError:
        return (_everything(setup),)
    graph = _graph(waits)
    return tuple(_part(locks, graph) for locks in _components(graph))


def plans_of(setup: Setup) -> dict[str, BuilderSetup]:
    """The builders of all cyclic parts, and those of whose builds theirs may wait (L51). None cost nothing."""
    if not any(builder.stages for builder in setup.builders):
        return {}
    builders = {builder.name: builder for builder in setup.builders}
    todo = [name for part in cyclic(setup) for name in part.builders]
    found: dict[str, BuilderSetup] = {}
    while todo:
        name = todo.pop()
        if name in builders and name not in found:
            found[name] = builders[name]
            todo += [child for stage in builders[name].stages for child in stage.children]
    return found


def deadlocks(setup: Setup) -> Deadlocks:
    """The cyclic parts of a set-up, and the shortest cycle through each of their edges.

    Of cycles through the same locks one is told, with the builders that could take part in it.
    """
    try:
        waits = Waits(setup)
    except TooManyError:
        return Deadlocks((_everything(setup),), complete=False)
    graph = _graph(waits)
    components = _components(graph)
    edges = _edges(components, graph, waits)
    ways: dict[tuple[Sort, ...], dict[tuple[LockKey, ...], tuple[LockKey, ...]]] = {}
    for locks in components:
        for walk in _walks(locks, graph):
            same = ways.setdefault(_turned([_sort(lock) for lock in walk]), {})
            same.setdefault(_turned(list(walk)), walk)
    told = []
    for walks in sorted(ways.values(), key=lambda walks: len(next(iter(walks))))[:MAX_CYCLES]:
        found = _round(next(iter(walks.values())), graph, waits)
        told.append(Cycle(_with_others(found, edges), len(walks)))
    parts = tuple(_part(locks, graph) for locks in components)
    return Deadlocks(parts, tuple(told), tuple(edges), complete=len(ways) <= MAX_CYCLES)


def _everything(setup: Setup) -> Part:
    locks = (*(lock.key for lock in setup.locks), *(LockKey("pool", pool.name) for pool in setup.pools))
    return Part(locks, tuple(builder.name for builder in setup.builders))


# --- the graph


def _graph(waits: Waits) -> Graph:
    graph: Graph = {}
    node = waits.views.node
    lacking = [(wait, ask) for wait in waits.alive for ask in _lacking(wait, waits)]
    asked = {node(ask.lock) for _, ask in lacking}
    for wait, ask in lacking:
        for held in {node(lock): None for lock in wait.holds(ask.base)}:
            if held in asked:
                graph.setdefault(held, {}).setdefault(node(ask.lock), []).append(wait)
    return graph


def _lacking(wait: Wait, waits: Waits) -> dict[Ask, None]:
    """What keeps a wait waiting: in each alternative, unless another would do with less of the same."""
    refused = [[ask for ask in asks if waits.refused(wait, ask)] for asks in wait.alternatives]
    return {ask: None for asks in refused if not any(set(other) < set(asks) for other in refused) for ask in asks}


def _part(locks: tuple[LockKey, ...], graph: Graph) -> Part:
    members = set(locks)
    builders: dict[str, None] = {}
    for held in locks:
        for asked, found in graph[held].items():
            if asked in members:
                builders.update((member.builder.name, None) for wait in found for member in wait.chain)
    return Part(locks, tuple(builders))


def _components(graph: Graph) -> list[tuple[LockKey, ...]]:
    """The sets of locks that can be reached from one another, larger than one or with an edge to itself."""
    back: dict[LockKey, dict[LockKey, None]] = {}
    for held, asked in graph.items():
        for lock in asked:
            back.setdefault(lock, {})[held] = None
    found, done = [], set[LockKey]()
    for lock in graph:
        if lock not in done:
            both = _reached(lock, graph) & _reached(lock, back)
            done |= both
            if both:
                found.append(tuple(one for one in graph if one in both))
    return found


def _reached(start: LockKey, graph: Mapping[LockKey, Iterable[LockKey]]) -> set[LockKey]:
    """What can be reached by one edge or more."""
    seen: set[LockKey] = set()
    stack = [start]
    while stack:
        new = set(graph.get(stack.pop(), ())) - seen
        seen |= new
        stack += new
    return seen


# --- cycles


def _walks(locks: tuple[LockKey, ...], graph: Graph) -> Iterator[tuple[LockKey, ...]]:
    """For each edge of a part the shortest way round that begins with it."""
    members = set(locks)
    for held in locks:
        for asked in graph[held]:
            if asked in members:
                yield (held, *_shortest(asked, held, graph, members))


def _shortest(start: LockKey, end: LockKey, graph: Graph, members: set[LockKey]) -> list[LockKey]:
    """The locks on the shortest way from one to the other, which is left out."""
    came: dict[LockKey, LockKey] = {start: start}
    queue = deque([start])
    while end not in came and queue:
        lock = queue.popleft()
        for asked in graph[lock]:
            if asked in members and asked not in came:
                came[asked] = lock
                queue.append(asked)
    way = [end]
    while way[-1] != start:
        way.append(came[way[-1]])
    return way[:0:-1]


def _round(walk: tuple[LockKey, ...], graph: Graph, waits: Waits) -> list[Edge]:
    """A way round with the builds that go it: if possible such that each may be there with the next."""
    steps = list(zip(walk, (*walk[1:], walk[0]), strict=True))
    if len(steps) == 1:
        steps *= 2
    choices = [graph[held][asked][:_CHOICES] for held, asked in steps]
    chosen = next(_rounds(choices, waits), [each[0] for each in choices])
    edges = [_edge(wait, held, asked, waits) for wait, (held, asked) in zip(chosen, steps, strict=True)]
    if len(walk) == 1 and _kind(edges[0]) == _kind(edges[1]):
        edges.pop()
    return edges


def _rounds(choices: list[list[Wait]], waits: Waits, chosen: tuple[Wait, ...] = ()) -> Iterator[list[Wait]]:
    """Ways to choose one of each so that each may be there with the one before it, and the last with the first."""
    if len(chosen) == len(choices):
        if _meet(chosen[-1], chosen[0], waits):
            yield list(chosen)
        return
    for wait in choices[len(chosen)]:
        if not chosen or _meet(chosen[-1], wait, waits):
            yield from _rounds(choices, waits, (*chosen, wait))


def _meet(a: Wait, b: Wait, waits: Waits) -> bool:
    return any(waits.together(a, b, common) for common in meetings(a, b))


def _edge(wait: Wait, held: LockKey, asked: LockKey, waits: Waits) -> Edge:
    node = waits.views.node
    holder = next(n for n, member in enumerate(wait.chain) if held in map(node, member.held))
    member = wait.chain[holder]
    asks = holder == len(wait.chain) - 1  # what its step claims it has not
    by_step = member.stage is not None and not asks and _names(member.stage.on(member.worker), held, node)
    claimed = member.stage.place if by_step and member.stage is not None else member.builder.place
    if not by_step and member.stage is not None and _names(member.stage.held_on(member.worker), held, node):
        claimed = member.stage.held_place
    exclusive = any(node(ask.lock) == asked and ask.units == WHOLE for asks in wait.alternatives for ask in asks)
    return Edge(
        held=held,
        asked=asked,
        chain=tuple(_link(one) for one in wait.chain),
        holder=holder,
        claimed=claimed,
        by_step=by_step,
        whole=(any(units == WHOLE for lock, units in member.held.items() if node(lock) == held), exclusive),
    )


def _names(accesses: Iterable[Access], lock: LockKey, node: Callable[[LockKey], LockKey]) -> bool:
    return any(node(access.lock) == lock for access in accesses)


def _link(member: Member) -> Link:
    stage = member.stage
    if stage is None:
        return Link(member.builder.name, member.worker, 0, "", member.builder.place)
    return Link(member.builder.name, member.worker, stage.number, stage.name, stage.place)


# --- what is told once


def _sort(lock: LockKey) -> Sort:
    """What is the same of a lock on all workers; of slots and of directories, all of them."""
    return lock.kind, "" if lock.kind in ("slot", "builddir") else lock.name, lock.where


def _kind(edge: Edge) -> tuple[object, ...]:
    """What is the same of an edge on all workers."""
    return _sort(edge.held), _sort(edge.asked), tuple((link.builder, link.number) for link in edge.chain), edge.holder


def _edges(components: list[tuple[LockKey, ...]], graph: Graph, waits: Waits) -> list[Edge]:
    """One edge of each kind that is part of a cycle."""
    found: dict[tuple[object, ...], Edge] = {}
    for locks in components:
        members = set(locks)
        for held in locks:
            for asked, there in graph[held].items():
                for wait in there if asked in members else ():
                    edge = _edge(wait, held, asked, waits)
                    found.setdefault(_kind(edge), edge)
    return list(found.values())


def _with_others(found: list[Edge], edges: list[Edge]) -> tuple[Edge, ...]:
    """The edges of a cycle, with the builders that hold and ask likewise and are not in it themselves."""
    known = {link.builder for edge in found for link in edge.chain}
    result = []
    for edge in found:
        alike = [one for one in edges if (_sort(one.held), _sort(one.asked)) == (_sort(edge.held), _sort(edge.asked))]
        holder = edge.chain[edge.holder].builder
        holders = dict.fromkeys(one.chain[one.holder].builder for one in alike)
        askers = dict.fromkeys(one.chain[-1].builder for one in alike if one.chain[one.holder].builder == holder)
        others = [tuple(name for name in names if name not in known) for names in (holders, askers)]
        below = edge.holder < len(edge.chain) - 1
        result.append(structs.replace(edge, holders=others[0], askers=others[1] if below else ()))
    return tuple(result)


def _turned(walk: list[_T]) -> tuple[_T, ...]:
    """The same way round, whatever it began with."""
    return min(tuple(walk[n:] + walk[:n]) for n in range(len(walk)))
