"""A build that waits for its children lends them what it holds (L53), on a whole server with real agents.

The first is fault 17 of LOCKS.md section 11: a parent that holds what its triggered child needs.
"""

from collections.abc import Callable
from typing import Any

import pytest
from scene import Scene
from timeline import apart

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

CONFIG = """
    board = util.MasterLock('board', maxCount=1000)
    use, alone = board.access('counting'), board.access('exclusive')
    held = {held!r}
    c['workers'] = workers('w1', max_builds=1)
    trigger = steps.Trigger(schedulerNames=['both'], waitForFinish=True)
    c['builders'] = [
        build('parent', sh('first'), trigger, gate('last'), locks=[alone if held == 'exclusive' else use]),
        build('one', gate('child', locks=[use]), locks=[]),
        build('two', sh('s'), locks=[alone if held == 'exclusive' else use]),
        build('stranger', sh('s'), locks=[alone]),
    ]
    c['schedulers'] = [schedulers.Triggerable('both', ['one', 'two'])]
"""


@pytest.mark.parametrize("held", ["exclusive", "counting"])
def test_fault_17_a_parent_that_holds_what_its_child_needs(stage: Stage, held: str) -> None:
    """Its children use its lock and the only slot of its worker; who waits for the whole lock comes after it."""
    scene = stage(CONFIG.format(held=held), "w1")
    (parent,) = scene.force("parent")
    scene.running("one-1-child")
    whole = " exclusive" if held == "exclusive" else ""
    told = scene.cli("locks").stdout
    assert f"parent #1{whole}, step 'child' of one #1 (lent by parent #1)" in told, told
    assert "lent by parent #1" in scene.page("/locks/board")[1]
    (stranger,) = scene.force("stranger")
    assert "board" in scene.why(stranger)["sentence"]
    scene.kill()
    scene.start()
    scene.open("child")
    scene.running("parent-1-last")
    scene.open("last")
    assert scene.ended(parent, stranger) == [Result.SUCCESS] * 2
    facts = scene.facts
    parents, strangers = facts.builds("parent"), facts.builds("stranger")
    children = facts.builds("one", "two")
    assert len(children) == 2
    assert apart(children), "one slot is lent, so one child at a time"
    assert all(child.meets(parents[0]) for child in children)
    assert apart([*parents, *strangers])
    granted = [line for line in scene.cli("locks", "board", "--history").stdout.splitlines() if "  granted  " in line]
    lent = [line.endswith("lent by the build that waits for it") for line in granted]
    assert lent == [False, True, True, False], "to the parent, its two children, the stranger"
    fences: list[dict[str, Any]] = [fact.fences for fact in facts.of("BuildStarted", builder="two")]
    lender = facts.of("BuildStarted", builder="parent")
    assert [each["board"] for each in fences] == [each.fences["board"] for each in lender]
