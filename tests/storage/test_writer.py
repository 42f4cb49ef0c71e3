"""The writing thread: groups, order, callbacks, and the end after a failure. And what a kill leaves."""

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lockstep.core.facts import MemoryKept, Numbered
from lockstep.storage.batch import Batch
from lockstep.storage.codec import pack
from lockstep.storage.errors import StoreError
from lockstep.storage.queries import Queries
from lockstep.storage.store import Store
from lockstep.storage.writer import Writer


def fact(number: int) -> Batch:
    return Batch(facts=[Numbered(number, float(number), MemoryKept(owner="o", memory=number, cursor=number))])


class Held:
    """A store whose transactions wait until they are let go."""

    deletions = ()

    def __init__(self, store: Store) -> None:
        self.store = store
        self.groups: list[int] = []
        self.go = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)

    def append(self, batches: list[Batch]) -> int:
        self.groups.append(len(batches))
        self.entered.release()
        self.go.acquire()
        return self.store.append(batches)

    def tidy(self) -> bool:
        return False


def test_all_that_waits_is_one_transaction_and_is_told_in_order(url: str) -> None:
    store = Store.open(url)
    held = Held(store)
    writer = Writer(held)  # type: ignore[arg-type]
    told: list[tuple[int, str]] = []
    writer.put(fact(1), lambda error: told.append((1, error)))
    held.entered.acquire()
    for number in range(2, 7):
        writer.put(fact(number), lambda error, number=number: told.append((number, error)))  # type: ignore[misc]
    writer.put(Batch(), lambda error: told.append((0, error)))
    assert told == []
    held.go.release(2)
    writer.close()
    assert held.groups == [1, 5]
    assert told == [(n, "") for n in (1, 2, 3, 4, 5, 6, 0)]
    assert writer.commits == 2
    assert writer.last_fact == 6
    with pytest.raises(StoreError, match="being closed"):
        writer.put(fact(7), print)
    assert store.load().memories == {"o": (6, 6)}
    store.close()


def test_after_a_failure_everybody_is_told_and_nothing_is_stored(url: str) -> None:
    store = Store.open(url)
    writer = Writer(store)
    told: list[str] = []
    writer.put(fact(1), told.append)
    writer.put(fact(1), told.append)  # the same number twice
    writer.put(fact(2), told.append)
    writer.close()
    assert len(told) == 3
    assert "a fault of Lockstep itself: fact 1 cannot follow fact 1" in told[-1]
    assert told[-1] == told[-2]
    with pytest.raises(StoreError):
        store.append([fact(3)])
    store.close()
    store = Store.open(url)
    assert store.load().last_fact == told.count("")
    store.close()


WORK = """
import random, sys, threading
sys.path.insert(0, sys.argv[3])
from farm import Farm
from lockstep.storage.store import Store
from lockstep.storage.writer import Writer
store = Store.open(sys.argv[1])
farm = Farm(int(sys.argv[2]))
farm.state.installation = store.installation
writer = Writer(store)
for _ in range(3000):
    batch = farm.step()
    last = farm.state.last_fact
    def told(error, last=last, batch=batch):
        parts = ",".join(f"{p.logid}:{p.first_line + p.lines}" for p in batch.parts)
        sys.stdout.write(f"{error or last} {parts}\\n"); sys.stdout.flush()
    writer.put(batch, told)
    while len(writer._waiting) > 5:
        pass
"""


@pytest.mark.parametrize("seed", range(4))
def test_what_was_told_is_there_after_a_kill_and_nothing_is_half(tmp_path: Path, seed: int) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, url, str(seed), here], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    told, lines = 0, dict[int, int]()
    for _ in range(random.Random(seed).randrange(50, 400)):
        number, _, parts = process.stdout.readline().rstrip("\n").partition(" ")
        told = int(number)
        lines |= {int(log): int(end) for log, _, end in (p.partition(":") for p in parts.split(",") if p)}
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = Store.open(url)
    check_after_kill(store, url, told, lines, seed)
    store.close()


def check_after_kill(store: Store, url: str, told: int, lines: dict[int, int], seed: int) -> None:
    """Everything that was told is there; the rows are those of the facts, so no transaction is half there."""
    from lockstep.core.recovery import state_of

    from .farm import Farm, remembered

    saved = store.load()
    assert saved.last_fact >= told > 0
    queries = Queries(url)
    for log, end in lines.items():
        found = queries.get("logs", log)
        assert found is not None
        assert found["num_lines"] >= end
    facts = queries.facts_after(0, limit=10**6)
    queries.close()
    assert [numbered.number for numbered in facts] == list(range(1, saved.last_fact + 1))
    farm = Farm(seed)
    farm.state.installation = store.installation
    while farm.state.last_fact < saved.last_fact:
        farm.step()
    assert [pack(numbered) for numbered in farm.facts] == [pack(numbered) for numbered in facts]
    assert remembered(state_of(saved)) == remembered(farm.state)
