"""Paths from the master, and environments."""

from pathlib import Path

import pytest

from lockstep.worker.environment import changed_environment, shown_environment
from lockstep.worker.places import Places


def test_paths(tmp_path: Path) -> None:
    places = Places(tmp_path / "base")
    base = places.basedir
    assert places.resolve("a/../b") == f"{base}/b"
    assert places.resolve("") == base
    assert places.resolve("/etc") == "/etc"
    for wrong in ["..", "a/../../x", "../base2", ".lockstep", ".lockstep/lock", f"{base}/.lockstep/home", "a\0b"]:
        with pytest.raises(ValueError, match="path"):
            places.resolve(wrong)
    (tmp_path / "link").symlink_to(base)
    for wrong in [".", "a/..", "/", str(tmp_path), str(tmp_path / "link")]:
        with pytest.raises(ValueError, match="own files"):
            places.resolve_to_remove(wrong)
    assert places.home() == places.home()
    assert places.home() != Places(tmp_path / "other").home()
    Path(places.own, "home").write_text("")  # a power cut
    assert places.home() == places.home() != ""


def test_spool_names_stay_inside(tmp_path: Path) -> None:
    places = Places(tmp_path)
    for command in ["../../x", "a/b", "", ".", "x" * 300, "a.b", "é"]:
        path = Path(places.spool_path(command))
        assert path.parent == Path(places.spool)
        assert "." not in path.name
    assert places.spool_path("17-2") == f"{places.spool}/17-2"


def test_environment() -> None:
    own = {"HOME": "/h", "PYTHONPATH": "/own", "X": "1"}
    changes = {"A": "${HOME}/a${NONE}", "X": None, "PYTHONPATH": "/new", "L": ["a", "b"], "S": ["obfuscated", "s", "?"]}
    assert changed_environment(own, changes) == {
        "HOME": "/h",
        "A": "/h/a",
        "PYTHONPATH": "/new:/own",
        "L": "a:b",
        "S": "s",
    }
    shown = shown_environment(changes)
    assert "A=${HOME}/a${NONE}" in shown
    assert "S=?" in shown
    assert "X is removed" in shown
    assert "/h" not in shown.replace("/a", "")
