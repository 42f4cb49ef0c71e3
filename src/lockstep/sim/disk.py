"""The disk: what is committed survives, the rest does not. One in memory, and one on the real store.

Both keep the facts in the groups that were decided together, so that a replay can check each decision.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lockstep.core.facts import Numbered
from lockstep.core.saved import Saved
from lockstep.sim.fold import Fold

Group = tuple[Numbered, ...]


class Disk(Protocol):
    """What survives a crash."""

    installation: str
    groups: list[Group]
    last_fact: int

    def append(self, groups: Sequence[Group]) -> None:
        """Commit: all of it, or nothing."""

    def load(self) -> Saved:
        """What a new process reads."""

    def close(self) -> None:
        """The world ends."""


class MemoryDisk:
    """Rows in memory, folded from the facts."""

    def __init__(self) -> None:
        self.installation = "sim"
        self.groups: list[Group] = []
        self.last_fact = 0
        self.rows = Fold(self.installation)

    def append(self, groups: Sequence[Group]) -> None:
        """Commit some groups."""
        for group in groups:
            for one in group:
                self.rows.put(one)
        self.groups += groups
        self.last_fact = self.rows.last_fact

    def load(self) -> Saved:
        """The rows that have not ended."""
        return self.rows.saved()

    def close(self) -> None:
        """Nothing to do."""


class SqlDisk:
    """The real store in a file of its own; opened anew for each process, as after a crash."""

    def __init__(self, folder: Path) -> None:
        from lockstep.storage.store import Store

        self._folder = folder
        self._store: Any = Store.open("sqlite:///sim.sqlite", folder)
        self.installation = self._store.installation
        self.groups: list[Group] = []
        self.last_fact = 0

    def append(self, groups: Sequence[Group]) -> None:
        """Commit some groups."""
        from lockstep.storage.batch import Batch

        batch = Batch(facts=[one for group in groups for one in group])
        self.last_fact = self._store.append([batch]) or self.last_fact
        self.groups += groups

    def load(self) -> Saved:
        """What a new process reads."""
        from lockstep.storage.store import Store

        self._store.close()
        self._store = Store.open("sqlite:///sim.sqlite", self._folder)
        saved: Saved = self._store.load()
        return saved

    def close(self) -> None:
        """Close the file."""
        self._store.close()
