"""Who may do what, before anything else sees a request; and the headers that keep browsers from doing harm.

There are no accounts yet. Whoever is on this machine may change things, with Host and Origin checked (DNS rebinding,
requests forged by other sites); from elsewhere it takes the token. A plain ASGI layer: it knows HTTP, not builds.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from lockstep.web.door import Door

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

TOKEN_COOKIE: Final = "lockstep_token"
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")

_FORWARDED: Final = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")
"""How the headers begin that proxies set."""

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HTML_LOG_POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
"""For what a build wrote in HTML: no script, no form, no origin of its own."""

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Refusal(Exception):  # noqa: N818 (it is an answer)
    """A request that is not let in."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers of a request; of several of one name, the last."""
    return dict(scope["headers"])


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine itself, and was not passed on by a proxy."""
    return came_from_here(scope) and not any(name.startswith(_FORWARDED) for name, _ in scope["headers"])


def came_from_here(scope: Scope) -> bool:
    """Whether whoever holds the connection is on this machine: a browser, a program, or a proxy.

    No header tells that: a page whose own name was pointed here sends what it likes.
    """
    try:
        address = ipaddress.ip_address(scope["peer"][0])
    except (TypeError, ValueError):
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def is_loopback_name(name: str) -> bool:
    """Whether a host name can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def token_of(headers: Mapping[bytes, bytes]) -> str:
    """The token that a request brings, in its Authorization header or from the sign-in page."""
    given = headers.get(b"authorization", b"").decode("latin-1")
    kind, _, value = given.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    try:
        cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookie[TOKEN_COOKIE].value if TOKEN_COOKIE in cookie else ""


class Rights:
    """Who may change something on one server."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def may_change(self, scope: Scope) -> bool:
        """Whether whoever sent this may change anything."""
        return is_local(scope) or self.right(token_of(headers_of(scope)))

    def right(self, given: str) -> bool:
        """Whether this is the server's token. A server without one knows no right token."""
        token = self._door.site.token
        return bool(token) and hmac.compare_digest(given.encode(), token.encode())


class Guard:
    """Lets requests in, or answers them itself."""

    def __init__(self, door: Door, rights: Rights, app: App) -> None:
        self._door = door
        self._rights = rights
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            self.check(scope)
        except Refusal as refusal:
            await _refuse(send, refusal)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_policy(list(message["headers"]))
            await send(message)

        await self._app(scope, receive, guarded)

    def check(self, scope: Scope) -> None:
        """Raise `Refusal` unless this request is let in."""
        headers = headers_of(scope)
        if came_from_here(scope):
            self._check_host(headers)
        if scope["method"] in SAFE_METHODS:
            return
        self._check_origin(scope, headers)
        if scope["path"] != "/signin" and not self._rights.may_change(scope):
            if self._door.site.token and token_of(headers):
                raise Refusal(
                    401, "This is not the server's token: that is in the file 'token' of the server's folder."
                )
            if self._door.site.token:
                raise Refusal(401, "From another machine this needs the server's token: Authorization: Bearer TOKEN.")
            raise Refusal(403, "Only this machine may change anything: the server has no token for others.")

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Another site's name that was pointed at this machine must not reach it (DNS rebinding)."""
        host = headers.get(b"host", b"").decode("latin-1")
        name = host_name(host)
        if not name or (not is_loopback_name(name) and name != urlsplit(self._door.site.url).hostname):
            raise Refusal(
                403, f"This server does not answer to the name '{name[:100]}'. Use localhost, or set c['buildbotURL']."
            )

    def _check_origin(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """A browser says which page sends a request; another site's is refused. Other programs say nothing."""
        origin = headers.get(b"origin")
        if origin is None:
            if headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
                raise Refusal(403, "This request was sent by a page of another site.")
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        own = urlsplit(self._door.site.url)
        allowed = {f"{scope['scheme']}://{host}", f"{own.scheme}://{own.netloc}".lower()}
        if origin.decode("latin-1").lower() not in allowed:
            raise Refusal(403, "This request was sent by a page of another site.")


def _with_policy(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    known = {name for name, _ in headers}
    headers += _HEADERS
    if b"content-security-policy" not in known:
        headers.append((b"content-security-policy", PAGE_POLICY.encode()))
        headers.append((b"x-frame-options", b"DENY"))
    return headers


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = msgspec.json.encode({"error": refusal.text})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": _with_policy(headers)})
    await send({"type": "http.response.body", "body": body})
