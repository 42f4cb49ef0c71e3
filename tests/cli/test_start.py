"""`lockstep` starts quickly, and what only asks a server loads none."""

import os
import subprocess
import sys

from .lockstep_command import PROGRAM, environment, lockstep

BUDGET = 0.2
"""Seconds of processor time for a command that asks a server."""
HEAVY = ("lockstep.master.server", "lockstep.config", "sqlalchemy", "litestar", "uvicorn", "httpx", "rich", "asyncio")


def test_a_command_that_asks_loads_no_server() -> None:
    code = (
        "import sys\nfrom lockstep.cli.main import program\n"
        "try:\n    program.main(['builds', '--url', 'http://127.0.0.1:9'], standalone_mode=False)\n"
        "except BaseException: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_help_and_a_question_need_little_processor_time() -> None:
    for words in (("--help",), ("builds", "--url", "http://127.0.0.1:9")):
        assert min(_processor_time(*words) for _ in range(5)) < BUDGET


def _processor_time(*words: str) -> float:
    process = subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def test_every_command_has_help_with_an_example() -> None:
    from lockstep.cli.main import GROUPS

    overview = lockstep("--help").stdout
    for names in GROUPS.values():
        for name in names:
            assert f"\n  {name} " in overview
            told = lockstep(name, "--help")
            assert told.returncode == 0
            assert "Example" in told.stdout
            assert f"lockstep {name}" in told.stdout


def test_a_wrong_command_is_answered_with_the_nearest() -> None:
    done = lockstep("buidls")
    assert done.returncode == 2
    assert "Did you mean 'builds'?" in done.stderr


def test_version() -> None:
    assert lockstep("--version").stdout.startswith("lockstep 0.")
