"""The journal of a step's calls, seen from the step's side: fingerprints and replay (HOUSE.md section 2).

Nothing is stored here: the core keeps calls as facts, and this compares.
"""

import hashlib
from typing import Any

import msgspec

from lockstep.core import calls as c


class ReplayDiffersError(BaseException):
    """A step that was replayed did something else than before. Not an `Exception`: no user code may swallow it."""


def fingerprint(call: c.Call) -> str:
    """What identifies a call: its kind, and a digest of its rendered arguments (secrets are there by name only)."""
    kind = type(call).__name__
    if isinstance(call, c.Keep):
        return f"{kind}:{call.name}"
    body = msgspec.msgpack.encode(call, order="deterministic")
    return f"{kind}:{hashlib.blake2b(body, digest_size=12).hexdigest()}"


def result_of(call: c.Call, stored: Any) -> Any:
    """A stored result as the call's docstring promises it: the store gives plain values back."""
    match call:
        case c.RunCommand():
            return msgspec.convert(stored, c.CommandResult) if isinstance(stored, dict) else stored
        case c.StartBuilds():
            if stored and isinstance(stored[0], dict):
                return msgspec.convert(stored, list[c.Triggered])
            return stored
    return stored
