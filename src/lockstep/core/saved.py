"""What the store gives back after a start: everything that has not ended, from its rows.

Values only. `recovery.py` makes the state of it; a checker compares it with the state of the process that wrote it.
"""

from typing import Any

from msgspec import Struct, field

from lockstep.core.alloc_facts import PoolMemory, ShareMemory, Units
from lockstep.core.nouns import Alternative, LockKey
from lockstep.core.records import Booking, Build, Buildset, Command, Counters, Quarantine, Request, Stamp, Worker
from lockstep.core.values import PoolSetup, Rank, Setup


class SavedLock(Struct, kw_only=True):
    """A lock's row. `fence` is the last number given, `memory` and `starts` what the last fact said of its grants."""

    key: LockKey
    limit: int
    max_overtakes: int
    removed: bool = False
    fence: int = 0
    memory: Any = None
    starts: tuple[float, ...] = ()


class SavedPool(Struct, kw_only=True):
    """A pool's row: as it was configured last, and what the last `ClaimGranted` fact said of it."""

    setup: PoolSetup
    removed: bool = False
    fence: int = 0
    memory: PoolMemory | None = None


class SavedUnit(Struct, kw_only=True):
    """What is kept of a unit of a pool: why nobody gets it, and the builds in a row that failed with it."""

    pool: str
    unit: str
    quarantine: Quarantine | None = None
    failed: tuple[str, ...] = ()


class SavedClaim(Struct, kw_only=True):
    """A claim's row. `hold` is 0 while it waits; `pin` is the index of its reserved alternative, or -1."""

    ticket: int
    owner: int = 0
    hold: int = 0
    alternative: Alternative | None = None
    fences: tuple[int, ...] = ()
    units: Units = ()
    pin: int = -1


class Saved(Struct, kw_only=True):
    """The whole of it. `installation` is a random name made with the store: it keeps command ids unique for ever.

    `last_hold` is the highest hold id ever granted. `memories` maps an owner to what it keeps and its cursor.
    """

    installation: str
    last_fact: int = 0
    last_hold: int = 0
    counters: Counters = field(default_factory=Counters)
    setup: Setup | None = None
    builder_ids: dict[str, int] = field(default_factory=dict)
    worker_ids: dict[str, int] = field(default_factory=dict)
    build_numbers: dict[str, int] = field(default_factory=dict)
    ranks: dict[str, Rank] = field(default_factory=dict)
    buildsets: list[Buildset] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    locks: list[SavedLock] = field(default_factory=list)
    pools: list[SavedPool] = field(default_factory=list)
    units: list[SavedUnit] = field(default_factory=list)
    claims: list[SavedClaim] = field(default_factory=list)
    memories: dict[str, tuple[Any, int]] = field(default_factory=dict)
    bookings: list[Booking] = field(default_factory=list)
    turns: list[ShareMemory] = field(default_factory=list)
