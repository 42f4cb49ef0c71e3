"""GitPoller and SVNPoller, on real repositories."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.config.properties import Interpolate
from lockstep.config.renderables import Secret
from lockstep.core.values import Change
from lockstep.sources.base import PollError, without_password
from lockstep.sources.gitpoller import GitPoller
from lockstep.sources.programs import run_program
from lockstep.sources.svnpoller import SVNPoller, split_file_branches, split_file_projects_branches

DEADLINE = 60.0
"""Seconds after which something is given up; generous, because machines may be slow."""

ENV = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@x",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@x",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000100 +0000",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "LC_ALL": "C.UTF-8",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


def run(*words: str, cwd: Path) -> str:
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


class Polls:
    """A poller with its folder and its memory, which goes through the store's form each time."""

    def __init__(self, poller: Any, folder: Path, **secrets: str) -> None:
        folder.mkdir(exist_ok=True)
        self.poller = poller
        self.folder = folder
        self.memory: Any = None
        self.secrets = secrets

    async def secret(self, name: str) -> str:
        await asyncio.sleep(0)
        return self.secrets[name]

    def poll(self) -> tuple[Change, ...]:
        polled = asyncio.run(self.poller.poll(self.memory, 5.0, str(self.folder), self.secret))
        self.memory = json.loads(json.dumps(polled.memory))
        found: tuple[Change, ...] = polled.changes
        return found


