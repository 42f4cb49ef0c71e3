"""Commands outlive connections, masters and (in what can be told of them) agents: resume, lease, spool,
refusals.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.ports import KeptPort

World = Any  # the fixture's class is in conftest.py

COUNT = "i=0; while [ $i -lt {} ]; do i=$((i+1)); echo line $i; done"


def lines(count: int) -> bytes:
    return b"".join(b"line %d\n" % i for i in range(1, count + 1))


def test_a_broken_connection_loses_and_doubles_nothing(world: World) -> None:
    world.agent()
    gate = world.folder / "gate"
    script = f"{COUNT.format(3000)}; while [ ! -e {gate} ]; do sleep 0.02; done; echo after"
    world.master.start("1", command=script)
    world.master.wait(lambda: world.master.told["1"].offset > 1000, "some output")
    for round_ in range(3):
        world.master.cut()
        world.master.open()
        world.master.wait(lambda n=round_: len(world.master.hellos) > n + 1, "the agent again")
    world.master.cut()
    gate.touch()
    world.master.open()
    told = world.master.ended("1")
    assert told.text("stdout") == lines(3000) + b"after\n"
    assert told.ends == 1
    assert [known.command for known in world.master.hellos[-1].commands] == ["1"]
    assert len({(hello.home, hello.boot, hello.life) for hello in world.master.hellos}) == 1


def test_a_command_ends_while_nobody_listens(world: World) -> None:
    agent = world.agent()
    world.master.acking = False
    world.master.start("1", command=f"{COUNT.format(2000)}; exit 7")
    world.master.ended("1")
    assert agent.spooled() == ["1.0"], "kept until it is acknowledged"
    world.master.cut()
    told = world.master.told["1"]
    world.master.wanted.add("1")
    told.end, told.offset = None, 5000
    kept = told.text("stdout")
    told.pieces = []
    world.master.acking = True
    world.master.open()
    told = world.master.ended("1")
    assert told.end.rc == 7
    header = sum(1 for piece in told.pieces if piece.stream == "header")
    assert header == 0, "it goes on where the master is"
    assert kept.endswith(told.text("stdout"))
    world.until(lambda: agent.spooled() == [], "an empty spool")


def test_start_is_idempotent(world: World) -> None:
    agent = world.agent()
    world.master.start("1", command="echo run >> runs; sleep 0.3")
    world.master.cut()
    world.master.open()
    world.master.wait(lambda: len(world.master.hellos) >= 2, "the agent again")
    world.master.call(lambda: world.master.session.start("1", "shell", {"command": "echo run >> runs"}))
    assert world.master.ended("1").end.rc == 0
    assert (agent.basedir / "runs").read_text() == "run\n"


def test_what_the_master_does_not_want_is_ended(world: World, word: str) -> None:
    agent = world.agent()
    world.master.start("1", command=f"sleep 1000; : {word}")
    world.until(lambda: world.alive(word), "the command")
    world.master.cut()
    world.master.wanted.clear()
    world.master.open()
    world.master.wait(lambda: world.master.cleared == ["1"], "its end")
    assert not world.alive(word)
    assert "command 1 is interrupted: the master does not know this command" in agent.log.read_text()
    world.until(lambda: agent.spooled() == [], "an empty spool")


BACKUP = 9_000_000
"""Bytes that an older backup has of 40 MB: the agent has given back the file of its spool in which they end."""


def restore(world: World, command: str) -> None:
    """Have the master be what it was when it had `BACKUP` bytes of a command."""
    told = world.master.told[command]
    told.pieces, told.offset, told.end = [], BACKUP, None
    world.master.wanted = {command}


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("life", ["same", "next"])
def test_a_master_that_was_restored_from_an_older_backup(world: World, word: str, ended: bool, life: str) -> None:
    """It needs output that it had acknowledged: the command is lost, and the agent goes on."""
    agent, gate = world.agent(), world.folder / "gate"
    world.master.start("1", command=f"head -c 40000000 /dev/zero; until [ -e {gate} ]; do sleep 0.02; done # {word}")
    world.master.wait(lambda: world.master.told["1"].offset >= 40_000_000, "its output")
    world.until(lambda: len(agent.spooled()) <= 3, "room in the spool")
    world.master.acking = False
    if ended:
        gate.touch()
        world.master.ended("1")
    world.master.cut()
    restore(world, "1")
    if life == "next":
        os.kill(agent.pid(), signal.SIGKILL)
        agent.ended()
    world.master.acking = True
    world.master.open()
    if life == "next":
        agent = world.agent()
    told = world.master.ended("1")
    assert (told.end.rc, told.end.reason) == (-1, "lost")
    assert "an older backup?" in told.end.detail
    assert not world.alive(word)
    assert agent.log.read_text().count("command 1 is ended, and its files are put away: the server has no more") == 1
    world.until(lambda: agent.spooled() == [], "an empty spool")
    assert world.master.run("2", command="echo again").text("stdout") == b"again\n"


def test_what_has_ended_and_the_master_does_not_know_is_put_away(world: World) -> None:
    agent = world.agent()
    world.master.acking = False
    world.master.run("1", command="echo lost")
    world.master.cut()
    world.master.told.clear()
    agent.stop()
    world.master.open()
    agent = world.agent()
    world.until(lambda: agent.spooled() == [], "an empty spool")
    assert "command 1 is put away: the server does not know it" in agent.log.read_text()


def test_a_restored_master_uses_the_names_of_forgotten_commands_again(world: World) -> None:
    agent = world.agent()
    assert world.master.run("1", command="echo old").text("stdout") == b"old\n"
    world.until(lambda: agent.spooled() == [], "an empty spool")
    world.master.cut()
    world.master.open()
    world.master.wait(lambda: len(world.master.hellos) >= 2, "the agent again")
    assert world.master.run("1", command="echo new").text("stdout") == b"new\n"


def test_a_command_that_never_arrived_is_told_from_a_lost_one(world: World) -> None:
    agent = world.agent()
    world.master.cut()
    world.master.wanted.add("never")
    world.master.open()
    world.master.wait(lambda: world.master.absent, "what is absent")
    assert (world.master.absent[0].command, world.master.absent[0].never_arrived) == ("never", True)
    agent.stop()
    home = Path(agent.basedir, ".lockstep", "home")
    home.unlink()
    world.agent()
    assert world.master.absent[-1].never_arrived is False


def test_lease_ends_commands_when_the_master_is_silent(world: World, word: str) -> None:
    world.agent("--lease", "5")
    world.master.start("1", command=f"setsid sh -c ': {word}; sleep 1000' & sleep 1000 # {word}")
    world.until(lambda: len(world.alive(word)) >= 2, "the tree")
    world.master.fall_silent()
    world.until(lambda: not world.alive(word), "the end of the lease")
    world.master.cut()
    world.master.speak_again()
    assert world.master.ended("1").end.reason == "lease"
    assert world.master.run("2", command="echo again").end.rc == 0


def test_an_agent_that_slept_beyond_its_lease_is_not_saved_by_waking_up(world: World, word: str) -> None:
    agent = world.agent("--lease", "5")
    world.master.start("1", command=f"sleep 1000; : {word}")
    world.until(lambda: world.alive(word), "the command")
    os.kill(agent.pid(), signal.SIGSTOP)
    over = time.clock_gettime(time.CLOCK_BOOTTIME) + 5.1
    world.until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > over, "the end of the lease")
    os.kill(agent.pid(), signal.SIGCONT)
    assert world.master.ended("1").end.reason == "lease"
    assert not world.alive(word)


def test_a_master_that_does_not_read_is_left(world: World) -> None:
    world.agent("--lease", "3")
    world.master.start("1", command="head -c 60000000 /dev/zero; sleep 0.1; echo end")
    world.master.wait(lambda: world.master.told["1"].offset > 100_000, "some output")
    world.master.stop_reading()
    world.master.wait(lambda: len(world.master.hellos) >= 2, "a new connection")
    told = world.master.ended("1")
    if told.end.reason == "":
        assert told.text("stdout") == b"\0" * 60_000_000 + b"end\n"
    else:
        assert told.end.reason == "lease"


def test_an_idle_connection_keeps_its_lease(world: World) -> None:
    world.agent("--lease", "6")
    told = world.master.run("1", command="sleep 8; echo still here")
    assert told.text("stdout") == b"still here\n"
    assert len(world.master.hellos) == 1


def test_a_killed_agent_takes_its_commands_along_and_says_so(world: World, word: str) -> None:
    agent = world.agent()
    world.master.start("1", command=f"echo begun; setsid sh -c ': {word}; sleep 1000' & sleep 1000 # {word}")
    world.master.wait(lambda: world.master.told["1"].text("stdout"), "its first word")
    world.until(lambda: len(world.alive(word)) >= 2, "the tree")
    os.kill(agent.pid(), signal.SIGKILL)
    assert agent.ended() == 128 + 9
    assert not world.alive(word), "the guardian has ended them"
    world.agent()
    told = world.master.ended("1")
    assert (told.end.reason, told.end.rc) == ("lost", -1)
    assert told.text("stdout") == b"begun\n"
    assert world.master.hellos[0].life != world.master.hellos[1].life
    assert world.master.hellos[0].home == world.master.hellos[1].home


def test_leftovers_of_a_former_life_are_killed_first(world: World, word: str) -> None:
    agent = world.agent("--no-guard")
    world.master.start("1", command=f"setsid sh -c ': {word}; sleep 1000' & sleep 1000 # {word}")
    world.until(lambda: len(world.alive(word)) >= 2, "the tree")
    agent.popen.kill()
    agent.ended()
    assert world.alive(word)
    world.agent("--no-guard")
    assert not world.alive(word)
    assert world.master.ended("1").end.reason == "lost"


def test_ends_survive_the_agent(world: World) -> None:
    agent = world.agent()
    world.master.acking = False
    world.master.start("1", command="echo precious; exit 4")
    world.master.ended("1")
    world.master.cut()
    os.kill(agent.pid(), signal.SIGKILL)
    agent.ended()
    told = world.master.told["1"]
    world.master.wanted.add("1")
    told.pieces, told.offset, told.end = [], 0, None
    world.master.acking = True
    world.master.open()
    agent = world.agent()
    told = world.master.ended("1")
    assert (told.end.rc, told.end.reason, told.text("stdout")) == (4, "", b"precious\n")
    world.until(lambda: agent.spooled() == [], "an empty spool")


def test_a_killed_guardian_ends_the_agent_and_its_commands(world: World, word: str) -> None:
    agent = world.agent()
    world.master.start("1", command=f"sleep 1000; : {word}")
    world.until(lambda: world.alive(word), "the command")
    agent.popen.kill()
    world.until(lambda: not world.alive(word), "the end of its commands")
    world.until(lambda: not world.alive(str(agent.basedir)), "the end of the agent")


def test_stopping_ends_commands_and_tells(world: World, word: str) -> None:
    agent = world.agent()
    world.master.start("1", command=f"sleep 1000; : {word}")
    world.until(lambda: world.alive(word), "the command")
    assert agent.stop() == 0
    assert not world.alive(word)
    assert world.master.leaving
    assert world.master.ended("1").end.reason == "shutdown"
    agent = world.agent()
    world.master.call(lambda: world.master.session.shutdown("for a test"))
    assert agent.ended() == 0


def test_an_agent_that_is_stopped_while_it_connects_ends_at_once(world: World, word: str) -> None:
    """It waits for no answer: no attempt to connect comes to its end, or it would be in the log."""
    agent = world.agent()
    world.master.start("1", command=f"sleep 1000; : {word}")
    world.until(lambda: world.alive(word), "the command")
    world.master.cut()
    with socket.socket() as mute:
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mute.bind(("127.0.0.1", world.master.port))
        mute.listen()
        with mute.accept()[0] as held:
            assert held.recv(1), "it asks for a WebSocket"
            before = agent.log.read_text().count("cannot be reached")
            assert agent.stop() == 0
    assert agent.log.read_text().count("cannot be reached") == before
    assert not world.alive(word)


def test_an_agent_that_is_stopped_while_nobody_welcomes_it_ends_at_once(world: World, word: str) -> None:
    agent = world.agent()
    world.master.start("1", command=f"sleep 1000; : {word}")
    world.until(lambda: world.alive(word), "the command")
    world.master.fall_silent()
    world.master.cut()
    world.master.open()
    world.master.wait(lambda: world.master.unheard, "a Hello")
    before = agent.log.read_text().count("cannot be reached")
    assert agent.stop() == 0
    assert agent.log.read_text().count("cannot be reached") == before
    assert not world.alive(word)


def test_an_agent_that_is_stopped_waits_for_no_device(world: World) -> None:
    """Nothing can be read from the terminal, and what reads it cannot be ended."""
    agent = world.agent()
    ours, theirs = os.openpty()
    try:
        world.master.start("1", "upload_file", path=os.ttyname(theirs))
        world.master.wait(lambda: world.master.told["1"].offset, "its header")
        assert agent.stop() == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_was_on_its_way_to_an_agent_that_is_being_stopped_does_not_begin(world: World) -> None:
    agent = world.agent()
    world.master.run("0", command="true")  # it knows that it is welcomed
    world.master.too_late = ("1", "2")
    assert agent.stop() == 0
    for command in ("1", "2"):
        end = world.master.told[command].end
        assert (end.reason, end.detail, end.produced) == ("shutdown", "the worker is stopped", 0)
    assert not agent.spooled()


def test_much_output_waits_on_the_disk(world: World) -> None:
    agent = world.agent()
    world.master.acking = False
    world.master.start("1", command="head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end")
    world.until(lambda: len(agent.spooled()) >= 4, "the spool's files")
    world.until(
        lambda: sum((agent.basedir / ".lockstep/commands" / f).stat().st_size for f in agent.spooled()) > 3e7, "it"
    )
    assert world.master.told["1"].offset < 8_000_000, "no more than the window is sent"
    world.master.ack_all()
    told = world.master.ended("1")
    assert told.text("stdout") == b"x" * 30_000_000 + b"\nend\n"
    memory = next(x for x in Path(f"/proc/{agent.pid()}/status").read_text().splitlines() if "VmHWM" in x)
    assert int(memory.split()[1]) < 100_000, "kilobytes"
    world.until(lambda: agent.spooled() == [], "an empty spool")


def test_wrong_password_unknown_and_duplicate_names(world: World) -> None:
    agent = world.agent("--once", wait=False, password="wrong")
    assert agent.ended() == 3
    assert "unknown worker 'bot' or wrong password" in agent.log.read_text()
    assert "wrong\n" not in agent.log.read_text().replace("or wrong password", "")
    world.master.refusal = "a worker 'bot' is connected already, from another place"
    agent = world.agent("--once", wait=False, name="second")
    assert agent.ended() == 3
    assert "connected already, from another place" in agent.log.read_text()
    patient = world.agent(wait=False, name="third")
    world.until(lambda: "connected already" in patient.log.read_text(), "its complaint")
    world.master.refusal = ""
    world.master.attached()
    assert patient.log.read_text().count("connected already") == 1, "the same trouble is said once"


def test_two_agents_in_one_directory(world: World) -> None:
    world.agent()
    second = world.agent(wait=False)
    assert second.ended() == 4
    assert "another worker (process" in second.log.read_text()
    assert world.master.run("1", command="echo fine").end.rc == 0


def test_a_master_on_the_same_machine_is_asked_directly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy the environment names: what is behind it would be another machine's `127.0.0.1`."""
    kept = KeptPort()  # nobody listens there
    for name in ("http_proxy", "https_proxy", "socks_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{kept.number}")
    monkeypatch.delenv("no_proxy", raising=False)
    world.agent()
    assert world.master.run("1", command="echo fine").end.rc == 0
    kept.give_back()


