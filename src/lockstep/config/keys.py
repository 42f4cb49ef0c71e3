"""The keys of `BuildmasterConfig`: which there are, and how each is read into a `Draft`.

What is checked across keys (names that must exist, locks) is in `check.py`; the values' own classes check themselves.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from lockstep.config import errors
from lockstep.config.builders import BuilderConfig, as_builder
from lockstep.config.draft import Draft, Port
from lockstep.config.errors import nearest, plain
from lockstep.config.locate import Locator
from lockstep.config.locks import Lockable, MasterLock
from lockstep.config.protocols import JanitorLike, SchedulerLike, SourceLike
from lockstep.config.secrets import SecretProviderBase
from lockstep.config.shares import Shares
from lockstep.config.workers import Worker
from lockstep.core.limits import MAX_WHOLE

_TCP = re.compile(r"(?:tcp:)?(?:(?P<before>[\w.-]+):)?(?P<port>\d{1,5})(?::interface=(?P<host>[\w.:\\-]+))?")

NO_EFFECT = {
    "buildCacheSize": "there is no cache to size",
    "buildHorizon": "builds are not counted; util.JanitorConfigurator(buildHorizon=timedelta(...)) deletes old ones",
    "buildbotNetUsageData": "nothing is ever sent",
    "caches": "there is no cache to size",
    "changeCacheSize": "there is no cache to size",
    "debugPassword": "there is no debug client",
    "eventHorizon": "events go with their builds: util.JanitorConfigurator(buildHorizon=timedelta(...))",
    "logCompressionLimit": "logs are always compressed",
    "logCompressionMethod": "logs are always compressed, with zstd",
    "logHorizon": "logs are not counted; util.JanitorConfigurator(logHorizon=timedelta(...)) deletes old ones",
    "manhole": "there is no manhole",
    "metrics": "metrics need no setting",
    "workerPingInterval": "connections are watched by the protocol",
}
"""Keys that are accepted and do nothing, and why."""

NOT_YET = (
    "codebaseGenerator",
    "codebases",
    "defaultBuilderBasedir",
    "machines",
    "projects",
    "revlink",
    "services",
    "stats",
    "status",
    "user_managers",
    "validation",
)
"""Keys whose subject would change what the server does, and is not there."""

_LISTS = {"workers": ("workers", "slaves", "bots"), "builders": ("builders",), "schedulers": ("schedulers",)}
"""What other parts of a configuration name things of, and the keys of each."""

_WWW_NO_EFFECT = (
    "allowed_origins",
    "avatar_methods",
    "cookie_expiration_time",
    "custom_templates_dir",
    "debug",
    "default_page",
    "graphql",
    "json_cache_seconds",
    "jsonp",
    "logRotation",
    "logfileName",
    "logfileSize",
    "max_search_history",
    "maxRotatedFiles",
    "plugins",
    "rest_minimum_version",
    "theme",
    "ui_default_config",
    "versions",
    "ws_ping_interval",
)
_WWW_NOT_YET = ("auth", "authz", "change_hook_auth", "change_hook_dialects", "websocket_compression", "ssl")


class KeyReader:
    """Reads one configuration's dictionary."""

    def __init__(self, values: Mapping[str, Any], locator: Locator, growing: frozenset[str] | None = None) -> None:
        """Take the dictionary, and what knows the places in its file.

        `growing` is None if the file was executed to its end; else those keys were perhaps not finished.
        """
        self.values = values
        self.locator = locator
        self.draft = Draft()
        if growing is not None:
            there = set(values) - growing
            self.draft.incomplete = {name for name, keys in _LISTS.items() if there.isdisjoint(keys)}

    def read(self) -> Draft:
        """Read every key; report the unknown and the wrong ones."""
        for key, value in self.values.items():
            name = str(key)
            reader = READERS.get(name)
            if reader is not None:
                errors.guarded(partial(reader, self, value, name))
            elif name in NO_EFFECT:
                errors.note(f"c['{name}'] has no effect", NO_EFFECT[name], self.locator.key(name))
            elif name == "interlocks":
                hint = "to wait for another's success use schedulers.Dependent, to keep things apart a lock"
                self.wrong(name, "interlocks of 0.6 were two things in one and are not supported", hint)
            elif name in NOT_YET:
                self.refuse(name, value)
            else:
                known = (*READERS, *NO_EFFECT, *NOT_YET)
                self.wrong(name, "unknown key", nearest(name, known) or "see the list of keys in the manual")
        return self.draft

    def wrong(self, key: str, text: str, hint: str = "") -> None:
        """Report a mistake at a key."""
        errors.mistake(f"c['{key}']: {text}", hint, self.locator.key(key))

    def refuse(self, key: str, value: Any) -> None:
        """Report that a key is not supported yet, unless it says nothing or its contents were already refused."""
        items = list(value) if isinstance(value, list | tuple | set) else [value] if value else []
        if items and not all(getattr(item, "lockstep_refused", False) for item in items):
            self.wrong(key, "this is not supported yet", "leave it out")

    def text(self, value: Any, key: str) -> str:
        """A text; an empty one after reporting something else."""
        if isinstance(value, str):
            return value
        self.wrong(key, f"must be a text, not {value!r}")
        return ""

    def listed(self, value: Any, key: str) -> list[Any]:
        """The items of a list or any other iterable; refused stand-ins are left out, they were reported when made."""
        if value is None:
            return []
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            self.wrong(key, f"must be a list, not {value!r}")
            return []
        items = list(value)
        kept = [item for item in items if not getattr(item, "lockstep_refused", False)]
        if len(kept) < len(items):
            self.lacks(key)
        return kept

    def lacks(self, key: str) -> None:
        """Remember that something of a list is not known, so that nobody says it were not there."""
        self.draft.incomplete |= {name for name, keys in _LISTS.items() if key in keys}

    def ports(self, value: Any, key: str, protocol: str = "") -> tuple[Port, ...]:
        """One port as a number, `"8010"`, or `"tcp:8010:interface=127.0.0.1"`."""
        if value is None:
            return ()
        match = _TCP.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
        if match is None or int(match["port"]) > 65535:
            hint = 'write a number, or "tcp:8010:interface=127.0.0.1"'
            self.wrong(key, f"{value!r} is no port that can be opened", hint)
            return ()
        host = match["host"] or match["before"]
        return (Port(int(match["port"]), host.replace("\\", "") if host else None, protocol),)


