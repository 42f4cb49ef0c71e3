"""The draft of a decision: the facts and effects so far. Handlers write into it; nothing else does.

No decision is taken here.
"""

from typing import Any

from lockstep.core.apply import apply
from lockstep.core.effects import Effect, Reply
from lockstep.core.facts import Fact, Numbered
from lockstep.core.state import State


class Draft:
    """One decision being made. `at` is the wall time in Unix seconds."""

    def __init__(self, state: State, at: float) -> None:
        self.state = state
        self.at = at
        self.facts: list[Numbered] = []
        self.effects: list[Effect] = []
        self.put_back: list[tuple[int, str]] = []
        """Requests that go back to the queue, and why: after those have been served whom their builds kept waiting."""
        self.looked = 0
        """So many of the facts were held against the rules of locks' queues (`decide_waits.py`)."""

    def emit(self, fact: Fact) -> None:
        """Let a fact hold: apply it to the state and record it."""
        apply(self.state, fact, self.at)
        self.facts.append(Numbered(self.state.last_fact, self.at, fact))

    def effect(self, effect: Effect) -> None:
        """Ask for an errand."""
        self.effects.append(effect)

    def reply(self, token: int, value: Any = None, error: str = "") -> None:
        """Answer the event's sender, if it waits for an answer."""
        if token:
            self.effects.append(Reply(token, value, error))
