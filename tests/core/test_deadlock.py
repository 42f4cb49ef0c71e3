"""Where builds of a set-up could wait for one another for ever (L50), beside the search that is obviously right."""

import random
from collections.abc import Iterable

import pytest

from lockstep.core.deadlock import Edge, cyclic, deadlocks
from lockstep.core.nouns import UNLIMITED, Access, Alternative, LockKey, Mode, Need
from lockstep.core.values import BuilderSetup, LockSetup, PoolSetup, Setup, Stage, UnitSetup, WorkerSetup

from .stuck import Search

A, B, C = (LockKey("master", name) for name in "abc")


def use(lock: LockKey, count: int = 1) -> Access:
    return Access(lock, "counting", count)


def whole(lock: LockKey) -> Access:
    return Access(lock, "exclusive")


def step(number: int, *accesses: Access, children: Iterable[str] = ()) -> Stage:
    need = Need((Alternative("", accesses),)) if accesses else None
    return Stage(number=number, name=f"step{number}", place=f"line {number}", need=need, children=tuple(children))


def builder(name: str, own: Iterable[Access], *stages: Stage, workers: Iterable[str] = ("w", "v")) -> BuilderSetup:
    alternatives = []
    for worker in workers:
        place = (use(LockKey("slot", "", worker)), whole(LockKey("builddir", name, worker)))
        alternatives.append(Alternative(worker, (*place, *own)))
    return BuilderSetup(name=name, workers=tuple(workers), need=Need(tuple(alternatives)), place=name, stages=stages)


def farm(*builders: BuilderSetup, slots: int | None = None, limits: dict[LockKey, int] | None = None) -> Setup:
    locks = dict.fromkeys((A, B, C), 1) | (limits or {})
    for one in builders:
        for alternative in one.planned.alternatives:
            for access in alternative.accesses:
                default = (slots or UNLIMITED) if access.lock.kind == "slot" else 1
                locks.setdefault(access.lock, default)
    workers = tuple(WorkerSetup(name=name, max_builds=slots) for name in ("w", "v"))
    setups = tuple(LockSetup(lock, limit) for lock, limit in locks.items())
    return Setup(builders=builders, locks=setups, workers=workers)


def short(edge: Edge) -> str:
    """`parent>child[lock that is held] lock that is asked for`."""
    return f"{'>'.join(link.builder for link in edge.chain)}[{edge.held}] {edge.asked}"


def told(setup: Setup) -> list[str]:
    """The cycles in short."""
    return [", ".join(map(short, cycle.edges)) for cycle in deadlocks(setup).cycles]


def edges(setup: Setup) -> list[str]:
    """The edges of all cycles in short."""
    return list(map(short, deadlocks(setup).edges))


NESTED = (builder("x", [use(A)], step(1, use(B))), builder("y", [use(B)], step(1, use(A))))


def test_L50_locks_in_two_orders() -> None:
    setup = farm(*NESTED)
    assert told(setup) == ["x[a] b, y[b] a"]
    (part,) = cyclic(setup)
    assert (part.locks, part.builders) == ((A, B), ("x", "y"))
    (edge, _) = deadlocks(setup).cycles[0].edges
    assert (edge.claimed, edge.by_step, edge.chain[0].step, edge.chain[0].place) == ("x", False, "step1", "line 1")


def test_one_order_is_no_cycle() -> None:
    assert not told(farm(builder("x", [use(A)], step(1, use(B))), builder("y", [use(B)], step(1, use(C)))))


def test_a_ring_of_three() -> None:
    three = [builder(f"{p}", [use(p)], step(1, use(q))) for p, q in ((A, B), (B, C), (C, A))]
    assert told(farm(*three)) == ["a[a] b, b[b] c, c[c] a"]


def test_one_builder_may_meet_itself_only_on_another_worker() -> None:
    itself = builder("x", [use(A)], step(1, use(B)), step(2, use(C)))
    assert not told(farm(itself, limits={A: 2}))


@pytest.mark.parametrize(("limit", "cycles"), [(2, 1), (3, 0)])
def test_a_limit_that_all_builds_fit_into_refuses_nobody(limit: int, cycles: int) -> None:
    """Of `y` only two builds can be there, one on each worker."""
    setup = farm(
        builder("x", [use(A)], step(1, use(B))),
        builder("y", [use(B)], step(1, use(A))),
        limits={B: limit},
    )
    assert len(told(setup)) == cycles


