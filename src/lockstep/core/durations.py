"""Lengths of time as people write them: `90`, `30s`, `15m`, `2h`, `1d`, `1h30m`.

Only reading them; how they are said is `answers.span`.
"""

import re
from typing import Any, Final

_UNITS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(min|[smhd])")
_MOST: Final = 1e15
"""Nobody means more, and a float still has seconds there."""
HOW: Final = "write it as 90, 30s, 15m, 2h, 1d or 1h30m"


def seconds_of(value: Any) -> float | None:
    """The seconds that a number or a text stands for, 0 or more; None if it stands for none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value <= _MOST else None
    if not isinstance(value, str) or not value.isascii():
        return None
    text = value.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d{1,12}(\.\d+)?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text or len(text) > 40:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
