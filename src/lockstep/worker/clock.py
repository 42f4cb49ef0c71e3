"""The agent's clocks: the only place of this room that reads them."""

import time


def boottime() -> float:
    """Seconds on a clock that never jumps and also runs while the machine sleeps (L61)."""
    return time.clock_gettime(_CLOCK)


def wall() -> float:
    """Seconds since 1970, for people."""
    return time.time()


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
