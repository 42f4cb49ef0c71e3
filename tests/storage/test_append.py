"""What one transaction takes: few statements, any text, output in chunks; and a start that history does not slow."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.facts import Numbered
from lockstep.core.nouns import Result
from lockstep.core.values import Change, StepPlan
from lockstep.storage.batch import Batch, CommandProgress, LogPart
from lockstep.storage.limits import CHUNK_TARGET, MERGE_BYTES, MERGE_ROWS
from lockstep.storage.logs import Packer, merged, unpack
from lockstep.storage.queries import Queries
from lockstep.storage.store import Store

from .farm import Farm


def begun(store: Store) -> Farm:
    """A farm with a configuration and all workers connected, stored."""
    farm = Farm(1)
    farm.state.installation = store.installation
    batches = [farm.do_configure()]
    while any(worker.state == "absent" for worker in farm.state.workers.values()):
        batches.append(farm.do_connect() or Batch())
    store.append(batches)
    return farm


def call(farm: Farm, buildid: int, number: int, what: c.Call) -> Batch:
    return farm.happen(e.CallMade(buildid=buildid, step=1, number=number, call=what, fingerprint="f"))


def one_build(farm: Farm) -> list[list[Batch]]:
    """The commits of a build with one step: up to its start, up to its command, its end."""
    submission = farm.submission()
    while [wish.builder for wish in submission.requests] != ["b2"]:
        submission = farm.submission()
    queued = farm.happen(e.Submitted(submission=submission))
    buildid = max(farm.state.builds)
    plan = farm.happen(e.BuildPlanned(buildid=buildid, plans=(StepPlan(name="s"),), properties={"a": (1, "b")}))
    sent = [plan, farm.happen(e.StepPrepared(buildid=buildid, number=1, name="s"))]
    sent.append(call(farm, buildid, 1, c.OpenLog("stdio")))
    log = farm.state.counters.logid
    sent.append(call(farm, buildid, 2, c.RunCommand(kind="shell", args={"command": "true"}, stdio=log)))
    command = next(iter(farm.state.commands))
    output = Batch(parts=[LogPart(log, 0, 1, "ohello\n")], progress=[CommandProgress(command, 6)])
    over = [output, farm.happen(e.CommandEnded(command=command, result=c.CommandResult(rc=0)))]
    ended = farm.happen(
        e.StepFinished(buildid=buildid, number=1, result=Result.SUCCESS, summary="done", lines={log: 1})
    )
    return [[queued], sent, over, [ended]]


def test_from_request_queued_to_command_sent_are_twelve_statements(url: str) -> None:
    store = Store.open(url)
    farm = begun(store)
    for _ in range(3):
        counts = []
        for batches in one_build(farm):
            store.append(batches)
            counts.append(store.statements)
        assert sum(counts[:2]) <= 14  # this build has a source stamp with changes, and a lock: two tables more
        assert sum(counts) <= 26
    store.close()


def test_ended_builds_leave_no_live_rows(url: str) -> None:
    store = Store.open(url)
    farm = begun(store)
    for alone in (True, False):
        commits = one_build(farm)
        for group in commits if alone else [[batch for batches in commits for batch in batches]]:
            store.append(group)
    for table in ("calls", "claims"):
        assert store._reader.rows(f"SELECT count(*) FROM {table}") == [(0,)]
    assert store.load().builds == []
    assert store.open_logs() == {}
    store.close()


def test_a_start_does_not_read_history(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query of the load runs over live rows: with a long history the plans name an index, never a whole table."""
    if not url.startswith("sqlite"):
        pytest.skip("the plans of SQLite are looked at")
    store = Store.open(url)
    farm = begun(store)
    store.append([batch for _ in range(20) for batches in one_build(farm) for batch in batches])
    asked: list[tuple[str, Any]] = []
    real = store._reader.rows

    def rows(sql: str, values: Any = ()) -> Any:
        asked.append((sql, values))
        return real(sql, values)

    monkeypatch.setattr(store._reader, "rows", rows)
    store.append([farm.do_submit() or Batch() for _ in range(3)])
    store.load()
    history = ("buildsets", "requests", "builds", "steps", "logs", "facts", "changes", "source_stamps", "log_chunks")
    plans = [row[3] for sql, values in asked for row in real(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert len(plans) > 20
    bare = [plan for plan in plans for table in history if plan == f"SCAN {table}"]
    assert bare == []
    store.close()


# --- any text


def test_texts_that_databases_do_not_like_are_stored(url: str) -> None:
    store = Store.open(url)
    farm = begun(store)
    nasty = "nul \0, half \udcff, snowman ☃, quote ' and %s"
    change = Change(author=nasty, comments=nasty, files=(nasty,), properties={"p": (nasty, nasty)}, revision=nasty)
    batch = farm.happen(e.ChangesFound(source="poller", changes=(change,), memory={"m": nasty}))
    store.append([batch])
    queries = Queries(url)
    found = queries.get("changes", 1)
    assert found is not None
    assert found["author"] == "nul \ufffd, half ?, snowman ☃, quote ' and %s"
    assert found["files"] == ["nul \0, half ?, snowman ☃, quote ' and %s"]
    assert [type(n.fact) for n in queries.facts_after(0, (f.ChangeAdded,))] == [f.ChangeAdded]
    queries.close()
    store.close()


def test_whatever_is_in_any_numbers_gap_is_refused(url: str) -> None:
    from lockstep.storage.errors import StoreError

    store = Store.open(url)
    with pytest.raises(StoreError, match="fact 2 cannot follow fact 0"):
        store.append([Batch(facts=[Numbered(2, 0.0, f.MemoryKept(owner="x", memory=1))])])
    store.close()


def test_a_change_of_a_row_that_is_not_there_is_refused(url: str) -> None:
    from lockstep.storage.errors import StoreError

    store = Store.open(url)
    with pytest.raises(StoreError, match="of 1 rows of 'requests' to change only 0 are there"):
        store.append([Batch(facts=[Numbered(1, 0.0, f.PrioritySet(brid=5, priority=1))])])
    store.close()
    store = Store.open(url)
    assert store.load().last_fact == 0
    store.close()


# --- logs


def test_merged_chunks_say_the_same() -> None:
    chance = random.Random(4)
    packer = Packer()
    chunks, text, line = [], b"", 0
    for _ in range(300):
        count = chance.randrange(1, 40)
        piece = b"".join(b"o%d %s\n" % (line + n, b"x" * chance.randrange(200)) for n in range(count))
        chunks.append((line, count, *packer.pack(piece)))
        text += piece
        line += count
    new = list(merged(chunks, packer))
    assert len(new) < 10
    assert b"".join(unpack(packing, content) for _, _, packing, content in new) == text
    ends = [first + count for first, count, _, _ in new]
    assert [first for first, _, _, _ in new] == [0, *ends[:-1]]
    assert ends[-1] == line


def test_small_chunks_of_a_closed_log_are_merged_when_there_is_time(new_url: Callable[[], str]) -> None:
    url = new_url()
    store = Store.open(url)
    farm = begun(store)
    commits = one_build(farm)
    store.append([batch for batches in commits[:2] for batch in batches])
    log = farm.state.counters.logid
    for line in range(50):
        store.append([Batch(parts=[LogPart(log, line, 1, f"oline {line}\n")])])
    assert store.open_logs() == {log: 50}
    assert store.tidy() is False
    commits[2][0].parts.clear()
    store.append([batch for batches in commits[2:] for batch in batches])
    assert store._reader.rows("SELECT count(*) FROM log_chunks") == [(50,)]
    assert store.tidy() is True
    assert store.tidy() is False
    assert store._reader.rows("SELECT count(*) FROM log_chunks") == [(1,)]
    queries = Queries(url)
    assert queries.log_contents(log)["content"] == "".join(f"oline {n}\n" for n in range(50))
    assert queries.log_contents(log, 49)["content"] == "oline 49\n"
    store.append([Batch(parts=[LogPart(log, 50, 1, "elate\n")])])
    found = queries.get("logs", log)
    assert found is not None
    assert (found["num_lines"], found["complete"]) == (51, True)
    queries.close()
    store.close()


@pytest.mark.parametrize("fault", ["chunk", "disk"])
def test_a_log_that_cannot_be_merged_stays_as_it_is(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One of its pieces is damaged, or the disk takes nothing for a moment: it is said once, and the store goes on."""
    store = Store.open(f"sqlite:///{tmp_path}/state.sqlite")
    farm, chance = begun(store), random.Random(6)
    commits = one_build(farm)
    store.append([batch for batches in commits[:2] for batch in batches])
    number = farm.state.counters.logid
    texts = [f"o{chance.randbytes(1000).hex()}\n" for _ in range(300)]
    store.append([Batch(parts=[LogPart(number, line, 1, text) for line, text in enumerate(texts)])])
    commits[2][0].parts.clear()
    store.append([batch for batches in commits[2:] for batch in batches])
    if fault == "chunk":
        store._connection.execute("UPDATE log_chunks SET content = ? WHERE first_line = 7", (b"damaged",))
    else:
        store._connection.execute("PRAGMA query_only = ON")
    while store.tidy():
        pass
    store._connection.execute("PRAGMA query_only = OFF")
    assert store._reader.rows("SELECT count(*) FROM log_chunks") == [(300,)]
    store.append([Batch(parts=[LogPart(number, 300, 1, "elate\n")])])
    queries = Queries(f"sqlite:///{tmp_path}/state.sqlite")
    assert queries.log_contents(number, 299)["content"] == texts[299] + "elate\n"
    queries.close()
    store.close()
    (told,) = [record.getMessage() for record in caplog.records]
    assert f"log {number} stays in small pieces: store '{tmp_path}/state.sqlite': " in told


def test_a_long_log_is_merged_in_transactions_that_nobody_waits_long_for(new_url: Callable[[], str]) -> None:
    url = new_url()
    store = Store.open(url)
    farm = begun(store)
    commits = one_build(farm)
    store.append([batch for batches in commits[:2] for batch in batches])
    log, chance = farm.state.counters.logid, random.Random(5)
    texts = [f"o{line} {chance.randbytes(chance.choice((20, 20, 2000))).hex()}\n" for line in range(3_700)]
    store.append([Batch(parts=[LogPart(log, line, 1, text) for line, text in enumerate(texts)])])
    commits[2][0].parts.clear()
    store.append([batch for batches in commits[2:] for batch in batches])
    chunks = "SELECT first_line, length(content) FROM log_chunks ORDER BY first_line"
    queries, before, slices = Queries(url), dict(store._reader.rows(chunks)), 0
    while store.tidy():
        after = dict(store._reader.rows(chunks))
        gone = [size for line, size in before.items() if line not in after]
        assert len(gone) <= MERGE_ROWS
        assert sum(gone) <= MERGE_BYTES + max(gone, default=0)
        before, slices = after, slices + 1
        middle = queries.log_contents(log, 1_800, 3)
        assert middle["content"] == "".join(texts[1_800:1_803])
    assert slices >= 4
    assert len(before) <= sum(map(len, texts)) / CHUNK_TARGET * 1.3 + 1
    assert queries.log_contents(log, 0, len(texts))["content"] == "".join(texts)
    queries.close()
    store.close()


def test_offset_and_unfinished_lines_come_back(url: str) -> None:
    store = Store.open(url)
    farm = begun(store)
    commits = one_build(farm)
    store.append([batch for batches in commits[:2] for batch in batches])
    command = commits[2][0].progress[0].command
    log = farm.state.counters.logid
    part = LogPart(log, 0, 2, "oone\noü\n")
    store.append([Batch(parts=[part], progress=[CommandProgress(command, 12, {f"{log}:o": b"half \xc3"})])])
    store.close()
    store = Store.open(url)
    assert store.progress() == {command: CommandProgress(command, 12, {f"{log}:o": b"half \xc3"})}
    assert store.open_logs() == {log: 2}
    commits[2][0].parts.clear()
    store.append(commits[2])
    assert store.progress() == {}
    store.append([Batch(progress=[CommandProgress(command, 99)])])  # nobody waits for it any more
    store.close()
