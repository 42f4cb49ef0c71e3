"""Rules that may end a wait without a grant: how many may wait for a lock, for how long, and whether at all.

Here is what they say of a claim, and of which claims they speak. What follows from it is decided in `decide_waits.py`.
"""

from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

from lockstep.core.nouns import Alternative, LockKey, Need, Patience, Result
from lockstep.core.values import QueueRule

Sort = tuple[str, str]
"""The kind and the name of a lock: what is the same of it on all workers."""


class Terms(Struct, frozen=True):
    """What a need says of waiting.

    After `seconds` (0: never) the claim ends with `result`. It does not wait for the locks `skips`. `sorts` are the
    locks that it waits for whichever alternative it would be.
    """

    seconds: float
    result: Result
    skips: frozenset[LockKey]
    sorts: frozenset[Sort]


@lru_cache(maxsize=4096)
def terms_of(need: Need) -> Terms:
    """What a need says of waiting. An alternative gives up when the first of its locks says so, a claim with the last
    of its alternatives.
    """
    ends = [_end(each) for each in need.alternatives]
    last = max((end for end in ends if end is not None), key=lambda end: end.seconds, default=None)
    patient = last is None or None in ends
    return Terms(
        seconds=last.seconds if last is not None and not patient else 0.0,
        result=last.result if last is not None else Result.FAILURE,
        skips=frozenset(
            access.lock
            for each in need.alternatives
            for access in each.accesses
            if access.patience is not None and access.patience.skip
        ),
        sorts=frozenset.intersection(*map(_sorts, need.alternatives)) if need.alternatives else frozenset(),
    )


def _end(alternative: Alternative) -> Patience | None:
    found = [a.patience for a in alternative.accesses if a.patience is not None and a.patience.seconds]
    return min(found, key=lambda patience: patience.seconds, default=None)


def _sorts(alternative: Alternative) -> frozenset[Sort]:
    return frozenset((a.lock.kind, a.lock.name) for a in alternative.accesses if a.lock.kind in ("master", "worker"))


class Ruled:
    """Which waiting claims the rules speak of: `crowds` are the tickets of requests, `unwilling` those that skip."""

    def __init__(self) -> None:
        self.used = False
        """Whether there ever was a rule, or a claim that does not wait for ever."""
        self.rules: dict[Sort, QueueRule] = {}
        self.crowds: dict[Sort, set[int]] = {}
        self.unwilling: dict[int, frozenset[LockKey]] = {}

    def configure(self, rules: Iterable[QueueRule]) -> None:
        """Other rules: nobody is known to wait until `waits` says so."""
        self.rules = {(rule.kind, rule.name): rule for rule in rules}
        self.crowds = {sort: set() for sort in self.rules}
        self.unwilling = {}
        self.used = self.used or bool(self.rules)

    def waits(self, ticket: int, need: Need, *, counted: bool) -> None:
        """A claim begins to wait, or waits for something else. `counted`: it is a request's."""
        self.leaves(ticket)
        terms = terms_of(need)
        self.used = self.used or terms.seconds > 0 or bool(terms.skips)
        if terms.skips:
            self.unwilling[ticket] = terms.skips
        for sort in terms.sorts if counted and self.rules else ():
            if sort in self.crowds:
                self.crowds[sort].add(ticket)

    def leaves(self, ticket: int) -> None:
        """A claim waits no more."""
        self.unwilling.pop(ticket, None)
        for crowd in self.crowds.values():
            crowd.discard(ticket)
