"""Shell commands on a real agent: output, environment, limits, trees, terminals, log files."""

import statistics
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from lockstep.worker.limits import LOG_LOOK
from lockstep.worker.logfiles import FollowedFile

World = Any  # the fixture's class is in conftest.py


def test_output_exit_code_and_streams(world: World) -> None:
    agent = world.agent()
    told = world.master.run("1", command="echo out; echo err >&2; exit 3", workdir="b/build")
    assert told.end.rc == 3
    assert told.end.reason == ""
    assert told.text("stdout") == b"out\n"
    assert told.text("stderr") == b"err\n"
    assert str(agent.basedir / "b/build").encode() in told.text("header")
    assert told.end.produced == told.offset
    assert told.end.elapsed > 0


def test_words_are_not_given_to_a_shell_and_hidden_ones_are_not_shown(world: World) -> None:
    world.agent()
    told = world.master.run("1", command=["echo", "$HOME *", ["obfuscated", "s3cret", "XXXX"]])
    assert told.text("stdout") == b"$HOME * s3cret\n"
    assert b"XXXX" in told.text("header")
    assert b"s3cret" not in told.text("header")


def test_environment(world: World) -> None:
    world.agent()
    told = world.master.run(
        "1",
        command=["sh", "-c", 'echo "$A|$B|${HOME-none}|$C|$PWD|$LOCKSTEP_WORKER_PASSWORD|$S"'],
        workdir="x",
        env={
            "A": "<${AGENT_WORD}${NOTHING}>",
            "B": ["1", "2"],
            "HOME": None,
            "C": "$A",
            "S": ["obfuscated", "hush", "XX"],
        },
    )
    where = str(world.folder / "bot" / "x")
    assert told.text("stdout").decode() == f"<agent's own>|1:2|none|$A|{where}||hush\n"
    header = told.text("header").decode()
    assert "A=<${AGENT_WORD}${NOTHING}>" in header
    assert "agent's own" not in header, "the worker's environment is in no log"
    assert "hush" not in header


def test_want_no_output_and_input(world: World) -> None:
    world.agent()
    told = world.master.run("1", command="cat; echo err >&2", initial_stdin="héllo", want_stderr=False)
    assert told.text("stdout").decode() == "héllo"
    assert told.text("stderr") == b""


def test_a_limit_of_no_seconds_is_none(world: World) -> None:
    """Seen of buildbot-worker."""
    world.agent()
    told = world.master.run("1", command="sleep 0.2; echo done", timeout=0, maxTime=0)
    assert (told.end.rc, told.text("stdout")) == (0, b"done\n")
    assert b"(timeout" not in told.text("header")
    assert b"(maxTime" not in told.text("header")


def test_timeout_without_output(world: World, word: str) -> None:
    world.agent()
    told = world.master.run("1", command=["sh", "-c", f"echo {word}; sleep 1000"], timeout=3)
    assert (told.end.rc, told.end.reason) == (-1, "timeout_without_output")
    assert told.end.results["signal"] == 9
    assert told.text("stdout").decode() == f"{word}\n"
    assert not world.alive(word)


def test_output_keeps_a_command_alive(world: World) -> None:
    world.agent()
    told = world.master.run("1", command="for i in $(seq 16); do echo $i; sleep 0.25; done", timeout=3)
    assert told.end.rc == 0


def test_max_time_and_sigterm_time(world: World) -> None:
    world.agent()
    script = 'trap "echo bye; exit 5" TERM; while :; do sleep 0.05; done'
    told = world.master.run("1", command=script, maxTime=3, sigtermTime=60)
    assert (told.end.rc, told.end.reason) == (-1, "timeout")
    assert told.text("stdout") == b"bye\n"


def test_sigterm_ignored_is_killed(world: World, word: str) -> None:
    world.agent()
    script = f': {word}; trap "" TERM; echo on; while :; do sleep 0.05; done'
    told = world.master.run("1", command=script, maxTime=3, sigtermTime=0.3)
    assert (told.end.reason, told.end.results["signal"]) == ("timeout", 9)
    assert not world.alive(word)


