"""A running server, asked over HTTP. Only the standard library: these commands must start quickly.

What goes wrong is a `CliError` with a sentence: nobody answers, or the server refuses.
"""

import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import click

from lockstep.cli.codes import CANNOT_RUN, REFUSED, UNREACHABLE, USAGE, CliError
from lockstep.master import clock

DEFAULT_URL: Final = "http://127.0.0.1:8010"
TIMEOUT: Final = 30.0
"""Seconds to wait for an answer."""
PATIENCE: Final = 300
"""Seconds to wait for a server that is started again, where something is waited for anyway."""
_PAUSE: Final = 0.5
"""Seconds between two looks whether it is back."""
_AWAY: Final = (502, 503, 504)
"""What something in front of a server answers while that is away."""
_HOW = "Start one with 'lockstep run', or name another with --url or LOCKSTEP_URL."


class MissingError(CliError):
    """The server knows no such thing."""


class LostError(CliError):
    """No answer came, and the server may have done what it was asked."""


class Client:
    """The API of one server."""

    def __init__(self, url: str, token: str = "") -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CliError(USAGE, f"'{url}' is no address of a server.", "Write --url http://HOST:PORT")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._base = parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._token = token
        self._patience = 0.0

    def be_patient(self, seconds: float) -> None:
        """From now on, wait so long for a server that does not answer a question: it may be started again."""
        self._patience = seconds

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """What `/api/v2/PATH` answers. Field operators are written as keywords: `number__gt=3`."""
        text = urlencode({key: value for key, value in query.items() if value is not None}, doseq=True)
        asked = f"{path}?{text}" if text else path
        try:
            return self._ask("GET", asked)
        except CliError as exc:
            if exc.code != UNREACHABLE or not self._patience:
                raise
            return self._when_back(asked, exc)

    def _when_back(self, asked: str, away: CliError) -> dict[str, Any]:
        """The answer of a server that was away, when it is back. CliError if it stays away."""
        click.echo(f"{away} Waiting for it to come back, {self._patience:g} s at most.", err=True)
        until = clock.monotonic() + self._patience
        while True:
            time.sleep(_PAUSE)
            try:
                answer = self._ask("GET", asked)
            except CliError as exc:
                if exc.code != UNREACHABLE or clock.monotonic() > until:
                    raise
            else:
                click.echo("The server is back.", err=True)
                return answer

    def all(self, resource: str, path: str = "", **query: Any) -> list[dict[str, Any]]:
        """The items of a resource."""
        items: list[dict[str, Any]] = self.get(path or resource, **query)[resource]
        return items

    def one(self, resource: str, path: str, what: str) -> dict[str, Any]:
        """The one item at a path. CliError, naming `what`, if there is none."""
        try:
            items = self.all(resource, path)
        except MissingError as exc:
            told = str(exc) if " was deleted" in str(exc) else f"There is no {what}."
            raise CliError(REFUSED, told) from exc
        if not items:
            raise CliError(REFUSED, f"There is no {what}.")
        return items[0]

    def call(self, path: str, method: str, *, timeout: float = TIMEOUT, **params: Any) -> Any:
        """An action: JSON-RPC at `/api/v2/PATH`; returns its result."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self._ask("POST", path, asked, timeout).get("result")

    def _ask(self, method: str, path: str, body: Any = None, timeout: float = TIMEOUT) -> dict[str, Any]:
        with self._open(method, path, body, timeout) as response:
            try:
                answer = json.loads(response.read())
            except ValueError as exc:
                raise self._stranger() from exc
            except (OSError, http.client.HTTPException) as exc:
                raise self._silent(exc) from exc
        if not isinstance(answer, dict):
            raise self._stranger()
        return answer

    def _open(self, method: str, path: str, body: Any, timeout: float = TIMEOUT) -> http.client.HTTPResponse:
        """Send a request; the answer's body is not read yet. CliError for all but success."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        headers = {"Accept": "application/json", "User-Agent": "lockstep"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection = kind(self._host, self._port, timeout=timeout)
            data = None if body is None else json.dumps(body).encode()
            connection.connect()
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise self._silent(exc, CliError) from exc
        try:
            connection.request(method, f"{self._base}/api/v2/{path}", data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise self._silent(exc) from exc
        if response.status >= 400:
            raise self._refusal(response)
        return response

    def _refusal(self, response: http.client.HTTPResponse) -> CliError:
        """What an answer with an error says."""
        if response.status in _AWAY:
            return LostError(UNREACHABLE, f"No server answers at {self.url} (HTTP {response.status}).", _HOW)
        if response.status >= 500:
            text = f"The server at {self.url} could not answer (HTTP {response.status})."
            return CliError(CANNOT_RUN, text, "Its log says why.")
        try:
            error = json.loads(response.read())["error"]
            text = error["message"] if isinstance(error, dict) else str(error)
        except (ValueError, KeyError, TypeError, OSError):
            return self._stranger() if response.status == 404 else CliError(REFUSED, f"HTTP {response.status}.")
        if response.status == 404:
            return MissingError(REFUSED, text)
        if response.status in (401, 403):
            hint = "Give --token, or set LOCKSTEP_TOKEN: the server keeps it in the file 'token' of its folder."
            return CliError(REFUSED, text, hint)
        return CliError(REFUSED, text)

    def _silent(self, exc: Exception, kind: type[CliError] = LostError) -> CliError:
        return kind(UNREACHABLE, f"No server answers at {self.url} ({_why(exc)}).", _HOW)

    def _stranger(self) -> CliError:
        return CliError(UNREACHABLE, f"What answers at {self.url} is no Lockstep server.", _HOW)


def _why(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, socket.gaierror):
        return "no such host"
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__


def person() -> str:
    """Who asks: as the environment says, or where that says nothing (a container, a service) as the system does."""
    from getpass import getuser

    with suppress(OSError, KeyError, ImportError):  # it says nothing of a user who has no account
        return os.environ.get("USER") or getuser()
    return ""


def quoted(name: str) -> str:
    """A name as part of a path. Raises CliError for an empty one: another path would be meant."""
    if not name:
        raise CliError(USAGE, "An empty name means nothing.", "Is a variable empty?")
    return quote(name, safe="")


patience_option = click.option(
    "--patience",
    type=click.FloatRange(0),
    default=PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a server that is started again.",
)


def server_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that asks a server and prints: it gets a `Client` as first argument."""
    return address_options(click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(function))


def address_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the server is, and who asks: the command gets a `Client` as first argument."""

    @wraps(function)
    def with_client(*args: Any, url: str, token: str, **kwargs: Any) -> Any:
        return function(Client(url, token), *args, **kwargs)

    for option in (
        click.option(
            "--token", envvar="LOCKSTEP_TOKEN", default="", help="For changes from elsewhere [LOCKSTEP_TOKEN]."
        ),
        click.option("--url", envvar="LOCKSTEP_URL", default=DEFAULT_URL, help=f"The server [{DEFAULT_URL}]."),
    ):
        with_client = option(with_client)
    return with_client
