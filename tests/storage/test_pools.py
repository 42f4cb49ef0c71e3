"""Pools over a restart: who has which unit, even wear, fences, quarantines, and who was overtaken (L60)."""

from typing import Any

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core.decide import decide
from lockstep.core.nouns import Access, LockKey
from lockstep.core.recovery import state_of
from lockstep.core.state import State
from lockstep.core.values import (
    BookingWish,
    PoolSetup,
    Setup,
    UnitSetup,
)
from lockstep.storage.batch import Batch
from lockstep.storage.store import Store

from .farm import one_step

UNITS = tuple(UnitSetup(f"u{n}", ("a",) if n < 2 else ("b",), {"address": f"10.0.0.{n}"}) for n in range(4))


class People:
    """People who hold units, and the store that is told of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = Store.open(url)
        self.state = State(self.store.installation)
        self.at = 1000.0

    def put(self, event: e.Event) -> Any:
        """Something happens, and is stored. Returns the reply."""
        self.at += 1.0
        outcome = decide(self.state, event, self.at)
        self.store.append([Batch(facts=list(outcome.facts))])
        return next((effect.value for effect in outcome.effects if isinstance(effect, x.Reply)), None)

    def hold(self, where: str = "", count: int = 1) -> int:
        access = Access(LockKey("pool", "p", where=where), "counting", count)
        return int(self.put(e.BookingAsked(wish=BookingWish(accesses=(access,)), token=1)))

    def restart(self) -> None:
        before = self.state.allocator.snapshot()
        self.store.close()
        self.store = Store.open(self.url)
        self.state = state_of(self.store.load())
        after = self.state.allocator.snapshot()
        assert after.waiting == before.waiting
        told = [[(hold.id, hold.owner, hold.fences, hold.units) for hold in each.holds] for each in (before, after)]
        assert told[0] == told[1]
        (one,), (other,) = before.pools, after.pools
        assert (one.fence, one.sick, one.absent) == (other.fence, other.sick, other.absent)
        wear = [dict(zip((u.name for u in each.units), each.wear, strict=True)) for each in (one, other)]
        assert wear[0] == wear[1]
        start = [dict(zip((u.name for u in each.units), each.start, strict=True)) for each in (one, other)]
        assert (start[0], set(one.fresh)) == (start[1], set(other.fresh))
        assert {v.key: v.memory for v in one.views if v.memory} == {v.key: v.memory for v in other.views if v.memory}

    def units(self) -> list[tuple[str, ...]]:
        return [dict(hold.units)["p"] for hold in self.state.allocator.holds.values() if hold.units]


def test_a_quarantine_outlives_that_the_unit_is_gone_for_a_while(url: str) -> None:
    people = People(url)
    people.put(e.Configured(setup=Setup(pools=(PoolSetup("p", UNITS),))))
    people.put(e.QuarantineAsked(pool="p", unit="u3", who="ann", reason="broken"))
    people.put(e.Configured(setup=Setup(pools=(PoolSetup("p", UNITS[:3]),))))
    people.restart()
    people.put(e.Configured(setup=Setup(pools=(PoolSetup("p", UNITS),))))
    people.hold("b")
    people.hold("u3")
    assert people.units() == [("u2",)]
    people.store.close()


def test_L60_a_restart_changes_nothing_about_pools(url: str) -> None:
    people = People(url)
    people.put(e.Configured(setup=Setup(pools=(PoolSetup("p", UNITS),))))
    first = people.hold("a")
    people.restart()
    people.hold("a or b", 2)
    people.put(e.QuarantineAsked(pool="p", unit="u3", who="ann", reason="broken"))
    people.restart()
    assert people.units() == [("u0",), ("u1", "u2")]
    assert people.state.quarantines["p", "u3"].reason == "broken"
    assert people.state.quarantines["p", "u3"].since == people.at
    people.hold("b")
    people.put(e.BookingReleaseAsked(ticket=first, token=1))
    people.put(e.Configured(setup=Setup(pools=(PoolSetup("p", UNITS[1:]),))))
    people.restart()
    people.put(e.QuarantineAsked(pool="p", unit="u3", lift=True))
    people.restart()
    assert people.units() == [("u1", "u2"), ("u3",)]
    assert people.state.quarantines == {}
    assert people.state.pools["p"].units[0].data == {"address": "10.0.0.1"}
    people.store.close()


def test_L60_a_step_that_was_put_back_waits_after_a_restart_and_gets_another_unit(url: str) -> None:
    people = People(url)
    both = Access(LockKey("pool", "p", where="a"), "counting", 2)
    for event in one_step(PoolSetup("p", UNITS), both):
        people.put(event)
    step = people.state.builds[1].steps[0]
    people.put(e.UnitsFailed(buildid=1, step=1, hold=step.hold, units=(("p", "u1", "it does not answer"),)))
    people.restart()
    again = people.state.builds[1].steps[0]
    assert (again.state, again.hold, again.fences, again.ticket) == ("waiting", 0, {}, step.ticket)
    assert again.locks_acquired_at == 0.0
    people.put(e.QuarantineAsked(pool="p", unit="u1", lift=True))
    people.restart()
    again = people.state.builds[1].steps[0]
    assert (again.state, again.fences, people.units()) == ("running", {"p": 2}, [("u0", "u1")])
    people.store.close()


def test_L95_a_restart_keeps_why_a_unit_is_in_quarantine(url: str) -> None:
    people = People(url)
    people.put(e.Configured(setup=Setup(pools=(PoolSetup("p", UNITS, checked=True, retry=60.0),))))
    people.put(e.UnitsFailed(buildid=9, step=0, hold=9, units=(("p", "u0", "no answer"), ("p", "u1", "no answer"))))
    people.put(e.QuarantineAsked(pool="p", unit="u1", who="ann", reason="mine"))
    people.restart()
    assert people.state.pools["p"].retry == 60.0
    assert {unit: each.unfit for (_, unit), each in people.state.quarantines.items()} == {"u0": True, "u1": False}
    people.put(e.UnitFit(pool="p", unit="u0", since=people.state.quarantines["p", "u0"].since))
    people.put(e.QuarantineAsked(pool="p", unit="u0", who="ann", reason="mine, too"))
    people.restart()
    assert not people.state.quarantines["p", "u0"].unfit
    people.store.close()
