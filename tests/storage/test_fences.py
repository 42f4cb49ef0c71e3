"""Fences of a name that changes its kind, over restarts and deletions, in a real store (L60, L62)."""

import random

import pytest

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide import decide
from lockstep.core.nouns import Access, LockKey
from lockstep.core.recovery import state_of
from lockstep.core.state import State
from lockstep.core.values import BookingWish, LockSetup, PoolSetup, Setup, UnitSetup
from lockstep.storage.batch import Batch
from lockstep.storage.deleting import Horizons
from lockstep.storage.store import Store

BOARD = {
    "master": Setup(locks=(LockSetup(LockKey("master", "board"), 2),)),
    "pool": Setup(pools=(PoolSetup("board", (UnitSetup("pi-1"), UnitSetup("pi-2"))),)),
    "worker": Setup(locks=tuple(LockSetup(LockKey("worker", "board", name), 2) for name in ("w1", "w2"))),
    "": Setup(),
}
"""What a reload may make of the name: one of the kinds, or nothing."""


class Life:
    """Someone who reloads, holds, gives back, restarts and deletes; `given` are the fences of the grants."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.chance = random.Random(seed)
        self.store = Store.open(url)
        self.state = State(self.store.installation)
        self.at = 1000.0
        self.kinds: list[str] = []
        self.given: list[int] = []

    def put(self, event: e.Event) -> None:
        self.at += 1.0
        outcome = decide(self.state, event, self.at)
        self.store.append([Batch(facts=list(outcome.facts))])
        for fact in (each.fact for each in outcome.facts):
            if isinstance(fact, f.ClaimGranted):
                self.given += fact.fences
                self.kinds += [access.lock.kind for access in fact.alternative.accesses]

    def reload(self) -> None:
        self.put(e.Configured(setup=BOARD[self.chance.choice(list(BOARD))]))

    def hold(self) -> None:
        keys = [*self.state.locks, *(LockKey("pool", name) for name in self.state.pools)]
        if keys:
            self.put(e.BookingAsked(wish=BookingWish(accesses=(Access(self.chance.choice(keys)),))))

    def give_back(self) -> None:
        if self.state.bookings:
            self.put(e.BookingReleaseAsked(ticket=self.chance.choice(sorted(self.state.bookings))))

    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.url)
        self.state = state_of(self.store.load())

    def delete(self) -> None:
        self.store.delete(Horizons(builds=1.0), self.at, lambda _deleted: None)
        while self.store.tidy():
            pass


@pytest.mark.parametrize("seed", range(4))
def test_L62_fences_of_a_name_only_grow_whatever_it_is_the_name_of(url: str, seed: int) -> None:
    life = Life(url, seed)
    often = (life.hold, life.give_back)
    for _ in range(200):
        life.chance.choice((*often, *often, *often, life.reload, life.restart, life.delete))()
    assert life.given == list(range(1, len(life.given) + 1))
    assert len(set(life.kinds)) > 1
    life.store.close()
