"""Plans of faults, drawn from a seed: what breaks when, whom it hits, and for how long. Nothing is done here.

The same seed, count and kinds give the same plan. `fault_farm.py` carries it out.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

WORKERS = ("w1", "w2", "w3")
MASTER = "master"

LEASE = 2.0
"""Seconds that the agents announce. The server waits `LEASE_MARGIN` longer, and then gives on what they held."""
BEYOND = (13.0, 14.5)
"""Seconds for which whoever is out of touch has certainly lost what it held, if the server was there."""
SHORT = (0.2, 4.5)
"""Seconds within the lease and beyond it."""

KILLS = ("kill master", "kill agent", "kill guardian", "kill agent and guardian", "kill master and agent")
CUTS = ("cut", "lose up", "lose down", "late up", "late down", "late both")
STOPS = ("stop master", "stop agent", "stop commands", "stop machine")
LONG = ("cut for long", "stop agent for long", "stop machine for long")
UNDISTURBED = LONG[1:]
"""While these last the server is left alone: were it started anew, it would wait for them from then on (L61)."""
DISKS = ("full disk of master", "full disk of agent")
CLOCKS = ("step clock of master", "step clock of agent")
HARMLESS = (*KILLS, *CUTS, *STOPS, *LONG)
"""What needs no right and no tool."""

STEPS = (-86400.0 * 400, -7200.0, -30.0, -3.0, 3.0, 30.0, 7200.0, 86400.0 * 400)
"""Seconds by which clocks are stepped."""


@dataclass(frozen=True)
class Fault:
    """One fault: it begins `gap` seconds after the one before, and is mended after `seconds`. `amount`: of a step.

    `workers`: who may be hit, the first first; a fault "for long" hits one that holds a lock, or it would be no loss.
    """

    gap: float
    kind: str
    workers: tuple[str, ...]
    seconds: float
    amount: float = 0.0

    def __str__(self) -> str:
        """For people."""
        more = f" by {self.amount:g} s" if self.amount else ""
        return f"{self.kind}{more} ({' '.join(self.workers)}), {self.gap:.2f} s later, for {self.seconds:.2f} s"


def draw(seed: int, count: int, kinds: Sequence[str]) -> list[Fault]:
    """So many faults, each kind about equally often, in the order in which they begin."""
    chance = random.Random(seed)
    deck: list[str] = []
    while len(deck) < count:
        deck += chance.sample(kinds, len(kinds))
    deck = deck[:count]
    chance.shuffle(deck)
    if count <= 2 * len(kinds):  # in a short run others happen while the long ones last
        deck.sort(key=lambda kind: (kind not in LONG, MASTER in kind))
    plan = []
    for kind in deck:
        seconds = chance.uniform(*(BEYOND if kind in LONG else SHORT))
        if kind.startswith("kill"):
            seconds = chance.choice((0.0, chance.uniform(0.0, 2.5)))
        amount = chance.choice(STEPS) if kind in CLOCKS else 0.0
        plan.append(Fault(chance.uniform(0.1, 1.2), kind, tuple(chance.sample(WORKERS, 3)), seconds, amount))
    return plan
