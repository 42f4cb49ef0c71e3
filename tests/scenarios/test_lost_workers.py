"""Connections that are cut, and agents that die: what they held is kept until nothing of it runs any more (L61)."""

from collections.abc import Callable
from pathlib import Path

from scene import Scene
from scene_agents import Agent, BuildbotWorker, Cable
from timeline import apart, check_lock

from lockstep.core.limits import LEASE_MARGIN
from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS
LEASE = 6.0
CONFIG = """
    one = util.MasterLock('one')
    two = util.MasterLock('two')
    c['workers'] = workers('w1', 'w2', 'w3', lease=6.0)
    c['builders'] = [
        build('first', gate('wait'), locks=[one.access('exclusive')]),
        build('second', gate('wait'), on='w2', locks=[two.access('exclusive')]),
        build('heir1', gate('in'), on='w3', locks=[one.access('exclusive')]),
        build('heir2', gate('in'), on='w3', locks=[two.access('exclusive')]),
        build('talk', sh('lines', 'for i in $(seq 300); do echo line $i; sleep 0.005; done'), gate('wait'), on='w3'),
    ]
"""


def test_cut_off_and_back_within_the_lease_is_nothing(stage: Stage, cables: Callable[[int], Cable]) -> None:
    scene = stage(CONFIG)
    cable = cables(scene.port)
    scene.agent("w3", lease=60.0, url=cable.url)
    (brid,) = scene.force("talk")
    scene.until(lambda: "line 20\n" in scene.output(1, "lines") if scene.facts.commands() else False, "output")
    for session in (2, 3):
        cable.cut()
        scene.until(lambda n=session - 1: len(scene.facts.of("WorkerDown", worker="w3")) == n, "the cut")
        cable.mend()
        scene.fact("WorkerUp", worker="w3", session=session)
    scene.running("talk-1-wait")
    cable.cut()
    scene.until(lambda: len(scene.facts.of("WorkerDown", worker="w3")) == 3, "the cut")
    scene.open("wait")
    scene.until(lambda: not scene.runs("talk-1-wait"), "the end of the command")
    cable.mend()
    assert scene.ended(brid) == [OK]
    assert scene.output(1, "lines") == "".join(f"line {i}\n" for i in range(1, 301))
    assert scene.output(1, "wait") == "begun\nopen\n"
    assert len(scene.facts.builds()) == 1
    assert len(scene.facts.commands()) == 2


