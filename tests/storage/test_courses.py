"""How a builder's last builds went, read back for forecasts: steps without their waits, and their locks (L70)."""

from pathlib import Path

from lockstep.core import events as e
from lockstep.core.forecast import OWN_WORKER, Phase
from lockstep.core.nouns import Access, LockKey, Result
from lockstep.core.values import (
    PoolSetup,
    RequestWish,
    StepPlan,
    Submission,
    UnitSetup,
)
from lockstep.storage.batch import Batch
from lockstep.storage.queries import Queries
from lockstep.storage.store import Store

from .farm import CPU, DATABASE, Farm, one_step


class Clock(Farm):
    """A farm whose time only passes when it is told to."""

    def happen(self, event: e.Event) -> Batch:
        self.at = int(self.at) + 0.0
        return super().happen(event)

    def build(self, store: Store, result: Result) -> None:
        """A build of two steps, of 10 and 20 s; the second has locks, and waited 5 s for them."""
        state = self.state
        batches = [self.happen(e.Submitted(submission=Submission(requests=(RequestWish(builder="b0"),))))]
        buildid = state.counters.buildid
        plans = (StepPlan(name="one"), StepPlan(name="two"))
        batches.append(self.happen(e.BuildPlanned(buildid=buildid, plans=plans, properties={})))
        batches.append(self.happen(e.StepPrepared(buildid=buildid, number=1, name="one")))
        self.at += 10
        batches.append(self.happen(e.StepFinished(buildid=buildid, number=1, result=Result.SUCCESS)))
        batches.append(self.happen(e.Submitted(submission=Submission(requests=(RequestWish(builder="b1"),)))))
        other = state.counters.buildid
        accesses = (Access(DATABASE), Access(CPU, "counting", 2))
        batches.append(self.happen(e.StepPrepared(buildid=buildid, number=2, name="two", accesses=accesses)))
        self.at += 5
        batches.append(self.happen(e.BuildPlanned(buildid=other, plans=(), properties={})))
        self.at += 20
        batches.append(self.happen(e.StepFinished(buildid=buildid, number=2, result=result)))
        store.append(batches)


def test_L70_of_a_pool_they_say_which_units_were_wanted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    store = Store.open(url)
    farm = Clock(0)
    arm = LockKey("pool", "boards", where="arm")
    boards = PoolSetup(name="boards", units=(UnitSetup("pi", ("arm",)), UnitSetup("nuc")))
    batches = [farm.happen(event) for event in one_step(boards, Access(arm))]
    store.append([*batches, farm.happen(e.StepFinished(buildid=1, number=1, result=Result.SUCCESS))])
    reads = Queries(url)
    (course,) = reads.courses(1, {1: "w0"}, 10)
    assert course[0].accesses == (Access(arm),)
    reads.close()


def test_L70_courses_are_steps_without_waits_and_with_their_locks(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    store = Store.open(url)
    farm = Clock(0)
    farm.random.random = lambda: 0.0  # type: ignore[method-assign]
    store.append([farm.do_configure(), farm.happen(e.WorkerConnected(worker="w0"))])
    farm.build(store, Result.FAILURE)
    farm.build(store, Result.RETRY)
    reads = Queries(url)
    workers = {number: name for name, number in farm.state.worker_ids.items()}
    (course,) = reads.courses(farm.state.builder_ids["b0"], workers, 10)
    locks = {Access(DATABASE), Access(LockKey("worker", "cpu", OWN_WORKER), "counting", 2)}
    assert [phase.seconds for phase in course] == [10.0, 20.0, 0.0]
    assert [set(phase.accesses) for phase in course] == [set(), locks, set()]
    assert course[-1] == Phase(0.0)
    assert reads.courses(999, workers, 10) == []
    reads.close()
    store.close()


def test_the_requests_of_some_time_come_back_with_what_their_builds_took(url: str) -> None:
    store = Store.open(url)
    farm = Clock(0)
    farm.random.random = lambda: 0.0  # type: ignore[method-assign]
    store.append([farm.do_configure(), farm.happen(e.WorkerConnected(worker="w0"))])
    farm.build(store, Result.SUCCESS)
    farm.build(store, Result.RETRY)
    reads = Queries(url)
    first, other, again, *_ = found = reads.requests_since(None, 100)[0]
    assert [request.builder for request in (first, other, again)] == ["b0", "b1", "b0"]
    assert first.build is not None
    assert [(step.name, step.seconds) for step in first.build.steps] == [("one", 10.0), ("two", 20.0)]
    assert set(first.build.steps[1].accesses) == {
        Access(DATABASE),
        Access(LockKey("worker", "cpu", OWN_WORKER), "counting", 2),
    }
    assert (first.alike, first.parent, first.build.rest) == (again.alike, None, 0.0)
    assert again.build is None
    assert again.at - first.at == 35
    assert reads.requests_since(None, 2)[0] == found[-2:]
    assert [request.brid for request in reads.requests_since(11 / 86400, 100)[0]] == [r.brid for r in found[2:]]
    reads.close()
    store.close()
