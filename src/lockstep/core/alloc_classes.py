"""Needs that were resolved, and classes of equal claims (L45; ALLOCATION.md section 3). `alloc_items.py` has the terms.

Only data lives here, with what keeps one thing consistent with itself; what concerns several is in `alloc_board.py`.
"""

from typing import Final

from lockstep.core.alloc_items import NO_BARRIER, Access, Crowd, Lane, Lock, Series, Share, Standing, Watch
from lockstep.core.nouns import STEP_LEVEL, LockKey, Need

NOWHERE: Final = (Lock(LockKey("master", ""), 0, 0, Series()), 0)
"""Where an alternative is parked that never was."""


class Shape:
    """A need with its locks resolved.

    `common` is what all alternatives share, `own` what one does not share with all others, its slot first.
    `slots` has the alternative of each slot, if the alternatives differ in it and need as many units of it.
    `shared` has the alternatives of each lock that several need, unless all need as many units of it. `pooled`: some
    are views of pools.
    """

    __slots__ = (
        "alternatives",
        "classes",
        "common",
        "need",
        "own",
        "pooled",
        "shared",
        "shares",
        "slot_units",
        "slots",
        "specials",
        "users",
    )

    def __init__(self, need: Need, alternatives: tuple[tuple[tuple[Lock, int], ...], ...]) -> None:
        self.need = need
        self.alternatives = alternatives
        self.pooled = any(lock.pool is not None for each in alternatives for lock, _ in each)
        in_all: set[tuple[int, int]] = set()
        if len(alternatives) > 1:
            in_all = set.intersection(*({(id(lock), units) for lock, units in each} for each in alternatives))
        self.common = tuple(pair for pair in (alternatives or ((),))[0] if (id(pair[0]), pair[1]) in in_all)
        self.own = tuple(
            tuple(
                sorted(
                    (pair for pair in each if (id(pair[0]), pair[1]) not in in_all),
                    key=lambda pair: pair[0].key.kind != "slot",
                )
            )
            for each in alternatives
        )
        firsts = [own[0] for own in self.own if own and own[0][0].key.kind == "slot"]
        self.slot_units = firsts[0][1] if firsts else 0
        self.slots = {lock: index for index, (lock, _) in enumerate(firsts)}
        if len(self.slots) < len(alternatives) or len({units for _, units in firsts}) > 1:
            self.slots = {}
        common = {lock for lock, _ in self.common}
        users: dict[Lock, list[int]] = {}
        for index, each in enumerate(alternatives):
            for lock, _ in each:
                users.setdefault(lock, []).append(index)
        self.shared = {lock: tuple(used) for lock, used in users.items() if len(used) > 1 and lock not in common}
        self.classes: dict[tuple[int, str, Standing | None], ClaimClass] = {}
        self.specials: dict[ClaimClass, None] = {}
        self.users = 0
        self.shares: tuple[Share, ...] = ()
        self.find_shares()

    def find_shares(self) -> None:
        """Find the shares in which some lock of it is."""
        found = {lock.share: None for each in self.alternatives for lock, _ in each if lock.share is not None}
        self.shares = tuple(found)