def test_what_nobody_can_hold_with_another_is_no_cycle() -> None:
    """A lock that both builders claim whole keeps them apart."""
    assert not told(
        farm(builder("x", [whole(C), use(A)], step(1, use(B))), builder("y", [use(C), use(B)], step(1, use(A))))
    )


def test_L53_a_child_may_use_what_its_parent_holds() -> None:
    parent, child = builder("p", [whole(A)], step(1, children=["c"])), builder("c", [use(A)])
    assert not told(farm(parent, child))


def test_L53_a_child_that_needs_more_than_its_parent_holds_is_an_edge_from_a_lock_to_itself() -> None:
    parent, child = builder("p", [use(A)], step(1, children=["c"])), builder("c", [whole(A)])
    assert told(farm(parent, child, limits={A: 2})) == ["p>c[a] a"]
    assert not told(farm(parent, child, limits={A: 1}))  # two parents can not be there


def test_L53_a_grandchild_may_use_what_its_grandparent_holds() -> None:
    """But the child may find its directories taken, by builds that nobody waits for and that want the lock, too."""
    setup = farm(
        builder("g", [whole(A)], step(1, children=["p"])),
        builder("p", [], step(1, children=["c"])),
        builder("c", [use(A)]),
    )
    assert told(setup) == ["g>p[a] build directory p on w, p>c[build directory p on w] a"]
    assert not told(farm(setup.builders[0], builder("p", [use(A)], step(1, children=["c"])), setup.builders[2]))


def test_two_children_of_one_parent_that_lends_may_block_each_other() -> None:
    setup = farm(
        builder("p", [whole(A)], step(1, children=["c", "d"])),
        builder("c", [use(A)], step(1, use(B))),
        builder("d", [use(B)], step(1, use(A))),
    )
    assert "p>c[a] b, p>d[b] a" in told(setup)


def test_only_who_borrows_from_the_same_build_can_refuse_what_it_lends() -> None:
    """A child of `p` gets its unit of a, whoever has the other; a build that nobody waits for may not."""
    setup = farm(
        builder("p", [use(A)], step(1, children=["c", "d"])),
        builder("c", [use(B)], step(1, use(A))),
        builder("d", [], step(1, use(B))),
        builder("y", [use(A)], step(1, use(B))),
        limits={A: 2},
    )
    assert {"y[a] b", "c[b] a"} < set(edges(setup))
    assert "p>c[b] a" not in edges(setup)


def test_a_grandchild_may_find_that_its_uncle_has_borrowed_the_slot() -> None:
    setup = farm(
        builder("g", [], step(1, children=["p", "u"]), workers=["w"]),
        builder("p", [use(B)], step(1, children=["c"]), workers=["v"]),
        builder("u", [], step(1, use(B)), workers=["w"]),
        builder("c", [], workers=["w"]),
        slots=1,
    )
    assert {"g>u[worker w] b", "g>p>c[b] worker w"} < set(edges(setup))


def test_builds_that_need_no_directory_may_be_there_twice_on_one_worker() -> None:
    need = Need((Alternative("w", (use(A),)),))
    parent = BuilderSetup(name="p", workers=("w",), need=need, stages=(step(1, children=["c"]),))
    assert told(farm(parent, builder("c", [whole(A)]), limits={A: 2})) == ["p>c[a] a"]


def test_what_a_step_claims_is_held_while_it_waits_for_builds() -> None:
    setup = farm(
        builder("p", [], step(1, use(A), children=["c"])),
        builder("c", [use(B)]),
        builder("y", [use(B)], step(1, use(A))),
    )
    assert told(setup) == ["p>c[a] b, y[b] a"]
    assert deadlocks(setup).cycles[0].edges[0].by_step


def test_slots_are_locks() -> None:
    """Each parent keeps the only slot that the other's child could use; a child on its parent's worker may use it."""
    parents = (
        builder("p", [], step(1, children=["c"]), workers=["w"]),
        builder("q", [], step(1, children=["d"]), workers=["v"]),
    )
    away = (builder("c", [], workers=["v"]), builder("d", [], workers=["w"]))
    assert told(farm(*parents, *away, slots=1)) == ["p>c[worker w] worker v, q>d[worker v] worker w"]
    assert not told(farm(*parents, *away))
    assert not told(farm(*parents, builder("c", []), builder("d", []), slots=1))


