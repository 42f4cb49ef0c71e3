"""`SVNPoller`: new revisions of a Subversion repository as changes."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote_plus, unquote

from lockstep.config.errors import missing, mistake, note
from lockstep.core.values import Change
from lockstep.sources.base import (
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


def split_file_alwaystrunk(path: str) -> dict[str, Any]:
    """For a repository address that is the one branch."""
    return {"path": path}


def split_file_branches(path: str) -> tuple[str | None, str] | None:
    """For a repository with `trunk` and `branches/NAME`."""
    pieces = path.split("/")
    if len(pieces) > 1 and pieces[0] == "trunk":
        return None, "/".join(pieces[1:])
    if len(pieces) > 2 and pieces[0] == "branches":
        return "/".join(pieces[:2]), "/".join(pieces[2:])
    return None


def split_file_projects_branches(path: str) -> dict[str, Any] | None:
    """For a repository with `PROJECT/trunk` and `PROJECT/branches/NAME`."""
    project, slash, rest = path.partition("/")
    found = split_file_branches(rest) if slash else None
    return {"project": project, "branch": found[0], "path": found[1]} if found else None


class SVNPoller(PollingChangeSource):
    """Polls a Subversion repository.

    `repourl` is the address to watch (`svnurl` is its old name). `split_file` says of each path below it to which
    branch it belongs: None (to none), (branch, path), or a dictionary with path, branch, project, repository, codebase.
    `revlinktmpl` is an address with `%s` for the revision. At most `histmax` revisions are looked at.
    """

    keywords: ClassVar[tuple[str, ...]] = (
        "repourl",
        "svnurl",
        "split_file",
        "svnuser",
        "svnpasswd",
        "histmax",
        "svnbin",
        "revlinktmpl",
        "cachepath",
        "extra_args",
    )

    def __init__(
        self,
        repourl: Any = None,
        split_file: Any = None,
        svnuser: Any = None,
        svnpasswd: Any = None,
        histmax: int = 100,
        svnbin: str = "svn",
        revlinktmpl: str = "",
        cachepath: Any = None,
        extra_args: Any = None,
        svnurl: Any = None,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take the repository, who asks, and how to tell branches."""
        repourl = repourl if repourl is not None else svnurl
        super().__init__(name or (without_password(repourl) if isinstance(repourl, str) else None), **kwargs)
        self.repourl = repourl.rstrip("/") if isinstance(repourl, str) else repourl
        self.split_file = split_file or split_file_alwaystrunk
        self.svnuser = svnuser
        self.svnpasswd = svnpasswd
        self.histmax = histmax
        self.svnbin = svnbin
        self.revlinktmpl = revlinktmpl
        self.extra_args = list(extra_args or ())
        if not repourl:
            missing("repourl", "SVNPoller needs repourl=", place=self.place)
        if not callable(self.split_file):
            mistake("split_file of SVNPoller must be a function", place=self.place)
            self.split_file = split_file_alwaystrunk
        if not isinstance(histmax, int) or histmax < 1:
            mistake(f"histmax of SVNPoller must be a number, at least 1, not {histmax!r}", place=self.place)
            self.histmax = 100
        if cachepath is not None:
            note("cachepath has no effect: the server keeps what a source remembers", place=self.place)

    async def poll(self, memory: Any, now: float, folder: str, secret: Secrets = no_secret) -> Polled:
        url = await clear(self.repourl, secret)
        shown = url.shown
        same = bool(memory) and memory.get("url") == shown
        prefix = memory["prefix"] if same else await self._prefix(url, folder, secret)
        log = await self._svn(url, folder, secret, "log", "--verbose", f"--limit={self.histmax}")
        entries = sorted(log.iter("logentry"), key=lambda entry: int(entry.get("revision", "0")))
        last = memory["last"] if same else None
        changes: list[Change] = []
        for entry in entries:
            if last is not None and int(entry.get("revision", "0")) > last:
                changes += self._changes(entry, prefix, shown, now)
        newest = max([int(entry.get("revision", "0")) for entry in entries] + [last or 0])
        found = tuple(self.finished(change) for change in changes)
        return Polled(changes=found, memory={"url": shown, "prefix": prefix, "last": newest})

    async def _svn(self, url: Clear, folder: str, secret: Secrets, verb: str, *words: str) -> ET.Element:
        """Subversion's XML. The password goes through standard input: an argument could be seen by others."""
        command = [self.svnbin, verb, "--xml", "--non-interactive", "--no-auth-cache", *self.extra_args]
        hide = dict(url.hide)
        stdin = None
        if self.svnuser is not None:
            user = await clear(self.svnuser, secret)
            hide.update(user.hide)
            command.append(f"--username={user.text}")
        if self.svnpasswd is not None:
            stdin = hide["password"] = (await clear(self.svnpasswd, secret)).text
            command.append("--password-from-stdin")
        out = await run_program([*command, *words, "--", url.text], folder, hide, stdin)
        try:
            return ET.fromstring(out)
        except ET.ParseError as exc:
            raise PollError(f"svn {verb} said something that is no XML: {exc}") from None

    async def _prefix(self, url: Clear, folder: str, secret: Secrets) -> str:
        """The path of the address inside its repository: `/trunk`, or nothing."""
        info = await self._svn(url, folder, secret, "info")
        root, full = info.findtext("entry/repository/root"), info.findtext("entry/url")
        if not root or full is None or not full.startswith(root):
            raise PollError("svn info did not say where in its repository the address is")
        return unquote(full[len(root) :].rstrip("/"))

    def _changes(self, entry: ET.Element, prefix: str, shown: str, now: float) -> list[Change]:
        """One revision: a change for each branch that it touches."""
        revision = entry.get("revision", "")
        groups: dict[tuple[Any, ...], list[str]] = {}
        for path in entry.iter("path"):
            where = self._where(path.text or "", prefix)
            if where is None:
                continue
            key = tuple(where.get(name) for name in ("branch", "project", "repository", "codebase"))
            if path.get("action") == "D" and not where["path"]:
                continue  # the branch itself was removed: there is nothing to build
            groups.setdefault(key, []).append(where["path"])
        return [
            Change(
                author=entry.findtext("author") or "(no author)",
                comments=entry.findtext("msg") or "",
                files=tuple(files),
                branch=branch,
                revision=revision,
                revlink=self.revlinktmpl % quote_plus(revision) if self.revlinktmpl else "",
                repository=repository or shown,
                project=project or "",
                codebase=codebase or "",
                when=_time(entry.findtext("date"), now),
            )
            for (branch, project, repository, codebase), files in groups.items()
        ]

    def _where(self, path: str, prefix: str) -> dict[str, Any] | None:
        """What `split_file` says of a path of the repository; None if it is not looked at."""
        if prefix and path != prefix and not path.startswith(prefix + "/"):
            return None
        said = self.split_file(path[len(prefix) :].lstrip("/"))
        if not said:
            return None
        if isinstance(said, Mapping):
            return {"path": "", **said}
        branch, below = said
        return {"branch": branch, "path": below}


def _time(text: str | None, now: float) -> float:
    """Subversion's time as Unix seconds."""
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return now
