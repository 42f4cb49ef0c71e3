"""What is checked of a configuration as a whole: names that must be there and unique, locks that can be served.

Each check adds to the mistakes; none stops the others. What one object can check of itself is in its own file.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from lockstep.config import errors
from lockstep.config.builders import BuilderConfig
from lockstep.config.draft import Draft
from lockstep.config.errors import Place, mistake, nearest, warning
from lockstep.config.lock_table import LockTable
from lockstep.config.locked_steps import groups_in
from lockstep.config.locks import BaseLock, Lockable, WorkerLock, accesses_for, as_accesses
from lockstep.config.needs import Needs, unrendered
from lockstep.config.patience import BY_PRIORITY
from lockstep.config.pools import ResourcePool
from lockstep.config.properties import has_renderables
from lockstep.config.shares import check_shares
from lockstep.config.workers import Worker
from lockstep.core.answers import times
from lockstep.core.nouns import Access, fence_variable, variable


def check(draft: Draft, needs: Needs, table: LockTable, made: Iterable[Lockable]) -> None:
    """Report every mistake that can be seen only in the whole. `made` are the locks and pools that the file made."""
    _duplicates("workers", draft.workers)
    _duplicates("builders", draft.builders)
    _duplicates("schedulers", draft.schedulers)
    _duplicates("change sources", draft.change_sources)
    _worker_names(draft, table)
    _scheduler_builders(draft)
    _triggers(draft)
    _subscriptions(draft)
    _duplicates("pools", [thing for thing in made if isinstance(thing, ResourcePool)])
    _names_of_locks(table)
    _two_limits(table)
    _one_variable(table)
    _horizons(draft)
    if not draft.incomplete:
        slots = {worker.name: worker.max_builds for worker in draft.workers}
        check_shares(draft.shares, slots, (builder.project for builder in draft.builders))
    for worker in draft.workers:
        if has_renderables(worker.locks):
            mistake(f'locks of worker "{worker.name}" cannot be rendered: name them', place=worker.place)
    for builder in draft.builders:
        builder.factory.check()
        if _locks_are_locks(builder):
            _build_and_step(builder, needs)
            _group_and_step(builder)
            errors.guarded(partial(_servable, builder, needs))


def _horizons(draft: Draft) -> None:
    """A janitor that has nothing to do."""
    janitor = draft.janitor
    if janitor is None or draft.changeHorizon is not None:
        return
    if janitor.logHorizon is None and janitor.buildHorizon is None:
        text, hint = "nothing is ever deleted", "give logHorizon=, buildHorizon= or both, or c['changeHorizon']"
        warning(f"{type(janitor).__name__}: {text}", hint, janitor.place)


def _duplicates(what: str, things: Iterable[Any]) -> None:
    """Two things of one name."""
    seen: dict[str, Place] = {}
    for thing in things:
        if thing.name in seen and thing.name != errors.NO_NAME:
            text = f'two {what} have the name "{thing.name}"'
            mistake(text, f"the first is at {seen[thing.name]}", thing.place)
        else:
            seen[thing.name] = thing.place


def _worker_names(draft: Draft, table: LockTable) -> None:
    """Builders and worker locks that name workers which are not there."""
    if "workers" in draft.incomplete:
        return
    known = list(dict.fromkeys(worker.name for worker in draft.workers))
    for builder in draft.builders:
        for name in builder.workernames:
            if name not in known:
                hint = nearest(name, known) or (f"workers are: {', '.join(known)}" if known else "there are no workers")
                mistake(f'{builder.what}: there is no worker "{name}"', hint, builder.place)
    for lock in table.all():
        for name in lock.maxCountForWorker if isinstance(lock, WorkerLock) else ():
            if name not in known:
                text = f'lock "{lock.name}" has a limit for worker "{name}", which is not there'
                warning(text, nearest(name, known), lock.place)


def _scheduler_builders(draft: Draft) -> None:
    """Schedulers that name builders which are not there."""
    known = [builder.name for builder in draft.builders]
    for scheduler in draft.schedulers if "builders" not in draft.incomplete else ():
        names = scheduler.builderNames
        if isinstance(names, list | tuple | set | frozenset):
            for name in names:
                if isinstance(name, str) and name not in known:
                    hint = nearest(name, known) or (f"builders are: {', '.join(known)}" if known else "there are none")
                    mistake(f'scheduler "{scheduler.name}": there is no builder "{name}"', hint, scheduler.place)
    for scheduler in draft.schedulers if "schedulers" not in draft.incomplete else ():
        upstream: Any = getattr(scheduler, "upstream", None)
        if hasattr(upstream, "name") and all(upstream is not s for s in draft.schedulers):
            text = f'scheduler "{scheduler.name}": its upstream "{upstream.name}" is not in c[\'schedulers\']'
            mistake(text, "", scheduler.place)


def _triggers(draft: Draft) -> None:
    """Trigger steps that name schedulers which are not there."""
    if "schedulers" in draft.incomplete:
        return
    known = [scheduler.name for scheduler in draft.schedulers]
    for builder, step in _steps(draft.builders):
        ours = type(step).__module__.startswith("lockstep.")  # a user's subclass may choose its schedulers itself
        names = getattr(step, "schedulerNames", None) if ours else None
        for name in names if isinstance(names, list | tuple) else ():
            if isinstance(name, str) and name not in known:
                hint = nearest(name, known)
                mistake(f'step "{step.name}" of {builder.what}: there is no scheduler "{name}"', hint, step.place)


def _subscriptions(draft: Draft) -> None:
    """Locks of 2004 that name builders which are not there."""
    if "builders" in draft.incomplete:
        return
    known = [builder.name for builder in draft.builders]
    for name, locks in draft.subscribed.items():
        if name not in known:
            for lock in locks:
                mistake(f'lock "{lock.name}": there is no builder "{name}"', nearest(name, known), lock.place)


def _steps(builders: Iterable[BuilderConfig]) -> list[tuple[BuilderConfig, Any]]:
    """Every step of every factory once, with one of its builders."""
    seen: dict[int, tuple[BuilderConfig, Any]] = {}
    for builder in builders:
        for step in builder.factory.steps:
            seen.setdefault(id(step), (builder, step))
    return list(seen.values())


def _names_of_locks(table: LockTable) -> None:
    """Pools that have the name of a lock: who asks for one by its name could mean either."""
    for lock in table.all():
        pool = table.pools.get(lock.name)
        if pool is not None:
            mistake(f"{pool.told} has the name of a lock (made at {lock.place})", "rename one of them", pool.place)


def _two_limits(table: LockTable) -> None:
    """Locks that were made twice, with different limits (L7)."""
    for first, other in table.disagreements():
        kind = "worker lock" if isinstance(first, WorkerLock) else "master lock"
        text = f'{kind} "{first.name}" was made with other limits at {first.place}; the smaller one holds'
        warning(text, f"{_limits(first)} there, {_limits(other)} here: make it once", other.place)


def _one_variable(table: LockTable) -> None:
    """Names that differ in signs only: one environment variable would tell of both (L62)."""
    first: dict[str, Lockable] = {}
    for lock in (*table.all(), *table.pools.values()):
        name = fence_variable(lock.name)
        other = first.setdefault(name, lock)
        if other.name != lock.name:
            text = f'the fences of locks "{other.name}" (made at {other.place}) and "{lock.name}" have one variable'
            hint = f"who holds both finds the second in {name}_2 instead of {name}: rename one of them"
            warning(text, hint, lock.place)
    told: dict[str, str] = {}
    for pool in table.pools.values():
        for key in dict.fromkeys(key for unit in pool.setup.units for key in unit.data):
            name, what = variable("UNIT", pool.name, key), f'"{key}" of {pool.told}'
            before = told.setdefault(name, what)
            if before != what:
                hint = f"who is told of both finds the second in {name}_2 instead of {name}: rename one of them"
                warning(f"{before} and {what} have one variable", hint, pool.place)


def _limits(lock: BaseLock) -> str:
    """A lock's limits in a message."""
    text = f"maxCount={lock.maxCount}"
    if isinstance(lock, WorkerLock) and lock.maxCountForWorker:
        text += f", maxCountForWorker={lock.maxCountForWorker}"
    if lock.maxWaiting is not None:
        text += f", maxWaiting={lock.maxWaiting}, whenFull={lock.whenFull!r}"
    if lock.order != BY_PRIORITY:
        text += f", order={lock.order!r}"
    if lock.rate is not None:
        text += f", rate='{lock.rate[0]}/{lock.rate[1]:g}s'"
    return text


