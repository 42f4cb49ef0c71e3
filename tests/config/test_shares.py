"""What projects have by weight in a configuration: what the core is told, and every mistake in its place."""

from collections.abc import Callable

from lockstep.config.config import Config
from lockstep.core.values import ShareRule

Load = Callable[..., Config]
Mistakes = Callable[..., list[str]]

FARM = """\
db = util.MasterLock('db', maxCount=4)
cpu = util.WorkerLock('cpu', maxCount=2)
boards = util.ResourcePool('boards', ['one', 'two'])
c['workers'] = [worker.Worker('w1', 'pw'), worker.Worker('w2', 'pw')]
def b(name, **more): return util.BuilderConfig(
    name=name, workernames=['w1', 'w2'], factory=util.BuildFactory([steps.ShellCommand(command='x')]), **more)
c['builders'] = [b('app', project='apps', locks=[db]), b('fw', project='firmware', locks=[boards]), b('doc')]
"""
"""Nine lines with the prelude's."""

NUMBER = "must be a whole number from 1 to 1000"
LEFT_OUT = "who has no share is left out: its builds are among '*'"
NOTHING = "nothing is shared; give locks=[...], workers=[...] or both"
TOLD = [
    '11: no builder is of the project "firmwear"; did you mean "firmware"?',
    f'12: the weight of "apps" {NUMBER}, not 0; {LEFT_OUT}',
    f'12: the weight of "firmware" {NUMBER}, not True; {LEFT_OUT}',
    '12: there is no worker "w3"',
    "13: weights must be a dictionary of projects and numbers, not 3; write Shares({'firmware': 3, 'apps': 1}, ...)",
    "13: WorkerLock('cpu', maxCount=2).access('counting', 1) is no lock and no pool; "
    "name the lock itself, not an access: locks=[boards]",
    "14: locks must be a list, not MasterLock('db', maxCount=4); write locks=[...], also for one",
    '15: unknown keyword "lock" of Shares; did you mean "locks"?',
    f"16: {NOTHING}",
]


def test_the_core_is_told_what_is_shared_and_by_which_weights(load: Load) -> None:
    config = load(
        FARM
        + "c['shares'] = [util.Shares({'firmware': 3, 'apps': 1}, locks=[db, cpu, boards]),\n"
        + "               util.Shares({'': 2, '*': 5}, workers=('w2',))]\n"
    )
    one, other = (share.name for share in config.setup().shares)
    assert one != other
    assert config.setup().shares == (
        ShareRule(
            one,
            (("*", 1), ("apps", 1), ("firmware", 3)),
            (("master", "db"), ("worker", "cpu"), ("pool", "boards")),
        ),
        ShareRule(other, (("", 2), ("*", 5)), (), ("w2",)),
    )


def test_every_mistake_has_its_place_and_says_what_to_do(mistakes: Mistakes) -> None:
    found = mistakes(
        FARM
        + "c['shares'] = [\n"
        + "    util.Shares({'firmwear': 1}, locks=[db]),\n"
        + "    util.Shares({'apps': 0, 'firmware': True}, workers=['w3']),\n"
        + "    util.Shares(3, locks=[cpu.access('counting')]),\n"
        + "    util.Shares({'': 1}, locks=db),\n"
        + "    util.Shares({'': 1}, lock=[db]),\n"
        + "    util.Shares({'': 1}),\n"
        + "]\n"
    )
    assert [one.replace("Shares: ", "") for one in found] == TOLD


def test_a_worker_is_named_and_has_a_limit(load: Load, mistakes: Mistakes) -> None:
    (found,) = mistakes(FARM + "c['shares'] = [util.Shares({'': 1}, workers=[c['workers'][0]])]\n")
    assert found == '10: Shares: a worker is named by a text, not Worker; write workers=["w1"]'
    config = load(FARM + "c['shares'] = [util.Shares({'': 1}, workers=['w1'])]\n")
    told = 'Shares: worker "w1" has no max_builds: of slots without end nobody ever has a share'
    assert [each.text for each in config.warnings] == [told]


def test_a_thing_is_shared_once_only(mistakes: Mistakes) -> None:
    found = mistakes(
        FARM
        + "first = util.Shares({'apps': 1}, locks=[db], workers=['w1'])\n"
        + "c['shares'] = [first, util.Shares({'apps': 2}, locks=[db], workers=['w1'])]\n"
    )
    hint = "the first is at master.cfg:10: a thing is in one Shares only"
    assert found == [f'11: lock "db" is shared twice; {hint}', f'11: worker "w1" is shared twice; {hint}']


def test_what_is_no_share_is_refused(mistakes: Mistakes) -> None:
    (found,) = mistakes(FARM + "c['shares'] = [{'apps': 1}]\n")
    assert "use util.Shares(" in found


def test_shares_that_stand_alone_are_named_in_the_mistake_as_they_are_written(mistakes: Mistakes) -> None:
    (found,) = mistakes(FARM + "c['shares'] = util.Shares({'a': 2}, workers=['w1'])\n")
    assert "Shares({'*': 1, 'a': 2})" in found


def test_shares_that_share_nothing_are_warned_of(load: Load) -> None:
    named = FARM.replace("b('doc')", "b('doc', project='docs')")
    config = load(named + "c['shares'] = [util.Shares({'': 3}, locks=[db])]\n")
    (found,) = config.warnings
    assert found.place.line == 10
    assert found.text == "Shares: '' stands for who is of no project: every builder is of one, so it is people alone"
    config = load(FARM + "c['shares'] = [util.Shares({'': 3}, locks=[db])]\n")
    assert not config.warnings
    nobody = FARM.replace("project='apps', ", "").replace("project='firmware', ", "")
    config = load(nobody + "c['shares'] = [util.Shares({'': 3}, locks=[db])]\n")
    assert [each.text for each in config.warnings] == [
        "Shares: no builder is of a project, so there is nobody to share with"
    ]
