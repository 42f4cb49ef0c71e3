"""A lock that builds share, and that a step takes for itself and gives back: on real agents, across a crash."""

from collections.abc import Callable

from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]


def test_a_step_raises_what_its_build_shares(stage: Stage) -> None:
    scene = stage(
        """
        db = util.MasterLock('db', maxCount=4)
        shared, alone = db.access('counting'), db.access('exclusive', raises=True)
        c['workers'] = workers('w1', 'w2', 'w3')
        c['collapseRequests'] = False
        c['builders'] = [
            build('migrate', gate('look'), gate('change', locks=[alone]), gate('tidy'), locks=[shared]),
            build('other', gate('look'), sh('change', 'true', locks=[alone]), locks=[shared], on='w2'),
            build('read', gate('look'), locks=[db.access('counting', 2)], on='w3'),
        ]
        """,
        "w1",
        "w2",
        "w3",
    )
    (migrate,) = scene.force("migrate")
    scene.running("migrate-1-look")
    (other,), (read,) = scene.force("other"), scene.force("read")
    scene.running("read-1-look")
    scene.until(lambda: scene.why(other)["kind"] == "withheld", "the other one that may raise it to be withheld")
    scene.open("migrate-1-look")
    scene.until(
        lambda: "lock 'db', held by read #1" in scene.why(migrate)["sentence"], "the step to wait for the reader"
    )
    scene.kill()
    scene.start()
    scene.open("read-1-look")
    scene.running("migrate-1-change")
    (late,) = scene.force("read")
    scene.until(lambda: "held by migrate #1" in scene.why(late)["sentence"], "a late reader to wait")
    scene.open("migrate-1-change")
    scene.running("read-2-look")
    scene.open("look", "tidy")
    assert scene.ended(migrate, other, read, late) == [Result.SUCCESS] * 4
    assert not scene.facts.of("RingBroken")
    owners = {fact.ticket for fact in scene.facts.of("BuildStarted")}
    holds = scene.facts.holds("db")
    raised = [hold for hold in holds if hold.accesses[0].mode == "exclusive"]
    assert len(raised) == 2
    for hold in raised:
        beside = {each.fact.owner for each in holds if each.meets(hold)}
        assert beside == {hold.fact.owner} <= owners


def test_a_reload_while_its_units_are_looked_at_does_not_change_what_a_build_may_raise(stage: Stage) -> None:
    text = """
        looks = ['sh', '-c', 'until [ -e ' + os.path.join(here, 'gates', 'looked') + ' ]; do sleep 0.05; done']
        boards = util.ResourcePool('boards', ['u1'], healthCheck=looks)
        db = util.MasterLock('db', maxCount=2)
        c['workers'] = workers('w1')
        c['builders'] = [build('b', sh('alone', 'true'RAISE), locks=[db.access('counting'), boards.access()])]
        """
    scene = stage(text.replace("RAISE", ", locks=[db.access('exclusive', raises=True)]"), "w1")
    (build,) = scene.force("b")
    scene.until(lambda: "boards" in scene.why(build)["sentence"], "its unit to be looked at")
    scene.configure(text.replace("RAISE", ""))
    assert scene.cli("reload").returncode == 0
    scene.open("looked")
    assert scene.ended(build) == [Result.SUCCESS]
