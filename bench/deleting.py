"""What deleting old things costs those who want to store something meanwhile (docs/decisions/0033-horizons.md).

A store gets builds of three steps with a log each. Then one commit after another comes, so many a second: for a while
with nothing to delete, and while the logs of those builds, or whole builds (`--whole`), are deleted. How long each
commit took, from handing it in, is told. All goes through the core and the writer, as in a server. Nothing is asserted.
`python bench/deleting.py` takes a minute; the decision's figures are of `--builds 30000` and of `--builds 100000
--rate 0`. With few builds the whole file is in the computer's memory.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from lockstep.core import events as e
from lockstep.core.calls import OpenLog
from lockstep.core.decide import decide
from lockstep.core.nouns import Access, Alternative, Need, Result
from lockstep.core.state import State, slot_key
from lockstep.core.values import BuilderSetup, RequestWish, Setup, StepPlan, Submission, WorkerSetup
from lockstep.storage.batch import Batch, LogPart
from lockstep.storage.deleting import Deleted, Horizons
from lockstep.storage.store import Store
from lockstep.storage.writer import Writer

STEPS = ("compile", "test", "package")
LONG_AGO = 1_000_000_000.0
NOW = 2_000_000_000.0
DAY = 86_400.0
GROUP = 200
"""So many builds are stored together while the store is filled."""

IDLE = 5.0
"""Seconds of commits before anything is deleted, to compare with."""


class Server:
    """The core and its store, without a world around them."""

    def __init__(self, url: str, kilobytes: int) -> None:
        self.store = Store.open(url)
        if self.store.load().last_fact:
            raise SystemExit(f"{url} is in use: name a store that is new")
        self.state = State(self.store.installation)
        self.random = random.Random(1)
        self.at = LONG_AGO
        self.half = kilobytes * 512
        worker, need = WorkerSetup(name="w"), Need((Alternative("w", (Access(slot_key("w")),)),))
        setup = Setup(workers=(worker,), builders=(BuilderSetup(name="b", workers=("w",), need=need),))
        self.store.append(
            [self.happen(e.Configured(setup=setup)), self.happen(e.WorkerConnected(worker="w", lease=60.0))]
        )

    def happen(self, event: e.Event) -> Batch:
        """What follows from an event, to be stored."""
        self.at += 0.01
        return Batch(facts=list(decide(self.state, event, self.at).facts))

    def build(self) -> list[Batch]:
        """A build from its request to its end."""
        wish = Submission(requests=(RequestWish(builder="b"),))
        batches = [self.happen(e.Submitted(submission=wish))]
        buildid = self.state.counters.buildid
        plans = tuple(StepPlan(name=name) for name in STEPS)
        batches.append(self.happen(e.BuildPlanned(buildid=buildid, plans=plans, properties={})))
        for number, name in enumerate(STEPS, 1):
            batches.append(self.happen(e.StepPrepared(buildid=buildid, number=number, name=name)))
            log = e.CallMade(buildid=buildid, step=number, number=1, call=OpenLog("stdio"), fingerprint="")
            batches.append(self.happen(log))
            text = self.random.randbytes(self.half).hex(sep="\n", bytes_per_sep=40) + "\n"
            batches.append(Batch(parts=[LogPart(self.state.counters.logid, 0, text.count("\n"), text)]))
            batches.append(self.happen(e.StepFinished(buildid=buildid, number=number, result=Result.SUCCESS)))
        return batches

    def fill(self, builds: int) -> None:
        """Store so many builds, and do what the writer does with closed logs when it has time."""
        for first in range(0, builds, GROUP):
            together = min(GROUP, builds - first)
            self.store.append([batch for _ in range(together) for batch in self.build()])
            while self.store.tidy():
                pass
        self.at = NOW


def commits(server: Server, writer: Writer, rate: float, over: Callable[[], bool]) -> list[float]:
    """Store something at most so many times a second until it is over. Returns how long each commit took."""
    found: list[float] = []
    answers: SimpleQueue[str] = SimpleQueue()
    while True:
        time.sleep(1 / rate)
        batch = server.happen(e.Remembered(owner="bench", memory=len(found)))
        begun = time.perf_counter()
        writer.put(batch, answers.put)
        if error := answers.get():
            raise SystemExit(error)
        found.append(time.perf_counter() - begun)
        if over():
            return found


def row(name: str, times: list[float]) -> None:
    """The times of some commits."""
    times = sorted(times)
    cells = (times[len(times) // 2], times[len(times) * 99 // 100], times[-1])
    print(f"{name:24}{len(times):9}" + "".join(f"{1000 * each:10.1f} ms" for each in cells))


def measure(url: str, args: argparse.Namespace) -> None:
    """Fill the store, delete, and print a table."""
    server = Server(url, args.kilobytes)
    begun = time.perf_counter()
    server.fill(args.builds)
    facts = server.state.last_fact
    print(f"{args.builds} builds, {len(STEPS) * args.builds} logs, {facts} facts: ", end="")
    print(f"made in {time.perf_counter() - begun:.0f} s{size(url)}")
    writer = Writer(server.store)
    told: SimpleQueue[Deleted] = SimpleQueue()
    idle = time.perf_counter() + IDLE
    before = commits(server, writer, args.rate, lambda: time.perf_counter() > idle) if args.rate else []
    horizons = Horizons(logs=DAY, builds=DAY if args.whole else None)
    begun = time.perf_counter()
    writer.delete(horizons, NOW, told.put)
    meanwhile = commits(server, writer, args.rate, lambda: not told.empty()) if args.rate else []
    deleted = told.get()
    took = time.perf_counter() - begun
    writer.close()
    server.store.close()
    if deleted.error:
        raise SystemExit(deleted.error)
    if args.rate:
        print(f"\n{'commits':24}{'':>9}{'median':>13}{'99 of 100':>13}{'longest':>13}")
        row("while nothing is deleted", before)
        row("while it is deleted", meanwhile)
    gone = f"{deleted.logs} logs, {deleted.builds} builds and {deleted.facts} facts"
    print(f"\n{gone} deleted in {took:.1f} s{size(url)}")


def size(url: str) -> str:
    """How large SQLite's file is."""
    path = Path(url.removeprefix("sqlite:///"))
    return f"; {path.stat().st_size / 1e6:.0f} MB" if url.startswith("sqlite:///") else ""


def main() -> None:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--builds", type=int, default=10_000, help="how many there are (default: %(default)s)")
    parser.add_argument("--kilobytes", type=int, default=24, help="of each log (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=60, help="commits a second; 0: none (default: %(default)s)")
    parser.add_argument("--whole", action="store_true", help="delete whole builds, not their logs alone")
    parser.add_argument("--url", help="a new store (default: SQLite in a folder that is deleted afterwards)")
    args = parser.parse_args()
    if args.url:
        measure(args.url, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(f"sqlite:///{folder}/lockstep.sqlite", args)


if __name__ == "__main__":
    main()
