"""Litestar put together: the routes of API and pages, and what becomes of errors. Loaded late (`app.py`)."""

import logging
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import HTTPRouteHandler

from lockstep.core.errors import AwayError, RefusedError
from lockstep.storage.errors import StoreError
from lockstep.storage.filters import QueryError
from lockstep.web import api
from lockstep.web.asking import MissingError
from lockstep.web.door import Door
from lockstep.web.drawing import Painter, load_assets
from lockstep.web.guard import App, Rights
from lockstep.web.limits import MAX_BODY
from lockstep.web.live import Hub
from lockstep.web.metrics import Metrics
from lockstep.web.pages import Pages

log = logging.getLogger(__name__)


def make_site(door: Door, hub: Hub, rights: Rights, metrics: Metrics) -> App:
    """All routes of a server."""
    painter = Painter(door, load_assets())
    if not painter.alive:
        log.warning("the pages' assets are missing: pages can be read, but are not live; see docs/reference/api.md")
    pages = Pages(door, hub, painter, rights)

    def failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        """An error: to programs as JSON, to people as a page."""
        path = request.url.path
        status, text = sentence_of(error, path)
        if status == 500:
            log.error("%s %s failed", request.method, path, exc_info=error)
        return api.reply({"error": text}, status) if path.startswith("/api/") else pages.failed(request, status, text)

    site: Any = Litestar(
        [*api.routes(door, hub), *pages.routes(), _metrics(metrics)],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        exception_handlers={Exception: failed},
    )
    return site  # type: ignore[no-any-return]


def _metrics(metrics: Metrics) -> HTTPRouteHandler:
    @get("/metrics", status_code=200)
    async def handle() -> Response[bytes]:
        text, kind = await metrics.text()
        return Response(text, media_type=kind, headers=api.NO_STORE)

    return handle


def sentence_of(error: Exception, path: str) -> tuple[int, str]:
    """The status and the sentence for an error."""
    if isinstance(error, MissingError):
        return 404, str(error)
    if isinstance(error, AwayError):
        return 503, str(error)
    if isinstance(error, QueryError | RefusedError):
        return 400, str(error)
    if isinstance(error, StoreError):
        return 503, str(error)
    if isinstance(error, NotFoundException):
        return 404, f"There is nothing at '{path[:200]}'; the page / and {api.BASE}/application.spec lead on."
    if isinstance(error, HTTPException):
        return error.status_code, error.detail or type(error).__name__
    return 500, "A fault of Lockstep itself; the server's log says more."
