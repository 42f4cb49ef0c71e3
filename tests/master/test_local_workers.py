"""The files that a server keeps of the workers that it starts itself."""

import asyncio
from pathlib import Path

from lockstep.master.local_workers import LocalWorkers


def test_a_password_that_a_power_cut_has_emptied_is_made_anew(tmp_path: Path) -> None:
    left = tmp_path / "workers" / "w.password"
    left.parent.mkdir()
    left.touch()
    local = LocalWorkers(str(tmp_path))
    made = local.password("w")
    assert len(made) > 20
    assert (local.password("w"), left.read_text(), left.stat().st_mode & 0o777) == (made, made, 0o600)


def test_what_is_taken_back_is_gone_and_none_is_started_any_more(tmp_path: Path) -> None:
    local = LocalWorkers(str(tmp_path))
    asyncio.run(local.start("w", None, "ws://127.0.0.1:9/", 60.0))
    local.take_back()
    assert local.names() == set()
    asyncio.run(local.start("v", None, "ws://127.0.0.1:9/", 60.0))
    assert not (tmp_path / "workers" / "v").exists()
