"""Addresses with a user and password in them, taken apart. Texts in, texts out; whatever comes is answered.

Only `http` and `https` know such logins. A user without a password is none: git asks elsewhere for the password then.
Each function takes an address, and a login that comes before the one in it (or nothing).
"""

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_HTTP: Final = re.compile(r"(https?://)(?:([^/?#]*)@)?([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_PASSWORD: Final = re.compile(r"(https?://[^/?#:]*:)([^/?#]+)(@.*)", re.IGNORECASE | re.DOTALL)


def without_login(url: str, user: str = "", password: str = "") -> str:
    """The address without its user and password; as it is if there is no login."""
    found = _HTTP.fullmatch(url)
    return url if found is None or not login(url, user, password) else found[1] + found[3] + found[4]


def place_of_login(url: str, user: str = "", password: str = "") -> str:
    """The section of git's configuration for what this login is for, and nothing else; of no host, without a login."""
    found = _HTTP.fullmatch(url)
    if found is None or not login(url, user, password):
        return "credential.https://nowhere.invalid"
    return f"credential.{found[1]}{found[3]}"


def login(url: str, user: str = "", password: str = "") -> str:
    """The login as an address of its host: letters, digits and `-._~%` in user and password; empty if there is none."""
    found = _HTTP.fullmatch(url)
    if found is None:
        return ""
    if user or password:
        pair = [_bytes(user), _bytes(password)]
    elif ":" in (found[2] or ""):
        pair = [unquote_to_bytes(_bytes(part)) for part in found[2].split(":", 1)]
    else:
        return ""
    return f"{found[1]}{quote(pair[0], safe='')}:{quote(pair[1], safe='')}@{found[3]}"


def around_password(url: str) -> tuple[str, str, str] | None:
    """What is before the password in an address, the password as it is written there, what is behind it; or None."""
    found = _PASSWORD.fullmatch(url)
    return (found[1], found[2], found[3]) if found is not None else None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
