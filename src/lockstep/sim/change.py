"""A set-up with more workers: what `rehearse` compares with today. Pure; other limits of locks are the configuration's.

A copy of a worker has its locks with its limits, and is in the list of every builder that names the worker, right
behind it.
"""

from collections.abc import Iterable

from msgspec import structs

from lockstep.core.nouns import Access, Alternative, LockKey, Need
from lockstep.core.values import BuilderSetup, Setup


def with_copy(setup: Setup, worker: str, copy: str) -> Setup:
    """The set-up with one more worker that is like another one."""
    workers = [structs.replace(one, name=copy) for one in setup.workers if one.name == worker]
    locks = [structs.replace(lock, key=_key(lock.key, copy)) for lock in setup.locks if lock.key.worker == worker]
    leases = [structs.replace(one, key=_key(one.key, copy)) for one in setup.leases if one.key.worker == worker]
    return structs.replace(
        setup,
        workers=(*setup.workers, *workers),
        locks=(*setup.locks, *locks),
        leases=(*setup.leases, *leases),
        builders=tuple(_builder(builder, worker, copy) for builder in setup.builders),
    )


def _builder(builder: BuilderSetup, worker: str, copy: str) -> BuilderSetup:
    if worker not in builder.workers:
        return builder
    stages = tuple(structs.replace(stage, need=_need(stage.need, worker, copy)) for stage in builder.stages)
    return structs.replace(
        builder,
        workers=tuple(_beside(builder.workers, worker, copy)),
        need=_need(builder.need, worker, copy),
        known=_need(builder.known, worker, copy),
        stages=stages,
    )


def _beside(names: Iterable[str], worker: str, copy: str) -> Iterable[str]:
    for name in names:
        yield name
        if name == worker:
            yield copy


def _need(need: Need | None, worker: str, copy: str) -> Need | None:
    if need is None:
        return None
    ways = []
    for way in need.alternatives:
        ways.append(way)
        if way.worker == worker:
            accesses = (structs.replace(a, lock=_key(a.lock, copy)) if a.lock.worker else a for a in way.accesses)
            ways.append(Alternative(copy, tuple[Access, ...](accesses)))
    return Need(tuple(ways))


def _key(key: LockKey, worker: str) -> LockKey:
    return LockKey(key.kind, key.name, worker)
