"""Random worlds in which children go back to the queue while the build that triggered them still waits (L46, L52)."""

from lockstep.core.nouns import Claim

from .worlds import Event, World


class ReturningWorld(World):
    """Many trigger, and most children's builds are tried again; few locks, so that rings are common."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.has |= {"triggers": True, "steps": True, "retries": True}
        self.healed = False

    def heal(self) -> list[Event]:
        """The same; and children come to an end."""
        self.healed = True
        return super().heal()

    def end_build(self, owner: int) -> list[Event]:
        """The same; but a child may be waited for by the same build when it is tried again."""
        parent = self.children.get(owner, 0)
        if self.healed or not parent or parent not in self.builds or self.random.random() < 0.3:
            return super().end_build(owner)
        events = self.let_go(owner)
        old = self.claims[owner]
        since = self.number()
        again = Claim(owner, old.need, owner, old.level, since, parent=parent, put_back=True, retryable=old.retryable)
        return events + self.submitted(again)
