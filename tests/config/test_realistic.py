"""Whole configurations as users write them today: schedulers, sources, steps of their own, locks in loops."""

from collections.abc import Callable

import pytest

from lockstep.compat import names
from lockstep.config.config import Config

Load = Callable[..., Config]
WANTED = {
    "schedulers": {"SingleBranchScheduler", "ForceScheduler", "Nightly", "Triggerable", "Dependent", "Periodic"},
    "changes": {"GitPoller", "SVNPoller"},
    "steps": {"Git", "Trigger", "ShellSequence", "Compile", "FileUpload", "SetPropertyFromCommand"},
    "util": {"ChangeFilter", "CodebaseParameter", "StringParameter", "ShellArg"},
}
pytestmark = pytest.mark.skipif(
    any(not wanted <= set(names.there(space)) for space, wanted in WANTED.items()),
    reason="the vocabulary is not complete",
)

LIBRARY = """
    import os
    from buildbot.plugins import *
    from buildbot.process import buildstep, logobserver
    from buildbot.process.results import SUCCESS, FAILURE, SKIPPED
    from buildbot.steps.shell import ShellCommand

    c = BuildmasterConfig = {}
    c['title'] = "The Library"
    c['titleURL'] = "https://example.org/"
    c['buildbotURL'] = os.environ.get("BUILDBOT_WEB_URL", "http://localhost:8010/")
    c['buildbotNetUsageData'] = None
    c['www'] = dict(port=8010, plugins=dict(waterfall_view={}, console_view={}))
    c['db'] = {'db_url': "sqlite:///state.sqlite"}
    c['protocols'] = {'msgpack_experimental_v7': {'port': 9989}}

    machines = {'linux-1': 4, 'linux-2': 4, 'mac-1': 1}
    c['workers'] = [worker.Worker(name, "secret", max_builds=count, properties={'cores': count})
                    for name, count in machines.items()]

    c['change_source'] = []
    c['change_source'].append(changes.GitPoller('https://example.org/library.git', branches=True, pollInterval=300))

    # builds count, upkeep is exclusive
    upkeep = util.WorkerLock("upkeep", maxCount=1000)
    licences = util.MasterLock("compiler licences", maxCount=2)
    published = {kind: util.MasterLock("publish " + kind) for kind in ("docs", "wheels")}

    class CountTests(buildstep.ShellMixin, buildstep.BuildStep):
        name = "count tests"

        def __init__(self, minimum=1, **kwargs):
            self.minimum = minimum
            kwargs = self.setupShellMixin(kwargs, prohibitArgs=['command'])
            super().__init__(**kwargs)
            self.observer = logobserver.BufferLogObserver()
            self.addLogObserver('stdio', self.observer)

        async def run(self):
            cmd = await self.makeRemoteShellCommand(command=['sh', '-c', 'ls tests | wc -l'])
            await self.runCommand(cmd)
            return SUCCESS if int(self.observer.getStdout()) >= self.minimum else FAILURE

    @util.renderer
    def jobs(props):
        return ["make", "-j%d" % (props.getProperty("cores") or 1)]

    def build(variant, publish=None):
        f = util.BuildFactory()
        f.addStep(steps.Git(repourl='https://example.org/library.git', mode='incremental',
                            haltOnFailure=True))
        f.addStep(steps.SetPropertyFromCommand(command=["git", "describe"], property="version"))
        f.addStep(steps.Compile(command=jobs, env={'VARIANT': variant}, locks=[licences.access('counting')]))
        f.addStep(CountTests(minimum=3, doStepIf=lambda step: step.getProperty('branch') != 'wip'))
        f.addStep(steps.ShellSequence(commands=[
            util.ShellArg(command=["make", "test"], logname="test"),
            util.ShellArg(command=["make", "lint"], logname="lint", warnOnFailure=True)]))
        if publish:
            f.addStep(steps.FileUpload(workersrc="out.zip", locks=[published[publish].access('exclusive')],
                                       masterdest=util.Interpolate("~/%(prop:buildername)s-%(prop:version:-dev)s.zip")))
        return f

    variants = ["debug", "release"]
    c['builders'] = [
        util.BuilderConfig(name=v, workernames=["linux-1", "linux-2"], factory=build(v, "wheels"), tags=[v],
                           locks=[upkeep.access('counting')], env={'LANG': 'C'}) for v in variants]
    nightly = util.BuildFactory([steps.Trigger(schedulerNames=["fan-out"], waitForFinish=True,
                                               set_properties={'mode': util.Property('mode', default='full')})])
    c['builders'] += [
        util.BuilderConfig(name="nightly", workernames=["mac-1"], factory=nightly),
        util.BuilderConfig(name="clean", workernames=list(machines), locks=[upkeep.access('exclusive')],
                           factory=util.BuildFactory([ShellCommand(command=["rm", "-rf", "cache"], workdir=".")])),
    ]
    quick = schedulers.SingleBranchScheduler(name="quick", change_filter=util.ChangeFilter(branch='main'),
                                             treeStableTimer=60, builderNames=["debug"])
    c['schedulers'] = [
        quick,
        schedulers.Dependent(name="then", upstream=quick, builderNames=["release"]),
        schedulers.Triggerable(name="fan-out", builderNames=variants),
        schedulers.Nightly(name="at night", builderNames=["nightly"], branch="main", hour=3, minute=0),
        schedulers.Periodic(name="often", builderNames=["clean"], periodicBuildTimer=24 * 3600),
        schedulers.ForceScheduler(name="force", builderNames=[b.name for b in c['builders']],
            codebases=[util.CodebaseParameter("", label="Main",
                                              branch=util.StringParameter(name="branch", default="main"))],
            properties=[util.StringParameter(name="mode", default="quick")]),
    ]
"""


def test_the_library(load: Load) -> None:
    import textwrap

    config = load(textwrap.dedent(LIBRARY), prelude="")
    setup = config.setup()
    assert [one.name for one in setup.schedulers] == ["quick", "then", "fan-out", "at night", "often", "force"]
    assert len(setup.sources) == 1
    needs = {
        one.name: {a.worker: sorted(f"{x.lock} {x.mode}" for x in a.accesses[2:]) for a in one.need.alternatives}
        for one in setup.builders
        if one.need is not None
    }
    assert needs["debug"] == {n: [f"upkeep on {n} counting"] for n in ("linux-1", "linux-2")}
    assert needs["clean"]["mac-1"] == ["upkeep on mac-1 exclusive"]
    assert [step.name for step in config.builders["debug"].factory.newSteps()][3] == "count tests"
    assert not config.warnings


def test_its_mistakes(mistakes: Callable[..., list[str]]) -> None:
    import textwrap

    text = textwrap.dedent(LIBRARY)
    text = text.replace('builderNames=["release"]', 'builderNames=["relase"]')
    text = text.replace('schedulerNames=["fan-out"]', 'schedulerNames=["fanout"]')
    text = text.replace("upkeep.access('exclusive')", "upkeep.access('exclusive'), licences.access('counting', 3)")
    found = [one.partition(":")[2].strip() for one in mistakes(text, prelude="")]
    assert found == [
        'step "trigger" of builder "nightly": there is no scheduler "fanout"; did you mean "fan-out"?',
        'builder "clean" can never start: it wants 3 of lock "compiler licences", whose limit is 2; '
        "raise maxCount or lower the count",
        'scheduler "then": there is no builder "relase"; did you mean "release"?',
    ]
