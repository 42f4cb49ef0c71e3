"""Every step goes on where the server was killed, whichever call was under way (HOUSE.md section 2)."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockstep.core.nouns import Result
from lockstep.core.values import Patch, SourceStamp
from lockstep.steps.compiling import Compile
from lockstep.steps.files import MakeDirectory
from lockstep.steps.git import Git
from lockstep.steps.sequence import ShellArg, ShellSequence
from lockstep.steps.shell import SetPropertyFromCommand, ShellCommand
from lockstep.steps.svn import SVN
from lockstep.steps.transfer import FileUpload, StringDownload

from .harness import Cut, FakeBuild, Harness, go, replay
from .test_shell import Versions


def git(root: Path) -> Any:
    path = root / "origin"
    path.mkdir()
    (path / "file").write_text("one\n")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@x"]
        subprocess.run(["git", *identity, *words], cwd=path, check=True)
    return Git(repourl=str(path), getDescription={"always": True}, mode="full", method="copy")


def svn(root: Path) -> Any:
    if shutil.which("svnadmin") is None:
        pytest.skip("Subversion is not installed")
    subprocess.run(["svnadmin", "create", str(root / "svn")], check=True)
    return SVN(repourl=f"file://{root}/svn", mode="full", method="export")


STEPS: dict[str, Callable[[Path], Any]] = {
    "shell": lambda root: ShellCommand(command="echo a; echo b >&2", logfiles={"f": "none"}),
    "two commands": lambda root: Versions(what="v2"),
    "sequence": lambda root: ShellSequence(commands=[ShellArg(["echo", "1"]), ShellArg(["echo", "2"], logname="two")]),
    "property": lambda root: SetPropertyFromCommand(command="echo 7", property="p"),
    "warnings": lambda root: Compile(command="echo 'x: warning: y'"),
    "mkdir": lambda root: MakeDirectory(dir="build/a"),
    "download": lambda root: StringDownload("text", workerdest="f", mode=0o644),
    "upload": lambda root: FileUpload(workersrc="../../../origin/file", masterdest="f", mode=0o600, url="http://x/"),
    "git": git,
    "svn": svn,
}


@pytest.mark.parametrize("name", STEPS)
def test_cut_anywhere(name: str, tmp_path: Path) -> None:
    if name == "upload":
        (tmp_path / "origin").mkdir()
        (tmp_path / "origin" / "file").write_text("x")
    step = STEPS[name](tmp_path)
    stamp = SourceStamp(patch=Patch(body=b"--- a/file\n+++ b/file\n@@ -1 +1 @@\n-one\n+two\n", level=1))
    build = {"sourcestamps": (stamp,)} if name == "git" else {}
    whole = Harness(tmp_path / "w", FakeBuild(**build))
    expected = go(step, whole)
    assert expected.result in (Result.SUCCESS, Result.WARNINGS), whole.text()
    for cut in range(1, len(whole.journal) + 1):
        harness = Harness(tmp_path / f"w{cut}", FakeBuild(**build))
        harness.cut_at = cut
        with pytest.raises(Cut):
            go(step, harness)
        outcome, again = replay(step, harness, tmp_path / f"w{cut}")
        assert outcome == expected, f"cut at call {cut}: {again.text()}"
        assert [type(e.call) for e in again.journal] == [type(e.call) for e in whole.journal]
        assert len(again.commands) + len(harness.commands) == len(whole.commands)
        assert again.properties == whole.properties
