"""`GitPoller`: new commits of a git repository as changes."""

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from lockstep.config.errors import missing, mistake, note
from lockstep.config.git_login import git_login
from lockstep.config.properties import is_renderable
from lockstep.core.values import Change
from lockstep.sources.base import (
    MAX_CHANGES,
    Clear,
    Polled,
    PollError,
    PollingChangeSource,
    Secrets,
    clear,
    no_secret,
    without_password,
)
from lockstep.sources.programs import run_program

_HEADS: Final = "refs/heads/"
_FORMAT: Final = "--format=%x00%H%x00%aN <%aE>%x00%ct%x00%B%x00"
"""With what git lets nobody write between the parts: everything else may stand in a message."""
_ENV: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}


class GitPoller(PollingChangeSource):
    """Polls a git repository.

    `branches` is a list of names, True (all of them), or a function of a ref's full name (`refs/heads/main`); `branch`
    is a single one; without both it is the repository's default branch. A commit that is new on several branches is a
    change of each. A branch that moved to a commit which a followed branch had before is a change only with
    `buildPushesWithNoCommits`. `category` and `project` are texts or functions of the change. Changes have the times of
    their commits, unless `usetimestamps=False`. `auth_credentials` is (user, password), and comes before a user and
    password in `repourl`; the server's list of processes shows neither.
    """

    keywords: ClassVar[tuple[str, ...]] = (
        "repourl",
        "branches",
        "branch",
        "workdir",
        "gitbin",
        "usetimestamps",
        "fetch_refspec",
        "encoding",
        "buildPushesWithNoCommits",
        "auth_credentials",
    )
    not_yet: ClassVar[tuple[str, ...]] = (
        "only_tags",
        "sshPrivateKey",
        "sshHostKey",
        "sshKnownHosts",
        "git_credentials",
    )

    def __init__(
        self,
        repourl: Any = None,
        branches: Any = None,
        branch: Any = None,
        workdir: Any = None,
        gitbin: str = "git",
        usetimestamps: bool = True,
        fetch_refspec: Any = None,
        encoding: str = "utf-8",
        buildPushesWithNoCommits: bool = False,
        auth_credentials: Any = None,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take the repository and its branches."""
        for keyword in self.not_yet:
            if kwargs.get(keyword) in (None, False):
                kwargs.pop(keyword, None)
        super().__init__(name or (without_password(repourl) if isinstance(repourl, str) else None), **kwargs)
        self.repourl = repourl
        self.branches = branches
        self.branch = branch
        self.gitbin = gitbin
        self.usetimestamps = usetimestamps
        self.encoding = encoding
        self.buildPushesWithNoCommits = buildPushesWithNoCommits
        self.auth_credentials = self._pair(auth_credentials)
        if not repourl:
            missing("repourl", "GitPoller needs repourl=", place=self.place)
        if branch is not None and branches is not None:
            mistake("GitPoller takes one of branch and branches", place=self.place)
        if branches is not None and branches is not True and not callable(branches):
            if isinstance(branches, str) or not isinstance(branches, list | tuple | set):
                mistake("branches of GitPoller must be a list of names, True or a function", place=self.place)
                self.branches = None
            elif not branches:
                mistake("branches of GitPoller is empty: nothing would ever be seen", place=self.place)
        if workdir is not None:
            note("workdir of GitPoller has no effect: the server has a folder for each source", place=self.place)
        if fetch_refspec is not None:
            mistake("fetch_refspec of GitPoller is no longer there", "use branches=", self.place)

    def _pair(self, given: Any) -> Any:
        """User and password, or nothing."""
        if given is None:
            return ()
        pair = tuple(given) if isinstance(given, tuple | list) else ()
        if len(pair) != 2 or not all(isinstance(one, str) or is_renderable(one) for one in pair):
            mistake("auth_credentials of GitPoller must be (user, password), two texts", place=self.place)
            return ()
        return pair

    async def poll(self, memory: Any, now: float, folder: str, secret: Secrets = no_secret) -> Polled:
        url = await clear(self.repourl, secret)
        git = _Git(self.gitbin, url, [await clear(one, secret) for one in self.auth_credentials], folder)
        heads = await self._heads(git)
        first = not memory or memory.get("url") != url.shown
        known: dict[str, str] = {} if first else memory["revs"]
        moved = {ref: rev for ref, rev in sorted(heads.items()) if known.get(_branch(ref)) != rev}
        changes: list[Change] = []
        if moved:
            await git.fetch(moved)
            share = max(1, MAX_CHANGES // len(moved))
            # A commit that is new on several branches is a change of each of them: each has its own builders.
            for ref, rev in moved.items() if not first else ():
                changes += await self._changes(git, ref, rev, set(known.values()), share, now)
        revs = {_branch(ref): rev for ref, rev in heads.items()}
        return Polled(changes=tuple(map(self.finished, changes)), memory={"url": url.shown, "revs": revs})

    async def _heads(self, git: "_Git") -> dict[str, str]:
        """The refs that are followed, and where they are."""
        refs, default = await git.refs()
        if callable(self.branches):
            return {ref: rev for ref, rev in refs.items() if self.branches(ref)}
        if self.branches is True:
            return {ref: rev for ref, rev in refs.items() if ref.startswith(_HEADS)}
        names = list(self.branches) if self.branches is not None else [self.branch or default]
        wanted = [name if str(name).startswith("refs/") else f"{_HEADS}{name}" for name in names if name]
        return {ref: refs[ref] for ref in wanted if ref in refs}

    async def _changes(self, git: "_Git", ref: str, rev: str, seen: set[str], share: int, now: float) -> list[Change]:
        """The commits of a branch that no branch had before this poll, oldest first; the newest `share` of them."""
        # With nothing to compare with, all of history would be new: the newest commit stands for it.
        records = await git.log(rev, seen, self.encoding, share if seen else 1)
        if not records and self.buildPushesWithNoCommits:
            records = await git.log(rev, set(), self.encoding, 1)
        return [
            Change(
                author=author,
                comments=comments.strip(),
                files=files,
                branch=_branch(ref),
                revision=revision,
                repository=git.url.shown,
                when=float(when) if self.usetimestamps else now,
            )
            for revision, author, when, comments, files in records
        ]


def _branch(ref: str) -> str:
    return ref.removeprefix(_HEADS)


class _Git:
    """Git in the source's folder, with a bare repository that keeps what was fetched."""

    def __init__(self, program: str, url: Clear, pair: Sequence[Clear], folder: str) -> None:
        self._program = program
        self.url = url
        self._folder = folder
        self._login = git_login(url.text, *(one.text for one in pair))
        self._hide = dict(url.hide)
        for one in pair:
            self._hide.update(one.hide)
        self._own = f"refs/lockstep/{hashlib.sha256(self._login.url.encode()).hexdigest()[:12]}/"

    async def _git(self, *words: str) -> bytes:
        command = [self._program, *self._login.words, *words]
        return await run_program(command, self._folder, self._hide, env={**_ENV, **self._login.env})

    async def refs(self) -> tuple[dict[str, str], str | None]:
        """All refs with their commits, and the name of the default branch."""
        out = (await self._git("ls-remote", "--symref", "--", self._login.url)).decode("utf-8", "replace")
        refs: dict[str, str] = {}
        default = None
        for line in out.splitlines():
            what, _, ref = line.partition("\t")
            if what.startswith("ref: ") and ref == "HEAD":
                default = what.removeprefix("ref: ").removeprefix(_HEADS)
            elif ref != "HEAD" and not ref.endswith("^{}"):
                refs[ref] = what
        return refs, default

    async def fetch(self, moved: dict[str, str]) -> None:
        """Have these refs here."""
        await self._git("init", "--bare", "--quiet", ".")  # (again has no effect)
        specs = [f"+{ref}:{self._own}{ref.removeprefix('refs/')}" for ref in moved]
        await self._git("--git-dir=.", "fetch", "--quiet", "--no-tags", "--", self._login.url, *specs)

    async def log(
        self, rev: str, seen: set[str], encoding: str, limit: int
    ) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
        """(revision, author, time, comments, files) of the commits up to `rev` and not up to one in `seen`.

        Oldest first; the newest `limit` of them.
        """
        words = [
            "--git-dir=.",
            "-c",
            "core.quotepath=false",
            "log",
            "--ignore-missing",
            "--name-only",
            "--diff-merges=first-parent",
        ]
        words += ["--topo-order", f"--max-count={limit}", _FORMAT, rev, *(f"^{one}" for one in sorted(seen)), "--"]
        out = await self._git(*words)
        try:
            parts = [part.decode(encoding, "replace") for part in out.split(b"\0")[1:]]
        except LookupError:
            raise PollError(f"there is no encoding {encoding!r}") from None
        records = []
        for at in range(0, len(parts), 5):
            revision, author, when, comments, files = parts[at : at + 5]
            records.append((revision, author, when, comments, tuple(name for name in files.split("\n") if name)))
        return records[::-1]
