"""What a configuration said, key by key, before it is checked as a whole: the material of `Config`."""

from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from lockstep.config.builders import BuilderConfig
from lockstep.config.locks import BaseLock, Lockable
from lockstep.config.protocols import JanitorLike
from lockstep.config.shares import Shares
from lockstep.config.workers import Worker


class Port(Struct, frozen=True):
    """A port to open. `host` None: the server's own choice (loopback)."""

    port: int
    host: str | None = None
    protocol: str = ""


@dataclass(kw_only=True)
class Draft:
    """The values of all keys, with their defaults."""

    title: str = "Lockstep"
    titleURL: str = ""
    buildbotURL: str = ""
    www_ports: tuple[Port, ...] = ()
    protocol_ports: tuple[Port, ...] = ()
    db_url: str | None = None
    workers: list[Worker] = field(default_factory=list)
    builders: list[BuilderConfig] = field(default_factory=list)
    schedulers: list[Any] = field(default_factory=list)
    change_sources: list[Any] = field(default_factory=list)
    secretsProviders: list[Any] = field(default_factory=list)
    collapseRequests: Any = None
    prioritizeBuilders: Any = None
    select_next_worker: Any = None
    properties: dict[str, Any] = field(default_factory=dict)
    janitor: JanitorLike | None = None
    changeHorizon: int | None = None
    logMaxSize: int | None = None
    logMaxTailSize: int | None = None
    logEncoding: str = "utf-8"
    locks: list[Lockable] = field(default_factory=list)
    shares: list[Shares] = field(default_factory=list)
    subscribed: dict[str, list[BaseLock]] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    """The lists (`workers`, `builders`, `schedulers`) of which something is not known: it proves nothing missing."""
