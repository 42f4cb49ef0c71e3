"""Whoever cannot keep a lease loses it, and what ran ends: agents that stand still, that have no disk, that nobody
wants (L61).
"""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

World = Any  # the fixture's class is in conftest.py
LEASE = 5.0
"""Seconds; while a test is not about its end, the machine may stand still for most of them."""


def wait_for(world: World, seconds: float) -> None:
    """Wait until so much time is over, on the clock of leases."""
    end = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    world.until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > end, "time to pass")


def works_again(world: World) -> bool:
    """Whether the agent runs commands; with a new connection, for it may be about to make one."""
    world.master.cut()
    world.master.open()
    world.master.attached()
    rc: int = world.master.run("again", command="echo again").end.rc
    return rc == 0


def test_the_guardian_ends_what_an_agent_runs_that_stands_still(world: World, word: str) -> None:
    agent = world.agent("--lease", f"{LEASE}")
    world.master.start("1", command=f"setsid sh -c ': {word}; sleep 1000' & sleep 1000 # {word}")
    world.until(lambda: len(world.alive(word)) >= 2, "the tree")
    world.master.fall_silent()
    os.kill(agent.pid(), signal.SIGSTOP)
    world.until(lambda: not world.alive(word), "the guardian's work")
    world.master.cut()
    world.master.speak_again()
    os.kill(agent.pid(), signal.SIGCONT)
    assert world.master.ended("1").end.reason == "lease"
    assert works_again(world)


def test_the_guardian_leaves_a_background_process_alone_while_no_command_runs(world: World, word: str) -> None:
    agent = world.agent("--lease", f"{LEASE}")
    told = world.master.run("1", command=f"setsid sh -c ': {word}; sleep 1000' > /dev/null 2>&1 & echo done")
    assert told.end.rc == 0
    world.master.cut()
    wait_for(world, LEASE + 3.5)
    assert world.alive(word)
    assert agent.stop() == 0
    assert not world.alive(word)


def test_a_command_that_was_sent_long_ago_does_not_begin(world: World, tmp_path: Path) -> None:
    """The master may have given on what it holds: it waits for the lease, not for words that are on their way."""
    agent = world.agent("--lease", f"{LEASE}")
    os.kill(agent.pid(), signal.SIGSTOP)
    world.master.start("1", command=f"touch {tmp_path / 'begun'}")
    wait_for(world, LEASE + 0.2)
    os.kill(agent.pid(), signal.SIGCONT)
    assert world.master.ended("1").end.reason == "lease"
    assert not (tmp_path / "begun").exists()
    assert works_again(world)


def test_ctrl_z_does_not_stop_an_agent(world: World) -> None:
    """Its commands would run on without it."""
    url = f"ws://127.0.0.1:{world.master.port}/"
    words = [sys.executable, "-m", "lockstep.worker", "--url", url, "--name", "bot", "--basedir", str(world.folder)]
    env = {**os.environ, "LOCKSTEP_WORKER_PASSWORD": "secret"}
    popen = subprocess.Popen(words, env=env, process_group=0, stderr=subprocess.DEVNULL)
    try:
        world.master.attached()
        os.killpg(popen.pid, signal.SIGTSTP)
        assert world.master.run("1", command="echo here").end is not None
    finally:
        os.killpg(popen.pid, signal.SIGCONT)
        popen.terminate()
        assert popen.wait() == 0


def test_a_full_disk_ends_a_command_also_before_its_first_word(world: World, word: str) -> None:
    """A file size limit stands for the disk."""
    agent = world.agent()
    before = resource.prlimit(agent.pid(), resource.RLIMIT_FSIZE)
    for room in range(0, 500, 25):
        resource.prlimit(agent.pid(), resource.RLIMIT_FSIZE, (room, before[1]))
        told = world.master.run(f"full-{room}", command=f"head -c 9999 /dev/zero; sleep 1000; : {word}")
        assert told.end.reason in ("error", "refused"), told.end
        assert not world.alive(word)
    resource.prlimit(agent.pid(), resource.RLIMIT_FSIZE, before)
    assert works_again(world)


def test_an_agent_whose_master_is_nowhere_any_more_ends(world: World, tmp_path: Path) -> None:
    """The file that says where it is has gone, as with the folder of a server that somebody has deleted."""
    address = tmp_path / "url"
    address.write_text(f"ws://127.0.0.1:{world.master.port}/\n")
    agent = world.agent("--lease", "1", "--url", f"@{address}")
    address.unlink()
    world.master.cut()
    assert agent.ended() == 0
    assert "has not been there" in agent.log.read_text()