def test_a_folder_that_cannot_be_used_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / ".lockstep").write_text("in the way")
    agent = world.agent(wait=False)
    assert agent.ended() == 4
    assert f"the worker cannot use the folder {tmp_path / 'bot'}" in agent.log.read_text()


def test_an_agent_that_fails_says_so(tmp_path: Path) -> None:
    code = "from lockstep.worker.guard import guarded; guarded(lambda deadline: [][0])"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "a fault of Lockstep itself" in done.stderr
    assert "IndexError" in done.stderr


KILLS = 7


def test_a_master_that_is_killed_again_and_again(world: World, tmp_path: Path) -> None:
    """A master in a process of its own, with its store on disk, is killed with SIGKILL under load."""
    store = tmp_path / "store"
    store.mkdir()
    kept = KeptPort()
    share = 5000 // (KILLS + 1) // 5 * 5
    scripts = {
        f"c{i}": f"for r in $(seq 0 {KILLS}); do until [ -e {store}/gate$r ]; do sleep 0.01; done; "
        f"for n in $(seq $((r * {share} + {i})) "
        f"5 $((r * {share} + {share - 1}))); do echo $n; sleep 0.001; done; done; exit {i}"
        for i in range(5)
    }
    (store / "commands.json").write_text(json.dumps(scripts))
    program = [sys.executable, str(Path(__file__).with_name("master_program.py")), str(kept.number), str(store)]
    world.master.port, old = kept.number, world.master.port
    world.agent(wait=False)
    world.master.port = old

    def stored() -> int:
        return sum(path.stat().st_size for path in store.glob("*.stdout"))

    def ends() -> int:
        return len(list(store.glob("*.end")))

    for kill in range(KILLS + 1):
        master = subprocess.Popen(program)
        try:
            before = stored()
            (store / f"gate{kill}").touch()
            if kill < KILLS:  # the commands cannot get past the next gate: it is killed in the middle of their output
                world.until(lambda n=before: stored() > n + 700, "more output")
                assert ends() == 0
            else:
                world.until(lambda: ends() == len(scripts), "the ends")
        finally:
            master.kill()
            master.wait()
    for i, name in enumerate(scripts):
        wanted = b"".join(b"%d\n" % n for n in range(i, share * (KILLS + 1), 5))
        assert (store / f"{name}.stdout").read_bytes() == wanted
        assert json.loads((store / f"{name}.end").read_text())["rc"] == i
    kept.give_back()
