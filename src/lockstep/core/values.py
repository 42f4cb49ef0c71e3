"""Values that events and facts are made of: source stamps, changes, submissions, plans of steps, the set-up.

Only frozen records live here. The nouns of locks are in `nouns.py`, what a step may ask for is in `calls.py`.
"""

from math import isfinite
from typing import Any, Final, Literal

from msgspec import Struct, field

from lockstep.core.limits import MAX_DEPTH, MAX_WHOLE
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, Access, LockKey, LockKind, Need
from lockstep.core.where import Where

Properties = dict[str, tuple[Any, str]]
"""Property name to (plain value, where it came from). Values are what JSON can say."""


def storable(value: Any, depth: int = 0) -> bool:
    """Whether every store takes a plain value: its numbers are finite, whole ones not too great, and it is not nested
    too deep (`depth`: so many lists and dictionaries are around it already).
    """
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, int):
        return abs(value) <= MAX_WHOLE
    if not isinstance(value, dict | list | tuple):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth < MAX_DEPTH and all(storable(each, depth + 1) for each in inner)


class Patch(Struct, frozen=True, kw_only=True):
    """A change that is in no repository yet."""

    body: bytes
    level: int = 0
    subdir: str = ""
    author: str = ""
    comment: str = ""


class SourceStamp(Struct, frozen=True, kw_only=True):
    """What to build: one per codebase. `changes` are the ids of the changes that asked for it."""

    codebase: str = ""
    repository: str = ""
    project: str = ""
    branch: str | None = None
    revision: str | None = None
    patch: Patch | None = None
    changes: tuple[int, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """Something that happened in a repository. `changeid` is 0 until the core has numbered it; `when` is Unix time."""

    author: str
    comments: str = ""
    files: tuple[str, ...] = ()
    branch: str | None = None
    revision: str | None = None
    revlink: str = ""
    repository: str = ""
    project: str = ""
    codebase: str = ""
    category: str | None = None
    properties: Properties = field(default_factory=dict)
    when: float = 0.0
    changeid: int = 0
    source: str = ""


class RequestWish(Struct, frozen=True, kw_only=True):
    """One build that a submission asks for. `properties` are added to those of the build set."""

    builder: str
    priority: int = 0
    properties: Properties = field(default_factory=dict)


class Submission(Struct, frozen=True, kw_only=True):
    """A build set as a scheduler, a person or a Trigger step asks for it."""

    requests: tuple[RequestWish, ...]
    reason: str = ""
    scheduler: str = ""
    sourcestamps: tuple[SourceStamp, ...] = (SourceStamp(),)
    properties: Properties = field(default_factory=dict)
    external_id: str | None = None
    rebuilt_buildid: int | None = None
    collapse: bool = True
    """Whether these requests may be merged with compatible ones that wait (`force --count N` says no)."""


BookingEnding = Literal["released", "expired", "lost", "stolen", "cancelled"]
"""How a booking ended: given back, its time was over, its lease was not renewed, taken away, or given up waiting."""


class BookingWish(Struct, frozen=True, kw_only=True):
    """Locks that a person, or a program outside of Lockstep, wants to hold: all of them or none.

    `seconds` is how long it lasts after the grant, 0: until it is given back. `lease`: whoever asked must renew the
    booking within so many seconds, or it is lost; 0: nobody must. `key` is the digest of a secret that only whoever
    asked knows, and must show to renew or release; empty: none. The same `key` again, or the same `once` (a digest,
    too), is the same booking: its answer was lost. `notify` is an address that is told what happens.
    """

    accesses: tuple[Access, ...]
    who: str = ""
    reason: str = ""
    priority: int = 0
    after_current: bool = False
    seconds: float = 0.0
    lease: float = 0.0
    key: str = ""
    once: str = ""
    notify: str = ""


class StepPlan(Struct, frozen=True, kw_only=True):
    """What the core must know of a step to put builds together: its name and its flags (BUILDBOT.md section 1).

    `replayable` is False for a step that does input and output of its own (HOUSE.md section 2.6). Steps of one `group`
    (not 0) have locks in common, which are held from the first of them that runs to the last (`LockedSteps`). `raises`
    is what the configuration with which its build began says that the step takes for itself of what the build shares.
    """

    name: str
    haltOnFailure: bool = False
    flunkOnFailure: bool = True
    flunkOnWarnings: bool = False
    warnOnFailure: bool = False
    warnOnWarnings: bool = False
    alwaysRun: bool = False
    replayable: bool = True
    step_class: str = ""
    group: int = 0
    raises: tuple[Access, ...] = ()


class LockSetup(Struct, frozen=True):
    """A lock's limit as configured, and how often a waiter may be overtaken there (L42)."""

    key: LockKey
    limit: int
    max_overtakes: int = DEFAULT_MAX_OVERTAKES


class UnitSetup(Struct, frozen=True):
    """A unit of a pool: its name, its labels, and what builds are told of it (its name is a label, too)."""

    name: str
    labels: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


class PoolSetup(Struct, frozen=True):
    """A pool as configured: its units, and how often a waiter may be overtaken there (L42).

    A unit goes into quarantine after `quarantine_after` builds in a row that had it and failed; 0: never by itself.
    `checked`: the server looks at a unit before anything is done with it. One that is in quarantine because it was not
    fit is looked at again after `retry` seconds, until it is fit; 0: never.
    """

    name: str
    units: tuple[UnitSetup, ...]
    max_overtakes: int = DEFAULT_MAX_OVERTAKES
    quarantine_after: int = 0
    checked: bool = False
    retry: float = 0.0

    def words(self) -> set[str]:
        """All that a `where` may name: labels, and names of units."""
        return {word for unit in self.units for word in (unit.name, *unit.labels)}

    def admitted(self, where: Where) -> int:
        """How many of the units a `where` admits."""
        return sum(where.admits({unit.name, *unit.labels}) for unit in self.units)


class LockLease(Struct, frozen=True):
    """So many seconds at least, or `FOR_EVER`, a hold of this lock waits for a worker that is out of reach (L61)."""

    key: LockKey
    seconds: float


class QueueRule(Struct, frozen=True):
    """At most so many requests wait for the locks of this kind and name (`maxWaiting`, `whenFull`).

    `newest`: if there are more, those that came last are cancelled; else those that came first.
    """

    kind: LockKind
    name: str
    most: int
    newest: bool = False


class QueueOrder(Struct, frozen=True):
    """Who waits for the locks of this kind and name is served in another order than by priority (L40).

    `fifo`: by time alone. `newest`: whoever came last first, and nobody is due for having been passed.
    """

    kind: LockKind
    name: str
    order: Literal["fifo", "newest"]


class StartRate(Struct, frozen=True):
    """At most so many `starts` (grants) of a lock of this kind and name in any `seconds`."""

    kind: LockKind
    name: str
    starts: int
    seconds: float


class ShareRule(Struct, frozen=True):
    """What projects have by weight: all these `locks` (kind and name) and the slots of these `workers` together.

    All projects that are not named, and who has none, have together the weight of `*`.
    """

    name: str
    weights: tuple[tuple[str, int], ...]
    locks: tuple[tuple[LockKind, str], ...] = ()
    workers: tuple[str, ...] = ()

    def names(self, key: LockKey) -> bool:
        """Whether this lock is one of them."""
        return (key.kind, key.name) in self.locks or (key.kind == "slot" and key.worker in self.workers)


FOR_EVER: Final = -1.0
"""A lease that ends when the worker is back, or when a person says that nothing runs there."""


class WorkerSetup(Struct, frozen=True, kw_only=True):
    """A configured worker. `max_builds` None means no limit (L23); `max_overtakes` is the K of its slots (L42).

    `lease` is what an agent is told that the server starts itself; `patience` is how long at least this worker is
    waited for when it is out of reach, or `FOR_EVER`: never less than it has announced (L61).
    """

    name: str
    max_builds: int | None = None
    lease: float = 60.0
    patience: float = 0.0
    max_overtakes: int = DEFAULT_MAX_OVERTAKES


class Stage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of a builder that may claim something, or wait for builds, while its build runs (L50).

    `number` is its place in the factory, from 1. `need` is what it claims: one alternative for each worker, or a single
    one, of no worker, that is the same on all of them. `children` are the builders of whose builds it may wait for the
    end, one for each build. `open` means that there may be more, known only at run time: what is rendered, what code
    of the user's own claims, steps that it adds. `place` is where it stands (`master.cfg:12`). `held` is what its
    build holds meanwhile because of steps before it (`LockedSteps`, made at `held_place`); a step that may find it
    held, or may be the first to claim it, is there twice.
    """

    number: int
    name: str
    place: str = ""
    need: Need | None = None
    children: tuple[str, ...] = ()
    open: bool = False
    held: Need | None = None
    held_place: str = ""

    def on(self, worker: str) -> tuple[Access, ...]:
        """What it claims on that worker."""
        return _on(self.need, worker)

    def held_on(self, worker: str) -> tuple[Access, ...]:
        """What steps before it have claimed on that worker and left to it."""
        return _on(self.held, worker)


def _on(need: Need | None, worker: str) -> tuple[Access, ...]:
    for each in need.alternatives if need is not None else ():
        if each.worker in ("", worker):
            return each.accesses
    return ()


class BuilderSetup(Struct, frozen=True, kw_only=True):
    """A configured builder.

    `need` has one alternative per worker, slot, build directory and locks included (L21-L23, L26). It is None where
    something in `locks=` must be rendered for each request, or a hook chooses among the workers (L24, L24a); then
    `known` is as much of it as the configuration says, on every worker, and `open` means that more may be rendered.
    """

    name: str
    workers: tuple[str, ...]
    need: Need | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    project: str = ""
    collapse: bool = True
    """Whether compatible waiting requests are merged (`collapseRequests`)."""
    collapse_asked: bool = False
    """Whether a hook says which waiting requests a new one takes in."""
    asked: bool = False
    """Whether hooks are asked about each request before it waits, though its need is known (L24a)."""
    known: Need | None = None
    open: bool = False
    place: str = ""
    stages: tuple[Stage, ...] = ()
    """What its builds may still claim once they run, in the order of the factory (L50, L51). Steps that claim nothing
    and wait for no builds have none."""

    @property
    def planned(self) -> Need:
        """What a build needs to start, as far as the configuration says."""
        return self.need or self.known or Need(())


class Rank(Struct, frozen=True, kw_only=True):
    """What hooks say of a builder's place in the queue (L24a): it comes before the priority of a request.

    Requests of builders with a greater `order` come first, of one builder the request `chosen` (0: none). `held`:
    no build of it starts for now. `told` says why, or what a hook raised.
    """

    order: int = 0
    chosen: int = 0
    held: bool = False
    told: str = ""


class SchedulerSetup(Struct, frozen=True, kw_only=True):
    """A configured scheduler, as pages and the API show it."""

    name: str
    kind: str
    builders: tuple[str, ...] = ()


class Setup(Struct, frozen=True, kw_only=True):
    """What the core knows of a configuration. Locks include every slot and build directory that a need names."""

    workers: tuple[WorkerSetup, ...] = ()
    builders: tuple[BuilderSetup, ...] = ()
    locks: tuple[LockSetup, ...] = ()
    pools: tuple[PoolSetup, ...] = ()
    leases: tuple[LockLease, ...] = ()
    queues: tuple[QueueRule, ...] = ()
    orders: tuple[QueueOrder, ...] = ()
    rates: tuple[StartRate, ...] = ()
    shares: tuple[ShareRule, ...] = ()
    schedulers: tuple[SchedulerSetup, ...] = ()
    sources: tuple[str, ...] = ()
    master_name: str = "lockstep"
