"""The rows about locks are what the facts say, also across restarts: against a dumb reading of all facts (L72)."""

import random
from typing import Any

import pytest
from msgspec.structs import replace

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import BookingWish
from lockstep.storage.batch import Batch
from lockstep.storage.lock_history import Held, use
from lockstep.storage.queries import Queries
from lockstep.storage.store import Store

from .farm import DATABASE, Farm


def expected(facts: list[f.Numbered]) -> list[tuple[Any, ...]]:
    """Grants and ends of holds at configured locks: number, event, name, fence, seconds."""
    tickets: dict[int, int] = {}
    since: dict[int, float] = {}
    grants: dict[int, f.Numbered] = {}
    found = []
    for one in facts:
        fact = one.fact
        match fact:
            case f.RequestAdded():
                tickets[fact.brid] = fact.ticket
                since[fact.ticket] = one.at
            case f.PlaceTaken():
                since[fact.ticket] = since[tickets[fact.brid]]
                tickets[fact.brid] = fact.ticket
            case f.RequestPutBack():
                since[tickets[fact.brid]] = one.at
            case f.StepStarted() | f.CallStarted():
                since[fact.ticket] = one.at
            case f.BookingAdded():
                since[fact.ticket] = one.at
            case f.ClaimGranted() | f.HoldPassed():
                grants[fact.hold] = one
                found += rows(one, fact, "granted", one.at - since[fact.ticket])
            case f.HoldEnded():
                grant: Any = grants[fact.hold].fact
                found += rows(one, grant, "released", one.at - grants[fact.hold].at)
            case f.LimitChanged() if fact.key.kind in ("master", "worker"):
                found.append((one.number, "removed" if fact.removed else "limit", fact.key.name, 0, None))
    return found


def rows(one: f.Numbered, grant: f.ClaimGranted | f.HoldPassed, event: str, seconds: float) -> list[tuple[Any, ...]]:
    """A row for each configured lock of a grant."""
    return [
        (one.number, event, access.lock.name, fence, pytest.approx(max(0.0, seconds)))
        for access, fence in zip(grant.alternative.accesses, grant.fences, strict=True)
        if access.lock.kind in ("master", "worker")
    ]


@pytest.mark.parametrize("seed", range(4))
def test_L72_rows_are_what_the_facts_say_after_reopenings(url: str, seed: int) -> None:
    chance = random.Random(seed)
    farm = Farm(seed)
    store = Store.open(url)
    farm.state.installation = store.installation
    waiting: list[Batch] = []
    for _ in range(600):
        waiting.append(farm.step())
        if chance.random() < 0.1:
            store.append(waiting)
            waiting = []
            if chance.random() < 0.3:
                store.close()
                store = Store.open(url)
    store.append(waiting)
    sql = "SELECT number, event, name, fence, seconds FROM lock_events WHERE event IN ('granted', 'released', 'limit', "
    found = store._reader.rows(sql + "'removed') ORDER BY number, position")
    assert found == expected(farm.facts)
    barriers = [one for one in farm.facts if isinstance(one.fact, f.BarrierRaised)]
    raised = {number for (number,) in store._reader.rows("SELECT number FROM lock_events WHERE event = 'barrier'")}
    assert raised <= {one.number for one in barriers}
    dropped = {one.number for one in farm.facts if isinstance(one.fact, f.ClaimDropped | f.RequestEnded)}
    assert {
        number for (number,) in store._reader.rows("SELECT number FROM lock_events WHERE event = 'left'")
    } <= dropped
    store.close()


def test_a_share_counts_whole_locks_changed_limits_and_what_is_still_held(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    store = Store.open(url)
    columns = "number, position, at, event, kind, name, worker, ticket, hold, units, exclusive, fence, size, seconds, "
    columns += "brid, buildid, step, call, detail"
    insert = f"INSERT INTO lock_events ({columns}) VALUES ({', '.join('?' * 19)})"

    def put(number: int, at: float, event: str, units: int, exclusive: bool, size: int, seconds: float | None) -> None:
        lock = ("master", "database", "")
        who = (0, 0, 0, 0, "")
        store._connection.execute(insert, (number, 0, at, event, *lock, 1, 1, units, exclusive, 1, size, seconds, *who))

    put(1, 0.0, "limit", 0, False, 4, None)
    put(2, 120.0, "released", 2, False, 0, 50.0)  # 20 s of it in the period: 40
    put(3, 150.0, "limit", 0, False, 2, None)
    put(4, 180.0, "released", 1, True, 0, 10.0)  # the whole of 2: 20
    for number, wait in enumerate(range(1, 101), 10):
        put(number, 160.0, "granted", 1, False, 0, float(wait))
    (told,) = use(store._reader, "database", 100.0, 200.0, [Held(DATABASE, 190.0, 1, False)])  # 10
    assert told["share"] == pytest.approx((40 + 20 + 10) / (50 * 4 + 50 * 2), abs=1e-4)
    assert told["wait"] == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert (told["grants"], told["use"]["p50"], told["complete"]) == (100, 10.0, True)
    reads = Queries(url)
    assert [item["number"] for item in reads.lock_history("database", 2, 1).items] == [107, 108]
    reads.close()
    store.close()


def test_L72_bookings_and_stealing_are_in_the_history(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    store = Store.open(url)
    farm = Farm(1)
    store.append([farm.do_configure()])
    ann = BookingWish(accesses=(Access(DATABASE, "exclusive"),), who="ann", reason="look")
    store.append([farm.happen(e.BookingAsked(wish=ann)), farm.happen(e.BookingAsked(wish=replace(ann, who="bob")))])
    store.close()
    store = Store.open(url)
    (first, second) = sorted(farm.state.bookings)
    stolen = farm.happen(e.StealAsked(ticket=first, who="eve", reason="fire"))
    store.append([stolen, farm.happen(e.BookingReleaseAsked(ticket=second, who="bob"))])
    reads = Queries(url)
    found = [(i["event"], i["by"] and i["by"]["text"], i["detail"]) for i in reads.lock_history("database", 9).items]
    ann_text, bob_text = f"ann (booking {first}: look)", f"bob (booking {second}: look)"
    assert found[1:] == [
        ("granted", ann_text, ""),
        ("stolen", ann_text, "by eve: fire"),
        ("released", ann_text, ""),
        ("granted", bob_text, ""),
        ("released", bob_text, ""),
    ]
    reads.close()
    store.close()


def test_locks_of_one_name_are_told_apart(tmp_path: Any) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/state.sqlite")
    farm = Farm(1)
    farm.state.installation = store.installation
    store.append([farm.do_configure()])
    reader = store._reader
    (told,) = use(reader, "cpu", 0.0, farm.at + 10, [])
    assert (told["lock"], told["share"]) == ("cpu on w0", 0.0)
    assert use(reader, "nothing", 0.0, farm.at, []) == []
    assert LockKey("worker", "cpu", "w0") in {lock.key for lock in store.load().locks}
    store.close()
