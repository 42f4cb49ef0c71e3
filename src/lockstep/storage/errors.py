"""What goes wrong with a store, as one sentence for a person; and the drivers' errors put into such sentences."""

import re
import sqlite3
from typing import Final

import msgspec


class StoreError(Exception):
    """The store cannot be used, or refused to store. The message says what is wrong and what to do."""


_SENTENCES: Final = (
    ("disk is full", "the disk is full; make room and start again: everything that was told to anybody is stored"),
    ("no space left", "the disk is full; make room and start again: everything that was told to anybody is stored"),
    ("disk_full", "the disk is full; make room and start again: everything that was told to anybody is stored"),
    ("readonly database", "it may not be written to; give this user the right to write the file and its folder"),
    ("read-only transaction", "the database is read-only; use one that may be written to"),
    (
        "unable to open",
        "the file cannot be opened or made; check its name, and that its folder exists and may be written to",
    ),
    (
        "not a database",
        "the file is no Lockstep store, or damaged; see that it is the one you mean, or put a backup there",
    ),
    ("malformed", "the file is damaged; put a backup in its place"),
    ("disk i/o error", "the disk reports an input/output error; check the disk and the system's log"),
    ("locked", "another program keeps it locked; end that program"),
    ("password", "the database server refuses the user or the password in c['db']"),
    ("(role|database) .* does not exist", "the database server has no such user or database; make it, or mend c['db']"),
    (
        "invalid connection option|invalid port|bad value|invalid .* value",
        "what c['db'] says is refused; mend it there",
    ),
    ("resolve host|translate host", "the machine that c['db'] names is not known; check its name"),
    ("connection", "the database server cannot be reached or has closed the connection; see that it runs"),
)
"""What is found in a driver's words, a pattern, and what a person is told. The first that is found counts."""


def explain(error: BaseException, place: str) -> StoreError:
    """A StoreError for a driver's error. `place` names the store without any password."""
    if isinstance(error, StoreError):
        return error
    text = str(error).strip() or type(error).__name__
    low = text.lower()
    if isinstance(error, sqlite3.Error | OSError) or type(error).__module__.split(".")[0] in ("psycopg", "sqlalchemy"):
        for sign, sentence in _SENTENCES:
            if re.search(sign, low):
                return StoreError(f"store {place}: {sentence} ({text.splitlines()[0]})")
        return StoreError(f"store {place}: {text.splitlines()[0]}")
    if isinstance(error, msgspec.DecodeError):
        damaged = "a row cannot be read: it was changed by hand, or the file is damaged; put a backup in its place"
        return StoreError(f"store {place}: {damaged} ({text})")
    return StoreError(f"store {place}: a fault of Lockstep itself: {type(error).__name__}: {text}")
