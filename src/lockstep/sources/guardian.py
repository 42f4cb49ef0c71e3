"""Ends programs that this process has started when it cannot do that itself: because it was killed.

A small shell reads from a pipe which process groups run. When the pipe ends, for whatever reason, it kills those that
are left. Only that; what is run, and for how long, `programs.py` knows.
"""

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Final

_WORDS: Final = """
trap '' HUP INT TERM
left=
while read -r what group; do
    if [ "$what" = + ]; then left="$left $group"; continue; fi
    kept=
    for each in $left; do [ "$each" = "$group" ] || kept="$kept $each"; done
    left=$kept
done
for group in $left; do kill -s KILL -- "-$group"; done
"""


class Guardian:
    """The one shell, begun when it is needed first, and anew if somebody has ended it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._shell: subprocess.Popen[bytes] | None = None

    def ready(self) -> None:
        """Be there before a program begins: between the two nothing takes long."""
        with self._lock, contextlib.suppress(OSError):
            if self._shell is None or self._shell.poll() is not None:
                self._shell = subprocess.Popen(
                    ["/bin/sh", "-c", _WORDS],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                self._tell([f"+ {group}" for group in self._groups])

    @contextlib.contextmanager
    def watching(self, group: int) -> Iterator[None]:
        """So long this process group is to end with this process."""
        with self._lock:
            self._groups.add(group)
            self._tell([f"+ {group}"])
        try:
            yield
        finally:
            with self._lock:
                self._groups.discard(group)
                self._tell([f"- {group}"])

    def _tell(self, lines: list[str]) -> None:
        """Without a shell programs run all the same."""
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                self._shell.stdin.write("".join(f"{line}\n" for line in lines).encode())
                self._shell.stdin.flush()