def _locks_are_locks(builder: BuilderConfig) -> bool:
    """Whether each `locks=` list holds locks, none of them twice and once exclusive; reports those that do not.

    One that is there twice and counted is claimed twice (L12), which is hardly ever meant.
    """
    found: list[tuple[Any, str, Place]] = [(builder.locks, f"locks of {builder.what}", builder.place)]
    found.append((builder.factory.locks, "locks of the factory", builder.factory.place))
    found += [(step.locks, f'locks of step "{step.name}"', step.place) for step in _claiming(builder)]
    good = True
    for locks, what, place in found:
        good = errors.guarded(partial(accesses_for, "", unrendered(locks), what, place)) is not None and good
        counted = [access.lock for access in _plain_accesses(locks) if access.count]
        for lock in dict.fromkeys(lock for lock in counted if good and counted.count(lock) > 1):
            units = sum(access.count for access in _plain_accesses(locks) if access.lock == lock)
            text = f"{what}: {lock.told} is there {times(counted.count(lock))}, so {units} units of it are claimed"
            errors.warning(text, f"name it once; if that many are meant, with count={units}", place)
    return good


def _claiming(builder: BuilderConfig) -> list[Any]:
    """All that claims locks while a build runs: its `LockedSteps`, and its steps."""
    return [*groups_in(builder.factory.steps), *builder.factory.steps]


