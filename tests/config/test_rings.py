"""What is said of builds that could wait for each other for ever (L50), with the places of a user's file."""

from collections.abc import Callable

import pytest

from lockstep.config.config import Config

Load = Callable[..., Config]

FARM = """\
    c['workers'] = [worker.Worker("w1", "pw", max_builds=1), worker.Worker("w2", "pw", max_builds=1)]
    a, b = util.MasterLock("a", maxCount=2), util.MasterLock("b")
    work = lambda *locks: steps.ShellCommand(command="make", name="work", locks=locks)
    wait = lambda *names: steps.Trigger(schedulerNames=names, waitForFinish=True, name="wait")
    def builder(name, own, *its, on=("w1", "w2"), **more):
        c.setdefault('builders', []).append(util.BuilderConfig(
            name=name, workernames=on, factory=util.BuildFactory(its), locks=own, **more))
    c['schedulers'] = [schedulers.Triggerable(name, builderNames=[name]) for name in NAMES]
"""
HINT = "Lockstep withholds grants at run time so that it does not; locks that are claimed in one list cannot"


@pytest.fixture
def said(load: Load) -> Callable[..., list[str]]:
    """The warnings of a small farm; the schedulers named are there."""

    def loader(text: str, *names: str) -> list[str]:
        config = load(f"    NAMES = {names!r}\n" + FARM + text)
        assert all(one.hint == HINT for one in config.warnings)
        return [f"{one.place.line}: {one.text}" for one in config.warnings]

    return loader


Said = Callable[..., list[str]]


def test_L50_each_builder_says_what_it_holds_while_it_asks(said: Said) -> None:
    found = said("""\
    builder("x", [a.access('exclusive')], work(b))
    builder("y", [b], steps.ShellCommand(command="make", name="link", locks=[a]))
    """)
    assert found == [
        '6: could deadlock: builder "x" holds lock "a" exclusively (master.cfg:9, from master.cfg:12) while its step'
        ' "work" (master.cfg:6) asks for lock "b"; builder "y" holds lock "b" (master.cfg:9, from master.cfg:13) while'
        ' its step "link" (master.cfg:13) asks for lock "a"'
    ]


def test_a_step_that_a_helper_makes_is_told_with_the_line_that_calls_it(said: Said) -> None:
    found = said("""\
    first = work(b)
    second = work(a)
    builder("x", [a.access('exclusive')], first)
    builder("y", [b], second)
    """)
    assert found == [
        '6: could deadlock: builder "x" holds lock "a" exclusively (master.cfg:9, from master.cfg:14) while its step'
        ' "work" (master.cfg:6, from master.cfg:12) asks for lock "b"; builder "y" holds lock "b" (master.cfg:9, from'
        ' master.cfg:15) while its step "work" (master.cfg:6, from master.cfg:13) asks for lock "a"'
    ]


def test_one_order_is_nothing_to_speak_of(said: Said) -> None:
    assert not said("""\
    builder("x", [a], work(b))
    builder("y", [a], work(b))
    """)


def test_a_builder_that_waits_for_another_is_told_with_it(said: Said) -> None:
    found = said(
        """\
    builder("p", [], wait("q"), on=["w1"])
    builder("q", [], on=["w2"])
    builder("r", [], wait("s"), on=["w2"])
    builder("s", [], on=["w1"])
    """,
        *"qs",
    )
    assert found == [
        '9: could deadlock: builder "p" holds a slot of worker "w1" (master.cfg:9, from master.cfg:12) while its'
        ' step "wait" (master.cfg:7) waits for builder "q" (master.cfg:9, from master.cfg:13), which asks for a slot of'
        ' worker "w2"; builder "r" holds a slot of worker "w2" (master.cfg:9, from master.cfg:14) while its step "wait"'
        ' (master.cfg:7) waits for builder "s" (master.cfg:9, from master.cfg:15), which asks for a slot of worker "w1"'
    ]


def test_builds_of_one_builder_that_block_each_other(said: Said) -> None:
    found = said(
        """\
    builder("p", [a], wait("q"))
    builder("q", [a.access('exclusive')])
    """,
        "q",
    )
    assert found == [
        '9: could deadlock: builder "p" holds lock "a" in part (master.cfg:9, from master.cfg:12) while its step "wait"'
        ' (master.cfg:7) waits for builder "q" (master.cfg:9, from master.cfg:13), which asks for lock "a"'
        " exclusively; two such builds block each other"
    ]


def test_a_build_that_raises_what_it_shares(said: Said) -> None:
    assert said("""\
    builder("p", [a], steps.ShellCommand(command="x", name="raise", locks=[a.access('exclusive', raises=True)]))
    """) == [
        '12: could deadlock: builder "p" holds lock "a" in part (master.cfg:9, from master.cfg:12) while its step'
        ' "raise" (master.cfg:12) asks for lock "a" exclusively; two such builds block each other'
    ]


