"""What a configuration says of waiting for a lock: how many may, for how long, in which order, and whether at all.

Only reading and refusing; what follows from it is decided in `core/decide_waits.py` and by the allocator.
"""

import re
from typing import Any, Final

from lockstep.config.errors import Place, mistake, nearest
from lockstep.core.answers import exactly
from lockstep.core.durations import HOW, seconds_of
from lockstep.core.limits import MAX_STARTS, MAX_WAIT_SECONDS, MAX_WAITING
from lockstep.core.nouns import Patience, Result

CANCEL_OLDEST: Final = "cancelOldest"
CANCEL_NEWEST: Final = "cancelNewest"
BY_PRIORITY: Final = "priority"
QUEUE_KEYWORDS: Final = ("maxOvertakes", "lease", "maxWaiting", "whenFull", "order", "rate")
"""What all locks take, beside name and limits."""
ACCESS_KEYWORDS: Final = ("mode", "count", "keepAfterFailure", "waitTimeout", "onTimeout", "skipIfBusy", "raises")
ORDERS: Final = ("newest", "fifo", BY_PRIORITY)
"""In which order those who wait for a lock are served. Where two are said of one lock, the first of these holds."""
_RATE: Final = re.compile(r"\s*(\d{1,6})\s*/\s*(.+)")
_PERIODS: Final = {"second": "1s", "sec": "1s", "minute": "1m", "hour": "1h", "day": "1d", "week": "7d"}
_HOW_RATE: Final = "write it as '6/hour', '10/minute' or '1/30m'"
_RESULTS: Final = {"failure": Result.FAILURE, "warnings": Result.WARNINGS, "skipped": Result.SKIPPED}


def most_waiting(value: Any, when_full: Any, what: str, place: Place) -> int | None:
    """How many may wait (None: any number), after reporting what is wrong with it or with `whenFull`."""
    if when_full is not None and when_full not in (CANCEL_OLDEST, CANCEL_NEWEST):
        known = (CANCEL_OLDEST, CANCEL_NEWEST)
        hint = nearest(when_full, known) if isinstance(when_full, str) else ""
        mistake(f"{what}: whenFull must be {' or '.join(map(repr, known))}, not {when_full!r}", hint, place)
    elif when_full is not None and value is None:
        mistake(f"{what}: whenFull says nothing without maxWaiting", "say how many may wait", place)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_WAITING:
        mistake(f"{what}: maxWaiting must be a whole number from 0 to {MAX_WAITING}, not {value!r}", "", place)
        return None
    return value


def order_of(value: Any, what: str, place: Place) -> str:
    """The order; by priority, after reporting a wrong value."""
    if isinstance(value, str) and value in ORDERS:
        return value
    hint = nearest(value, ORDERS) if isinstance(value, str) else ""
    mistake(f"{what}: order must be {' or '.join(map(repr, ORDERS))}, not {value!r}", hint, place)
    return BY_PRIORITY


def rate_of(value: Any, what: str, place: Place) -> tuple[int, float] | None:
    """So many starts in so many seconds; None if there is no such limit, or after reporting a wrong value."""
    if value is None:
        return None
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        mistake(f"{what}: rate must be a number of starts in a time, not {value!r}", _HOW_RATE, place)
        return None
    starts, period = int(found[1]), found[2].strip().lower()
    period = _PERIODS.get(period.removesuffix("s") if len(period) > 2 else period, period)
    seconds = seconds_of(period) if period[:1].isdigit() else seconds_of("1" + period)
    if not seconds or seconds > MAX_WAIT_SECONDS:
        mistake(f"{what}: rate={value!r} names no time", _HOW_RATE, place)
        return None
    if not 1 <= starts <= MAX_STARTS:
        text = f"{what}: rate must allow 1 to {MAX_STARTS} starts, not {starts}"
        mistake(text, "maxCount=0 admits nobody" if not starts else "say it of a shorter time", place)
        return None
    return starts, seconds


def patience(timeout: Any, result: Any, skip: Any, what: str, place: Place) -> Patience | None:
    """How long whoever wants the lock waits for it; None (as long as it takes) after reporting wrong values."""
    seconds = 0.0 if timeout is None else seconds_of(timeout)
    if seconds is None or seconds > MAX_WAIT_SECONDS or (timeout is not None and not seconds):
        text = f"{what}: waitTimeout must be a time above 0 and at most {exactly(MAX_WAIT_SECONDS)}, not {timeout!r}"
        mistake(text, "skipIfBusy=True does not wait at all" if seconds == 0 else HOW, place)
        seconds = 0.0
    if not isinstance(skip, bool):
        mistake(f"{what}: skipIfBusy must be True or False, not {skip!r}", "", place)
        skip = False
    found = _result(result, what, place)
    if result is not None and timeout is None:
        mistake(f"{what}: onTimeout says nothing without waitTimeout", "say how long it waits", place)
    return Patience(found, seconds, skip) if seconds or skip else None


def _result(value: Any, what: str, place: Place) -> Result:
    """How whoever gives up ends: one of three words, or of the constants of these names."""
    if value is None:
        return Result.FAILURE
    if isinstance(value, str) and value.lower() in _RESULTS:
        return _RESULTS[value.lower()]
    if isinstance(value, int) and not isinstance(value, bool) and value in _RESULTS.values():
        return Result(value)
    hint = nearest(value, _RESULTS) if isinstance(value, str) else ""
    text = f"{what}: onTimeout must be 'failure', 'warnings' or 'skipped', not {value!r}"
    mistake(text, hint, place)
    return Result.FAILURE
