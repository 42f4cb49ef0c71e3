"""One process with its output, on asyncio: started by vfork, watched by pidfd, read without blocking.

Which command it is, how long it may run and how its tree is killed is decided in `shell.py`.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import termios
from collections.abc import Callable, Mapping, Sequence

from lockstep.worker.limits import PIPE_SIZE, READ_SIZE

_SMALL = 4096
"""A piece below this many bytes, so soon after another, makes the reader wait a little."""

_BREATH = 0.004
"""Seconds that a reader waits then: many small writes become one piece, which costs a tenth of the
processor time.
"""


class Reader:
    """Reads one pipe (or terminal) as it fills, and hands the pieces on.

    `take(data)` gets each piece; `ended` is set at the end of it. `pause` and `resume` are for who cannot
    take more.
    """

    def __init__(self, fd: int, take: Callable[[bytes], None], changed: Callable[[], None]) -> None:
        """Begin to read `fd`, which belongs to this reader from now on; `changed` is called at its end."""
        self._fd = fd
        self._take = take
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._read_at = 0.0
        self._paused = False
        self._breath: asyncio.TimerHandle | None = None
        self.ended = False
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._ready)

    def _ready(self) -> None:
        """Something can be read."""
        size = self._once()
        now = self._loop.time()
        if 0 < size < _SMALL and now - self._read_at < _BREATH and not self.ended and not self._paused:
            self._loop.remove_reader(self._fd)
            self._breath = self._loop.call_later(_BREATH, self._breathed)
        self._read_at = now

    def _breathed(self) -> None:
        """The little wait is over."""
        self._breath = None
        if not self.ended and not self._paused:
            self._loop.add_reader(self._fd, self._ready)

    def _once(self) -> int:
        """Read one piece; return its size, 0 if there is nothing now or any more."""
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return 0
        except OSError:  # a terminal whose other side has closed
            data = b""
        if not data:
            self.close()
            self._changed()
            return 0
        self._take(data)
        return len(data)

    def pause(self) -> None:
        """Read no more for now."""
        if not self._paused and not self.ended:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read again after `pause`."""
        if self._paused and not self.ended:
            self._paused = False
            if self._breath is None:
                self._loop.add_reader(self._fd, self._ready)

    def drain(self) -> None:
        """Read what is there now: at most what a pipe holds, for somebody may go on writing."""
        left = PIPE_SIZE
        while not self.ended and left > 0 and (size := self._once()):
            left -= size

    def close(self) -> None:
        """Stop reading; harmless if it has ended."""
        if not self.ended:
            self.ended = True
            if self._breath is not None:
                self._breath.cancel()
            self._loop.remove_reader(self._fd)
            os.close(self._fd)


class Child:
    """A started process. It stays a zombie until `reap`, so that its id cannot become somebody else's."""

    def __init__(self, popen: "subprocess.Popen[bytes]", exited: Callable[[], None]) -> None:
        """Watch a process; `exited` is called once when it ends."""
        self.pid = popen.pid
        self.code: int | None = None
        """The exit code, or minus the signal's number; None while it runs."""
        self._popen = popen
        self._exited = exited
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._pidfd = os.pidfd_open(popen.pid)
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._look)
        else:
            self._loop.run_in_executor(None, self._wait).add_done_callback(lambda _: self._look())

    def _wait(self) -> None:
        """Wait in a thread, where there is no pidfd."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def _look(self) -> None:
        """The process has ended: keep its exit code."""
        status = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if status is None:
            return
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        killed = status.si_code in {os.CLD_KILLED, os.CLD_DUMPED}
        self.code = -status.si_status if killed else status.si_status
        self._exited()

    def reap(self) -> None:
        """Let the process id go; only after its end."""
        self._popen.wait()


class Started:
    """A process and the ends of its pipes that are ours: `outputs` are (stream, file descriptor)."""

    def __init__(self, popen: "subprocess.Popen[bytes]", outputs: list[tuple[str, int]]) -> None:
        """Keep both."""
        self.popen = popen
        self.outputs = outputs


def start_with_pipes(words: Sequence[str], cwd: str, env: Mapping[str, str], stdin: str | None) -> Started:
    """Start a program in a session of its own, with pipes for both outputs.

    OSError if it cannot be started.
    """
    source = _input_file(stdin)
    pipes = [os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)]
    try:
        for _, write in pipes:
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        popen = subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            stdin=source if source >= 0 else subprocess.DEVNULL,
            stdout=pipes[0][1],
            stderr=pipes[1][1],
            start_new_session=True,
        )
    except BaseException:
        os.close(pipes[0][0])
        os.close(pipes[1][0])
        raise
    finally:
        os.close(pipes[0][1])
        os.close(pipes[1][1])
        if source >= 0:
            os.close(source)
    return Started(popen, [("stdout", pipes[0][0]), ("stderr", pipes[1][0])])


def start_with_terminal(words: Sequence[str], cwd: str, env: Mapping[str, str]) -> Started:
    """Start a program in a session of its own, with a terminal for input and both outputs.

    OSError as above.
    """
    ours, theirs = os.openpty()
    try:
        popen = subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (no threads hold locks here)
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Started(popen, [("stdout", ours)])


def _take_terminal() -> None:
    """In the child: make the terminal the controlling one of its session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _input_file(text: str | None) -> int:
    """Return a descriptor from which the program reads `text`, or -1 for none."""
    if text is None:
        return -1
    with tempfile.TemporaryFile() as file:
        file.write(text.encode(errors="surrogateescape"))
        file.flush()
        file.seek(0)
        return os.dup(file.fileno())


def signal_name(number: int) -> str:
    """Return the name of a signal, for people."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
