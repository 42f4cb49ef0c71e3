"""Kills while much flows: output, log files and transferred files are complete, in order, and there once."""

import hashlib
import os
import random
import time
from collections.abc import Callable

from scene import Scene
from scene_agents import Agent
from timeline import apart, check_lock

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS
LINES = 60_000


def test_fast_output_and_log_files_through_kills(stage: Stage) -> None:
    """Sixty thousand lines on stdout, some on stderr and in a log file, and five kills at random moments."""
    scene = stage(
        """
        text = '''
            for i in $(seq 0 29); do
                seq $((i * 2000 + 1)) $((i * 2000 + 2000)); echo "error $i" >&2; echo "note $i" >> notes.txt; sleep 0.1
            done'''
        c['workers'] = workers('w1')
        c['builders'] = [build('flood', sh('pour', text, logfiles={'notes': 'notes.txt'}))]
        """,
        "w1",
    )
    seed = int(os.environ.get("LOCKSTEP_SEED") or random.randrange(1 << 30))
    print(f"LOCKSTEP_SEED={seed}")
    chance = random.Random(seed)
    (brid,) = scene.force("flood")
    scene.until(lambda: scene.facts.commands("pour"), "the command")
    for _ in range(5):
        time.sleep(chance.random() * 0.4)  # the moment is the test's matter: any is as good
        scene.kill()
        scene.start()
    assert scene.ended(brid) == [OK]
    assert scene.output(1, "pour") == "".join(f"{i}\n" for i in range(1, LINES + 1))
    assert scene.output(1, "pour", streams="e") == "".join(f"error {i}\n" for i in range(30))
    assert scene.output(1, "pour", slug="notes") == "".join(f"note {i}\n" for i in range(30))
    assert len(scene.facts.commands()) == 1


def test_files_are_transferred_whole_through_kills(stage: Stage) -> None:
    """Up, down and up again, with a kill in each; checksums tell."""
    scene = stage(
        """
        up, again = os.path.join(here, 'up'), os.path.join(here, 'again')
        c['workers'] = workers('w1')
        c['builders'] = [build('carry',
            sh('make', 'head -c 30000000 /dev/urandom > big; sha256sum < big'),
            steps.FileUpload(name='up', workersrc='big', masterdest=up, maxsize=None),
            steps.FileDownload(name='down', mastersrc=up, workerdest='copy'),
            sh('sum', 'sha256sum < copy'),
            steps.FileUpload(name='again', workersrc='copy', masterdest=again))]
        """,
        "w1",
    )
    (brid,) = scene.force("carry")
    for name in ("up", "down", "again"):
        scene.until(lambda name=name: scene.facts.commands(name), f"the transfer {name}")
        scene.kill()
        scene.start()
    assert scene.ended(brid) == [OK]
    wanted = scene.output(1, "make").split()[0]
    assert scene.output(1, "sum").split()[0] == wanted
    for name in ("up", "again"):
        assert hashlib.sha256((scene.folder / name).read_bytes()).hexdigest() == wanted


def test_server_and_agent_die_together(stage: Stage) -> None:
    """What ran is tried again, with its ticket, when both are back, and nobody came between."""
    scene = stage(
        """
        one = util.MasterLock('one')
        c['workers'] = workers('w1', 'w2')
        c['builders'] = [build('holder', gate('in'), locks=[one.access('exclusive')]),
                         build('other', gate('in'), on='w2', locks=[one.access('exclusive')])]
        """,
        "w1",
        "w2",
    )
    (holder,) = scene.force("holder")
    scene.running("holder-1-in")
    (other,) = scene.force("other")
    agent = scene.agents["w1"]
    assert isinstance(agent, Agent)
    scene.kill()
    agent.kill()
    scene.until(lambda: not scene.runs("holder-1-in"), "the guardian's work")
    scene.start()
    scene.until(lambda: len(scene.facts.of("WorkerUp", worker="w2")) >= 2, "the other worker")
    assert len(scene.facts.builds()) == 1
    scene.agent("w1")
    assert scene.fact("RequestPutBack", brid=holder)
    scene.open("in")
    assert set(scene.ended(holder, other)) == {OK}
    ticket = scene.facts.of("RequestAdded", brid=holder)[0].ticket
    assert [span.fact.ticket for span in check_lock(scene.facts, "one", 1)].count(ticket) == 2
    assert apart(scene.facts.commands("in"))
