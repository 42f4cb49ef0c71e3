"""Loads a configuration file: executes it, reads its dictionary, checks the whole; a `Config`, or all of its mistakes.

The vocabulary is not known here: the file imports it. `compat/loading.py` makes the import name `buildbot` lead to
it and calls `load`. A load that fails leaves no trace in what runs.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import MappingProxyType, ModuleType
from typing import Any

from lockstep.config import errors
from lockstep.config.check import check
from lockstep.config.config import Config
from lockstep.config.draft import Draft
from lockstep.config.errors import Collector, ConfigErrors, Mistake, Place, collecting, nearest
from lockstep.config.interpolate import Interpolate
from lockstep.config.keys import KeyReader
from lockstep.config.locate import Locator
from lockstep.config.lock_table import LockTable
from lockstep.config.locks import BaseLock, Lockable, LockAccess, tidy
from lockstep.config.modules import BESIDE
from lockstep.config.needs import Needs
from lockstep.config.properties import has_renderables
from lockstep.config.renderables import Secret
from lockstep.config.told import check_secrets, check_told
from lockstep.config.unfinished import growing

MODULE = "buildmaster_config"
"""What the executed file is called as a module."""
_NO_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


def load(path: str, basedir: str | None = None) -> Config:
    """Load the configuration at `path`. `basedir` (default: the file's folder) is what the file sees under that name.

    Raises `ConfigErrors` with every mistake; the modules beside the file are then what they were before.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    basedir = os.path.abspath(basedir) if basedir is not None else folder
    collector = Collector()
    with BESIDE.loading(folder):
        with collecting(collector):
            source = _read(path)
            values, grows = _execute(path, source, basedir) if source is not None else (None, None)
            with _explaining(path):
                draft = KeyReader(values, Locator(path, source or ""), grows).read() if values is not None else Draft()
                config = _assemble(path, basedir, draft, collector)
        if collector.mistakes:
            raise ConfigErrors(_in_order(collector.mistakes, path), collector.warnings)
    return config


@contextmanager
def _explaining(path: str) -> Iterator[None]:
    """What is lazy in a configuration (a generator, say) raises where it is read: a mistake at the user's line."""
    try:
        yield
    except Exception as exc:
        theirs = isinstance(exc, ConfigErrors) or _own_frames(exc, path)
        for one in explain(exc, path) if theirs else [_unlike(exc, path)]:
            errors.mistake(one.text, one.hint, one.place)


def _unlike(exc: Exception, path: str) -> Mistake:
    """Our own code failed on something that is not what its class promises; where, for whoever looks for a fault."""
    last = traceback.extract_tb(exc.__traceback__)[-1]
    text = f"cannot be checked: {_worded(exc)} (at {os.path.basename(last.filename)}:{last.lineno} of Lockstep)"
    hint = "does a class in it not call super().__init__(), or was something of a builder or factory changed later?"
    return Mistake(Place(path), text, hint)


def _in_order(mistakes: list[Mistake], path: str) -> list[Mistake]:
    """The configuration's own mistakes first, then those of each other file; by line."""
    return sorted(mistakes, key=lambda m: (m.place.file != path, m.place.file, m.place.line))


def _read(path: str) -> str | None:
    """The file's text; None after reporting why it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as exc:
        errors.mistake(f"the configuration cannot be read: {exc.strerror}", "", Place(path))
    except UnicodeDecodeError as exc:
        errors.mistake(f"the configuration is not UTF-8: {exc.reason} at byte {exc.start}", "", Place(path))
    return None


def _execute(path: str, source: str, basedir: str) -> tuple[dict[str, Any] | None, frozenset[str] | None]:
    """Execute the file and return its dictionary, None after reporting why there is none.

    If it raises, that is reported, and the dictionary is as it was by then; the second result names those of its keys
    that may not have been finished, and is None else.
    """
    collector = errors.current()
    module = ModuleType(MODULE)
    module.__dict__.update(__file__=path, basedir=basedir)
    sys.modules[MODULE] = module
    count = len(collector.mistakes) if collector else 0
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        for one in explain(exc, path):
            errors.mistake(one.text, one.hint, one.place)
        return _by_then(exc, path, source, module)
    found = _dictionary(module)
    if found is not None:
        return found, None
    if collector is None or len(collector.mistakes) == count:
        hint = "begin with: c = BuildmasterConfig = {}"
        errors.mistake("the configuration defines no dictionary BuildmasterConfig", hint, Place(path))
    return None, None


def _dictionary(module: ModuleType) -> dict[str, Any] | None:
    """What the file calls its configuration."""
    found = module.__dict__.get("BuildmasterConfig", module.__dict__.get("c"))
    return found if isinstance(found, dict) else None


def _by_then(
    exc: BaseException, path: str, source: str, module: ModuleType
) -> tuple[dict[str, Any] | None, frozenset[str] | None]:
    """What the configuration had when it raised, and which of its keys might have grown."""
    found = _dictionary(module)
    lines = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == path]
    if found is None or not lines:
        return None, None
    return found, growing(source, lines[0] or 0, module.__dict__, found)


def explain(exc: BaseException, path: str) -> list[Mistake]:
    """What went wrong while the file ran, at the user's own line."""
    if isinstance(exc, ConfigErrors):
        return list(exc.mistakes)
    if isinstance(exc, SyntaxError) and exc.filename:
        return [Mistake(Place(exc.filename, exc.lineno or 0), f"syntax error: {exc.msg}")]
    place, from_ = _where(exc, path)
    hint = f"called from {from_}" if from_ is not None else ""
    if isinstance(exc, errors.UnknownNameError):
        return [Mistake(place, exc.text, "; ".join(part for part in (exc.hint, hint) if part))]
    if isinstance(exc, SystemExit):
        return [Mistake(place, f"the configuration ended the program: exit({exc.code!r})", hint)]
    if isinstance(exc, ImportError):
        text, more = _explain_import(exc)
        return [Mistake(place, text, "; ".join(part for part in (more, hint) if part))]
    return [Mistake(place, _worded(exc), hint)]


def _worded(exc: BaseException) -> str:
    """An exception's kind and its words, if it has any and can say them."""
    kind = type(exc).__name__
    try:
        return f"{kind}: {exc}" if str(exc) else kind
    except Exception:  # the class is the user's, and so is what it says of itself
        return kind


def _explain_import(exc: ImportError) -> tuple[str, str]:
    """An import that failed, with the nearest name or what to install."""
    match = _NO_NAME.search(str(exc))
    if match is not None:
        module = sys.modules.get(match[2])
        return f'there is no "{match[1]}" in {match[2]}', nearest(match[1], dir(module)) if module else ""
    return f"{type(exc).__name__}: {exc}", ""


def _where(exc: BaseException, path: str) -> tuple[Place, Place | None]:
    """The innermost line of the user's own files, and the configuration's line that led there if that is another."""
    own = _own_frames(exc, path)
    if not own:
        return Place(path), None
    last, first = own[-1], own[0]
    place = Place(last.filename, last.lineno or 0)
    start = Place(first.filename, first.lineno or 0)
    return place, None if start == place else start


def _own_frames(exc: BaseException, path: str) -> list[traceback.FrameSummary]:
    """The lines of the user's own files that led to an exception, the innermost last."""
    folder = os.path.join(os.path.dirname(path), "")
    frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename.startswith(folder)]
    foreign = f"{os.sep}site-packages{os.sep}"
    return [frame for frame in frames if foreign not in frame.filename and not errors.is_ours(frame.filename)]


