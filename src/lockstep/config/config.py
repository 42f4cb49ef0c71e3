"""`Config`: a configuration that was read and checked, frozen; and what the core is told of it.

How it is made is in `load.py`. The master keeps one; a reload makes another.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from lockstep.config.builders import BuilderConfig
from lockstep.config.draft import Port
from lockstep.config.errors import Mistake
from lockstep.config.lock_table import LockTable
from lockstep.config.needs import Needs, RenderedNeed, worker_properties
from lockstep.config.properties import Properties, resolve
from lockstep.config.protocols import JanitorLike
from lockstep.config.rings import Rings
from lockstep.config.shares import Shares
from lockstep.config.stages import Stages
from lockstep.config.workers import Worker
from lockstep.core import values
from lockstep.core.nouns import LockKey
from lockstep.core.values import BuilderSetup, SchedulerSetup, Setup, SourceStamp, StepPlan


@dataclass(frozen=True, kw_only=True, eq=False)
class Config:
    """Everything that a configuration says. `said` are the warnings and notes that were found while it was read."""

    file: str
    basedir: str
    title: str
    titleURL: str
    buildbotURL: str
    www_ports: tuple[Port, ...]
    protocol_ports: tuple[Port, ...]
    db_url: str | None
    workers: Mapping[str, Worker]
    builders: Mapping[str, BuilderConfig]
    schedulers: Mapping[str, Any]
    change_sources: Mapping[str, Any]
    secretsProviders: tuple[Any, ...]
    collapseRequests: Any
    prioritizeBuilders: Any
    select_next_worker: Any
    properties: Mapping[str, Any]
    janitor: JanitorLike | None
    changeHorizon: int | None
    logMaxSize: int | None
    logMaxTailSize: int | None
    logEncoding: str
    shares: tuple[Shares, ...]
    table: LockTable = field(repr=False)
    needs: Needs = field(repr=False)
    said: tuple[tuple[Mistake, ...], tuple[Mistake, ...]] = ((), ())

    @cached_property
    def _setup(self) -> Setup:
        stages = Stages(self.needs, self.schedulers, os.path.dirname(self.file))
        builders = tuple(self._builder_setup(builder, stages) for builder in self.builders.values())
        return Setup(
            workers=tuple(worker.setup() for worker in self.workers.values()),
            builders=builders,
            locks=self.needs.lock_setups(self.builders.values()),
            pools=tuple(pool.setup for pool in self.table.pools.values()),
            leases=self.needs.leases(self.builders.values()),
            queues=self.table.queues(),
            orders=self.table.orders(),
            rates=self.table.rates(),
            shares=tuple(share.rule() for share in self.shares),
            schedulers=tuple(self._scheduler_setup(scheduler) for scheduler in self.schedulers.values()),
            sources=tuple(self.change_sources),
        )

    @cached_property
    def rings(self) -> Rings:
        """What could deadlock."""
        declared = {(name, 0): builder.declared for name, builder in self.builders.items()}
        for name, builder in self.builders.items():
            declared |= {(name, n): step.declared_at for n, step in enumerate(builder.factory.steps, 1)}
        return Rings(self._setup, self.file, declared)

    @cached_property
    def warnings(self) -> tuple[Mistake, ...]:
        """What is probably not meant, and what could deadlock."""
        return (*self.said[0], *self.rings.warnings())

    @cached_property
    def notes(self) -> tuple[Mistake, ...]:
        """What has no effect, and what cannot be looked at before builds run."""
        return (*self.said[1], *self.rings.notes())

    def supposing(self, limits: Mapping[LockKey, int]) -> "Config":
        """The same configuration with other limits for some locks: what would be if."""
        table = self.table.supposing(limits)
        return replace(self, table=table, needs=Needs(self.workers, table, self.needs.subscribed))

    def setup(self) -> Setup:
        """What the core is told: workers, builders with their needs, locks with their limits, schedulers, sources."""
        return self._setup

    def raising(self, builder: str, worker: str, plans: list[StepPlan]) -> tuple[StepPlan, ...]:
        """The plans of the steps that the builder's factory makes, with what each raises on that worker."""
        for stage in next(each for each in self._setup.builders if each.name == builder).stages:
            raises = tuple(access for access in stage.on(worker) if access.raises)
            if raises:
                plans[stage.number - 1] = msgspec.structs.replace(plans[stage.number - 1], raises=raises)
        return tuple(plans)

    def _builder_setup(self, builder: BuilderConfig, stages: Stages) -> BuilderSetup:
        """One builder for the core; without a need where that must be asked for each request (L24, L24a)."""
        dynamic = self.needs.is_dynamic(builder) or self.select_next_worker is not None
        return BuilderSetup(
            name=builder.name,
            workers=tuple(builder.workernames),
            need=None if dynamic else self.needs.static(builder),
            description=builder.description,
            tags=builder.tags,
            project=builder.project,
            collapse=self.collapse(builder.name) is not False,
            collapse_asked=callable(self.collapse(builder.name)),
            asked=self.orders(builder.name) or callable(self.collapse(builder.name)),
            known=self.needs.static(builder) if dynamic else None,
            open=self.needs.is_rendered(builder),
            place=stages.place(builder.place),
            stages=stages.of(builder),
        )

    def _scheduler_setup(self, scheduler: Any) -> SchedulerSetup:
        """One scheduler for the core."""
        names = scheduler.builderNames
        builders = tuple(str(n) for n in names) if isinstance(names, list | tuple | set | frozenset) else ()
        return SchedulerSetup(name=scheduler.name, kind=type(scheduler).__name__, builders=builders)

    async def need_for(
        self,
        builder: str,
        properties: values.Properties,
        workers: Sequence[str] | None = None,
        sourcestamps: Iterable[SourceStamp] = (),
    ) -> RenderedNeed:
        """The need of one request of a builder, its locks rendered for each candidate worker (L24).

        `properties` are the request's own; `workers` the candidates in their order (default: all of the builder).
        Raises `needs.NeedError`, with the place, for what a user's renderable raises; KeyError for an unknown name.
        """
        config = self.builders[builder]
        props = Properties.of(self.request_properties(config, properties), tuple(sourcestamps))
        return await self.needs.rendered(config, props, workers)

    def request_properties(self, builder: BuilderConfig, own: values.Properties) -> values.Properties:
        """All that is known of a build's properties before it has a worker; later ones win."""
        props = Properties()
        props.update(self.properties, "global")
        for name, (value, source) in own.items():
            props.setProperty(name, value, source)
        props.update(builder.properties, "Builder")
        for name, value in builder.defaultProperties.items():
            if not props.hasProperty(name):
                props.setProperty(name, value, "Builder")
        props.setProperty("buildername", builder.name, "Builder")
        return props.plain()

    def build_properties(self, builder: str, worker: str, own: values.Properties) -> values.Properties:
        """A build's properties as far as the configuration knows them: global, request, builder, worker."""
        config, chosen = self.builders[builder], self.workers[worker]
        props = Properties.of(self.request_properties(config, own))
        worker_properties(props, chosen)
        return props.plain()

    def next_worker(self, builder: str) -> Any:
        """The hook that chooses among a builder's workers, or None."""
        return self.builders[builder].nextWorker or self.select_next_worker

    def orders(self, builder: str) -> bool:
        """Whether hooks give this builder or its requests a place in the queue."""
        return self.prioritizeBuilders is not None or self.builders[builder].nextBuild is not None

    def collapse(self, builder: str) -> Any:
        """Whether a builder's waiting requests may be merged, or a function that says so.

        It is its own setting, else the common one, else yes.
        """
        own = self.builders[builder].collapseRequests
        common = True if self.collapseRequests is None else self.collapseRequests
        return common if own is None else own

    async def secret(self, name: str) -> str:
        """The value of a secret. Raises KeyError if no provider knows it."""
        for provider in self.secretsProviders:
            value = await resolve(provider.get(name))
            if value is not None:
                return str(value)
        raise KeyError(name)
