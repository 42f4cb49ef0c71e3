"""Arguments of steps that are of a kind that they cannot be: found when the configuration is read, with their line."""

from collections.abc import Callable
from typing import Any

import pytest

Mistakes = Callable[..., list[str]]
Load = Callable[..., Any]

ONE_BUILDER = """\
c['workers'] = [worker.Worker("w1", "pw")]
f = util.BuildFactory()
c['builders'] = [util.BuilderConfig("b", workernames=["w1"], factory=f)]
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("command=5", "command of the step 'shell' must be a text or a list of texts and numbers, not int"),
        ("command=['a', ['b', None]]", "texts and numbers, not one with NoneType"),
        ("command=['a', True]", "texts and numbers, not one with bool"),
        ("command={'a': 1}", "texts and numbers, not dict"),
        ("command=[]", "command of the step 'shell' must not be empty"),
        ("command='x', timeout='x'", "timeout of the step 'shell' must be a number of seconds or None, not 'x'"),
        ("command='x', timeout=-1", "timeout of the step 'shell' must be a number of seconds or None, not -1"),
        ("command='x', maxTime=True", "maxTime of the step 'shell' must be a number of seconds or None, not True"),
        ("command='x', sigtermTime=[5]", "sigtermTime of the step 'shell' must be a number of seconds"),
        ("command='x', max_lines=1.5", "max_lines of the step 'shell' must be a whole number that is not negative"),
        ("command='x', haltOnFailure='maybe'", "haltOnFailure of the step 'shell' must be True or False, not 'maybe'"),
        (
            "command='x', haltOnFailure=util.Property('p')",
            "haltOnFailure of the step 'shell' is needed as it is: a renderable cannot stand here",
        ),
        ("command='x', logEnviron='no'", "logEnviron of the step 'shell' must be True or False, not 'no'"),
        ("command='x', doStepIf='x'", "doStepIf of the step 'shell' must be True, False, a function or a renderable"),
        ("command='x', hideStepIf='x'", "hideStepIf of the step 'shell' must be True, False, a function or a"),
        ("command='x', workdir=3", "workdir of the step 'shell' must be a text, not int"),
        ("command='x', name=3", "name of the step 3 must be a text, not int"),
        ("command='x', env=['A']", "env of the step 'shell' must be a dictionary, not list"),
        ("command='x', env={'A': 5}", "must be a dictionary of texts and lists of texts; A is int"),
        ("command='x', env={'A': ['b', 5]}", "must be a dictionary of texts and lists of texts; A is list"),
        ("command='x', env={1: 'a'}", "not with a name that is int"),
        ("command='x', logfiles='x'", "logfiles of the step 'shell' must be a dictionary of names and files, not str"),
        ("command='x', logfiles={'a': {'follow': True}}", "must be a dictionary of names and files; 'a' has none"),
        ("command='x', initialStdin=b'x'", "initialStdin of the step 'shell' must be a text, not bytes"),
        ("command='x', decodeRC=[0]", "decodeRC of the step 'shell' must be a dictionary of exit codes and results"),
        (
            "command='x', description={'a': 1}",
            "description of the step 'shell' must be a text or a list of texts, not dict",
        ),
        (
            "command='x', descriptionDone=['made', ['it', b'x']]",
            "descriptionDone of the step 'shell' must be a text or a",
        ),
        ("command='x', descriptionDone=['made', ['it', b'x']]", "a list of texts, not one with bytes"),
        (
            "command='x', descriptionSuffix=len",
            "descriptionSuffix of the step 'shell' must be a text or a list of texts",
        ),
        ("command='x', logEncoding='klingon'", "logEncoding of the step 'shell' must be an encoding that Python knows"),
        ("command='x', updateBuildSummaryPolicy='all'", "updateBuildSummaryPolicy of the step 'shell' must be True,"),
    ],
)
def test_arguments_of_a_program(mistakes: Mistakes, arguments: str, expected: str) -> None:
    found = mistakes(f"{ONE_BUILDER}f.addStep(steps.ShellCommand({arguments}))\n")
    assert len(found) == 1
    assert found[0].startswith("6: ")
    assert expected in found[0]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("Git(repourl=5)", "repourl of the step 'git' must be a text, not int"),
        ("Git(repourl='x', timeout='20m')", "timeout of the step 'git' must be a number of seconds"),
        ("Git(repourl='x', env=[1])", "env of the step 'git' must be a dictionary, not list"),
        ("Git(repourl='x', retry='5')", "retry of the step 'git' must be (seconds between, how often again), not '5'"),
        ("Git(repourl='x', retry=(10, '3'))", "retry of the step 'git' must be (seconds between, how often again)"),
        ("Git(repourl='x', config=['a=b'])", "config of the step 'git' must be a dictionary, not list"),
        ("Git(repourl='x', filters='blob:none')", "filters of the step 'git' must be a list of texts, not a text"),
        ("SVN(repourl='x', keep_on_purge='cache')", "keep_on_purge of the step 'svn' must be a list of texts"),
        (
            "Trigger(util.Property('s'), set_properties=[1])",
            "set_properties of the step 'trigger' must be a dictionary",
        ),
        ("Trigger(util.Property('s'), copy_properties='abc')", "copy_properties of the step 'trigger' must be a list"),
        ("SetProperty(property=5, value='x')", "property of the step 'SetProperty' must be a text, not int"),
        ("SetProperties(properties=[1])", "properties of the step 'SetProperties' must be a dictionary, not list"),
        ("SVN(repourl='x', password=12345)", "password of the step 'svn' must be a text, not int"),
        ("SVN(repourl='x', extra_args='--force')", "extra_args of the step 'svn' must be a list of texts, not a text"),
        ("FileUpload('a', 'b', mode='0644')", "mode of the step 'upload' must be a whole number"),
        ("FileUpload('a', ['b'])", "masterdest of the step 'upload' must be a text, not list"),
        ("FileDownload('a', 'b', maxsize=-1)", "maxsize of the step 'download' must be a whole number"),
        ("StringDownload('a', workerdest=5)", "workerdest of the step 'download' must be a text, not int"),
        ("MakeDirectory(dir=['a'])", "dir of the step 'MakeDirectory' must be a text, not list"),
        ("RemoveDirectory(dir=5)", "dir of the step 'RemoveDirectory' must be a text or a list of texts, not int"),
        ("CopyDirectory('a', 'b', timeout='x')", "timeout of the step 'CopyDirectory' must be a number of seconds"),
        ("MasterShellCommand(command=5)", "command of the step 'MasterShellCommand' must be a text or a list"),
        ("ShellSequence(commands=[util.ShellArg(command=5)])", "command of ShellArg must be a text or a list"),
        ("SetPropertyFromCommand(command='x', property=5)", "property of the step 'setproperty' must be a text"),
    ],
)
def test_arguments_of_other_steps(mistakes: Mistakes, step: str, expected: str) -> None:
    found = mistakes(f"{ONE_BUILDER}f.addStep(steps.{step})\n")
    assert [text[:3] for text in found] == ["6: "]
    assert expected in found[0]


def test_all_of_them_at_once_also_in_locked_steps_and_in_classes(mistakes: Mistakes) -> None:
    text = """\
    class Mine(steps.ShellCommand):
        timeout = "never"
        def __init__(self, **kwargs):
            super().__init__(command="x", **kwargs)
            self.env = "A=b"
    group = util.LockedSteps([Mine()], locks=[util.MasterLock("l").access("exclusive")])
    f.addStep(group)
    f.addSteps([(steps.ShellCommand, {"command": "x", "maxTime": "x"})])
    """
    found = mistakes(ONE_BUILDER + "\n".join(line[4:] for line in text.splitlines()))
    assert [(one.split(": ")[0], one.split(": ")[1].split(" of ")[0]) for one in found] == [
        ("11", "env"),
        ("11", "timeout"),
        ("13", "maxTime"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        "command='x', warnOnFailure=1, haltOnFailure=0, logEnviron=None, usePTY='slave-config'",
        "command=['make', ['-j', 4], util.Property('target'), util.Interpolate('%(prop:x)s')]",
        "command=util.FlattenList([['a'], ['b']])",
        "command=[util.Property('words')]",
        "command=util.Transform(str, util.Property('x')), timeout=util.Property('t'), maxTime=2.5, max_lines=0",
        "command='x', env={'A': '5', 'B': ['a', util.Property('b')], 'C': None, 'D': util.Property('d')}",
        "command='x', env=util.Property('env'), logfiles=util.Property('files'), workdir=util.Property('where')",
        "command='x', logfiles={'a': 'a.log', 'b': {'filename': 'b.log', 'follow': True}, 'c': util.Property('c')}",
        "command='x', doStepIf=lambda step: True, hideStepIf=lambda result, step: False",
        "command='x', doStepIf=util.Property('wanted'), hideStepIf=util.Property('hidden')",
        "command='x', name=util.Interpolate('%(prop:n)s'), description='a', descriptionDone=['a', 'b']",
        "command='x', decodeRC={0: util.SUCCESS, 1: util.WARNINGS}, timeout=None, sigtermTime=0",
        "command='x', workdir=pathlib.PurePath('a'), initialStdin=util.Interpolate('%(prop:x)s')",
        "command='x', env=os.environ, updateBuildSummaryPolicy=[util.FAILURE]",
    ],
)
def test_what_may_stand_there(load: Load, arguments: str) -> None:
    config = load(f"import os, pathlib\n{ONE_BUILDER}f.addStep(steps.ShellCommand({arguments}))\n")
    assert len(config.builders["b"].factory.steps) == 1


def test_what_a_users_class_makes_of_a_name_is_its_own(load: Load) -> None:
    """Nothing of the user's is run to look at it."""
    text = """\
    class Mine(steps.BuildStep):
        def __init__(self, env, timeout, **kwargs):
            self.env, self.timeout = env, timeout
            super().__init__(**kwargs)
        def doStepIf(self, step):
            return True
        async def run(self):
            return util.SUCCESS
    class Late(steps.ShellCommand):
        @property
        def command(self):
            raise RuntimeError("no build yet")
        @command.setter
        def command(self, value):
            pass
    f.addStep(Mine("prod", "long"))
    f.addStep(Late(command=5))
    """
    config = load(ONE_BUILDER + "\n".join(line[4:] for line in text.splitlines()))
    assert [type(step).__name__ for step in config.builders["b"].factory.steps] == ["Mine", "Late"]
