"""Errors that rooms hand to each other. Only the classes live here."""

from typing import Final

RAISED: Final = (Exception, SystemExit)
"""What code of a configuration raises when it fails: who calls it catches this. `sys.exit()` there ends what was asked
of that code, never the server."""


class RefusedError(Exception):
    """What was asked for cannot be done. The message is a sentence for the person who asked."""


class AwayError(RefusedError):
    """The server cannot do anything now: it stops, or has too much to do. Whoever asks again later may be answered."""


class WrongFieldsError(RefusedError):
    """Fields of a form are wrong. `fields` says of each what is wrong, by its full name."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(" ".join(f"Field {name!r}: {text}." for name, text in fields.items()))
        self.fields = fields
