"""A recording: the events that a server decides, and the facts that followed, written into a trace as they come.

Each start of a server begins with what its store gave back, so a recording can begin at any time and be replayed by
itself (`lockstep replay`). Events hold what facts hold, so a recording holds no secrets; who may not read the store
may not read it either.
"""

import logging
import os
from collections.abc import Sequence

from lockstep.core import events as e
from lockstep.core.facts import Numbered
from lockstep.core.saved import Saved
from lockstep.sim.limits import MAX_RECORDING
from lockstep.sim.tracing import FACT, fault, text_of

log = logging.getLogger(__name__)


class Recording:
    """A file that is written to, behind what is there already, until it is too long. It never raises but when opened.

    Args:
        path: the file; it is made for its owner's eyes only.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, most: int = MAX_RECORDING) -> None:
        self._path = path
        self._most = most
        self._at = -1.0
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._write([""])  # the last process was killed while it wrote

    def began(self, saved: Saved, at: float) -> None:
        """A process starts from this. Its facts follow."""
        self._event(at, text_of(saved))

    def event(self, event: e.Event, at: float) -> None:
        """An event is about to be decided. Its facts follow, or a fault."""
        self._event(at, text_of(event))

    def facts(self, facts: Sequence[Numbered]) -> None:
        """What followed."""
        if self._file is not None and facts:
            self._write([f"{FACT}{text_of(one.fact)}" for one in facts])

    def failed(self, error: Exception) -> None:
        """The decision failed."""
        self._write([fault(error)])

    def close(self) -> None:
        """Nothing more is written."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _event(self, at: float, text: str) -> None:
        if self._file is None:
            return
        if self._size >= self._most:
            log.warning("the recording '%s' has reached its limit of %s bytes and ends here", self._path, self._most)
            self._write([f"# The limit of {self._most} bytes is reached: the recording ends here."])
            self.close()
            return
        self._write([*([f"@ {at!r}"] if at != self._at else []), f"> {text}"])
        self._at = at

    def _write(self, lines: list[str]) -> None:
        if self._file is None:
            return
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            while data:
                written = os.write(self._file, data)
                self._size += written
                data = data[written:]
        except OSError as exc:
            log.warning("the recording '%s' ends here: %s", self._path, exc.strerror)
            self.close()
