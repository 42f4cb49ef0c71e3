"""Old things are deleted, and nothing that lives is: in random worlds against a dumb judge, through kills."""

import random
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lockstep.core import events as e
from lockstep.core.nouns import Result
from lockstep.core.recovery import state_of
from lockstep.core.values import Change, RequestWish, StepPlan, Submission
from lockstep.storage import delete_builds, deleting
from lockstep.storage.codec import from_json
from lockstep.storage.deleting import Deleted, Horizons
from lockstep.storage.limits import KEPT_BUILDS
from lockstep.storage.queries import Queries
from lockstep.storage.reading import Reader
from lockstep.storage.store import Store
from lockstep.storage.writer import Writer
from lockstep.web.limits import FORECAST_BUILDS

from .farm import Farm, remembered


def delete(store: Store, now: float, *, look: bool = False, **horizons: Any) -> Deleted:
    """A whole run. `look`: between any two slices every row has its owner."""
    told: list[Deleted] = []
    store.delete(Horizons(**horizons), now, told.append)
    while store.tidy():
        assert not look or orphans(store) == []
    assert told[0].error == ""
    return told[0]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small slices, and one build of each builder that stays."""
    monkeypatch.setattr(delete_builds, "KEPT_BUILDS", 1)
    monkeypatch.setattr(delete_builds, "DELETE_ROWS", 4)
    for module in (delete_builds, deleting):
        monkeypatch.setattr(module, "DELETE_BYTES", 100)


def reader(store: Store) -> Reader:
    return store._reader


def orphans(store: Store) -> list[Any]:
    """Rows whose owner is not there."""
    found = []
    for table, column, owner in (
        ("logs", "stepid", "steps"),
        ("log_chunks", "logid", "logs"),
        ("urls", "stepid", "steps"),
        ("steps", "buildid", "builds"),
        ("builds", "brid", "requests"),
        ("requests", "bsid", "buildsets"),
        ("stamp_changes", "ssid", "source_stamps"),
    ):
        sql = f"SELECT {column} FROM {table} WHERE {column} NOT IN (SELECT {column} FROM {owner})"
        found += [(table, number) for (number,) in reader(store).rows(sql)]
    known = {ssid for (ssid,) in reader(store).rows("SELECT ssid FROM source_stamps")}
    for bsid, ssids in reader(store).rows("SELECT bsid, ssids FROM buildsets"):
        found += [("buildsets", bsid) for ssid in from_json(ssids) if ssid not in known]
    return found


def numbers(store: Store, table: str, column: str, where: str = "TRUE") -> set[int]:
    return {number for (number,) in reader(store).rows(f"SELECT {column} FROM {table} WHERE {where}")}


def must_stay(store: Store, before: float) -> set[int]:
    """The dumb judge: build sets that are young, live, or referred to by what lives, or have a builder's last build."""
    rows = reader(store).rows
    stay = {bsid for bsid, ended in rows("SELECT bsid, complete_at FROM buildsets") if ended is None or ended >= before}
    sets = dict(rows("SELECT brid, bsid FROM requests"))
    of_build = {buildid: sets[brid] for buildid, brid in rows("SELECT buildid, brid FROM builds")}
    running = numbers(store, "builds", "buildid", "complete_at IS NULL")
    live = numbers(store, "buildsets", "bsid", "complete_at IS NULL")
    for bsid, parent in rows("SELECT bsid, parent_buildid FROM buildsets WHERE parent_buildid IS NOT NULL"):
        if parent in running:
            stay.add(bsid)
        if bsid in live and parent in of_build:
            stay.add(of_build[parent])
    for (buildid,) in rows("SELECT buildid FROM bookings WHERE complete_at IS NULL AND buildid IS NOT NULL"):
        stay.add(of_build[buildid])
    last = "SELECT max(number), builderid FROM builds WHERE complete_at IS NOT NULL GROUP BY builderid"
    for number, builderid in rows(last):
        ((buildid,),) = rows("SELECT buildid FROM builds WHERE builderid = ? AND number = ?", (builderid, number))
        stay.add(of_build[buildid])
    merged = "SELECT a.bsid FROM requests a JOIN requests b ON b.brid = a.merged_into WHERE b.complete_at IS NULL"
    return stay | {bsid for (bsid,) in rows(merged)}


