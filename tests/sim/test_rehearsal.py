"""Rehearsals against what can be worked out by hand: the core decides, the arithmetic here is another."""

from random import Random
from statistics import fmean

import pytest
from msgspec import structs

from lockstep.core.forecast import OWN_WORKER, Phase
from lockstep.core.nouns import Access, Alternative, LockKey, Need, Patience, Result
from lockstep.core.state import slot_key
from lockstep.core.values import BuilderSetup, LockSetup, PoolSetup, QueueRule, Setup, Stage, UnitSetup, WorkerSetup
from lockstep.sim.change import with_copy
from lockstep.sim.figures import figures
from lockstep.sim.load import SPREAD, assumed, recorded
from lockstep.sim.rehearsal import Ask, Load, Played, Rehearsal, Work
from lockstep.storage.past import PastBuild, PastRequest, PastStep

HOUR, DAY = 3600.0, 86400.0
BOARDS, DB = LockKey("master", "boards"), LockKey("master", "db")
CPU = LockKey("worker", "cpu", OWN_WORKER)


def exclusive(key: LockKey) -> Access:
    return Access(key, "exclusive")


def farm(builders: dict[str, tuple[Access, ...]], workers: int = 1, slots: int = 1, boards: int = 1) -> Setup:
    """Workers with slots and `cpu`, each of them for every builder; the locks of builds."""
    names = [f"w{number}" for number in range(workers)]
    made = [
        BuilderSetup(
            name=name,
            workers=tuple(names),
            need=Need(tuple(Alternative(worker, (Access(slot_key(worker)), *own)) for worker in names)),
        )
        for name, own in builders.items()
    ]
    locks = [LockSetup(BOARDS, boards), LockSetup(DB, 1)]
    for name in names:
        locks += [LockSetup(slot_key(name), slots), LockSetup(LockKey("worker", "cpu", name), 1)]
    machines = tuple(WorkerSetup(name=name, max_builds=slots) for name in names)
    return Setup(workers=machines, builders=tuple(made), locks=tuple(locks))


def play(setup: Setup, load: Load, span: float) -> Played:
    return Rehearsal(setup, span).play(load)


def job(seconds: float, *accesses: Access) -> Work:
    return Work(Phase(seconds, accesses))


def test_units_of_a_pool_are_used_as_their_names_allow() -> None:
    pool = PoolSetup("boards", (UnitSetup("pi", ("arm",)), UnitSetup("nuc")))
    setup = farm({"a": (Access(LockKey("pool", "boards", where="arm")),), "any": ()}, slots=9)
    setup = structs.replace(setup, pools=(pool,))
    anything = job(100, Access(LockKey("pool", "boards")))
    played = play(
        setup, [(0.0, Ask("a", (job(100),))), (10.0, Ask("a", (job(100),))), (20.0, Ask("any", (anything,)))], 400
    )
    assert [story.started for story in played.stories] == [0, 100, 20]
    use = played.uses[LockKey("pool", "boards")]
    assert (use.limit, use.levels) == (2, {0: 200, 1: 100, 2: 100})


def test_waits_at_one_slot_are_those_of_lindleys_recursion() -> None:
    chance = Random(7)
    at, load = 0.0, []
    for _ in range(500):
        at += chance.expovariate(1 / 60)
        load.append((at, Ask("a", (job(chance.expovariate(1 / 50)),))))
    played = play(farm({"a": ()}), load, at)
    wait, expected = 0.0, []
    for number, (when, ask) in enumerate(load):
        if number:
            before, its = load[number - 1]
            wait = max(0.0, wait + its.work[0].phase.seconds - (when - before))
        expected.append(wait)
        assert ask.builder == "a"
    assert [story.waited for story in played.stories] == pytest.approx(expected)
    assert figures(played).total.mean == pytest.approx(fmean(expected))


