"""What the commands for bookings share: lengths of time as options, asking for locks, and waiting for them.

Each command is in the file of its name.
"""

import json
import secrets
import signal
import time
from collections.abc import Callable
from typing import Any, Final

import click

from lockstep.cli import references, show
from lockstep.cli.client import Client, LostError, MissingError, person, quoted
from lockstep.cli.codes import REFUSED, UNREACHABLE, CliError
from lockstep.cli.references import is_number
from lockstep.core.durations import HOW, seconds_of
from lockstep.core.nouns import capital
from lockstep.master import clock
from lockstep.worker.guard import heard

WAIT: Final = 20.0
"""Seconds for which the server is asked to wait at once."""
SHORTEST: Final = 1.0
"""Seconds for which it makes sense to hold a lock."""
_PAUSE: Final = 0.5
"""Seconds between two tries while no server answers."""
_LAST: Final = 10.0
"""Seconds that a last question may take, when somebody wants to end."""


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`2h`, `30m`, `90`: seconds, so many at least. A default may be less."""

    name = "time"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        seconds = seconds_of(value)
        if seconds is None:
            self.fail(f"'{value}' is no length of time; {HOW}.", param, ctx)
        if isinstance(value, str) and seconds < self._least:
            self.fail(f"'{value}' is too short: {self._least:g} s is the least.", param, ctx)
        return seconds


def wanted(lock: str, count: int | None, *, exclusive: bool = False, where: str = "") -> dict[str, Any]:
    """A lock as the API takes it: `count` units of it; else all of it, of a pool one unit unless `exclusive`."""
    told: dict[str, Any] = {"lock": lock}
    if count is not None:
        told |= {"mode": "counting", "count": count}
    elif exclusive:
        told["mode"] = "exclusive"
    return told | ({"where": where} if where else {})


def asked(
    client: Client,
    path: str,
    method: str,
    patience: float,
    sent: Callable[[], None] = lambda: None,
    **wish: Any,
) -> dict[str, Any]:
    """Ask for locks; if the answer is lost, again, for so long: `once` makes it the same booking.

    `sent` is called before each question. KeyboardInterrupt takes back what may have been asked for.
    """
    wish["once"] = secrets.token_urlsafe(24)
    give_up = clock.monotonic() + patience
    maybe = False
    try:
        while True:
            before, maybe = maybe, True
            sent()
            try:
                made: dict[str, Any] = client.call(path, method, **wish)
            except CliError as exc:
                maybe = before or isinstance(exc, LostError)
                if exc.code != UNREACHABLE or not maybe:
                    raise
                if clock.monotonic() > give_up:
                    raise CliError(exc.code, str(exc), _MAYBE) from exc
            else:
                return made
            time.sleep(_PAUSE)
    except KeyboardInterrupt:
        if maybe:
            take_back(client, client.call(path, method, timeout=_LAST, **wish))
        raise


_MAYBE = "It may have heard the wish: 'lockstep locks' says whether you hold something, when it is back."


def take_back(client: Client, booking: dict[str, Any]) -> None:
    """Release a booking that nobody wants any more."""
    number = booking["bookingid"]
    try:
        client.call(f"bookings/{number}", "release", timeout=_LAST, owner=person(), key=booking.get("key"))
    except CliError as exc:
        if exc.code == UNREACHABLE:
            hint = f"'lockstep release {number}' does it, when the server is back."
            raise CliError(exc.code, f"Booking {number} could not be taken back. {exc}", hint) from exc


def until_held(
    client: Client,
    booking: dict[str, Any],
    patience: float,
    told: Callable[[dict[str, Any]], None],
    sent: Callable[[], None] = lambda: None,
    timeout: float | None = None,
) -> dict[str, Any] | None:
    """Wait until a booking has its locks, through restarts of the server. None if `timeout` seconds were not enough.

    `told` is called with each answer, `sent` before each question. Raises CliError if it ends, or no server answers.
    """
    started = away_since = clock.monotonic()
    longest = min(WAIT, (booking["lease"] or 3 * WAIT) / 3)
    while booking["state"] != "held":
        told(booking)
        left = longest if timeout is None else min(longest, started + timeout - clock.monotonic())
        if left <= 0:
            return None
        sent()
        try:
            path = f"bookings/{booking['bookingid']}"
            booking = {**booking, **client.call(path, "wait", key=booking["key"], wait=left)}
            away_since = clock.monotonic()
        except CliError as exc:
            if exc.code != UNREACHABLE or clock.monotonic() - away_since > patience:
                raise
            time.sleep(_PAUSE)
    return booking


def waited(client: Client, made: dict[str, Any], patience: float, *, quiet: bool) -> dict[str, Any] | None:
    """The booking when it is held; what it waits for is said. None if somebody ends the wait: then it is taken back."""
    said: list[str] = []

    def told(now: dict[str, str]) -> None:
        if not quiet and now["why"] not in said[-1:]:
            said.append(now["why"])
            show.say(f"Booking {now['bookingid']}: {now['why']}", err=True)

    try:
        return until_held(client, made, patience, told)
    except KeyboardInterrupt:
        take_back(client, made)
        click.echo(f"Booking {made['bookingid']} is taken back.", err=True)
        return None


def end_on_signals() -> None:
    """The first signal that ends this process raises KeyboardInterrupt; what is done then, others do not disturb."""

    def told(_number: int, _frame: object) -> None:
        for each in heard():
            signal.signal(each, lambda *_: None)
        raise KeyboardInterrupt

    for number in heard():
        signal.signal(number, told)


def number_of(client: Client, what: str) -> int | None:
    """The number of the booking that somebody means: `17`, `booking:17`. None if it is a lock."""
    kind, _, rest = what.partition(":")
    if kind == "booking" and is_number(rest):
        return int(rest)
    if not is_number(what):
        return None
    try:
        client.all("locks", f"locks/{quoted(what)}")
    except MissingError:
        return int(what)
    text = f"'{what}' is the number of a booking and the name of a lock."
    raise CliError(REFUSED, text, f"Write booking:{what} or lock:{what}.")


def found(client: Client, what: str, who: str) -> int:
    """The booking that somebody means: its number, or the only one of a lock, one's own before those of others."""
    number = number_of(client, what)
    if number is not None:
        return number
    locks = client.all("locks", f"locks/{quoted(what)}")
    named = {lock["lock"] for lock in locks}
    there = {each["by"]["booking"] for lock in locks for each in (*lock["holders"], *lock["waiters"])}
    of_lock = [
        booking
        for booking in client.all("bookings", complete="false", limit=10_000)
        if booking["bookingid"] in there or any(lock["lock"] in named for lock in booking["locks"])
    ]
    mine = [booking for booking in of_lock if who and booking["who"] == who]
    chosen = mine or of_lock
    if len(chosen) == 1:
        return int(chosen[0]["bookingid"])
    called = references.told(locks[0]["kind"], what)
    if not chosen:
        raise CliError(REFUSED, f"Nobody has booked {called}.", "'lockstep locks' says who holds what.")
    names = ", ".join(f"{booking['bookingid']} ({booking['who'] or 'nobody'})" for booking in chosen)
    raise CliError(REFUSED, f"{capital(called)} has several bookings: {names}.", "Say which by its number.")


def report(booking: dict[str, Any]) -> None:
    """Print a booking that is held: a line, and one for each unit of a pool of which something is known."""
    show.say(_held(booking))
    for pool, units in booking["data"].items():
        for unit, data in units.items():
            if data:
                show.say(f"  {pool}/{unit}: {known(data)}")


def known(data: dict[str, Any]) -> str:
    """What the configuration says of a unit: `address 10.0.0.1, port 22`."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in data.items()
    )


def _held(booking: dict[str, Any]) -> str:
    units = {pool: f"{', '.join(names)} of " for pool, names in booking["units"].items()}
    fences = booking["fences"].items()
    locks = ", ".join(f"{units.get(name, '')}'{name}' (fence {fence})" for name, fence in fences)
    until = f" until {show.clock(booking['ends_at'])}" if booking["ends_at"] else ""
    return f"Booking {booking['bookingid']} holds {locks}{until}."
