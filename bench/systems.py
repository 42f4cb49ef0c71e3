"""The measured systems behind one face: Buildbot 4.3.0 in an environment of its own, and Lockstep from this checkout.

Both read the same configuration text: Lockstep speaks Buildbot's language. What is measured is in `measures.py`.
"""

import compileall
import fcntl
import http.client
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import time
import urllib.parse
import venv
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lockstep
from processes import GaveUpError, Started, free_port, run, until

VERSION = "4.3.0"
CACHE = Path(__file__).parent.parent / ".cache" / f"buildbot-{VERSION}"

COMMON = """
import json, os
from buildbot.plugins import schedulers, steps, util, worker

wanted = json.load(open(os.path.join(basedir, "wanted.json")))
c = BuildmasterConfig = {}
c["collapseRequests"] = False
c["workers"] = [worker.Worker(name, "pw") for name in wanted["workers"]]
database = util.MasterLock("database")
locks = [database.access("exclusive")]
c["builders"] = []
for name, workers, place, command in wanted["builders"]:
    step = steps.ShellCommand(command=command, name="step", locks=locks if place == "step" else [])
    c["builders"].append(util.BuilderConfig(name=name, workernames=workers, factory=util.BuildFactory([step]),
                                            locks=locks if place == "build" else []))
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=[each[0] for each in wanted["builders"]])]
"""

ONLY_BUILDBOT = """
from twisted.internet import defer, task
from buildbot.util.service import BuildbotService

c["buildbotNetUsageData"] = None
c["buildbotURL"] = "http://127.0.0.1:%d/" % wanted["port"]
c["www"] = {"port": "tcp:%d:interface=127.0.0.1" % wanted["port"], "plugins": {}}
c["protocols"] = {"pb": {"port": "tcp:%d:interface=127.0.0.1" % wanted["worker_port"]}}


class Orders(BuildbotService):
    "Asks for many builds from inside the master: cheaper for it than as many requests over HTTP."
    name = "orders"

    def startService(self):
        self.timer = task.LoopingCall(self.look)
        self.timer.start(0.05, now=False)
        return super().startService()

    def stopService(self):
        if self.timer.running:
            self.timer.stop()
        return super().stopService()

    @defer.inlineCallbacks
    def look(self):
        path = os.path.join(self.master.basedir, "order.json")
        if not os.path.exists(path):
            return
        with open(path) as file:
            builder, count = json.load(file)
        os.unlink(path)
        builderid = yield self.master.data.updates.findBuilderId(builder)
        stamp = {"codebase": "", "repository": "", "branch": None, "revision": None, "project": ""}
        for _ in range(count):
            yield self.master.data.updates.addBuildset(waited_for=False, scheduler="orders", reason="measured",
                                                       properties={}, sourcestamps=[stamp], builderids=[builderid])


c["services"] = [Orders()]
"""

Builder = tuple[str, list[str], str, list[str]]
"""Name, workers, place of the exclusive lock ("build", "step" or ""), and the command of its only step."""


