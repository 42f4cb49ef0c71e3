"""The sentences and data of `core.reasons`, on states that events have made. No server: everything here is pure."""

from typing import Any

import pytest

from lockstep.core import events as e
from lockstep.core.answers import exactly, listed, span
from lockstep.core.decide import decide
from lockstep.core.nouns import UNLIMITED, Access, Alternative, LockKey, Need
from lockstep.core.reasons import Reasons
from lockstep.core.state import State, slot_key
from lockstep.core.values import BuilderSetup, LockSetup, RequestWish, Setup, Submission, WorkerSetup

DB = LockKey("master", "db")
MEMORY = LockKey("master", "memory")


class Farm:
    """A state and a clock that stands still."""

    def __init__(self, builders: dict[str, list[Access]], workers: tuple[str, ...] = ("w",), **limits: int) -> None:
        self.state = State("test")
        self.now = 1000.0
        self.limits = {DB: 1, MEMORY: 4, **{LockKey("master", name): limit for name, limit in limits.items()}}
        self.builders = builders
        self.workers = workers
        self.configure()

    def configure(self, max_overtakes: int = 8) -> None:
        needs = {
            name: Need(tuple(Alternative(w, (Access(slot_key(w)), *accesses)) for w in self.workers))
            for name, accesses in self.builders.items()
        }
        locks = [LockSetup(key, limit, max_overtakes) for key, limit in self.limits.items()]
        locks += [LockSetup(slot_key(w), UNLIMITED) for w in self.workers]
        self.event(
            e.Configured(
                setup=Setup(
                    workers=tuple(WorkerSetup(name=w) for w in self.workers),
                    builders=tuple(BuilderSetup(name=n, workers=self.workers, need=need) for n, need in needs.items()),
                    locks=tuple(locks),
                )
            )
        )

    def event(self, event: e.Event) -> Any:
        return decide(self.state, event, self.now)

    def connect(self) -> None:
        for worker in self.workers:
            self.event(e.WorkerConnected(worker=worker))

    def ask(self, builder: str, priority: int = 0) -> int:
        wish = RequestWish(builder=builder, priority=priority)
        self.event(e.Submitted(submission=Submission(requests=(wish,), collapse=False)))
        return self.state.counters.brid

    def why(self, brid: int) -> Any:
        return Reasons(self.state, self.now).request(self.state.requests[brid])

    def end(self, brid: int) -> None:
        request = self.state.requests[brid]
        self.event(e.BuildPlanned(buildid=request.buildid, plans=(), properties={}))


WHOLE = [Access(DB, "exclusive")]
THREE = [Access(MEMORY, "counting", 3)]
ONE = [Access(MEMORY, "counting", 1)]


def test_L70_held_by_whom_for_how_long_and_how_many_ahead() -> None:
    farm = Farm({"a": WHOLE, "b": WHOLE})
    farm.connect()
    farm.ask("a")
    first, second = farm.ask("b"), farm.ask("b")
    farm.now += 125
    assert farm.why(first).sentence == "Waits for lock 'db', held by a #1 for 2 min. It is next."
    assert farm.why(second).sentence == "Waits for lock 'db', held by a #1 for 2 min. 1 ahead of it."
    assert farm.why(second).since == 1000.0


def test_L70_units_of_a_counting_lock() -> None:
    farm = Farm({"a": THREE, "whole": [Access(MEMORY, "exclusive")]})
    farm.connect()
    farm.ask("a")
    brid, whole = farm.ask("a"), farm.ask("whole")
    told = "Waits for 3 of 4 units of lock 'memory', held by a #1 (3) for 0 s. It is next."
    assert farm.why(brid).sentence == told
    assert farm.why(whole).sentence.startswith("Waits for the whole of lock 'memory', held by a #1 (3)")


def test_L70_who_has_a_counting_lock_whole() -> None:
    farm = Farm({"a": THREE, "whole": [Access(MEMORY, "exclusive")]})
    farm.connect()
    farm.ask("whole")
    told = "Waits for 3 of 4 units of lock 'memory', held by whole #1 (all of it) for 0 s. It is next."
    assert farm.why(farm.ask("a")).sentence == told


def test_L70_how_often_it_was_passed_and_what_is_kept_free_for_it() -> None:
    farm = Farm({"big": THREE, "small": ONE, "two": [Access(MEMORY, "counting", 2)]})
    farm.configure(max_overtakes=2)
    farm.connect()
    farm.ask("two")
    big = farm.ask("big")
    small = farm.ask("small")
    why = farm.why(big)
    assert why.sentence.endswith("It is next. It was passed 1 of at most 2 times.")
    short = why.locks[0]
    assert (short.passed, short.may_pass, short.max_overtakes, short.ahead, short.behind) == (1, 1, 2, 0, 0)
    assert (why.can_start, why.barrier, why.kept) == (True, False, ())
    farm.end(small)
    farm.ask("small")
    why = farm.why(big)
    assert why.sentence.endswith("It was passed 2 times, so what it needs is kept free for it.")
    assert (why.reserves, why.barrier) == ("memory", True)
    assert [(kept.lock, kept.units, kept.exclusive) for kept in why.kept] == [("memory", 3, False)]
    third = farm.ask("small")
    short = farm.why(big).locks[0]
    assert (short.passed, short.may_pass, short.behind) == (2, 0, 1)
    why = farm.why(third)
    assert why.kind == "reserved"
    assert why.sentence.startswith(
        f"Waits for 1 of 4 units of lock 'memory', which is kept free for request {big} of big."
    )