def test_a_child_with_a_free_alternative_waits_for_nobody() -> None:
    local = LockKey("worker", "cpu", "w")
    other = Need((Alternative("w", (use(local),)), Alternative("v", ())))
    stages = step(1, children=["c"])
    cs = BuilderSetup(name="c", workers=("w", "v"), need=other)
    ys = BuilderSetup(
        name="y", workers=("w",), need=Need((Alternative("w", (use(local),)),)), stages=(step(1, use(A)),)
    )
    assert not told(farm(builder("p", [use(A)], stages), cs, ys, limits={local: 1}))
    one = BuilderSetup(name="c", workers=("w",), need=Need(other.alternatives[:1]))
    assert told(farm(builder("p", [use(A)], stages), one, ys, limits={local: 1})) == ["p>c[a] cpu on w, y[cpu on w] a"]


def test_one_cycle_on_many_workers_is_told_once() -> None:
    cpu, disk = ({w: LockKey("worker", name, w) for w in "wv"} for name in ("cpu", "disk"))

    def local(name: str, first: dict[str, LockKey], then: dict[str, LockKey]) -> BuilderSetup:
        need = Need(tuple(Alternative(w, (use(first[w]),)) for w in "wv"))
        later = Need(tuple(Alternative(w, (use(then[w]),)) for w in "wv"))
        return BuilderSetup(name=name, workers=("w", "v"), need=need, stages=(Stage(number=1, name="s", need=later),))

    limits = {lock: 1 for locks in (cpu, disk) for lock in locks.values()}
    found = deadlocks(farm(local("x", cpu, disk), local("y", disk, cpu), limits=limits))
    assert [cycle.times for cycle in found.cycles] == [2]
    assert len(found.parts) == 2


def test_of_cycles_through_the_same_locks_one_is_told_with_the_others_in_it() -> None:
    setup = farm(*NESTED, builder("z", [use(A)], step(1, use(B))))
    (cycle,) = deadlocks(setup).cycles
    assert [edge.holders for edge in cycle.edges] == [("z",), ()]
    assert cyclic(setup)[0].builders == ("x", "z", "y")


def test_too_much_to_look_at_is_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstep.core.deadlock_waits.MAX_DEADLOCK_WAITS", 1)
    found = deadlocks(farm(*NESTED))
    assert (found.complete, found.parts[0].builders, found.cycles) == (False, ("x", "y"), ())
    assert cyclic(farm(*NESTED)) == found.parts


# --- pools

BOARDS = PoolSetup(
    "boards", (UnitSetup("pi-1", ("arm",)), UnitSetup("pi-2", ("arm", "fast")), UnitSetup("nuc", ("amd", "fast")))
)


def boards(where: str = "") -> LockKey:
    return LockKey("pool", "boards", where=where)


def pool_farm(*builders: BuilderSetup) -> Setup:
    plain = farm(*builders)
    limits = tuple(each for each in plain.locks if each.key.kind != "pool")
    return Setup(builders=plain.builders, locks=limits, workers=plain.workers, pools=(BOARDS,))


def crossed(mine: Access, yours: Access, workers: Iterable[str] = ("w", "v")) -> list[str]:
    """The cycles of two builders of which one has units and then wants the lock a, the other the other way round."""
    x = builder("x", [mine], step(1, use(A)), workers=workers)
    y = builder("y", [use(A)], step(1, yours), workers=workers)
    return told(pool_farm(x, y))


def test_a_cycle_through_two_views_of_one_pool_is_a_cycle() -> None:
    assert crossed(use(boards("arm"), 2), use(boards("arm"))) == ["x[boards where arm] a, y[a] boards where arm"]
    assert crossed(use(boards("arm"), 2), use(boards("pi-1"))) == [
        "x[boards where arm or pi-1] a, y[a] boards where arm or pi-1"
    ]
    assert crossed(use(boards("pi-2")), whole(boards())) == ["x[boards] a, y[a] boards"]


def test_views_without_a_unit_in_common_are_two_locks() -> None:
    assert not crossed(use(boards("arm"), 2), use(boards("amd")))
    assert not crossed(whole(boards("arm and not fast")), whole(boards("fast")))