def _assemble(path: str, basedir: str, draft: Draft, collector: Collector) -> Config:
    """Bring all locks together, check the whole, and freeze it (with mistakes it is thrown away by the caller)."""
    made = [thing for thing in collector.made if isinstance(thing, Lockable)]
    for lock in [*made, *draft.locks]:
        if isinstance(lock, BaseLock):
            _subscribe(draft, lock)
    table = LockTable(made)
    for lock in [*draft.locks, *_used_locks(draft)]:
        table.add(lock)
    needs = Needs({worker.name: worker for worker in reversed(draft.workers)}, table, draft.subscribed)
    needs.workers = {worker.name: needs.workers[worker.name] for worker in draft.workers}
    check(draft, needs, table, made)
    if not draft.incomplete:
        texts = [thing for thing in collector.made if isinstance(thing, Interpolate)]
        if not draft.secretsProviders:
            check_secrets(thing for thing in collector.made if isinstance(thing, Interpolate | Secret))
        check_told(texts, table, list(needs.workers), rendered=any(map(has_renderables, _lock_lists(draft))))
    return Config(
        file=path,
        basedir=basedir,
        title=draft.title,
        titleURL=draft.titleURL,
        buildbotURL=draft.buildbotURL,
        www_ports=draft.www_ports,
        protocol_ports=draft.protocol_ports,
        db_url=draft.db_url,
        workers=MappingProxyType(dict(needs.workers)),
        builders=MappingProxyType({builder.name: builder for builder in draft.builders}),
        schedulers=MappingProxyType({scheduler.name: scheduler for scheduler in draft.schedulers}),
        change_sources=MappingProxyType({source.name: source for source in draft.change_sources}),
        secretsProviders=tuple(draft.secretsProviders),
        collapseRequests=draft.collapseRequests,
        prioritizeBuilders=draft.prioritizeBuilders,
        select_next_worker=draft.select_next_worker,
        properties=MappingProxyType(draft.properties),
        janitor=draft.janitor,
        changeHorizon=draft.changeHorizon,
        logMaxSize=draft.logMaxSize,
        logMaxTailSize=draft.logMaxTailSize,
        logEncoding=draft.logEncoding,
        shares=tuple(draft.shares),
        table=table,
        needs=needs,
        said=(tuple(collector.warnings), tuple(collector.notes)),
    )


def _subscribe(draft: Draft, lock: BaseLock) -> None:
    """A lock of 2004 that names builders is a lock of these builders."""
    for builder in getattr(lock, "subscribers", ()):
        locks = draft.subscribed.setdefault(str(builder), [])
        if lock not in locks:
            locks.append(lock)


def _lock_lists(draft: Draft) -> list[Any]:
    """What stands behind every `locks=`."""
    places: list[Any] = [worker.locks for worker in draft.workers]
    for builder in draft.builders:
        places += [builder.locks, builder.factory.locks, *(step.locks for step in builder.factory.steps)]
    return places


def _used_locks(draft: Draft) -> Iterable[Lockable]:
    """Every lock or pool that stands in a `locks=` list, also one that was made before this load."""
    for value in _lock_lists(draft):
        tidied = tidy(value)
        for item in tidied if isinstance(tidied, list) else []:
            if isinstance(item, LockAccess):
                yield item.lock
            elif isinstance(item, Lockable):
                yield item