class Repo:
    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self("init", "-q", "-b", "main")
        self.commit("one")

    def __call__(self, *words: str) -> str:
        return run("git", *words, cwd=self.path)

    def commit(self, name: str, message: str = "a change") -> str:
        (self.path / name).write_text(name)
        self("add", ".")
        self("commit", "-q", "-m", message)
        return self("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


def test_git_reports_what_is_new_once(repo: Repo, tmp_path: Path) -> None:
    polls = Polls(GitPoller(repourl=str(repo.path), category="c", project="p"), tmp_path / "work")
    assert polls.poll() == ()
    assert polls.poll() == ()
    second = repo.commit("zwei ü", "second\n\nwith a body")
    third = repo.commit("three")
    first_change, second_change = polls.poll()
    assert (first_change.revision, second_change.revision) == (second, third)
    assert first_change.author == "Ann <ann@x>"
    assert first_change.comments == "second\n\nwith a body"
    assert first_change.files == ("zwei ü",)
    assert first_change.branch == "main"
    assert (first_change.category, first_change.project, first_change.repository) == ("c", "p", str(repo.path))
    assert first_change.when == 1700000100
    assert first_change.source == str(repo.path)
    assert polls.poll() == ()


def test_git_a_message_may_say_anything(repo: Repo, tmp_path: Path) -> None:
    """Or else who may push could keep a poller from ever seeing a change again."""
    polls = Polls(GitPoller(str(repo.path)), tmp_path / "poll")
    polls.poll()
    message = "bell \x07\n\nand \x01 more \x02\x01\x02\x03 than that"
    found = [repo.commit("two", message), repo.commit("three")]
    changes = polls.poll()
    assert [change.revision for change in changes] == found
    assert [change.comments for change in changes] == [message, "a change"]
    assert [change.files for change in changes] == [("two",), ("three",)]


def test_git_follows_branches(repo: Repo, tmp_path: Path) -> None:
    everything = Polls(GitPoller(repourl=str(repo.path), branches=True), tmp_path / "all")
    some = Polls(GitPoller(repourl=str(repo.path), branches=["main", "late"]), tmp_path / "some")
    by_function = Polls(
        GitPoller(repourl=str(repo.path), branches=lambda ref: ref.startswith("refs/heads/d")), tmp_path / "function"
    )
    for polls in (everything, some, by_function):
        polls.poll()
    repo("checkout", "-q", "-b", "dev")
    dev = repo.commit("dev")
    repo("checkout", "-q", "main")
    main = repo.commit("main")
    repo("merge", "-q", "--no-edit", "dev")
    merge = repo("rev-parse", "HEAD")
    found = [(c.branch, c.revision) for c in everything.poll()]
    assert found[0] == ("dev", dev)
    assert {*found[1:-1]} == {("main", dev), ("main", main)}
    assert found[-1] == ("main", merge)
    assert [c.revision for c in some.poll()] in ([main, dev, merge], [dev, main, merge])
    assert [(c.branch, c.revision) for c in by_function.poll()] == [("dev", dev)]
    repo("branch", "late")
    assert everything.poll() == ()
    assert some.poll() == ()


def test_git_a_commit_that_is_new_on_two_branches_is_a_change_of_both(repo: Repo, tmp_path: Path) -> None:
    """`git push origin main feature`, with the feature's branch made from the new main."""
    polls = Polls(GitPoller(repourl=str(repo.path), branches=True), tmp_path / "work")
    polls.poll()
    two = repo.commit("two")
    repo("checkout", "-q", "-b", "feature")
    three = repo.commit("three")
    assert [(c.branch, c.revision) for c in polls.poll()] == [("feature", two), ("feature", three), ("main", two)]
    assert polls.poll() == ()
    repo("checkout", "-q", "main")
    repo("merge", "-q", "--ff-only", "feature")
    assert polls.poll() == ()  # the commits were known, and pushes without commits were not asked for


def test_git_branches_that_go_and_come_back(repo: Repo, tmp_path: Path) -> None:
    polls = Polls(GitPoller(repourl=str(repo.path), branches=True), tmp_path / "work")
    polls.poll()
    repo("checkout", "-q", "-b", "topic")
    old = repo.commit("topic")
    assert [(c.branch, c.revision) for c in polls.poll()] == [("topic", old)]
    repo("reset", "-q", "--hard", "HEAD~")
    first, second = repo.commit("other"), repo.commit("another")
    assert [(c.branch, c.revision) for c in polls.poll()] == [("topic", first), ("topic", second)]
    repo("checkout", "-q", "main")
    repo("branch", "-D", "topic")
    assert polls.poll() == ()
    repo("checkout", "-q", "-b", "topic")
    again = repo.commit("again")
    assert [(c.branch, c.revision) for c in polls.poll()] == [("topic", again)]
    repo("checkout", "-q", "main")
    repo("branch", "-D", "topic")
    polls.poll()
    repo("branch", "topic", again)
    assert [(c.branch, c.revision) for c in polls.poll()] == [("topic", again)]


def test_git_a_busy_branch_does_not_hide_another(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstep.sources.gitpoller.MAX_CHANGES", 4)
    polls = Polls(GitPoller(repourl=str(repo.path), branches=True), tmp_path / "work")
    polls.poll()
    repo("checkout", "-q", "-b", "a")
    quiet = repo.commit("quiet")
    repo("checkout", "-q", "main")
    busy = [repo.commit(f"busy {n}") for n in range(5)]
    assert [c.revision for c in polls.poll()] == [quiet, *busy[-2:]]


def test_secrets_in_an_address_are_waited_for_and_shown_to_nobody(repo: Repo, tmp_path: Path) -> None:
    address = Interpolate("file://%(secret:token)s@%(secret:where)s")
    polls = Polls(GitPoller(repourl=address, name="p"), tmp_path / "work", token="hunter2", where="/no/where")
    with pytest.raises(PollError) as caught:
        polls.poll()
    assert "hunter2" not in str(caught.value)
    polls = Polls(GitPoller(repourl=Interpolate("%(secret:where)s"), name="p"), tmp_path / "w2", where=str(repo.path))
    polls.poll()
    repo.commit("two")
    (change,) = polls.poll()
    assert change.repository == "<where>"
    assert str(repo.path) not in json.dumps(polls.memory)
    with pytest.raises(PollError, match="there is no secret 'where'"):
        Polls(polls.poller, tmp_path / "w3").poll()


def test_git_pushes_without_commits_and_own_times(repo: Repo, tmp_path: Path) -> None:
    poller = GitPoller(repourl=str(repo.path), branches=True, buildPushesWithNoCommits=True, usetimestamps=False)
    polls = Polls(poller, tmp_path / "work")
    polls.poll()
    repo("branch", "same")
    (change,) = polls.poll()
    assert (change.branch, change.when) == ("same", 5.0)


def test_git_history_that_was_rewritten(repo: Repo, tmp_path: Path) -> None:
    repo.commit("two")
    polls = Polls(GitPoller(repourl=str(repo.path)), tmp_path / "work")
    polls.poll()
    repo("reset", "-q", "--hard", "HEAD~")
    other = repo.commit("other")
    assert [c.revision for c in polls.poll()] == [other]


def test_git_failures_are_sentences_without_secrets(tmp_path: Path) -> None:
    polls = Polls(GitPoller(repourl=f"file://joe:hunter2@{tmp_path}/nothing"), tmp_path / "work")
    with pytest.raises(PollError) as caught:
        polls.poll()
    assert "git ls-remote failed" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in polls.poller.name
    polls = Polls(GitPoller(repourl="x", gitbin="/no/such/git"), tmp_path / "work")
    with pytest.raises(PollError, match="cannot be started"):
        polls.poll()


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(PollError, match="took more than"):
        asyncio.run(run_program(["sh", "-c", "sleep 600 & wait"], str(tmp_path), seconds=0.05))


def test_a_program_is_ended_with_who_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 600; done"

    async def cancel_it() -> int:
        task = asyncio.create_task(run_program(["sh", "-c", script], str(tmp_path)))
        pid = await asyncio.to_thread((tmp_path / "pid").read_text)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return int(pid)

    pid = asyncio.run(asyncio.wait_for(cancel_it(), DEADLINE))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_program_leaves_behind_keeps_nobody(tmp_path: Path) -> None:
    script = "setsid sleep 600 & echo $! > pid; echo done"
    try:
        assert asyncio.run(asyncio.wait_for(run_program(["sh", "-c", script], str(tmp_path)), DEADLINE)) == b"done\n"
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)


class Svn:
    def __init__(self, path: Path) -> None:
        if shutil.which("svnadmin") is None:
            pytest.skip("Subversion is not installed")
        self.url = f"file://{path}"
        self.cwd = path.parent
        run("svnadmin", "create", str(path), cwd=self.cwd)
        self("mkdir", "-q", "-m", "start", f"{self.url}/trunk", f"{self.url}/branches")

    def __call__(self, *words: str) -> str:
        return run("svn", *words, "--username", "ann", cwd=self.cwd)

    def put(self, path: str, message: str) -> None:
        file = self.cwd / "content"
        file.write_text(message)
        self("import", "-q", "-m", message, str(file), f"{self.url}/{path}")


@pytest.fixture
def svn(tmp_path: Path) -> Svn:
    return Svn(tmp_path / "svn")


def test_svn_reports_what_is_new_once(svn: Svn, tmp_path: Path) -> None:
    poller = SVNPoller(svnurl=f"{svn.url}/trunk/", project="p", revlinktmpl="http://x/%s", pollinterval=30)
    assert poller.pollInterval == 30
    polls = Polls(poller, tmp_path / "work")
    assert polls.poll() == ()
    svn.put("trunk/a.c", "first")
    svn.put("branches/x", "elsewhere")
    svn.put("trunk/dir/b.c", "second")
    one, two = polls.poll()
    assert (one.revision, one.files, one.comments, one.author) == ("2", ("a.c",), "first", "ann")
    assert (one.branch, one.project, one.revlink) == (None, "p", "http://x/2")
    assert two.revision == "4"
    assert "dir/b.c" in two.files
    assert one.when > 1600000000
    assert polls.poll() == ()


def test_svn_branches(svn: Svn, tmp_path: Path) -> None:
    polls = Polls(SVNPoller(repourl=svn.url, split_file=split_file_branches), tmp_path / "work")
    polls.poll()
    svn.put("trunk/a.c", "first")
    svn("copy", "-q", "-m", "branch", f"{svn.url}/trunk", f"{svn.url}/branches/b")
    svn.put("branches/b/c.c", "second")
    svn("delete", "-q", "-m", "gone", f"{svn.url}/branches/b")
    assert [(c.branch, c.files) for c in polls.poll()] == [(None, ("a.c",)), ("branches/b", ("c.c",))]
    assert split_file_projects_branches("lib/branches/b/x.c") == {
        "project": "lib",
        "branch": "branches/b",
        "path": "x.c",
    }


def test_svn_passwords_are_in_no_argument_and_no_error(svn: Svn, tmp_path: Path) -> None:
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\nread -r word; echo "got $word" >&2; exit 1\n')
    spy.chmod(0o755)
    poller = SVNPoller(repourl=svn.url, svnuser="joe", svnpasswd=Secret("pw"), svnbin=str(spy))
    polls = Polls(poller, tmp_path / "work", pw="hunter2")
    with pytest.raises(PollError) as caught:
        polls.poll()
    assert "got <password>" in str(caught.value)
    arguments = (tmp_path / "arguments").read_text()
    assert "--username=joe" in arguments
    assert "hunter2" not in arguments
    polls = Polls(SVNPoller(repourl=svn.url, svnuser="joe", svnpasswd="hunter2"), tmp_path / "work")
    assert polls.poll() == ()
    assert os.listdir(tmp_path / "work") == []


def test_mistakes_are_named() -> None:
    with collecting(Collector()) as found:
        GitPoller()
        GitPoller(repourl="x", branch="a", branches=["b"])
        GitPoller(repourl="x", branches="main")
        GitPoller(repourl="x", polInterval=3)
        GitPoller(repourl="x", sshPrivateKey="k")
        SVNPoller(repourl="x", histmax=0)
        SVNPoller(repourl="x", cachepath="y", pollInterval=-1)
        GitPoller(repourl="x", workdir="y", codebase="z")
    texts = [str(one) for one in found.mistakes]
    assert len(texts) == 8
    assert "did you mean" not in texts[7]
    assert '"pollInterval"' in texts[3]
    assert "not supported yet" in texts[4]
    assert [one.text.split()[0] for one in found.notes] == ["cachepath", "workdir"]


def test_addresses_are_shown_without_passwords() -> None:
    assert without_password("https://joe:pw@host/x") == "https://joe@host/x"
    assert without_password("https://host/x:y@z") == "https://host/x:y@z"
    assert without_password("git@host:x") == "git@host:x"
