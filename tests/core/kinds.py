"""Random worlds in which names become another kind of lock while some have, or want, what they were (L6)."""

from lockstep.core.nouns import LockKey

from .worlds import World


class KindWorld(World):
    """Two or four locks, of which two have one name each; they come and go more often than elsewhere."""

    def __init__(self, seed: int, events: int = 60) -> None:
        super().__init__(seed, events)
        self.has |= {"locks": True, "steps": True}
        names = [f"l{n}" for n in range(self.random.randint(1, 2))]
        self.locks = [key for name in names for key in (LockKey("master", name), LockKey("worker", name, "w0"))]
        self.needs = [self.need() for _ in range(self.random.randint(2, 5))]
        self.step_needs = [self.step_need() for _ in range(self.random.randint(2, 4))]