def test_units_that_are_left_whatever_others_take_are_not_waited_for() -> None:
    assert not crossed(use(boards("arm")), use(boards()), workers=("w",)), "one build can take only one of three"
    assert not crossed(use(boards("fast"), 2), use(boards("arm")), workers=("w",)), "only one of those two is arm"
    assert crossed(use(boards("fast"), 2), use(boards("arm"), 2), workers=("w",))


def test_views_are_one_through_others() -> None:
    x = builder("x", [use(boards("arm"), 2)], step(1, use(A)))
    y = builder("y", [use(A)], step(1, use(boards("fast"), 2)))
    z = builder("z", [use(boards("amd"))])
    name = "boards where amd or arm or fast"
    assert told(pool_farm(x, y, z)) == [f"x[{name}] a, y[a] {name}"]


def test_L53_a_child_may_use_the_unit_that_its_parent_holds() -> None:
    child = builder("c", [use(boards("arm"))])
    setup = pool_farm(builder("p", [use(boards("arm"), 2)], step(1, children=["c"])), child)
    assert not told(setup)
    setup = pool_farm(builder("p", [use(boards("fast"), 2)], step(1, children=["c"])), child)
    assert not told(setup), "pi-1 is left, or the parent lends pi-2"


# --- random set-ups


def some(r: random.Random, locks: list[LockKey], limits: dict[LockKey, int], most: int) -> list[Access]:
    found = []
    for lock in r.sample(locks, min(len(locks), r.randint(0, most))):
        mode: Mode = r.choice(("exclusive", "counting"))
        found.append(Access(lock, mode, 1 if mode == "exclusive" else r.randint(1, limits[lock])))
    return found


def a_setup(r: random.Random) -> Setup:
    """A few builders in two levels; those of the first may wait for those of the second."""
    locks = [A, B, C][: r.randint(1, 3)]
    limits = {lock: r.choice((1, 1, 2, 3)) for lock in (A, B, C)}
    names = ["p", "q", "c", "d"]
    built = []
    for name in names[: r.randint(2, 4)] if r.random() < 0.5 else names:
        workers = r.sample(["w", "v"], r.randint(1, 2))
        own = some(r, locks, limits, 2)
        free = [lock for lock in locks if all(access.lock != lock for access in own)]
        stages = []
        for number in range(1, r.randint(1, 3)):
            claims = some(r, free, limits, 1)
            children = r.sample(["c", "d"], r.randint(0, 2)) if name in "pq" and r.random() < 0.7 else []
            stages.append(step(number, *claims, children=[one for one in children if one in names]))
        stages = [stage for stage in stages if stage.need is not None or stage.children]
        built.append(builder(name, own, *stages, workers=workers))
    known = {one.name for one in built}
    built = [
        builder(one.name, (), workers=one.workers) if any(set(s.children) - known for s in one.stages) else one
        for one in built
    ]
    return farm(*built, slots=r.choice((None, None, 1, 2)), limits=limits)


@pytest.mark.parametrize("seed", range(20))
def test_L50_what_builds_can_reach_is_found(seed: int) -> None:
    r = random.Random(seed)
    for _ in range(40):
        setup = a_setup(r)
        left = Search(setup, builds=3, states=400).stuck()
        if left:
            parts = cyclic(setup)
            assert any(left & set(part.builders) for part in parts), (left, parts, setup)


@pytest.mark.parametrize("seed", range(20))
def test_one_order_for_all_is_never_a_cycle(seed: int) -> None:
    """Whoever holds a lock asks only for later ones, and so do the builds that it waits for."""
    r = random.Random(seed)
    locks = [LockKey("master", str(n)) for n in range(9)]
    limits = {lock: r.randint(1, 3) for lock in locks}
    built = []
    for level in range(3):
        for name in (f"{level}a", f"{level}b"):
            first, second, third = locks[3 * level : 3 * level + 3]
            children = [f"{level + 1}a", f"{level + 1}b"] if level < 2 and r.random() < 0.7 else []
            stages = [step(1, *some(r, [second, third], limits, 2))]
            stages.append(step(2, *some(r, [second], limits, 1), children=children))
            own = some(r, [first], limits, 1)
            stages = [stage for stage in stages if stage.need is not None or stage.children]
            built.append(builder(name, own, *stages))
    assert not told(farm(*built, limits=limits))
