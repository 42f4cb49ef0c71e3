"""What every source of changes is, and how it asks: programs with a limit of time, errors without secrets.

A source is configuration; what it remembers is handed to it and back. The server decides when to poll.
"""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from msgspec import Struct, structs

from lockstep.config.errors import check_keywords, here, mistake, note
from lockstep.config.properties import Properties, render_now
from lockstep.config.secrets import mask, substitute
from lockstep.core.values import Change

MAX_CHANGES: Final = 1000
"""Changes that one poll reports at most: the newest ones."""

PROGRAM_SECONDS: Final = 600.0
"""How long one program may run."""

_OUTPUT_SHOWN: Final = 300
"""Characters of a program's error that are shown."""


class PollError(Exception):
    """A poll failed; the message is a sentence without secrets."""


class Polled(Struct, frozen=True, kw_only=True):
    """What a poll found, oldest first, and what the source must be told the next time."""

    changes: tuple[Change, ...] = ()
    memory: Any = None


def no_secret(name: str) -> str:
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

    async def poll(self, memory: Any, now: float, folder: str, secret: Callable[[str], str] = no_secret) -> Polled:
        """Ask once. `folder` is the source's own on the server; `secret` gives the value of a secret.

        The first time, `memory` is None and nothing is reported: what is there is where it begins. Raises PollError
        with a sentence for people.
        """
        raise NotImplementedError

    def finished(self, change: Change) -> Change:
        """The change with category, project and source filled in."""
        category = self.category(change) if callable(self.category) else self.category
        project = self.project(change) if callable(self.project) else self.project
        return structs.replace(change, category=category, project=project or change.project or "", source=self.name)


def clear(value: Any, secret: Callable[[str], str]) -> str:
    """A text or a secret of the configuration, in clear. Raises PollError if the secret is not there."""
    try:
        return str(substitute(render_now(value, Properties()), secret))
    except KeyError as exc:
        raise PollError(f"there is no secret {exc.args[0]!r}") from None


def without_password(url: str) -> str:
    """An address as it may be shown and stored."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1@", url)


async def run_program(
    words: list[str],
    folder: str,
    hide: Mapping[str, str] | None = None,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = PROGRAM_SECONDS,
) -> bytes:
    """The standard output of a program, run in a thread of its own.

    Raises PollError if it cannot be started, fails, or takes more than `seconds`; what is in `hide` is not shown.
    """
    return await asyncio.to_thread(_run, words, folder, hide or {}, stdin, env or {}, seconds)


def _run(
    words: list[str], folder: str, hide: Mapping[str, str], stdin: str | None, env: Mapping[str, str], seconds: float
) -> bytes:
    what = " ".join(words[:2])
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **env},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as exc:
        raise PollError(f"{words[0]} cannot be started: {exc.strerror}") from None
    try:
        out, err = process.communicate(stdin.encode() if stdin is not None else None, timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise PollError(f"{what} took more than {seconds:g} seconds and was ended") from None
    if process.returncode:
        said = mask(without_password(err.decode("utf-8", "replace").strip()), hide)
        raise PollError(
            f"{what} failed with exit code {process.returncode}: {said[-_OUTPUT_SHOWN:] or 'it said nothing'}"
        )
    return out