def environment() -> Path:
    """The folder with Buildbot's programs; they are installed when they are first needed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = CACHE / f"ready-{sys.version_info.major}.{sys.version_info.minor}"
        if not ready.exists():
            print(f"installing Buildbot {VERSION} into {CACHE} ...", file=sys.stderr)
            venv.create(CACHE / "env", with_pip=True, clear=True)
            what = [f"buildbot[bundle]=={VERSION}", f"buildbot-worker=={VERSION}"]
            run([str(CACHE / "env" / "bin" / "python"), "-m", "pip", "install", "-q", *what])
            ready.touch()
    return CACHE / "env" / "bin"


class System:
    """One server with its workers, in a folder that goes when it is left."""

    name = ""
    table = ""
    database = ""

    def __init__(self, builders: Iterable[Builder], workers: Iterable[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lockstep-bench-"))
        self.base = self.folder / "master"
        self.port = free_port()
        self.builders = list(builders)
        self.workers = list(workers)
        self.master: Started | None = None
        self.agents: list[Started] = []
        self._ids: dict[str, int] = {}
        self._done: Any = None
        self.prepare()

    # --- what differs

    def prepare(self) -> None:
        """Make the folders and the configuration."""
        raise NotImplementedError

    def words(self) -> list[str]:
        """The command that runs the master."""
        raise NotImplementedError

    def agent(self, name: str) -> Started:
        """A worker, started."""
        raise NotImplementedError

    def order(self, builder: str, count: int) -> None:
        """Ask for so many builds, in the way that costs the system least."""
        raise NotImplementedError

    def force(self, builder: str) -> None:
        """Ask for one build over HTTP, as a person would."""
        raise NotImplementedError

    def connected(self) -> int:
        """How many workers are there."""
        return sum(bool(worker["connected_to"]) for worker in self.get("workers")["workers"])

    def fill(self, builder: str, count: int) -> None:
        """Have so many requests wait for a builder. The master runs before and after."""
        raise NotImplementedError

    # --- what is the same

    def __enter__(self) -> "System":
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.agents:
            agent.stop()
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def halt(self) -> None:
        """Stop the master alone."""
        if self._done is not None:
            self._done.close()
            self._done = None
        if self.master is not None:
            self.master.stop()

    def start(self) -> float:
        """Start the master. Returns the seconds until it has answered with all its builders."""
        began = time.perf_counter()
        self.master = Started(self.words(), self.folder / "master.log")
        until(self._answers, "an answer of the master", every=0.005)
        return time.perf_counter() - began

    def _answers(self) -> bool:
        assert self.master is not None
        self.master.check()
        try:
            return len(self.get("builders?field=name")["builders"]) >= len(self.builders)
        except (OSError, http.client.HTTPException):
            return False

    def attach(self, names: Iterable[str] | None = None) -> None:
        """Start these workers (all), and wait until they are there."""
        wanted = self.workers if names is None else list(names)
        before = len(self.agents)
        with ThreadPoolExecutor(2) as pool:
            self.agents += pool.map(self.agent, wanted)
        until(lambda: self.connected() >= before + len(wanted), "the workers", every=0.1)
        time.sleep(1.0)

    @property
    def pid(self) -> int:
        """The master's."""
        assert self.master is not None
        return self.master.pid

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the API. Raises GaveUpError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, "/api/v2/" + path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise GaveUpError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text)

    def get(self, path: str) -> Any:
        """One question. Buildbot breaks an answer off now and then (its issue 9065): asked again."""
        for _ in range(4):
            try:
                return self.ask("GET", path)
            except (http.client.IncompleteRead, http.client.RemoteDisconnected):
                continue
        return self.ask("GET", path)

    def builder_id(self, name: str) -> int:
        """The number that the API knows a builder by."""
        if name not in self._ids:
            self._ids = {each["name"]: each["builderid"] for each in self.get("builders")["builders"]}
        return self._ids[name]

    def done(self) -> int:
        """How many requests are complete; read from the file, so that the master has no work with it."""
        if self._done is None:
            file = urllib.parse.quote(str(self.base / self.database))
            self._done = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10, isolation_level=None)
        row = self._done.execute(f"SELECT count(*) FROM {self.table} WHERE complete = 1").fetchone()
        return int(row[0])

    def finish(self, count: int) -> None:
        """Wait until so many requests are complete."""

        def complete() -> bool:
            assert self.master is not None
            self.master.check()
            return self.done() >= count

        until(complete, f"the end of {count} builds")

    def write(self, text: str, **more: Any) -> None:
        """Write the configuration."""
        self.base.mkdir(exist_ok=True)
        wanted = {"builders": self.builders, "workers": self.workers, "port": self.port, **more}
        (self.base / "wanted.json").write_text(json.dumps(wanted))
        (self.base / "master.cfg").write_text(text)


class Buildbot(System):
    """Buildbot as its manual starts it: SQLite, its own workers over its usual protocol."""

    name = "buildbot"
    table = "buildrequests"
    database = "state.sqlite"

    def prepare(self) -> None:
        self.bin = environment()
        self.worker_port = free_port()
        run([str(self.bin / "buildbot"), "create-master", "-q", str(self.base)])
        self.write(COMMON + ONLY_BUILDBOT, worker_port=self.worker_port)

    def words(self) -> list[str]:
        return [str(self.bin / "buildbot"), "start", "--nodaemon", str(self.base)]

    def agent(self, name: str) -> Started:
        return buildbot_worker(self, name, self.worker_port, "pb")

    def order(self, builder: str, count: int) -> None:
        new = self.base / "order.new"
        new.write_text(json.dumps([builder, count]))
        new.rename(self.base / "order.json")

    def force(self, builder: str) -> None:
        params = {"builderid": str(self.builder_id(builder)), "reason": "measured"}
        call = {"id": 1, "jsonrpc": "2.0", "method": "force", "params": params}
        self.ask("POST", "forceschedulers/force", call)

    def fill(self, builder: str, count: int) -> None:
        """While the master is away: taking so many requests in would cost it hours."""
        builderid = self.builder_id(builder)
        self.halt()
        with sqlite3.connect(self.base / self.database) as connection:
            for _ in range(count):
                _copy_request(connection, builderid)
        connection.close()
        self.start()


