"""Projects that share a database by weight, at a running server: who comes first, across a crash and a reload."""

import json
from collections.abc import Callable

from scene import Scene

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

CONFIG = """
    db = util.MasterLock('db', maxCount=3)
    c['workers'] = workers('w1', 'w2', 'w3', 'w4')
    every = ['w1', 'w2', 'w3', 'w4']
    c['builders'] = [build('app', gate('go'), project='apps', locks=[db.access('counting')], on=every),
                     build('doc', gate('go'), project='docs', locks=[db.access('counting')], on=every)]
    c['shares'] = [util.Shares({'apps': 1, 'docs': 1}, locks=[db])]
    """


def test_who_has_less_than_its_share_comes_first_also_after_a_crash(stage: Stage) -> None:
    scene = stage(CONFIG, "w1", "w2", "w3", "w4")
    mine = scene.force("app", 5)
    for number in (1, 2, 3):
        scene.running(f"app-{number}-go")
    theirs = scene.force("doc", 2)
    told = " Project 'apps' has 3 of what is shared, and 1 by weight: who has less comes first."
    scene.until(lambda: scene.why(mine[3])["sentence"].endswith(told), "apps to be told")
    assert "by weight" not in scene.why(theirs[0])["sentence"]
    shown = scene.cli("locks", "db").stdout
    assert "  shared by weight:\n    everybody else, weight 1: has 0, due 1\n" in shown
    assert (
        "    project 'apps', weight 1: has 3, due 1, borrows 2\n    project 'docs', weight 1: has 0, due 1\n" in shown
    )
    (lock,) = json.loads(scene.cli("locks", "db", "--json").stdout)
    assert lock["shared"]["together"] == ["lock 'db'"]
    assert lock["shared"]["parts"][1] == {
        "project": "apps",
        "who": "project 'apps'",
        "weight": 1,
        "used": 3,
        "due": 1.0,
        "borrowed": 2.0,
        "here": 3,
    }

    scene.kill()
    scene.start()
    scene.open("app-1-go")
    scene.running("doc-1-go")
    scene.open("app-2-go")
    assert scene.ended(*mine[:2]) == [Result.SUCCESS] * 2
    scene.running("app-4-go")  # each has one of three, and the turns go on

    # Without shares it is first come, first served again.
    scene.configure(CONFIG.replace("c['shares']", "unused"))
    assert scene.cli("reload").returncode == 0
    scene.open("app-3-go")
    scene.running("app-5-go")
    scene.open("go")
    assert scene.ended(*mine, *theirs) == [Result.SUCCESS] * 7
