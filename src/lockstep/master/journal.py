"""The journal of a step's calls, seen from the step's side: fingerprints, and the order in which a replay goes.

Nothing is stored here: the core keeps calls as facts. A replay gives the stored results back in the order in which they
came, one at a time, so that a step that waits for several calls at once numbers its later calls as before
(HOUSE.md section 2).
"""

import hashlib
from typing import Any

import msgspec

from lockstep.core import calls as c
from lockstep.core.records import Build, CallRecord
from lockstep.core.values import Properties


class ReplayDiffersError(BaseException):
    """A step that was replayed did something else than before. Not an `Exception`: no user code may swallow it."""


class ReplayEndsError(BaseException):
    """A replay without effect has come to a call that never ended: there is nothing more to see of that step."""


class StepOverError(BaseException):
    """The step's build has ended, and its code goes on although it was cancelled."""


def fingerprint(call: c.Call) -> str:
    """What identifies a call: its kind, and a digest of its rendered arguments (secrets are there by name only)."""
    kind = type(call).__name__
    if isinstance(call, c.Keep):
        return f"{kind}:{call.name}"
    if isinstance(call, c.OpenLog):
        call = msgspec.structs.replace(call, encoding="")  # as the first time, whatever is configured now
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


def properties_before(build: Build, step: int) -> Properties:
    """The build's properties as they were when this step began: what it and later steps set is undone."""
    properties = dict(build.properties)
    for later in reversed(build.steps[step - 1 :]):
        for number in sorted(later.calls, reverse=True):
            record = later.calls[number]
            if isinstance(record.call, c.SetProperty) and record.state == "ended":
                if record.result is None:
                    properties.pop(record.call.name, None)
                else:
                    value, source = record.result
                    properties[record.call.name] = (value, source)
    return properties


class Journal:
    """The calls that a step made before a restart. `asked` are those that the replay waits for, ended or not."""

    def __init__(self, calls: dict[int, CallRecord]) -> None:
        self._calls = dict(calls)
        ended = [record for record in calls.values() if record.state == "ended"]
        self._order = [record.number for record in sorted(ended, key=lambda record: record.order, reverse=True)]
        self._asked: set[int] = set()

    def __bool__(self) -> bool:
        """Whether anything was journaled."""
        return bool(self._calls)

    def __contains__(self, number: int) -> bool:
        return number in self._calls

    def known(self, number: int) -> CallRecord | None:
        """The record of a call, or None if it was not made before."""
        return self._calls.get(number)

    def left(self, following: int) -> CallRecord | None:
        """The first journaled call that a step which makes the call `following` next has not made."""
        numbers = [number for number in self._calls if number >= following]
        return self._calls[min(numbers)] if numbers else None

    def pass_at_once(self, number: int) -> None:
        """The step has made a call again that it does not wait for."""
        if number in self._order:
            self._order.remove(number)

    def ask(self, number: int) -> None:
        """The step waits again for a call that has ended."""
        self._asked.add(number)

    def next_results(self) -> list[CallRecord]:
        """The results whose turn it is: those that came first, as far as the step waits for them already."""
        results = []
        while self._order and self._order[-1] in self._asked:
            results.append(self._calls[self._order.pop()])
        return results

    @property
    def blocked(self) -> bool:
        """Whether the step waits for a result whose turn has not come."""
        return any(number in self._asked for number in self._order)
