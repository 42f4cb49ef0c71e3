"""Pools in the whole of the core: a configuration makes them, a grant names its units, a person takes a unit out."""

import msgspec
from msgspec.structs import replace

from lockstep.core import calls as c
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, Alternative, LockKey, Need, Result
from lockstep.core.pool_reasons import pools_of, units_of
from lockstep.core.reasons import Reasons
from lockstep.core.values import BookingWish, PoolSetup, Setup, UnitSetup

from .driving import Hand, builder, plan, setup, use

BOARDS = PoolSetup("boards", (UnitSetup("pi-1", ("arm",)), UnitSetup("pi-2", ("arm",)), UnitSetup("nuc", ("amd",))))


def some(count: int = 1, where: str = "", keep: float = 0.0) -> Access:
    return Access(LockKey("pool", "boards", where=where), "counting", count, keep)


def farm(*accesses: Access, pool: PoolSetup = BOARDS) -> Setup:
    plain = setup(builder("b", *accesses), limits={})
    return Setup(workers=plain.workers, builders=plain.builders, locks=plain.locks, pools=(pool,))


def units(hand: Hand) -> list[tuple[str, ...]]:
    return [dict(hold.units).get("boards", ()) for hold in hand.state.allocator.holds.values()]


def asked(hand: Hand, unit: str, **more: object) -> str:
    """Ask for a quarantine, or its end. Returns the error."""
    outcome = hand.put(e.QuarantineAsked(**{"pool": "boards", "unit": unit, "token": 1, **more}))
    (reply,) = [effect for effect in outcome.effects if isinstance(effect, x.Reply)]
    return reply.error


def test_a_grant_names_its_units_and_what_is_kept_of_the_pool() -> None:
    hand = Hand(farm(some(2, "arm")))
    hand.started()
    (granted,) = hand.all(f.ClaimGranted)
    assert granted.units == (("boards", ("pi-1", "pi-2")),)
    assert granted.pools[0].wear == {"pi-1": 1, "pi-2": 1, "nuc": 0}


def test_a_person_takes_a_unit_out_and_gives_it_back() -> None:
    hand = Hand(farm(some(1, "amd")))
    assert asked(hand, "nuc", who="ann", reason="it smells") == ""
    brid = hand.force()
    assert not hand.request(brid).buildid
    assert hand.state.quarantines["boards", "nuc"].reason == "it smells"
    assert asked(hand, "nuc", lift=True) == ""
    assert units(hand) == [("nuc",)]


def test_a_unit_or_pool_that_is_gone_is_seen_and_lifted_while_it_is_in_quarantine() -> None:
    hand = Hand(farm(some(1, "amd")))
    asked(hand, "nuc", who="ann", reason="it smells")
    key = LockKey("pool", "boards")
    for left in (farm(pool=PoolSetup("boards", BOARDS.units[:2])), setup(builder("b"))):
        hand.put(e.Configured(setup=left))
        (seen,) = [unit for unit in Reasons(hand.state, hand.now).lock(key).units if unit.removed]
        assert (seen.name, seen.quarantine, pools_of(hand.state)) == ("nuc", "it smells", {"boards"})
    seen_by = {
        where: [unit.name for unit in units_of(hand.state, replace(key, where=where))] for where in ("nuc", "pi-1")
    }
    assert seen_by == {"nuc": ["nuc"], "pi-1": []}
    assert asked(hand, "", lift=True) == ""
    assert pools_of(hand.state) == set()
    hand.put(e.Configured(setup=farm(some(1, "amd"))))
    hand.started()
    assert units(hand) == [("nuc",)]


def test_who_waits_for_units_is_told_so_not_that_a_worker_is_busy() -> None:
    plain = setup(builder("b", some(2, "arm"), workers=("w1", "w2")), workers=("w1", "w2"))
    hand = Hand(msgspec.structs.replace(plain, pools=(BOARDS,)))
    hand.started()
    hand.connect("w2")
    why = Reasons(hand.state, hand.now).request(hand.request(hand.force()))
    assert (why.kind, why.locks[0].lock) == ("lock", "boards where arm")


def test_wrong_use_changes_nothing_and_says_what_is_wrong() -> None:
    hand = Hand(farm())
    assert asked(hand, "mac") == "Pool 'boards' has no unit 'mac'. It has: pi-1, pi-2, nuc."
    assert asked(hand, "nuc", pool="phones") == "There is no pool 'phones'. There are: boards."
    assert asked(hand, "nuc", lift=True) == "Unit 'nuc' of pool 'boards' is not in quarantine."
    asked(hand, "nuc", reason="it smells")
    assert asked(hand, "nuc") == "Unit 'nuc' of pool 'boards' is in quarantine already: it smells."
    assert len(hand.all(f.UnitQuarantined)) == 1


