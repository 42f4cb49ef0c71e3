"""Random worlds in which several of the other kinds come together: what each was found to need may fail beside others.

Which kinds those are hangs on the seed; each of them is a module of its own.
"""

import random

from .kinds import KindWorld
from .planned import ChangingWorld, PlannedWorld
from .pooled import PlannedPoolWorld, PooledWorld
from .raising import RaisingWorld
from .returning import ReturningWorld
from .ruled import RuledWorld
from .sharing import SharedWorld
from .worlds import World

KNOWN = (PlannedWorld, ChangingWorld, RaisingWorld, PlannedPoolWorld)


def mixed(seed: int) -> type[World]:
    """A world of some of the kinds."""
    chance = random.Random(f"kinds {seed}")
    base = chance.choice((None, PooledWorld, *KNOWN))
    kinds: list[type[World]] = [SharedWorld] if chance.random() < 0.5 else []
    kinds += [base] if base else []
    kinds += [RuledWorld] if chance.random() < 0.35 else []
    kinds += [KindWorld] if base not in KNOWN and chance.random() < 0.35 else []  # the others have locks of their own
    kinds += [ReturningWorld] if chance.random() < 0.7 else []
    return type(" ".join(kind.__name__ for kind in kinds) or "World", tuple(kinds) or (World,), {})
