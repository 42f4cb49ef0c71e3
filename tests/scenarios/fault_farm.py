"""One server and three agents on machines of their own, so to speak: what faults reach. `fault_run.py` makes them.

Builds run `holder.py` under an exclusive lock and a counting one. What it wrote down is judged by `stays.py`.
"""

import contextlib
import http.client
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fault_plan import CLOCKS, DISKS, LEASE, MASTER, WORKERS
from fault_tools import Clock, Disk
from scene import Scene
from scene_agents import Agent, Cable
from stays import Stay, stays
from timeline import ENDLESS

from lockstep.worker import trees

HOLDER = Path(__file__).with_name("holder.py")
LIMITS = {"database": 1, "boards": 3}
CONFIG = f"""
    database = util.MasterLock('database')
    boards = util.MasterLock('boards', maxCount=3)
    alone, one = database.access('exclusive'), boards.access('counting')
    def stay(lock, **more):
        return sh(lock, [{sys.executable!r}, '-I', '-S', {str(HOLDER)!r}, here, lock, '40'], **more)
    on = ['w1', 'w2', 'w3']
    c['workers'] = workers(*on)
    c['builders'] = [
        build('whole', stay('database'), on=on, locks=[alone]),
        build('step', sh('before'), stay('database', locks=[alone]), on=on[1:] + on[:1]),
        build('board', stay('boards', locks=[one]), sh('after'), on=on[1:] + on[:1]),
        build('boards', stay('boards'), on=on[2:] + on[:2], locks=[one]),
        build('both', stay('database'), stay('boards'), on=on, locks=[alone, one]),
    ]
"""
OPEN = {"whole": 1, "step": 1, "both": 1, "board": 3, "boards": 3}
"""How many requests of each builder are open at any time, if possible."""
AWAY = (OSError, http.client.HTTPException, AssertionError, ValueError)
"""What asking raises when the server is not there, or not yet."""


class Farm(Scene):
    """The server, with what stands between it and its agents."""

    def __init__(self, folder: Path, config: str, kinds: tuple[str, ...] = (), **options: Any) -> None:
        folder.mkdir(parents=True)
        self.disks: dict[str, Disk] = {}
        if set(kinds) & set(DISKS):
            self.disks = {MASTER: Disk(folder / "base"), **{name: Disk(folder / name) for name in WORKERS}}
        self.clocks: dict[str, Clock] = {}
        if set(kinds) & set(CLOCKS):
            self.clocks = {name: Clock(folder, name) for name in (MASTER, *WORKERS)}
        own = self.clocks[MASTER].env if self.clocks else {}
        super().__init__(folder, config, env={**own, **options.pop("env", {})}, **options)
        self.cables = {name: Cable(self.port) for name in WORKERS}

    def person(self, name: str) -> None:
        """Start an agent, whether the server is there or not."""
        env = {**self.env, **(self.clocks[name].env if self.clocks else {})}
        self.agents[name] = Agent(name, self.folder, self.cables[name].url, LEASE, env)

    def close(self) -> None:
        """Everything goes on, and ends."""
        for name in WORKERS:
            if name in self.agents:
                send(self.machine(name), signal.SIGCONT)
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        for disk in self.disks.values():
            disk.empty()
        super().close()
        for cable in self.cables.values():
            cable.close()
        for disk in self.disks.values():
            disk.close()

    # --- who is there

    def own(self, name: str) -> Agent:
        """An agent."""
        agent = self.agents[name]
        assert isinstance(agent, Agent)
        return agent

    def agent_itself(self, name: str) -> list[int]:
        """The agent without its guardian, if it has begun."""
        agent = self.own(name)
        return [agent.pid()] if agent.serves() else []

    def commands(self, name: str) -> list[int]:
        """What an agent runs."""
        processes = trees.all_processes()
        above = {self.own(name).popen.pid, *self.agent_itself(name)}
        below = set(above)
        while more := {proc.pid for proc in processes.values() if proc.parent in below} - below:
            below |= more
        return sorted(below - above)

    def machine(self, name: str) -> list[int]:
        """Everything that runs on an agent's machine, the commands first."""
        return [*self.commands(name), *self.agent_itself(name), self.own(name).popen.pid]

    def inside(self, lock: str, name: str) -> list[Stay]:
        """The stays under a lock whose program runs on that machine."""
        return [stay for stay in stays(self.folder, lock, self.commands(name)) if not stay.ended]

    def linger(self, name: str) -> list[Path]:
        """Have whoever is under a lock on that machine stay there, until these files are removed."""
        found = [stay for lock in LIMITS for stay in self.inside(lock, name)]
        files = [self.folder / "stays" / stay.lock / f"linger.{stay.name}" for stay in found]
        for file in files:
            file.touch()
        return files

    def is_current(self, lock: str, fence: int, *, ask: bool) -> bool:
        """Whether a fence is good: what an outside guard is told if it can ask, or would be told (L62)."""
        if ask:
            with contextlib.suppress(*AWAY):
                return bool(self.all("fences", f"locks/{lock}/fences/{fence}")[0]["current"])
        return any(fence in span.fences and span.end == ENDLESS for span in self.facts.holds(lock))


def send(pids: Iterable[int], number: int) -> None:
    """A signal to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