def _title(reader: KeyReader, value: Any, key: str) -> None:
    reader.draft.title = reader.text(value, key)


def _title_url(reader: KeyReader, value: Any, key: str) -> None:
    reader.draft.titleURL = reader.text(value, key)


def _buildbot_url(reader: KeyReader, value: Any, key: str) -> None:
    reader.draft.buildbotURL = reader.text(value, key)


def _www(reader: KeyReader, value: Any, key: str) -> None:
    if not value:
        return
    if not isinstance(value, Mapping):
        reader.wrong(key, f"must be a dictionary, not {value!r}")
        return
    for name, item in value.items():
        place = reader.locator.key(str(name))
        at = place if place.line else reader.locator.key(key)
        if name == "port":
            reader.draft.www_ports = reader.ports(item, key)
        elif name in _WWW_NO_EFFECT:
            errors.note(f"c['www']['{name}'] has no effect", "the pages are Lockstep's own", at)
        elif name in _WWW_NOT_YET:
            if item and not getattr(item, "lockstep_refused", False):
                errors.mistake(f"c['www']['{name}'] is not supported yet", "leave it out", at)
        else:
            hint = nearest(str(name), ("port", *_WWW_NO_EFFECT, *_WWW_NOT_YET))
            errors.mistake(f"c['www']: unknown key {name!r}", hint, at)


def _protocols(reader: KeyReader, value: Any, key: str) -> None:
    if not isinstance(value, Mapping):
        reader.wrong(key, f"must be a dictionary of protocols, not {value!r}")
        return
    for name, settings in value.items():
        if name == "null":
            continue
        if name not in ("pb", "msgpack_experimental_v7", "lockstep"):
            hint = nearest(str(name), ("pb", "msgpack_experimental_v7", "lockstep"))
            reader.wrong(key, f"unknown protocol {name!r}", hint)
            continue
        port = settings.get("port") if isinstance(settings, Mapping) else settings
        if name == "pb":
            text = f"c['{key}']: PB is not spoken; the port is opened for lockstep and msgpack workers"
            hint = 'make workers with "--protocol=msgpack_experimental_v7", or run "lockstep worker"'
            errors.warning(text, hint, reader.locator.key(key))
        reader.draft.protocol_ports += reader.ports(port, key, str(name))


