"""The one place that reads the clocks (HOUSE law 1): wall time for people, monotonic time for durations."""

import time


def wall() -> float:
    """The wall time, Unix seconds."""
    return time.time()


def monotonic() -> float:
    """Seconds on a clock that never jumps."""
    return time.monotonic()
