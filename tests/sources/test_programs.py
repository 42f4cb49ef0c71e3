"""Programs that the server runs: what they say is bounded, and those that hang keep nobody else waiting."""

import asyncio
import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lockstep.sources.base import PollError
from lockstep.sources.programs import run_program

DEADLINE = 60.0
"""Seconds after which something is given up; generous, because machines may be slow."""


def test_of_a_check_that_talks_and_talks_only_the_end_is_kept(tmp_path: Path) -> None:
    words = ["sh", "-c", "head -c 30000000 /dev/zero; echo the end; exit 3"]
    tracemalloc.start()
    try:
        with pytest.raises(PollError, match=r"^sh failed with exit code 3: .*the end$"):
            asyncio.run(run_program(words, str(tmp_path), keep=20))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_programs_that_hang_keep_nobody_else_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        hanging = [asyncio.ensure_future(run_program(["sleep", "600"], str(tmp_path), keep=20)) for _ in range(20)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "a page"), DEADLINE) == "a page"
        for one in hanging:
            one.cancel()
        for one in hanging:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(one, DEADLINE)

    asyncio.run(main())


def ended(pipe: int) -> bool:
    """Whether whoever holds the other end of a pipe ends."""
    return bool(select.select([pipe], [], [], DEADLINE)[0]) and os.read(pipe, 1) == b""


def test_what_a_check_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    pipe = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    for output in ("", ">&- 2>&-"):
        words = ["sh", "-c", f"exec 3>alive; sleep 600 {output} & echo begun"]
        assert asyncio.run(run_program(words, str(tmp_path), seconds=DEADLINE, keep=20)) == b"begun\n"
        assert ended(pipe)


def heard(pipe: int) -> bytes:
    """The line that a program writes into a pipe."""
    assert select.select([pipe], [], [], DEADLINE)[0]
    return os.read(pipe, 100)


