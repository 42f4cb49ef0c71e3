"""Every kind of mistake, with its message: line, what is wrong, what to do. Line 3 is the first of each text."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockstep.compat.loading import load_config
from lockstep.config.errors import ConfigErrors

Mistakes = Callable[..., list[str]]

ONE_BUILDER = """\
c['workers'] = [worker.Worker("w1", "pw")]
f = util.BuildFactory()
"""


def test_syntax_error(mistakes: Mistakes) -> None:
    assert mistakes("x = (1,\ny = 2\n") == ["3: syntax error: '(' was never closed"]


def test_exception_in_user_code_names_the_users_line(mistakes: Mistakes) -> None:
    assert mistakes("def f():\n    return {}['x']\nf()\n") == ["4: KeyError: 'x'; called from master.cfg:5"]


def test_exit_is_a_mistake(mistakes: Mistakes) -> None:
    assert mistakes("raise SystemExit(3)\n") == ["3: the configuration ended the program: exit(3)"]


def test_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigErrors) as caught:
        load_config("nothing.cfg")
    assert str(caught.value) == "nothing.cfg: the configuration cannot be read: No such file or directory"


def test_no_dictionary(mistakes: Mistakes) -> None:
    expected = " the configuration defines no dictionary BuildmasterConfig; begin with: c = BuildmasterConfig = {}"
    assert mistakes("x = 1\n", prelude="") == [expected]


def test_unknown_key(mistakes: Mistakes) -> None:
    assert mistakes("c['builder'] = []\n") == ["3: c['builder']: unknown key; did you mean \"builders\"?"]


def test_unknown_keyword_of_a_step(mistakes: Mistakes) -> None:
    found = mistakes("f = util.BuildFactory()\nf.addStep(steps.ShellCommand(command='x', locs=[]))\n")
    assert found == ['4: unknown keyword "locs" of ShellCommand; did you mean "locks"?']


def test_unknown_step(mistakes: Mistakes) -> None:
    assert mistakes("steps.ShellComand()\n") == ['3: steps has no "ShellComand"; did you mean "ShellCommand"?']


def test_unknown_name_in_an_import(mistakes: Mistakes) -> None:
    found = mistakes("from buildbot.locks import MasterLok\n")
    assert found == ['3: there is no "MasterLok" in buildbot.locks; did you mean "MasterLock"?']


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("from buildbot.plugins import utill", 'there is no "utill" in buildbot.plugins; did you mean "util"?'),
        (
            "from buildbot.process.buildstep import ShellMixn",
            'there is no "ShellMixn" in buildbot.process.buildstep; did you mean "ShellMixin"?',
        ),
        (
            "from buildbot.worker.latent import States; States.IDLE",
            "buildbot.worker.latent.States is not supported yet",
        ),
    ],
)
def test_names_in_imports(mistakes: Mistakes, line: str, expected: str) -> None:
    assert mistakes(line + "\n") == [f"3: {expected}"]


@pytest.mark.skipif(importlib.util.find_spec("twisted") is not None, reason="Twisted is installed here")
def test_twisted_is_refused_where_it_is_used(mistakes: Mistakes) -> None:
    text = """\
    from twisted.internet import defer, reactor
    from twisted.python import log, failure
    import twisted.internet.threads
    from twisted.logger import Logger
    class Mine(steps.BuildStep):
        @defer.inlineCallbacks
        def run(self):
            yield None
    c['tittle'] = 1
    """
    hint = "Lockstep runs without Twisted: use `async def` and `await`, and Python's own modules"
    assert mistakes(text) == [
        f"8: twisted.internet.defer.inlineCallbacks is not supported yet; {hint}",
        "11: c['tittle']: unknown key; did you mean \"title\"?",
    ]
    assert importlib.util.find_spec("twisted") is None
    assert "twisted" not in sys.modules


def test_a_generator_for_run_is_refused(mistakes: Mistakes) -> None:
    text = """\
    class Mine(steps.BuildStep):
        def run(self):
            yield None
    Mine()
    """
    assert mistakes(text) == [
        "6: run() of Mine is a generator (inlineCallbacks), which is not supported yet; "
        "write `async def run`, with await in place of yield"
    ]


def test_unknown_module(mistakes: Mistakes) -> None:
    found = mistakes("import buildbot.lokcs\n")
    assert found == ['3: ModuleNotFoundError: there is no module buildbot.lokcs; did you mean "buildbot.locks"?']


def test_what_is_not_there_yet_is_refused_by_name_when_it_is_used(mistakes: Mistakes) -> None:
    text = """\
    from buildbot.steps.cmake import CMake
    from buildbot.reporters.base import ReporterBase
    from buildbot.plugins import reporters, util
    CMake()
    class Mine(ReporterBase): pass
    c['services'] = [reporters.IRC(host="x")]
    c['www'] = {'port': 8010, 'auth': util.UserPasswordAuth({})}
    """
    assert mistakes(text) == [
        "6: buildbot.steps.cmake.CMake is not supported yet",
        "7: buildbot.reporters.base.ReporterBase is not supported yet",
        "8: reporters.IRC is not supported yet; builds are seen on the pages and through the API; leave it out",
        "9: util.UserPasswordAuth is not supported yet",
    ]


def test_duplicate_names(mistakes: Mistakes) -> None:
    text = """\
    c['workers'] = [worker.Worker("w", "pw"),
                    worker.Worker("w", "pw")]
    f = util.BuildFactory()
    c['builders'] = [
        util.BuilderConfig(name="b", workername="w", factory=f),
        {'name': 'b', 'workername': 'w', 'factory': f}]
    """
    assert mistakes(text) == [
        '4: two workers have the name "w"; the first is at master.cfg:3',
        '8: two builders have the name "b"; the first is at master.cfg:7',
    ]


def test_unknown_worker_of_a_builder(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + "c['builders'] = [util.BuilderConfig(name='b', workernames=['w2'], factory=f)]\n"
    assert mistakes(text) == ['5: builder "b": there is no worker "w2"; workers are: w1']


def test_unknown_keyword_of_a_builder_dictionary(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + "c['builders'] = [\n {'name': 'b', 'slavname': 'w1', 'factory': f}]\n"
    assert mistakes(text) == [
        '6: unknown keyword "slavname" of builder "b"; did you mean "slavename"?',
    ]


def test_unknown_builder_of_a_scheduler(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + (
        "c['builders'] = [util.BuilderConfig(name='full', workername='w1', factory=f)]\n"
        "from lockstep.config.errors import Place\n"
        "class S:\n    name = 'nightly'; builderNames = ['ful']; place = Place(__file__, 9)\n"
        "c['schedulers'] = [S()]\n"
    )
    assert mistakes(text) == ['9: scheduler "nightly": there is no builder "ful"; did you mean "full"?']


def test_L04_wrong_locks(mistakes: Mistakes) -> None:
    text = """\
    util.MasterLock("")
    util.MasterLock("a", maxCount=-1)
    util.WorkerLock("b", maxCountForWorker={'w': True})
    lock = util.MasterLock("c", maxCount=3, maxCout=3)
    lock.access('exclusive', 2)
    lock.access('counting', True)
    lock.access('shared')
    """
    assert mistakes(text) == [
        "3: MasterLock: the name must be a text that is not empty, not ''",
        '4: MasterLock "a": maxCount must be a whole number, 0 or more, not -1',
        "5: WorkerLock \"b\": maxCountForWorker['w'] must be a whole number, 0 or more, not True",
        '6: unknown keyword "maxCout" of MasterLock; did you mean "maxCount"?',
        '7: lock "c": exclusive access has the count 1, not 2; leave the count out: exclusive takes the whole lock',
        '8: lock "c": count must be a whole number, 0 or more, not True',
        '9: lock "c": unknown mode \'shared\' of access; modes are "counting" and "exclusive"',
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("util.MasterLock('a', maxCount=2**40 + 1)", 'MasterLock "a": maxCount must be at most 1099511627776'),
        ("util.MasterLock('a', maxOvertakes=1001)", 'MasterLock "a": maxOvertakes must be at most 1000, not 1001'),
        (
            "util.MasterLock('a', lease=0.1)",
            'MasterLock "a": lease must be a time from 1 to 86400 s, or None',
        ),
        ("util.MasterLock('a', lease='2d')", 'MasterLock "a": lease must be a time from 1 to 86400 s'),
        ("util.WorkerLock('a', lease=True)", 'WorkerLock "a": lease must be a time'),
        ("worker.Worker('a', 'b', maxOvertakes=-1)", 'Worker "a": maxOvertakes must be a whole number, 0 or more'),
        ("worker.Worker('a', 'b', lease='long')", 'Worker "a": lease must be a time'),
        ("worker.Worker('a', 'b', lease=None, assumeDeadAfter=9)", 'Worker "a": lease=None waits for ever'),
        (
            "util.MasterLock('a').access('exclusive', keepAfterFailure='soon')",
            'lock "a": keepAfterFailure must be a time',
        ),
        ("util.MasterLock('a').access('exclusive', keepAfterFailure=-1)", 'lock "a": keepAfterFailure must be a time'),
        ("util.MasterLock('a').access('counting', 10**30)", 'lock "a": count must be at most 1099511627776'),
        ("util.WorkerLock('a\\0b')", "WorkerLock: the name must have printable characters only"),
        ("util.MasterLock('a' * 201)", "MasterLock: the name must have at most 200 characters, not 201"),
        ("worker.Worker('a\\ud800', 'pw')", "Worker: the name must have printable characters only"),
        ("schedulers.Triggerable('a\\nb', ['b'])", "Triggerable: the name must have printable characters only"),
        ("util.BuilderConfig('a\\0', ['w'])", "a builder: the name must have printable characters only"),
        ("worker.Worker('w', 'pw', max_builds=10**30)", 'Worker "w": max_builds must be a whole number from 1 to'),
        ("worker.Worker('w', 'pw', properties={'x': [2**63]})", 'Worker "w": properties: the value of "x" must be'),
        (
            "worker.Worker('w', 'pw', properties={'x': float('nan')})",
            'Worker "w": properties: the value of "x" must be',
        ),
        ("schedulers.AnyBranchScheduler('s', builderNames=['b'], priority=2**31)", "scheduler 's': priority must be"),
    ],
)
def test_numbers_and_names_that_no_store_takes(mistakes: Mistakes, line: str, expected: str) -> None:
    found = mistakes(f"{line}\n")
    assert any(each.startswith(f"3: {expected}") for each in found), found


def test_L05_a_count_that_a_master_lock_can_never_serve(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + (
        "db = util.MasterLock('db', maxCount=2)\n"
        "b = util.BuilderConfig(name='b', workername='w1', factory=f, locks=[db.access('counting', 3)])\n"
        "c['builders'] = [b]\n"
    )
    expected = (
        'builder "b" can never start: it wants 3 of lock "db", whose limit is 2; raise maxCount or lower the count'
    )
    assert mistakes(text) == [f"6: {expected}"]


def test_L05_a_count_of_a_step_is_found_at_the_step(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + (
        "db = util.MasterLock('db', maxCount=2)\n"
        "f.addStep(steps.ShellCommand(command='x', locks=[db.access('counting', 3)]))\n"
        "c['builders'] = [util.BuilderConfig(name='b', workername='w1', factory=f)]\n"
    )
    expected = (
        'builder "b" can never start: it wants 3 of lock "db", whose limit is 2; raise maxCount or lower the count'
    )
    assert mistakes(text) == [f"6: {expected}"]


def test_L05_a_count_is_found_at_the_step_that_claims_so_much(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + (
        "db = util.MasterLock('db', maxCount=2)\n"
        "f.addStep(steps.ShellCommand(command='x', locks=[db.access('counting')]))\n"
        "f.addStep(steps.ShellCommand(command='x', locks=[db.access('counting', 3)]))\n"
        "c['builders'] = [util.BuilderConfig(name='b', workername='w1', factory=f)]\n"
    )
    assert [found.partition(":")[0] for found in mistakes(text)] == ["7"]


def test_L05_a_worker_lock_that_no_worker_can_serve(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + (
        "cpu = util.WorkerLock('cpu', maxCount=4, maxCountForWorker={'w1': 0})\n"
        "c['builders'] = [util.BuilderConfig(name='b', workername='w1', factory=f, locks=[cpu])]\n"
    )
    expected = 'builder "b" can never start: it wants 1 of lock "cpu on w1", whose limit is 0'
    assert mistakes(text) == [f"6: {expected}; raise maxCount or lower the count"]


def test_L12_one_lock_twice_and_once_exclusive(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + (
        "db = util.MasterLock('db', maxCount=2)\n"
        "twice = [db, db.access('exclusive')]; c['builders'] = [\n"
        "    util.BuilderConfig(name='b', workername='w1', factory=f, locks=twice)]\n"
    )
    expected = 'locks of builder "b": lock "db" is there twice, and once exclusive'
    assert mistakes(text) == [f"7: {expected}; exclusive takes the whole lock: name it once"]


@pytest.mark.parametrize(
    ("level", "who", "line"),
    [
        ("f.locks = [db]", "the factory", 4),
        ("b.locks = [db]", "the build", 7),
        ("w.locks = [db]", 'worker "w1"', 3),
    ],
)
def test_L25_lock_on_build_and_step(mistakes: Mistakes, level: str, who: str, line: int) -> None:
    text = f"""\
    w = worker.Worker("w1", "pw")
    f = util.BuildFactory()
    db = util.MasterLock('db')
    f.addStep(steps.ShellCommand(command='x', name='test', locks=[db.access('exclusive')]))
    b = util.BuilderConfig(name='b', workername='w1', factory=f)
    {level}
    c['workers'] = [w]; c['builders'] = [b]
    """
    expected = f'6: step "test" of builder "b" claims lock "db", which {who} holds (master.cfg:{line})'
    assert mistakes(text) == [f"{expected}; the step would wait for its own build: claim the lock in one of the two"]


def test_what_is_raised_must_be_shared_in_plain_sight(mistakes: Mistakes) -> None:
    text = """\
    db, rendered = util.MasterLock('db'), util.renderer(lambda props: [])
    f = util.BuildFactory([steps.ShellCommand(command='x', name='test', locks=[db.access('exclusive', raises=True)])])
    c['workers'] = [worker.Worker("w1", "pw")]
    c['builders'] = [util.BuilderConfig(name=name, workername='w1', factory=f, locks=locks)
                     for name, locks in (('none', []), ('late', rendered), ('good', [db]))]
    """
    told = "raises lock \"db\", which its build does not share; put it into locks= of the builder as access('counting')"
    found = mistakes(text)
    assert [
        each.startswith(f'4: step "test" of builder "{name}" {told}')
        for each, name in zip(found, ("none", "late"), strict=True)
    ] == [True, True], found


def test_a_build_raises_nothing(mistakes: Mistakes) -> None:
    text = """\
    db = util.MasterLock('db')
    whole = db.access('exclusive', raises=True)
    c['workers'] = [worker.Worker("w1", "pw"), worker.Worker("w2", "pw", locks=[whole])]
    c['builders'] = [util.BuilderConfig(name='b', workername='w1', factory=util.BuildFactory(locks=[whole])),
                     util.BuilderConfig(name='c', workername='w2', factory=util.BuildFactory()),
                     util.BuilderConfig(name='d', workername='w1', factory=util.BuildFactory(), locks=[whole])]
    """
    assert mistakes(text) == [
        '4: lock "db": raises=True is for a step whose build shares the lock, not for a build; leave it out in locks='
        " of builders, factories and workers"
    ]


def test_what_is_no_lock(mistakes: Mistakes) -> None:
    text = ONE_BUILDER + "c['builders'] = [util.BuilderConfig(name='b', workername='w1', factory=f, locks=['db'])]\n"
    expected = (
        "5: locks of builder \"b\" holds 'db', which is no lock; put locks or lock.access(mode, count) into a list"
    )
    assert mistakes(text) == [expected]


def test_interlocks_of_0_6_name_the_dependent_scheduler(mistakes: Mistakes) -> None:
    expected = "to wait for another's success use schedulers.Dependent, to keep things apart a lock"
    assert mistakes("c['interlocks'] = [('do-test', ['full'], ['quick'])]\n") == [
        f"3: c['interlocks']: interlocks of 0.6 were two things in one and are not supported; {expected}"
    ]


def test_keys_whose_feature_is_not_there(mistakes: Mistakes) -> None:
    assert mistakes("c['multiMaster'] = True\nc['revlink'] = lambda *a: None\nc['db'] = {'db_url': 'mysql://x'}\n") == [
        "3: c['multiMaster']: several servers on one store are not supported yet; leave it out",
        "4: c['revlink']: this is not supported yet; leave it out",
        "5: c['db']: a database of the kind \"mysql\" is not supported; "
        "use sqlite:///lockstep.sqlite, or postgresql://USER:PASSWORD@HOST/NAME",
    ]


def test_users_own_checks_count(mistakes: Mistakes) -> None:
    assert mistakes("from buildbot import config\nconfig.error('no boxes')\nconfig.error('no bags')\n") == [
        "4: no boxes",
        "5: no bags",
    ]


def test_a_password_is_in_no_message(mistakes: Mistakes) -> None:
    found = mistakes("c['workers'] = [('w', 'hunter2'), worker.Worker('w', 'hunter2', max_builds='hunter2x')]\n")
    assert not any("'hunter2'" in one for one in found)


def test_all_at_once(mistakes: Mistakes) -> None:
    text = """\
    c['workers'] = [worker.Worker("w", "pw", max_build=1)]
    f = util.BuildFactory([steps.ShelCommand(command="x")])
    c['builders'] = [util.BuilderConfig(name="b", workername="v", factory=f)]
    c['tittle'] = "x"
    """
    assert [int(one.split(":")[0]) for one in mistakes(text)] == [3, 4, 5, 6]


WRONG_AND_RAISING = """\
lock = util.WorkerLock("wl", maxCountForWorker={"w1": 2})
c['workers'] = [worker.Worker("w1", "pw"), worker.Worker("w1", "pw")]
f = util.BuildFactory()
c['builders'] = [util.BuilderConfig(name="b", workernames=["w2"], factory=f)]
c['schedulers'] = [schedulers.Triggerable(name="t", builderNames=["x"])]
c['tittle'] = "x"
"""


def test_what_stood_before_the_line_that_raised_is_checked(mistakes: Mistakes) -> None:
    assert mistakes(WRONG_AND_RAISING + "{}['oops']\n") == [
        '4: two workers have the name "w1"; the first is at master.cfg:4',
        '6: builder "b": there is no worker "w2"; workers are: w1',
        '7: scheduler "t": there is no builder "x"; builders are: b',
        "8: c['tittle']: unknown key; did you mean \"title\"?",
        "9: KeyError: 'oops'",
    ]


@pytest.mark.parametrize(
    "rest",
    [
        "c['workers'].append(make())\nc['builders'].append(1)",
        "for name in ['w2', 'x']:\n    {}['oops']\n    c['workers'].append(1); c['builders'].append(1)",
        "{}['oops']\nadd()",
        "{}['oops']\nexec(open('more.cfg').read())",
        "{}['oops']\nimport beside; beside.more(c)",
        "{}['oops']\nall_workers.append(1); c['builders'] += []",
    ],
)
def test_a_list_that_might_have_grown_proves_nothing_missing(mistakes: Mistakes, rest: str) -> None:
    functions = "def add():\n    c['workers'].append(1); c['builders'].append(1)\nall_workers = c['workers']\n"
    found = mistakes(WRONG_AND_RAISING + functions + rest + "\n")
    assert [one for one in found if "there is no" in one] == []
    assert '4: two workers have the name "w1"; the first is at master.cfg:4' in found


def test_what_was_not_reached_is_not_said_to_be_missing(load: Callable[..., object]) -> None:
    text = """\
    lock = util.WorkerLock("wl", maxCountForWorker={"w1": 2})
    f = util.BuildFactory()
    c['builders'] = [util.BuilderConfig(name="b", workernames=["w2"], factory=f, locks=[lock])]
    {}['oops']
    c['workers'] = [worker.Worker("w1", "pw"), worker.Worker("w2", "pw")]
    """
    with pytest.raises(ConfigErrors) as caught:
        load(text)
    assert [one.text for one in caught.value.mistakes] == ["KeyError: 'oops'"]
    assert caught.value.warnings == ()


def test_what_is_refused_is_not_said_to_be_missing(mistakes: Mistakes) -> None:
    text = """\
    c['workers'] = [worker.Worker("w1", "pw"), worker.DockerLatentWorker("w2", "pw")]
    f = util.BuildFactory()
    c['builders'] = [util.BuilderConfig(name="b", workernames=["w2"], factory=f)]
    """
    assert [one.split(";")[0] for one in mistakes(text)] == ["3: worker.DockerLatentWorker is not supported yet"]


def test_a_misspelt_keyword_is_not_reported_as_missing_too(mistakes: Mistakes) -> None:
    text = """\
    steps.ShellCommand(comand=["make"])
    steps.Git(repurl="x")
    steps.SetProperty(property="x", valeu="y")
    """
    assert mistakes(text) == [
        '3: unknown keyword "comand" of ShellCommand; did you mean "command"?',
        '4: unknown keyword "repurl" of Git; did you mean "repourl"?',
        '5: unknown keyword "valeu" of SetProperty; did you mean "value"?',
    ]


def test_L05_L12_what_needs_no_rendering_in_a_list_that_does_is_checked(mistakes: Mistakes) -> None:
    found = mistakes(f"""\
db = util.MasterLock("db", maxCount=2)
{ONE_BUILDER}
for name, locks in ("twice", [db, db.access('exclusive')]), ("many", [db.access('counting', 3)]):
    c.setdefault('builders', []).append(
        util.BuilderConfig(name=name, workernames=["w1"], factory=f, locks=[*locks, util.Property("locks")]))
""")
    assert found == [
        '9: locks of builder "twice": lock "db" is there twice, and once exclusive; exclusive takes the whole lock:'
        " name it once",
        '9: builder "many" can never start: it wants 3 of lock "db", whose limit is 2; raise maxCount or lower the'
        " count",
    ]
