"""What the core is told that a builder's builds may still claim once they run (L50, L51)."""

from collections.abc import Callable

import pytest

from lockstep.config.config import Config
from lockstep.core.values import Stage

Load = Callable[..., Config]

FARM = """\
    c['workers'] = [worker.Worker("w1", "pw"), worker.Worker("w2", "pw")]
    db = util.MasterLock("db", maxCount=3)
    cpu = util.WorkerLock("cpu", maxCount=2)
    work = lambda **more: steps.ShellCommand(command="make", name="work", **more)
    def builder(name, *its_steps, **more):
        f = util.BuildFactory(list(its_steps))
        c.setdefault('builders', []).append(util.BuilderConfig(name=name, workernames=["w1", "w2"], factory=f, **more))
"""


@pytest.fixture
def stages(load: Load) -> Callable[[str], list[Stage]]:
    """The stages of the last builder of a small farm."""

    def told(text: str) -> list[Stage]:
        return list(load(FARM + text).setup().builders[-1].stages)

    return told


Stages = Callable[[str], list[Stage]]


def claims(stage: Stage, worker: str) -> list[str]:
    return [f"{a.lock} {a.mode} {a.count}" for a in stage.on(worker)]


def test_L50_a_step_with_locks_has_its_number_its_place_and_its_claim_on_each_worker(stages: Stages) -> None:
    (stage,) = stages("""\
    builder("b", work(), work(locks=[db.access('counting', 2), cpu]))
    """)
    assert (stage.number, stage.name, stage.place) == (2, "work", "master.cfg:6")
    assert claims(stage, "w1") == ["db counting 2", "cpu on w1 counting 1"]
    assert claims(stage, "w2") == ["db counting 2", "cpu on w2 counting 1"]
    assert not stage.open


def test_a_claim_that_is_the_same_everywhere_is_told_once(stages: Stages) -> None:
    (stage,) = stages("""\
    builder("b", work(locks=[db.access('exclusive')]))
    """)
    assert stage.need is not None
    assert len(stage.need.alternatives) == 1
    assert claims(stage, "w1") == claims(stage, "w2") == ["db exclusive 1"]


def test_steps_that_claim_nothing_have_none(stages: Stages) -> None:
    assert not stages("""\
    builder("b", work(), work(locks=[db.access('counting', 0)]), work(locks=[db], doStepIf=False),
            steps.Trigger(schedulerNames=["go"]))
    c['schedulers'] = [schedulers.Triggerable("go", builderNames=["b"])]
    """)


def test_what_is_rendered_is_open_and_the_rest_of_its_list_is_known(stages: Stages) -> None:
    some, every = stages("""\
    builder("b", work(locks=[db, util.Property("lock")]), work(locks=util.Property("locks")))
    """)
    assert (claims(some, "w1"), some.open) == (["db counting 1"], True)
    assert (claims(every, "w1"), every.open) == ([], True)


def test_a_trigger_that_waits_names_the_builders_of_its_schedulers(stages: Stages) -> None:
    (stage,) = stages("""\
    builder("x"), builder("y"), builder("z")
    builder("b", steps.Trigger(schedulerNames=["one", "two"], waitForFinish=True))
    c['schedulers'] = [schedulers.Triggerable("one", builderNames=["x", "y"]),
                       schedulers.Triggerable("two", builderNames=["z", "y"])]
    """)
    assert (stage.children, stage.need, stage.open) == (("x", "y", "z", "y"), None, False)


@pytest.mark.parametrize(
    "step",
    [
        'steps.Trigger(schedulerNames=[util.Property("which"), "one"], waitForFinish=True)',
        'Choosing(schedulerNames=["one"], waitForFinish=True)',
    ],
)
def test_a_trigger_that_chooses_its_schedulers_is_open(stages: Stages, step: str) -> None:
    (stage,) = stages(f"""\
    class Choosing(steps.Trigger):
        def getSchedulersAndProperties(self):
            return []
    builder("x")
    builder("b", {step})
    c['schedulers'] = [schedulers.Triggerable("one", builderNames=["x"])]
    """)
    assert (stage.children, stage.open) == (("x",), True)


def test_that_waiting_is_rendered_does_not_hide_whom_it_is_for(stages: Stages) -> None:
    (stage,) = stages("""\
    builder("x")
    builder("b", steps.Trigger(schedulerNames=["one"], waitForFinish=util.Property("wait")))
    c['schedulers'] = [schedulers.Triggerable("one", builderNames=["x"])]
    """)
    assert (stage.children, stage.open) == (("x",), False)


@pytest.mark.parametrize(
    ("body", "is_open"),
    [
        ("return await self.acquire(())", True),
        ("return [self.addStepsAfterCurrentStep([]) for _ in 'x'][0]", True),
        ("return self.getProperty('x')", False),
    ],
)
def test_steps_of_the_users_own_are_open_if_they_claim_more(stages: Stages, body: str, is_open: bool) -> None:
    found = stages(f"""\
    class Mine(steps.BuildStep):
        async def run(self):
            {body}
    builder("b", Mine())
    """)
    assert [stage.open for stage in found] == [True] * is_open


def test_with_a_lock_of_2004_every_step_of_the_users_own_is_open(stages: Stages) -> None:
    (stage,) = stages("""\
    from buildbot.process.lock import Lock
    lock = Lock("host")
    class Mine(steps.BuildStep):
        async def run(self):
            await helper()
    builder("b", work(), Mine())
    """)
    assert (stage.number, stage.open) == (2, True)


def test_a_builder_whose_need_is_asked_for_each_request_tells_what_is_known(load: Load) -> None:
    setup = load(
        FARM
        + """\
    builder("hooked", locks=[db], nextWorker=lambda *args: None)
    builder("rendered", locks=[db, util.Property("locks")])
    builder("plain", locks=[db])
    """
    ).setup()
    told = []
    for one in setup.builders:
        locks = {str(a.lock) for a in one.planned.alternatives[1].accesses if a.lock.kind == "master"}
        told.append((one.name, one.need is None, one.known is None, locks, one.open))
    assert told == [
        ("hooked", True, False, {"db"}, False),
        ("rendered", True, False, {"db"}, True),
        ("plain", False, True, {"db"}, False),
    ]
    assert setup.builders[1].place == "master.cfg:9"


def test_L50_steps_of_locked_steps_ask_first_for_all_and_then_with_them_held(stages: Stages) -> None:
    found = stages("""\
    builder("b", util.LockedSteps([work(locks=[cpu]), work(), work(locks=[cpu])], locks=[db]), work(locks=[cpu]))
    """)
    told = [(stage.number, claims(stage, "w1"), [str(a.lock) for a in stage.held_on("w1")]) for stage in found]
    assert told == [
        (1, ["cpu on w1 counting 1", "db counting 1"], []),
        (3, ["cpu on w1 counting 1"], ["db"]),
        (4, ["cpu on w1 counting 1"], []),
    ]


def test_a_step_that_may_be_the_first_of_locked_steps_is_told_twice(stages: Stages) -> None:
    found = stages("""\
    builder("b", util.LockedSteps([work(doStepIf=lambda step: False), work(locks=[cpu])], locks=[db]))
    """)
    told = [(stage.number, claims(stage, "w2"), [str(a.lock) for a in stage.held_on("w2")]) for stage in found]
    assert told == [
        (1, ["db counting 1"], []),
        (2, ["cpu on w2 counting 1", "db counting 1"], []),
        (2, ["cpu on w2 counting 1"], ["db"]),
    ]
