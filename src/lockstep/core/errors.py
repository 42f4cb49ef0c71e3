"""Errors that rooms hand to each other. Only the classes live here."""


class RefusedError(Exception):
    """What was asked for cannot be done. The message is a sentence for the person who asked."""
