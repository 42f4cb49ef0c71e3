"""Hooks that order and merge requests (L24a): a whole server, real agents, and what the configuration's functions say.

Which request comes next is read from the facts: one worker with one slot builds one after another.
"""

from collections.abc import Callable

from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK, SKIPPED, EXCEPTION = Result.SUCCESS, Result.SKIPPED, Result.EXCEPTION
HEAD = """
        import asyncio
        c['workers'] = workers('w1', max_builds=1)
"""


def order(scene: Scene) -> list[str]:
    """The builders of the builds, in the order of their starts; the first, which held the worker, left out."""
    return [span.fact.builder for span in scene.facts.builds()][1:]


def test_L24a_prioritizeBuilders_orders_builders_and_those_alike_by_coming(stage: Stage) -> None:
    config = """
        async def prioritize(master, builders):
            await asyncio.sleep(0)
            order = {'release': 0}
            builders.sort(key=lambda b: order.get(b.name, 1))
            return builders
        c['prioritizeBuilders'] = prioritize
        c['builders'] = [build('first', gate('in')), build('release', sh('s')), build('x', sh('s')),
                         build('a', sh('s'))]
    """
    scene = stage(HEAD + config, "w1")
    scene.force("first")
    scene.running("first-1-in")
    brids = [brid for name in ("x", "a", "x", "release", "a", "release") for brid in scene.force(name)]
    scene.until(lambda: all(scene.why(brid)["kind"] != "preparing" for brid in brids), "all of them to be ranked")
    scene.open("in")
    assert scene.ended(*brids) == [OK] * 6
    assert order(scene) == ["release", "release", "x", "a", "x", "a"]
    assert len(scene.facts.of("BuilderRanked")) <= 4  # each once: who is alike stays so, whoever comes first


def test_L24a_L44_nextBuild_chooses_and_starves_nobody(stage: Stage) -> None:
    """It always chooses the newest: after eight that passed it, the oldest comes first nevertheless."""
    config = """
        c['builders'] = [build('first', gate('in')),
                         build('b', sh('s'), nextBuild=lambda builder, requests: requests[-1])]
    """
    scene = stage(HEAD + config, "w1")
    scene.force("first")
    scene.running("first-1-in")
    brids = scene.force("b", count=20)
    scene.until(
        lambda: [fact.rank.chosen for fact in scene.facts.of("BuilderRanked")][-1:] == [brids[-1]], "its choice"
    )
    scene.open("in")
    assert scene.ended(*brids) == [OK] * 20
    started = [span.fact.brid for span in scene.facts.builds("b")]
    assert started[0] == brids[-1]
    assert started.index(brids[0]) <= 10


def test_L24a_hooks_hold_back_and_are_asked_again_as_time_passes(stage: Stage) -> None:
    config = """
        import lockstep.master.hooks
        lockstep.master.hooks.HOOK_PERIOD = 0.1
        def may(name):
            return os.path.exists(os.path.join(here, name))
        def prioritize(master, builders):
            return [b for b in builders if b.name != 'left' or may('left')]
        c['prioritizeBuilders'] = prioritize
        c['builders'] = [build('left', sh('s')),
                         build('none', sh('s'), nextBuild=lambda b, requests: requests[0] if may('none') else None),
                         build('can', sh('s'), canStartBuild=lambda b, worker, request: may('can'))]
    """
    scene = stage(HEAD + config, "w1")
    brids = {name: scene.force(name)[0] for name in ("left", "none", "can")}
    words = {"left": "prioritizeBuilders left it out", "none": "nextBuild chose none", "can": "canStartBuild allows no"}
    for name, brid in brids.items():
        scene.until(lambda brid=brid, name=name: words[name] in scene.why(brid)["sentence"], f"why {name} waits")
    scene.kill()
    scene.start()
    assert not scene.facts.builds()
    for name, brid in brids.items():
        (scene.folder / name).touch()
        assert scene.ended(brid) == [OK]


def test_L24a_what_an_ordering_hook_raises_stops_nobody_and_is_told(stage: Stage) -> None:
    config = """
        def prioritize(master, builders):
            builders.sort(key=lambda b: b.name)  # and forgets to return them
        c['prioritizeBuilders'] = prioritize
        c['builders'] = [build('first', gate('in')),
                         build('b', sh('s'), nextBuild=lambda builder, requests: 1 / 0)]
    """
    scene = stage(HEAD + config, "w1")
    scene.force("first")
    scene.running("first-1-in")
    (brid,) = scene.force("b")
    told = scene.until(lambda: "ZeroDivisionError" in (text := scene.why(brid)["sentence"]) and text, "why")
    assert "nextBuild of builder 'b'" in told
    wrong = "prioritizeBuilders must return a list of the builders"
    scene.until(lambda: wrong in scene.log.read_text(), "what the log says of the other hook")
    scene.open("in")
    assert scene.ended(brid) == [OK]


def test_L24a_collapseRequests_as_a_function_merges_what_it_says(stage: Stage) -> None:
    """The newer request takes the older one's place; the function may read what is stored, and be waited for."""
    config = """
        async def same_branch(master, builder, req1, req2):
            assert builder['name'] == 'b' and req1['builderid'] == builder['builderid']
            sets = [await master.data.get(('buildsets', str(req['buildsetid']))) for req in (req1, req2)]
            one, other = (each['sourcestamps'][0]['branch'] for each in sets)
            if one == 'wrong':
                raise ValueError('no such branch')
            return one == other
        c['collapseRequests'] = same_branch
        c['builders'] = [build('first', gate('in')), build('b', sh('s'), collapseRequests=None),
                         build('never', sh('s'), collapseRequests=False)]
    """
    scene = stage(HEAD + config, "w1")
    scene.force("first")
    scene.running("first-1-in")
    never = scene.force("never", branch="x") + scene.force("never", branch="x")
    (old,) = scene.force("b", branch="x")
    (between,) = scene.force("b", branch="y")
    (new,) = scene.force("b", branch="x", reason="another")
    assert scene.fact("RequestEnded", brid=old).into == new
    assert scene.fact("PlaceTaken", brid=new).ticket == scene.fact("RequestAdded", brid=old).ticket
    (wrong,) = scene.force("b", branch="wrong")
    assert scene.ended(wrong, old) == [EXCEPTION, SKIPPED]
    assert "collapseRequests: ValueError: no such branch" in scene.fact("RequestEnded", brid=wrong).reason
    several = scene.force("b", branch="x", count=2)
    scene.kill()
    scene.start()
    scene.open("in")
    assert scene.ended(*never, between, new, *several) == [OK] * 6
    assert [span.fact.brid for span in scene.facts.builds("b")] == [new, between, *several]


def test_L24a_a_reload_without_hooks_lets_go_what_they_held_back(stage: Stage) -> None:
    config = """
        c['builders'] = [build('first', gate('in')), build('b', sh('s')), build('a', sh('s'))]
    """
    hooks = """
        c['prioritizeBuilders'] = lambda master, builders: [b for b in builders if b.name != 'b']
    """
    scene = stage(HEAD + config + hooks, "w1")
    scene.force("first")
    scene.running("first-1-in")
    brids = scene.force("b") + scene.force("a")
    scene.until(lambda: "prioritizeBuilders left it out" in scene.why(brids[0])["sentence"], "the hook's word")
    scene.configure(HEAD + config)
    assert scene.cli("reload").returncode == 0
    scene.until(lambda: "held back" not in scene.why(brids[0])["sentence"], "nobody's word")
    scene.open("in")
    assert scene.ended(*brids) == [OK] * 2
    assert order(scene) == ["b", "a"]
