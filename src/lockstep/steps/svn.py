"""`SVN`: checkouts with Subversion. What is common to checkouts is in `source.py`."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.errors import mistake
from lockstep.config.properties import is_renderable
from lockstep.core.values import SourceStamp
from lockstep.steps import kinds
from lockstep.steps.private import hidden_password
from lockstep.steps.source import PATCHED, Source

_OLD_MODES = {"update": ("incremental", None), "clobber": ("full", "clobber"), "copy": ("full", "copy")}
_OLD_MODES["export"] = ("full", "export")


class SVN(Source):
    """Check a Subversion repository out.

    Mode `incremental` leaves what was built; mode `full` has the methods `fresh` (removes everything that Subversion
    does not track), `clean` (leaves ignored files), `clobber` (removes the directory and checks out), `copy` and
    `export` (keep a checkout in the directory `source` and copy or export it). A password in clear is kept out of
    everything that is stored or shown, and (with Subversion 1.10 or newer) out of the worker's list of processes.
    """

    name: Any = "svn"
    renderables: ClassVar[Any] = ("username", "password", "depth", "extra_args")
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {
        "username": kinds.text,
        "password": kinds.text,
        "extra_args": kinds.words,
        "keep_on_purge": kinds.words,
    }
    methods: ClassVar[dict[str, tuple[str, ...]]] = {
        "incremental": (),
        "full": ("fresh", "clean", "clobber", "copy", "export"),
    }
    username: Any = None
    password: Any = None
    depth: Any = None
    extra_args: Any = None
    keep_on_purge: Any = ()
    preferLastChangedRev: Any = False
    keywords: ClassVar[tuple[str, ...]] = (
        "username",
        "password",
        "depth",
        "extra_args",
        "keep_on_purge",
        "preferLastChangedRev",
    )
    not_yet: ClassVar[tuple[str, ...]] = ("baseURL", "defaultBranch")

    def __init__(self, **kwargs: Any) -> None:
        """Take the options above. `svnurl` and the modes `update`, `clobber`, `copy`, `export` are the old spelling."""
        if "svnurl" in kwargs:
            kwargs.setdefault("repourl", kwargs.pop("svnurl"))
        if kwargs.get("mode") in _OLD_MODES and isinstance(kwargs["mode"], str):
            kwargs["mode"], method = _OLD_MODES[kwargs["mode"]]
            if method:
                kwargs["method"] = method
        super().__init__(**kwargs)
        if isinstance(self.password, str) and not is_renderable(self.password):
            self.password = hidden_password(self.password, self.username, self.repourl, self.place)
        if self.depth not in (None, "empty", "files", "immediates", "infinity") and isinstance(self.depth, str):
            mistake(f"depth: Subversion has no depth {self.depth!r}", place=self.place)

    async def svn(
        self, *words: Any, where: str | None = None, abandonOnFailure: bool = True, collect: bool = False
    ) -> Any:
        """Run svn in a directory (default: the one that is checked out into) and return the command."""
        options: list[Any] = ["--non-interactive", "--no-auth-cache"]
        if self.username:
            options += ["--username", self.username]
        unseen = bool(self.password) and await self._reads_password()
        if self.password:
            options += ["--password-from-stdin"] if unseen else ["--password", self.password]
        if self.extra_args:
            options += list(self.extra_args)
        return await self.program(
            ["svn", words[0], *options, *words[1:]],
            self._tree if where is None else where,
            collect=collect,
            abandonOnFailure=abandonOnFailure,
            initialStdin=self.password if unseen else None,
        )

    async def _reads_password(self) -> bool:
        """Whether the worker's svn takes a password from its input (since 1.10), where no other user can see it."""
        if self._modern is None:
            cmd = await self.program(["svn", "--version", "--quiet"], "", collect=True)
            version = [int(number) for number in re.findall(r"\d+", cmd.stdout)[:2]]
            self._modern = version >= [1, 10]
            if not self._modern:
                why = f"svn {cmd.stdout.strip()} is older than 1.10: its password can be seen in the worker's processes"
                self.stdio().addHeader(f"{why}\n")
        return self._modern

    _tree = ""
    _modern: bool | None = None

    async def checkout(self, stamp: SourceStamp) -> str:
        method = (self.method or "fresh") if self.mode == "full" else "incremental"
        self._tree = "source" if method in ("copy", "export") else self.workdir
        revision = self.no_option("revision", stamp.revision) or "HEAD"
        there = method != "clobber" and await self.exists(self._tree, ".svn")
        if method == "clobber" or (there and await self._is_spoilt()):
            await self.remove(self._tree)
            there = False
        if not there:
            await self._check_out(revision)
        else:
            if method in ("fresh", "clean"):
                await self._purge(ignored=method == "fresh")
            await self.svn("update", "--revision", str(revision), *self._depth("--set-depth"))
        got = await self._revision()
        if method == "copy":
            await self.copy(self._tree, self.workdir)
        elif method == "export":
            await self.remove(self.workdir)
            await self.svn("export", self._tree, self.workdir, where="")
        return got

    def _depth(self, option: str) -> list[Any]:
        return [option, self.depth] if self.depth else []

    async def _check_out(self, revision: Any) -> None:
        await self.svn("checkout", "--revision", str(revision), *self._depth("--depth"), "--", self.repourl, ".")

    async def _is_spoilt(self) -> bool:
        """Whether the checkout that is there is patched, or of another address."""
        if await self.exists(self._tree, PATCHED):
            return True
        cmd = await self.svn("info", "--xml", collect=True, abandonOnFailure=False)
        entry = _entry(cmd.stdout)
        url = entry.findtext("url") if entry is not None else None
        return url is None or _canonical(url) != _canonical(self.repourl)

    async def _purge(self, ignored: bool) -> None:
        """Undo local changes and remove what Subversion does not track."""
        words = ["status", "--xml"] + (["--no-ignore"] if ignored else [])
        cmd = await self.svn(*words, collect=True)
        paths = []
        for entry in _tree_of(cmd.stdout).iter("entry"):
            status = entry.find("wc-status")
            path = entry.get("path", "")
            unknown = status is not None and status.get("item") in ("unversioned", "ignored")
            if unknown and path not in self.keep_on_purge:
                paths.append(self.build.path_module.join(self._tree, path))
        if paths:
            await self.runRemoteCommand("rmdir", {"paths": paths, "timeout": self.timeout})
        await self.svn("revert", "--recursive", ".")

    async def _revision(self) -> str:
        """The revision that is checked out now."""
        entry = _entry((await self.svn("info", "--xml", collect=True)).stdout)
        commit = entry.find("commit") if entry is not None and self.preferLastChangedRev else None
        revision = (commit if commit is not None else entry).get("revision") if entry is not None else None
        if not revision:
            self.fail("svn info did not say which revision this is")
        return str(revision)


def _tree_of(text: str) -> ET.Element:
    """Subversion's XML; an empty element for anything else."""
    try:
        return ET.fromstring(text)
    except ET.ParseError:
        return ET.Element("nothing")


def _entry(text: str) -> ET.Element | None:
    return _tree_of(text).find("entry")


def _canonical(url: str) -> str:
    """An address in the form that Subversion gives it."""
    return url.rstrip("/").replace("file://localhost/", "file:///")
