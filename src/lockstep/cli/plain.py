"""Text of others on a terminal: names and reasons cannot move the cursor, change colours or begin a line of their own.

What programs have printed (`lockstep log`) is shown as it is.
"""

import re
from typing import Final

_SIGNS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, lone surrogates, and what turns the direction of writing."""


def plain(text: str) -> str:
    """One line of text with such characters written as `\\x1b`."""
    return _SIGNS.sub(_written, text)


def plain_lines(text: str) -> str:
    """The same for text that may have lines."""
    return "\n".join(map(plain, text.split("\n")))


def _written(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
