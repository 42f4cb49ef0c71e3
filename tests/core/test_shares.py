"""Locks that projects have by weight: who comes first, and what that does not change."""

from collections import Counter
from random import Random

import pytest

from lockstep.core.alloc_classes import ClaimClass
from lockstep.core.alloc_facts import AllocatorSnapshot, Part, PoolState
from lockstep.core.alloc_items import Share, Standing
from lockstep.core.alloc_part import give_back
from lockstep.core.alloc_shares import Shares
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import LockKey
from lockstep.core.values import ShareRule, UnitSetup

from .compare import differs, drained, over_the_wire
from .farm import DB, NET, Farm, need, on_workers, slot, units, whole
from .sharing import SharedPlannedWorld, SharedPoolWorld, SharedWorld


def share(*locks: LockKey, workers: tuple[str, ...] = (), name: str = "s", **weights: int) -> ShareRule:
    """A rule; who is not named has the weight 1."""
    parties = tuple(sorted(({"*": 1} | weights).items()))
    return ShareRule(name, parties, tuple((lock.kind, lock.name) for lock in locks), workers)


class Shared(Farm):
    """A farm whose claims are of projects."""

    def __init__(self, limits: dict[LockKey, int], *rules: ShareRule, k: int = 8) -> None:
        super().__init__(limits, k)
        self.allocator.set_shares(rules)

    def want(self, project: str, what: object, **more: object) -> int:
        self.allocator.set_project(self.last + 1, project)
        return self.ask(what, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("restart", [False, True])
def test_quick_and_dumb_decide_the_same_where_projects_have_shares(restart: bool) -> None:
    for seed in (*range(40), 30850):
        assert not (difference := differs(seed, kind=SharedWorld, restart=restart)), difference
    for seed in range(10):
        assert not (difference := differs(seed, kind=SharedPoolWorld, restart=restart)), difference
        assert not (difference := differs(seed, kind=SharedPlannedWorld, restart=restart)), difference


@pytest.mark.soak
@pytest.mark.parametrize("block", range(30))
@pytest.mark.parametrize("kind", [SharedWorld, SharedPoolWorld, SharedPlannedWorld])
def test_quick_and_dumb_decide_the_same_in_many_worlds_with_shares(kind: type[SharedWorld], block: int) -> None:
    for seed in range(30_000 + block * 30, 30_030 + block * 30):
        assert not (difference := differs(seed, kind=kind, restart=seed % 3 == 0)), difference


def test_everything_that_can_finish_does() -> None:
    for seed in range(20_000, 20_060):
        assert not drained(seed, SharedWorld), f"seed {seed}"


def step_by_step(seed: int) -> set[int]:
    """A small world of builds some of which take another lock while they run. Who waits still when all have ended."""
    draw = Random(seed)
    farm = Shared({DB: 4, NET: 1}, share(DB, apps=1, docs=1), k=draw.choice((0, 1, 2)))
    needs = (units(1), units(2), units(3), whole(NET), need(units(1), whole(NET)), need(units(2), whole(NET)))
    running: list[int] = []
    steps: dict[int, int] = {}
    asked = 0
    granted: list[int] = []
    while asked < 25 or running:
        if asked < 25 and draw.random() < 0.6:
            asked += 1
            farm.want(draw.choice(("apps", "docs", "tools")), draw.choice(needs), level=draw.choice((0, 0, 5)))
            granted = farm.decide()
        elif running:
            owner = running.pop(draw.randrange(len(running)))
            has = {lock.key for lock, _ in farm.allocator.board.hold_locks[farm.hold_of[owner]]}
            if NET not in has and draw.random() < 0.4:
                steps[farm.step(owner, whole(NET))] = owner
                granted = farm.decide()
            else:
                granted = farm.end(owner)
        while granted:
            running += [each for each in granted if each not in steps]
            ended = [each for each in granted if each in steps]
            running += [steps[each] for each in ended]
            granted = [other for each in ended for other in farm.end(each)]
    return set(farm.allocator.waiting)


def test_builds_that_take_more_while_they_run_all_end() -> None:
    for seed in range(60):
        assert not step_by_step(seed), f"seed {seed}"


def test_who_has_its_share_comes_after_who_has_less() -> None:
    farm = Shared({DB: 4}, share(DB, apps=1, docs=1))
    mine = [farm.want("apps", units(1)) for _ in range(8)]
    assert farm.decide() == mine[:4], "nobody else is there: what is free is borrowed"
    theirs = [farm.want("docs", units(1)) for _ in range(3)]
    assert farm.end(mine[0]) == [theirs[0]]
    assert farm.end(mine[1]) == [theirs[1]]
    assert farm.end(mine[2]) == [mine[4]], "docs has 2 of 4, which is more than a third: so it has its share, as apps"


def test_a_barrier_of_who_has_its_share_stops_nobody_who_has_less() -> None:
    farm = Shared({DB: 4}, share(DB, apps=1, docs=1), k=1)
    mine = [farm.want("apps", units(1)) for _ in range(4)]
    assert farm.decide() == mine
    large = farm.want("apps", units(3))
    theirs = [farm.want("docs", units(1)) for _ in range(4)]
    assert farm.end(mine[0]) == [theirs[0]]
    assert farm.end(mine[1]) == [theirs[1]], "the large one is overtaken, and a barrier"
    assert farm.allocator.reasons.pin(large) == 0
    assert farm.end(mine[2]) == [], "now apps has less than its share, too, and its barrier stops everybody"
    assert farm.end(theirs[0]) == []
    assert farm.end(theirs[1]) == [large]


def test_what_a_project_got_later_keeps_nobody_of_it_waiting() -> None:
    """Its own younger builds use up the share on one worker, others keep the other one busy: yet it gets its turn."""
    farm = Shared({slot("a"): 1, slot("b"): 1}, share(workers=("a", "b"), apps=1, docs=1), k=2)
    farm.want("docs", on_workers("a"))
    farm.decide()
    old = farm.want("apps", on_workers("a"))
    running, other = 1, 0
    for _ in range(12):
        new = farm.want("apps", on_workers("b"))
        granted = farm.end(other) if other else farm.decide()
        assert granted == [new]
        other = new
        waiting = farm.want("docs", on_workers("a"))
        granted = farm.end(running)
        if granted == [old]:
            return
        assert granted == [waiting]
        running = waiting
    raise AssertionError("it was passed again and again")


@pytest.mark.parametrize(("weight", "granted"), [(1, 10), (2, 13), (3, 15)])
def test_turns_at_a_lock_for_one_go_by_weight(weight: int, granted: int) -> None:
    farm = Shared({DB: 1}, share(DB, apps=weight, docs=1), k=100)
    for _ in range(20):
        farm.want("apps", whole())
    waiting = {farm.want("docs", whole()): "docs" for _ in range(20)}
    (now,) = farm.decide()
    count = Counter([waiting.get(now, "apps")])
    for _ in range(19):
        (now,) = farm.end(now)
        count[waiting.get(now, "apps")] += 1
    assert count["apps"] == granted


def test_L42_who_was_passed_too_often_comes_first_whosever_turn_it_is() -> None:
    farm = Shared({DB: 1}, share(DB, apps=1, docs=3), k=2)
    now = farm.want("apps", whole())
    farm.decide()
    old = [farm.want("apps", whole()) for _ in range(2)]
    new = [farm.want("docs", whole()) for _ in range(4)]
    order = []
    for _ in range(4):
        (now,) = farm.end(now)
        order.append(now)
    assert order == [new[0], new[1], old[0], old[1]]


def test_who_was_away_does_not_save_its_turns_up() -> None:
    farm = Shared({DB: 1}, share(DB, apps=1, docs=1), k=100)
    now = farm.want("apps", whole())
    farm.decide()
    for _ in range(10):
        farm.want("apps", whole())
        (now,) = farm.end(now)
    late = [farm.want("docs", whole()) for _ in range(3)]
    mine = [farm.want("apps", whole()) for _ in range(3)]
    order = []
    for _ in range(6):
        (now,) = farm.end(now)
        order.append(now)
    assert order == [late[0], late[1], mine[0], late[2], mine[1], mine[2]], "its turn, a draw, and then by turns"


def test_projects_that_are_not_named_have_one_share_together() -> None:
    farm = Shared({DB: 4}, share(DB, apps=3))
    held = [farm.want(project, units(1)) for project in ("tools", "", "docs", "tools")]
    assert farm.decide() == held
    mine = [farm.want("apps", units(1)) for _ in range(3)]
    others = farm.want("games", units(1))
    assert [farm.end(each) for each in held[:3]] == [[each] for each in mine]
    assert farm.end(mine[0]) == [others], "the others have 1 of 4, apps has 2 of its 3; it waits for nothing"


def test_priority_counts_within_what_a_project_may_have() -> None:
    farm = Shared({DB: 2}, share(DB, apps=1, docs=1))
    held = [farm.want("apps", units(1), level=5) for _ in range(2)]
    assert farm.decide() == held
    high = farm.want("apps", units(1), level=9)
    low = farm.want("docs", units(1), level=-3)
    assert farm.end(held[0]) == [low]
    assert farm.end(held[1]) == [high]


def test_a_running_build_gets_on_whatever_its_project_has() -> None:
    farm = Shared({DB: 2, NET: 1}, share(DB, NET, apps=1, docs=1))
    first, second = farm.get(units(1)), farm.get(units(1))
    for owner in (first, second):
        farm.allocator.set_project(owner, "apps")
    blocker = farm.want("docs", whole(NET))
    assert farm.decide() == [blocker]
    waiting = farm.want("docs", whole(NET))
    step = farm.step(first, whole(NET))
    assert farm.decide() == []
    assert farm.end(blocker) == [step]
    assert waiting in farm.allocator.waiting


def test_what_is_given_back_early_counts_no_more() -> None:
    farm = Shared({DB: 4, NET: 1}, share(DB, apps=1, docs=1))
    mine, theirs = farm.want("apps", need(units(2), whole(NET))), farm.want("docs", units(2))
    assert farm.decide() == [mine, theirs]
    farm.want("docs", units(2))
    waiting = farm.want("apps", units(2))
    assert farm.decide() == []
    give_back(farm.allocator, farm.hold_of[mine], {DB})
    assert farm.decide() == [waiting]


def test_units_of_a_pool_count_once_whatever_they_are_asked_for() -> None:
    boards = LockKey("pool", "boards")
    arm = LockKey("pool", "boards", where="arm")
    farm = Shared({}, share(boards, apps=1, docs=1))
    farm.allocator.set_pool("boards", [UnitSetup(f"u{n}", ("arm",) if n < 2 else ()) for n in range(4)])
    mine = [farm.want("apps", units(1, arm)) for _ in range(2)] + [
        farm.want("apps", units(1, boards)) for _ in range(2)
    ]
    assert farm.decide() == mine
    more = farm.want("apps", units(1, boards))
    theirs = farm.want("docs", units(1, arm))
    assert farm.end(mine[2]) == [more], "the one of docs needs another kind"
    assert farm.end(mine[0]) == [theirs]


def test_L80_who_is_to_be_next_is_next_whatever_is_shared() -> None:
    farm = Shared({DB: 2}, share(DB, apps=1, docs=1))
    person = [farm.ask(units(1), retryable=False) for _ in range(2)]
    assert farm.decide() == person
    urgent = farm.ask(units(1), since=-1, retryable=False)
    farm.want("docs", units(1))
    assert farm.end(person[0]) == [urgent]


def test_where_nothing_is_there_nobody_has_a_share() -> None:
    """A worker is away: whoever could run there comes on another as if nothing were shared."""
    farm = Shared({slot("a"): 0, slot("b"): 1}, share(workers=("a",), apps=1, docs=1), k=2)
    now = farm.want("apps", on_workers("b"))
    farm.decide()
    old = farm.want("apps", on_workers("a", "b"), level=5)
    farm.want("docs", on_workers("b"))
    assert farm.end(now) == [old]


def test_turns_do_not_grow_for_ever() -> None:
    farm = Shared({DB: 1 << 40}, share(DB, apps=1, docs=1))
    now = farm.want("apps", whole())
    farm.decide()
    for _ in range(100):
        farm.want("apps", whole())
        (now,) = farm.end(now)
    ((_, turn),) = farm.allocator.reasons.shares.memories()[0].turns
    assert turn < 1 << 63, "what a database can take"


def test_L60_all_units_of_a_pool_are_counted_after_a_restart_though_only_some_were_asked_for() -> None:
    boards = LockKey("pool", "boards")
    units_of = tuple(UnitSetup(f"u{n}", ("arm",)) for n in range(4))
    snapshot = AllocatorSnapshot(
        pools=(PoolState("boards", units=units_of, wear=(0,) * 4, start=(0,) * 4),),
        shares=(share(boards, apps=1, docs=1),),
    )
    farm = Shared({})
    farm.allocator = Allocator.restore(snapshot)
    arm = LockKey("pool", "boards", where="arm")
    mine = [farm.want("apps", units(1, arm)) for _ in range(4)]
    assert farm.decide() == mine
    late = farm.want("apps", units(1, arm))
    assert farm.decide() == []
    assert farm.allocator.reasons.shares.full(late) == Part("apps", 1, 4, 4 / 3)


def test_L93_what_each_has_is_told_of_each_lock_and_of_all_that_is_shared() -> None:
    boards = LockKey("pool", "boards")
    farm = Shared({DB: 4, NET: 9}, share(DB, boards, apps=3, docs=1))
    farm.allocator.set_pool("boards", tuple(UnitSetup(f"u{n}", ("arm",)) for n in range(2)))
    farm.want("apps", units(2))
    farm.want("docs", need(units(1), units(1, LockKey("pool", "boards", where="arm"))))
    farm.want("other", units(1, NET))
    assert len(farm.decide()) == 3
    for key, size, has in ((DB, 4, (0, 2, 1)), (boards, 2, (0, 0, 1))):
        found = farm.allocator.reasons.shared(key)
        assert found is not None
        assert found[1] == (
            Part("*", 1, 0, 6 / 5, has[0], size / 5),
            Part("apps", 3, 2, 18 / 5, has[1], 3 * size / 5),
            Part("docs", 1, 2, 6 / 5, has[2], size / 5),
        )
    assert farm.allocator.reasons.shared(NET) is None


def test_L60_a_restart_keeps_whose_turn_it_is() -> None:
    farm = Shared({DB: 1}, share(DB, apps=1, docs=1))
    now = farm.want("docs", whole())
    farm.decide()
    mine, theirs = farm.want("docs", whole()), farm.want("apps", whole())
    farm.allocator = over_the_wire(farm.allocator)
    assert farm.end(now) == [theirs]
    assert farm.end(theirs) == [mine]


def test_a_reload_may_take_shares_away_and_give_others() -> None:
    farm = Shared({DB: 2}, share(DB, apps=1, docs=1))
    held = [farm.want("apps", units(1)) for _ in range(2)]
    assert farm.decide() == held
    mine, theirs = farm.want("apps", units(1)), farm.want("docs", units(1))
    farm.allocator.set_shares(())
    assert farm.end(held[0]) == [mine]
    farm.allocator.set_shares([share(DB, apps=1, docs=1)])
    for owner, project in {held[1]: "apps", mine: "apps", theirs: "docs"}.items():
        farm.allocator.set_project(owner, project)
    late = farm.want("apps", units(1))
    assert farm.end(held[1]) == [theirs]
    assert late in farm.allocator.waiting


def test_L42_who_has_its_share_is_passed_at_what_is_not_shared_as_anybody_is() -> None:
    """Of what is shared units are free: its project's long builds must not let it wait for another lock for ever."""
    farm = Shared({DB: 4, NET: 1}, share(DB, apps=1, docs=1), k=2)
    held = [farm.want("apps", units(1)) for _ in range(2)]
    now = farm.want("tools", whole(NET))
    assert farm.decide() == [*held, now]
    waiting = farm.want("apps", need(units(1), whole(NET)), level=-5)
    passed = 0
    while now != waiting:
        farm.want("tools", whole(NET))
        (now,) = farm.end(now)
        passed += 1
    assert passed == 3, "two passed it"


def test_who_gives_way_himself_keeps_nobody_back() -> None:
    """Two want a lock that is not shared; the earlier is beaten by a third, but that one gives way to the later."""
    one, two = LockKey("master", "one"), LockKey("master", "two")
    farm = Shared({one: 2, two: 4, NET: 1}, share(one, apps=1, docs=1), share(two, name="t", tools=1, docs=1))
    held = [farm.want("apps", units(1, one)), farm.want("docs", units(1, two)), farm.want("net", whole(NET))]
    assert farm.decide() == held
    early = farm.want("apps", need(units(1, one), whole(NET)), level=9)
    between = farm.want("docs", need(units(1, one), units(1, two), whole(NET)))
    late = farm.want("tools", need(units(1, two), whole(NET)))
    order = []
    (now,) = farm.end(held[2])
    while now:
        order.append(now)
        (now,) = farm.end(now) or (0,)
    assert order == [early, late, between]


def test_claims_of_one_project_that_need_more_shared_things_come_no_later_for_that() -> None:
    one, two = LockKey("master", "one"), LockKey("master", "two")
    farm = Shared({one: 1, two: 1}, share(one, apps=1, docs=1), share(two, name="t", apps=1, docs=1))
    first = farm.want("apps", whole(two))
    now = farm.want("tools", whole(one))
    assert farm.decide() == [first, now]
    assert farm.end(first) == []
    older = farm.want("apps", need(whole(one), whole(two)))
    younger = farm.want("apps", whole(one))
    assert farm.end(now) == [older]
    assert farm.end(older) == [younger]


def test_within_a_project_shares_change_no_order() -> None:
    farm = Shared({DB: 4}, share(DB, apps=1, docs=1))
    held = [farm.want("apps", units(1)) for _ in range(4)]
    assert farm.decide() == held
    low, high = farm.want("apps", units(1)), farm.want("apps", units(1), level=9)
    assert [farm.end(held[0]), farm.end(held[1])] == [[high], [low]]


def test_who_waits_at_a_shared_lock_is_listed_in_the_order_in_which_it_comes() -> None:
    farm = Shared({DB: 2}, share(DB, apps=1, docs=1))
    held = [farm.want("apps", units(1)) for _ in range(2)]
    assert farm.decide() == held
    mine, theirs = farm.want("apps", units(1), level=5), farm.want("docs", units(1))
    farm.decide()
    assert farm.allocator.reasons.queue(DB) == [theirs, mine]


# --- planted faults


def found(seeds: range, kind: type[SharedWorld] = SharedWorld) -> bool:
    return any(differs(seed, kind=kind) for seed in seeds)


def test_that_a_projects_later_builds_count_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standing, "over_for", lambda self, ticket: self.over)
    assert found(range(300))


def test_that_a_reservation_stops_who_has_less_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClaimClass, "exempts", lambda self, other: False)
    assert found(range(300))


def test_that_nobody_gives_way_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shares, "first_before", lambda self, c, fitting: c)
    assert found(range(300))


def test_that_turns_are_saved_up_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def hoards(self: Share, party: str, units: int) -> None:
        self.turns[party] = self.turns.get(party, 0) + units * 720_720 // self.weights[party]

    monkeypatch.setattr(Share, "take_turn", hoards)
    assert found(range(200))


def test_that_the_order_is_not_settled_anew_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shares, "settle", lambda self: self.board.uncounted.clear())
    assert found(range(200))


def test_that_a_share_is_left_out_of_account_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Share, "is_below", lambda self, party, units: True)
    assert found(range(200))
