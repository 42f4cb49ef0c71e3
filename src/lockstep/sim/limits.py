"""Every limit of the simulated world, by name (HOUSE law 5). Values only."""

from typing import Final

MAX_REHEARSED: Final = 1_000_000
"""Requests of one rehearsal; of a longer history the newest are played."""

MAX_RECORDING: Final = 1 << 28
"""Bytes of a recording of a server's events; then it ends."""

DEEPEST_CHILDREN: Final = 20
"""Builds that wait for builds that wait for builds: so many levels are rehearsed."""
