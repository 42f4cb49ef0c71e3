"""How a builder's last builds went: how long each step took, and under which locks. For forecasts (L70).

Reading only. Builds that were put back, cancelled or broken say nothing about how long one takes, and are left out.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from lockstep.core.forecast import OWN_WORKER, Course, Phase
from lockstep.core.nouns import Access, LockKey, Result
from lockstep.storage.reading import Reader

ENDED = (int(Result.SUCCESS), int(Result.WARNINGS), int(Result.FAILURE))
"""Results of builds that went all the way."""

_BUILDS = (
    "SELECT buildid, workerid, started_at, complete_at, results FROM builds WHERE builderid = ? "
    "AND complete_at IS NOT NULL ORDER BY number DESC"
)
_STEPS = "SELECT buildid, number, started_at, locks_acquired_at, complete_at FROM steps WHERE buildid IN"
_LOCKS = (
    "SELECT buildid, step, kind, name, worker, labels, units, exclusive FROM lock_events "
    "WHERE event = 'granted' AND call = 0 AND step > 0 AND buildid IN"
)


def courses(reader: Reader, builderid: int, workers: Mapping[int, str], most: int) -> list[Course]:
    """The courses of the last so many builds of a builder, the newest first. Waits for locks are not in them.

    Args:
        reader: of the store.
        builderid: the builder.
        workers: their names by id.
        most: so many builds are looked at.
    """
    builds = {
        buildid: (workers.get(workerid, ""), ended - started)
        for buildid, workerid, started, ended, results in reader.rows(f"{_BUILDS} LIMIT {most}", (builderid,))
        if results in ENDED
    }
    ids = list(builds)
    locks = step_locks(reader, {buildid: worker for buildid, (worker, _) in builds.items()})
    steps: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    for buildid, number, started, acquired, ended in reader.rows_in(_STEPS, ids):
        if ended is not None:
            steps[buildid].append((number, ended - started, ended - acquired if acquired is not None else 0.0))
    return [_course(buildid, total, sorted(steps[buildid]), locks) for buildid, (_, total) in builds.items()]


def step_locks(reader: Reader, on: Mapping[int, str]) -> dict[tuple[int, int], list[Access]]:
    """What steps of these builds claimed (build id to its worker), by build id and number of the step."""
    locks: dict[tuple[int, int], list[Access]] = defaultdict(list)
    for buildid, step, kind, name, worker, labels, units, exclusive in reader.rows_in(_LOCKS, list(on)):
        own = OWN_WORKER if worker and worker == on[buildid] else worker
        mode: Any = "exclusive" if exclusive else "counting"
        locks[buildid, step].append(Access(LockKey(kind, name, own, labels or ""), mode, units))
    return locks


def _course(
    buildid: int, total: float, steps: list[tuple[int, float, float]], locks: Mapping[tuple[int, int], list[Access]]
) -> Course:
    """The steps, and at the end what the build took beside them."""
    phases = [Phase(max(0.0, ran), tuple(locks.get((buildid, number), ()))) for number, _, ran in steps]
    return (*phases, Phase(max(0.0, total - sum(lasted for _, lasted, _ in steps))))
