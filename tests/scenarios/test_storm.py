"""Everything at once: kills of server and agents, cut cables, cancels and reloads over builds that want many locks.

What happens when comes from one seed, which is printed; LOCKSTEP_SEED repeats it (as far as processes repeat).
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scene import Scene
from scene_agents import Agent, Cable
from timeline import apart, check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
GUARD = Path(__file__).with_name("guard.sh")
WORKERS = ("w1", "w2", "w3")
CONFIG = f"""
    database = util.MasterLock('database')
    memory = util.MasterLock('memory', maxCount=MEMORY)
    cpu = util.WorkerLock('cpu', maxCount=2, maxCountForWorker={{'w1': 1}})
    alone = database.access('exclusive')
    def guarded(**more):
        return sh('guarded', ['sh', {str(GUARD)!r}, here, '8'], **more)
    def spend(units, **more):
        return sh('spend', 'for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.03; done',
                  locks=[memory.access('counting', units)], **more)
    on = ['w1', 'w2', 'w3']
    c['workers'] = workers(*on)
    c['builders'] = [
        build('step', spend(1), guarded(locks=[alone]), spend(2), on=on),
        build('whole', guarded(), on=on[::-1], locks=[alone, cpu]),
        build('both', guarded(locks=[memory.access('counting', 2), alone]), on=['w2', 'w3'], locks=[cpu]),
        build('greedy', sh('all', 'echo all; sleep 0.1'), on=on, locks=[memory.access('exclusive')]),
        build('child', guarded(locks=[alone]), on=on),
        build('parent', spend(1), steps.Trigger(schedulerNames=['kids'], waitForFinish=True), on=on),
        build('busy', spend(3), sh('quick', locks=[cpu.access('exclusive')]), on=on),
    ]
    c['schedulers'] = [schedulers.Triggerable(name='kids', builderNames=['child'])]
"""
BUILDERS = ("step", "whole", "both", "greedy", "parent", "busy")


class Storm:
    """One server whose three agents are connected through cables."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene = scene
        self.chance = chance
        self.cables = {name: Cable(scene.port) for name in WORKERS}
        self.requests: list[int] = []
        for name in WORKERS:
            scene.agent(name, url=self.cables[name].url, wait=False)
        self.events = (self.kill_server, self.kill_agent, self.cut, self.cancel, self.reload, self.more, self.more)

    def more(self) -> None:
        """More work."""
        for _ in range(4):
            self.requests += self.scene.force(self.chance.choice(BUILDERS))

    def kill_server(self) -> None:
        """kill -9, and again."""
        self.scene.kill()
        self.scene.start()

    def kill_agent(self) -> None:
        """kill -9 for an agent; a new one comes."""
        name = self.chance.choice(WORKERS)
        agent = self.scene.agents[name]
        assert isinstance(agent, Agent)
        self.scene.until(agent.serves, "the agent's beginning")
        agent.kill()
        self.scene.agent(name, url=self.cables[name].url, wait=False)

    def cut(self) -> None:
        """A cable is cut for a moment."""
        cable = self.cables[self.chance.choice(WORKERS)]
        cable.cut()
        time.sleep(self.chance.random())
        cable.mend()

    def cancel(self) -> None:
        """A request that has not ended is cancelled."""
        ended = {fact.brid for fact in self.scene.facts.of("RequestEnded")}
        waiting = [brid for brid in self.requests if brid not in ended]
        if waiting:
            told = self.scene.cli("cancel", str(self.chance.choice(waiting)))
            assert told.returncode == 0 or "has ended already" in told.stderr or "complete" in told.stderr, told

    def reload(self) -> None:
        """Another limit."""
        self.scene.configure(CONFIG.replace("MEMORY", str(self.chance.choice((3, 4, 5)))))
        assert self.scene.cli("reload").returncode == 0

    def run(self, events: int) -> None:
        """So many events; then everything must end, and everything must have held."""
        self.more()
        self.more()
        for _ in range(events):
            event = self.chance.choice(self.events)
            print(event.__name__, end=" ", flush=True)
            event()
            time.sleep(self.chance.random() * 0.5)  # the moment is the test's matter: any is as good
        assert set(self.scene.ended(*self.requests)) <= {Result.SUCCESS, Result.CANCELLED}
        self.check()

    def check(self) -> None:
        """Nobody complained, and the facts agree."""
        faults = self.scene.folder / "faults"
        assert not faults.exists(), faults.read_text()
        facts = self.scene.facts
        check_lock(facts, "database", 1)
        check_lock(facts, "memory", 5)
        for name, limit in (("w1", 1), ("w2", 2), ("w3", 2)):
            if facts.holds(f"cpu on {name}"):
                check_lock(facts, f"cpu on {name}", limit)
        assert apart(facts.commands("guarded"))
        self.scene.until(lambda: not self.scene.all("claims"), "the end of all claims")
        said = "".join(f"line {i}\n" for i in range(1, 9))
        for span in (s for name in ("spend", "guarded") for s in facts.steps(name)):
            if facts.of("StepEnded", stepid=span.fact.stepid, result=Result.SUCCESS):
                number = span.fact.number
                assert self.scene.output(span.fact.buildid, str(number)) == said


@pytest.fixture
def storm(stage: Stage) -> Iterator[Storm]:
    """A server, and what may happen to it."""
    seed = int(os.environ.get("LOCKSTEP_SEED") or random.randrange(1 << 30))
    print(f"LOCKSTEP_SEED={seed}")
    made = Storm(stage(CONFIG.replace("MEMORY", "4")), random.Random(seed))
    yield made
    for cable in made.cables.values():
        cable.close()


def test_a_short_storm(storm: Storm) -> None:
    storm.run(12)


@pytest.mark.soak
def test_a_long_storm(storm: Storm) -> None:
    storm.run(250)
