"""Git and SVN, on real repositories."""

import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.config.properties import Interpolate
from lockstep.config.secrets import substitute
from lockstep.core.nouns import Result
from lockstep.core.values import Patch, SourceStamp
from lockstep.steps.git import Git
from lockstep.steps.private import private_values
from lockstep.steps.svn import SVN

from .harness import FakeBuild, Harness, go, replay

ENV = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@x",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@x",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "LC_ALL": "C.UTF-8",
}
TREE = "builddir/build"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


def run(*words: str, cwd: Path) -> str:
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


class GitRepository:
    """A repository to clone from."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        run("git", "init", "-q", "-b", "main", cwd=path)
        run("git", "config", "uploadpack.allowAnySHA1InWant", "true", cwd=path)
        self.first = self.commit("file", "one\n")

    def commit(self, name: str, text: str, message: str = "change") -> str:
        (self.path / name).write_text(text)
        run("git", "add", ".", cwd=self.path)
        run("git", "commit", "-q", "-m", message, cwd=self.path)
        return run("git", "rev-parse", "HEAD", cwd=self.path)


@pytest.fixture
def repo(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repo.git")


def build(**stamp: Any) -> FakeBuild:
    return FakeBuild(sourcestamps=(SourceStamp(**stamp),))


def test_git_clones_then_updates_and_tells_the_revision(repo: GitRepository, tmp_path: Path) -> None:
    step = Git(repourl=str(repo.path))
    harness = Harness(tmp_path / "w")
    assert go(step, harness).result == Result.SUCCESS
    assert harness.properties == {"got_revision": repo.first}
    (tmp_path / "w" / TREE / "built.o").write_text("x")
    second = repo.commit("file", "two\n")
    harness = Harness(tmp_path / "w")
    outcome = go(step, harness)
    assert harness.properties == {"got_revision": second}
    assert (tmp_path / "w" / TREE / "file").read_text() == "two\n"
    assert (tmp_path / "w" / TREE / "built.o").exists()
    assert outcome.summary == "update"
    assert "rev-parse" in str(harness.commands[-1].args["command"])


def test_git_goes_to_revisions_and_branches(repo: GitRepository, tmp_path: Path) -> None:
    second = repo.commit("file", "two\n")
    run("git", "checkout", "-q", "-b", "dev", repo.first, cwd=repo.path)
    third = repo.commit("dev", "d\n")
    run("git", "checkout", "-q", "main", cwd=repo.path)
    step = Git(repourl=str(repo.path), branch="main")
    for stamp, expected in (
        ({"revision": repo.first}, repo.first),
        ({}, second),
        ({"branch": "dev"}, third),
        ({"branch": "main", "revision": repo.first}, repo.first),
        ({"branch": "refs/heads/dev"}, third),
    ):
        harness = Harness(tmp_path / "w", build(**stamp))
        assert go(step, harness).result == Result.SUCCESS, harness.text()
        assert harness.properties == {"got_revision": expected}
    fresh = Harness(tmp_path / "v", build(branch="dev", revision=third))
    go(step, fresh)
    assert fresh.properties == {"got_revision": third}


@pytest.mark.parametrize("method", ["fresh", "clean", "clobber", "copy"])
def test_git_full(repo: GitRepository, tmp_path: Path, method: str) -> None:
    repo.commit(".gitignore", "*.o\n")
    step = Git(repourl=str(repo.path), mode="full", method=method)
    go(step, Harness(tmp_path / "w"))
    tree = tmp_path / "w" / TREE
    (tree / "file").write_text("spoilt")
    (tree / "built.o").write_text("x")
    (tree / "junk").write_text("x")
    harness = Harness(tmp_path / "w")
    assert go(step, harness).result == Result.SUCCESS, harness.text()
    assert (tree / "file").read_text() == "one\n"
    assert not (tree / "junk").exists()
    assert (tree / "built.o").exists() == (method == "clean")


def test_git_patch_is_applied_and_undone_by_the_next_build(repo: GitRepository, tmp_path: Path) -> None:
    body = b"--- a/file\n+++ b/file\n@@ -1 +1 @@\n-one\n+patched\n"
    step = Git(repourl=str(repo.path))
    harness = Harness(tmp_path / "w", build(patch=Patch(body=body, level=1)))
    assert go(step, harness).result == Result.SUCCESS, harness.text()
    assert (tmp_path / "w" / TREE / "file").read_text() == "patched\n"
    go(step, Harness(tmp_path / "w"))
    assert (tmp_path / "w" / TREE / "file").read_text() == "one\n"
    assert not (tmp_path / "w" / TREE / ".lockstep-patched").exists()


def test_git_codebases_description_and_shallow(repo: GitRepository, tmp_path: Path) -> None:
    run("git", "tag", "-a", "-m", "v1", "v1", cwd=repo.path)
    repo.commit("file", "two\n")
    step = Git(
        repourl=Interpolate("%(src:lib:repository)s"), codebase="lib", getDescription={"tags": True, "abbrev": 4}
    )
    stamps = (SourceStamp(), SourceStamp(codebase="lib", repository=str(repo.path)))
    harness = Harness(tmp_path / "w", FakeBuild(sourcestamps=stamps))
    assert go(step, harness).result == Result.SUCCESS, harness.text()
    assert list(harness.properties["got_revision"]) == ["lib"]
    assert harness.properties["commit-description-lib"].startswith("v1-1-g")
    assert step.make().plan().name == "git-lib"
    step = Git(repourl=f"file://{repo.path}", shallow=True)
    harness = Harness(tmp_path / "s")
    go(step, harness)
    assert run("git", "rev-list", "--count", "HEAD", cwd=tmp_path / "s" / TREE) == "1"


def test_git_submodules(repo: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.file.allow")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "always")
    other = GitRepository(tmp_path / "other.git")
    run("git", "submodule", "add", "-q", str(other.path), "sub", cwd=repo.path)
    repo.commit("file", "with submodule\n")
    for mode in ("incremental", "full"):
        harness = Harness(tmp_path / "w")
        assert go(Git(repourl=str(repo.path), submodules=True, mode=mode), harness).result == Result.SUCCESS
        assert (tmp_path / "w" / TREE / "sub" / "file").read_text() == "one\n"


def test_git_failures_retry_clobber_and_refusals(repo: GitRepository, tmp_path: Path) -> None:
    harness = Harness(tmp_path / "w")
    outcome = go(Git(repourl=str(tmp_path / "nothing"), retry=(7, 2)), harness)
    assert outcome.result == Result.FAILURE
    assert harness.slept == [7.0, 7.0]
    assert "err.text" not in {log.name for log in harness.logs.values()}
    go(Git(repourl=str(repo.path)), Harness(tmp_path / "v"))
    (tmp_path / "v" / TREE / ".git" / "HEAD").write_text("broken")
    assert go(Git(repourl=str(repo.path)), Harness(tmp_path / "v")).result == Result.FAILURE
    assert go(Git(repourl=str(repo.path), clobberOnFailure=True), Harness(tmp_path / "v")).result == Result.SUCCESS
    harness = Harness(tmp_path / "v", build(branch="--upload-pack=evil"))
    assert go(Git(repourl=str(repo.path)), harness).result == Result.FAILURE
    assert "refused" in harness.text(streams="h")
    with collecting(Collector()) as found:
        Git(mode="fast")
        Git(repourl="x", mode="full", method="quick")
        Git(repourl="x", sshPrivateKey="k")
        Git(repourl="x", sub_modules=True)
    texts = [str(one) for one in found.mistakes]
    assert len(texts) == 5
    assert "not supported yet" in texts[3]
    assert '"submodules"' in texts[4]


def test_git_replays_without_doing_anything(repo: GitRepository, tmp_path: Path) -> None:
    step = Git(repourl=str(repo.path), getDescription={"always": True})
    harness = Harness(tmp_path / "w")
    go(step, harness)
    outcome, again = replay(step, harness, tmp_path / "w")
    assert outcome.result == Result.SUCCESS
    assert again.commands == []
    assert again.properties == harness.properties


class SvnRepository:
    """A Subversion repository with a trunk."""

    def __init__(self, path: Path) -> None:
        if shutil.which("svnadmin") is None:
            pytest.skip("Subversion is not installed")
        run("svnadmin", "create", str(path), cwd=path.parent)
        self.path = path
        self.url = f"file://{path}"
        run("svn", "mkdir", "-q", "-m", "start", f"{self.url}/trunk", cwd=path.parent)
        self.copy = path.parent / "copy"
        run("svn", "checkout", "-q", f"{self.url}/trunk", str(self.copy), cwd=path.parent)
        self.commit("file", "one\n")

    def commit(self, name: str, text: str) -> None:
        (self.copy / name).write_text(text)
        run("svn", "add", "-q", "--force", ".", cwd=self.copy)
        run("svn", "commit", "-q", "-m", "change", cwd=self.copy)


@pytest.fixture
def svn(tmp_path: Path) -> SvnRepository:
    return SvnRepository(tmp_path / "svn")


def test_svn_checks_out_then_updates(svn: SvnRepository, tmp_path: Path) -> None:
    step = SVN(svnurl=f"{svn.url}/trunk")
    harness = Harness(tmp_path / "w")
    assert go(step, harness).result == Result.SUCCESS, harness.text()
    assert harness.properties == {"got_revision": "2"}
    svn.commit("file", "two\n")
    harness = Harness(tmp_path / "w", build(revision="2"))
    go(step, harness)
    assert harness.properties == {"got_revision": "2"}
    harness = Harness(tmp_path / "w")
    go(step, harness)
    assert harness.properties == {"got_revision": "3"}
    assert (tmp_path / "w" / TREE / "file").read_text() == "two\n"


@pytest.mark.parametrize("method", ["fresh", "clean", "clobber", "copy", "export"])
def test_svn_full(svn: SvnRepository, tmp_path: Path, method: str) -> None:
    step = SVN(repourl=f"{svn.url}/trunk", mode="full", method=method)
    go(step, Harness(tmp_path / "w"))
    tree = tmp_path / "w" / TREE
    (tree / "file").write_text("spoilt")
    (tree / "built.o").write_text("x")
    (tree / "junk").mkdir()
    harness = Harness(tmp_path / "w")
    assert go(step, harness).result == Result.SUCCESS, harness.text()
    assert (tree / "file").read_text() == "one\n"
    assert not (tree / "junk").exists()
    assert (tree / "built.o").exists() == (method == "clean")
    assert (tree / ".svn").exists() == (method != "export")


def test_svn_of_another_address_is_checked_out_anew(svn: SvnRepository, tmp_path: Path) -> None:
    go(SVN(repourl=f"{svn.url}/trunk"), Harness(tmp_path / "w"))
    run("svn", "mkdir", "-q", "-m", "b", f"{svn.url}/branch", cwd=tmp_path)
    harness = Harness(tmp_path / "w")
    assert go(SVN(repourl=f"{svn.url}/branch/"), harness).result == Result.SUCCESS
    assert not (tmp_path / "w" / TREE / "file").exists()


def test_svn_password_is_nowhere(svn: SvnRepository, tmp_path: Path) -> None:
    step = SVN(repourl=f"{svn.url}/trunk", username="joe", password="hunter2", mode="update")
    harness = Harness(tmp_path / "w")
    harness.secrets = dict(private_values())
    assert go(step, harness).result == Result.SUCCESS, harness.text()
    assert "hunter2" not in str(harness.journal)
    assert os.path.exists(tmp_path / "w" / TREE / "file")


def test_steps_that_are_made_on_one_line_keep_their_own_passwords() -> None:
    users = {"joe": "hunter2", "ann": "other22"}
    made = [SVN(repourl="svn://host/x", username=name, password=users[name]) for name in users]
    made += [Git(repourl=f"http://{name}:{users[name]}@host/x") for name in users]
    made += [Git(repourl="http://host/x", auth_credentials=(name, users[name])) for name in users]
    marked = [step.password for step in made[:2]] + [step.repourl for step in made[2:4]]
    marked += [step.auth_credentials[1] for step in made[4:]]
    told = [substitute(one, private_values().__getitem__) for one in marked]
    assert [one for one in marked if "hunter2" in one or "other22" in one] == []
    assert told == [
        "hunter2",
        "other22",
        "http://joe:hunter2@host/x",
        "http://ann:other22@host/x",
        "hunter2",
        "other22",
    ]


OLD_SVN = """#!/bin/sh
case "$*" in
  *--version*) echo 1.9.7 ;;
  *--password-from-stdin*) echo "svn: invalid option: --password-from-stdin" >&2; exit 1 ;;
  *) exec {real} "$@" ;;
