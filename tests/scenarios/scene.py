"""A whole server process with its folder and its agents: started, asked over HTTP, killed, started again.

What happened is read from the stored facts (`timeline.py`); waiting is for facts and files, never for time to pass.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from scene_agents import DEADLINE, Agent, BuildbotWorker
from tests.ports import KeptPort
from timeline import Timeline

from lockstep.core.nouns import Result
from lockstep.storage.queries import Queries

PROGRAM = Path(sys.executable).with_name("lockstep")
PRELUDE = """\
import os
from lockstep.plugins import *
c = BuildmasterConfig = {}
here = %(here)r
def workers(*names, **more):
    return [worker.Worker(name, 'secret', **more) for name in names]
def factory(*parts, **more):
    return util.BuildFactory(list(parts), **more)
def sh(name, command='true', **more):
    return steps.ShellCommand(name=name, command=command, **more)
def gate(name, **more):
    # A command that runs until the test opens it. It says that it runs by a file.
    at = os.path.join(here, 'gates', '%%(prop:buildername)s-%%(prop:buildnumber)s-' + name)
    text = 'echo begun; echo $$ > "$AT.runs"; until [ -e "$AT" ] || [ -e "$ALL" ]; do sleep 0.02; done; '
    text += 'rm "$AT.runs"; echo open'
    env = {'AT': util.Interpolate(at), 'ALL': os.path.join(here, 'gates', name)}
    return steps.ShellCommand(name=name, command=['sh', '-c', text], env=env, **more)
def build(name, *parts, on='w1', **more):
    names = [on] if isinstance(on, str) else on
    more.setdefault('collapseRequests', False)
    return util.BuilderConfig(name=name, workernames=names, factory=factory(*parts), **more)
