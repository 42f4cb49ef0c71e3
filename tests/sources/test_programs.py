"""Programs that the server runs: what they say is bounded, and those that hang keep nobody else waiting."""

import asyncio
import contextlib
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


def test_a_program_that_says_no_more_and_stays_is_ended(tmp_path: Path) -> None:
    words = ["sh", "-c", "exec >&- 2>&-; exec sleep 600"]
    with pytest.raises(PollError, match=r"sh took more than 0\.2 seconds and was ended"):
        asyncio.run(run_program(words, str(tmp_path), seconds=0.2, keep=20))