def test_L6_a_reload_adds_units_and_who_has_one_that_is_removed_keeps_it() -> None:
    hand = Hand(farm(some(1, "amd")))
    hand.started()
    hand.put(e.Configured(setup=farm(some(1, "amd"), pool=PoolSetup("boards", BOARDS.units[:2]))))
    brid = hand.force()
    assert units(hand) == [("nuc",)]
    more = PoolSetup("boards", (*BOARDS.units[:2], UnitSetup("nuc-2", ("amd",))))
    hand.put(e.Configured(setup=farm(some(1, "amd"), pool=more)))
    assert hand.new(f.PoolChanged)[0].units[-1].name == "nuc-2"
    assert hand.request(brid).buildid == 0, "its worker is busy"


def test_L6_a_reload_tells_who_has_a_unit_that_is_gone() -> None:
    hand = Hand(farm(some(1, "arm")))
    hand.started()
    held = "is gone from the configuration while b #1 holds it; a renamed one is a new one."
    for left in (farm(pool=PoolSetup("boards", BOARDS.units[1:])), setup(builder("b"))):
        (reply,) = [each for each in hand.put(e.Configured(setup=left, token=1)).effects if isinstance(each, x.Reply)]
        assert reply.value == [f"Unit 'pi-1' of pool 'boards' {held}"]


def test_L6_a_pool_that_is_removed_is_told() -> None:
    hand = Hand(farm(some(1, "amd")))
    hand.put(e.Configured(setup=setup(builder("b"))))
    assert hand.new(f.PoolChanged)[0].removed
    assert hand.state.pools == {}


def test_L6_a_lock_that_a_reload_makes_a_pool_is_free_first_and_why_says_so() -> None:
    hand = Hand(setup(builder("b", use("boards")), limits={"boards": 1}))
    first = hand.started()
    hand.put(e.Configured(setup=farm(some(1, "amd"))))
    hand.put(e.BookingAsked(wish=BookingWish(accesses=(some(1, "amd"),), who="ann")))
    assert units(hand) == [()]
    why = Reasons(hand.state, hand.now).claim(max(hand.state.bookings))
    assert why.sentence == (
        "Cannot start as the limits are: it needs 1 of pool 'boards', and what had that name before the reload is not "
        "free yet (the master lock, which b #1 has)."
    )
    hand.prepared(first)
    hand.finished(first)
    assert units(hand) == [("nuc",)]


def test_a_step_gives_units_back_by_the_name_of_their_pool_whatever_it_said_of_them() -> None:
    hand = Hand(msgspec.structs.replace(setup(builder("b"), limits={"db": 1}), pools=(BOARDS,)))
    buildid = hand.started("b", plan())
    hand.prepared(buildid, 1, some(2, "arm"), use("db"))
    assert (units(hand)[-1], hand.step(buildid).fences) == (("pi-1", "pi-2"), {"boards": 1, "db": 1})
    hand.call(buildid, c.Release(0, LockKey("pool", "boards")))
    assert (units(hand)[-1], hand.step(buildid).fences) == ((), {"db": 1})
    assert [fact.locks for fact in hand.all(f.LocksReturned)] == [(some(2, "arm").lock,)]
    hand.call(buildid, c.Release(0, LockKey("pool", "boards")), 2)
    assert len(hand.all(f.LocksReturned)) == 1
    (refused,) = hand.errands(x.CallDone)
    assert refused.result == "step 'step 1' has no pool 'boards' by its locks="


def test_a_person_holds_a_unit() -> None:
    hand = Hand(farm(some(1, "arm")))
    hand.put(e.BookingAsked(wish=BookingWish(accesses=(some(1, "pi-1"),), who="ann")))
    hand.started()
    assert units(hand) == [("pi-1",), ("pi-2",)]


def test_a_person_cannot_wait_for_what_there_is_not() -> None:
    hand = Hand(farm())
    wrong = {
        some(1, "mac"): "Pool 'boards' has no unit and no label 'mac'. It has: amd, arm, nuc, pi-1, pi-2.",
        some(2, "amd"): "Pool 'boards' has 1 unit where amd: 2 can never be had.",
        some(1, "amd and"): "Pool 'boards': where 'amd and' cannot be read: a label is missing at the end.",
        Access(LockKey("pool", "phones")): "There is no pool 'phones'. There are: boards.",
    }
    for access, why in wrong.items():
        outcome = hand.put(e.BookingAsked(wish=BookingWish(accesses=(access,)), token=1))
        assert [reply.error for reply in outcome.effects if isinstance(reply, x.Reply)] == [why]
    assert hand.state.bookings == {}


