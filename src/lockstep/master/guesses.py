"""How often somebody may try to guess a worker's password. Time is an argument; who is right is for `doorkeeper.py`."""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from lockstep.master.limits import GUESS_SECONDS, MAX_GUESSERS, MAX_GUESSES

Guesser = tuple[str, str, str]
"""The worker that somebody says to be, and where from: the address, and that of the proxy that says so."""

_IPV6_SITE: Final = 64
"""Bits of an IPv6 address that are one guesser's: the others are his to choose."""


def guesser(name: str, scope: Mapping[str, Any]) -> Guesser:
    """Who is guessing, of a handshake."""
    client, peer = ((scope.get(key) or ("somewhere",))[0] for key in ("client", "peer"))
    return name, _site(client), _site(peer)


def _site(address: str) -> str:
    """All addresses that are the same one's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> 128 - _IPV6_SITE << 128 - _IPV6_SITE, _IPV6_SITE)))
    return address


class Guesses:
    """The wrong passwords of late.

    They are counted by worker and address together, which keeps no worker out: what somebody tries elsewhere does not
    count where the worker is, and one wrong password on a machine with many workers does not count for the others.
    Only who guesses from the worker's own address spends its tries too; there nothing but the password tells the two
    apart, and to look at each password after all would be no limit. (A proxy on this machine says whom it serves; so
    does whoever is on this machine and likes to lie: hence the peer's address beside it.)

    Of `MAX_GUESSERS` the one that has guessed longest ago is forgotten: addresses slow nobody down who has so many.
    """

    def __init__(self) -> None:
        self._forgiven_at: dict[Guesser, float] = {}
        """When the last of the guesses that count will count no more, in the order in which they were made."""

    def __len__(self) -> int:
        return len(self._forgiven_at)

    def wait(self, who: Guesser, now: float) -> float:
        """Seconds until a password of theirs is looked at; 0: at once."""
        return max(0.0, self._forgiven_at.get(who, now) - now - (MAX_GUESSES - 1) * GUESS_SECONDS)

    def begin(self, who: Guesser, now: float) -> None:
        """A password of theirs is being looked at. It counts until it turns out to be right: many may come at once."""
        self._forgiven_at[who] = max(self._forgiven_at.pop(who, now), now) + GUESS_SECONDS
        if len(self._forgiven_at) > MAX_GUESSERS:
            del self._forgiven_at[next(iter(self._forgiven_at))]

    def right(self, who: Guesser, now: float) -> None:
        """It was right, or could not be looked at: it does not count. Those before it do: they were another's."""
        left = self._forgiven_at.get(who, now) - GUESS_SECONDS
        if left > now:
            self._forgiven_at[who] = left
        else:
            self._forgiven_at.pop(who, None)
