"""A whole agent: under its guardian, with its event loop. What command lines call."""

import asyncio
import signal

from lockstep.protocol.limits import DEFAULT_LEASE
from lockstep.worker.agent import run_agent
from lockstep.worker.guard import Deadline, guarded

PASSWORD_VARIABLE = "LOCKSTEP_WORKER_PASSWORD"
"""The environment variable that may hold the password; commands do not see it."""


def serve(
    url: str,
    name: str,
    password: str,
    basedir: str,
    lease: float = DEFAULT_LEASE,
    once: bool = False,
    guard: bool = True,
) -> int:
    """Be an agent, under a guardian, until told to stop; return the exit code of `run_agent`.

    This is what a command line calls: it forks, so no thread or event loop may exist yet.
    """

    def run(deadline: Deadline) -> int:
        """The agent itself, in the guardian's child."""
        hidden = (PASSWORD_VARIABLE,)
        agent = run_agent(url, name, password, basedir, lease, once, hidden, deadline=deadline)
        # `asyncio.run` would wait for its threads: for a disk, device or name server that does not answer.
        return asyncio.new_event_loop().run_until_complete(agent)

    # Ctrl-Z would stop guardian and agent, and none of the commands: they would run on beyond the lease.
    # (Commands do not inherit this, as they would if it were ignored.)
    signal.signal(signal.SIGTSTP, lambda *_: None)
    return guarded(run) if guard else run(Deadline())