@contextlib.contextmanager
def running(script: str, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server, as far as programs go. It is killed."""
    with subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE) as server:
        try:
            yield server
        finally:
            server.kill()


# Between the start of a check and when it is watched a killed server leaves it behind. Nobody reads what it says
# before: so it has said more than a pipe holds when it goes on.
SERVER = """
import asyncio, sys
from lockstep.sources import programs

words = ["sh", "-c", "exec 3>alive; head -c 300000 /dev/zero; echo $$ >&3; sleep 600 & wait"]
asyncio.run(programs.run_program(words, sys.argv[1], keep=20))
"""


def test_a_check_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    pipe = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    with running(SERVER, str(tmp_path)) as server:
        group = int(heard(pipe))
        try:
            server.kill()
            assert ended(pipe)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


FORGETFUL = """
import signal, subprocess, sys
from lockstep.sources.guardian import Guardian

def begun(name):
    answer = f"exec 3>{sys.argv[1]}/{name}; trap 'echo >&3' USR1; echo >&3; while :; do sleep 0.1; done"
    return subprocess.Popen(["sh", "-c", answer], start_new_session=True).pid

guardian = Guardian()
guardian.ready()
former = begun("former")
with guardian.watching(former):
    pass
watched = guardian.watching(begun("alive"))
watched.__enter__()
print(former, flush=True)
signal.pause()
"""


def test_what_has_ended_is_not_ended_again_with_the_server_as_its_number_may_be_somebody_elses(tmp_path: Path) -> None:
    for name in ("former", "alive"):
        os.mkfifo(tmp_path / name)
    former, alive = (os.open(tmp_path / name, os.O_RDONLY | os.O_NONBLOCK) for name in ("former", "alive"))
    with running(FORGETFUL, str(tmp_path)) as server:
        assert server.stdout is not None
        group = int(server.stdout.readline())
        try:
            assert heard(former) == heard(alive) == b"\n"
            server.kill()
            assert ended(alive)
            os.kill(group, signal.SIGUSR1)
            assert heard(former) == b"\n"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def test_a_program_that_says_no_more_and_stays_is_ended(tmp_path: Path) -> None:
    words = ["sh", "-c", "exec >&- 2>&-; exec sleep 600"]
    with pytest.raises(PollError, match=r"sh took more than 0\.2 seconds and was ended"):
        asyncio.run(run_program(words, str(tmp_path), seconds=0.2, keep=20))


def test_who_cancels_a_check_that_neither_talks_nor_listens_waits_no_longer_than_to_kill_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    pipe = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    words = ["sh", "-c", "trap '' TERM; exec 3>alive >&- 2>&-; echo >&3; while :; do sleep 1; done"]

    async def main() -> None:
        check = asyncio.ensure_future(run_program(words, str(tmp_path), seconds=DEADLINE, keep=20))
        assert await asyncio.to_thread(heard, pipe)
        check.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(check, DEADLINE)

    asyncio.run(main())
    assert ended(pipe)


def test_a_check_passes_though_what_it_leaves_behind_talks_and_talks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    pipe = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    words = ["sh", "-c", "exec 3>alive; (while :; do echo more; done) & exit 0"]
    asyncio.run(run_program(words, str(tmp_path), seconds=DEADLINE, keep=20))
    assert ended(pipe)


def test_programs_that_hang_keep_those_of_other_threads_not_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(20) as own:
            sleeps = [run_program(["sleep", "600"], str(tmp_path), keep=20, threads=own) for _ in range(20)]
            hanging = [asyncio.ensure_future(each) for each in sleeps]
            await asyncio.sleep(0)
            try:
                assert await asyncio.wait_for(run_program(["echo", "done"], str(tmp_path)), DEADLINE) == b"done\n"
            finally:
                for one in hanging:
                    one.cancel()
                await asyncio.wait(hanging)

    asyncio.run(main())


AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
# It may not signal what is root's, and what it starts may become root.
AS_NOBODY_WITH_SUDO = [*AS_NOBODY, "--inh-caps=+setuid", "--ambient-caps=+setuid", "--bounding-set=-all,+setuid"]
SUDO = "setpriv --reuid=0"

# The second gets more time until it is root's when its time is over.
CHECKS = """
import asyncio, sys
from lockstep.sources.programs import run_program, PollError

async def check(words, seconds):
    try:
        return (await run_program(["sh", "-c", words], "/", seconds=seconds, keep=20)).decode().strip()
    except PollError as exc:
        return str(exc)

async def main():
    left, hangs = sys.argv[1:]
    print(await check(left, 60))
    seconds = 1
    while (told := await check(hangs, seconds)).endswith("was ended") and seconds < 60:
        seconds *= 4
    print(told)

asyncio.run(main())
"""


@pytest.fixture
def as_nobody() -> list[str]:
    """What runs Python as somebody who may become root, but is not."""
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("only root can become somebody else, and takes setpriv for it")
    words = [*AS_NOBODY_WITH_SUDO, sys.executable, "-c"]
    if subprocess.run([*words, "import lockstep"], check=False, cwd="/", capture_output=True).returncode:
        pytest.skip("nobody but root can read this checkout")
    return words


def test_of_a_check_that_becomes_root_what_cannot_be_ended_is_told_and_left(as_nobody: list[str]) -> None:
    left = f"{SUDO} sleep 600 >/dev/null 2>&1 & echo $!; until [ $(stat -c %u /proc/$!) = 0 ]; do :; done"
    hangs = f"exec {SUDO} sleep 600"
    words = [*as_nobody, CHECKS, left, hangs]
    done = subprocess.run(words, check=False, cwd="/", capture_output=True, text=True, timeout=300)
    passed, late = done.stdout.splitlines()
    told = re.fullmatch(r"sh took more than \d+ seconds, and cannot be ended: process (\d+) is another user's", late)
    assert told is not None
    for process in (passed, told[1]):
        os.kill(int(process), signal.SIGKILL)
    assert done.stderr.count("sh left something of another user behind, which cannot be ended.") == 2
    assert "Traceback" not in done.stderr