def test_the_mean_wait_of_an_assumed_load_is_that_of_the_formula() -> None:
    setup = farm({"a": ()})
    made = assumed(setup, {}, {"a": 3.0}, {"a": 600.0}, 400 * DAY, seed=1)
    squares = 600.0**2 * 2.718281828 ** (SPREAD**2)
    expected = (3 / HOUR) * squares / (2 * (1 - 3 * 600 / HOUR))  # Pollaczek and Khinchine
    found = figures(play(setup, made.asks, made.span))
    assert found.total.mean == pytest.approx(expected, rel=0.1)
    [slot] = [used for used in found.uses if used.key == slot_key("w0")]
    assert slot.share == pytest.approx(0.5, rel=0.05)


def test_the_same_seed_is_the_same_load_and_another_is_not() -> None:
    setup = farm({"a": ()})
    one, same, other = (assumed(setup, {}, {"a": 3.0}, {"a": 600.0}, DAY, seed).asks for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_step_claims_the_lock_of_the_worker_that_its_build_runs_on() -> None:
    work = (job(10), job(100, exclusive(CPU)))
    played = play(farm({"a": ()}, workers=2, slots=2), [(0.0, Ask("a", work))] * 4, 1000.0)
    assert sorted(story.step_waits for story in played.stories) == [0, 0, 100, 100]
    assert {story.worker for story in played.stories} == {"w0", "w1"}
    assert max(story.ended for story in played.stories) == 210


def test_use_is_that_of_the_time_in_which_requests_came() -> None:
    load = [(0.0, Ask("a", (job(100, Access(BOARDS)),))), (200.0, Ask("a", (job(500, Access(BOARDS)),)))]
    uses = {used.key: used for used in figures(play(farm({"a": ()}, boards=4), load, 400.0)).uses}
    assert uses[BOARDS].average == (100 + 200) / 400
    assert uses[BOARDS].share == 300 / 1600
    assert (uses[BOARDS].peak, uses[BOARDS].idle, uses[DB].idle) == (1, 3, 1)


def test_a_build_waits_for_the_builds_that_its_step_starts() -> None:
    child = Ask("child", (job(30),))
    load = [(0.0, Ask("parent", (Work(Phase(10.0), (child, child)),)))]
    played = play(farm({"parent": (), "child": ()}, slots=2), load, 100.0)
    parent, *children = played.stories
    assert [story.started for story in children] == [0, 0]  # one on the slot that is free, one on its parent's (L53)
    assert all(story.child for story in children)
    assert parent.ended == 40
    [slot] = [used for used in figures(played).uses if used.key == slot_key("w0")]
    assert (slot.peak, slot.average) == (2, 0.7)


def test_a_ring_is_told_and_its_builds_end() -> None:
    one, two = (exclusive(BOARDS),), (exclusive(DB),)
    load = [(0.0, Ask("a", (job(10), job(10, *two)))), (0.0, Ask("b", (job(10), job(10, *one))))]
    found = figures(played := play(farm({"a": one, "b": two}, slots=2), load, 100.0))
    assert (found.rings, found.put_back) == (1, 1)
    assert all(story.ended > 0 for story in played.stories)


def test_who_never_gets_what_it_needs_is_told_with_the_reason() -> None:
    found = figures(play(farm({"a": (Access(BOARDS, "counting", 3),)}, boards=2), [(0.0, Ask("a", (job(1),)))], 10.0))
    [(name, (count, why))] = found.stuck.items()
    assert (name, count) == ("a", 1)
    assert "boards" in why
    assert found.total.count == 0


def test_a_builder_that_others_always_pass_starves() -> None:
    load = [(float(at), Ask("often", (job(10),), priority=1)) for at in (0, *range(5, 2000, 10))]
    load.insert(2, (1.0, Ask("seldom", (job(10),))))
    found = figures(play(farm({"often": (), "seldom": ()}), load, 2000.0))
    assert found.starving == ("seldom",)
    assert found.worst[0].builder == "seldom"
    assert found.worst[0].passed >= 8


def test_requests_that_are_alike_are_merged_while_they_wait() -> None:
    load = [(float(at), Ask("a", (job(100),), alike="x")) for at in (0, 1, 2, 3)]
    load.append((4.0, Ask("a", (job(100),), alike="y")))
    found = figures(play(farm({"a": ()}), load, 10.0))
    assert (found.merged, found.total.count) == (2, 3)


def test_rules_that_end_a_wait_end_it_and_are_told() -> None:
    hasty = Access(BOARDS, "exclusive", 1, 0.0, Patience(Result.SKIPPED, seconds=50.0))
    setup = farm({"long": (exclusive(BOARDS),), "hasty": (hasty,), "deploy": (exclusive(DB),)}, slots=9)
    setup = structs.replace(setup, queues=(QueueRule("master", "db", 1),))
    load = [(0.0, Ask("long", (job(100),))), (10.0, Ask("hasty", (job(1),))), (70.0, Ask("hasty", (job(1),)))]
    load += [(float(at), Ask("deploy", (job(1000),))) for at in (80, 81, 82, 83)]
    found = figures(played := play(setup, load, 200.0))
    assert found.gave_up == {"hasty": 1, "deploy": 2}
    assert [story.ended for story in played.stories[:3]] == [100, 60, 101]
    assert (found.requests, found.total.count, found.backlog) == (7, 4, 1)


def test_a_copy_of_a_worker_halves_the_queue() -> None:
    setup = farm({"a": ()})
    load = [(0.0, Ask("a", (job(100, exclusive(CPU)),)))] * 4
    changed = with_copy(setup, "w0", "w0+1")
    assert changed.builders[0].workers == ("w0", "w0+1")
    assert max(story.ended for story in play(setup, load, 1.0).stories) == 400
    played = play(changed, load, 1.0)
    assert max(story.ended for story in played.stories) == 200
    assert [story.step_waits for story in played.stories] == [0] * 4


# --- recorded loads


def request(brid: int, builder: str, at: float, build: PastBuild | None = None, **more: object) -> PastRequest:
    return PastRequest(brid, builder, at, 0, "", build=build, **more)  # type: ignore[arg-type]


def test_locks_of_recorded_steps_are_those_of_the_configuration_now() -> None:
    plain = farm({"a": ()}).builders[0]
    stages = (
        Stage(number=1, name="flash", need=Need((Alternative("", (Access(BOARDS),)),))),
        Stage(number=2, name="rendered", open=True),
    )
    setup = farm({})
    setup = Setup(
        workers=setup.workers,
        locks=setup.locks,
        builders=(BuilderSetup(name="a", workers=plain.workers, need=plain.need, stages=stages),),
    )
    gone = exclusive(LockKey("master", "gone"))
    steps = tuple(
        PastStep(number, name, 10.0, (exclusive(DB), gone))
        for number, name in enumerate(("flash", "rendered", "plain", "elsewhere"), 1)
    )
    build = PastBuild(1, 1000.0, steps, 5.0)
    made = recorded(setup, {"a": ["flash", "rendered", "plain"]}, [request(1, "a", 1000.0, build)], 60.0, 1)
    [(at, ask)] = made.asks
    assert at == 0
    assert [work.phase.accesses for work in ask.work] == [
        (Access(BOARDS),),
        (exclusive(DB),),
        (),
        (exclusive(DB),),
        (),
    ]


def test_recorded_children_come_with_the_build_that_starts_them() -> None:
    setup = farm({"parent": (), "child": ()}, slots=2)
    parent = PastBuild(1, 6.0, (PastStep(1, "trigger", 10.0),), 0.0)
    child = PastBuild(2, 25.0, (PastStep(1, "work", 30.0),), 0.0)
    requests = [
        request(1, "parent", 0.0, parent),
        request(2, "child", 5.0, child, parent=(1, 1), awaited=True),
        request(3, "child", 20.0, child, parent=(99, 1)),
        request(4, "renamed", 20.0),
        request(5, "parent", 100.0),
    ]
    made = recorded(setup, {}, requests, 60.0, 1)
    assert [(at, ask.builder) for at, ask in made.asks] == [(0.0, "parent"), (100.0, "parent")]
    assert made.notes == ["Left out, for these builders are not in the configuration: 'renamed' (1)."]
    assert (made.span, made.waited) == (110, (6 + 20 + 5) / 3)
    played = play(setup, made.asks, made.span)
    assert [(s.ask.builder, s.ended) for s in played.stories] == [
        ("parent", 40),
        ("child", 30),
        ("parent", 140),
        ("child", 130),
    ]
