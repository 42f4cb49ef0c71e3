"""Shares of a configuration: which locks, pools and workers projects have by weight (`Shares`, `c['shares']`).

Here is the user's object and its checks. Who comes before whom is decided in `core/alloc_shares.py`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from lockstep.config.errors import check_keywords, here, mistake, nearest, warning
from lockstep.config.locks import Lockable
from lockstep.core.limits import MAX_WEIGHT
from lockstep.core.nouns import LockKind
from lockstep.core.values import ShareRule

OTHERS: Final = "*"
"""Who is not named: other projects, builders that are of none, people."""

_KEYWORDS: Final = ("weights", "locks", "workers")


class Shares:
    """What projects have by weight: some locks, pools and workers' slots, all of them together.

    A project that has less than its share of them comes before all that have theirs; what nobody else wants it may have
    beyond that. Builders are of projects: `BuilderConfig(project=...)`.
    """

    def __init__(self, weights: Any = None, locks: Any = (), workers: Any = (), **unknown: Any) -> None:
        """Share these `locks` (locks and pools) and the slots of these `workers` (by name) by these `weights`.

        `weights` is a dictionary of projects and numbers from 1; `'*'` stands for all that are not named together, and
        is 1 if it is not there.
        """
        self.place = here()
        check_keywords(type(self).__name__, unknown, _KEYWORDS, (), self.place)
        self.weights = self._weights(weights)
        self.locks = [lock for lock in self._listed(locks, "locks") if self._is_lock(lock)]
        self.workers = [name for name in self._listed(workers, "workers") if self._is_name(name)]
        if not unknown and not locks and not workers:
            mistake("Shares: nothing is shared", "give locks=[...], workers=[...] or both", self.place)

    def __repr__(self) -> str:
        """As it is written in a configuration."""
        return f"Shares({self.weights!r})"

    def _weights(self, weights: Any) -> dict[str, int]:
        hint = "write Shares({'firmware': 3, 'apps': 1}, ...)"
        if not isinstance(weights, Mapping) or not weights:
            mistake(f"Shares: weights must be a dictionary of projects and numbers, not {weights!r}", hint, self.place)
            return {OTHERS: 1}
        good = {OTHERS: 1}
        for project, weight in weights.items():
            if not isinstance(project, str):
                mistake(f"Shares: a project is a text, not {project!r}", hint, self.place)
            elif isinstance(weight, bool) or not isinstance(weight, int) or not 0 < weight <= MAX_WEIGHT:
                text = (
                    f'Shares: the weight of "{project}" must be a whole number from 1 to {MAX_WEIGHT}, not {weight!r}'
                )
                mistake(text, "who has no share is left out: its builds are among '*'", self.place)
            else:
                good[project] = weight
        return good

    def _listed(self, things: Any, what: str) -> list[Any]:
        if isinstance(things, str | bytes | Mapping) or not isinstance(things, Iterable):
            hint = f"write {what}=[...], also for one"
            mistake(f"Shares: {what} must be a list, not {things!r}", hint, self.place)
            return []
        return [thing for thing in things if not getattr(thing, "lockstep_refused", False)]

    def _is_lock(self, lock: Any) -> bool:
        if not isinstance(lock, Lockable):
            hint = "name the lock itself, not an access: locks=[boards]"
            mistake(f"Shares: {lock!r} is no lock and no pool", hint, self.place)
        return isinstance(lock, Lockable)

    def _is_name(self, name: Any) -> bool:
        if not isinstance(name, str):
            hint = f'write workers=["{name.name}"]' if isinstance(getattr(name, "name", None), str) else ""
            mistake(f"Shares: a worker is named by a text, not {type(name).__name__}", hint, self.place)
        return isinstance(name, str)

    def check(self, workers: Mapping[str, int | None], projects: Iterable[str]) -> None:
        """Report workers that there are not, or that have slots without end, and projects of which no builder is."""
        known = sorted(workers)
        for name in self.workers:
            if name not in workers:
                mistake(f'Shares: there is no worker "{name}"', nearest(name, known), self.place)
            elif workers[name] is None:
                text = f'Shares: worker "{name}" has no max_builds: of slots without end nobody ever has a share'
                warning(text, "give it max_builds", self.place)
        there = set(projects)
        if not there - {""}:
            text = "Shares: no builder is of a project, so there is nobody to share with"
            warning(text, "give builders project=", self.place)
        elif "" in self.weights and "" not in there:
            text = "Shares: '' stands for who is of no project: every builder is of one, so it is people alone"
            warning(text, "builders of projects that are not named are among '*'", self.place)
        known = sorted(there - {""})
        for name in self.weights:
            if name not in (OTHERS, "") and name not in known:
                hint = nearest(name, known) or "give a builder project="
                mistake(f'Shares: no builder is of the project "{name}"', hint, self.place)

    def rule(self) -> ShareRule:
        """What the core knows of it. Its name stands for what is shared: another list is another share."""
        locks: tuple[tuple[LockKind, str], ...] = tuple(dict.fromkeys((lock.kind, lock.name) for lock in self.locks))
        workers = tuple(dict.fromkeys(self.workers))
        told = [f"{kind} {name}" for kind, name in locks] + [f"slots of {name}" for name in workers]
        name = hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest()[:16]  # it is stored with each grant
        return ShareRule(name, tuple(sorted(self.weights.items())), locks, workers)


def check_shares(shares: Iterable[Shares], workers: Mapping[str, int | None], projects: Iterable[str]) -> None:
    """Report what is wrong with shares as a whole: unknown names, and what is shared twice.

    `workers` are the slots of each by its name, None for one without a limit.
    """
    seen: dict[object, Shares] = {}
    named = set(projects)
    for share in shares:
        share.check(workers, named)
        things = [(lock.kind, lock.name, f'{lock.word} "{lock.name}"') for lock in share.locks]
        things += [("slot", name, f'worker "{name}"') for name in share.workers]
        for kind, name, told in things:
            first = seen.setdefault((kind, name), share)
            if first is not share:
                text = f"{told} is shared twice"
                mistake(text, f"the first is at {first.place}: a thing is in one Shares only", share.place)
