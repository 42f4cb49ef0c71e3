"""Every limit of the store, by name (HOUSE law 5). Values only."""

from typing import Final

MAX_GROUP: Final = 2_000
"""Batches that one transaction takes; the others wait for the next."""

MAX_WAITING: Final = 100_000
"""Batches that may wait for the writer; a master that gets further ahead of its disk is refused."""

MAX_PAGE: Final = 10_000
"""Rows that one query of the web gives at most."""

CHUNK_RAW_BELOW: Final = 200
"""Bytes under which a log chunk is stored as it is; compressing it would not make it smaller."""

CHUNK_TARGET: Final = 256 * 1024
"""Bytes of text that small chunks of a closed log are merged into."""

CHUNKS_WORTH_MERGING: Final = 4
"""A closed log of fewer chunks stays as it is."""

CHUNK_SMALL: Final = 32 * 1024
"""A closed log whose chunks have more bytes than this on average stays as it is."""

MERGE_ROWS: Final = 1_000
"""Chunks that one transaction merges at most; who wants to store something waits for it."""

MERGE_BYTES: Final = 1024 * 1024
"""Bytes of them, but for the last chunk."""

BUSY_SECONDS: Final = 10.0
"""How long a connection waits for another's lock on the file."""

LOCK_SECONDS: Final = 2.0
"""How long an opening waits for PostgreSQL to notice that the store's last process has ended."""

MAX_LOCK_EVENTS: Final = 20_000
"""Grants, or ends of holds, of one lock that an answer about its use counts: the newest of the period."""

KEPT_BUILDS: Final = 50
"""The last builds of each configured builder, which are never deleted: forecasts look at them."""

DELETE_ROWS: Final = 1_000
"""Rows that one transaction deletes while old things are deleted; who wants to store something waits for it."""

DELETE_BYTES: Final = 1024 * 1024
"""Bytes of logs that one such transaction deletes, but for the last chunk."""

DELETE_LOOK: Final = 400
"""Rows that are looked at between two such transactions."""

DELETE_SETS: Final = 40
"""Build sets that are judged together when builds are deleted; and builds whose steps and logs are read together, but
for those of one build set."""

DELETE_QUIET: Final = 0.01
"""Seconds without anything to store after which one such transaction begins."""

TIDY_AFTER: Final = 10
"""Transactions for events after which one slice of deleting comes first, on a server that is never idle."""
