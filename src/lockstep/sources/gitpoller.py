"""`GitPoller`: new commits of a git repository as changes."""

import hashlib
from collections.abc import Callable
from typing import Any, ClassVar, Final

from lockstep.config.errors import missing, mistake
from lockstep.core.values import Change
from lockstep.sources.base import (
    MAX_CHANGES,
    Polled,
    PollError,
    PollingChangeSource,
    clear,
    no_secret,
    run_program,
    without_password,
)

_HEADS: Final = "refs/heads/"
_FORMAT: Final = "--format=%x01%H%x02%aN <%aE>%x02%ct%x02%B%x02"
_ENV: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}


class GitPoller(PollingChangeSource):
    """Polls a git repository.

    `branches` is a list of names, True (all of them), or a function of a ref's full name (`refs/heads/main`); `branch`
    is a single one; without both it is the repository's default branch. With `buildPushesWithNoCommits` a branch that
    moved to a known commit is a change too. `category` and `project` are texts or functions of the change. Changes have
    the times of their commits, unless `usetimestamps=False`.
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
        "codebase",
    )
    not_yet: ClassVar[tuple[str, ...]] = (
        "only_tags",
        "sshPrivateKey",
        "sshHostKey",
        "sshKnownHosts",
        "auth_credentials",
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
        if fetch_refspec is not None:
            mistake("fetch_refspec of GitPoller is no longer there", "use branches=", self.place)

    async def poll(self, memory: Any, now: float, folder: str, secret: Callable[[str], str] = no_secret) -> Polled:
        url = clear(self.repourl, secret)
        shown = without_password(url)
        git = _Git(self.gitbin, url, folder)
        heads = await self._heads(git)
        known: dict[str, str] = memory["revs"] if memory and memory.get("url") == shown else {}
        first = not memory or memory.get("url") != shown
        moved = {ref: rev for ref, rev in heads.items() if known.get(_branch(ref)) != rev}
        changes: list[Change] = []
        if moved:
            await git.fetch(moved)
            seen = set(known.values())
            for ref, rev in sorted(moved.items()) if not first else ():
                changes += await self._changes(git, ref, rev, seen, shown, now)
                seen.add(rev)
        revs = {_branch(ref): rev for ref, rev in heads.items()}
        found = tuple(self.finished(change) for change in changes[-MAX_CHANGES:])
        return Polled(changes=found, memory={"url": shown, "revs": revs})

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

    async def _changes(self, git: "_Git", ref: str, rev: str, seen: set[str], shown: str, now: float) -> list[Change]:
        """The commits of a branch that nobody has seen, oldest first."""
        # With nothing to compare with, all of history would be new: the newest commit stands for it.
        records = await git.log(rev, seen, self.encoding, only=not seen)
        if not records and self.buildPushesWithNoCommits:
            records = await git.log(rev, set(), self.encoding, only=True)
        return [
            Change(
                author=author,
                comments=comments.strip(),
                files=files,
                branch=_branch(ref),
                revision=revision,
                repository=shown,
                when=float(when) if self.usetimestamps else now,
            )
            for revision, author, when, comments, files in records
        ]


def _branch(ref: str) -> str:
    return ref.removeprefix(_HEADS)


class _Git:
    """Git in the source's folder, with a bare repository that keeps what was fetched."""

    def __init__(self, program: str, url: str, folder: str) -> None:
        self._program = program
        self._url = url
        self._folder = folder
        self._own = f"refs/lockstep/{hashlib.sha256(url.encode()).hexdigest()[:12]}/"

    async def _git(self, *words: str) -> bytes:
        return await run_program([self._program, *words], self._folder, env=_ENV)

    async def refs(self) -> tuple[dict[str, str], str | None]:
        """All refs with their commits, and the name of the default branch."""
        out = (await self._git("ls-remote", "--symref", "--", self._url)).decode("utf-8", "replace")
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
        await self._git("--git-dir=.", "fetch", "--quiet", "--no-tags", "--", self._url, *specs)

    async def log(
        self, rev: str, seen: set[str], encoding: str, only: bool = False
    ) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
        """(revision, author, time, comments, files) of the commits up to `rev` that are not in `seen`, oldest first."""
        limit = "1" if only else str(MAX_CHANGES)
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
        try:
            out = (await self._git(*words)).decode(encoding, "replace")
        except LookupError:
            raise PollError(f"there is no encoding {encoding!r}") from None
        records = []
        for record in out.split("\x01")[1:]:
            revision, author, when, comments, files = record.split("\x02", 4)
            records.append((revision, author, when, comments, tuple(name for name in files.split("\n") if name)))
        return records[::-1]