@pytest.mark.parametrize("seed", range(6))
def test_what_lives_stays_and_goes_on_and_what_is_old_goes(url: str, seed: int, few: None) -> None:
    """In random worlds that live on after each run: rows, numbers and fences are as if nothing had been deleted."""
    chance = random.Random(seed)
    farm = Farm(seed)
    store = Store.open(url)
    farm.state.installation = store.installation
    deleted = 0
    for _ in range(30):
        store.append([farm.step() for _ in range(30)])
        keep = chance.choice((5.0, 30.0, 100.0))
        before = farm.at - keep
        stay, live = must_stay(store, before), numbers(store, "logs", "logid", "NOT complete")
        events = reader(store).rows("SELECT number, position FROM lock_events WHERE event IN ('limit', 'removed')")
        changes = numbers(store, "changes", "changeid")
        deleted += delete(store, farm.at, logs=keep, builds=keep, changes=chance.choice((None, 1, 3))).builds
        left = numbers(store, "buildsets", "bsid")
        assert stay <= left
        young = numbers(store, "builds", "buildid", f"complete_at IS NULL OR complete_at >= {before}")
        assert {bsid for bsid in left - stay if not sets_with(store, bsid, young)} == set()
        assert orphans(store) == []
        assert changes & numbers(store, "stamp_changes", "changeid") <= numbers(store, "changes", "changeid")
        assert live <= numbers(store, "logs", "logid", "type <> 'd'")
        assert set(events) <= set(reader(store).rows("SELECT number, position FROM lock_events"))
        store.close()
        store = Store.open(url)
        assert remembered(state_of(store.load())) == remembered(farm.state)
    assert deleted > 5
    store.close()


def sets_with(store: Store, bsid: int, buildids: set[int]) -> bool:
    """Whether a build set has one of these builds."""
    sql = "SELECT b.buildid FROM builds b JOIN requests r ON r.brid = b.brid WHERE r.bsid = ?"
    return any(buildid in buildids for (buildid,) in reader(store).rows(sql, (bsid,)))


class Builds(Farm):
    """A farm that makes whole builds with logs."""

    def build(
        self, store: Store, text: str = "out\n", chunks: int = 1, builder: str = "b0", result: Result = Result.SUCCESS
    ) -> int:
        """A build of one step with one log. Returns its id."""
        from lockstep.core.calls import OpenLog
        from lockstep.storage.batch import Batch, LogPart

        asked = e.Submitted(submission=Submission(requests=(RequestWish(builder=builder),)))
        batches = [self.happen(asked)]
        buildid = self.state.counters.buildid
        planned = e.BuildPlanned(buildid=buildid, plans=(StepPlan(name="one"),), properties={})
        batches += [self.happen(planned), self.happen(e.StepPrepared(buildid=buildid, number=1, name="one"))]
        batches.append(
            self.happen(e.CallMade(buildid=buildid, step=1, number=1, call=OpenLog("stdio"), fingerprint=""))
        )
        logid, lines = self.state.counters.logid, text.count("\n")
        parts = [LogPart(logid, n * lines, lines, text) for n in range(chunks)]
        batches.append(Batch(parts=parts))
        batches.append(self.happen(e.StepFinished(buildid=buildid, number=1, result=result)))
        store.append(batches)
        return buildid


def opened(url: str) -> tuple[Store, Builds]:
    """A new store with a farm that can build."""
    store, farm = Store.open(url), Builds(0)
    farm.state.installation = store.installation
    store.append([farm.do_configure(), farm.happen(e.WorkerConnected(worker="w0", lease=60.0))])
    return store, farm


DAY = 86400.0


def test_logs_are_deleted_and_say_so_and_their_builds_stay(url: str) -> None:
    store, farm = opened(url)
    old = farm.build(store, chunks=3)
    farm.at += 10 * DAY
    young = farm.build(store)
    queries = Queries(url)
    counted = queries.page("logs", limit=1).total
    assert delete(store, farm.at, logs=7 * DAY).logs == 1
    gone, there = (queries.get("logs", number) for number in (1, 2))
    assert gone is not None
    assert there is not None
    assert (gone["type"], gone["num_lines"], gone["deleted_at"], gone["horizon"]) == ("d", 0, int(farm.at), 7 * 86400)
    assert (there["type"], there["num_lines"], there["deleted_at"]) == ("s", 1, None)
    assert queries.log_contents(1)["content"] == ""
    assert queries.log_contents(2)["content"] == "out\n"
    assert [b["buildid"] for b in queries.page("builds").items] == [old, young]
    assert counted == queries.page("logs", limit=1).total
    assert delete(store, farm.at, logs=7 * DAY).logs == 0
    queries.close()
    store.close()


