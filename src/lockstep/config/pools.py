"""Pools of named units as a configuration speaks of them: `ResourcePool`, and accesses to any of their units.

Here are the user's objects and their checks. Which units an access gets is decided in `core/alloc_pools.py`, what a
`where` means in `core/where.py`, what a build is told of its units in `core/told_units.py`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lockstep.config.errors import NO_NAME, Place, announce, check_keywords, fail, here, is_loading, mistake, nearest
from lockstep.config.errors import plain as is_plain
from lockstep.config.health import health_check, health_check_retry
from lockstep.config.locks import Lockable, LockAccess, limit_of, lock_name
from lockstep.config.patience import ACCESS_KEYWORDS
from lockstep.core.limits import MAX_LOCK_NAME, MAX_OVERTAKES, MAX_POOL_UNITS, MAX_TRIES, MAX_UNIT_DATA, MAX_VIEWS
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, Access, LockKey
from lockstep.core.values import PoolSetup, UnitSetup
from lockstep.core.where import JOINING, WORD, WhereError, parse

_NOT_IN_NAMES: Final = re.compile(r"[:/%(),]")
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LABELS: Final = "labels"
_OF_LOCKS: Final = {
    "maxCount": "its units are its limit",
    "maxCountForWorker": "it is one for the whole installation",
    "lease": "give it to the workers",
    "maxWaiting": "say skipIfBusy=True or waitTimeout= with the access",
    "whenFull": "say skipIfBusy=True or waitTimeout= with the access",
    "order": "whoever waits is served by priority, then by time",
    "rate": "a lock beside it can have one",
}
"""What locks can be given and pools cannot, and what to do instead."""
_KEYWORDS: Final = ("name", "units", "maxOvertakes", "quarantineAfter", "healthCheck", "healthCheckRetry")
_NO_SECRETS: Final = "unit data is stored and shown; name a secret where it is used: Interpolate('%(secret:name)s')"


class ResourcePool(Lockable):
    """Things of one kind that have names: boards, licences, phones. An access gets some that its `where` admits.

    The units that were used least are given first. Builds are told which they have, by properties and environment.
    """

    kind = "pool"
    word = "pool"

    def __init__(
        self,
        name: str,
        units: Any = None,
        maxOvertakes: int = DEFAULT_MAX_OVERTAKES,
        quarantineAfter: int = 0,
        healthCheck: Any = None,
        healthCheckRetry: Any = None,
        **unknown: Any,
    ) -> None:
        """Make a pool of these units: a list of names, or a dictionary of names and what is known of each.

        Of what is known `labels` is a list of words that `where=` may name; anything else is what builds are told.
        `maxOvertakes=0` serves in strict order (L42). After `quarantineAfter` builds in a row that had a unit and
        failed, nobody gets it until a person says so; 0: it is never taken out of use by itself.
        `healthCheck` (`['ping', '-c1', '%(unit:address)s']`) is a program that the server runs for each unit before a
        build or step gets it; if that fails the unit is taken out of use, and another one is waited for. After
        `healthCheckRetry` (`'10m'`) it is looked at again, until it passes; without, until a person says so.
        """
        self.place = here()
        if not is_loading():
            hint = "make it outside of functions that are called while builds run"
            fail("a ResourcePool can be made only while the configuration is loaded", hint, self.place)
        what = type(self).__name__
        self.name = self._named(lock_name(name, what, self.place), what)
        self.maxOvertakes = limit_of(maxOvertakes, f"{self.told}: maxOvertakes", self.place, MAX_OVERTAKES)
        for key in [key for key in unknown if key in _OF_LOCKS]:
            del unknown[key]
            mistake(f"{self.told}: a pool cannot have {key}=", _OF_LOCKS[key], self.place)
        check_keywords(what, unknown, _KEYWORDS, (), self.place)
        after = limit_of(quarantineAfter, f"{self.told}: quarantineAfter", self.place, MAX_TRIES)
        known = self._units(units)
        self.healthCheck = health_check(healthCheck, known, self.told, self.place)
        retry = health_check_retry(healthCheckRetry, healthCheck, self.told, self.place)
        self.setup = PoolSetup(self.name, known, self.maxOvertakes, after, self.healthCheck is not None, retry)
        self._wheres: set[str] = set()
        announce(self)

    def access(self, mode: str = "counting", count: int = 1, where: str = "", **more: Any) -> "PoolAccess":
        """Use `count` units, or (`exclusive`) all: of those that `where` admits, else of all.

        `keepAfterFailure`, `waitTimeout`, `onTimeout` and `skipIfBusy` are as for locks.
        """
        return PoolAccess(self, mode, count, where, **more)

    def defaultAccess(self) -> "PoolAccess":
        """One unit, whichever."""
        return self.access()

    def key(self, worker: str) -> LockKey:
        """What the core knows all of its units by; the worker does not matter."""
        return LockKey("pool", self.name)

    def admitted(self, where: str) -> int:
        """How many units a `where` (one that can be read) admits."""
        return self.setup.admitted(parse(where))

    def read(self, where: Any, place: Place) -> str:
        """A `where` as the core has it; that of all units after reporting what is wrong with it."""
        if not isinstance(where, str):
            rendered = hasattr(where, "getRenderingFor")
            hint = "let a renderer return all of locks=" if rendered else "write it as where='arm64 and not flaky'"
            mistake(f"{self.told}: where must be a text, not {where!r}", hint, place)
            return ""
        try:
            read = parse(where)
        except WhereError as exc:
            hint = "write labels and names of units, joined by and, or, not and parentheses"
            mistake(f"{self.told}: where={where!r} cannot be read: {exc}", hint, place)
            return ""
        known = sorted(self.setup.words())
        strange = [word for word in read.words() if word not in known]
        if strange and self.setup.units:  # else that it has none is said where it is made
            hint = nearest(strange[0], known) or f"it has: {', '.join(known) or 'none'}"
            mistake(f'{self.told} has no unit and no label "{strange[0]}"', hint, place)
            return ""
        self._wheres.add(str(read))
        if len(self._wheres) > MAX_VIEWS:
            text = f"{self.told}: there are more than {MAX_VIEWS} different where="
            self._wheres.discard(str(read))
            mistake(text, "give units that are used alike a label of their own", place)
            return ""
        return str(read)

    def _named(self, name: str, what: str) -> str:
        """The name, if builds can be told their units by it."""
        found = _NOT_IN_NAMES.search(name) if name != NO_NAME else None
        if found is None:
            return name
        mistake(
            f'{what} "{name}": the name of a pool cannot have {found[0]!r} in it', "choose another name", self.place
        )
        return NO_NAME

    # --- units

    def _units(self, given: Any) -> tuple[UnitSetup, ...]:
        """The units, less those that are wrong."""
        if isinstance(given, list | tuple):
            pairs: list[tuple[Any, Any]] = [(name, {}) for name in given]
        elif isinstance(given, Mapping):
            pairs = list(given.items())
        else:
            self._wrong(f"units must be a dictionary of names and data, or a list of names, not {given!r}")
            return ()
        if not pairs:
            self._wrong("it has no units", "name one at least")
        if len(pairs) > MAX_POOL_UNITS:
            self._wrong(f"it has {len(pairs)} units, and may have {MAX_POOL_UNITS}", "make several pools")
            pairs = []
        found: dict[str, UnitSetup] = {}
        for name, data in pairs:
            if not self._is_word(name, "name of a unit"):
                continue
            if name in found:
                self._wrong(f'two units have the name "{name}"')
            elif isinstance(data, Mapping) or data is None:
                found[name] = self._unit(name, data or {})
            else:
                self._wrong(f"what is known of unit {name!r} must be a dictionary, not {data!r}")
        for unit in found.values():
            for label in unit.labels:
                if label in found and label != unit.name:
                    self._wrong(f'label "{label}" of unit "{unit.name}" is the name of another unit', "rename one")
        return tuple(found.values())

    def _unit(self, name: str, data: Mapping[Any, Any]) -> UnitSetup:
        """One unit, less what is wrong of it."""
        labels = data.get(_LABELS, ())
        if not isinstance(labels, list | tuple | set | frozenset):
            self._wrong(f'labels of unit "{name}" must be a list of words, not {labels!r}')
            labels = ()
        words = [label for label in labels if self._is_word(label, f'label of unit "{name}"')]
        told: dict[str, Any] = {}
        for key, value in data.items():
            if key == _LABELS:
                continue
            if not isinstance(key, str) or not _KEY.fullmatch(key) or len(key) > MAX_LOCK_NAME:
                hint = "write letters, digits, _ and -, a letter first"
                self._wrong(f'what is known of unit "{name}" cannot have the key {key!r}', hint)
            elif hasattr(value, "getRenderingFor"):
                self._wrong(f'"{key}" of unit "{name}" cannot be rendered: {value!r}', _NO_SECRETS)
            elif isinstance(value, str) and "\0" in value:
                hint = "builds are told it in their environment, which cannot have that"
                self._wrong(f'"{key}" of unit "{name}" has a NUL in it: {value!r}', hint)
            elif is_plain(value, f'{self.told}: "{key}" of unit "{name}"', self.place):
                told[key] = value
        if (size := len(msgspec.json.encode(told))) > MAX_UNIT_DATA:
            text = f'what is known of unit "{name}" has {size} bytes as JSON, and may have {MAX_UNIT_DATA}'
            self._wrong(text, "name a file instead")
            told = {}
        return UnitSetup(name, tuple(sorted(set(words) - {name})), told)

    def _is_word(self, word: Any, what: str) -> bool:
        """Whether a `where` could name this; reports what it cannot."""
        if isinstance(word, str) and word in JOINING:
            self._wrong(f"{word!r} is no {what}: it joins the words of a where=")
        elif word in (".", ".."):
            self._wrong(f"{word!r} is no {what}: in addresses of pages it means something else", "choose another name")
        elif not isinstance(word, str) or not WORD.fullmatch(word) or len(word) > MAX_LOCK_NAME or "/" in word:
            hint = f"write letters, digits and any of _ . : + -, {MAX_LOCK_NAME} at most"
            self._wrong(f"{word!r} is no {what}", hint)
        else:
            return True
        return False

    def _wrong(self, text: str, hint: str = "") -> None:
        mistake(f"{self.told}: {text}", hint, self.place)

    def __repr__(self) -> str:
        """As it is written in a configuration, without its data."""
        return f"ResourcePool({self.name!r}, {[unit.name for unit in self.setup.units]})"


class PoolAccess(LockAccess):
    """One use of a pool: some of its units, or all."""

    def __init__(
        self,
        pool: ResourcePool,
        mode: str = "counting",
        count: int = 1,
        where: str = "",
        keepAfterFailure: Any = None,
        waitTimeout: Any = None,
        onTimeout: Any = None,
        skipIfBusy: bool = False,
        **unknown: Any,
    ) -> None:
        """Check all of it; reports what is wrong."""
        place = here()
        if unknown.pop("raises", False):
            hint = "claim the units in the build or in the step, not in both"
            mistake(f"{pool.told}: raises= is for locks; what a build has of a pool cannot be raised", hint, place)
        known = ("where", *(word for word in ACCESS_KEYWORDS if word != "raises"))
        check_keywords("access() of a pool", unknown, known, place=place)
        super().__init__(pool, mode, count, keepAfterFailure, waitTimeout, onTimeout, skipIfBusy)
        self.where = pool.read(where, place)
        there = pool.admitted(self.where)
        if self.count > there:
            these = f"{there} unit{'' if there == 1 else 's'}" + (f" where {self.where}" if self.where else "")
            text = f"{pool.told} has {these}: {self.count} can never be had"
            if pool.setup.units:  # else that it has none is said where it is made
                mistake(text, "lower the count or add units", place)
            self.mode, self.count = (self.mode, 1) if there else ("counting", 0)  # it is said, and once is enough

    def on(self, worker: str) -> Access:
        """The core's access; the worker does not matter."""
        key = LockKey("pool", self.lockid.name, where=self.where)
        mode = "exclusive" if self.mode == "exclusive" else "counting"
        return Access(key, mode, self.count, self.keepAfterFailure, self.patience)  # type: ignore[arg-type]

    def _told(self) -> tuple[Any, ...]:
        return (*super()._told(), self.where)

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        where = f", where={self.where!r}" if self.where else ""
        kept = f", keepAfterFailure={self.keepAfterFailure:g}" if self.keepAfterFailure else ""
        return f"{self.lockid!r}.access({self.mode!r}, {self.count}{where}{kept})"