def test_L70_who_was_passed_where_nothing_is_short_comes_first() -> None:
    farm = Farm({"a": WHOLE, "free": []})
    farm.configure(max_overtakes=1)
    farm.connect()
    farm.ask("a")
    waiting = farm.ask("a")
    for _ in range(8):
        farm.ask("free")
    why = farm.why(waiting)
    assert why.sentence.endswith("It is next. It was passed 8 times at worker w, so it comes first.")
    assert (why.barrier, why.kept, why.locks[0].passed) == (True, (), 0)


def test_L70_once_is_a_word() -> None:
    farm = Farm({"big": THREE, "small": ONE, "two": [Access(MEMORY, "counting", 2)]})
    farm.configure(max_overtakes=1)
    farm.connect()
    farm.ask("two")
    big = farm.ask("big")
    farm.ask("small")
    assert farm.why(big).sentence.endswith("It was passed once, so what it needs is kept free for it.")


def test_L70_nobody_passes_where_the_order_is_strict() -> None:
    farm = Farm({"a": WHOLE})
    farm.configure(max_overtakes=0)
    farm.connect()
    farm.ask("a")
    waiting = farm.ask("a")
    assert farm.why(waiting).sentence.endswith("It is next. Nobody may pass it: what it needs is kept free for it.")


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (None, "No worker: w is not connected."),
        (e.WorkerPauseAsked(worker="w", paused=True), "No worker: w is paused."),
        (e.WorkerPauseAsked(worker="w", paused=True, reason="disk"), "No worker: w is paused (disk)."),
    ],
)
def test_L70_no_worker(event: e.Event | None, sentence: str) -> None:
    farm = Farm({"a": []})
    if event is not None:
        farm.connect()
        farm.event(event)
    brid = farm.ask("a")
    assert (farm.why(brid).kind, farm.why(brid).can_start) == ("worker", False)
    assert farm.why(brid).sentence == sentence


def test_L5_a_count_above_the_limit_says_so() -> None:
    farm = Farm({"a": THREE})
    farm.connect()
    farm.limits[MEMORY] = 2
    farm.configure()
    why = farm.why(farm.ask("a"))
    assert (why.kind, why.can_start) == ("never", False)
    assert why.sentence == "Cannot start as the limits are: it needs 3 of lock 'memory', whose limit is 2."


def test_L42_a_slot_lets_others_pass_as_often_as_its_lock_does() -> None:
    farm = Farm({"a": []})
    farm.event(
        e.Configured(
            setup=Setup(
                workers=(WorkerSetup(name="w", max_builds=1),),
                builders=tuple(farm.state.builders.values()),
                locks=(LockSetup(slot_key("w"), 1),),
            )
        )
    )
    farm.connect()
    farm.ask("a")
    short = farm.why(farm.ask("a")).locks[0]
    assert (short.kind, short.max_overtakes, short.may_pass) == ("slot", 8, 8)


def test_a_builder_that_is_gone() -> None:
    farm = Farm({"a": [], "b": []})
    brid = farm.ask("a")
    del farm.builders["a"]
    farm.configure()
    if brid in farm.state.requests:
        assert farm.why(brid).kind == "never"


def test_busy_workers_are_named_with_what_they_do() -> None:
    farm = Farm({"a": []}, workers=("v", "w"))
    farm.event(
        e.Configured(
            setup=Setup(
                workers=tuple(WorkerSetup(name=w, max_builds=1) for w in farm.workers),
                builders=tuple(farm.state.builders.values()),
                locks=tuple(LockSetup(slot_key(w), 1) for w in farm.workers),
            )
        )
    )
    farm.connect()
    farm.ask("a")
    farm.ask("a")
    why = farm.why(farm.ask("a"))
    assert why.sentence.startswith("Waits for a worker: v is busy with a #")
    assert {each.worker for each in why.workers} == {"v", "w"}


def test_a_build_whose_worker_is_out_of_reach_and_who_waits_for_it() -> None:
    farm = Farm({"a": WHOLE}, ("w", "v"))
    farm.connect()
    brid, waiting = farm.ask("a"), farm.ask("a")
    farm.event(e.WorkerDisconnected(worker="w", session=farm.state.workers["w"].session))
    held = "held by a #1 for 0 s (its worker w is out of reach)"
    assert farm.why(waiting).sentence == f"Waits for lock 'db', {held}. It is next."
    assert farm.why(brid).sentence == "Worker 'w' is out of reach; the build goes on when it is back."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (7260, "2 h 1 min"), (200_000, "2 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.5, "0.5 s"), (90, "1 min 30 s"), (3600, "1 h"), (5400, "1 h 30 min"), (31_622_400, "366 days")],
)
def test_durations_that_somebody_has_set_are_told_in_full(seconds: float, text: str) -> None:
    assert exactly(seconds) == text


def test_lists_of_names() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
