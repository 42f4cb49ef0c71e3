"""What a simulated world is made of, as values: machines, locks, builders with scripted steps, what happens when.

A scenario is drawn from a seed (`draw.py`), made smaller (`shrink.py`) and played (`world.py`). Nothing runs here.
"""

from typing import Literal

from msgspec import Struct, structs

from lockstep.core.nouns import Access, Alternative, LockKey, Need
from lockstep.core.values import (
    BuilderSetup,
    LockSetup,
    PoolSetup,
    QueueOrder,
    QueueRule,
    Setup,
    ShareRule,
    StartRate,
    StepPlan,
    WorkerSetup,
)


class Command(Struct, frozen=True, tag=True):
    """Run commands side by side, each so many seconds long, and wait for all. `rc` is their exit code."""

    seconds: tuple[float, ...]
    rc: int = 0


class Note(Struct, frozen=True, tag=True):
    """Set a property, open a log and ask for the time: calls that end at once."""


class Take(Struct, frozen=True, tag=True):
    """`Acquire` inside the step; `Give` puts back what the last `Take` got."""

    accesses: tuple[Access, ...]


class Give(Struct, frozen=True, tag=True):
    """Release what the last `Take` of this step acquired."""


class Return(Struct, frozen=True, tag=True):
    """Give back one of the step's own locks before its end."""

    lock: LockKey


class Nap(Struct, frozen=True, tag=True):
    """Sleep."""

    seconds: float


class Call(Struct, frozen=True, tag=True):
    """Trigger builders, and wait for their builds or not."""

    builders: tuple[str, ...]
    wait: bool


class More(Struct, frozen=True, tag=True):
    """Add a step of this script to the build."""

    script: str
    where: Literal["after-current", "after-last"] = "after-current"


Op = Command | Note | Take | Give | Return | Nap | Call | More

Ending = Literal["success", "failure", "warnings", "exception", "skip", "retry once"]


class Script(Struct, frozen=True):
    """A step: its flags, the locks that it claims, what it does, how it ends."""

    plan: StepPlan
    accesses: tuple[Access, ...] = ()
    ops: tuple[Op, ...] = ()
    ending: Ending = "success"


class Machine(Struct, frozen=True):
    """A worker. `lease` 0: one like `buildbot-worker`, that forgets its commands with its connection."""

    setup: WorkerSetup
    lease: float


class Builder(Struct, frozen=True):
    """A builder and the names of its steps' scripts. `rendered`: its need is rendered for each request.

    Its steps whose plan has a group have the locks `locked` together.
    """

    setup: BuilderSetup
    steps: tuple[str, ...]
    need: Need
    rendered: bool = False
    locked: tuple[Access, ...] = ()


class Act(Struct, frozen=True):
    """Something that happens at a time: a person's wish, a fault.

    `what`: force, cancel, stop, priority, pause, unpause, limit, reload (people); book, steal, extend, lie (about
    bookings); quarantine, lift, unit, late (about units); rank (hooks); crash, cut, restart, die, leave, false, break
    (faults). `who` is a builder, a worker or a lock; `number` a priority, a limit, or which of the requests.
    """

    at: float
    what: str
    who: str = ""
    number: int = 0


class Faults(Struct, frozen=True):
    """Which faults exist at all, and how often: chances between 0 and 1."""

    doubled: float = 0.0
    late: float = 0.0
    again: float = 0.0
    """An effect is performed twice."""
    slow_disk: float = 0.0
    slow_render: float = 0.0


class Scenario(Struct, frozen=True):
    """A whole world. After `heal` no fault happens any more, and everything must end."""

    seed: int
    machines: tuple[Machine, ...]
    locks: tuple[LockSetup, ...]
    builders: tuple[Builder, ...]
    scripts: dict[str, Script]
    acts: tuple[Act, ...]
    faults: Faults
    heal: float
    queues: tuple[QueueRule, ...] = ()
    orders: tuple[QueueOrder, ...] = ()
    rates: tuple[StartRate, ...] = ()
    shares: tuple[ShareRule, ...] = ()
    pools: tuple[PoolSetup, ...] = ()
    looks: float = 0.0

    def setup(self, limits: dict[str, int] | None = None, without: str = "") -> Setup:
        """The configuration, with other limits of some locks (by name), and without one builder, worker, lock or unit.

        Without a pool: its units are not looked at again.
        """
        builders = []
        for builder in self.builders:
            if builder.setup.name != without:
                need = None if builder.rendered else self.need(builder.setup.name, without)
                builders.append(structs.replace(builder.setup, need=need))
        changed = limits or {}
        locks = tuple(
            LockSetup(lock.key, changed.get(lock.key.name, lock.limit), lock.max_overtakes)
            for lock in self.locks
            if not without or lock.key.name != without
        )
        return Setup(
            workers=tuple(machine.setup for machine in self.machines if machine.setup.name != without),
            builders=tuple(builders),
            locks=locks,
            pools=tuple(
                structs.replace(
                    pool,
                    units=tuple(unit for unit in pool.units if unit.name != without),
                    retry=0.0 if pool.name == without else pool.retry,
                )
                for pool in self.pools
            ),
            queues=self.queues,
            orders=self.orders,
            rates=self.rates,
            shares=self.shares,
        )

    def need(self, name: str, without: str = "") -> Need:
        """What a builder needs, but for one lock."""
        alternatives = []
        for each in self.builder(name).need.alternatives:
            accesses = tuple(access for access in each.accesses if access.lock.name != without or not without)
            alternatives.append(Alternative(each.worker, accesses))
        return Need(tuple(alternatives))

    def builder(self, name: str) -> Builder:
        """The builder of that name."""
        return next(builder for builder in self.builders if builder.setup.name == name)
