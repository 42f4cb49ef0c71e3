"""Where the master is: an address, or a file that has one (`@FILE`, for local workers).

No sockets here: `agent.py` connects.
"""

import ipaddress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lockstep.worker.clock import boottime


class HomelessError(Exception):
    """Nobody says any more where the master is; the text says so."""


class Address:
    """The master's address, as long as it is known."""

    def __init__(self, url: str, lease: float) -> None:
        """Take `ws://…`, or `@FILE`. A file that has not been there for `lease` seconds is gone for good."""
        self._url = url
        self._lease = lease
        self._known_at = boottime()

    def look(self) -> str:
        """Return it. A file is read anew each time: the master may have moved to another port.

        Raises `HomelessError` if there is none for good, so that nobody can want this agent any more; and
        OSError.
        """
        if not self._url.startswith("@"):
            return self._url
        try:
            found = Path(self._url[1:]).read_text().strip()
        except FileNotFoundError:
            if boottime() >= self._known_at + self._lease:
                text = f"{self._url[1:]}, which says where the master is, has not been there for {self._lease:g} s"
                raise HomelessError(text) from None
            raise
        self._known_at = boottime()
        return found


def proxy_for(url: str) -> Literal[True] | None:
    """True: by the proxy that the environment names, if it does. None: directly, because it is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    return None if here else True
