"""Litestar put together: the routes of API and pages, and what becomes of errors. Loaded late (`app.py`)."""

import logging
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, NotFoundException

from lockstep.core.errors import RefusedError
from lockstep.storage.errors import StoreError
from lockstep.storage.filters import QueryError
from lockstep.web import api
from lockstep.web.asking import MissingError
from lockstep.web.door import Door
from lockstep.web.guard import App
from lockstep.web.limits import MAX_BODY
from lockstep.web.live import Hub

log = logging.getLogger(__name__)


def make_site(door: Door) -> App:
    """All routes of a server."""
    hub = Hub(door)
    site: Any = Litestar(
        [*api.routes(door, hub)],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        exception_handlers={Exception: _failed},
    )
    return site  # type: ignore[no-any-return]


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """An error as JSON."""
    status, text = sentence_of(error, request.url.path)
    if status == 500:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return api.reply({"error": text}, status)


def sentence_of(error: Exception, path: str) -> tuple[int, str]:
    """The status and the sentence for an error."""
    if isinstance(error, MissingError):
        return 404, str(error)
    if isinstance(error, QueryError | RefusedError):
        return 400, str(error)
    if isinstance(error, StoreError):
        return 503, str(error)
    if isinstance(error, NotFoundException):
        return 404, f"There is nothing at '{path[:200]}'; {api.BASE}/application.spec lists what the API has."
    if isinstance(error, HTTPException):
        return error.status_code, error.detail or type(error).__name__
    return 500, "A fault of Lockstep itself; the server's log says more."
