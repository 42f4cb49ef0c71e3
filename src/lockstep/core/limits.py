"""Every limit of the core, by name (HOUSE law 5). Values only; each place that reaches one refuses politely."""

from typing import Final

LEASE_MARGIN: Final = 10.0
"""Seconds that the master waits beyond a worker's lease before it grants anew what the worker held (L61)."""

MAX_STEPS_PER_BUILD: Final = 10_000
MAX_CALLS_PER_STEP: Final = 1_000_000
MAX_REQUESTS_PER_SUBMISSION: Final = 10_000
MAX_LOGS_PER_STEP: Final = 1_000

MAX_RANK: Final = 1 << 16
"""The greatest order that a hook can give a builder, and with a minus the least."""