def test_max_lines(world: World) -> None:
    world.agent()
    told = world.master.run("1", command="yes", max_lines=50)
    assert told.end.reason == "max_lines_failure"
    assert told.text("stdout").count(b"\n") > 50


def test_interrupt_kills_the_tree_also_those_that_left_the_session(world: World, word: str) -> None:
    world.agent()
    other = f"w{uuid.uuid4().hex}"
    world.master.start("keep", command=["sh", "-c", f": {other}; sleep 1000"])
    away = "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  time.sleep(1000)\nos._exit(0)"
    script = (
        f'{sys.executable} -c "$P" {word}\n'
        f'setsid sh -c ": {word}; sleep 1000" &\n'
        f'env -i setsid sh -c ": {word}; sleep 999" &\n'
        f"sleep 1000 # {word}"
    )
    world.master.start("1", command=script, env={"P": away})
    world.until(lambda: len(world.alive(word)) >= 4, "the tree")
    world.master.interrupt("1")
    told = world.master.ended("1")
    assert (told.end.rc, told.end.reason) == (-1, "interrupted")
    assert not world.alive(word), "when the end is told, nothing is alive"
    assert "escaped" not in told.end.results
    assert world.alive(other)
    world.master.interrupt("keep")
    world.master.ended("keep")
    assert not world.alive(other)


def test_orphan_without_any_mark_dies_with_the_last_command(world: World, word: str) -> None:
    world.agent()
    script = f'env -i setsid sh -c "(env -i setsid sh -c \\": {word}; sleep 1000\\" &) "; echo ready; sleep 1000'
    world.master.start("1", command=script)
    world.until(lambda: world.alive(word) and world.master.told["1"].text("stdout"), "the orphan")
    world.master.interrupt("1")
    world.master.ended("1")
    assert not world.alive(word)


def test_interrupt_signal(world: World) -> None:
    world.agent()
    script = 'trap "echo caught; exit 0" INT; echo on; while :; do sleep 0.05; done'
    world.master.start("1", command=script, interruptSignal="INT")
    world.master.wait(lambda: world.master.told["1"].text("stdout"), "its first word")
    world.master.interrupt("1")
    assert world.master.ended("1").text("stdout") == b"on\ncaught\n"


def test_a_daemon_does_not_hold_the_command_and_may_stay(world: World, word: str) -> None:
    world.agent()
    quiet = f'setsid sh -c ": {word}; exec sleep 1000" >/dev/null 2>&1 </dev/null & echo done'
    told = world.master.run("1", command=quiet)
    assert told.end.rc == 0
    told = world.master.run("2", command="sleep 1000 & echo loud")
    assert told.end.rc == 0
    assert b"not waited for" in told.text("header")


def test_killed_by_a_signal_and_not_found(world: World) -> None:
    world.agent()
    told = world.master.run("1", command="kill -9 $$")
    assert (told.end.rc, told.end.reason, told.end.results) == (-1, "", {"signal": 9})
    told = world.master.run("2", command=["no-such-program-here"])
    assert told.end.rc == 127
    assert b"no-such-program-here" in told.text("stderr")


def test_terminal(world: World) -> None:
    world.agent()
    told = world.master.run("1", command="test -t 0 && test -t 1 && tty && echo yes </dev/tty", usePTY=True)
    assert told.end.rc == 0
    assert told.text("stdout").endswith(b"yes\r\n")
    told = world.master.run("2", command="test -t 0 || cat", usePTY=True, initial_stdin="given")
    assert told.text("stdout") == b"given"


def test_log_files(world: World) -> None:
    agent = world.agent()
    (agent.basedir / "old.log").write_text("old\n")
    script = "echo one > new.log; echo more >> old.log; sleep 1.5; echo two >> new.log; head -c 9000000 /dev/zero > big"
    logs = {"big": "big", "new": "new.log", "tail": {"filename": "old.log", "follow": True}, "idle": "idle.log"}
    (agent.basedir / "idle.log").write_text("of a former command\n")
    told = world.master.run("1", command=script, logfiles=logs)
    assert told.text("log:new") == b"one\ntwo\n"
    assert told.text("log:tail") == b"more\n"
    assert told.text("log:idle") == b""
    assert told.text("log:big") == bytes(9_000_000)


