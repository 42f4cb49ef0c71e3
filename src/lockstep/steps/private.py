"""Passwords that stand in clear in a configuration: kept in this process only, by a name.

Steps put a secret's marker (`config.secrets`) where such a password goes, so that no fact, row or log holds it. Who
sends a command looks its markers up in the secret providers and then here, and hides the values in what comes back.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lockstep.config.secrets import marker

_VALUES: dict[str, str] = {}


def hidden(name: str, value: str) -> str:
    """The marker that stands for `value`. The name must be the same after a restart, and is shown to people."""
    _VALUES[name] = value
    return marker(name)


def private_values() -> Mapping[str, str]:
    """Name to value of everything that was hidden."""
    return MappingProxyType(_VALUES)