def _group_and_step(builder: BuilderConfig) -> None:
    """The same lock for `LockedSteps` and one of their steps (L25)."""
    for group in groups_in(builder.factory.steps):
        held = {access.lock for access in _plain_accesses(group.locks) if access.count}
        for step in group.steps:
            for access in _plain_accesses(step.locks):
                if access.count and access.lock in held:
                    claims = f"claims {access.lock.told}, which its LockedSteps hold ({group.place})"
                    text = f'step "{step.name}" of {builder.what} {claims}'
                    mistake(text, "the step would wait for itself: claim the lock in one of the two", step.place)


def _build_and_step(builder: BuilderConfig, needs: Needs) -> None:
    """The same lock for the build and one of its steps (L25)."""
    held: dict[Lockable, tuple[str, Place]] = {}
    shared: set[Lockable] = set()
    workers = [needs.workers[name] for name in builder.workernames if name in needs.workers]
    for what, place, locks in _build_level(builder, workers, needs):
        for access in _plain_accesses(locks):
            if access.raises:
                text = "raises=True is for a step whose build shares the lock, not for a build"
                hint = "leave it out in locks= of builders, factories and workers"
                mistake(f'lock "{access.lock.name}": {text}', hint, access.place)
            if access.count:
                held.setdefault(access.lock, (what, place))
            if access.count and access.mode == "counting":
                shared.add(access.lock)
    for step in _claiming(builder):
        for access in _plain_accesses(step.locks):
            if access.raises and access.lock not in shared:
                text = (
                    f'step "{step.name}" of {builder.what} raises lock "{access.lock.name}", which its build does not'
                )
                hint = "put it into locks= of the builder as access('counting'), in plain sight, or leave raises= out"
                mistake(f"{text} share", hint, step.place)
            elif access.count and access.lock in held and not access.raises:
                what, place = held[access.lock]
                claims = f"claims {access.lock.told}, which {what} holds ({place})"
                text = f'step "{step.name}" of {builder.what} {claims}'
                mistake(text, "the step would wait for its own build: claim the lock in one of the two", step.place)


def _build_level(builder: BuilderConfig, workers: list[Worker], needs: Needs) -> list[tuple[str, Place, Any]]:
    """Who claims locks for a whole build: (who, where, locks)."""
    levels: list[tuple[str, Place, Any]] = [
        ("the build", builder.place, builder.locks),
        ("the factory", builder.factory.place, builder.factory.locks),
        ("the build", builder.place, list(needs.subscribed.get(builder.name, ()))),
    ]
    levels += [(f'worker "{worker.name}"', worker.place, worker.locks) for worker in workers]
    return levels


def _plain_accesses(locks: Any) -> list[Any]:
    """The accesses of a `locks=` value that need no rendering; none of one that is wrong."""
    try:
        return as_accesses(unrendered(locks))
    except errors.ConfigErrors:
        return []


def _servable(builder: BuilderConfig, needs: Needs) -> None:
    """Counts that no limit can serve (L5), and one lock twice in a claim (L12)."""
    reasons: list[tuple[Access, int]] = []
    workers = [needs.workers[name] for name in builder.workernames if name in needs.workers]
    possible = len(builder.workernames) - len(workers)  # nothing is known of a worker that is not there
    for worker in workers:
        alternative = needs.alternative(builder, worker, unrendered(needs.build_locks(builder, worker)))
        too_large = needs.too_large(builder, alternative)
        possible += not too_large
        reasons += too_large
    master = [reason for reason in reasons if reason[0].lock.kind in ("master", "pool")]
    if not master and possible:
        return
    for access, limit in dict.fromkeys(master or reasons):
        where = _claimed_at(builder, access)
        if access.lock.kind == "pool":
            wants = f'it wants {access.count} units of pool "{access.lock}", which has {limit}'
            mistake(f"{builder.what} can never start: {wants}", "add units or lower the count", where)
            continue
        wants = f'it wants {access.count} of lock "{access.lock}", whose limit is {limit}'
        mistake(f"{builder.what} can never start: {wants}", "raise maxCount or lower the count", where)


def _claimed_at(builder: BuilderConfig, access: Access) -> Place:
    """The place of who makes this claim, the builder or one of its steps."""
    key = (access.lock.kind, access.lock.name)
    claims = [(builder.place, [builder.locks, builder.factory.locks])]
    claims += [(step.place, step.locks) for step in _claiming(builder)]
    found: dict[int, Place] = {}
    for place, locks in claims:
        same = [each.count for each in _plain_accesses(locks) if (each.lock.kind, each.lock.name) == key]
        if same:
            found.setdefault(sum(same), place)
    return found.get(access.count) or next(iter(found.values()), builder.place)
