"""How long something was kept and when it was deleted, in words: the same over REST, on pages and in logs' texts."""

from datetime import UTC, datetime
from typing import Any, Final

_UNITS: Final = (("week", 7 * 86400), ("day", 86400), ("hour", 3600), ("second", 1))


def age(seconds: float) -> str:
    """A horizon as it was probably written: `4 weeks`."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0 or size == 1)
    count = int(seconds // size)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def moment(at: float) -> str:
    """A time, as pages write it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def deleted(log: dict[str, Any]) -> str:
    """Why a log has no text any more, as a sentence; nothing of one that was not deleted."""
    if log["type"] != "d":
        return ""
    return (
        f"This log was deleted on {moment(log['deleted_at'])}: its build had ended more than "
        f"{age(log['horizon'])} before."
    )