def _copy_request(connection: sqlite3.Connection, builderid: int) -> None:
    """Copy a builder's oldest request, its build set and what belongs to that, as one that waits."""
    connection.row_factory = sqlite3.Row
    fresh = {"complete": 0, "complete_at": None, "results": -1}

    def copy(table: str, where: str, value: int, **new: Any) -> int:
        last = 0
        for row in connection.execute(f"SELECT * FROM {table} WHERE {where} = ? ORDER BY 1", (value,)).fetchall():
            values = {**dict(row), **new}
            values.pop("id", None)
            marks = ", ".join("?" * len(values))
            sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
            last = int(connection.execute(sql, tuple(values.values())).lastrowid or 0)
        return last

    sql = "SELECT id, buildsetid FROM buildrequests WHERE builderid = ? ORDER BY id LIMIT 1"
    brid, bsid = connection.execute(sql, (builderid,)).fetchone()
    new = copy("buildsets", "id", bsid, **fresh)
    copy("buildset_sourcestamps", "buildsetid", bsid, buildsetid=new)
    copy("buildset_properties", "buildsetid", bsid, buildsetid=new)
    copy("buildrequests", "id", brid, buildsetid=new, **fresh)


def buildbot_worker(system: System, name: str, port: int, protocol: str) -> Started:
    """An unmodified `buildbot-worker`."""
    program = str(environment() / "buildbot-worker")
    folder = str(system.folder / f"worker-{name}")
    made = [program, "create-worker", "-q", "--maxdelay=1", f"--protocol={protocol}"]
    run([*made, folder, f"127.0.0.1:{port}", name, "pw"])
    return Started([program, "start", "--nodaemon", folder], system.folder / f"worker-{name}.log")


class Lockstep(System):
    """Lockstep of this checkout, with its own agents."""

    name = "lockstep"
    table = "requests"
    database = "lockstep.sqlite"

    def prepare(self) -> None:
        compileall.compile_dir(str(Path(lockstep.__file__).parent), quiet=1)  # as installing it does
        self.write(COMMON)

    def words(self) -> list[str]:
        program = [sys.executable, "-m", "lockstep", "run", str(self.base / "master.cfg")]
        return [*program, "--basedir", str(self.base), "--port", str(self.port), "--quiet"]

    def agent(self, name: str) -> Started:
        words = [sys.executable, "-m", "lockstep", "worker", "--url", f"http://127.0.0.1:{self.port}"]
        words += ["--name", name, "--basedir", str(self.folder / f"worker-{name}")]
        return Started(words, self.folder / f"worker-{name}.log", LOCKSTEP_WORKER_PASSWORD="pw")

    def order(self, builder: str, count: int) -> None:
        while count > 0:
            self._force(builder, min(count, 1000))
            count -= 1000

    def force(self, builder: str) -> None:
        self._force(builder, 1)

    def _force(self, builder: str, count: int) -> None:
        params = {"count": count, "reason": "measured"}
        self.ask("POST", f"builders/{builder}", {"id": 1, "jsonrpc": "2.0", "method": "force", "params": params})

    def fill(self, builder: str, count: int) -> None:
        self.order(builder, count)


class LockstepWithBuildbotWorkers(Lockstep):
    """Lockstep with unmodified workers of Buildbot."""

    name = "lockstep + buildbot-worker"

    def agent(self, name: str) -> Started:
        return buildbot_worker(self, name, self.port, "msgpack_experimental_v7")


def machine() -> str:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores ({cpu}), Python {version}, {time.strftime('%Y-%m-%d')}; load now {load}"
