"""Mistakes in what a configuration says of waiting for locks, and of steps that hold them together."""

from collections.abc import Callable

import pytest

Mistakes = Callable[..., list[str]]

ONE_BUILDER = """\
c['workers'] = [worker.Worker("w1", "pw")]
f = util.BuildFactory()
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "util.MasterLock('a').access('exclusive', waitTimeout='soon')",
            "lock \"a\": waitTimeout must be a time above 0 and at most 366 days, not 'soon'; write it as",
        ),
        (
            "util.MasterLock('a').access('exclusive', waitTimeout=0)",
            'lock "a": waitTimeout must be a time above 0 and at most 366 days, not 0; skipIfBusy=True',
        ),
        (
            "util.MasterLock('a').access('exclusive', waitTimeout=10 ** 400)",
            'lock "a": waitTimeout must be a time above 0 and at most 366 days, not 1000',
        ),
        (
            "util.MasterLock('a').access('exclusive', keepAfterFailure=10 ** 400)",
            'lock "a": keepAfterFailure must be a time above 0 and at most 366 days, not 1000',
        ),
        ("util.MasterLock('a', lease=10 ** 400)", 'MasterLock "a": lease'),
        (
            "util.MasterLock('a').access('exclusive', waitTimeout=9, onTimeout='skiped')",
            "lock \"a\": onTimeout must be 'failure', 'warnings' or 'skipped', not 'skiped'; did you mean \"skipped\"?",
        ),
        (
            "util.MasterLock('a').access('exclusive', waitTimeout=9, onTimeout=util.SUCCESS)",
            'lock "a": onTimeout must be',
        ),
        ("util.MasterLock('a').access('exclusive', raises=1)", 'lock "a": raises must be True or False, not 1'),
        ("util.MasterLock('a').access('counting', raises=True)", 'lock "a": raises=True is for access('),
        ("util.MasterLock('a').access('exclusive', onTimeout='skipped')", 'lock "a": onTimeout says nothing without'),
        ("util.MasterLock('a').access('exclusive', skipIfBusy=1)", 'lock "a": skipIfBusy must be True or False'),
        (
            "util.MasterLock('a').access('exclusive', waitTimout='9s')",
            'unknown keyword "waitTimout" of access(); did you mean "waitTimeout"?',
        ),
        ("util.MasterLock('a', maxWaiting=-1)", 'MasterLock "a": maxWaiting must be a whole number from 0 to 1000000'),
        ("util.WorkerLock('a', maxWaiting=True)", 'WorkerLock "a": maxWaiting must be a whole number'),
        (
            "util.MasterLock('a', maxWaiting=1, whenFull='cancelOlder')",
            "MasterLock \"a\": whenFull must be 'cancelOldest' or 'cancelNewest', not 'cancelOlder'; did you mean",
        ),
        ("util.MasterLock('a', whenFull='cancelOldest')", 'MasterLock "a": whenFull says nothing without maxWaiting'),
        (
            "util.MasterLock('a', rate=6)",
            'MasterLock "a": rate must be a number of starts in a time, not 6; write',
        ),
        ("util.MasterLock('a', rate='6')", 'MasterLock "a": rate must be a number of starts in a time, not'),
        ("util.MasterLock('a', rate='6/fortnight')", "MasterLock \"a\": rate='6/fortnight' names no time; write it as"),
        ("util.MasterLock('a', rate='6/0s')", "MasterLock \"a\": rate='6/0s' names no time"),
        (
            "util.MasterLock('a', rate='0/hour')",
            'MasterLock "a": rate must allow 1 to 1000 starts, not 0; maxCount=0',
        ),
        (
            "util.WorkerLock('a', rate='5000/day')",
            'WorkerLock "a": rate must allow 1 to 1000 starts, not 5000; say it',
        ),
        (
            "util.MasterLock('a', order='fif')",
            "MasterLock \"a\": order must be 'newest' or 'fifo' or 'priority', not 'fif'; did you mean \"fifo\"?",
        ),
    ],
)
def test_rules_for_waiting_that_mean_nothing(mistakes: Mistakes, line: str, expected: str) -> None:
    found = mistakes(f"{line}\n")
    assert any(each.startswith(f"3: {expected}") for each in found), found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("util.LockedSteps([], locks=[db])", "LockedSteps needs a list of steps, not []"),
        ("util.LockedSteps(one, locks=[db])", "LockedSteps needs a list of steps, not "),
        ("util.LockedSteps([one])", "LockedSteps needs locks=; without locks, put the steps into the factory"),
        ("util.LockedSteps([one], lock=[db])", 'unknown keyword "lock" of LockedSteps; did you mean "locks"?'),
        ("util.LockedSteps([one, db], locks=[db])", "MasterLock('db', maxCount=2) is no step"),
        (
            "util.LockedSteps([util.LockedSteps([one], locks=[db])], locks=[db])",
            "LockedSteps cannot hold LockedSteps; name the locks of both in one, or put one after the other",
        ),
        ("util.LockedStep([one], locks=[db])", 'util has no "LockedStep"'),
    ],
)
def test_what_locked_steps_cannot_be(mistakes: Mistakes, line: str, expected: str) -> None:
    text = "db = util.MasterLock('db', maxCount=2)\none = steps.ShellCommand(command='x', name='one')\n"
    found = mistakes(f"{text}{line}\n")
    assert any(each.startswith(f"5: {expected}") for each in found), found


def test_L05_L25_locks_of_locked_steps_are_looked_at_like_those_of_steps(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + (
        "db, x = util.MasterLock('db', maxCount=2), util.MasterLock('x')\n"
        "def one(*locks): return steps.ShellCommand(command='x', name='one', locks=locks)\n"
        "def b(name, group, **more): c.setdefault('builders', []).append(util.BuilderConfig(\n"
        "    name=name, workername='w1', factory=util.BuildFactory([group]), **more))\n"
        "b('many', util.LockedSteps([one()], locks=[db.access('counting', 3)]))\n"
        "b('inner', util.LockedSteps([one(), one(db)], locks=[db]))\n"
        "b('outer', util.LockedSteps([one()], locks=[x]), locks=[x])\n"
        "b('bad', util.LockedSteps([one()], locks=['x']))\n"
    )
    assert mistakes(text) == [
        '6: step "one" of builder "inner" claims lock "db", which its LockedSteps hold (master.cfg:10); the step would'
        " wait for itself: claim the lock in one of the two",
        '9: builder "many" can never start: it wants 3 of lock "db", whose limit is 2; raise maxCount or lower the'
        " count",
        '11: step "LockedSteps" of builder "outer" claims lock "x", which the build holds (master.cfg:7); the step'
        " would wait for its own build: claim the lock in one of the two",
        "12: locks of step \"LockedSteps\" holds 'x', which is no lock; put locks or lock.access(mode, count) into a"
        " list",
    ]
