"""The limits and periods of the conversation between master and agent, each by name.

Only numbers live here, with their units and the reason for them. Limits of the agent alone (spool,
processes) are in `worker/limits.py`.
"""

from typing import Final

SUBPROTOCOL: Final = "lockstep.1"
"""The name in `Sec-WebSocket-Protocol`. A client that names none is taken for a `buildbot-worker`."""

MAX_FRAME: Final = 1 << 20
"""Bytes of one WebSocket message, in both directions; a longer one is refused by both ends."""

MAX_PIECE: Final = 128 << 10
"""Bytes of data in one `Output` or `FileChunk`: a few of them and their names fit into one frame."""

MAX_START: Final = 768 << 10
"""Encoded bytes of one `Start` (a command with its environment and its initial stdin)."""

MAX_TEXT: Final = 4096
"""Characters of one sentence for people (reasons of refusals, interrupts and ends)."""

MAX_NAME: Final = 255
"""Characters of a command id, a stream's name or a command's kind."""

MAX_COMMANDS: Final = 2048
"""Commands that one agent may know at once (running, or ended and not yet acknowledged)."""

WINDOW: Final = 4 << 20
"""Bytes of output that an agent may have sent without their being acknowledged; the rest waits on its disk.
"""

DEFAULT_LEASE: Final = 60.0
"""Seconds after which an agent that hears nothing ends its commands by itself (L61)."""

MIN_LEASE: Final = 1.0
"""Seconds; a shorter lease would be lost to one slow answer."""

HEARTBEATS_PER_LEASE: Final = 6
"""How often an agent asks for a sign of life within one lease."""

MAX_HEARTBEAT_PERIOD: Final = 10.0
"""Seconds between two heartbeats at most, however long the lease is."""

PATIENCE: Final = 3
"""Heartbeats without any answer after which an agent gives its connection up and makes a new one."""
