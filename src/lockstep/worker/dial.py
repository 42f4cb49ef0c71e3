"""Makes one WebSocket to the master, and ends one. What is said on it is in `connection.py`, when there is a new
one in `agent.py`, where the master is in `address.py`.
"""

import asyncio
import base64
import logging

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from lockstep.protocol.limits import MAX_FRAME, SUBPROTOCOL
from lockstep.worker.address import proxy_for
from lockstep.worker.limits import CLOSE_PATIENCE, OPEN_TIMEOUT

log = logging.getLogger("lockstep.worker")


class RefusedError(Exception):
    """The master does not take this agent; the text is its reason."""


async def dial(url: str, name: str, password: str) -> ClientConnection:
    """Connect to the master as the worker `name`.

    Raises `RefusedError` if it does not take this worker; OSError, `WebSocketException` or TimeoutError if it
    cannot be reached.
    """
    pair = f"{name}:{password}".encode()
    try:
        return await connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}"},
            compression=None,
            proxy=proxy_for(url),
            max_size=MAX_FRAME,
            ping_interval=None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=2,
        )
    except InvalidStatus as error:
        raise _refusal(error) from None
    except InvalidHandshake as error:
        raise OSError(f"it answers, but not as a master ({error})") from None
    except (ValueError, ImportError) as error:  # no address at all; a proxy that takes what is not installed
        raise OSError(str(error)) from None


async def leave(websocket: ClientConnection) -> None:
    """End a connection, politely if that is quick: a master that does not read would hold a polite end up for ever."""
    try:
        async with asyncio.timeout(CLOSE_PATIENCE):
            await websocket.close()
    except TimeoutError:
        log.debug("the connection does not end politely")
    finally:
        websocket.transport.abort()


def _refusal(error: InvalidStatus) -> Exception:
    """What an answer other than "switching protocols" means."""
    status = error.response.status_code
    lines = bytes(error.response.body or b"").decode(errors="replace").strip().splitlines()
    reason = lines[0][:500] if lines else f"HTTP status {status}"
    if status in {401, 403}:
        return RefusedError(reason)
    return OSError(f"it answers with HTTP status {status}: {reason}")
