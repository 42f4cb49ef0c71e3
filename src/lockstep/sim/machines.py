"""The machines that run commands, and the links between them and the master. What really runs is in the ledger.

An agent resumes after a lost connection and ends its commands when its lease is over (L61); a machine without a lease
is like `buildbot-worker`: it ends everything when it comes back. Nothing here knows the core's state.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from lockstep.core.calls import CommandResult
from lockstep.sim.faults import Ledger, Running
from lockstep.sim.scenario import Machine
from lockstep.sim.timeline import Timeline

if TYPE_CHECKING:
    from lockstep.sim.master import Master

PING = 5.0
"""Seconds between two messages of an agent that has nothing else to say."""

LEAVE_PATIENCE = 30.0
"""Seconds after which an agent that is being stopped goes, also if the master has not let it go."""


STOPPED = CommandResult(rc=-1, failure="the worker is stopped", lost=True)
"""How a command ends whose agent is stopped."""


class Link:
    """One connection: messages arrive in order, or not at all once it is cut. `session` is 0 until it is welcome.

    `heard`: when at the earliest the master received the last message. `leaving`: the master has heard that the agent
    is being stopped; `sent` are the commands that it sent there.
    """

    def __init__(self, timeline: Timeline, random: Random, host: "Host", master: "Master") -> None:
        self.timeline = timeline
        self.random = random
        self.host = host
        self.master = master
        self.up = True
        self.session = 0
        self.leaving = False
        self.sent: set[str] = set()
        self.opened = self.heard = timeline.now
        self._last = [0.0, 0.0]

    def to_master(self, action: Callable[[], object]) -> None:
        """Have this done at the master's end."""
        self._send(0, lambda: self.master.alive and action())

    def to_host(self, action: Callable[[], object]) -> None:
        """Have this done at the machine's end."""
        self._send(1, lambda: self.host.link is self and action())

    def _send(self, direction: int, action: Callable[[], object]) -> None:
        at = max(self._last[direction], self.timeline.now + self.random.uniform(0.001, 0.4))
        self._last[direction] = at
        self.timeline.after(at - self.timeline.now, lambda: self.up and action())

    def cut(self) -> None:
        """Nothing passes any more. Each end notices in its own time."""
        if not self.up:
            return
        self.up = False
        host = self.host
        if host.link is self and self.session:
            host.heard = self.heard = max(host.heard, self.timeline.now - self.random.uniform(0, PING))
        self.timeline.after(self.random.uniform(0, 20), lambda: host.lost(self))
        self.timeline.after(self.random.uniform(0, 40), lambda: self.master.link_lost(self))
        host.watch_lease()


