"""Workers as a configuration names them. What connects as one is `worker/` and `protocol/`.

A password stays in this object: it is in no repr, fact, row, log or page (HOUSE.md law 10).
"""

import hmac
from collections.abc import Callable
from typing import Any

from lockstep.config.errors import check_keywords, here, mistake, named, note, plain
from lockstep.config.locks import AS_ANNOUNCED, limit_of, patience_of
from lockstep.config.properties import Properties, is_renderable, render_now
from lockstep.config.secrets import substitute
from lockstep.core.limits import MAX_OVERTAKES, MAX_UNITS
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES
from lockstep.core.values import FOR_EVER, WorkerSetup

DEFAULT_LEASE = 60.0
_KEYWORDS = (
    "name",
    "password",
    "max_builds",
    "notify_on_missing",
    "missing_timeout",
    "properties",
    "defaultProperties",
    "locks",
    "keepalive_interval",
    "machine_name",
    "lease",
    "assumeDeadAfter",
    "maxOvertakes",
)


class Worker:
    """A worker that connects to the server with its name and password.

    `max_builds` None: as many builds at once as there are. `locks` are claimed by every build that runs there (L22).
    `lease`: so many seconds at least it is waited for when it is out of reach, never less than it announces itself;
    None: until it is back, or a person says that it is dead. `assumeDeadAfter`: see L61. `maxOvertakes`: how often a
    build that waits for this worker may be passed there, whatever its locks say (L42).
    """

    local = False
    _keywords: tuple[str, ...] = _KEYWORDS

    def __init__(
        self,
        name: str,
        password: Any,
        max_builds: int | None = None,
        notify_on_missing: Any = None,
        missing_timeout: Any = None,
        properties: Any = None,
        defaultProperties: Any = None,
        locks: Any = None,
        keepalive_interval: Any = None,
        machine_name: Any = None,
        lease: Any = AS_ANNOUNCED,
        assumeDeadAfter: float | None = None,
        maxOvertakes: int = DEFAULT_MAX_OVERTAKES,
        **unknown: Any,
    ) -> None:
        """Check and keep what the configuration says."""
        self.place = here()
        self.name = self.workername = named(name, type(self).__name__, self.place)
        self._password = password
        self.locks: Any = [] if locks is None else locks
        what = f'{type(self).__name__} "{self.name}"'
        check_keywords(what, unknown, self._keywords, place=self.place)
        self.max_builds = max_builds
        if max_builds is not None and (
            isinstance(max_builds, bool) or not isinstance(max_builds, int) or not 1 <= max_builds <= MAX_UNITS
        ):
            text = f"{what}: max_builds must be a whole number from 1 to {MAX_UNITS}, not {max_builds!r}"
            mistake(text, place=self.place)
            self.max_builds = None
        self.patience = patience_of(lease, f"{what}: lease", self.place)
        self.lease = self.patience if self.patience > 0 else DEFAULT_LEASE
        self.assumeDeadAfter = _seconds(assumeDeadAfter, f"{what}: assumeDeadAfter", self.place)
        self.maxOvertakes = limit_of(maxOvertakes, f"{what}: maxOvertakes", self.place, MAX_OVERTAKES)
        if self.patience == FOR_EVER and self.assumeDeadAfter is not None:
            mistake(f"{what}: lease=None waits for ever, and assumeDeadAfter does not", "leave one out", self.place)
        self.properties = _dictionary(properties, f"{what}: properties", self.place)
        self.defaultProperties = _dictionary(defaultProperties, f"{what}: defaultProperties", self.place)
        self._without_effect(what, notify_on_missing, missing_timeout, keepalive_interval)
        if machine_name is not None:
            mistake(f"{what}: machine_name is not supported yet", "leave it out", self.place)
        if not local_or_secret(password, self.local):
            mistake(f"{what}: the password must be a text that is not empty, or util.Secret(...)", place=self.place)

    def _without_effect(self, what: str, notify: Any, missing_timeout: Any, keepalive: Any) -> None:
        """Say which settings do nothing here."""
        if notify:
            hint = "who is told of a missing worker is a reporter's matter, and not supported yet"
            note(f"{what}: notify_on_missing has no effect", hint, self.place)
        for name, value in (("missing_timeout", missing_timeout), ("keepalive_interval", keepalive)):
            if value is not None:
                note(f"{what}: {name} has no effect", "connections are watched by the protocol", self.place)

    def check_password(self, given: str, lookup: Callable[[str], str]) -> bool:
        """Whether `given` is the password, compared in constant time. `lookup(name)` gives the value of a secret."""
        wanted = self._password
        if is_renderable(wanted):
            wanted = substitute(render_now(wanted, Properties()), lookup)
        if isinstance(wanted, bytes):
            wanted = wanted.decode()
        return bool(wanted) and hmac.compare_digest(str(wanted).encode(), given.encode())

    def setup(self) -> WorkerSetup:
        """What the core knows of it."""
        return WorkerSetup(
            name=self.name,
            max_builds=self.max_builds,
            lease=self.lease,
            patience=self.patience,
            max_overtakes=self.maxOvertakes,
        )

    def __repr__(self) -> str:
        """The name; never the password."""
        return f"{type(self).__name__}({self.name!r})"


class LocalWorker(Worker):
    """A worker that the server itself starts, on its own machine. It has no password."""

    local = True
    _keywords = (*(k for k in _KEYWORDS if k != "password"), "workdir", "usePty")

    def __init__(self, name: str, workdir: str | None = None, **kwargs: Any) -> None:
        """`workdir` is the worker's folder (default: below the server's own)."""
        self.workdir = workdir
        if kwargs.pop("usePty", None):
            mistake(f'LocalWorker "{name}": usePty is not supported yet', "set usePTY on the steps that need it")
        if "password" in kwargs:
            kwargs.pop("password")
            note(f'LocalWorker "{name}": password has no effect', "the server starts this worker itself")
        super().__init__(name, None, **kwargs)


class BuildSlave(Worker):
    """The old name of `Worker`."""


def local_or_secret(password: Any, local: bool) -> bool:
    """Whether a password is one: a text that is not empty or something to render; a local worker has none."""
    if local:
        return password is None
    return is_renderable(password) or (isinstance(password, str | bytes) and bool(password))


def _seconds(value: Any, what: str, place: Any) -> float | None:
    """A number of seconds above 0, or None."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    mistake(f"{what} must be a number of seconds above 0, not {value!r}", place=place)
    return None


def _dictionary(value: Any, what: str, place: Any) -> dict[str, Any]:
    """A dictionary of plain values; an empty one after reporting a wrong one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        mistake(f"{what} must be a dictionary, not {type(value).__name__}", place=place)
        return {}
    return {str(key): item for key, item in value.items() if plain(item, f'{what}: the value of "{key}"', place)}
