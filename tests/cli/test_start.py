"""What only asks a server loads none; how quick that is, `bench/command_line.py` measures."""

import subprocess
import sys

from .lockstep_command import PATIENCE, environment, lockstep

HEAVY = ("lockstep.master.server", "lockstep.config", "sqlalchemy", "litestar", "uvicorn", "httpx", "rich", "asyncio")


def test_a_command_that_asks_loads_no_server() -> None:
    code = (
        "import sys\nfrom lockstep.cli.main import program\n"
        "try:\n    program.main(['builds', '--url', 'http://127.0.0.1:9'], standalone_mode=False)\n"
        "except BaseException: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True, timeout=PATIENCE
    )
    assert done.stdout.strip() == "[]"


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


def test_the_file_of_the_program_is_the_program_too() -> None:
    """Who has the wrong name of two is not answered with silence."""
    words = [sys.executable, "-m", "lockstep.cli.main", "--version"]
    assert subprocess.check_output(words, env=environment(), text=True) == lockstep("--version").stdout
