"""`Git`: checkouts with git. What is common to checkouts is in `source.py`."""

from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.addresses import around_password
from lockstep.config.errors import mistake
from lockstep.config.git_login import GitLogin, git_login
from lockstep.config.properties import is_renderable
from lockstep.core.nouns import Result
from lockstep.core.values import SourceStamp
from lockstep.steps import kinds
from lockstep.steps.base import BuildStepFailed
from lockstep.steps.private import hidden_password
from lockstep.steps.source import PATCHED, Source

_DESCRIBE_FLAGS = ("all", "always", "contains", "debug", "long", "exact-match", "first-parent", "tags")
_DESCRIBE_VALUES = ("match", "exclude", "abbrev", "candidates", "dirty")


class Git(Source):
    """Check a git repository out.

    Mode `incremental` leaves what was built; mode `full` has the methods `fresh` (removes everything that git does not
    track), `clean` (leaves ignored files), `clobber` (removes the directory and clones) and `copy` (keeps a checkout in
    the directory `source` and copies it). `shallow` is a depth or True (1). `config` is a dictionary of git settings.
    `auth_credentials` is (user, password), and comes before a user and password in `repourl`. Either reaches git
    through its environment, for the repository's host only: neither the worker's list of processes nor `.git/config`
    shows it.
    """

    name: Any = "git"
    renderables: ClassVar[Any] = (
        "reference",
        "origin",
        "config",
        "filters",
        "shallow",
        "submodules",
        "getDescription",
        "auth_credentials",
    )
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {
        "config": kinds.mapping,
        "filters": kinds.words,
        "reference": kinds.text,
        "origin": kinds.text,
        "auth_credentials": kinds.login,
    }
    methods: ClassVar[dict[str, tuple[str, ...]]] = {
        "incremental": (),
        "full": ("fresh", "clean", "clobber", "copy"),
    }
    submodules: Any = False
    remoteSubmodules: Any = False
    shallow: Any = False
    tags: Any = False
    reference: Any = None
    origin: Any = None
    filters: Any = None
    progress: Any = True
    retryFetch: Any = False
    clobberOnFailure: Any = False
    getDescription: Any = False
    config: Any = None
    auth_credentials: Any = None
    keywords: ClassVar[tuple[str, ...]] = (
        "submodules",
        "remoteSubmodules",
        "shallow",
        "tags",
        "reference",
        "origin",
        "filters",
        "progress",
        "retryFetch",
        "clobberOnFailure",
        "getDescription",
        "config",
        "auth_credentials",
    )
    not_yet: ClassVar[tuple[str, ...]] = (
        "sshPrivateKey",
        "sshHostKey",
        "sshKnownHosts",
        "git_credentials",
    )

    def __init__(self, **kwargs: Any) -> None:
        """Take the options above."""
        for name in self.not_yet:
            if kwargs.get(name) is None:
                kwargs.pop(name, None)
        super().__init__(**kwargs)
        self._hide_passwords()
        if self.shallow and self.mode == "full" and self.method not in (None, "clobber"):
            mistake(f"shallow cannot be used with the method {self.method}", place=self.place)
        if isinstance(self.getDescription, dict):
            for name in self.getDescription:
                if name not in _DESCRIBE_FLAGS + _DESCRIBE_VALUES:
                    mistake(f"getDescription: git describe has no option {name!r} here", place=self.place)

    def _hide_passwords(self) -> None:
        """Put markers where a password stands in clear: it is to be in no fact, row or log."""
        address = self.repourl
        parts = around_password(address) if isinstance(address, str) else None
        if parts is not None:
            before, password, behind = parts
            address = before + "..." + behind
            self.repourl = before + hidden_password(password, None, address, self.place) + behind
        pair = self.auth_credentials
        if pair and not is_renderable(pair) and not kinds.login(pair) and isinstance(pair[1], str):
            self.auth_credentials = (pair[0], hidden_password(pair[1], pair[0], address, self.place))

    # Commands

    async def git(
        self, *words: Any, where: str | None = None, abandonOnFailure: bool = True, collect: bool = False
    ) -> Any:
        """Run git in a directory (default: the one that is checked out into) and return the command."""
        settings = [word for name, value in (self.config or {}).items() for word in ("-c", f"{name}={value}")]
        return await self.program(
            ["git", *self._login.words, *settings, *words],
            where or self._tree,
            collect=collect,
            abandonOnFailure=abandonOnFailure,
            unseen=self._login.env,
        )

    _tree = ""
    _login = GitLogin("")

    async def checkout(self, stamp: SourceStamp) -> str:
        method = (self.method or "fresh") if self.mode == "full" else "incremental"
        self._tree = "source" if method == "copy" else self.workdir
        if wrong := kinds.login(self.auth_credentials):
            self.fail(f"auth_credentials {wrong}")
        self._login = git_login(self.repourl, *(self.auth_credentials or ()))
        try:
            await self._update(stamp, method)
        except BuildStepFailed:
            if not self.clobberOnFailure or self.stopped:
                raise
            self.stdio().addHeader("the update failed; removing everything and cloning anew\n")
            await self._update(stamp, "clobber")
        if self.submodules:
            await self._update_submodules(method)
        revision = (await self.git("rev-parse", "HEAD", collect=True)).stdout.strip()
        if not revision:
            self.fail("git rev-parse did not say which revision this is")
        if self.getDescription is not False:
            await self._describe_revision()
        if method == "copy":
            await self.copy(self._tree, self.workdir)
        return str(revision)

    async def _update(self, stamp: SourceStamp, method: str) -> None:
        """Bring the tree to branch and revision."""
        branch = self.no_option("branch", stamp.branch or self.branch)
        revision = self.no_option("revision", stamp.revision)
        if method == "clobber":
            await self.remove(self._tree)
        elif await self.exists(self._tree, ".git"):
            if method in ("fresh", "clean") or await self.exists(self._tree, PATCHED):
                await self._clean(method)
            if self._login.words:  # the address there may be of before, with a password in it
                await self.git("config", f"remote.{self.origin or 'origin'}.url", self._login.url)
            await self._fetch(branch, revision)
            return
        await self._clone(branch, revision)

    async def _clean(self, method: str) -> None:
        """Remove what git does not track; all of it, unless the method is `clean`."""
        words = ["clean", "-f", "-f", "-d"] + (["-x"] if method != "clean" else [])
        await self.git(*words)

    def _transfer_options(self) -> list[str]:
        words = ["--progress"] if self.progress else []
        if self.shallow:
            words += ["--depth", "1" if self.shallow is True else str(int(self.shallow))]
        return words

    async def _clone(self, branch: str | None, revision: str | None) -> None:
        """Clone into the tree, and go to the revision."""
        words: list[Any] = ["clone", *self._transfer_options()]
        by_name = branch is not None and not branch.startswith("refs/")
        if by_name:
            words += ["--branch", branch]
        if self.reference:
            words += ["--reference", self.reference]
        if self.origin:
            words += ["--origin", self.origin]
        for one in self.filters or ():
            words += ["--filter", one]
        await self.git(*words, "--", self._login.url, ".")
        if branch is not None and not by_name:
            await self._fetch(branch, revision)
        elif revision is not None:
            await self._go_to(revision, branch, fetch=True)

    async def _fetch(self, branch: str | None, revision: str | None) -> None:
        """Bring an existing tree to branch and revision; what is there already is not fetched."""
        if revision is not None:
            known = await self.git("cat-file", "-e", f"{revision}^{{commit}}", abandonOnFailure=False)
            if known.results() == Result.SUCCESS:
                await self._go_to(revision, branch, fetch=False)
                return
        await self._fetch_ref(branch or "HEAD")
        if revision is None:
            await self._go_to("FETCH_HEAD", branch, fetch=False)
        else:
            await self._go_to(revision, branch, fetch=True)

    async def _fetch_ref(self, ref: str, abandonOnFailure: bool = True) -> None:
        words = [
            "fetch",
            "-f",
            *(["--tags"] if self.tags else []),
            *self._transfer_options(),
            "--",
            self._login.url,
            ref,
        ]
        cmd = await self.git(*words, abandonOnFailure=False)
        if cmd.results() != Result.SUCCESS and self.retryFetch and not self.stopped:
            self.stdio().addHeader("git fetch failed; trying it once more\n")
            cmd = await self.git(*words, abandonOnFailure=False)
        if abandonOnFailure and cmd.results() != Result.SUCCESS:
            raise BuildStepFailed

    async def _go_to(self, revision: str, branch: str | None, fetch: bool) -> None:
        """Have the tree at a revision; with `fetch`, ask the repository for it by name if it is not there."""
        cmd = await self.git("reset", "--hard", revision, "--", abandonOnFailure=not fetch)
        if cmd.results() != Result.SUCCESS:
            await self._fetch_ref(revision)
            await self.git("reset", "--hard", revision, "--")
        if branch is not None and not branch.startswith("refs/"):
            await self.git("checkout", "-B", branch)

    async def _update_submodules(self, method: str) -> None:
        await self.git("submodule", "sync")
        words = ["submodule", "update", "--init", "--recursive"]
        if method in ("fresh", "clean"):
            words.append("--force")
        if self.remoteSubmodules:
            words.append("--remote")
        await self.git(*words)
        if method in ("fresh", "clean"):
            clean = "git clean -f -f -d -x" if method == "fresh" else "git clean -f -f -d"
            await self.git("submodule", "foreach", "--recursive", clean)

    async def _describe_revision(self) -> None:
        """Set the property `commit-description`."""
        options = self.getDescription if isinstance(self.getDescription, dict) else {}
        words = ["describe"]
        for name, value in options.items():
            if value is None or value is False:
                continue
            if value is True:
                words.append(f"--{name}")
            else:
                words.extend(["--match", str(value)] if name == "match" else [f"--{name}={value}"])
        cmd = await self.git(
            *words, "HEAD" if "dirty" not in options else "--dirty", collect=True, abandonOnFailure=False
        )
        if cmd.results() == Result.SUCCESS and cmd.stdout.strip():
            name = f"commit-description-{self.codebase}" if self.codebase else "commit-description"
            self.setProperty(name, cmd.stdout.strip(), "Git")
