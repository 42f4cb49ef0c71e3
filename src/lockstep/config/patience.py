"""What a configuration says of waiting for a lock: how many may, for how long, in which order, and whether at all.

Only reading and refusing; what follows from it is decided in `core/decide_waits.py`.
"""

from typing import Any, Final

from lockstep.config.errors import Place, mistake, nearest
from lockstep.core.durations import HOW, seconds_of
from lockstep.core.limits import MAX_WAIT_SECONDS, MAX_WAITING
from lockstep.core.nouns import Patience, Result

CANCEL_OLDEST: Final = "cancelOldest"
CANCEL_NEWEST: Final = "cancelNewest"
FIFO: Final = "fifo"
QUEUE_KEYWORDS: Final = ("maxOvertakes", "lease", "maxWaiting", "whenFull", "order")
"""What all locks take, beside name and limits."""
LATER: Final = ("rate",)
"""What a lock will take, and is refused by its name until then."""
ACCESS_KEYWORDS: Final = ("mode", "count", "keepAfterFailure", "waitTimeout", "onTimeout", "skipIfBusy")
_ORDERS: Final = (FIFO, "newest", "priority")
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


def check_order(value: Any, what: str, place: Place) -> None:
    """Refuse all but the order that there is."""
    if value == FIFO:
        return
    if value in _ORDERS:
        text = f"{what}: order={value!r} is not there yet: waiters come by priority, then in the order of their coming"
        mistake(text, "leave it out; a request's priority is its scheduler's", place)
    else:
        hint = nearest(value, _ORDERS) if isinstance(value, str) else ""
        mistake(f"{what}: order must be {FIFO!r}, not {value!r}", hint, place)


def patience(timeout: Any, result: Any, skip: Any, what: str, place: Place) -> Patience | None:
    """How long whoever wants the lock waits for it; None (as long as it takes) after reporting wrong values."""
    seconds = 0.0 if timeout is None else seconds_of(timeout)
    if seconds is None or seconds > MAX_WAIT_SECONDS or (timeout is not None and not seconds):
        text = f"{what}: waitTimeout must be a time above 0 and at most {MAX_WAIT_SECONDS:.0f} s, not {timeout!r}"
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
