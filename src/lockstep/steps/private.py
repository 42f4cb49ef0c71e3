"""Passwords that stand in clear in a configuration: kept in this process only, by a name.

Steps put a secret's marker (`config.secrets`) where such a password goes, so that no fact, row or log holds it. Who
sends a command looks its markers up in the secret providers and then here, and hides the values in what comes back.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lockstep.config.secrets import marker

_VALUES: dict[str, str] = {}


def hidden(name: str, value: str) -> str:
    """The marker that stands for `value`. The name must be the same after a restart, and is shown to people."""
    _VALUES[name] = value
    return marker(name)


def hidden_password(password: str, user: Any, address: Any, place: Any) -> str:
    """The marker that stands for a password of `user` at `address`; of a step that is made at `place`.

    It is named after what is known of these without rendering: a loop may make many steps in one place.
    """
    name = "password" + (f" of {user}" if isinstance(user, str) else "")
    name += f" for {address}" if isinstance(address, str) else f" of the step at {place}"
    return hidden("".join(letter if letter.isprintable() else "?" for letter in name), password)


def private_values() -> Mapping[str, str]:
    """Name to value of everything that was hidden."""
    return MappingProxyType(_VALUES)