def test_a_load_begins_where_all_of_it_is_there(url: str, few: None) -> None:
    """The last build of each builder stays, however old: the weeks after it were not idle."""
    store, farm = opened(url)
    for _ in range(3):
        farm.build(store)
    farm.at += 20 * DAY
    farm.build(store, builder="b1")
    queries = Queries(url)
    every, whole = queries.requests_since(None, 100)
    assert (len(every), whole) == (4, 0.0)
    assert delete(store, farm.at, builds=7 * DAY).builds == 2
    assert queries.page("builds", limit=1).total == 2
    young = every[3:]
    assert queries.requests_since(None, 100) == (young, farm.at - 7 * DAY)
    assert queries.requests_since(1, 100) == (young, 0.0)
    queries.close()
    store.close()


def test_numbers_never_come_again(url: str, few: None) -> None:
    """Also when everything but the last build of each builder is gone, and what was asked for after it."""
    store, farm = opened(url)
    for _ in range(3):
        farm.build(store)
    store.append([farm.do_change()])
    store.append([farm.happen(e.WorkerDisconnected(worker="w0", session=1)), farm.happen(asked())])
    store.append([farm.happen(e.CancelAsked(brid=farm.state.counters.brid, reason="no"))])
    farm.at += 10 * DAY
    queries = Queries(url)
    assert queries.page("builds", limit=1).total == 3
    done = delete(store, farm.at, builds=DAY, look=True)
    assert (done.builds, done.changes) == (2, 2)
    assert numbers(store, "builds", "number") == {3}
    assert numbers(store, "buildsets", "bsid") == {3}
    before = farm.state
    store.close()
    store = Store.open(url)
    again = state_of(store.load())
    assert again.counters == before.counters
    assert (again.build_numbers, again.last_fact) == ({"b0": 3}, before.last_fact)
    told = queries.gone("builds", 1)
    assert told is not None
    assert (told.at, told.seconds) == (farm.at, DAY)
    assert queries.gone("builds", 4) is None
    assert queries.gone("changes", 1) is not None
    assert queries.page("builds", limit=1).total == 1
    queries.close()
    store.close()


def test_what_came_while_a_run_was_under_way_and_went_in_it_keeps_its_number(url: str, few: None) -> None:
    store, farm = opened(url)
    for _ in range(6):
        farm.build(store)
    store.append([farm.do_change()])
    farm.at += 10 * DAY
    told: list[Deleted] = []
    store.delete(Horizons(builds=DAY), farm.at, told.append)
    while not reader(store).rows("SELECT key FROM meta WHERE key = 'deleted'"):
        assert store.tidy()
    late = Change(author="a", revision="1", when=farm.at - 30 * DAY)
    store.append([farm.happen(e.ChangesFound(source="poller", changes=(late,), memory=2))])
    while store.tidy():
        pass
    assert numbers(store, "changes", "changeid") == set()
    store.close()
    store = Store.open(url)
    assert state_of(store.load()).counters == farm.state.counters
    store.close()


