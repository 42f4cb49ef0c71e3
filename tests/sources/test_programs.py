"""Programs that the server runs: what they say is bounded, and those that hang keep nobody else waiting."""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from lockstep.sources.base import PollError
from lockstep.sources.programs import run_program


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
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "a page"), 30) == "a page"
        for one in hanging:
            one.cancel()
        for one in hanging:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(one, 30)

    asyncio.run(main())


def ended(pipe: int) -> bool:
    """Whether whoever holds the other end of a pipe ends."""
    return bool(select.select([pipe], [], [], 30)[0]) and os.read(pipe, 1) == b""


def test_what_a_check_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    pipe = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    for output in ("", ">&- 2>&-"):
        words = ["sh", "-c", f"exec 3>alive; sleep 600 {output} & echo begun"]
        assert asyncio.run(run_program(words, str(tmp_path), keep=20)) == b"begun\n"
        assert ended(pipe)


SERVER = """
import asyncio, sys
from lockstep.sources import programs

async def main():
    words = ["sh", "-c", "exec 3>alive; sleep 600 & echo >&3; wait"]
    check = asyncio.ensure_future(programs.run_program(words, sys.argv[1], keep=20))
    while not programs._GUARDIAN._groups:  # between the start of a check and this a killed server leaves it behind
        await asyncio.sleep(0.01)
    print("watched", flush=True)
    await check

asyncio.run(main())
"""


def test_a_check_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    words = [sys.executable, "-c", SERVER, str(tmp_path)]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE) as server,
        open(tmp_path / "alive", "rb", buffering=0) as pipe,
    ):
        assert pipe.read(1) == b"\n"
        assert server.stdout is not None
        assert server.stdout.readline() == b"watched\n"
        server.kill()
        assert ended(pipe.fileno())


def test_a_program_that_says_no_more_and_stays_is_ended(tmp_path: Path) -> None:
    words = ["sh", "-c", "exec >&- 2>&-; exec sleep 600"]
    with pytest.raises(PollError, match=r"sh took more than 0\.2 seconds and was ended"):
        asyncio.run(run_program(words, str(tmp_path), seconds=0.2, keep=20))
