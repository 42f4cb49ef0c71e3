"""The import name `buildbot`: a finder that makes Buildbot's modules out of our vocabulary.

Nothing called `buildbot` is installed. A name that Buildbot has and we have not is a stand-in
(`standin.py`). Which names there are is in `names.py` and `known.py`.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from lockstep.compat import factories, lock2004, names, results, small
from lockstep.compat.known import DEEP, KNOWN, MODULES
from lockstep.compat.standin import stand_in, unknown
from lockstep.config import builders, errors, factory, locks, properties, renderables, secrets, workers
from lockstep.config.errors import UnknownNameError, closest, nearest

VERSION = "4.3.0"
"""The release of Buildbot whose language is spoken."""

_RESULTS = {name: value for name, value in vars(results).items() if not name.startswith("_")}
_CONFIG = {
    "BuilderConfig": builders.BuilderConfig,
    "ConfigErrors": errors.ConfigErrors,
    "error": errors.error,
}
_FACTORY = {
    "BuildFactory": factory.BuildFactory,
    "GNUAutoconf": factories.GNUAutoconf,
    "Trial": factories.Trial,
    "s": factories.s,
}
_LOCKS = {name: getattr(locks, name) for name in ("BaseLock", "LockAccess", "MasterLock", "SlaveLock", "WorkerLock")}
_WORKERS = {name: getattr(workers, name) for name in ("BuildSlave", "LocalWorker", "Worker")}
_PROPERTIES = {name: getattr(properties, name) for name in properties.__all__ if name[0].isupper()}
_PROPERTIES |= {"renderer": properties.renderer, "Secret": renderables.Secret, "flatten": properties.flatten}
_UTIL = {name: getattr(small, name) for name in ("bytes2unicode", "unicode2bytes", "safeTranslate", "ComparableMixin")}
_UTIL |= {"flatten": small.flatten}

EXACT: dict[str, dict[str, Any]] = {
    "": {"version": VERSION, "__version__": VERSION},
    "buildslave": _WORKERS,
    "config": _CONFIG,
    "config.builder": _CONFIG,
    "config.errors": _CONFIG,
    "config.master": _CONFIG,
    "locks": _LOCKS,
    "process": {"s": factories.s},
    "process.factory": _FACTORY,
    "process.lock": {"Lock": lock2004.Lock},
    "process.properties": _PROPERTIES,
    "process.results": _RESULTS,
    "secrets.providers.base": {"SecretProviderBase": secrets.SecretProviderBase},
    "secrets.providers.file": {"SecretInAFile": secrets.SecretInAFile},
    "secrets.secret": {"Secret": renderables.Secret},
    "status.builder": _RESULTS,
    "status.results": _RESULTS,
    "util": _UTIL,
    "version": {"version": VERSION},
}
"""Modules whose names are listed one by one."""

_BY_ROOM = (
    ("steps", "lockstep.steps"),
    ("process.buildstep", "lockstep.steps"),
    ("process.logobserver", "lockstep.steps"),
    ("process.remotecommand", "lockstep.steps"),
    ("process.step", "lockstep.steps"),
    ("schedulers", "lockstep.schedulers"),
    ("scheduler", "lockstep.schedulers"),
    ("configurators", "lockstep.schedulers"),
    ("changes", "lockstep.sources"),
    ("reporters", "lockstep.reporters"),
)
"""Modules that have what a room has, with all below them."""
_PUBLIC = DEEP.union(*KNOWN.values())
"""Buildbot's own names: what else the rooms define is none of a configuration's business."""
_ALSO: dict[str, dict[str, Any]] = {
    "process.buildstep": _RESULTS,
    "worker": _WORKERS,
    "worker.base": _WORKERS,
    "worker.local": _WORKERS,
}


def contents(module: str) -> dict[str, Any]:
    """The names that `buildbot.<module>` has."""
    found = dict(EXACT.get(module, {}))
    for prefix, room in _BY_ROOM:
        if module == prefix or module.startswith(prefix + "."):
            found |= {name: value for name, value in names.found_in(room).items() if name in _PUBLIC}
    if module.startswith("changes"):
        found |= {name: names.find("util", name) for name in ("ChangeFilter",) if name in names.there("util")}
    if module == "scheduler" and "SingleBranchScheduler" in found:
        found["Scheduler"] = found["SingleBranchScheduler"]
    return found | _ALSO.get(module, {})


class Alias(ModuleType):
    """One module of Buildbot's. Its names are looked up when they are asked for."""

    lockstep_path = ""

    def __getattr__(self, name: str) -> Any:
        """A submodule, a thing of ours, or a stand-in. Raises AttributeError for what nobody knows."""
        if name.startswith("__"):
            if name == "__all__":
                return names.public_names(contents(self.lockstep_path))
            raise AttributeError(name)
        below = f"{self.lockstep_path}.{name}".lstrip(".")
        things = contents(self.lockstep_path)
        if name in things:
            value = things[name]
        elif below in MODULES:
            return importlib.import_module(f"buildbot.{below}")
        else:
            try:
                value = _missing(self.lockstep_path, name, things)
            except UnknownNameError as exc:
                return unknown(exc, sys._getframe(1))
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        """What is there."""
        return sorted(contents(self.lockstep_path))


class Plugins(ModuleType):
    """`buildbot.plugins`: the namespaces of `lockstep.plugins`."""

    def __getattr__(self, name: str) -> Any:
        """A namespace. Raises AttributeError for any other name."""
        if name == "__all__":
            return list(KNOWN)
        if name in KNOWN:
            return importlib.import_module(f"buildbot.plugins.{name}")
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnknownNameError("buildbot.plugins", name, KNOWN)

    def __dir__(self) -> list[str]:
        """What is there."""
        return sorted(KNOWN)


def _missing(module: str, name: str, things: dict[str, Any]) -> Any:
    """A stand-in for a name that we have not; AttributeError if it rather looks like a typing error."""
    where = f"buildbot.{module}.{name}".replace("..", ".")
    if module == "interfaces" and name[0] == "I" and name[1:2].isupper():
        return small.interface(name)
    if name not in _PUBLIC and closest(name, things) is not None:
        raise UnknownNameError(f"buildbot.{module}", name, things)
    return stand_in(where)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `buildbot` and everything below it, before any other finder does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of Buildbot's. Raises ModuleNotFoundError for one that Buildbot never had."""
        if fullname != "buildbot" and not fullname.startswith("buildbot."):
            return None
        below = fullname.removeprefix("buildbot").removeprefix(".")
        namespace = below.removeprefix("plugins.")
        if below and below not in MODULES and not (below.startswith("plugins.") and namespace in KNOWN):
            hint = nearest(below, MODULES).replace('"', '"buildbot.', 1)
            text = f"there is no module {fullname}" + (f"; {hint}" if hint else "")
            raise ModuleNotFoundError(text, name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self, origin="lockstep", is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Make the module."""
        below = spec.name.removeprefix("buildbot").removeprefix(".")
        if below == "plugins":
            return Plugins(spec.name)
        if below.startswith("plugins.") and below.removeprefix("plugins.") in KNOWN:
            from lockstep import plugins

            module: ModuleType = getattr(plugins, below.removeprefix("plugins."))
            return module
        made = Alias(spec.name)
        made.lockstep_path = below
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is executed."""


FINDER = Finder()


def install() -> None:
    """Have the import name `buildbot` lead to our modules, from now on. Doing it twice changes nothing."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
