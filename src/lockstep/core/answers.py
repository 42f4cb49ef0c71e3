"""What answers about waiting are made of: who, which lock, since when; and how people say durations and lists.

Values and two small helpers. `reasons.py` finds the answers.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Struct

SHOWN: Final = 3
"""So many names a sentence lists before it says how many more there are."""

WhyKind = Literal[
    "lock",
    "rate",
    "reserved",
    "withheld",
    "worker",
    "hook",
    "never",
    "quarantine",
    "preparing",
    "builds",
    "sleep",
    "running",
    "turn",
    "ended",
]


class Party(Struct, kw_only=True, frozen=True):
    """Whoever holds or waits: a request, a build or a step of one, a booking. `text` names it for people."""

    kind: Literal["request", "build", "step", "booking", "unknown"]
    text: str
    builder: str = ""
    requestid: int | None = None
    buildid: int | None = None
    number: int | None = None
    step: int | None = None
    step_name: str | None = None
    booking: int | None = None


def booking_party(ticket: int, who: str, reason: str) -> Party:
    """Whoever has a booking, or waits with one."""
    text = f"{who or 'nobody'} (booking {ticket}{f': {reason}' if reason else ''})"
    return Party(kind="booking", text=text, booking=ticket)


class Holder(Struct, kw_only=True, frozen=True):
    """A hold of one lock. `since` is Unix time; None if it is not known, being older than the store's schema.

    `until` is when a booking ends, None if it has no end; `leased`: a program has it, which must have stopped before.
    `lent_by`: a build that waits for this one, and lends what it has of the lock (L53).
    """

    by: Party
    hold: int
    units: int
    exclusive: bool
    fence: int
    since: float | None
    until: float | None = None
    leased: bool = False
    lent_by: Party | None = None
    names: tuple[str, ...] = ()
    """The units that it has of a pool."""


class Kept(Struct, kw_only=True, frozen=True):
    """What is kept free for a barrier at one lock (L42). `units` is 0 where it is the whole lock."""

    lock: str
    units: int
    exclusive: bool


class Shortage(Struct, kw_only=True, frozen=True):
    """One lock that a claim lacks: what it wants of it, who has it, who is ahead, and how often it was passed.

    `why` is the allocator's kind of obstacle: `held` by `holders`, `reserved` for `reserved_for`, `limit`: it could
    never be served (L5), or `rate`: its start rate is used up until `starts_at`, Unix time. Of at most `max_overtakes`
    times (K) it was passed `passed` times, and may be `may_pass` times more by those who are `behind` it; then it is
    next (L42). None: by any who come, since the newest comes first. Whom it waits for itself may pass it at any time
    (L46).
    """

    lock: str
    kind: str
    name: str
    worker: str
    why: str
    units: int
    exclusive: bool
    limit: int
    used: int
    ahead: int
    behind: int
    passed: int
    may_pass: int | None
    max_overtakes: int
    holders: tuple[Holder, ...] = ()
    reserved_for: tuple[Party, ...] = ()
    starts_at: float | None = None
    where: str = ""
    """Which units of a pool would do."""
    before: str = ""
    """What had the name before a reload, as another kind, and who has it: that must be free first (L6)."""
    out: tuple[str, ...] = ()
    """Of those, the ones in quarantine, each with the reason."""


class WorkerReason(Struct, kw_only=True, frozen=True):
    """Why a build cannot start on one of its workers now."""

    worker: str
    reason: str


class Expected(Struct, kw_only=True, frozen=True):
    """When a claim is expected to be granted, Unix time: the median and an 80 % range; None where nobody can say."""

    sentence: str
    at: float | None = None
    earliest: float | None = None
    latest: float | None = None


class Why(Struct, kw_only=True, frozen=True):
    """Why something waits. `since` is when it began to, Unix time.

    `can_start` is false if it never can as limits, workers and configuration are (L5), None if it does not wait for
    locks. A `barrier` waits behind what is `kept` free for it; `reserves` says the same in words.
    Who asks may add when it is `expected` to start. `gives_up_at` is when its `waitTimeout` is over, Unix time.
    """

    kind: WhyKind
    sentence: str
    since: float | None = None
    ticket: int = 0
    locks: tuple[Shortage, ...] = ()
    workers: tuple[WorkerReason, ...] = ()
    reserves: str = ""
    can_start: bool | None = None
    barrier: bool = False
    kept: tuple[Kept, ...] = ()
    expected: Expected | None = None
    gives_up_at: float | None = None


class Waiter(Struct, kw_only=True, frozen=True):
    """A claim in a lock's queue, at its place (from 1)."""

    place: int
    by: Party
    ticket: int
    units: int
    exclusive: bool
    since: float | None
    passed: int
    barrier: bool
    reason: str
    where: str = ""
    """Which units of a pool would do."""


