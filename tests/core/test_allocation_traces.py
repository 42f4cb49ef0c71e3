"""What ALLOCATION.md calls "worth a trace": four events after which a quick allocator forgets to look again."""

from lockstep.core.alloc_facts import Pinned, Unpinned
from lockstep.core.nouns import Access, Alternative, LockKey, Need

from .farm import DB, NET, Farm, need, slot, units, whole

M = LockKey("master", "m")
DISK = LockKey("worker", "disk", "a")


def test_L46_a_waiter_that_arrives_opens_a_bar_for_another() -> None:
    farm = Farm({DB: 1, NET: 1, M: 1}, k=0)
    holder_of_net = farm.get(whole(NET))
    farm.ask(need(whole(DB), whole(NET)))
    assert farm.decide() == []
    holder_of_m = farm.get(whole(M))
    stopped = farm.step(holder_of_m, whole(DB))
    assert farm.decide() == [], "the barrier waits for the holder of NET, who runs"
    farm.step(holder_of_net, whole(M))
    assert farm.decide() == [stopped], "now the barrier waits for the holder of M, through the holder of NET"


def test_L44_a_grant_of_lower_rank_counts_for_the_youngest_waiter_too() -> None:
    farm = Farm({DB: 4}, k=2)
    running = [farm.get(units(1)) for _ in range(4)]
    low = [farm.ask(units(1)) for _ in range(3)]
    high = farm.ask(units(4), level=5)
    assert farm.decide() == []
    assert farm.end(running[0]) == [low[0]]
    assert farm.allocator.reasons.overtaken(high, DB) == 1
    assert farm.allocator.reasons.overtaken(low[1], DB) == 0
    assert farm.end(running[1]) == [low[1]]
    assert farm.allocator.reasons.pin(high) == 0
    assert farm.end(running[2]) == []


def test_L42c_a_reservation_that_is_suspended_is_a_release() -> None:
    farm = Farm({DISK: 2}, k=0)
    farm.allocator.set_lock(DB, 1)
    farm.get(units(1, DISK))
    farm.ask(Need((Alternative("a", (whole(DB), units(2, DISK))),)))
    small = farm.ask(units(1, DISK))
    assert farm.decide() == [], "the barrier keeps the disk free: its other lock is free"
    taker = farm.ask(whole(DB))
    assert farm.decide() == [taker, small], "the other lock is not free any more, so nothing is kept"


def test_L5_a_limit_change_pins_anew_and_offers_the_claim_again() -> None:
    farm = Farm({slot("a"): 1, slot("b"): 1}, k=0)
    farm.get(Need((Alternative("a", (Access(slot("a")),)),)))
    farm.get(Need((Alternative("b", (Access(slot("b")),)),)))
    ways = tuple(Alternative(worker, (Access(slot(worker)),)) for worker in "ab")
    waiter = farm.ask(Need(ways))
    assert farm.decide() == []
    farm.allocator.set_lock(slot("a"), 0, 0)
    assert farm.decide() == []
    assert (farm.said(Unpinned), farm.said(Pinned)) == ([Unpinned(waiter)], [Pinned(waiter, 1, ways[1])])
    farm.allocator.set_lock(slot("a"), 2, 0)
    assert farm.decide() == [waiter]