class Host:
    """One machine with its worker process. What is in `ended` and `gone` is on its disk."""

    def __init__(
        self, machine: Machine, timeline: Timeline, random: Random, ledger: Ledger, find: "Callable[[], Master | None]"
    ) -> None:
        self.name = machine.setup.name
        self.lease = machine.lease
        self.timeline = timeline
        self.random = random
        self.ledger = ledger
        self.find = find
        self.up = True
        self.link: Link | None = None
        self.heard = 0.0
        self.seen: set[str] = set()
        self.running: dict[str, int] = {}
        self.ended: dict[str, CommandResult] = {}
        self.gone: set[str] = set()
        self.unwanted: set[str] = set()
        self.leaving = self.dismissed = False
        self._patience = 0
        self._back_after = 0.0
        self._trying = False

    # --- connecting

    def connect(self) -> None:
        """Try to reach the master, again and again."""
        if self._trying or self.link is not None or not self.up:
            return
        self._trying = True
        self.timeline.after(self.random.uniform(0.5, 10), self._try)

    def _try(self) -> None:
        self._trying = False
        if self.link is not None or not self.up:
            return
        master = self.find()
        if master is None:
            self.connect()
            return
        if not self.lease:
            self.kill_all()
            self.ended.clear()
        link = self.link = Link(self.timeline, self.random, self, master)
        master.all_links.append(link)  # were it only there with its first words, a crash before them would not end it
        known = tuple(sorted({*self.running, *self.ended}))
        gone = tuple(sorted(self.gone))
        link.to_master(lambda: master.hello(link, known if self.lease else (), gone if self.lease else ()))
        if self.leaving:
            link.to_master(lambda: master.heard_leaving(link))

    def welcome(self, link: Link) -> None:
        """The master has taken us: what is not acknowledged is said again."""
        self.heard = max(self.heard, link.opened)
        self.gone.clear()
        for command in sorted(self.ended):
            self._report(command)

    def refused(self, link: Link) -> None:
        """The master does not want us (now)."""
        link.up = False
        self.lost(link)

    def lost(self, link: Link) -> None:
        """We have noticed that the connection is gone."""
        if self.link is link:
            self.link = None
            self.connect()

    # --- commands

    def start(self, command: str, buildid: int, step: int, args: dict[str, Any]) -> None:
        """Run a command, unless its id is known."""
        if command in self.seen:
            return
        self.seen.add(command)
        if self.leaving:  # it was on its way when we said that we go
            self.ended[command] = STOPPED
            self._report(command)
            return
        self.ledger.begin(
            Running(
                command, self.name, buildid, step, tuple((name, mode, units) for name, mode, units in args["locks"])
            )
        )
        result = CommandResult(rc=args["rc"])
        self.running[command] = self.timeline.after(args["seconds"], lambda: self._end(command, result))

    def interrupt(self, command: str, forget: bool) -> None:
        """End a command; whoever interrupts it with `forget` does not want to hear of it."""
        if forget:
            self.unwanted.add(command)
            self.ended.pop(command, None)
        if command in self.running:
            killed = CommandResult(rc=-1, failure="interrupted")
            self.timeline.after(self.random.uniform(0.1, 5), lambda: self._end(command, killed))

    def _end(self, command: str, result: CommandResult) -> None:
        handle = self.running.pop(command, None)
        if handle is None:
            return
        self.timeline.cancel(handle)
        self.ledger.end(command)
        self.ledger.codes[command] = result.rc
        if command not in self.unwanted:
            self.ended[command] = result
            self._report(command)

    def _report(self, command: str) -> None:
        link = self.link
        if link is not None and link.up:
            result = self.ended[command]
            link.to_master(lambda: link.master.heard_end(link, command, result))

    def acknowledged(self, command: str) -> None:
        """The master has stored the end."""
        self.ended.pop(command, None)
        self._go_if_done()

    def kill_all(self) -> list[str]:
        """End every process tree at once. Returns the commands."""
        killed = sorted(self.running)
        for command in killed:
            self.timeline.cancel(self.running.pop(command))
            self.ledger.end(command)
        return killed

    # --- being stopped

    def leave(self, seconds: float) -> None:
        """The agent is stopped (decision 0034): it says so, ends its commands, and goes when the master has stored
        their ends and says that nothing more is on its way. It is started again so many seconds later."""
        if not self.up or self.leaving or not self.lease:
            return
        self.leaving = True
        self._back_after = seconds
        self._patience = self.timeline.after(LEAVE_PATIENCE, lambda: self.crash(seconds))
        for command in sorted(self.running):
            self.timeline.after(self.random.uniform(0.1, 5), lambda command=command: self._end(command, STOPPED))  # type: ignore[misc]
        link = self.link
        if link is not None and link.up:
            link.to_master(lambda: link.master.heard_leaving(link))

    def dismiss(self) -> None:
        """The master has sent all that it will send."""
        self.dismissed = self.leaving
        self._go_if_done()

    def _go_if_done(self) -> None:
        link = self.link
        if not self.dismissed or self.running or self.ended or link is None or not link.up:
            return
        self._down(self._back_after)
        link.to_master(lambda: link.master.closed(link))

    def _down(self, seconds: float | None) -> None:
        """The agent is no more; it is back after so many seconds (None: not before `revive`)."""
        if self.leaving:
            self.timeline.cancel(self._patience)
        self.up = self.leaving = self.dismissed = False
        self.link = None
        if seconds is not None:
            self.timeline.after(seconds, self.revive)

    # --- faults

    def watch_lease(self) -> None:
        """End everything when the lease is over and no message was answered since."""
        if self.lease:
            until = self.heard + self.lease
            self.timeline.after(until - self.timeline.now, lambda: self._lease_over(until))

    def _lease_over(self, until: float) -> None:
        connected = self.link is not None and self.link.up and self.link.session
        if connected or self.heard + self.lease > until or not self.up:
            return
        for command in self.kill_all():
            self.ended[command] = CommandResult(rc=-1, failure="the lease is over", lost=True)

    def crash(self, seconds: float | None) -> None:
        """The machine goes down with all that runs; it is back after so many seconds (None: not before `revive`)."""
        if not self.up:
            return
        self.gone.update(self.kill_all())
        if self.link is not None:
            self.link.cut()
        self._down(seconds)

    def revive(self) -> None:
        """The machine is there again."""
        if not self.up:
            self.up = True
            self.connect()