class Unit(Struct, kw_only=True, frozen=True):
    """A unit of a pool as it is now. `worn`: it was handed over so often. `failed`: builds in a row that had it.

    Since when it is in quarantine, because of whom (empty: by itself) and why; None if it is not. `checked_again_at`:
    when it is looked at again (`healthCheckRetry`), Unix time; None if it is not, or is well. `holds`: those that
    have it; two, if one lends it to the other. `removed`: only whoever has it knows it still.
    """

    name: str
    labels: tuple[str, ...]
    data: dict[str, Any]
    worn: int
    holds: tuple[int, ...]
    quarantined_at: float | None = None
    quarantined_by: str | None = None
    quarantine: str | None = None
    checked_again_at: float | None = None
    failed: tuple[str, ...] = ()
    removed: bool = False


class PartOfShare(Struct, kw_only=True, frozen=True):
    """What a project has of all that is shared: `used` of the `due` units, which are its part by `weight`; what it has
    beyond that is `borrowed`. `here` are those of the lock that is asked about. `who` names it for people."""

    project: str
    who: str
    weight: int
    used: int
    due: float
    borrowed: float
    here: int


class Shared(Struct, kw_only=True, frozen=True):
    """With what else a lock is shared, and what each project has of all that together."""

    together: tuple[str, ...]
    parts: tuple[PartOfShare, ...]


class LockView(Struct, kw_only=True, frozen=True):
    """A lock as it is now: who holds it, and who waits for it in the order of L40. `limit` None: there is none.

    At most `max_waiting` requests may wait for it (None: any number); `when_full` says who is cancelled then. `order`
    is that of its waiters, `rate` how often it may be granted, as text; empty: as often as there is room.
    """

    lock: str
    kind: str
    name: str
    worker: str
    limit: int | None
    used: int
    max_overtakes: int
    removed: bool
    holders: tuple[Holder, ...]
    waiting: int
    waiters: tuple[Waiter, ...]
    max_waiting: int | None = None
    when_full: Literal["cancelOldest", "cancelNewest"] | None = None
    order: str = "priority"
    rate: str = ""
    units: tuple[Unit, ...] = ()
    """Of a pool, each of them."""
    quarantine_after: int | None = None
    shared: Shared | None = None


def span(seconds: float) -> str:
    """A duration as people say it."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days"


def exactly(seconds: float) -> str:
    """A length of time that somebody has set, in full: `60 s`, `1 min 30 s`, `1 h`, `2 days`."""
    parts, rest = [], seconds
    for unit, size in (("day", 86400), ("h", 3600), ("min", 60)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:g} {unit}{'s' * (unit == 'day' and count != 1)}")
    return " ".join([*parts, f"{rest:g} s"] if rest or not parts else parts)


def listed(names: Sequence[str], more: str = "more") -> str:
    """Names as an English list; at most `SHOWN` of them."""
    if len(names) > SHOWN:
        return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} {more}"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def times(number: int) -> str:
    """How often."""
    return "once" if number == 1 else f"{number} times"


def all_reasons(reasons: Sequence[WorkerReason]) -> str:
    """Why a build cannot start on its workers; for at most `SHOWN` of them."""
    told = [f"{each.worker} {each.reason}" for each in reasons]
    if len(told) > SHOWN:
        return f"{'; '.join(told[:SHOWN])}; and {len(told) - SHOWN} more are not free either"
    return "; ".join(told)
