"""Where each name of the vocabulary is found: the rooms' modules are searched once, at the first name."""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import Any

from lockstep.compat import results
from lockstep.compat.known import KNOWN
from lockstep.compat.standin import stand_in
from lockstep.config import (
    builders,
    factory,
    locked_steps,
    locks,
    pools,
    properties,
    renderables,
    secrets,
    shares,
    workers,
)
from lockstep.config.errors import UnknownNameError

_ROOMS = {
    "steps": ("lockstep.steps",),
    "schedulers": ("lockstep.schedulers",),
    "changes": ("lockstep.sources",),
    "reporters": ("lockstep.reporters",),
    "util": ("lockstep.steps", "lockstep.schedulers", "lockstep.sources"),
}
_HINTS = {
    "reporters": "builds are seen on the pages and through the API; leave it out",
    "worker": "use worker.Worker, and start the worker yourself",
}


@cache
def found_in(package: str) -> dict[str, Any]:
    """Every public class and function that the modules of a package define, by name."""
    found: dict[str, Any] = {}
    room = importlib.import_module(package)
    for info in pkgutil.iter_modules(room.__path__, package + "."):
        module = importlib.import_module(info.name)
        public = getattr(module, "__all__", None)
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if name in public if public is not None else own and not name.startswith("_"):
                found.setdefault(name, value)
    return found


def _own() -> dict[str, dict[str, Any]]:
    """What the rooms `config` and `compat` give to each namespace."""
    from lockstep.compat import factories

    util = {
        "BuildFactory": factory.BuildFactory,
        "BuilderConfig": builders.BuilderConfig,
        "FlattenList": renderables.FlattenList,
        "GNUAutoconf": factories.GNUAutoconf,
        "Interpolate": properties.Interpolate,
        "LockAccess": locks.LockAccess,
        "LockedSteps": locked_steps.LockedSteps,
        "MasterLock": locks.MasterLock,
        "Property": properties.Property,
        "ResourcePool": pools.ResourcePool,
        "Results": results.Results,
        "Secret": renderables.Secret,
        "Shares": shares.Shares,
        "SlaveLock": locks.SlaveLock,
        "Transform": properties.Transform,
        "Trial": factories.Trial,
        "WithProperties": properties.WithProperties,
        "WorkerLock": locks.WorkerLock,
        "renderer": properties.renderer,
        "statusToString": results.statusToString,
        **{result.name: result for result in results.ALL_RESULTS},
    }
    worker = {name: getattr(workers, name) for name in ("Worker", "LocalWorker", "BuildSlave")}
    return {"util": util, "worker": worker, "secrets": {"SecretInAFile": secrets.SecretInAFile}}


@cache
def there(namespace: str) -> dict[str, Any]:
    """What a namespace of `plugins` has: Buildbot's names that the rooms define, and our own."""
    own = dict(_own().get(namespace, {}))
    known = KNOWN[namespace]
    for package in _ROOMS.get(namespace, ()):
        for name, value in found_in(package).items():
            if name in known:
                own.setdefault(name, value)
    return own


@cache
def find(namespace: str, name: str) -> Any:
    """What `namespace.name` is: the thing, or a stand-in for what Buildbot has and we have not.

    Raises AttributeError for a name that neither has.
    """
    things = there(namespace)
    if name in things:
        return things[name]
    if name in KNOWN[namespace]:
        return stand_in(f"{namespace}.{name}", _HINTS.get(namespace, ""))
    raise UnknownNameError(namespace, name, visible(namespace))


def visible(namespace: str) -> list[str]:
    """All names that a namespace answers to."""
    return sorted({*there(namespace), *KNOWN[namespace]})


def public_names(things: Iterable[str]) -> list[str]:
    """Those that `import *` brings."""
    return sorted(name for name in things if not name.startswith("_"))
