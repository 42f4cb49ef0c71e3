"""Running `lockstep` as users do, in a process of its own; and a whole server with a local worker for the tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-m", "lockstep"]
PATIENCE = 120.0
"""Seconds until a test gives up."""

CONFIG = """
from lockstep.plugins import schedulers, steps, util, worker

c = BuildmasterConfig = {}
c["workers"] = [worker.LocalWorker("local")]
database = util.MasterLock("database")
gate = 'touch "$GATE.began"; while [ ! -e "$GATE" ]; do sleep 0.05; done; echo through'
quick = util.BuildFactory([
    steps.ShellCommand(name="hello", command=util.Interpolate("echo hello %(prop:who:-nobody)s; echo oops >&2")),
    steps.ShellCommand(name="bye", command="echo bye"),
])
failing = util.BuildFactory([steps.ShellCommand(command="exit 3")])
broken = util.BuildFactory([steps.ShellCommand(command=["echo", util.Property("nothing")])])
gated = util.BuildFactory([
    steps.ShellCommand(name="gate", command=gate, env={"GATE": util.Interpolate("%(prop:gate)s")},
                       locks=[database.access("exclusive")]),
])
bar = "printf '10%%\\\\r20%%\\\\r'; until [ -e $GATE ]; do sleep 0.05; done; echo all"
loading = util.BuildFactory([
    steps.ShellCommand(name="load", command=bar, env={"GATE": util.Interpolate("%(prop:gate)s")}),
])
factories = {"quick": quick, "failing": failing, "broken": broken, "gated": gated, "gated-too": gated}
factories["loading"] = loading
c["builders"] = [
    util.BuilderConfig(name=name, workernames=["local"], factory=factory, collapseRequests=False)
    for name, factory in factories.items()
]
"""


LOOKS = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")
"""Variables that say how what is printed looks."""


def environment(**more: str) -> dict[str, str]:
    """The environment without what would lead a command elsewhere, or change what it prints."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LOCKSTEP_") and key not in LOOKS}
    return {**kept, **more}


def lockstep(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*PROGRAM, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**env),
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


class Running:
    """A server that runs, in a folder; everything it says is in `out` and `err`."""

    def __init__(self, folder: Path, config: str = CONFIG, command: str = "run", *options: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if command == "run":
            (folder / "master.cfg").write_text(config)
            options = (str(folder), "--stop-workers", *options)
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*PROGRAM, command, "--port", "0", *options],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env=environment(),
            )
        line = until(self._address, "the server's address")
        self.url = line.split()[3].rstrip("/")

    def _address(self) -> str:
        assert self.process.poll() is None, self.err
        return next((line for line in self.out.splitlines() if line.startswith("Lockstep runs at ")), "")

    @property
    def out(self) -> str:
        """What it printed."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it logged."""
        return self._err.read_text()

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Ask this server."""
        return lockstep(*words, LOCKSTEP_URL=self.url)

    def json(self, *words: str) -> Any:
        """Ask this server for JSON."""
        done = self(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)
