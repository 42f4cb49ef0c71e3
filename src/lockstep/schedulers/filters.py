"""`ChangeFilter`: which changes a scheduler looks at. No scheduler lives here."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lockstep.config.errors import check_keywords, here, mistake
from lockstep.core.values import Change

_FIELDS: Final = ("project", "repository", "branch", "category", "codebase")
_SUFFIXES: Final = ("", "_not_eq", "_re", "_not_re", "_fn")


class NotABranch:
    """Stands for "not looked at" where None is a branch of its own (the default branch)."""


class ChangeFilter:
    """Accepts a change if every condition holds.

    For each of project, repository, branch, category and codebase there is an exact condition (`branch=`, a text or a
    list of them), its contrary (`branch_not_eq=`), regular expressions that match from the beginning (`branch_re=`,
    `branch_not_re=`) and a function (`branch_fn=`). `property_eq`, `property_not_eq`, `property_re` and
    `property_not_re` are dictionaries of properties of the change; `filter_fn` gets the change itself.
    """

    def __init__(self, filter_fn: Any = None, **conditions: Any) -> None:
        """Take the conditions. A value of None is no condition, except for `branch`: the default branch."""
        self.place = here()
        self.filter_fn = filter_fn
        self._checks: list[tuple[str, Callable[[Any], bool]]] = []
        self._said: list[str] = []
        for field in _FIELDS:
            for suffix in _SUFFIXES:
                self._take(field, suffix, conditions)
        for suffix in ("_eq", "_not_eq", "_re", "_not_re"):
            for name, value in (conditions.pop(f"property{suffix}", None) or {}).items():
                self._add(f"property {name}{suffix}", f"property:{name}", "" if suffix == "_eq" else suffix, value)
        known = [field + suffix for field in _FIELDS for suffix in _SUFFIXES]
        known += ["filter_fn", "property_eq", "property_not_eq", "property_re", "property_not_re"]
        check_keywords("ChangeFilter", conditions, known, place=self.place)
        if filter_fn is not None and not callable(filter_fn):
            mistake(f"filter_fn of ChangeFilter must be a function, not {filter_fn!r}", place=self.place)

    def _take(self, field: str, suffix: str, conditions: dict[str, Any]) -> None:
        name = field + suffix
        if name not in conditions:
            return
        value = conditions.pop(name)
        exact_branch = field == "branch" and suffix in ("", "_not_eq")
        if value is NotABranch or (value is None and not exact_branch):
            return
        self._add(name, field, suffix, value)

    def _add(self, said: str, field: str, suffix: str, value: Any) -> None:
        """Add one condition on a field."""
        self._said.append(f"{said}={value!r}")
        if suffix == "_fn":
            if not callable(value):
                mistake(f"{said} of ChangeFilter must be a function, not {value!r}", place=self.place)
                return
            self._checks.append((field, lambda found: bool(value(found))))
            return
        wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        if suffix in ("_re", "_not_re"):
            patterns = self._patterns(said, wanted)
            matches = suffix == "_re"
            self._checks.append((field, lambda found: _matches(patterns, found) == matches))
        else:
            equal = suffix == ""
            self._checks.append((field, lambda found: (found in wanted) == equal))

    def _patterns(self, said: str, wanted: Iterable[Any]) -> list[re.Pattern[str]]:
        patterns = []
        for pattern in wanted:
            try:
                patterns.append(re.compile(pattern))
            except (re.error, TypeError) as exc:
                mistake(f"{said} of ChangeFilter: {pattern!r} is no regular expression: {exc}", place=self.place)
        return patterns

    def filter_change(self, change: Change) -> bool:
        """Whether the change is accepted. What a user's function raises goes through."""
        if self.filter_fn is not None and not self.filter_fn(change):
            return False
        return all(check(_field(change, field)) for field, check in self._checks)

    def __repr__(self) -> str:
        """The conditions, as written."""
        return f"ChangeFilter({', '.join(self._said)})"

    @classmethod
    def fromSchedulerConstructorArgs(
        cls, change_filter: "ChangeFilter | None" = None, branch: Any = NotABranch, categories: Any = None
    ) -> "ChangeFilter":
        """The filter that a scheduler's older arguments stand for."""
        if change_filter is not None:
            return change_filter
        conditions: dict[str, Any] = {}
        if branch is not NotABranch:
            conditions["branch"] = branch
        if categories:
            conditions["category"] = categories
        return cls(**conditions)


def _matches(patterns: list[re.Pattern[str]], found: Any) -> bool:
    return any(pattern.match(found if isinstance(found, str) else "") for pattern in patterns)


def _field(change: Change, field: str) -> Any:
    """An attribute of the change, or (`property:NAME`) one of its properties."""
    if field.startswith("property:"):
        properties: Mapping[str, Any] = change.properties
        value = properties.get(field.removeprefix("property:"))
        return value[0] if value is not None else None
    return getattr(change, field)