def _slave_port(reader: KeyReader, value: Any, key: str) -> None:
    _protocols(reader, {"pb": {"port": value}}, key)


_DB_HINT = "use sqlite:///lockstep.sqlite, or postgresql://USER:PASSWORD@HOST/NAME"


def _db(reader: KeyReader, value: Any, key: str) -> None:
    url = value if key == "db_url" else value.get("db_url") if isinstance(value, Mapping) else None
    if url is None and isinstance(value, Mapping):
        return
    if not isinstance(url, str):
        reader.wrong(key, "must be a text" if key == "db_url" else "must be a dictionary with the key db_url", _DB_HINT)
    elif not url.startswith(("sqlite:", "postgresql:", "postgresql+psycopg:")):
        kind, colon, _ = url.partition(":")
        known = re.fullmatch(r"[\w+]+", kind) if colon else None  # else it may be a part of a password
        told = f'a database of the kind "{kind}" is not supported' if known else "that is no database address"
        reader.wrong(key, told, _DB_HINT)
    else:
        reader.draft.db_url = url


def _workers(reader: KeyReader, value: Any, key: str) -> None:
    for item in reader.listed(value, key):
        if isinstance(item, Worker):
            reader.draft.workers.append(item)
        elif key == "bots" and isinstance(item, tuple) and len(item) == 2:
            worker = Worker(*item)
            worker.place = reader.locator.key(key)
            reader.draft.workers.append(worker)
        else:
            reader.wrong(key, f"{_shown(item)} is no worker", "use worker.Worker(name, password)")
            reader.lacks(key)


def _shown(item: Any) -> str:
    """An item in a message about workers: never with a password that may be in it."""
    return f"something of the type {type(item).__name__}"


def _builders(reader: KeyReader, value: Any, key: str) -> None:
    seen: dict[Any, int] = {}
    for item in reader.listed(value, key):
        name = item.get("name") if isinstance(item, Mapping) else None
        hashed = name if isinstance(name, str) else None
        place = reader.locator.name(name, seen.get(hashed, 0), key)
        seen[hashed] = seen.get(hashed, 0) + 1
        builder: BuilderConfig | None = errors.guarded(partial(as_builder, item, place))
        if builder is not None:
            reader.draft.builders.append(builder)
        else:
            reader.lacks(key)


def _schedulers(reader: KeyReader, value: Any, key: str) -> None:
    for item in reader.listed(value, key):
        if isinstance(item, SchedulerLike):
            reader.draft.schedulers.append(item)
        else:
            reader.wrong(key, f"{item!r} is no scheduler", "use schedulers.SingleBranchScheduler(...) and the like")
            reader.lacks(key)


def _sources(reader: KeyReader, value: Any, key: str) -> None:
    single = value is not None and not isinstance(value, str | bytes) and not isinstance(value, Iterable)
    for item in reader.listed([value] if single else value, key):
        if isinstance(item, SourceLike):
            reader.draft.change_sources.append(item)
        else:
            reader.wrong(key, f"{item!r} is no change source", "use changes.GitPoller(...) and the like")


def _secrets(reader: KeyReader, value: Any, key: str) -> None:
    for item in reader.listed(value, key):
        if isinstance(item, SecretProviderBase) or callable(getattr(item, "get", None)):
            reader.draft.secretsProviders.append(item)
        else:
            reader.wrong(key, f"{item!r} is no provider of secrets", "use secrets.SecretInAFile(dirname=...)")


def _function(reader: KeyReader, value: Any, key: str) -> None:
    if value is not None and not callable(value):
        reader.wrong(key, f"must be a function, not {value!r}")
    else:
        setattr(reader.draft, key, value)


def _collapse(reader: KeyReader, value: Any, key: str) -> None:
    if value is None or isinstance(value, bool) or callable(value):
        reader.draft.collapseRequests = value
    else:
        reader.wrong(key, f"must be True, False or a function, not {value!r}")