"""
"""What scenarios write their configurations with; `gate` is a step that ends when the test says so."""


def until(condition: Callable[[], Any], what: str, told: Callable[[], str] = str, deadline: float = DEADLINE) -> Any:
    """Wait until a condition is true, and return what it returned. Fails with `what`, and what `told` says."""
    end = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}\n{told()}")
        time.sleep(0.02)
    return found


def lives(path: Path) -> bool:
    """Whether the process whose id is in a file runs. The file may be there and its content not yet."""
    try:
        pid = path.read_text().strip()
        return bool(pid) and Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Scene:
    """One server and its agents.

    Args:
        folder: everything is in it: `master.cfg`, the server's folder `base`, an agent's folder by its name.
        config: what follows the prelude in `master.cfg`.
        prelude: the beginning of `master.cfg`; `%(here)r` stands for the folder.
        env: the environment of the server and its agents, in addition.
        store: the address of its database; the configuration names it if it is not the default.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        prelude: str = PRELUDE,
        env: dict[str, str] | None = None,
        store: str = "sqlite:///lockstep.sqlite",
    ) -> None:
        self.store = store
        self.folder = folder
        (folder / "gates").mkdir(parents=True, exist_ok=True)
        (folder / "password").write_text("secret\n")
        self.base = folder / "base"
        self.file = folder / "master.cfg"
        self.prelude = prelude
        self.env = {**os.environ, **(env or {})}
        self.configure(config)
        self._keep(KeptPort())
        self.process: subprocess.Popen[bytes] | None = None
        self.agents: dict[str, Agent | BuildbotWorker] = {}
        self._reads: Queries | None = None
        self._facts = Timeline()

    def move(self) -> None:
        """Take another port, for the next start."""
        other = KeptPort()
        self._kept.give_back()
        self._keep(other)

    def _keep(self, port: KeptPort) -> None:
        self._kept = port
        self.port = port.number
        self.url = f"http://127.0.0.1:{self.port}"

    def configure(self, config: str) -> None:
        """Write `master.cfg`."""
        self.file.write_text(self.prelude % {"here": str(self.folder)} + textwrap.dedent(config))

    # --- the process

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        self.launch()
        self.ready()

    def launch(self) -> None:
        """Start the server's process."""
        self.base.mkdir(exist_ok=True)
        out = self.folder / "out.txt"
        words = [str(PROGRAM), "run", str(self.file), "--basedir", str(self.base), "--port", str(self.port)]
        with out.open("wb") as stdout, self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                words, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, env=self.env, start_new_session=True
            )

    def ready(self) -> None:
        """Wait until the server listens."""
        process, out = self.process, self.folder / "out.txt"
        assert process is not None
        until(lambda: b"\n" in out.read_bytes() or process.poll() is not None, "the server", self._told)
        assert process.poll() is None, f"the server did not start\n{self._told()}"
        if self._reads is None:
            self._reads = Queries(self.store, self.base)

    @property
    def log(self) -> Path:
        """The server's log, of all its processes."""
        return self.folder / "server.log"

    def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)

    def stop(self) -> int:
        """Stop the server in order; what agents run runs on. Returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        """End everything: the server, its agents, what they run."""
        for agent in self.agents.values():
            agent.end()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        for agent in self.agents.values():
            agent.ended()
        if self.process is not None:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        for lock in (self.base / "workers").glob("*/.lockstep/lock"):
            end_local_worker(lock)
        if self._reads is not None:
            self._reads.close()
        self._kept.give_back()

    def agent(self, name: str, lease: float = 60.0, url: str = "", wait: bool = True) -> Agent:
        """Start a real agent, and wait until the server has taken it."""
        ups = len(self.facts.of("WorkerUp", worker=name))
        agent = Agent(name, self.folder, url or self.url, lease, self.env)
        self.agents[name] = agent
        if wait:
            self.until(lambda: len(self.facts.of("WorkerUp", worker=name)) > ups, f"worker {name}")
        return agent

    # --- asking

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """What `/api/v2/PATH` answers."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def all(self, resource: str, path: str = "", **query: Any) -> list[dict[str, Any]]:
        """The things of one kind."""
        found: list[dict[str, Any]] = self.get(path or resource, **query)[resource]
        return found

    def call(self, path: str, method: str, **params: Any) -> Any:
        """A method of the API."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self._ask("POST", path, body)["result"]

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        status, text = self._exchange(method, f"/api/v2/{path}", data)
        assert status == 200, f"{method} {path}: {status} {text}"
        answer: dict[str, Any] = json.loads(text)
        return answer

    def page(self, path: str) -> tuple[int, str]:
        """What an address of the server gives: status and text."""
        return self._exchange("GET", path)

    def _exchange(self, method: str, path: str, data: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)  # no proxy is asked
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def force(self, builder: str, count: int = 1, **params: Any) -> list[int]:
        """Ask for builds. Returns the requests' numbers."""
        bsid, _ = self.call(f"builders/{quote(builder)}", "force", count=count, **params)
        return [fact.brid for fact in self.until(lambda: self.facts.of("RequestAdded", bsid=bsid), "the requests")]

    def cancel(self, brid: int) -> None:
        """Cancel a request."""
        self.call(f"buildrequests/{brid}", "cancel", reason="the test says so")

    def cli(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command that asks this server, as a person types it."""
        env = {**self.env, "LOCKSTEP_URL": self.url}
        return subprocess.run(
            [str(PROGRAM), *words], env=env, capture_output=True, text=True, check=False, timeout=DEADLINE
        )

    # --- what happened

    @property
    def facts(self) -> Timeline:
        """Everything that is stored by now."""
        assert self._reads is not None
        while page := self._reads.facts_after(self._facts.last):
            self._facts.add(page)
        return self._facts

    @property
    def reads(self) -> Queries:
        """Questions to the store."""
        assert self._reads is not None
        return self._reads

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition; its failure shows the server's log."""
        return until(condition, what, self._told)

    def fact(self, kind: str, **fields: Any) -> Any:
        """Wait for a fact of this kind with these fields; the first one."""
        return self.until(lambda: self.facts.of(kind, **fields), f"{kind} {fields}")[0]

    def ended(self, *brids: int) -> list[Result]:
        """Wait until requests are complete. Returns their results."""
        return [Result(self.fact("RequestEnded", brid=brid).result) for brid in brids]

    def running(self, gate: str) -> str:
        """Wait until the command of a gate runs: `BUILDER-NUMBER-STEP`."""
        self.until(lambda: self.runs(gate), f"the gate {gate}")
        return gate

    def runs(self, gate: str) -> bool:
        """Whether the command of a gate runs now."""
        return lives(self.folder / "gates" / f"{gate}.runs")

    def open(self, *gates: str) -> None:
        """Let the commands of gates end: `BUILDER-NUMBER-STEP`, or `STEP` for all of that step's name."""
        for gate in gates:
            (self.folder / "gates" / gate).touch()

    def why(self, brid: int) -> dict[str, Any]:
        """Why a request waits."""
        found: dict[str, Any] = self.all("why", f"buildrequests/{brid}/why")[0]
        return found

    def lock(self, name: str) -> dict[str, Any]:
        """A lock with its holders and waiters."""
        return self.all("locks", f"locks/{quote(name)}")[0]

    def output(self, buildid: int, step: str, slug: str = "stdio", streams: str = "o") -> str:
        """What a step's command said, without headers."""
        found = self.all("logs", f"builds/{buildid}/steps/{quote(step)}/logs/{slug}")
        text = self.reads.log_contents(found[0]["logid"])["content"]
        return "".join(line[1:] + "\n" for line in text.split("\n")[:-1] if line[:1] in streams)

    def _door(self) -> str:
        """Whether somebody listens at the server's port, and answers."""
        try:
            return f"answers with {self.get('masters')['meta']}"
        except (OSError, AssertionError, ValueError) as error:
            return f"does not answer: {error!r}"

    def _told(self) -> str:
        """What helps to understand a failure."""
        code = self.process.poll() if self.process is not None else None
        told = [
            f"server (exit code {code}, {self._door()}):",
            self.log.read_text()[-3000:] if self.log.exists() else "",
        ]
        for agent in self.agents.values():
            told += [f"agent {agent.name} (exit code {agent.popen.poll()}):", agent.log.read_text()[-800:]]
        if self._reads is not None and code is None:
            told += ["last facts:", *self.facts.tail(30)]
        return "\n".join(told)


def end_local_worker(lock: Path) -> None:
    """End a worker that a server of this scene started: its process id is in the lock file of its folder."""
    try:
        pid = int(lock.read_text())
        words = Path("/proc", str(pid), "cmdline").read_bytes()
        if str(lock.parent.parent).encode() in words:
            os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        pass
