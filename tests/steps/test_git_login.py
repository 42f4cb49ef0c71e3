"""Git steps that need a user and password, at a real host: git gets them, and nobody else sees them."""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.config.properties import Interpolate, Property
from lockstep.config.renderables import Secret
from lockstep.core.nouns import Result
from lockstep.core.values import SourceStamp
from lockstep.sources.gitpoller import GitPoller
from lockstep.steps.git import Git
from lockstep.steps.kinds import check_arguments
from lockstep.steps.private import private_values

from ..git_host import GitHost, git_host
from .harness import FakeBuild, Harness, go, replay

TREE = "builddir/build"
PASSWORD = "p:${HOME}/@ä%'\"$x"
WRITTEN = "p%3A%24%7BHOME%7D%2F%40%C3%A4%25%27%22%24x"
SECRETS = {"pw": WRITTEN, "token": PASSWORD, "user": "ann"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's settings; and every command line, also of what git starts, is written down."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@x")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    monkeypatch.delenv("GIT_ASKPASS", raising=False)
    monkeypatch.delenv("SSH_ASKPASS", raising=False)


def run(*words: str, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "GIT_TRACE"}
    return subprocess.run(words, cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout.strip()


def repository(path: Path) -> str:
    """Make one with one commit, and return that."""
    path.mkdir(parents=True)
    run("git", "init", "-q", "-b", "main", cwd=path)
    return commit(path, "one\n")


def commit(path: Path, text: str) -> str:
    (path / "file").write_text(text)
    run("git", "add", ".", cwd=path)
    run("git", "commit", "-q", "-m", "change", cwd=path)
    return run("git", "rev-parse", "HEAD", cwd=path)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    repository(tmp_path / "served" / "repo")
    with git_host(tmp_path / "served", "ann", PASSWORD) as served:
        yield served


def ran(step: Git, root: Path, properties: dict[str, Any] | None = None) -> Harness:
    """Run it where the secrets are known."""
    build = FakeBuild(sourcestamps=(SourceStamp(),))
    build.properties.update({name: (value, "") for name, value in (properties or {}).items()})
    harness = Harness(root, build)
    harness.secrets = {**SECRETS, **private_values()}
    assert go(step, harness).result == Result.SUCCESS, harness.text(streams="oeh")
    return harness


def leaks(tmp_path: Path, *texts: str) -> list[str]:
    """Where the password stands: command lines, files of the checkout, texts."""
    found = [*texts, (tmp_path / "trace").read_text(errors="replace")]
    assert "git-remote-http" in found[-1]
    found += [path.read_text(errors="replace") for path in (tmp_path / "w").rglob("*") if path.is_file()]
    return [text for text in found if any(one in text for one in (PASSWORD, WRITTEN, shlex.quote(PASSWORD)))]


def in_literal(host: GitHost) -> Git:
    return Git(repourl=host.url("repo", f"ann:{WRITTEN}"))


def in_secret(host: GitHost) -> Git:
    return Git(repourl=Interpolate(f"http://%(secret:user)s:%(secret:pw)s@{host.place}/repo"))


def in_whole_secret(host: GitHost) -> Git:
    SECRETS["url"] = host.url("repo", f"ann:{WRITTEN}")
    return Git(repourl=Secret("url"))


def in_pair(host: GitHost) -> Git:
    return Git(repourl=host.url("repo"), auth_credentials=("ann", PASSWORD))


def in_secret_pair(host: GitHost) -> Git:
    return Git(
        repourl=host.url("repo", "joe:wrong"), auth_credentials=(Interpolate("%(secret:user)s"), Secret("token"))
    )


@pytest.mark.parametrize("made", [in_literal, in_secret, in_whole_secret, in_pair, in_secret_pair])
def test_git_gets_the_password_and_nobody_else(host: GitHost, tmp_path: Path, made: Callable[[GitHost], Git]) -> None:
    step = made(host)
    for text in ("one\n", "two\n"):
        commit(host.folder / "repo", text + "more\n")
        revision = commit(host.folder / "repo", text)
        harness = ran(step, tmp_path / "w")
        assert harness.properties == {"got_revision": revision}
        assert leaks(tmp_path, str(harness.journal), harness.text(streams="oeh")) == []
    assert set(host.logins) == {f"ann:{PASSWORD}"}
    assert run("git", "config", "remote.origin.url", cwd=tmp_path / "w" / TREE) == host.url("repo")
    assert "LOCKSTEP_GIT_LOGIN=<hidden>" in harness.text(streams="h")
    outcome, again = replay(step, harness, tmp_path / "w")
    assert (outcome.result, again.commands) == (Result.SUCCESS, [])


def test_a_password_of_a_property_is_in_no_argument_and_no_log(host: GitHost, tmp_path: Path) -> None:
    step = Git(repourl=Interpolate(f"http://ann:%(prop:pw)s@{host.place}/repo"))
    harness = ran(step, tmp_path / "w", {"pw": WRITTEN})
    assert leaks(tmp_path, harness.text(streams="oeh")) == []


def test_a_password_that_an_older_checkout_has_in_its_settings_goes(host: GitHost, tmp_path: Path) -> None:
    tree = tmp_path / "w" / TREE
    run("git", "clone", "-q", host.url("repo", f"ann:{WRITTEN}"), str(tree), cwd=tmp_path)
    assert WRITTEN in (tree / ".git" / "config").read_text()
    ran(in_literal(host), tmp_path / "w")
    assert WRITTEN not in (tree / ".git" / "config").read_text()


def test_submodules_and_blobs_that_come_later_are_of_the_same_host(host: GitHost, tmp_path: Path) -> None:
    other = repository(host.folder / "other")
    repo = host.folder / "repo"
    run("git", "config", "uploadpack.allowFilter", "true", cwd=repo)
    run("git", "config", "uploadpack.allowAnySHA1InWant", "true", cwd=repo)
    (repo / "sub").mkdir()
    (repo / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ../other\n')
    run("git", "update-index", "--add", "--cacheinfo", f"160000,{other},sub", cwd=repo)
    run("git", "add", ".gitmodules", cwd=repo)
    commit(repo, "with submodule\n")
    for mode in ("incremental", "full"):
        step = Git(
            repourl=host.url("repo", f"ann:{WRITTEN}"), mode=mode, submodules=True, filters=["blob:none"], branch="main"
        )
        harness = ran(step, tmp_path / "w")
        assert (tmp_path / "w" / TREE / "sub" / "file").read_text() == "one\n"
        assert leaks(tmp_path, str(harness.journal), harness.text(streams="oeh")) == []
        commit(repo, f"after {mode}\n")


def test_the_password_is_for_its_host_alone(host: GitHost, tmp_path: Path) -> None:
    """Not for the one that a request is sent on to, nor for that of a submodule; those are asked for as always."""
    with git_host(host.folder, "ann", PASSWORD) as other:
        host.elsewhere = f"http://{other.place}"
        step = Git(repourl=host.url("moved/repo", f"ann:{WRITTEN}"))
        harness = Harness(tmp_path / "w")
        harness.secrets = dict(private_values())
        assert go(step, harness).result == Result.FAILURE
        assert "could not read Username" in harness.text()
        assert other.logins == []

        helper = f"!f() {{ echo username=ann; echo password={shlex.quote(PASSWORD)}; }}; f"
        run("git", "config", "--global", f"credential.http://{other.place}.helper", helper, cwd=tmp_path)
        kept = tmp_path / "kept"
        run("git", "config", "--global", "--add", "credential.helper", f"store --file={kept}", cwd=tmp_path)
        harness = ran(step, tmp_path / "v")
        assert set(other.logins) == {f"ann:{PASSWORD}"}
        assert host.place not in (kept.read_text() if kept.exists() else "")
        ran(in_literal(host), tmp_path / "u")
        assert host.place not in kept.read_text()


def test_a_wrong_password_fails(host: GitHost, tmp_path: Path) -> None:
    harness = Harness(tmp_path / "w")
    harness.secrets = {"user": "ann", "pw": "wrong"}
    assert go(in_secret(host), harness).result == Result.FAILURE
    assert "Authentication failed" in harness.text()
    assert set(host.logins) == {"ann:wrong"}
    harness = Harness(tmp_path / "v")
    assert go(Git(repourl="x", auth_credentials=("ann", Property("none"))), harness).result == Result.FAILURE
    assert "auth_credentials must be (user, password), two texts" in harness.text(streams="h")


def test_an_address_without_a_login_is_left_alone(host: GitHost, tmp_path: Path) -> None:
    """Also one that is a secret as a whole, where that is known late: the machine's own helpers are asked."""
    helper = f"!f() {{ echo username=ann; echo password={shlex.quote(PASSWORD)}; }}; f"
    run("git", "config", "--global", "credential.helper", helper, cwd=tmp_path)
    for number, url in enumerate([str(host.folder / "repo"), host.url("repo"), host.url("repo", "ann")]):
        SECRETS["url"] = url
        harness = ran(Git(repourl=url), tmp_path / f"plain{number}")
        assert "credential" not in str(harness.journal)
        harness = ran(Git(repourl=Secret("url")), tmp_path / f"secret{number}")
        assert (harness.root / TREE / "file").read_text() == "one\n"
        assert run("git", "config", "remote.origin.url", cwd=harness.root / TREE) == url


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (("ann", "pw"), True),
        (["ann", Secret("pw")], True),
        (None, True),
        ("ann", False),
        (("ann",), False),
        (("ann", 5), False),
    ],
)
def test_what_auth_credentials_may_be(given: Any, right: bool) -> None:
    with collecting(Collector()) as found:
        check_arguments(Git(repourl="x", auth_credentials=given))
        GitPoller(repourl="x", auth_credentials=given)
    texts = [str(one) for one in found.mistakes if "must be (user, password), two texts" in str(one)]
    assert len(texts) == len(found.mistakes) == (0 if right else 2)