class ClaimClass:
    """Claims that need the same at the same level, in one queue (L45). Only the first is looked at.

    Where it is foreseen what builds may still claim (L51), they are of one builder, too: its `plan`. Where projects
    have shares of a lock of theirs, they are of one project, whose `standing` says who comes before them; `full` are
    the shares of which a barrier's project has its part by older builds.

    One that is `special` (L45), or goes before older ones (`newest`), is `alone` in its class. Who waits `plainly` is
    refused by nothing but units that are held or reserved: it has no kin, and names no pool.

    `base` is where the ranks of its level begin, `plain` the rank of the first claim as if it were no barrier. `level`
    is its priority; overtaking is counted in the lanes of `counted_level`, which for a child that a build waits for is
    the steps' (decision 0014).
    `ticket`, `since`, `owner` and `rank` are those of the first claim (`ticket` 0: nobody waits). `open` are the
    alternatives that are not parked; `stamps` tell valid parkings from stale ones (0: not parked; the last two are for
    the crowd and the common accesses), `where` is the lock and need of each, `dormant` are parkings that were met while
    nobody waited. `pin` is an index, or -1; `on` says for each access of the pin whether it reserves now. `watches`
    find out when the first claim becomes due, but those `taken` where it is; `extra` are single lanes watched besides,
    for a pin or (`pending`) because no alternative could be pinned.
    """

    __slots__ = (
        "alone",
        "alts",
        "base",
        "common",
        "common_lanes",
        "counted_level",
        "crowd",
        "dormant",
        "extra",
        "free",
        "full",
        "gone",
        "level",
        "live",
        "needs_free",
        "newest",
        "offered",
        "on",
        "open",
        "own",
        "own_alts",
        "owner",
        "pending",
        "pin",
        "pinned",
        "place",
        "plain",
        "plainly",
        "plan",
        "queue",
        "rank",
        "serial",
        "shape",
        "since",
        "sources",
        "special",
        "stamps",
        "standing",
        "taken",
        "ticket",
        "watches",
        "where",
    )

    def __init__(
        self,
        serial: int,
        shape: Shape,
        level: int,
        special: bool,
        child: bool,
        newest: bool,
        plan: str,
        standing: Standing | None,
    ) -> None:
        self.serial = serial
        self.shape = shape
        self.level = level
        self.plan = plan
        self.standing = standing
        self.full: tuple[Share, ...] = ()
        self.base = (STEP_LEVEL + 2 - level) * NO_BARRIER
        self.counted_level = counted = STEP_LEVEL if child else level
        self.special = special
        self.newest = newest
        self.alone = special or newest
        self.plainly = not (special or shape.pooled)
        self.queue: list[int] = []
        self.live = 0
        self.ticket = self.since = self.owner = self.place = self.rank = self.plain = 0
        self.alts: list[tuple[Access, ...]] = [
            tuple((lock, units, lock.lane(counted)) for lock, units in each) for each in shape.alternatives
        ]
        self.own = shape.own
        self.common = shape.common
        self.common_lanes = [lock.lane(counted) for lock, _ in shape.common]
        self.own_alts = [tuple((lock, units, lock.lane(counted)) for lock, units in each) for each in shape.own]
        self.open = set(range(len(self.alts)))
        self.stamps = [0] * (len(self.alts) + 2)
        self.dormant: list[int] = []
        self.sources: list[Lock] = []
        self.crowd: Crowd | None = None
        self.offered = False
        self.gone = False
        self.pin = -1
        self.pinned: tuple[Access, ...] = ()
        self.on: list[bool] = []
        self.free = False
        self.needs_free = False
        self.where: list[tuple[Lock, int]] = [NOWHERE] * len(self.stamps)
        self.watches: dict[Watch, None] = {}
        self.taken: dict[Watch, None] = {}
        self.extra: dict[Lane, None] = {}
        self.pending = False
        for lane in self.lanes():
            lane.users += 1
            lane.lock.lane(level)  # where its grant is entered by its priority: a later one of that level must be right

    def __lt__(self, other: "ClaimClass") -> bool:
        return self.serial < other.serial

    def over(self) -> tuple[Share, ...]:
        """The shares of which the first claim's project has its part, so that it comes after those who have less.

        What its project got later does not count against a barrier, or it could be kept waiting for ever.
        """
        standing = self.standing
        if standing is None or not standing.begins:
            return ()
        return self.full if self.pin >= 0 else standing.over

    def beats(self, other: "ClaimClass") -> bool:
        """Whether the first claim comes before another that it does not come before by rank (L93, L94).

        Nobody is beaten in a ring: who has less beats who has its share, and else the earlier turn beats the later.
        """
        mine, its = self.standing, other.standing
        if mine is None or its is None or mine is its:
            return False
        over = other.over()
        if self.over():
            return False if not over else self._is_earlier(other)
        if over:
            return any(share in mine.shares for share in over)
        return self._is_earlier(other)

    def exempts(self, other: "ClaimClass") -> bool:
        """Whether a reservation of this one does not concern another, who has less of what its project has (L93)."""
        if other.standing is None:
            return False
        over = other.over()
        return any(share in other.standing.shares and share not in over for share in self.full)

    def _is_earlier(self, other: "ClaimClass") -> bool:
        """Whether, of two of one level that need something of the same share, this one's turn comes first.

        Claims of one party are in no such order: each may need something of other shares besides.
        """
        mine, its = self.standing, other.standing
        if mine is None or its is None or mine.turn >= its.turn or self.level != other.level:
            return False
        if self.pin >= 0 or other.pin >= 0:
            return False
        return any(mine.parties.get(share, party) != party for share, party in its.parties.items())

    def lanes(self) -> dict[Lane, None]:
        """All lanes of all alternatives."""
        return {lane: None for each in self.alts for _, _, lane in each}

    def servable(self, index: int) -> bool:
        """Whether this alternative could be served as the limits are now (L5)."""
        return all(lock.admits(units) for lock, units, _ in self.alts[index])

    def servable_once_open(self, index: int) -> bool:
        """The same, if closed locks were open: somebody's end will do (L6)."""
        return all(lock.will_admit(units) for lock, units, _ in self.alts[index])

    def servable_in_time(self, index: int) -> bool:
        """The same, were no start rate used up."""
        return all(lock.could_admit(units) for lock, units, _ in self.alts[index])
