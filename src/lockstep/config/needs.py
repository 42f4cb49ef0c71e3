"""What a build needs before it can start: for each worker its slot, a directory, and all locks (L21-L24).

The locks of worker, builder and factory are one claim. Granting is the core's; checks with places are in `check.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from lockstep.config.builders import BuilderConfig
from lockstep.config.lock_table import LockTable
from lockstep.config.locked_steps import groups_in
from lockstep.config.locks import BaseLock, LockAccess, accesses_for, as_accesses, tidy
from lockstep.config.rendering import Properties, has_renderables, render
from lockstep.config.workers import Worker
from lockstep.core.errors import RAISED
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, UNLIMITED, Access, Alternative, LockKey, Need
from lockstep.core.state import slot_key
from lockstep.core.values import LockLease, LockSetup

DYNAMIC = ("canStartBuild", "nextWorker")
"""Hooks of a builder that choose among its workers (L24a): with one, the core gets no need at configuration time."""


class RenderedNeed(Struct, frozen=True):
    """The need of one request. `unknown` are locks that the configuration did not have when it was loaded."""

    need: Need
    unknown: tuple[LockSetup, ...] = ()


class NeedError(Exception):
    """The locks of a request could not be rendered; the text names builder, place, worker, and what was raised."""


class Needs:
    """Computes needs from what a configuration has."""

    def __init__(
        self, workers: Mapping[str, Worker], table: LockTable, subscribed: Mapping[str, Sequence[BaseLock]]
    ) -> None:
        """Take the workers by name, all known locks, and the locks that builders subscribe to (2004)."""
        self.workers = workers
        self.table = table
        self.subscribed = subscribed
        self._claimed: dict[int, tuple[Access, ...]] = {}

    def build_locks(self, builder: BuilderConfig, worker: Worker | None) -> list[Any]:
        """The `locks=` values that every build of that builder claims (on that worker), not rendered."""
        own = worker.locks if worker is not None else []
        return [tidy(own), builder.locks, builder.factory.locks, list(self.subscribed.get(builder.name, ()))]

    def is_dynamic(self, builder: BuilderConfig) -> bool:
        """Whether a request's need must be rendered, or a hook chooses among the workers."""
        return self.is_rendered(builder) or any(getattr(builder, hook) is not None for hook in DYNAMIC)

    def is_rendered(self, builder: BuilderConfig) -> bool:
        """Whether something in a builder's `locks=` must be rendered for each request."""
        return has_renderables([builder.locks, builder.factory.locks])

    def alternative(self, builder: BuilderConfig, worker: Worker, locks: Any) -> Alternative:
        """One worker with slot, build directory and locks. Raises `ConfigErrors` for a list that cannot be."""
        accesses = accesses_for(worker.name, locks, f'locks of {builder.what} on worker "{worker.name}"', builder.place)
        own = (Access(slot_key(worker.name)), Access(builddir_key(builder, worker.name), "exclusive"))
        return Alternative(worker.name, own + accesses)

    def static(self, builder: BuilderConfig) -> Need:
        """The need of every build of a builder, less what must be rendered for each request."""
        made = [
            self.alternative(builder, self.workers[name], unrendered(self.build_locks(builder, self.workers[name])))
            for name in builder.workernames
            if name in self.workers
        ]
        return Need(self.possible(builder, made))

    def possible(self, builder: BuilderConfig, alternatives: Iterable[Alternative]) -> tuple[Alternative, ...]:
        """The alternatives that can ever be served (L5); all if none can: the claim waits and says why."""
        every = tuple(alternatives)
        left = tuple(one for one in every if not self.too_large(builder, one))
        return left or every

    def too_large(self, builder: BuilderConfig, alternative: Alternative) -> list[tuple[Access, int]]:
        """The accesses of a build or of its (certain) steps that a lock's limit can never serve, with the limit."""
        found = []
        for access in (*alternative.accesses, *self.step_accesses(builder, alternative.worker)):
            limit = self.table.limit_of(access.lock)
            if limit is not None and access.count > limit:
                found.append((access, limit))
        return found

    def step_accesses(self, builder: BuilderConfig, worker: str) -> list[Access]:
        """What the steps claim on that worker, of those that certainly run and whose locks need no rendering."""
        found: list[Access] = []
        for step in builder.factory.steps:
            if getattr(step, "doStepIf", True) is True and not has_renderables(tidy(step.locks)):
                found.extend(self.claimed(step, worker))
        certain = (step for step in builder.factory.steps if getattr(step, "doStepIf", True) is True)
        for group in groups_in(certain):
            if not has_renderables(tidy(group.locks)):
                found.extend(self.claimed(group, worker))
        return found

    def claimed(self, step: Any, worker: str) -> tuple[Access, ...]:
        """What a step (or `LockedSteps`) claims on that worker, less what must be rendered."""
        if id(step) not in self._claimed:
            what = f'locks of step "{step.name}"'
            self._claimed[id(step)] = accesses_for("", unrendered(step.locks), what, step.place)
        return tuple(_on_worker(access, worker) for access in self._claimed[id(step)])

    async def rendered(
        self, builder: BuilderConfig, props: Properties, workers: Sequence[str] | None = None
    ) -> RenderedNeed:
        """The need of one request: its locks rendered for each worker, with `workername` and the worker's properties.

        `workers` are the candidates in their order (default: all). Raises `NeedError` with the place.
        """
        alternatives, unknown = [], {}
        for name in builder.workernames if workers is None else workers:
            worker = self.workers[name]
            seen = props.copy()
            worker_properties(seen, worker)
            try:
                locks = await render(self.build_locks(builder, worker), seen)
                alternatives.append(self.alternative(builder, worker, locks))
            except RAISED as exc:
                where = f'locks of {builder.what} ({builder.place}) for worker "{name}"'
                raise NeedError(f"{where}: {type(exc).__name__}: {exc}") from exc
            for setup in self.unknown(as_accesses(locks), name):
                unknown[setup.key] = setup
        return RenderedNeed(Need(self.possible(builder, alternatives)), tuple(unknown.values()))

    def unknown(self, accesses: Iterable[LockAccess], worker: str) -> list[LockSetup]:
        """The locks among these that the configuration did not have, or not so, when it was loaded (L7)."""
        limited = (one.lock for one in accesses if isinstance(one.lock, BaseLock))
        return [self.table.setup(lock, worker) for lock in limited if self.table.tells(lock)]

    def lock_setups(self, builders: Iterable[BuilderConfig]) -> tuple[LockSetup, ...]:
        """Every lock that may be needed: the users' own, slots and build directories."""
        setups: dict[LockKey, LockSetup] = {}
        for lock in self.table.all():
            for worker_name in self.workers or ("",):
                setup = self.table.setup(lock, worker_name)
                setups[setup.key] = setup
        for worker in self.workers.values():
            limit = UNLIMITED if worker.max_builds is None else worker.max_builds
            setups[slot_key(worker.name)] = LockSetup(slot_key(worker.name), limit, worker.maxOvertakes)
        passed = {worker.name: worker.maxOvertakes for worker in self.workers.values()}
        for builder in builders:
            for name in builder.workernames:
                key = builddir_key(builder, name)
                setups[key] = LockSetup(key, 1, passed.get(name, DEFAULT_MAX_OVERTAKES))
        return tuple(setups.values())

    def leases(self, builders: Iterable[BuilderConfig]) -> tuple[LockLease, ...]:
        """The leases of those locks that have one (L61)."""
        found = ((lock.key, self.table.lease(lock.key)) for lock in self.lock_setups(builders))
        return tuple(LockLease(key, seconds) for key, seconds in found if seconds)


def unrendered(locks: Any) -> list[Any]:
    """What a `locks=` value says without being rendered."""
    tidied = tidy(locks)
    if not has_renderables(tidied):
        return [tidied]
    if not isinstance(tidied, list):
        return []
    return [part for item in tidied for part in (unrendered(item) if has_renderables(item) else [item])]


def _on_worker(access: Access, worker: str) -> Access:
    """The same access on that worker."""
    if access.lock.kind != "worker":
        return access
    return structs.replace(access, lock=LockKey("worker", access.lock.name, worker))


def builddir_key(builder: BuilderConfig, worker: str) -> LockKey:
    """The lock of one build directory on one worker (L23)."""
    return LockKey("builddir", builder.workerbuilddir, worker)


def worker_properties(props: Properties, worker: Worker) -> None:
    """Add what is known of a build as soon as its worker is."""
    props.update(worker.properties, "Worker")
    for name, value in worker.defaultProperties.items():
        if not props.hasProperty(name):
            props.setProperty(name, value, "Worker")
    props.setProperty("workername", worker.name, "Worker")
