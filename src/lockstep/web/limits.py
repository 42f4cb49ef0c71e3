"""Every limit of pages and API, by name (HOUSE law 5). Values only."""

from typing import Final

MAX_BODY: Final = 1 << 20
"""Bytes of a request's body."""

MAX_QUERY_FIELDS: Final = 200
"""Parameters in one URL."""

MAX_STREAMS: Final = 500
"""Event streams that may be open at once."""

STREAM_BACKLOG: Final = 10_000
"""Facts that wait for one slow listener; then its stream ends, and it may come back."""

LOG_BACKLOG: Final = 64
"""Pieces of a log that wait for one slow listener; of more it finds the text in the store."""

MAX_COUNT: Final = 1_000
"""Builds that one `force` asks for."""

MAX_WAIT: Final = 60.0
"""Seconds that one request waits for locks; then its sender asks again."""

MIN_KEY: Final = 16
"""Characters of a key with which locks are acquired."""

SHOWN_WAITERS: Final = 200
"""Waiting claims that a lock tells of, unless `limit` says otherwise."""

MAX_CLAIMS: Final = 1_000
"""Claims that one answer tells of, unless `limit` says otherwise."""

CLAIMS_AT_ONCE: Final = 5
"""Reasons that are worked out before others have their turn."""

PAGE_PAUSE: Final = 0.25
"""Seconds between two renewals of a live page."""

PAGE_BREATH: Final = 15.0
"""Seconds after which a live page is looked at again although nothing happened."""

SHOWN_LINES: Final = 1_000
"""Lines of a log that a page shows; the rest is behind a link."""

GROWING_LOOK: Final = 0.5
"""Seconds after which whoever follows a log is told anew of a line that grows."""

LOG_PIECE: Final = 5_000
"""Lines of a log that are read at once for whoever follows it."""

SHOWN_ROWS: Final = 50
"""Lines of a table on a page; how many more there are is said."""

SHOWN_BUILDS: Final = 12
"""Ended builds on the first page."""

SHOWN_NAMES: Final = 6
"""Builders that the first page names while no build has ended."""

TAIL_LINES: Final = 20
"""Lines of a running or failed step that a build's page shows."""

PAGE_SHARE: Final = 0.1
"""The part of the time that drawing one live page again may take."""

MAX_FORM_FIELDS: Final = 500
"""Fields of a form that is sent from a page."""

SHOWN_HISTORY: Final = 50
"""Events of a lock's history that are told of, unless `limit` says otherwise."""

MAX_HISTORY: Final = 10_000
"""Events of a lock's history that one answer tells of at most."""

FORECAST_RUNS: Final = 21
"""Futures that a forecast compares."""

FORECAST_SECONDS: Final = 2.0
"""Seconds that a forecast may run futures; of what it has by then, three at least, it makes its answer."""

FORECAST_CLAIMS: Final = 2_000
"""Waiting claims that a forecast looks at, the first ones; of those behind them nothing is said."""

FORECAST_ENDS: Final = 20_000
"""Moments at which something ends that one future looks at."""

FORECAST_HORIZON: Final = 7 * 86400.0
"""Seconds that a forecast looks ahead."""

FORECAST_BUILDS: Final = 50
"""Builds of a builder that say how long its next one takes: the last."""

FORECAST_SOON: Final = 5.0
"""Seconds that are no more than a moment, when something is expected to start."""

FORECAST_PATIENCE: Final = 3.0
"""Seconds that a page or answer waits for a forecast; without one it gives the last."""

FORECAST_KEPT: Final = 5.0
"""Seconds that a forecast is kept at least."""

FORECAST_CHEAP: Final = 0.25
"""A forecast that took less seconds is made again whenever somebody asks of a claim that has none yet."""

FORECAST_SHARE: Final = 0.05
"""The part of the time that forecasts which are not cheap may take while somebody looks at them."""

METRICS_LOCKS: Final = 500
"""Locks that metrics tell apart; all others are told of together."""

METRICS_EVENTS: Final = 10_000
"""Events of locks that metrics read at once."""
