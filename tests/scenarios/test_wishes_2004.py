"""What was wished for in 2004 (`../shared/seeds`, the first text), each on a whole server with real agents.

And the footnote of 2005: two builds that each hold what the other one's step wants.
"""

from collections.abc import Callable

from scene import Scene
from timeline import apart, check_lock, most_at_once

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]


def test_one_build_at_a_time_on_a_single_slave(stage: Stage) -> None:
    """'single slave only has one build going at a time': `max_builds=1`, or three builders of one host in a lock."""
    scene = stage(
        """
        c['workers'] = workers('w1', max_builds=1) + workers('w2')
        c['builders'] = [build(f'b{i}', sh('work', 'sleep 0.1')) for i in range(3)]
        c['builders'] += [build(f'free{i}', gate('wait'), on='w2') for i in range(2)]
        """,
        "w1",
        "w2",
    )
    requests = [brid for name in ("b0", "b1", "b2", "b0") for brid in scene.force(name)]
    others = [*scene.force("free0"), *scene.force("free1")]
    assert set(scene.ended(*requests)) == {Result.SUCCESS}
    assert len(scene.facts.builds("b0", "b1", "b2")) == 4
    assert apart(scene.facts.builds("b0", "b1", "b2"))
    scene.running("free0-1-wait")
    scene.running("free1-1-wait")
    scene.open("wait")
    assert set(scene.ended(*others)) == {Result.SUCCESS}
    assert most_at_once(scene.facts.builds("free0", "free1")) == 2


def test_a_lock_with_a_list_of_builders_that_subscribe_to_it(stage: Stage) -> None:
    """'take a lock name and a list of builder names which subscribe to it': both spellings."""
    scene = stage(
        """
        from buildbot.process.lock import Lock
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build(name, gate('wait'), on=on) for name, on in
                         (('a', 'w1'), ('b', 'w2'), ('x', 'w1'), ('y', 'w2'), ('z', 'w1'))]
        c['locks'] = [('host', ['a', 'b']), Lock('disk', ['x', 'y'])]
        """,
        "w1",
        "w2",
    )
    requests = {name: scene.force(name)[0] for name in "abxyz"}
    for name in ("a", "x", "z"):
        scene.running(f"{name}-1-wait")
    for name, lock, holder in (("b", "host", "a"), ("y", "disk", "x")):
        assert scene.why(requests[name])["locks"][0]["lock"] == lock
        assert f"held by {holder} #1" in scene.why(requests[name])["sentence"]
    scene.open("wait")
    assert set(scene.ended(*requests.values())) == {Result.SUCCESS}
    for lock, builders in (("host", ("a", "b")), ("disk", ("x", "y"))):
        assert len(check_lock(scene.facts, lock, 1)) == 2
        assert apart(scene.facts.builds(*builders))
    assert most_at_once(scene.facts.builds("a", "x", "z")) == 3


def test_get_and_release_inside_a_step(stage: Stage) -> None:
    """`.get()` waits, `.release()` lets the next one go on, and the end of the step releases what it kept."""
    scene = stage(
        """
        from buildbot.process.lock import Lock
        from buildbot.process.buildstep import BuildStep, ShellMixin
        lock = Lock('net')
        class Polite(ShellMixin, BuildStep):
            async def run(self):
                await lock.get()
                text = f'touch {here}/polite-has-it; until [ -e {here}/go ]; do sleep 0.02; done'
                await self.runCommand(await self.makeRemoteShellCommand(command=text, stdioLogName='in'))
                await lock.release()
                text = f'until [ -e {here}/end ]; do sleep 0.02; done'
                await self.runCommand(await self.makeRemoteShellCommand(command=text, stdioLogName='out'))
                return util.SUCCESS
        class Careless(BuildStep):
            async def run(self):
                await lock.get()
                raise ValueError('forgot to release')
        class Last(BuildStep):
            async def run(self):
                async with lock:
                    return util.SUCCESS
        c['workers'] = workers('w1')
        c['builders'] = [build(kind.__name__.lower(), kind(name='s')) for kind in (Polite, Careless, Last)]
        """,
        "w1",
    )
    (polite,) = scene.force("polite")
    scene.until((scene.folder / "polite-has-it").exists, "the lock")
    (careless,) = scene.force("careless")
    scene.fact("CallStarted", buildid=2)
    (last,) = scene.force("last")
    scene.until(lambda: len(scene.facts.of("CallStarted", buildid=3)) > 0, "the last one's get()")
    assert len(scene.facts.holds("net")) == 1
    (scene.folder / "go").touch()
    assert scene.ended(careless, last) == [Result.EXCEPTION, Result.SUCCESS]
    assert not scene.facts.of("RequestEnded", brid=polite)
    (scene.folder / "end").touch()
    assert scene.ended(polite) == [Result.SUCCESS]
    owners = [span.fact.owner for span in check_lock(scene.facts, "net", 1)]
    tickets = {fact.brid: fact.ticket for fact in scene.facts.of("RequestAdded")}
    assert owners == [tickets[polite], tickets[careless], tickets[last]]


