"""The guardian: a small parent process that ends what an agent has started when the agent cannot do it itself.

An agent that is killed, stopped, or stuck in a disk that does not answer cannot keep its lease (L61). So it
runs as the only child of a process that does nothing but wait. When the agent is gone, for whatever reason,
orphans become the guardian's children (it is a "subreaper", Linux) and are killed. When the agent's lease
is over, and a little more, all that it has started is killed, and the agent is left to find that out. If
the guardian is killed, the agent gets SIGTERM, ends its commands and itself.

`lockstep exec` is an agent in this sense.
"""

import logging
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable

from lockstep.worker import trees
from lockstep.worker.clock import boottime
from lockstep.worker.limits import GUARD_PATIENCE, GUARD_PERIOD, KILL_PATIENCE, KILL_PAUSE

log = logging.getLogger("lockstep.worker")

_TIME = struct.Struct("=d")


class Deadline:
    """When an agent's commands must have ended: it writes that, its guardian reads it. Memory of both."""

    def __init__(self) -> None:
        """Make it before the fork; there is no deadline yet."""
        self._memory = mmap.mmap(-1, _TIME.size)

    def set(self, at: float) -> None:
        """Seconds on the clock of `boottime`; 0: nothing runs."""
        _TIME.pack_into(self._memory, 0, at)

    def get(self) -> float:
        """The deadline, or 0."""
        at: float = _TIME.unpack_from(self._memory, 0)[0]
        return at


def heard() -> set[signal.Signals]:
    """The signals that end this process: not those that whoever started it has it ignore (`nohup`, `&`)."""
    maybe = {signal.SIGINT, signal.SIGHUP}
    return {signal.SIGTERM} | {number for number in maybe if signal.getsignal(number) is not signal.SIG_IGN}


def guarded(serve: Callable[[Deadline], int]) -> int:
    """Run `serve` in a child process, and return its exit code when nothing that it started is left.

    Call it before any thread or event loop is made. Where the system cannot do it, `serve` simply runs here.
    """
    deadline = Deadline()
    if not trees.HAS_PROC or not trees.become_subreaper():
        return serve(deadline)
    forwarded = heard()
    signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
    guardian = os.getpid()
    child = os.fork()
    if child == 0:
        trees.die_with_parent(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*forwarded, signal.SIGCHLD})
        if os.getppid() != guardian:
            os._exit(1)
        code = 1
        try:
            code = serve(deadline)
        except Exception:
            log.exception("a fault of Lockstep itself: this process ends, and what it had started")
        finally:
            os._exit(code)
    for number in forwarded:
        signal.signal(number, lambda got, _: os.kill(child, got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
    code = _watch(child, deadline)
    for number in forwarded:
        signal.signal(number, signal.SIG_IGN)
    _kill_below(os.getpid())
    return code


def _watch(child: int, deadline: Deadline) -> int:
    """Wait for the agent's end, and return its exit code. When a deadline has passed, end what it runs, once."""
    passed = 0.0
    while (status := _reap(child)) is None:
        at = deadline.get()
        if at != passed and boottime() >= at + GUARD_PATIENCE:
            passed = at
            _kill_below(child)
        left = at + GUARD_PATIENCE - boottime()
        signal.sigtimedwait({signal.SIGCHLD}, left if left > 0 else GUARD_PERIOD)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _kill_below(parent: int) -> None:
    """Kill all descendants of a process, until there are none (or `KILL_PATIENCE` seconds are over)."""
    deadline = boottime() + KILL_PATIENCE
    while trees.kill_once(lambda: _descendants(parent)) and boottime() < deadline:
        time.sleep(KILL_PAUSE)
        if parent == os.getpid():
            _reap(0)
    if parent == os.getpid():
        _reap(0)


def _descendants(parent: int) -> dict[int, trees.Proc]:
    """All living processes below one."""
    processes = trees.all_processes()
    below = {parent}
    grown = True
    while grown:
        more = {proc.pid for proc in processes.values() if proc.parent in below} - below
        below |= more
        grown = bool(more)
    return {pid: processes[pid] for pid in below - {parent} if pid in processes}


def _reap(wanted: int) -> int | None:
    """Take the exit status of all children that have ended; return that of the wanted one."""
    found = None
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == wanted:
                found = ended[1]
    except ChildProcessError:
        pass
    return found
