"""The agent's own limits and periods, each by name. Those of the conversation are in `protocol/limits.py`."""

from typing import Final

SEGMENT: Final = 8 << 20
"""Bytes of one file of a spool; acknowledged output is given back to the disk in such pieces."""

MAX_BACKLOG: Final = 1 << 30
"""Bytes of one command's output that wait for an acknowledgement; then the command's pipe is not read
further.
"""

UPLOAD_BACKLOG: Final = 8 << 20
"""Bytes of an upload that wait for an acknowledgement: a file is on the disk already, and need not be
twice.
"""

FRAME_TARGET: Final = 256 << 10
"""Bytes of output in one frame, at most, when it flows fast."""

FRAME_MESSAGES: Final = 512
"""Messages in one frame, at most."""

MAX_RESULTS: Final = 512 << 10
"""Encoded bytes of a command's results (names of files); longer ones are an error of the command."""

READ_SIZE: Final = 128 << 10
"""Bytes read from a pipe at once."""

PIPE_SIZE: Final = 1 << 20
"""Bytes a pipe should hold, where the system allows it."""

GATHER: Final = 0.02
"""Seconds for which small output is gathered after a piece has been sent; the first piece goes at once."""

GATHER_ENOUGH: Final = 64 << 10
"""Bytes of output that are not held back."""

DRAIN: Final = 3.0
"""Seconds for which output is still read after a program's end, if a child of it keeps the pipe open."""

INTERRUPT_PATIENCE: Final = 5.0
"""Seconds a command has to obey its `interruptSignal` before its tree is killed."""

KILL_PATIENCE: Final = 10.0
"""Seconds for which the killing of a tree is repeated; what lives then is reported as escaped."""

KILL_PAUSE: Final = 0.01
"""Seconds between two looks whether a killed tree is gone."""

GUARD_PATIENCE: Final = 2.0
"""Seconds beyond its lease that an agent has to end its commands; then its guardian does it. The master waits longer.
"""

GUARD_PERIOD: Final = 1.0
"""Seconds between two looks of the guardian whether a lease that is over was renewed."""

LOG_POLL: Final = 1.0
"""Seconds between two looks at followed log files."""

LOG_LOOK: Final = 2 << 20
"""Bytes of one followed log file that are read at one look; if there are more, the agent looks again at once."""

FIRST_PAUSE: Final = 0.1
"""Seconds before the first new attempt to connect; each further pause is longer by half."""

MAX_PAUSE: Final = 5.0
"""Seconds between two attempts when the master cannot be reached."""

MAX_PAUSE_REFUSED: Final = 30.0
"""Seconds between two attempts when the master has refused this agent."""

OPEN_TIMEOUT: Final = 15.0
"""Seconds for one attempt to connect."""

LOG_AGAIN: Final = 600.0
"""Seconds after which the same trouble is logged again."""

FAREWELL: Final = 5.0
"""Seconds for which an agent that stops still delivers the ends of its commands."""

CLOSE_PATIENCE: Final = 4.0
"""Seconds that the polite end of a connection may take."""