def test_a_unit_that_is_kept_after_a_failure_is_the_very_one() -> None:
    hand = Hand(farm(some(1, "arm", keep=60.0)))
    buildid = hand.started()
    hand.prepared(buildid)
    hand.finished(buildid, result=Result.FAILURE)
    (passed,) = hand.all(f.HoldPassed)
    assert (passed.units, passed.fences) == ((("boards", ("pi-1",)),), (2,))
    assert passed.alternative == Alternative("", (some(1, "arm"),))
    assert units(hand) == [("pi-1",)]


def test_L25_a_step_never_waits_for_units_while_its_LockedSteps_or_its_own_calls_have_others() -> None:
    hand = Hand(farm())
    buildid = hand.started("b", plan("one", group=1), plan("two", group=1))
    arm, fast = some(1, "arm"), some(1, "pi-1 or nuc")
    hand.prepared(buildid, 1, arm, shared=(arm.lock,))
    hand.finished(buildid, 1)
    hand.prepared(buildid, 2, fast)
    ended = hand.all(f.StepEnded)[-1]
    assert ended.result is Result.EXCEPTION
    assert "is held by the LockedSteps that the step belongs to" in ended.summary


def tries(hand: Hand, *results: Result) -> None:
    """A build for each of these results, one after another."""
    for result in results:
        buildid = hand.started()
        hand.prepared(buildid)
        hand.finished(buildid, result=result)


TRIED = PoolSetup("boards", BOARDS.units, quarantine_after=2)


def test_a_unit_goes_into_quarantine_after_so_many_builds_in_a_row_that_failed_with_it() -> None:
    hand = Hand(farm(some(1, "amd"), pool=TRIED))
    tries(hand, Result.FAILURE, Result.SUCCESS, Result.FAILURE)
    assert hand.state.failed_with == {("boards", "nuc"): ("b #3",)}
    assert hand.state.quarantines == {}
    tries(hand, Result.EXCEPTION)
    (told,) = hand.all(f.UnitQuarantined)
    assert (told.unit, told.who) == ("nuc", "")
    assert told.reason == "2 builds in a row failed with it: b #4 and b #3"
    brid = hand.force()
    assert not hand.request(brid).buildid
    asked(hand, "nuc", lift=True, who="ann")
    assert hand.request(brid).buildid
    assert hand.state.failed_with == {}, "it begins anew"


def test_a_build_that_was_stopped_or_put_back_says_nothing_of_its_units() -> None:
    hand = Hand(farm(some(1, "amd"), pool=TRIED))
    tries(hand, Result.FAILURE)
    buildid = hand.started()
    hand.prepared(buildid)
    hand.put(e.StopAsked(buildid=buildid, who="ann"))
    hand.finished(buildid, result=Result.CANCELLED)
    assert hand.state.failed_with == {("boards", "nuc"): ("b #1",)}


def test_what_only_a_step_had_counts_with_its_build() -> None:
    hand = Hand(farm(pool=TRIED))
    for _ in range(2):
        buildid = hand.started("b", plan("with it"), plan("without"))
        hand.prepared(buildid, 1, some(1, "amd"))
        hand.call(buildid, c.Keep("arguments", b""))
        hand.finished(buildid, 1)
        hand.prepared(buildid, 2)
        hand.finished(buildid, 2, Result.FAILURE)
    assert [told.unit for told in hand.all(f.UnitQuarantined)] == ["nuc"]


NO_CHECK = "healthCheck of pool 'boards': ping cannot be started"


def test_a_check_that_cannot_be_started_is_no_units_fault() -> None:
    whole = Hand(farm(some(1, "amd"), pool=TRIED))
    whole.connect()
    for _ in range(2):
        buildid = whole.request(whole.force()).buildid
        whole.put(e.BuildBroken(buildid=buildid, result=Result.EXCEPTION, reason=NO_CHECK))
        assert whole.result(buildid) is Result.EXCEPTION
    part = Hand(farm(pool=TRIED))
    for _ in range(2):
        buildid = part.started("b", plan("with it"))
        part.prepared(buildid, 1, some(1, "amd"))
        part.put(e.BuildBroken(buildid=buildid, result=Result.EXCEPTION, reason=NO_CHECK))
        assert part.result(buildid) is Result.EXCEPTION
    assert not whole.all(f.UnitTried)
    assert not part.all(f.UnitTried)


def test_a_unit_that_was_given_back_with_one_that_is_not_fit_is_not_blamed() -> None:
    hand = Hand(farm(pool=TRIED))
    buildid = hand.started("b", plan("with two"))
    hand.prepared(buildid, 1, some(2, "arm"))
    sick = ("boards", "pi-1", "no pulse")
    hand.put(e.UnitsFailed(buildid=buildid, step=1, hold=hand.step(buildid, 1).hold, units=(sick,)))
    assert hand.all(f.StepPutBack)
    assert not hand.build(buildid).units


def test_without_quarantineAfter_no_unit_is_blamed() -> None:
    hand = Hand(farm(some(1, "amd")))
    tries(hand, *[Result.FAILURE] * 5)
    assert not hand.all(f.UnitTried)


