"""The pages over HTTP: a table from address to view, live renewal, and forms that act. Drawing is in `drawing.py`.

A page and its renewals are drawn by the same template. With `?live` an address gives server-sent events: its block
`main`, each time that it has changed. Viewers of the same page share one drawing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from lockstep.core.errors import RefusedError
from lockstep.web import actions, build_views, logs, rest, views
from lockstep.web.api import NO_STORE, STREAM_HEADERS, Asking, params_of, query_of
from lockstep.web.asking import MissingError
from lockstep.web.door import Door
from lockstep.web.drawing import Painter
from lockstep.web.forms import AGAIN, FORMS, Act, filled_again
from lockstep.web.guard import TOKEN_COOKIE, Rights, is_local
from lockstep.web.limits import MAX_FORM_FIELDS, PAGE_BREATH, PAGE_SHARE
from lockstep.web.live import Hub, Queue, next_beat, sse
from lockstep.web.views import View

log = logging.getLogger(__name__)

Draw = Callable[[Door, Mapping[str, str]], Awaitable[View]]

PAGES: Final[dict[str, Draw]] = {
    "/": views.now,
    "/builders": views.builders,
    "/builders/{builder:str}": views.builder,
    "/builders/{builder:str}/builds/{number:str}": build_views.build,
    "/builds/{build:str}": build_views.build,
    "/requests/{brid:str}": views.request,
    "/locks": views.locks,
    "/locks/{lock:str}": views.locks,
    "/workers": views.workers,
    "/workers/{worker:str}": views.workers,
    "/changes": views.changes,
    "/logs/{log:str}": build_views.log,
}
"""Address to what it shows."""


class Renewals:
    """Live pages: one drawing for all who look at the same thing."""

    def __init__(self, door: Door, hub: Hub, painter: Painter) -> None:
        self._door = door
        self._hub = hub
        self._painter = painter
        self._watching: dict[Any, set[Queue]] = {}
        self._tasks: dict[Any, asyncio.Task[None]] = {}

    async def stream(
        self, key: Any, draw: Callable[[], Awaitable[View]], more: Mapping[str, Any]
    ) -> AsyncIterator[str]:
        """The `main` block of a page, now and whenever it has changed; the last event is `done`."""
        with self._hub.queue() as queue:
            watching = self._watching.setdefault(key, set())
            watching.add(queue)
            try:
                yield ": this page renews itself\n\n"
                if key in self._tasks:
                    view = await draw()
                    yield sse(self._painter.main(view.template, {**view.shown, **more}))
                else:
                    self._tasks[key] = asyncio.create_task(self._renew(key, draw, more))
                while not queue.ended:
                    items = await queue.take(PAGE_BREATH)
                    for html, over in items:
                        yield sse(html)
                        if over:
                            yield sse("", "done")
                            return
                    if not items:
                        yield ": still here\n\n"
            finally:
                watching.discard(queue)

    async def _renew(self, key: Any, draw: Callable[[], Awaitable[View]], more: Mapping[str, Any]) -> None:
        """Draw for as long as somebody looks and something may change."""
        last = ""
        try:
            with self._hub.pulse() as pulse:
                while self._watching.get(key) and not self._hub.closed:
                    begun = self._door.now()
                    view = await draw()
                    pulse.logs = view.logs
                    html = self._painter.main(view.template, {**view.shown, **more})
                    if html != last or not view.live:
                        last = html
                        self._tell(key, html, over=not view.live)
                    if not view.live:
                        return
                    took = max(0.0, self._door.now() - begun)
                    await asyncio.sleep(min(PAGE_BREATH, took / PAGE_SHARE))
                    await next_beat(pulse)
        except Exception:
            log.exception("drawing %s failed", key)
        finally:
            for queue in self._watching.pop(key, ()):
                queue.end()
            del self._tasks[key]

    def _tell(self, key: Any, html: str, *, over: bool) -> None:
        """Whoever has not taken the page of before wants this one alone."""
        for queue in self._watching.get(key, ()):
            queue.put_last((html, over))


def _html(text: str, status: int = 200) -> Response[Any]:
    return Response(text, status_code=status, media_type="text/html", headers=NO_STORE)


def _see(path: str) -> Response[Any]:
    """Go on to another page after a form."""
    return Response("", status_code=303, media_type="text/plain", headers={"location": path, **NO_STORE})


class Pages:
    """The routes of one server's pages."""

    def __init__(self, door: Door, hub: Hub, painter: Painter, rights: Rights) -> None:
        self._door = door
        self._hub = hub
        self._painter = painter
        self._rights = rights
        self._renewals = Renewals(door, hub, painter)

    def routes(self) -> list[HTTPRouteHandler]:
        """All of them."""
        shown = [_route(path, self._page(draw)) for path, draw in PAGES.items()]
        acts = [_route(path, self._form(path, act), post) for path, act in FORMS.items()]
        return [
            *shown,
            *acts,
            _route("/logs/{log:str}/lines", self._lines),
            _route("/static/{name:path}", self._static),
            _route("/signin", self._signin),
            _route("/signin", self._signed, post),
        ]

    def _more(self, request: Asking) -> dict[str, Any]:
        scope: Any = request.scope
        may = self._rights.may_change(scope)
        return {
            "path_now": quote(request.url.path, safe="/%"),
            "may_change": may,
            "can_sign_in": not may and bool(self._door.site.token),
            "signed_in": may and not is_local(scope),
        }

    def _page(self, draw: Draw) -> Callable[[Asking], Awaitable[Response[Any]]]:
        async def endpoint(request: Asking) -> Response[Any]:
            ids, more = params_of(request), self._more(request)
            if "live" in request.query_params:
                self._hub.room()
                key = (request.url.path, more["may_change"])
                stream: Any = Stream(
                    self._renewals.stream(key, lambda: draw(self._door, ids), more),
                    media_type="text/event-stream",
                    headers=STREAM_HEADERS,
                )
                return stream  # type: ignore[no-any-return]
            view = await draw(self._door, ids)
            shown = {**view.shown, **more, "title": view.title, "live": view.live and self._painter.alive}
            return _html(self._painter.page(view.template, shown))

        return endpoint

    def failed(self, request: Asking, status: int, sentence: str) -> Response[Any]:
        """An error as a page."""
        shown = {**self._more(request), "title": "Not found" if status == 404 else "That did not work", "live": False}
        return _html(self._painter.page("error.html", {**shown, "sentence": sentence, "back": _back(request)}), status)

    def _form(self, where: str, act: Act) -> Callable[[Asking], Awaitable[Response[Any]]]:
        async def endpoint(request: Asking) -> Response[Any]:
            form = await _filled_in(request)
            ids = params_of(request)
            try:
                path = await act(self._door, ids, form)
            except RefusedError as error:
                again = filled_again(where, ids, form, error)
                if again is None:
                    raise
                view = await AGAIN[where](self._door, ids)
                shown = {**view.shown, **self._more(request), "title": view.title, "live": False, "again": again}
                return _html(self._painter.page(view.template, {**shown, "path_now": shown["path"]}), 400)
            return _see(path or _back(request))

        return endpoint

    async def _lines(self, request: Asking) -> Response[Any]:
        """A log as it is written, for its page: each event is lines to add."""
        self._hub.room()
        item = await actions.find(self._door, rest.log, params_of(request))
        first = rest.number(request.headers.get("last-event-id", ""))
        first = query_of(request).offset if first is None else first
        lines = logs.Lines(self._hub, self._door, item["logid"], first)
        events = logs.follow_events(lines, lambda _first, text: build_views.fresh_html(text, item["type"]))
        stream: Any = Stream(events, media_type="text/event-stream", headers=STREAM_HEADERS)
        return stream  # type: ignore[no-any-return]

    async def _static(self, request: Asking) -> Response[Any]:
        asset = self._painter.assets.get(str(request.path_params["name"]).lstrip("/"))
        if asset is None:
            raise MissingError("There is no such file.")
        headers = {"cache-control": "public, max-age=31536000, immutable" if request.url.query else "no-cache"}
        return Response(asset.content, media_type=asset.type, headers=headers)

    async def _signin(self, request: Asking) -> Response[Any]:
        shown = {**self._more(request), "title": "Sign in", "live": False}
        return _html(self._painter.page("signin.html", shown))

    async def _signed(self, request: Asking) -> Response[Any]:
        form = dict(await _filled_in(request))
        if not self._rights.right(form.get("token", "")):
            raise RefusedError("That is not the server's token.")
        secure = "; Secure" if request.url.scheme == "https" else ""
        answer = _see("/")
        answer.headers["set-cookie"] = (
            f"{TOKEN_COOKIE}={form['token']}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{secure}"
        )
        return answer


def _route(path: str, endpoint: Callable[[Asking], Awaitable[Response[Any]]], make: Any = get) -> HTTPRouteHandler:
    async def handle(request: Asking) -> Response[Any]:
        return await endpoint(request)

    route: HTTPRouteHandler = make(path, status_code=200)(handle)
    return route


async def _filled_in(request: Asking) -> list[tuple[str, str]]:
    """The fields of a form. Raises RefusedError for too many."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise RefusedError(f"A form has at most {MAX_FORM_FIELDS} fields.") from None


def _back(request: Asking) -> str:
    """The page that a form was on."""
    try:
        referer = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return "/"
    same = referer.netloc == request.headers.get("host", "")
    return referer.path if same and referer.path.startswith("/") and not referer.path.startswith("//") else "/"
