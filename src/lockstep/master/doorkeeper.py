"""Who may connect as a worker: names, passwords, and how a handshake is refused.

Nothing here knows what a connection is for; `agents.py` serves those that were let in.
"""

import base64
import binascii
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from lockstep.config.workers import Worker
from lockstep.core.errors import RAISED
from lockstep.master import clock
from lockstep.master.guesses import Guesses, guesser
from lockstep.master.masks import look_up, why_missing
from lockstep.protocol.limits import MAX_NAME, MAX_TEXT

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, Any]], Awaitable[None]]

REFUSAL_PERIOD = 60.0
"""Seconds in which the refusal of one worker is logged once."""

MAX_REFUSED = 1000
"""Refused names that are remembered for that; of more in that time nothing is said."""


class Doorkeeper:
    """Checks the names and passwords of workers against the configuration in force.

    Wrong ones are slowed down, whatever dialect they are to be followed by: it comes after this.
    """

    def __init__(self, house: "House") -> None:
        self._house = house
        self._refused: dict[tuple[str, str], float] = {}
        self._guesses = Guesses()

    async def authenticate(self, scope: Mapping[str, Any]) -> tuple[str, str]:
        """The worker's name, and why it is refused (empty: it is not)."""
        headers = {key.lower(): value for key, value in scope.get("headers", [])}
        kind, _, encoded = headers.get(b"authorization", b"").partition(b" ")
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = password = ""
        if kind.lower() != b"basic" or not name:
            return "", "a worker must send its name and password (HTTP Basic authentication)"
        if self._house.local_password(name, password):
            return name, ""  # it is long and made by chance: nobody guesses it, and nobody's guesses keep it out
        worker = self._house.config.workers.get(name)
        wrong = f"there is no worker '{name}' in the configuration, or its password is wrong"
        if worker is None:
            return name, wrong  # not counted: names that are made up would crowd out what is
        who, now = guesser(name, scope), clock.monotonic()
        wait = self._guesses.wait(who, now)
        if wait > 0:
            return name, f"too many wrong passwords for '{name}' came from there: try again in {wait:.0f} s"
        self._guesses.begin(who, now)
        try:
            right = await self._is_right(worker, password)
        except RAISED as exc:
            self._guesses.right(who, clock.monotonic())
            log.error("worker %s refused: %s", name, why_missing(exc))
            return name, "its password cannot be checked now; the server's log says why"
        if not right:
            return name, wrong
        self._guesses.right(who, clock.monotonic())
        return name, ""

    async def _is_right(self, worker: Worker, password: str) -> bool:
        """Whether that is the worker's password. Raises what a provider of secrets raises."""
        needed: list[str] = []

        def note(secret: str) -> str:
            needed.append(secret)
            return ""

        worker.check_password(password, note)
        values = await look_up(self._house.config, needed)
        return worker.check_password(password, values.__getitem__)

    async def deny(self, name: str, scope: Mapping[str, Any], send: Send, reason: str) -> None:
        """Refuse the handshake with 401 and the reason as text, where the server can; say it in the log too."""
        self._log(name, scope, reason)
        if "websocket.http.response" in (scope.get("extensions") or {}):
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"www-authenticate", b'Basic realm="lockstep"'),
            ]
            # Uvicorn answers with 500 whom it finds at the door when it stops, and asserts that nobody answers twice.
            with contextlib.suppress(AssertionError):
                await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
                await send({"type": "websocket.http.response.body", "body": reason.encode()})
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})

    def _log(self, name: str, scope: Mapping[str, Any], reason: str) -> None:
        """Say it here too, but not at each of a worker's endless tries."""
        host = (scope.get("client") or ("somewhere",))[0]
        now = clock.monotonic()
        if now - self._refused.get((name, host), -REFUSAL_PERIOD) >= REFUSAL_PERIOD:
            if len(self._refused) >= MAX_REFUSED:
                self._refused = {who: at for who, at in self._refused.items() if now - at < REFUSAL_PERIOD}
            if len(self._refused) < MAX_REFUSED:
                self._refused[name, host] = now
                log.warning("worker %r from %s is refused: %s", name[:MAX_NAME], host, reason[:MAX_TEXT])