def test_waiters_go_on_after_failure_and_dependency_is_apart_from_lock(stage: Stage) -> None:
    """'the others wait for the first build to finish (success or failure)'; what follows success only is Dependent."""
    scene = stage(
        """
        host = util.MasterLock('host')
        c['workers'] = workers('w1', 'w2')
        bad = sh('bad', 'exit 1', haltOnFailure=True)
        c['builders'] = [
            build('fails', gate('wait'), bad, locks=[host]),
            build('works', sh('fine'), on='w2', locks=[host]),
            build('after-fails', sh('never')), build('after-works', sh('then'), on='w2'),
        ]
        first = schedulers.Triggerable(name='first', builderNames=['fails'])
        second = schedulers.Triggerable(name='second', builderNames=['works'])
        c['builders'] += [build(f'start-{name}', steps.Trigger(schedulerNames=[name], waitForFinish=False), on='w2')
                          for name in ('first', 'second')]
        c['schedulers'] = [
            first, second,
            schedulers.Dependent(name='after first', upstream=first, builderNames=['after-fails']),
            schedulers.Dependent(name='after second', upstream=second, builderNames=['after-works']),
        ]
        """,
        "w1",
        "w2",
    )
    scene.force("start-first")
    scene.running("fails-1-wait")
    scene.force("start-second")
    works = scene.fact("RequestAdded", builder="works").brid
    assert not scene.facts.builds("works")
    scene.open("wait")
    assert scene.ended(works) == [Result.SUCCESS]
    assert scene.fact("BuildEnded", buildid=scene.facts.builds("fails")[0].fact.buildid).result == Result.FAILURE
    after = scene.fact("RequestAdded", builder="after-works").brid
    assert scene.ended(after) == [Result.SUCCESS]
    assert not scene.facts.of("RequestAdded", builder="after-fails")
    assert len(check_lock(scene.facts, "host", 1)) == 2


def test_L51_the_footnote_of_2005_deadlocks_nobody(stage: Stage) -> None:
    """'Build A obtains Lock 1, inside which Step A.two tries to acquire Lock 2 ... Don't Do That.'"""
    scene = stage(
        """
        one, two = (util.MasterLock(name).access('exclusive') for name in ('one', 'two'))
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('A', gate('first'), sh('A.two', locks=[two]), locks=[one]),
                         build('B', gate('first'), sh('B.two', locks=[one]), locks=[two], on='w2')]
        """,
        "w1",
        "w2",
    )
    (first,) = scene.force("A")
    scene.running("A-1-first")
    (second,) = scene.force("B")
    scene.until(lambda: scene.why(second)["kind"] == "withheld", "B to be withheld")
    assert "A #1 could wait for each other for ever" in scene.why(second)["sentence"]
    scene.open("first")
    assert scene.ended(first, second) == [Result.SUCCESS, Result.SUCCESS]
    assert not scene.facts.of("RingBroken")
    for lock in ("one", "two"):
        check_lock(scene.facts, lock, 1)