def test_a_log_file_that_is_a_pipe_keeps_the_agent_from_nothing(world: World) -> None:
    """Who opens one waits until somebody writes."""
    world.agent()
    script = "mkfifo pipe; sleep 1.5; echo done"
    told = world.master.run("1", command=script, logfiles={"a": "pipe", "b": "pipe/below"})
    assert (told.end.rc, told.text("stdout"), told.text("log:a")) == (0, b"done\n", b"")


def test_a_log_file_that_grows_fast_leaves_the_agent_time_for_others(tmp_path: Path) -> None:
    path = tmp_path / "fast.log"
    file = FollowedFile(str(path), follow=False)

    def look() -> int:
        return sum(map(len, file.read()))

    path.write_bytes(bytes(2 * LOG_LOOK + 5))
    assert [(look(), file.behind) for _ in range(4)] == [(LOG_LOOK, True), (LOG_LOOK, True), (5, False), (0, False)]
    path.write_bytes(bytes(7))
    assert (look(), file.behind) == (7, False), "it was cut"
    with path.open("ab") as more:
        more.write(bytes(LOG_LOOK + 1))
        more.flush()
        file.command_ended()
        more.write(b"of what was left behind")
    assert [(look(), file.behind) for _ in range(3)] == [(LOG_LOOK, True), (1, False), (0, False)]


def test_raw_bytes_and_many_small_writes_keep_their_order(world: World) -> None:
    world.agent()
    code = "import sys\nfor i in range(20000): sys.stdout.buffer.write(b'%d\\xff\\n' % i); sys.stdout.flush()"
    told = world.master.run("1", command=[sys.executable, "-c", code])
    assert told.text("stdout") == b"".join(b"%d\xff\n" % i for i in range(20000))


def test_refusals(world: World) -> None:
    agent = world.agent()
    for number, (args, said) in enumerate(
        [
            ({"command": "true", "workdir": "../.."}, "out of the worker's base directory"),
            ({"command": "true", "workdir": ".lockstep"}, "own files"),
            ({"command": "true", "wrkdir": "x"}, "wrkdir"),
            ({"command": []}, "empty"),
        ]
    ):
        told = world.master.run(f"r{number}", **args)
        assert told.end.reason == "refused"
        assert said in told.end.detail
    assert world.master.run("kind", "fly").end.reason == "refused"
    assert world.master.run("absolute", command="pwd", workdir=str(world.folder)).end.rc == 0
    odd = world.master.run("../../odd id/\n", command="true")
    assert odd.end.rc == 0
    world.until(lambda: agent.spooled() == [], "an empty spool")


def test_20_megabytes_come_whole(world: World) -> None:
    """What they cost is measured by `bench/side_by_side.py --only output`."""
    world.agent()
    told = world.master.run("1", command="yes 0123456789012345678901234567890123456789012345678 | head -c 20000000")
    line = b"0123456789012345678901234567890123456789012345678\n"
    assert told.text("stdout") == line * (20_000_000 // len(line))


def test_interrupted_before_its_first_step(world: World) -> None:
    world.agent()
    world.master.prepare("1")

    def both() -> None:
        world.master.session.start("1", "shell", {"command": "echo never"})
        world.master.session.interrupt("1", "changed my mind")

    world.master.call(both)
    told = world.master.ended("1")
    assert (told.end.reason, told.end.produced) == ("interrupted", 0)


def test_a_background_process_that_writes_for_ever_is_let_go(world: World, word: str) -> None:
    world.agent()
    told = world.master.run("1", command=f"(while :; do echo {word}; sleep 0.001; done) & echo done")
    assert told.end.rc == 0
    world.until(lambda: not world.alive(word), "its end, for nobody reads")


def test_quick_commands_are_quick(world: World) -> None:
    world.agent()
    world.master.run("warm", command=["true"])
    times = []
    for number in range(100):
        begin = time.monotonic()
        assert world.master.run(f"{number}", command=["true"]).end.rc == 0
        times.append(time.monotonic() - begin)
    usual = statistics.median(times)  # whatever the machine did meanwhile, half of them met it not
    print(f"one `true`: {usual * 1000:.1f} ms from Start to its end")
    assert usual < 0.1