def test_a_step_that_holds_while_it_waits_and_a_build_that_is_waited_for(said: Said) -> None:
    found = said(
        """\
    builder("p", [], steps.Trigger(schedulerNames=["q"], waitForFinish=True, name="wait", locks=[b]))
    builder("q", [a.access('exclusive')], work(b))
    builder("r", [b], work(a))
    """,
        "q",
    )
    assert (
        '9: could deadlock: step "wait" of builder "p" (or "r") holds lock "b" (master.cfg:12) while it waits for'
        ' builder "q"'
        ' (master.cfg:9, from master.cfg:13), which asks for lock "a" exclusively; builder "q" holds lock "a"'
        ' exclusively (master.cfg:9, from master.cfg:13) while its step "work" (master.cfg:6) asks for lock "b"'
    ) in found


def test_builders_that_do_the_same_are_told_together(said: Said) -> None:
    (found,) = said("""\
    for n in range(6):
        builder(f"x{n}", [a.access('exclusive')], work(b))
    builder("y", [b], work(a))
    """)
    assert 'builder "x0" (or "x1", "x2", "x3" and 2 more) holds lock "a" exclusively (master.cfg:9, from' in found


def test_a_builder_of_which_only_a_step_holds_something_is_found_by_its_own_line(said: Said) -> None:
    (found,) = said(
        """\
    hold = lambda *names: steps.Trigger(schedulerNames=names, waitForFinish=True, name="hold", locks=[b])
    builder("p", [], hold("q"))
    builder("q", [a.access('exclusive')], work(b))
    """,
        "q",
    )
    assert 'step "hold" of builder "p" (master.cfg:13) holds lock "b" (master.cfg:12) while it waits for' in found


def test_the_same_on_every_worker_is_told_once(said: Said) -> None:
    (found,) = said("""\
    cpu, disk = util.WorkerLock("cpu"), util.WorkerLock("disk")
    for w in c['workers']:
        w.max_builds = None
    builder("x", [cpu], work(disk))
    builder("y", [disk], work(cpu))
    """)
    assert 'lock "cpu on w1"' in found
    assert found.endswith("(1 more like it, with the locks of other workers)")


def test_what_is_known_only_at_run_time_is_noted_where_a_lock_is_held_meanwhile(load: Load) -> None:
    config = load(
        "    NAMES = ['r']\n"
        + FARM
        + """\
    work = lambda **more: steps.ShellCommand(command="make", name="work", locks=util.Property("locks"), **more)
    builder("x", [a], work())
    builder("y", [], work())
    builder("z", [util.Property("more")], steps.Trigger(schedulerNames=["r"], waitForFinish=True))
    builder("v", [util.Property("more")])
    builder("r", [])
    """
    )
    hint = "builds that wait for each other there are found when they do"
    assert [str(one).partition("master.cfg:")[2] for one in config.notes] == [
        f'12: what step "work" of builder "x" claims or waits for is known only at run time; {hint}',
        f'9: locks of builder "z" are known only at run time; {hint}',
    ]
    assert not config.warnings


def test_more_than_can_be_looked_at_is_said(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "    NAMES = []\n" + FARM.replace("maxCount=2", "") + "    builder('x', [b], work(a))\n"
    text += "    builder('y', [a], work(b))\n"
    monkeypatch.setattr("lockstep.core.deadlock.MAX_CYCLES", 1)
    assert "could deadlock: more cycles of locks than are told here" not in [one.text for one in load(text).warnings]
    text += "    d = util.MasterLock('d')\n    builder('u', [a], work(d))\n    builder('v', [d], work(a))\n"
    first, more = load(text).warnings
    assert (first.place.line, more.text) == (6, "could deadlock: more cycles of locks than are told here")
    monkeypatch.setattr("lockstep.core.deadlock_waits.MAX_DEADLOCK_WAITS", 1)
    assert [one.text for one in load(text).warnings] == ["could deadlock: too many ways to wait to look at"]


def test_L50_locked_steps_hold_while_their_steps_ask(said: Said) -> None:
    found = said("""\
    builder("x", [], util.LockedSteps([work(), work(b)], locks=[a.access('exclusive')]))
    builder("y", [b], steps.ShellCommand(command="make", name="link", locks=[a]))
    """)
    assert found == [
        '6: could deadlock: builder "x" holds lock "a" exclusively (master.cfg:12) while its step "work" (master.cfg:6)'
        ' asks for lock "b"; builder "y" holds lock "b" (master.cfg:9, from master.cfg:13) while its step "link"'
        ' (master.cfg:13) asks for lock "a"'
    ]


def test_locks_that_locked_steps_claim_at_once_are_no_ring(said: Said) -> None:
    assert not said("""\
    builder("x", [], util.LockedSteps([work(b), work()], locks=[a.access('exclusive')]))
    builder("y", [], util.LockedSteps([work(a)], locks=[b]))
    """)
