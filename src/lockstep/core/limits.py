"""Every limit of the core, by name (HOUSE law 5). Values only; each place that reaches one refuses politely."""

from typing import Final

LEASE_MARGIN: Final = 10.0
"""Seconds that the master waits beyond a worker's lease before it grants anew what the worker held (L61)."""

MAX_STEPS_PER_BUILD: Final = 10_000
MAX_CALLS_PER_STEP: Final = 1_000_000
MAX_REQUESTS_PER_SUBMISSION: Final = 10_000
MAX_LOGS_PER_STEP: Final = 1_000

MAX_UNITS: Final = 1 << 40
"""A lock's limit, a count of its units, and a worker's `max_builds`."""

MAX_OVERTAKES: Final = 1_000
"""A lock's `maxOvertakes`: so many tickets are kept for each priority, and stored with every grant (L45)."""

MAX_BOOKINGS: Final = 10_000
"""Bookings that have not ended."""

MAX_BOOKING_TEXT: Final = 1_000
"""Characters of who books, why, and of the address that is told."""

MAX_BOOKING_SECONDS: Final = 366 * 86400.0
"""How long a booking may last, from its grant or from when it is extended."""

MIN_LEASE: Final = 1.0
MAX_LEASE: Final = 86400.0
"""Seconds of a booking's lease."""

MAX_WAIT_SECONDS: Final = 366 * 86400.0
"""The longest `waitTimeout` of a lock, and `healthCheckRetry` of a pool."""

MIN_RETRY: Final = 1.0
"""Seconds of a pool's shortest `healthCheckRetry`: each look starts a program."""

MAX_WAITING: Final = 1_000_000
"""The greatest `maxWaiting` of a lock."""

MAX_STARTS: Final = 1_000
"""Starts that a lock's `rate` may allow in its time: so many times are kept, and stored with every grant."""

MAX_LOCK_NAME: Final = 200
"""Characters of the name of a lock or pool, and of a unit's name and labels."""

MAX_POOL_UNITS: Final = 1_000
"""Units of a pool."""

MAX_UNIT_DATA: Final = 10_000
"""Bytes of what is known of a unit, as JSON: it is in the properties and the environment of whoever has the unit."""

MAX_VIEWS: Final = 64
"""Different `where` that a configuration may ask of a pool: each is counted anew when a unit is taken or given back."""

MAX_WHERE: Final = 1_000
"""Characters of a `where`."""

MAX_PRIORITY: Final = (1 << 31) - 1
"""The greatest priority of a request, and with a minus the least."""

MAX_WHOLE: Final = (1 << 63) - 1
"""The greatest whole number in a property, and with a minus the least: what every database and JSON reader takes."""

MAX_NAME: Final = 500
"""Characters of the name of a builder, worker or scheduler: what PostgreSQL can look up is short."""

MAX_DEPTH: Final = 100
"""Lists and dictionaries in each other, in plain values of a configuration and in properties."""

MAX_DEADLOCK_WAITS: Final = 20_000
"""Ways in which builds could wait while they hold locks, that are looked at when a configuration is loaded (L50)."""

MAX_CYCLES: Final = 100
"""Cycles of locks that are told of one configuration (L50)."""

MAX_TRIES: Final = 100
"""Failed builds in a row after which at the latest a pool's unit can be told to go into quarantine."""

MAX_WEIGHT: Final = 1_000
"""The greatest weight of a project in what is shared."""

MAX_RANK: Final = 1 << 16
"""The greatest order that a hook can give a builder, and with a minus the least."""

MIN_HORIZON: Final = 3_600
"""Seconds that everything is kept at least after its end: what is younger may still be written, or asked for again."""
