"""Notices about bookings: a small POST to the address that somebody gave with `notify`, when something happens to it.

A notice is a courtesy: it is sent once, after the commit, with limits on time and size; a failure is logged and stops
nothing, and each has a thread of its own, as names may take long to look up. The address is never logged or shown: it
may be a secret.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from lockstep.core import facts as f
from lockstep.core.values import BookingWish
from lockstep.master import clock
from lockstep.master.limits import MAX_NOTICES, NOTICE_SOON, NOTICE_TIMEOUT

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

What = Literal["held", "ends soon", "must leave", "ended"]


class Notices:
    """Tells whoever wants to be told."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._wishes: dict[int, BookingWish] = {}
        self._soon: dict[int, asyncio.TimerHandle] = {}
        self._sending = 0
        for booking in house.loop.state.bookings.values():
            if booking.wish.notify:
                self._wishes[booking.ticket] = booking.wish
                if booking.state == "held":
                    self._watch(booking.ticket, booking.ends_at)
        house.loop.listeners.append(self._heard)

    def _heard(self, facts: Sequence[f.Numbered]) -> None:
        for one in facts:
            fact = one.fact
            if isinstance(fact, f.BookingAdded):
                if fact.wish.notify:
                    self._wishes[fact.ticket] = fact.wish
            elif isinstance(fact, f.ClaimGranted):
                self._held(fact.ticket, one.at)
            elif isinstance(fact, f.BookingExtended):
                self._watch(fact.ticket, fact.ends_at)
            elif isinstance(fact, f.BookingLeaving):
                self._tell(fact.ticket, "must leave", ending=fact.ending, by=fact.by, why=fact.why)
            elif isinstance(fact, f.BookingEnded):
                self._forget(fact.ticket)
                self._tell(fact.ticket, "ended", ending=fact.ending, by=fact.by, why=fact.why)
                self._wishes.pop(fact.ticket, None)

    def _held(self, ticket: int, at: float) -> None:
        wish = self._wishes.get(ticket)
        if wish is not None:
            until = at + wish.seconds if wish.seconds else 0.0
            self._tell(ticket, "held", ends_at=until or None)
            self._watch(ticket, until)

    def _watch(self, ticket: int, ends_at: float) -> None:
        """Tell some time before the end; the last tenth, if that is less."""
        self._forget(ticket)
        wish = self._wishes.get(ticket)
        if wish is not None and ends_at:
            before = min(NOTICE_SOON, (ends_at - clock.wall()) / 10)
            left = max(0.0, ends_at - before - clock.wall())
            later = asyncio.get_running_loop().call_later
            self._soon[ticket] = later(left, lambda: self._tell(ticket, "ends soon", ends_at=ends_at))

    def _forget(self, ticket: int) -> None:
        handle = self._soon.pop(ticket, None)
        if handle is not None:
            handle.cancel()

    def _tell(self, ticket: int, what: What, **more: Any) -> None:
        wish = self._wishes.get(ticket)
        if wish is None:
            return
        if self._sending >= MAX_NOTICES:
            log.warning("booking %s: no notice is sent that it %s: too many are on their way", ticket, what)
            return
        locks = [{"lock": str(a.lock), "mode": a.mode, "count": a.count} for a in wish.accesses]
        body: dict[str, Any] = {"bookingid": ticket, "event": what, "who": wish.who, "reason": wish.reason}
        body |= {"locks": locks, **more}
        self._sending += 1
        args = (asyncio.get_running_loop(), ticket, what, wish.notify, msgspec.json.encode(body))
        threading.Thread(target=self._send, args=args, name="notice", daemon=True).start()

    def _send(self, loop: asyncio.AbstractEventLoop, ticket: int, what: What, address: str, body: bytes) -> None:
        """Post a notice, in a thread of its own: a host whose name nobody knows must not hold up others' questions."""
        why = _post(address, body)
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(self._sent, ticket, what, address, why)

    def _sent(self, ticket: int, what: What, address: str, why: str) -> None:
        self._sending -= 1
        if why:
            host = urlsplit(address).hostname
            log.warning("booking %s: the notice that it %s did not reach %s: %s", ticket, what, host, why)


def _post(address: str, body: bytes) -> str:
    """Send a notice. Returns why it failed, or nothing."""
    import httpx  # loaded when used: it takes a tenth of a second

    headers = {"content-type": "application/json", "user-agent": "lockstep"}
    try:
        # What it answers is not read.
        with httpx.stream("POST", address, content=body, headers=headers, timeout=NOTICE_TIMEOUT) as response:
            return f"HTTP {response.status_code}" if response.status_code >= 300 else ""
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as exc:
        return type(exc).__name__