@pytest.mark.parametrize("look", [3, 400])
def test_what_comes_after_a_clock_that_was_ahead_goes_in_its_time(
    url: str, look: int, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows were written then than are looked at together; they stay, and the older ones after them go."""
    for module in (deleting, delete_builds):
        monkeypatch.setattr(module, "DELETE_LOOK", look)
    for name in ("_CHUNKS", "_EVENTS", "_BOOKINGS", "_STAMPS", "_SETS"):
        sql = getattr(deleting, name).rsplit(" ", 1)[0]
        monkeypatch.setattr(deleting, name, f"{sql} {look}")
    monkeypatch.setattr(deleting, "_FACTS", f"{deleting._FACTS.rsplit(' ', 1)[0]} {look}")
    monkeypatch.setattr(delete_builds, "_SETS", f"{delete_builds._SETS.rsplit(' ', 1)[0]} {look}")
    store, farm = opened(url)
    begin = farm.at
    for ahead, builds in ((0, 1), (3650 * DAY, 10), (0, 20)):
        farm.at = begin + ahead
        for _ in range(builds):
            farm.build(store, text="x" * 60 + "\n")
            store.append([farm.do_book()])
            for ticket, held in list(farm.state.bookings.items()):
                store.append([farm.happen(e.BookingReleaseAsked(ticket=ticket, key=held.wish.key, who="Zoë"))])
    farm.at = begin + 100 * DAY
    farm.build(store)
    delete(store, farm.at, logs=DAY)
    assert numbers(store, "logs", "logid", "type <> 'd'") == {*range(2, 12), 32}
    delete(store, farm.at, builds=DAY)
    assert numbers(store, "builds", "number") == {*range(2, 12), 32}
    stays = numbers(store, "lock_events", "number", "ticket = 0")  # limits
    between = f"at >= {begin} AND at < {begin + 99 * DAY}"
    for table, column, at in (
        ("facts", "number", "at"),
        ("lock_events", "number", "at"),
        ("bookings", "ticket", "asked_at"),
        ("source_stamps", "ssid", "created_at"),
    ):
        left = numbers(store, table, column, f"{between.replace('at ', f'{at} ')} AND {column} > 1")
        assert left - stays == set(), table
    assert remembered(state_of(store.load())) == remembered(farm.state)
    store.close()


def test_of_build_sets_with_many_builds_a_few_are_looked_at_together(
    url: str, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read between two slices is bounded by builds, so what comes meanwhile does not wait for it."""
    monkeypatch.setattr(delete_builds, "DELETE_SETS", 3)
    store, farm = opened(url)
    for _ in range(20):
        farm.build(store)
    farm.at += 10 * DAY
    read: list[int] = []
    rows_in = Reader.rows_in

    def counted(self: Reader, sql: str, values: Any) -> Any:
        if "FROM steps" in sql:
            read.append(len(values))
        return rows_in(self, sql, values)

    monkeypatch.setattr(Reader, "rows_in", counted)
    assert delete(store, farm.at, builds=DAY, look=True).builds == 19
    assert max(read) == 3
    store.close()


def asked() -> e.Submitted:
    return e.Submitted(submission=Submission(requests=(RequestWish(builder="b0"),)))


def test_a_build_whose_lock_is_kept_for_a_look_stays_with_its_logs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`keepAfterFailure`: until somebody gives the lock back, however old the build is."""
    monkeypatch.setattr(delete_builds, "KEPT_BUILDS", 0)
    store, farm = opened(url)
    buildid = farm.build(store, builder="b1", result=Result.FAILURE)
    (ticket,) = farm.state.bookings
    farm.at += 10 * DAY
    for _ in range(2):
        assert delete(store, farm.at, logs=DAY, builds=DAY).logs == 0
        assert numbers(store, "builds", "buildid") == {buildid}
        store.close()
        store = Store.open(url)
    store.append([farm.happen(e.BookingReleaseAsked(ticket=ticket, who="Zoë"))])
    assert delete(store, farm.at, builds=DAY).builds == 1
    store.close()


def test_forecasts_find_the_builds_that_they_look_at() -> None:
    assert KEPT_BUILDS >= FORECAST_BUILDS


SLICED = ("log_chunks", "logs", "steps", "builds")
"""Tables that slices make smaller, and what comes meanwhile does not make greater."""


def test_a_slice_is_small_and_what_comes_meanwhile_is_stored_before_the_next(
    url: str, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the writer: a batch that comes while old things are deleted waits for one slice at most."""
    monkeypatch.setattr("lockstep.storage.writer.TIDY_AFTER", 2)
    store, farm = opened(url)
    for _ in range(8):
        farm.build(store, text="x" * 60 + "\n", chunks=5)
    while store.tidy():
        pass  # what is merged is no slice
    farm.at += 10 * DAY
    writer = Writer(store)
    done: list[Deleted] = []
    over = threading.Event()
    told: list[int] = []

    def more(_error: str) -> None:
        told.append(sum(len(reader(store).rows(f"SELECT 1 FROM {table}")) for table in SLICED))
        if done:
            over.set()
        else:
            writer.put(farm.happen(asked()) if len(told) % 10 == 0 else farm.do_remember(), more)

    more("")  # from now on there is always one that waits: no slice begins because it is quiet
    writer.delete(Horizons(logs=DAY, builds=DAY), farm.at, done.append)
    assert over.wait(300)
    writer.close()
    assert done[0].error == ""
    assert told[0] - told[-1] > 20
    assert all(before - after <= 8 for before, after in pairwise(told))  # it was stored before the next slice
    assert orphans(store) == []
    store.close()


WORK = """
import sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from lockstep.storage import delete_builds, deleting
from lockstep.storage.deleting import Horizons
from lockstep.storage.store import Store
delete_builds.DELETE_ROWS = 4
for module in (delete_builds, deleting):
    module.DELETE_BYTES = 100
store = Store.open(sys.argv[1])
store.delete(Horizons(logs=1.0, builds=1.0), 2e9, lambda told: print("done", flush=True))
while store.tidy():
    print("slice", flush=True)
"""


@pytest.mark.parametrize("slices", [1, 7, 40, 100])
def test_a_kill_in_the_midst_does_no_harm_and_the_next_run_ends_it(url: str, slices: int, few: None) -> None:
    store, farm = opened(url)
    for _ in range(KEPT_BUILDS + 30):
        farm.build(store, text="x" * 60 + "\n", chunks=4)
    store.close()
    here = Path(__file__).parent
    words = [sys.executable, "-c", WORK, url, str(here.parent), str(here)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(slices):
        assert process.stdout.readline() == "slice\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = Store.open(url)
    assert orphans(store) == []
    assert remembered(state_of(store.load())) == remembered(farm.state)
    for logid in numbers(store, "log_chunks", "logid"):  # no log is there in part that does not say so
        ((lines, type_),) = reader(store).rows("SELECT num_lines, type FROM logs WHERE logid = ?", (logid,))
        stored = reader(store).rows("SELECT sum(num_lines) FROM log_chunks WHERE logid = ?", (logid,))[0][0]
        assert stored == lines or type_ == "d"
    delete(store, 2e9, builds=1.0)
    assert numbers(store, "builds", "number") == {KEPT_BUILDS + 30}
    assert len(numbers(store, "log_chunks", "logid")) <= 1
    store.append([farm.happen(asked())])
    store.close()


def test_one_that_is_not_wanted_any_more_stops_before_its_next_slice(url: str, few: None) -> None:
    """A reload took other horizons: the rest is there, and a run with those finds it."""
    store, farm = opened(url)
    for _ in range(10):
        farm.build(store, text="x" * 150 + "\n")
    told: list[Deleted] = []
    wanted = [True] * 5
    store.delete(Horizons(logs=DAY), farm.at + 10 * DAY, told.append, lambda: bool(wanted) and wanted.pop())
    while store.tidy():
        pass
    assert (told[0].stopped, told[0].error) == (True, "")
    assert told[0].logs == 5
    assert delete(store, farm.at + 10 * DAY, logs=DAY).logs == 5
    assert numbers(store, "log_chunks", "logid") == set()
    store.close()


def test_room_that_deleted_logs_had_is_used_again(tmp_path: Path) -> None:
    """SQLite's file does not shrink, and does not grow either."""
    file = tmp_path / "state.sqlite"
    store, farm = opened(f"sqlite:///{file}")
    chance = random.Random(1)

    def week() -> int:
        for _ in range(20):
            farm.build(store, text="".join(f"{chance.random()}\n" for _ in range(2000)))
        farm.at += 7 * DAY
        delete(store, farm.at, logs=DAY, builds=DAY)
        reader(store).rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return file.stat().st_size

    sizes = [week() for _ in range(8)]
    assert max(sizes[4:]) < sizes[3] * 1.1
    store.close()


def test_a_deletion_that_fails_is_told_and_the_store_goes_on(url: str, few: None) -> None:
    store, farm = opened(url)
    for _ in range(5):
        farm.build(store)
    reader(store).connection.execute("ALTER TABLE urls RENAME TO elsewhere")
    told: list[Deleted] = []
    store.delete(Horizons(builds=DAY), farm.at + 10 * DAY, told.append)
    while store.tidy():
        pass
    assert "urls" in told[0].error
    store.append([farm.happen(asked())])
    reader(store).connection.execute("ALTER TABLE elsewhere RENAME TO urls")
    assert delete(store, farm.at + 10 * DAY, builds=DAY).builds > 0
    assert remembered(state_of(store.load())) == remembered(farm.state)
    store.close()