def test_a_killed_agents_builds_are_tried_again_with_their_tickets(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    (brid,) = scene.force("first")
    scene.running("first-1-wait")
    (later,) = scene.force("first")
    agent = scene.agents["w1"]
    assert isinstance(agent, Agent)
    agent.kill()
    scene.until(lambda: not scene.runs("first-1-wait"), "the guardian's work")
    scene.agent("w1")
    scene.fact("RequestPutBack", brid=brid)
    scene.open("wait")
    assert scene.ended(brid, later) == [OK, OK]
    ticket = scene.facts.of("RequestAdded", brid=brid)[0].ticket
    spans = check_lock(scene.facts, "one", 1)
    assert [span.fact.ticket for span in spans].count(ticket) == 2
    assert scene.facts.of("BuildEnded", buildid=1)[0].result == Result.RETRY
    assert apart(scene.facts.commands("wait"))


def test_a_worker_that_is_stopped_gives_back_what_it_held_at_once(stage: Stage) -> None:
    """Nothing new begins on it, though nobody else waits for what is tried again."""
    scene = stage(CONFIG, "w1", "w2", "w3")
    (first,), (second,) = scene.force("first"), scene.force("second")
    scene.running("first-1-wait")
    scene.running("second-1-wait")
    for name in ("w1", "w2"):
        agent = scene.agents[name]
        agent.end()
        agent.end()
        assert agent.ended() == 0
    heirs = [*scene.force("heir1"), *scene.force("heir2")]
    for heir in ("heir1", "heir2"):
        scene.running(f"{heir}-1-in")
        scene.open(f"{heir}-1-in")
    assert scene.ended(*heirs) == [OK, OK]
    assert [fact.busy for name in ("w1", "w2") for fact in scene.facts.of("WorkerDown", worker=name)] == [False] * 2
    assert [len(scene.facts.builds(name)) for name in ("first", "second")] == [1, 1]
    scene.agent("w1")
    scene.agent("w2")
    scene.open("wait")
    assert scene.ended(first, second) == [OK, OK]


def test_a_worker_that_is_stopped_while_its_server_is_away_tells_it_in_its_next_life(stage: Stage) -> None:
    scene = stage(CONFIG, "w1")
    (brid,) = scene.force("first")
    scene.running("first-1-wait")
    scene.kill()
    agent = scene.agents["w1"]
    agent.end()
    assert agent.ended() == 0
    scene.start()
    scene.agent("w1")
    scene.open("wait")
    assert scene.ended(brid) == [OK]
    assert [fact.result for fact in scene.facts.of("BuildEnded")] == [Result.RETRY, OK]
    assert not scene.facts.of("WorkerGivenUp")


def test_a_lease_that_is_over_frees_what_was_held_and_no_sooner(stage: Stage, cables: Callable[[int], Cable]) -> None:
    """One worker is cut off and ends its commands by itself; another one is dead with its machine, so to speak."""
    scene = stage(CONFIG, "w3")
    cable = cables(scene.port)
    scene.agent("w1", lease=LEASE, url=cable.url)
    dead = scene.agent("w2", lease=LEASE)
    requests = [*scene.force("first"), *scene.force("second")]
    scene.running("first-1-wait")
    scene.running("second-1-wait")
    heirs = [*scene.force("heir1"), *scene.force("heir2")]
    cable.cut()
    dead.kill()
    scene.until(lambda: not scene.runs("first-1-wait"), "the worker's own end of its lease")
    assert len(scene.facts.builds()) == 2
    for lock, worker, heir in (("one", "w1", "heir1"), ("two", "w2", "heir2")):
        scene.running(f"{heir}-1-in")
        held, mine = check_lock(scene.facts, lock, 1)
        down = scene.facts.numbered("WorkerDown", worker=worker)[0]
        waited = mine.began - down.at
        # The lease counts from the agent's last word, and that is not older than half of it: else it connects anew.
        assert waited >= LEASE / 2 + LEASE_MARGIN, f"{lock} was given away after {waited} s"
        assert held.end > down.number
        assert scene.fact("WorkerGivenUp", worker=worker)
    scene.open("in")
    assert scene.ended(*heirs) == [OK, OK]
    cable.mend()
    scene.agent("w2", lease=LEASE)
    scene.open("wait")
    assert scene.ended(*requests) == [OK, OK]
    assert [fact.result for fact in scene.facts.of("BuildEnded")][:2] == [Result.RETRY, Result.RETRY]


def test_a_buildbot_worker_runs_builds_and_is_believed_only_when_it_answers(
    stage: Stage, cables: Callable[[int], Cable], buildbot_worker: Path
) -> None:
    scene = stage(CONFIG.replace(", lease=6.0", ""), "w3")
    cable = cables(scene.port)
    scene.agents["w1"] = BuildbotWorker(buildbot_worker, "w1", scene.folder, cable.port)
    scene.fact("WorkerUp", worker="w1", session=2)
    (brid,) = scene.force("first")
    (heir,) = scene.force("heir1")
    scene.running("first-1-wait")
    cable.cut()
    scene.fact("WorkerDown", worker="w1", busy=True)
    assert not scene.facts.builds("heir1")
    assert scene.runs("first-1-wait")
    scene.kill()
    scene.start()
    scene.until(lambda: len(scene.facts.of("WorkerUp", worker="w3")) >= 2, "the other worker")
    assert not scene.facts.builds("heir1")
    cable.mend()
    scene.running("heir1-1-in")
    assert not scene.runs("first-1-wait")
    assert scene.facts.of("BuildEnded", buildid=1)[0].result == Result.RETRY
    ups = scene.facts.numbered("WorkerUp", worker="w1")
    held = check_lock(scene.facts, "one", 1)[0]
    assert ups[1].number < held.end
    scene.open("in", "wait")
    assert scene.ended(heir, brid) == [OK, OK]
    again = scene.facts.builds("first")[-1].fact.buildid
    assert scene.output(again, "wait") == "begun\nopen\n"
    assert apart(scene.facts.commands())
