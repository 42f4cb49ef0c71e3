"""The guardian: a small parent process that ends everything an agent has started if the agent itself is
killed.

An agent that is killed cannot keep its lease (L61). So it runs as the only child of a process that does
nothing but wait: when the agent is gone, for whatever reason, orphans become the guardian's children (it is
a "subreaper", Linux) and are killed. If the guardian is killed, the agent gets SIGTERM, ends its commands
and itself.
"""

import os
import signal
import time
from collections.abc import Callable

from lockstep.worker import trees
from lockstep.worker.clock import boottime
from lockstep.worker.limits import KILL_PATIENCE, KILL_PAUSE


def heard() -> set[signal.Signals]:
    """The signals that end this process: not those that whoever started it has it ignore (`nohup`, `&`)."""
    maybe = {signal.SIGINT, signal.SIGHUP}
    return {signal.SIGTERM} | {number for number in maybe if signal.getsignal(number) is not signal.SIG_IGN}


def guarded(serve: Callable[[], int]) -> int:
    """Run `serve` in a child process, and return its exit code when nothing that it started is left.

    Call it before any thread or event loop is made. Where the system cannot do it, `serve` simply runs here.
    """
    if not trees.HAS_PROC or not trees.become_subreaper():
        return serve()
    forwarded = heard()
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
    guardian = os.getpid()
    child = os.fork()
    if child == 0:
        trees.die_with_parent(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
        if os.getppid() != guardian:
            os._exit(1)
        code = 1
        try:
            code = serve()
        finally:
            os._exit(code)
    for number in forwarded:
        signal.signal(number, lambda got, _: os.kill(child, got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
    code = _wait(child)
    for number in forwarded:
        signal.signal(number, signal.SIG_IGN)
    _kill_the_rest()
    return code


def _wait(child: int) -> int:
    """Wait for the agent, and reap whatever else ends here meanwhile; return the agent's exit code."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill_the_rest() -> None:
    """Kill all descendants, until there are none (or `KILL_PATIENCE` seconds are over)."""
    deadline = boottime() + KILL_PATIENCE
    while trees.kill_once(_descendants) and boottime() < deadline:
        time.sleep(KILL_PAUSE)
        _reap()
    _reap()


def _descendants() -> dict[int, trees.Proc]:
    """All living processes below this one."""
    processes = trees.all_processes()
    below = {os.getpid()}
    grown = True
    while grown:
        more = {proc.pid for proc in processes.values() if proc.parent in below} - below
        below |= more
        grown = bool(more)
    return {pid: processes[pid] for pid in below - {os.getpid()} if pid in processes}


def _reap() -> None:
    """Take the exit status of all children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
