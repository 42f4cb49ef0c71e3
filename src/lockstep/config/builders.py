"""Builders as a configuration names them: `BuilderConfig`, and dictionaries in the older spelling.

Whether workers and schedulers fit to builders is checked in `check.py`; what a builder needs is computed in `needs.py`.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lockstep.config.errors import Place, check_keywords, declared, here, missing, mistake, named, nearest, note, plain
from lockstep.config.factory import BuildFactory
from lockstep.config.locks import tidy

_OLD_NAMES = {
    "slavename": "workername",
    "slavenames": "workernames",
    "slavebuilddir": "workerbuilddir",
    "nextSlave": "nextWorker",
    "mergeRequests": "collapseRequests",
}
_WORKERS = ("workername", "workernames")
_HOOKS = ("nextWorker", "canStartBuild", "nextBuild")
_KEYWORDS = (
    "name",
    "workername",
    "workernames",
    "builddir",
    "workerbuilddir",
    "factory",
    "tags",
    "category",
    "nextWorker",
    "nextBuild",
    "locks",
    "env",
    "properties",
    "defaultProperties",
    "collapseRequests",
    "description",
    "description_format",
    "canStartBuild",
    "project",
    "do_build_if",
)
_NOT_YET = ("do_build_if",)
_RESERVED = re.compile(r"^_")


class BuilderConfig:
    """One builder: a name, workers, a factory, and how its builds are started.

    `locks` is a list of locks and accesses, or a renderable, claimed with the worker's slot (L21, L24).
    `canStartBuild`, `nextWorker`, `nextBuild` and a function as `collapseRequests` are asked by the master, outside of
    decisions (L24a).
    """

    def __init__(self, name: Any = None, workername: Any = None, workernames: Any = None, **settings: Any) -> None:
        """Check and keep what the configuration says; old names are taken too."""
        given_place: Place | None = settings.pop("place") if isinstance(settings.get("place"), Place) else None
        self.place = given_place or here()
        self.declared = given_place or declared()
        given = {"name": name, "workername": workername, "workernames": workernames, **settings}
        for old, new in _OLD_NAMES.items():
            if old in given:
                given[new] = given.pop(old)
        self.name: str = named(name, "a builder", self.place)
        self.what = f'builder "{self.name}"'
        unknown = {key: value for key, value in given.items() if key not in _KEYWORDS or key in _NOT_YET}
        known = {key: value for key, value in given.items() if key not in unknown}
        unknown = {key: value for key, value in unknown.items() if value is not None or key not in _NOT_YET}
        check_keywords(self.what, unknown, (*_KEYWORDS, *_OLD_NAMES), _NOT_YET, self.place)
        for value in known.values():
            if isinstance(value, type) and getattr(value, "lockstep_refused", False):
                self._wrong(f"{getattr(value, 'where', value)} is not supported yet")
        if _RESERVED.match(self.name):
            self._wrong("names that begin with an underscore are reserved", "choose another name")
        self.workernames = self._workers(known.get("workername"), known.get("workernames"))
        self.factory: BuildFactory = self._factory(known.get("factory"))
        self.builddir = self._folder(known, "builddir") or safe_name(self.name)
        self.workerbuilddir = self._folder(known, "workerbuilddir") or self.builddir
        self._take_rest(known)

    def _take_rest(self, given: Mapping[str, Any]) -> None:
        """Keep all that is neither name nor workers nor factory."""
        self.locks: Any = tidy(given.get("locks"))
        self.env: dict[str, Any] = self._mapping(given, "env")
        self.properties = self._plain(given, "properties")
        self.defaultProperties = self._plain(given, "defaultProperties")
        self.collapseRequests: bool | Callable[..., Any] | None = self._collapse(given.get("collapseRequests"))
        self.description: str | None = self._text(given, "description")
        self.project: str = self._text(given, "project") or ""
        self.tags = self._tags(given.get("tags"), given.get("category"))
        if given.get("description_format") is not None:
            note(f"{self.what}: description_format has no effect", "descriptions are shown as text", self.place)
        hooks = {}
        for name in _HOOKS:
            hooks[name] = given.get(name)
            if hooks[name] is not None and not callable(hooks[name]):
                self._wrong(f"{name} must be a function, not {hooks[name]!r}")
                hooks[name] = None
        self.nextWorker: Callable[..., Any] | None = hooks["nextWorker"]
        self.canStartBuild: Callable[..., Any] | None = hooks["canStartBuild"]
        self.nextBuild: Callable[..., Any] | None = hooks["nextBuild"]

    def _wrong(self, text: str, hint: str = "") -> None:
        """Report a mistake of this builder."""
        mistake(f"{self.what}: {text}", hint, self.place)

    def _workers(self, one: Any, several: Any) -> list[str]:
        """The workers' names, in their order."""
        names: list[Any] = []
        if isinstance(several, str):
            names.append(several)
        elif isinstance(several, Iterable):
            names.extend(several)
        elif several is not None:
            self._wrong(f"workernames must be a list of names, not {several!r}")
        if one is not None:
            names.append(one)
        found: list[str] = []
        for name in names:
            if not isinstance(name, str) or not name:
                self._wrong(f"{name!r} is no name of a worker", "workernames is a list of the workers' names")
            elif name not in found:
                found.append(name)
        if not names:
            hint = 'give it workernames=["..."]'
            text = f"{self.what}: it has no workers"
            missing((*_WORKERS, *(old for old, new in _OLD_NAMES.items() if new in _WORKERS)), text, hint, self.place)
        return found

    def _factory(self, factory: Any) -> BuildFactory:
        """The factory; an empty one after reporting that there is none."""
        if isinstance(factory, BuildFactory):
            return factory
        if factory is None:
            text = f"{self.what}: it has no factory"
            missing("factory", text, "give it factory=util.BuildFactory([...])", self.place)
        elif not getattr(factory, "lockstep_refused", False):
            self._wrong(f"factory must be a BuildFactory, not {factory!r}")
        return BuildFactory()

    def _mapping(self, given: Mapping[str, Any], key: str) -> dict[str, Any]:
        """A dictionary, or an empty one after reporting a wrong one."""
        value = given.get(key)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return dict(value)
        self._wrong(f"{key} must be a dictionary, not {type(value).__name__}")
        return {}

    def _plain(self, given: Mapping[str, Any], key: str) -> dict[str, Any]:
        """A dictionary of values that JSON can say."""
        values = self._mapping(given, key)
        return {str(k): v for k, v in values.items() if plain(v, f'{self.what}: {key}: the value of "{k}"', self.place)}

    def _collapse(self, value: Any) -> bool | Callable[..., Any] | None:
        """True, False, a function, or None for what is common to all builders."""
        if value is None or isinstance(value, bool) or callable(value):
            found: bool | Callable[..., Any] | None = value
            return found
        self._wrong(f"collapseRequests must be True, False or a function, not {value!r}")
        return None

    def _text(self, given: Mapping[str, Any], key: str) -> str | None:
        """A text or None."""
        value = given.get(key)
        if value is None or isinstance(value, str):
            return value
        self._wrong(f"{key} must be a text, not {value!r}")
        return None

    def _folder(self, given: Mapping[str, Any], key: str) -> str:
        """The name of a folder, or nothing."""
        value = given.get(key)
        folder = self._text({key: os.fspath(value) if isinstance(value, os.PathLike) else value}, key) or ""
        if not folder.isprintable():
            self._wrong(f"{key} must have printable characters only, not {folder!r}")
            return ""
        return folder

    def _tags(self, tags: Any, category: Any) -> tuple[str, ...]:
        """The tags; `category` is the old way to give one."""
        if category is not None and tags:
            self._wrong("category and tags are the same thing, old and new", "give only tags")
        if tags is None:
            tags = [category] if category is not None else []
        if isinstance(tags, str) or not isinstance(tags, Iterable):
            self._wrong(f"tags must be a list of texts, not {tags!r}")
            return ()
        return tuple(str(tag) for tag in tags)

    def __repr__(self) -> str:
        """The name."""
        return f"BuilderConfig({self.name!r})"


def safe_name(name: str) -> str:
    """A builder's name as a folder's name."""
    return re.sub(r"[^\w.+-]", "_", name)


def as_builder(value: Any, place: Place) -> BuilderConfig | None:
    """A builder from what stands in `c['builders']`; None, with a mistake reported, if it is none."""
    if isinstance(value, BuilderConfig):
        return value
    if isinstance(value, Mapping):
        if "name" not in value:
            keys = [str(key) for key in value]
            mistake(f"a builder has no name: it has {keys}", nearest("name", keys), place)
            return None
        factory = value.get("factory")
        at = factory.place if isinstance(factory, BuildFactory) and place.line == 0 else place
        settings = {str(key): item for key, item in value.items()}
        if "place" in settings:  # our own word for where it stands
            check_keywords(f'builder "{value["name"]}"', {"place": settings["place"]}, _KEYWORDS, place=at)
        return BuilderConfig(**settings | {"place": at})
    if not getattr(value, "lockstep_refused", False):
        mistake(f"c['builders'] holds {value!r}, which is no builder", "use util.BuilderConfig(...)", place)
    return None
