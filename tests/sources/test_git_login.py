"""GitPoller at a real host that wants a user and password: git gets them, and nobody else sees them."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.config.properties import Interpolate
from lockstep.config.renderables import Secret
from lockstep.sources.base import PollError
from lockstep.sources.gitpoller import GitPoller

from ..git_host import GitHost, git_host

PASSWORD = "p w/@%$x"
WRITTEN = "p%20w%2F%40%25%24x"
SECRETS = {"pw": PASSWORD, "written": WRITTEN}


def run(*words: str, cwd: Path) -> str:
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def commit(path: Path) -> str:
    run("git", "-c", "user.name=a", "-c", "user.email=a@x", "commit", "-q", "--allow-empty", "-m", "it", cwd=path)
    return run("git", "rev-parse", "HEAD", cwd=path)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    (tmp_path / "served" / "repo").mkdir(parents=True)
    run("git", "init", "-q", "-b", "main", cwd=tmp_path / "served" / "repo")
    commit(tmp_path / "served" / "repo")
    with git_host(tmp_path / "served", "ann", PASSWORD) as served:
        yield served


async def secret(name: str) -> str:
    return SECRETS[name]


def poll(poller: GitPoller, folder: Path, memory: Any) -> Any:
    return asyncio.run(poller.poll(memory, 5.0, str(folder), secret))


@pytest.mark.parametrize("way", ["clear", "secret", "pair"])
def test_git_gets_the_password_and_nobody_else(
    host: GitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    (tmp_path / "work").mkdir()
    poller = {
        "clear": GitPoller(host.url("repo", f"ann:{WRITTEN}")),
        "secret": GitPoller(Interpolate(f"http://ann:%(secret:written)s@{host.place}/repo")),
        "pair": GitPoller(host.url("repo", "joe:old"), auth_credentials=("ann", Secret("pw"))),
    }[way]
    first = poll(poller, tmp_path / "work", None)
    new = commit(host.folder / "repo")
    second = poll(poller, tmp_path / "work", first.memory)
    assert [change.revision for change in second.changes] == [new]
    assert set(host.logins) == {f"ann:{PASSWORD}"}
    kept = [path.read_text(errors="replace") for path in (tmp_path / "work").rglob("*") if path.is_file()]
    seen = (tmp_path / "trace").read_text() + str(second) + "".join(kept)
    assert "git-remote-http" in seen
    assert not [one for one in (PASSWORD, WRITTEN) if one in seen]


def test_a_wrong_password_is_told_without_it(host: GitHost, tmp_path: Path) -> None:
    with pytest.raises(PollError) as caught:
        poll(GitPoller(host.url("repo"), auth_credentials=("ann", "wrong-one")), tmp_path, None)
    assert "git ls-remote failed" in str(caught.value)
    assert "wrong-one" not in str(caught.value)
    assert set(host.logins) == {"ann:wrong-one"}
    assert "LOCKSTEP_GIT_LOGIN" not in os.environ
