"""What a server was asked for in some time, and how the builds went: for rehearsals of the same load.

Reading only, whole periods at once. What builds of one builder took is in `courses.py` too, for forecasts.
"""

from collections import defaultdict
from hashlib import blake2b

from msgspec import Struct

from lockstep.core.nouns import Access
from lockstep.storage.courses import ENDED, step_locks
from lockstep.storage.reading import Reader


class PastStep(Struct, frozen=True):
    """A step that ended: how long it ran itself, neither waiting for locks nor for builds; and what it claimed."""

    number: int
    name: str
    seconds: float
    accesses: tuple[Access, ...] = ()


class PastBuild(Struct, frozen=True):
    """A build that ran to its end: when it began, its steps, and what it took beside them."""

    buildid: int
    started: float
    steps: tuple[PastStep, ...]
    rest: float


class PastRequest(Struct, frozen=True):
    """A request. `alike` is the same for those that could be merged; empty: with none.

    `parent` is the step that asked for it: build id and number; `awaited`: that step waited. `build` is None where
    it says nothing about how long a build takes: it was merged, cancelled or put back, or runs still.
    """

    brid: int
    builder: str
    at: float
    priority: int
    alike: str
    parent: tuple[int, int] | None = None
    awaited: bool = False
    build: PastBuild | None = None


_REQUESTS = (
    "SELECT r.brid, r.builderid, r.submitted_at, r.priority, r.collapse_key, s.parent_buildid, s.parent_step, "
    "s.waited_for FROM requests r JOIN buildsets s ON s.bsid = r.bsid WHERE r.submitted_at >= ? "
    "ORDER BY r.brid DESC"
)
_BUILDS = (
    "SELECT brid, buildid, workerid, started_at, complete_at, results FROM builds "
    "WHERE complete_at IS NOT NULL AND brid IN"
)
_STEPS = "SELECT buildid, number, name, started_at, locks_acquired_at, complete_at FROM steps WHERE buildid IN"
_AWAITED = (
    "SELECT parent_buildid, parent_step, submitted_at, complete_at FROM buildsets "
    "WHERE waited_for AND complete_at IS NOT NULL AND parent_buildid IN"
)


def latest(reader: Reader) -> float:
    """When the last request came, Unix time; 0 if there is none."""
    return float(reader.rows("SELECT max(submitted_at) FROM requests")[0][0] or 0.0)


def requests_since(reader: Reader, since: float, most: int) -> list[PastRequest]:
    """The requests since a moment, in order; the newest so many if there are more."""
    builders = dict(reader.rows("SELECT builderid, name FROM builders"))
    rows = reader.rows(f"{_REQUESTS} LIMIT {most}", (since,))[::-1]
    builds = _builds(reader, [row[0] for row in rows])
    return [
        PastRequest(
            brid=brid,
            builder=builders.get(builderid, ""),
            at=at,
            priority=priority,
            alike="" if key is None else blake2b(bytes(key), digest_size=8).hexdigest(),
            parent=None if parent is None else (parent, step),
            awaited=bool(awaited),
            build=builds.get(brid),
        )
        for brid, builderid, at, priority, key, parent, step, awaited in rows
    ]


def _builds(reader: Reader, brids: list[int]) -> dict[int, PastBuild]:
    """The last build of each of these requests, where it ran to its end."""
    workers = dict(reader.rows("SELECT workerid, name FROM workers"))
    last: dict[int, tuple[int, str, float, float]] = {}
    for brid, buildid, workerid, started, ended, results in sorted(reader.rows_in(_BUILDS, brids)):
        last.pop(brid, None)
        if results in ENDED:
            last[brid] = (buildid, workers.get(workerid, ""), started, ended)
    on = {buildid: worker for buildid, worker, _, _ in last.values()}
    steps, spent = _steps(reader, on)
    return {
        brid: PastBuild(buildid, started, tuple(steps[buildid]), max(0.0, ended - started - spent[buildid]))
        for brid, (buildid, _, started, ended) in last.items()
    }


def _steps(reader: Reader, on: dict[int, str]) -> tuple[dict[int, list[PastStep]], dict[int, float]]:
    """The steps of these builds, and how long they lasted in all, waits included."""
    ids = list(on)
    locks = step_locks(reader, on)
    waited: dict[tuple[int, int], tuple[float, float]] = {}
    for buildid, number, began, ended in reader.rows_in(_AWAITED, ids):
        before = waited.get((buildid, number), (began, ended))
        waited[buildid, number] = (min(before[0], began), max(before[1], ended))
    steps: dict[int, list[PastStep]] = defaultdict(list)
    spent: dict[int, float] = defaultdict(float)
    for buildid, number, name, started, acquired, ended in sorted(reader.rows_in(_STEPS, ids)):
        if ended is None:
            continue
        began, done = waited.get((buildid, number), (0.0, 0.0))
        ran = 0.0 if acquired is None else max(0.0, ended - acquired - (done - began))
        steps[buildid].append(PastStep(number, name, ran, tuple(locks.get((buildid, number), ()))))
        spent[buildid] += ended - started
    return steps, spent