esac
"""


@pytest.fixture
def closed_svn(svn: SvnRepository) -> Iterator[str]:
    """The address of a repository that wants the password `hunter2` of the user `joe`.

    Each connection gets an `svnserve` of its own: one that listens itself would have to find a free port first.
    """
    (svn.path / "conf" / "svnserve.conf").write_text("[general]\nanon-access = none\npassword-db = passwd\n")
    (svn.path / "conf" / "passwd").write_text("[users]\njoe = hunter2\n")

    class Visit(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            words = ["svnserve", "--inetd", "-r", svn.path]
            subprocess.run(words, stdin=self.request, stdout=self.request, check=False)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Visit) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"svn://127.0.0.1:{server.server_address[1]}/trunk"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("old", [False, True])
def test_svn_password_is_no_argument_where_svn_can_read_it(
    closed_svn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    if old:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "svn"
        program.write_text(OLD_SVN.format(real=shutil.which("svn")))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    step = SVN(repourl=closed_svn, username="joe", password="hunter2", mode="full", method="fresh")
    harness = Harness(tmp_path / "w")
    harness.secrets = dict(private_values())
    assert go(step, harness).result == Result.SUCCESS, harness.text(streams="oeh")
    assert os.path.exists(tmp_path / "w" / TREE / "file")
    words = [
        word
        for command in harness.commands
        for word in substitute(command.args.get("command", []), private_values().__getitem__)
    ]
    assert ("hunter2" in words) == old
    assert ("svn 1.9.7 is older than 1.10" in harness.text(streams="h")) == old
    assert replay(step, harness, tmp_path / "w")[0].result == Result.SUCCESS