def test_a_page_tells_of_each_unit_who_has_it_and_of_a_pool_that_is_gone_what_is_held() -> None:
    hand = Hand(farm(some(1, "amd"), pool=TRIED))
    tries(hand, Result.FAILURE)
    hand.started()
    asked(hand, "pi-1", who="ann", reason="it hums")
    key = LockKey("pool", "boards")
    view = Reasons(hand.state, hand.now).lock(key)
    (held,) = view.holders
    assert (view.limit, view.used, view.removed, held.names, held.units) == (2, 1, False, ("nuc",), 1)
    units = {unit.name: unit for unit in view.units}
    assert (units["nuc"].holds, units["nuc"].worn, units["nuc"].failed) == ((held.hold,), 2, ("b #1",))
    assert (units["pi-1"].quarantine, units["pi-1"].quarantined_by, units["pi-1"].labels) == (
        "it hums",
        "ann",
        ("arm",),
    )
    one = Reasons(hand.state, hand.now).lock(LockKey("pool", "boards", where="pi-2"))
    assert (one.limit, one.used, one.holders, [unit.name for unit in one.units]) == (1, 0, (), ["pi-2"])
    hand.put(e.Configured(setup=setup(builder("b"))))
    gone = Reasons(hand.state, hand.now).lock(key)
    assert gone.removed
    assert [(unit.name, unit.removed, unit.holds) for unit in gone.units] == [
        ("nuc", True, (held.hold,)),
        ("pi-1", True, ()),
    ]


def test_who_waits_is_told_which_units_are_held_and_which_are_in_quarantine() -> None:
    hand = Hand(farm())
    hand.put(e.BookingAsked(wish=BookingWish(accesses=(some(1, "pi-2"),), who="ann"), token=1))
    asked(hand, "pi-1", reason="it hums")
    hand.put(e.BookingAsked(wish=BookingWish(accesses=(some(1, "arm"),), who="bob"), token=1))
    (ticket,) = hand.state.allocator.waiting
    why = Reasons(hand.state, hand.now).claim(ticket)
    assert why.sentence.startswith("Waits for pool 'boards where arm', held by ann (booking 1) (pi-2) for ")
    assert "; in quarantine: pi-1 (it hums; for 1 s)." in why.sentence
    (short,) = why.locks
    assert (short.where, short.out, short.limit) == ("arm", ("pi-1 (it hums; for 1 s)",), 1)


def test_who_waits_for_units_that_are_all_in_quarantine_is_told_since_when_why_and_how_that_ends() -> None:
    hand = Hand(farm(some(1, "arm")))
    asked(hand, "pi-1", who="ann", reason="it hums")
    asked(hand, "pi-2", reason="bad #1 failed with it")
    hand.now += 180
    brid = hand.force()
    why = Reasons(hand.state, hand.now).request(hand.request(brid))
    assert (why.kind, why.can_start) == ("quarantine", False)
    assert why.sentence == (
        "Waits for 1 of pool 'boards where arm', of which 0 can be had; in quarantine: pi-1 (it hums; by ann, for "
        "3 min) and pi-2 (bad #1 failed with it; for 3 min). To use it again: `lockstep quarantine --lift boards/UNIT`."
    )
    asked(hand, "pi-1", lift=True)
    assert hand.request(brid).state == "building"


def test_a_quarantine_is_no_reason_where_its_end_would_not_do() -> None:
    hand = Hand(farm(some(2, "arm")))
    asked(hand, "pi-2", reason="it hums")
    brid = hand.force()
    hand.put(e.Configured(setup=farm(some(2, "arm"), pool=PoolSetup("boards", BOARDS.units[1:]))))
    why = Reasons(hand.state, hand.now).request(hand.request(brid))
    assert why.kind == "never"
    assert why.sentence.startswith("Cannot start as the limits are: it needs 2 of pool 'boards where arm', of which 0")


def test_a_worker_whose_units_are_all_in_quarantine_is_told_of_so() -> None:
    workers = ("w1", "w2", "w3")
    plain = setup(builder("b", workers=workers), workers=workers)
    (made,) = plain.builders
    assert made.need is not None
    first, *others = made.need.alternatives
    first = replace(first, accesses=(*first.accesses, some(1, "amd")))
    hand = Hand(replace(plain, builders=(replace(made, need=Need((first, *others))),), pools=(BOARDS,)))
    asked(hand, "nuc", reason="it smells")
    for worker in workers:
        hand.connect(worker)
    for _ in others:
        hand.force()
    why = Reasons(hand.state, hand.now).request(hand.request(hand.force()))
    sick = "w1 lacks 1 of pool 'boards where amd', of which 0 can be had; in quarantine: nuc (it smells; for "
    assert sick in why.sentence
