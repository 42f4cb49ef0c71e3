"""Random worlds with rules for single locks: start rates, and locks for which the newest claim comes first."""

from lockstep.core.alloc_facts import UNRATED
from lockstep.core.nouns import Claim, LockKey, Need

from .worlds import Event, World


class RuledWorld(World):
    """A world in which starts are used up and come back, and some locks are for the newest."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.rated = [key for key in self.keys() if self.random.random() < 0.5]
        self.for_the_newest = {key for key in self.locks if self.random.random() < 0.4}

    def keys(self) -> list[LockKey]:
        return [*self.locks, *(LockKey("worker", "disk", worker) for worker in self.workers)]

    def is_newest(self, need: Need) -> bool:
        return any(access.lock in self.for_the_newest for each in need.alternatives for access in each.accesses)

    def submitted(self, claim: Claim) -> list[Event]:
        claim = Claim(
            **{**{f: getattr(claim, f) for f in claim.__struct_fields__}, "newest": self.is_newest(claim.need)}
        )
        return super().submitted(claim)

    def change_need(self) -> list[Event]:
        return [(name, (ticket, need, self.is_newest(need))) for name, (ticket, need) in super().change_need()]

    def heal(self) -> list[Event]:
        return [*super().heal(), *(("set_starts", (key, UNRATED)) for key in self.rated)]

    def next(self) -> list[Event]:
        events = super().next()
        for key in self.rated:
            if self.random.random() < 0.25:
                events.append(("set_starts", (key, self.random.choice((0, 1, 1, 2, 3, UNRATED)))))
        return events
