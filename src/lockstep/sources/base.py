"""What every source of changes is: a name, its times, and what it may know of secrets.

A source is configuration; what it remembers is handed to it and back. The server decides when to poll. How programs
are run is in `programs.py`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct, structs

from lockstep.config.errors import check_keywords, here, mistake, note
from lockstep.config.properties import Properties, render_now
from lockstep.config.secrets import names_in, shown, substitute
from lockstep.core.errors import RAISED
from lockstep.core.values import Change

MAX_CHANGES: Final = 1000
"""Changes that one poll reports at most: the newest ones."""

Secrets = Callable[[str], Awaitable[str]]
"""How a source gets the value of a secret."""


class PollError(Exception):
    """A poll failed; the message is a sentence without secrets."""


class Polled(Struct, frozen=True, kw_only=True):
    """What a poll found, oldest first, and what the source must be told the next time."""

    changes: tuple[Change, ...] = ()
    memory: Any = None


async def no_secret(name: str) -> str:
    """For sources without secrets. Raises PollError."""
    raise PollError(f"there is no secret {name!r}")


class ChangeSource:
    """A source of changes: a name, and the line where it was made."""

    def __init__(self, name: Any = None, **unknown: Any) -> None:
        """Take the name."""
        self.place = here()
        self.name: str = str(name) if name else type(self).__name__
        check_keywords(type(self).__name__, unknown, self.known_keywords(), self.not_yet, place=self.place)

    keywords: ClassVar[tuple[str, ...]] = ("name",)
    not_yet: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def known_keywords(cls) -> list[str]:
        """All keywords of this class and its bases."""
        return sorted({keyword for base in cls.__mro__ for keyword in vars(base).get("keywords", ())})


class PollingChangeSource(ChangeSource):
    """A source that is asked every `pollInterval` seconds, and with `pollAtLaunch` as soon as the server runs."""

    keywords: ClassVar[tuple[str, ...]] = (
        "pollInterval",
        "pollAtLaunch",
        "pollRandomDelayMin",
        "pollRandomDelayMax",
        "category",
        "project",
    )

    def __init__(
        self,
        name: Any = None,
        pollInterval: Any = 600,
        pollAtLaunch: bool = False,
        pollinterval: Any = None,
        pollRandomDelayMin: float = 0,
        pollRandomDelayMax: float = 0,
        category: Any = None,
        project: Any = None,
        **unknown: Any,
    ) -> None:
        """Take the times (`pollinterval` is the old spelling), and what every change gets."""
        super().__init__(name, **unknown)
        self.pollInterval: float = pollInterval if pollinterval is None else pollinterval
        if not isinstance(self.pollInterval, int | float) or self.pollInterval <= 0:
            mistake(f"{type(self).__name__}: pollInterval must be seconds, more than 0", place=self.place)
            self.pollInterval = 600
        self.pollAtLaunch = bool(pollAtLaunch)
        self.category = category
        self.project = project
        if pollRandomDelayMin or pollRandomDelayMax:
            note("pollRandomDelayMin and pollRandomDelayMax have no effect", place=self.place)

    async def poll(self, memory: Any, now: float, folder: str, secret: Secrets = no_secret) -> Polled:
        """Ask once. `folder` is the source's own on the server; `secret` gives the value of a secret.

        The first time, `memory` is None and nothing is reported: what is there is where it begins. Raises PollError
        with a sentence for people.
        """
        raise NotImplementedError

    def same(self, other: "PollingChangeSource") -> bool:
        """Whether it has the same class and arguments. Functions and renderables are the same only if they are one."""
        try:
            return type(self) is type(other) and _arguments(self) == _arguments(other)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            return False

    def finished(self, change: Change) -> Change:
        """The change with category, project and source filled in."""
        category = self.category(change) if callable(self.category) else self.category
        project = self.project(change) if callable(self.project) else self.project
        return structs.replace(change, category=category, project=project or change.project or "", source=self.name)


def _arguments(source: PollingChangeSource) -> bytes:
    """All that a source was made of: plain values, and which objects."""
    known = {name: value for name, value in vars(source).items() if name != "place"}
    return msgspec.json.encode(known, enc_hook=id)


class Clear(Struct, frozen=True):
    """A text of the configuration: as programs get it, as people may see it, and the secrets in it by name."""

    text: str
    shown: str
    hide: dict[str, str]


async def clear(value: Any, secret: Secrets) -> Clear:
    """A text of the configuration, with its secrets. Raises PollError if one is not there or cannot be had."""
    marked = render_now(value, Properties())
    values = {}
    for name in sorted(names_in(marked)):
        try:
            values[name] = await secret(name)
        except KeyError:
            raise PollError(f"there is no secret {name!r}") from None
        except PollError:
            raise
        except RAISED as exc:
            raise PollError(f"the secret {name!r} cannot be looked up: {type(exc).__name__} {exc}") from None
    return Clear(str(substitute(marked, values.__getitem__)), without_password(str(shown(marked))), values)


def without_password(url: str) -> str:
    """An address as it may be shown and stored."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1@", url)