def _properties(reader: KeyReader, value: Any, key: str) -> None:
    if not isinstance(value, Mapping):
        reader.wrong(key, f"must be a dictionary, not {value!r}")
        return
    place = reader.locator.key(key)
    good = {str(k): v for k, v in value.items() if plain(v, f"c['{key}']: the value of \"{k}\"", place)}
    reader.draft.properties = good


def _size(reader: KeyReader, value: Any, key: str) -> None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        setattr(reader.draft, key, value)
    else:
        reader.wrong(key, f"must be a number of bytes, not {value!r}")


def _horizon(reader: KeyReader, value: Any, key: str) -> None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WHOLE):
        reader.draft.changeHorizon = value or None
    else:
        reader.wrong(key, f"must be how many changes are kept, a number from 1, not {value!r}", "None keeps all")


def _configurators(reader: KeyReader, value: Any, key: str) -> None:
    for item in reader.listed(value, key):
        if not isinstance(item, JanitorLike):
            hint = "of configurators there is util.JanitorConfigurator(...) only; what others do write into c yourself"
            reader.wrong(key, f"{item!r} is not supported yet", hint)
        elif reader.draft.janitor is not None:
            text = f"c['{key}']: there are two janitors; the first is at {reader.draft.janitor.place}"
            errors.mistake(text, "one takes the times, logHorizon= and buildHorizon=", item.place)
        else:
            reader.draft.janitor = item


def _log_encoding(reader: KeyReader, value: Any, key: str) -> None:
    try:
        "".encode(value)
        reader.draft.logEncoding = value
    except (LookupError, TypeError, ValueError):
        reader.wrong(key, f"{value!r} is no encoding that Python knows")


def _mq(reader: KeyReader, value: Any, key: str) -> None:
    kind = value.get("type", "simple") if isinstance(value, Mapping) else value
    if kind not in (None, "simple"):
        reader.wrong(key, f"type {kind!r} is not supported yet", "leave it out: one server needs no message queue")


def _multi_master(reader: KeyReader, value: Any, key: str) -> None:
    if value:
        reader.wrong(key, "several servers on one store are not supported yet", "leave it out")


def _shares(reader: KeyReader, value: Any, key: str) -> None:
    for item in reader.listed(value, key):
        if isinstance(item, Shares):
            reader.draft.shares.append(item)
        else:
            reader.wrong(key, f"{item!r} is no Shares", "use util.Shares({'firmware': 3, 'apps': 1}, locks=[...])")


def _locks_2004(reader: KeyReader, value: Any, key: str) -> None:
    """The wish of 2004: a lock's name and the builders that subscribe to it; or lock objects."""
    for item in reader.listed(list(value.items()) if isinstance(value, Mapping) else value, key):
        if isinstance(item, Lockable):
            reader.draft.locks.append(item)
            continue
        if not (isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str)):
            hint = 'write ("name", ["builder", ...]), or give locks= to builders and steps'
            reader.wrong(key, f"{item!r} is no lock with builders that subscribe to it", hint)
            continue
        lock = MasterLock(item[0])
        lock.place = reader.locator.key(key)
        reader.draft.locks.append(lock)
        for builder in reader.listed(item[1], key):
            reader.draft.subscribed.setdefault(str(builder), []).append(lock)


READERS: dict[str, Callable[[KeyReader, Any, str], None]] = {
    "bots": _workers,
    "buildbotURL": _buildbot_url,
    "builders": _builders,
    "changeHorizon": _horizon,
    "change_source": _sources,
    "collapseRequests": _collapse,
    "configurators": _configurators,
    "db": _db,
    "db_url": _db,
    "locks": _locks_2004,
    "logEncoding": _log_encoding,
    "logMaxSize": _size,
    "logMaxTailSize": _size,
    "mergeRequests": _collapse,
    "mq": _mq,
    "multiMaster": _multi_master,
    "prioritizeBuilders": _function,
    "projectName": _title,
    "projectURL": _title_url,
    "properties": _properties,
    "protocols": _protocols,
    "schedulers": _schedulers,
    "secretsProviders": _secrets,
    "select_next_worker": _function,
    "shares": _shares,
    "slavePortnum": _slave_port,
    "slaves": _workers,
    "sources": _sources,
    "title": _title,
    "titleURL": _title_url,
    "workers": _workers,
    "www": _www,
}
"""The keys that are read."""
